import itertools
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from clips import write_clip
from conversions import over_source_of_pipe, run
from videos import Untouched, audio_bytes, stamps

from nst_rt.errors import InputError, OutputExistsError, VideoError
from nst_rt.infer.stylizer import Stylizer
from nst_rt.infer.video import VideoReader, probe, stylize_video


@pytest.fixture(scope="module")
def converted(
    film: Path, stylizer: Stylizer, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """A part of the film of 41 frames at a quarter of its size, and its conversion."""
    folder = tmp_path_factory.mktemp("film")
    source, output = folder / "part.mp4", folder / "out.mp4"
    stylize_video(film, source, style=Untouched(), end=1.64, size=(320, 180), crf=30, stability=0)
    stylize_video(source, output, style=stylizer)
    return source, output


def test_conversion_keeps_frames_rate_duration_and_audio(converted: tuple[Path, Path]) -> None:
    source, output = converted
    before, after = probe(source), probe(output)
    assert after.frames == before.frames == 41
    assert after.rate == before.rate == 25
    assert abs(after.duration - before.duration) <= 1 / 25
    assert (after.width, after.height) == (320, 180)
    assert stamps(output) == stamps(source)
    assert len(audio_bytes(source)) > 50
    assert audio_bytes(output) == audio_bytes(source)
    assert stamps(output, "audio") == stamps(source, "audio")
    assert sorted(path.name for path in source.parent.iterdir()) == ["out.mp4", "part.mp4"]


def test_frames_are_stylized_in_order(converted: tuple[Path, Path], stylizer: Stylizer) -> None:
    source, output = (list(VideoReader(path)) for path in converted)
    for number in (0, 20, 40):
        expected = stylizer(source[number].image).astype(int)
        error = np.abs(output[number].image - expected).mean()
        others = np.abs(output[(number + 20) % 60 % 41].image - expected).mean()
        assert error < 12
        assert error < others


@pytest.mark.parametrize(
    ("rate", "time_base", "tick"),
    [
        (Fraction(30000, 1001), Fraction(1, 30000), 1001),
        (Fraction(45000, 1499), Fraction(1, 45000), 1499),
        (Fraction(24000, 1001), Fraction(1, 24000), 1001),
        (Fraction(60), Fraction(1, 15360), 256),
    ],
)
def test_uncommon_rates_are_exact(
    tmp_path: Path, untouched: Stylizer, rate: Fraction, time_base: Fraction, tick: int
) -> None:
    pts = range(0, 100 * tick, tick)
    source = write_clip(tmp_path / "in.mp4", pts=pts, time_base=time_base, rate=rate)
    stylize_video(source, tmp_path / "out.mp4", style=untouched)
    assert stamps(tmp_path / "out.mp4") == stamps(source)
    assert probe(tmp_path / "out.mp4").rate == rate


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_variable_frame_rate_is_kept(tmp_path: Path, untouched: Stylizer, suffix: str) -> None:
    time_base = Fraction(1, 1000)
    pts = np.cumsum(np.random.default_rng(0).integers(10, 100, 60)) - 10
    source = write_clip(tmp_path / f"in{suffix}", pts=pts.tolist(), time_base=time_base)
    output = tmp_path / f"out{suffix}"
    stylize_video(source, output, style=untouched)
    ours, theirs = stamps(output), stamps(source)
    assert [t - ours[0] for t in ours] == [t - theirs[0] for t in theirs]


@pytest.mark.parametrize("codec", ["aac", "libmp3lame", "libopus"])
def test_audio_longer_than_video_is_kept(tmp_path: Path, untouched: Stylizer, codec: str) -> None:
    source = write_clip(tmp_path / "in.mkv", audio=codec, audio_seconds=3.0)
    stylize_video(source, tmp_path / "out.mkv", style=untouched)
    assert audio_bytes(tmp_path / "out.mkv") == audio_bytes(source)


def test_colon_in_file_name(
    tmp_path: Path, untouched: Stylizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_clip(Path("a:b.mp4"))
    assert stylize_video("a:b.mp4", "c:d.mp4", style=untouched).frames == 25


@pytest.mark.parametrize(
    ("source", "link"),
    [
        ("out.mp4", None),
        ("out.partial.mp4", None),
        ("in.mp4", "symlink_to"),
        ("in.mp4", "hardlink_to"),
    ],
)
def test_source_is_never_overwritten(tmp_path: Path, source: str, link: str | None) -> None:
    film, output = write_clip(tmp_path / source), tmp_path / "out.mp4"
    if link is not None:
        getattr(output, link)(film)
    before = film.read_bytes()
    with pytest.raises(InputError, match="source"):
        stylize_video(film, output, overwrite=True)
    assert film.read_bytes() == before


def test_source_of_pipe_is_not_overwritten(tmp_path: Path) -> None:
    film = write_clip(tmp_path / "in.mkv")
    before = film.read_bytes()
    assert run(over_source_of_pipe, film) == InputError.exit_code
    assert film.read_bytes() == before


def test_single_frame_without_audio(tmp_path: Path, untouched: Stylizer) -> None:
    source = write_clip(tmp_path / "in.mp4", pts=[0])
    done = stylize_video(source, tmp_path / "out.mp4", style=untouched)
    assert (done.frames, done.audio) == (1, None)


def test_file_without_video_is_refused(tmp_path: Path, astronaut: Path) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("no video\n" * 100)
    sound = tmp_path / "sound.mkv"
    with av.open(str(sound), "w") as container:
        container.add_stream("aac", rate=48000, layout="mono")
        container.start_encoding()
    for path in (text, sound):
        with pytest.raises(VideoError, match=path.name):
            probe(path)
    with pytest.raises(InputError, match="no such"):
        probe(tmp_path / "nothing.mp4")
    with pytest.raises(InputError, match="directory"):
        probe(tmp_path)


def test_existing_output_is_kept(tmp_path: Path, untouched: Stylizer) -> None:
    source, output = write_clip(tmp_path / "in.mp4"), tmp_path / "out.mp4"
    output.write_text("precious")
    with pytest.raises(OutputExistsError):
        stylize_video(source, output, style=untouched)
    assert output.read_text() == "precious"
    stylize_video(source, output, style=untouched, overwrite=True)
    assert probe(output).frames == 25
    with pytest.raises(InputError, match=r"\.doc"):
        stylize_video(source, tmp_path / "out.doc", style=untouched)


def test_few_frames_wait_between_stages(tmp_path: Path) -> None:
    """A slow stylizer must hold the reader back, or memory grows with the length."""
    seen = []

    class Slow(Untouched):
        def stylize(self, frame: np.ndarray) -> np.ndarray:
            seen.append(frame)
            return frame

    source = write_clip(tmp_path / "in.mp4", pts=range(0, 512 * 60, 512))
    counts = []
    stylize_video(
        source,
        tmp_path / "out.mp4",
        style=Slow(),
        progress=lambda done, *_: counts.append(len(seen) - done),
    )
    assert max(counts) <= 6
    assert len(counts) == 60


class Flickering(Untouched):
    """Adds noise that differs in each frame."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(0)

    def stylize(self, frame: np.ndarray) -> np.ndarray:
        noise = self._random.normal(0, 20, frame.shape[:2])[..., None]
        return np.clip(frame * 0.6 + 50 + noise, 0, 255).astype(np.uint8)


def test_stabilized_conversion_flickers_less(converted: tuple[Path, Path], tmp_path: Path) -> None:
    changes = []
    for stability in (0, None):
        output = tmp_path / f"{stability}.mp4"
        stylize_video(converted[0], output, style=Flickering(), stability=stability, crf=5)
        frames = [timed.image.astype(float) for timed in VideoReader(output)]
        assert len(frames) == 41
        pairs = itertools.pairwise(frames)
        changes.append(np.mean([np.abs(a - b).mean() for a, b in pairs]))
    assert changes[1] < 0.6 * changes[0]
