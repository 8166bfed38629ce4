from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from clips import write_clip
from videos import Untouched

from nst_rt.errors import InputError
from nst_rt.infer.frames import TimedFrame
from nst_rt.infer.stylizer import Stylizer
from nst_rt.infer.video import VideoReader, probe, stylize_video
from nst_rt.infer.video.transforms import at_rate, exact_rate

FRAME = np.zeros((16, 16, 3), np.uint8)


@pytest.mark.parametrize(
    ("fps", "exact"),
    [
        (25.0, Fraction(25)),
        (29.97, Fraction(30000, 1001)),
        (23.976, Fraction(24000, 1001)),
        (59.94, Fraction(60000, 1001)),
        (12.5, Fraction(25, 2)),
        (Fraction(45000, 1499), Fraction(45000, 1499)),
    ],
)
def test_exact_rate(fps: Fraction | float, exact: Fraction) -> None:
    assert exact_rate(fps) == exact


@pytest.mark.parametrize("rate", [Fraction(10), Fraction(24), Fraction(30000, 1001), Fraction(60)])
def test_constant_rate_shows_the_frame_on_display(rate: Fraction) -> None:
    times = np.cumsum([0, 40, 40, 100, 7, 8, 300, 40]).tolist()
    frames = [TimedFrame(FRAME, pts, 40, pts) for pts in times]
    made = list(at_rate(frames, Fraction(1, 1000), rate))
    assert [frame.pts for frame in made] == list(range(len(made)))
    assert abs(len(made) / rate - Fraction(times[-1] + 40, 1000)) <= 1 / rate
    for frame in made:
        moment = frame.pts / rate * 1000
        assert frame.source == max(time for time in times if time <= moment)


class Counting(Untouched):
    """Counts the frames that it stylizes."""

    begun = 0

    def stylize(self, frame: np.ndarray) -> np.ndarray:
        self.begun += 1
        return frame


def test_repeated_frames_are_stylized_once(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4")
    style = Counting()
    done = stylize_video(source, tmp_path / "out.mp4", style=style, fps=75)
    assert (done.frames, style.begun) == (75, 25)
    levels = np.reshape(
        [timed.image.mean() for timed in VideoReader(tmp_path / "out.mp4")], (25, 3)
    )
    assert np.ptp(levels, axis=1).max() < 2
    assert np.diff(levels.mean(axis=1)).min() > 5


@pytest.mark.parametrize(
    ("asked", "got"),
    [
        ({"size": 32}, (32, 24)),
        ({"size": (80, 40)}, (80, 40)),
        ({"scale": 1.5}, (96, 72)),
        ({"scale": 0.52}, (34, 24)),
    ],
)
def test_frames_are_resized(
    tmp_path: Path, untouched: Stylizer, asked: dict[str, object], got: tuple[int, int]
) -> None:
    source = write_clip(tmp_path / "in.mp4")
    stylize_video(source, tmp_path / "out.mp4", style=untouched, **asked)
    info = probe(tmp_path / "out.mp4")
    assert (info.width, info.height, info.frames) == (*got, 25)


@pytest.mark.parametrize("index", [True, False])
def test_part_has_the_same_frames(tmp_path: Path, untouched: Stylizer, index: bool) -> None:
    """Found by seeking, or by decoding everything before it where seeking is impossible."""
    source = write_clip(
        tmp_path / ("in.mkv" if index else "in.h264"),
        pts=range(0, 512 * 100, 512),
        options={"g": "12"},
    )
    whole = [timed.image for timed in VideoReader(source)]
    reader = VideoReader(source, start=2, end=3)
    part = list(reader)
    assert [timed.pts * reader.time_base for timed in part] == [Fraction(n, 25) for n in range(25)]
    for timed, frame in zip(part, whole[50:75], strict=True):
        np.testing.assert_array_equal(timed.image, frame)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"start": 5.0}, "1.00 s"),
        ({"start": -1.0}, "`start`"),
        ({"start": 0.5, "end": 0.2}, "`end`"),
        ({"size": 3}, "`size`"),
        ({"size": 64, "scale": 2.0}, "`scale`"),
        ({"scale": 0.0}, "`scale`"),
        ({"fps": 0}, "`fps`"),
        ({"codec": "divx"}, "divx"),
        ({"codec": "vp9", "preset": "fast"}, "`preset`"),
        ({"segment": 0}, "`segment`"),
        ({"codec": "vp9", "output": "out.mov"}, r"\.mov"),
        ({"codec": "h264", "output": "out.webm"}, r"\.webm"),
        ({"crf": 20, "output": "out.gif"}, "`crf`"),
    ],
)
def test_bad_settings_are_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    untouched: Stylizer,
    asked: dict[str, object],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    source = write_clip(tmp_path / "in.mp4")
    with pytest.raises(InputError, match=said):
        stylize_video(source, style=untouched, **{"output": "out.mp4", **asked})
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]
