from collections.abc import Sequence
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from optimizer_runs import HOLD, names
from torch import Tensor

from nst_rt.infer.video.encoder import H264_SUFFIXES
from nst_rt.infer.video.timelapse import timelapse

# Where each of them survives the encoder best.
COLORS = ((0.9, 0.1, 0.1), (0.1, 0.9, 0.1), (0.1, 0.1, 0.9), (0.8, 0.5, 0.15), (0.5, 0.5, 0.5))


def plain(color: tuple[float, ...], height: int = 48, width: int = 64) -> Tensor:
    return torch.tensor(color).view(1, 3, 1, 1).expand(1, 3, height, width).clone()


def gray(number: int) -> Tensor:
    """An image of one gray level per number, which survives encoding."""
    return plain((0.1 + 0.08 * number,) * 3)


def make(path: Path, count: int, *, first: int = 0, earlier: int = 0) -> None:
    with timelapse(path, overwrite=True)((48, 64), earlier) as write:
        for number in range(first, first + count):
            write(gray(number))


def interrupt(path: Path, images: Sequence[Tensor], *, earlier: int = 0) -> None:
    """Write images, then fail."""

    def work() -> None:
        with timelapse(path, overwrite=True)((48, 64), earlier) as write:
            for image in images:
                write(image)
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        work()


def shown(path: Path) -> list[np.ndarray]:
    """All frames, RGB in [0, 1], in the colors that the file says it has."""
    with av.open(str(path)) as container:
        return [f.to_ndarray(format="rgb24") / 255 for f in container.decode(video=0)]


def numbers(path: Path) -> list[int]:
    """Which `gray` each frame is."""
    return [round((float(frame.mean()) - 0.1) / 0.08) for frame in shown(path)]


@pytest.mark.parametrize("suffix", [*H264_SUFFIXES, ".MP4"])
def test_one_frame_per_image_and_the_last_is_held(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"t{suffix}"
    make(path, 5)
    assert names(tmp_path) == [path.name]
    assert numbers(path) == [0, 1, 2, 3] + [4] * (1 + HOLD)
    video = cv2.VideoCapture(str(path))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 5 + HOLD
    assert video.get(cv2.CAP_PROP_FPS) == 30
    video.release()


def test_format_is_what_players_expect(tmp_path: Path) -> None:
    make(tmp_path / "t.mp4", 2)
    with av.open(str(tmp_path / "t.mp4")) as container:
        (stream,) = container.streams
        assert isinstance(stream, av.video.stream.VideoStream)
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert float(stream.duration * stream.time_base) == pytest.approx((2 + HOLD) / 30)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((48, 64), (48, 64)),
        ((47, 65), (46, 64)),  # chroma has half the size: even sides
        ((1, 64), (16, 64)),  # the minimum of the encoder
        ((1000, 1921), (998, 1920)),
        ((3840, 2160), (1920, 1080)),
    ],
)
def test_sides_are_even_and_at_most_1920(
    tmp_path: Path, shape: tuple[int, int], expected: tuple[int, int]
) -> None:
    with timelapse(tmp_path / "t.mp4")(shape, 0) as write:
        write(torch.full((1, 3, *shape), 0.6))
        write(torch.full((1, 3, *(max(side // 4, 1) for side in shape)), 0.6))  # coarser
    with av.open(str(tmp_path / "t.mp4")) as container:
        video = container.streams.video[0]
        assert (video.height, video.width) == expected
        for frame in container.decode(video=0):
            levels = frame.to_ndarray(format="rgb24")
            assert np.abs(levels - 0.6 * 255).max() <= 4


def test_coarse_image_fills_the_frame(tmp_path: Path) -> None:
    image = torch.zeros(1, 3, 12, 16)
    image[..., 8:] = 1
    with timelapse(tmp_path / "t.mp4")((48, 64), 0) as write:
        write(image)
    frame = shown(tmp_path / "t.mp4")[0]
    assert frame.shape == (48, 64, 3)
    assert frame[:, :28].max() < 0.1
    assert frame[:, 36:].min() > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(48, 64), (720, 1280)])
def test_colors_survive(tmp_path: Path, shape: tuple[int, int]) -> None:
    with timelapse(tmp_path / "t.mp4")(shape, 0) as write:
        for color in COLORS:
            write(plain(color, *shape))
    frames = shown(tmp_path / "t.mp4")
    for frame, color in zip(frames, COLORS, strict=False):
        assert np.abs(frame.mean((0, 1)) - color).max() < 0.02
    last = frames[-1].mean((0, 1))
    assert np.abs(last - COLORS[-1]).max() < 0.02


def test_colors_are_tagged(tmp_path: Path) -> None:
    """Without tags players guess by the size: BT.709 from 720 lines on, BT.601 below."""
    make(tmp_path / "t.mp4", 1)
    with av.open(str(tmp_path / "t.mp4")) as container:
        frame = next(container.decode(video=0))
        assert (frame.colorspace, frame.color_range) == (1, 1)  # BT.709, limited


def test_exception_leaves_a_partial_video_that_plays(tmp_path: Path) -> None:
    path = tmp_path / "t.mp4"
    path.write_text("an earlier one")
    interrupt(path, [gray(number) for number in range(7)])
    assert path.read_text() == "an earlier one"
    assert names(tmp_path) == ["t.mp4", "t.partial.mp4"]
    assert numbers(tmp_path / "t.partial.mp4") == list(range(7))


@pytest.mark.parametrize("suffix", H264_SUFFIXES)
def test_exception_before_the_first_frame_leaves_nothing(tmp_path: Path, suffix: str) -> None:
    interrupt(tmp_path / f"t{suffix}", [])
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["t.mp4", "t.mkv", "100%02d.mp4", "a:b.mp4"])
def test_resume_appends_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    interrupt(Path(name), [gray(number) for number in range(4)])
    make(Path(name), 3, first=4, earlier=99)
    assert numbers(tmp_path / name) == [0, 1, 2, 3, 4, 5] + [6] * (1 + HOLD)
    assert names(tmp_path) == [name]


def test_resume_interrupted_before_a_new_frame_keeps_the_earlier_ones(tmp_path: Path) -> None:
    interrupt(tmp_path / "t.mp4", [gray(number) for number in range(4)])
    interrupt(tmp_path / "t.mp4", [], earlier=99)
    assert names(tmp_path) == ["t.partial.mp4"]
    assert numbers(tmp_path / "t.partial.mp4") == [0, 1, 2, 3]


def test_resume_keeps_colors(tmp_path: Path) -> None:
    path = tmp_path / "t.mp4"
    interrupt(path, [plain(color) for color in COLORS])
    for _ in range(2):
        interrupt(path, [gray(0)], earlier=99)
    with timelapse(path)((48, 64), 99) as write:
        write(gray(0))
    for frame, color in zip(shown(path), COLORS, strict=False):
        assert np.abs(frame.mean((0, 1)) - color).max() < 0.03


@pytest.mark.parametrize(
    ("leftover", "earlier"), [("t.partial.mp4", 0), (".t.partial.mp4", 0), ("other.mp4", 99)]
)
def test_leftovers_are_ignored_and_a_missing_partial_video_is_no_error(
    tmp_path: Path, leftover: str, earlier: int
) -> None:
    make(tmp_path / leftover, 3)
    make(tmp_path / "t.mp4", 2, earlier=earlier)
    assert numbers(tmp_path / "t.mp4") == [0] + [1] * (1 + HOLD)


def test_resume_of_an_unreadable_video_warns(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "t.partial.mp4").write_text("killed before its index was written")
    make(tmp_path / "t.mp4", 2, earlier=99)
    assert numbers(tmp_path / "t.mp4") == [0] + [1] * (1 + HOLD)
    (warning,) = caplog.messages
    assert "t.mp4" in warning
    assert names(tmp_path) == ["t.mp4"]
