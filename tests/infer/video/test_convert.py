import itertools
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from clips import write_clip
from conversions import over_its_own_pipe, run
from videos import Untouched, audio_bytes, stamps

from nst_rt.errors import InputError, OutputExistsError, VideoError
from nst_rt.infer.stylizer import Stylizer
from nst_rt.infer.video import Settings, VideoReader, check_conversion, probe, stylize_video


@pytest.fixture(scope="module")
def converted(
    film: Path, stylizer: Stylizer, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """A part of the film of 41 frames at a quarter of its size, and its conversion."""
    folder = tmp_path_factory.mktemp("film")
    source, output = folder / "part.mp4", folder / "out.mp4"
    with av.open(str(film)) as whole, av.open(str(source), "w") as part:
        video = part.add_stream("libx264", rate=25, options={"crf": "30"})
        video.width, video.height, video.pix_fmt = 320, 180, "yuv420p"
        audio = part.add_stream_from_template(whole.streams.audio[0])
        for packet in whole.demux(whole.streams.audio[0]):
            if packet.dts is not None and packet.pts * packet.time_base < 1.64:
                packet.stream = audio
                part.mux(packet)
        whole.seek(0)
        for number, frame in enumerate(whole.decode(video=0)):
            if number == 41:
                break
            part.mux(video.encode(frame.reformat(320, 180, "yuv420p")))
        part.mux(video.encode(None))
    stylize_video(source, output, style=stylizer)
    return source, output


def test_a_conversion_has_the_frames_rate_and_duration_of_its_source(
    converted: tuple[Path, Path],
) -> None:
    source, output = (probe(path) for path in converted)
    assert output.frames == source.frames == 41
    assert output.rate == source.rate == 25
    assert abs(output.duration - source.duration) <= 1 / 25
    assert (output.width, output.height) == (320, 180)
    assert stamps(converted[1]) == stamps(converted[0])


def test_the_audio_packets_are_copied_bit_by_bit(converted: tuple[Path, Path]) -> None:
    source, output = converted
    assert len(audio_bytes(source)) > 50
    assert audio_bytes(output) == audio_bytes(source)
    assert stamps(output, "audio") == stamps(source, "audio")


def test_frames_are_stylized_and_stay_in_order(
    converted: tuple[Path, Path], stylizer: Stylizer
) -> None:
    source, output = (list(VideoReader(path)) for path in converted)
    for number in (0, 20, 40):
        expected = stylizer(source[number].frame).astype(int)
        error = np.abs(output[number].frame - expected).mean()
        others = np.abs(output[(number + 20) % 60 % 41].frame - expected).mean()
        assert error < 12
        assert error < others


def test_no_partial_file_stays(converted: tuple[Path, Path]) -> None:
    assert sorted(p.name for p in converted[0].parent.iterdir()) == ["out.mp4", "part.mp4"]


@pytest.mark.parametrize(
    ("rate", "time_base", "tick"),
    [
        (Fraction(30000, 1001), Fraction(1, 30000), 1001),
        (Fraction(45000, 1499), Fraction(1, 45000), 1499),
        (Fraction(24000, 1001), Fraction(1, 24000), 1001),
        (Fraction(60), Fraction(1, 15360), 256),
    ],
)
def test_odd_rates_stay_exact(
    tmp_path: Path, untouched: Stylizer, rate: Fraction, time_base: Fraction, tick: int
) -> None:
    pts = range(0, 100 * tick, tick)
    source = write_clip(tmp_path / "in.mp4", pts=pts, time_base=time_base, rate=rate)
    stylize_video(source, tmp_path / "out.mp4", style=untouched)
    assert stamps(tmp_path / "out.mp4") == stamps(source)
    assert probe(tmp_path / "out.mp4").rate == rate


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_a_variable_frame_rate_is_kept(tmp_path: Path, untouched: Stylizer, suffix: str) -> None:
    time_base = Fraction(1, 1000)
    pts = np.cumsum(np.random.default_rng(0).integers(10, 100, 60)) - 10
    source = write_clip(tmp_path / f"in{suffix}", pts=pts.tolist(), time_base=time_base)
    output = tmp_path / f"out{suffix}"
    stylize_video(source, output, style=untouched)
    ours, theirs = stamps(output), stamps(source)
    assert [t - ours[0] for t in ours] == [t - theirs[0] for t in theirs]


@pytest.mark.parametrize("codec", ["aac", "libmp3lame", "libopus"])
def test_audio_longer_than_the_video_is_kept(
    tmp_path: Path, untouched: Stylizer, codec: str
) -> None:
    source = write_clip(tmp_path / "in.mkv", audio=codec, audio_seconds=3.0)
    stylize_video(source, tmp_path / "out.mkv", style=untouched)
    assert audio_bytes(tmp_path / "out.mkv") == audio_bytes(source)


def test_no_audio_is_fine(tmp_path: Path, untouched: Stylizer) -> None:
    source = write_clip(tmp_path / "in.mp4")
    assert stylize_video(source, tmp_path / "out.mp4", style=untouched).audio is None


def test_a_colon_in_a_name_is_no_protocol(
    tmp_path: Path, untouched: Stylizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_clip(Path("a:b.mp4"))
    assert stylize_video("a:b.mp4", "c:d.mp4", style=untouched).frames == 25


@pytest.mark.parametrize("source", ["out.mp4", "out.partial.mp4"])
def test_the_source_is_never_written_over(tmp_path: Path, untouched: Stylizer, source: str) -> None:
    film = write_clip(tmp_path / source)
    before = film.read_bytes()
    with pytest.raises(InputError, match="over the source"):
        stylize_video(film, tmp_path / "out.mp4", style=untouched, overwrite=True)
    assert film.read_bytes() == before


@pytest.mark.parametrize("kind", ["symlink_to", "hardlink_to"])
def test_another_name_of_the_source_is_not_written_over(tmp_path: Path, kind: str) -> None:
    film = write_clip(tmp_path / "in.mp4")
    getattr(tmp_path / "out.mp4", kind)(film)
    with pytest.raises(InputError, match="over the source"):
        check_conversion(film, tmp_path / "out.mp4", Settings(overwrite=True))


def test_what_a_pipe_comes_from_is_not_written_over(tmp_path: Path) -> None:
    film = write_clip(tmp_path / "in.mkv")
    before = film.read_bytes()
    assert run(over_its_own_pipe, film) == InputError.exit_code
    assert film.read_bytes() == before


def test_odd_sizes_stay(tmp_path: Path, untouched: Stylizer) -> None:
    source = tmp_path / "in.avi"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 67, 45, "bgr0"
        for level in range(10):
            frame = np.full((45, 67, 3), level * 20, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="bgr24")))
        container.mux(stream.encode(None))
    stylize_video(source, tmp_path / "out.mp4", style=untouched)
    info = probe(tmp_path / "out.mp4")
    assert (info.width, info.height, info.frames) == (67, 45, 10)


def test_colors_survive(tmp_path: Path, untouched: Stylizer) -> None:
    colors = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [40, 120, 200]], np.uint8)
    bars = np.repeat(np.repeat(colors[None], 64, 0), 16, 1)

    class Bars(Untouched):
        def stylize(self, frame: np.ndarray) -> np.ndarray:
            return bars

    stylize_video(write_clip(tmp_path / "in.mp4"), tmp_path / "out.mp4", style=Bars())
    with av.open(str(tmp_path / "out.mp4")) as container:
        frame = next(container.decode(video=0))
        assert (frame.colorspace, frame.color_range) == (1, 1)  # BT.709, limited
        shown = frame.to_ndarray(format="bgr24").astype(int)
    for index, color in enumerate(colors):
        middle = shown[32, index * 16 + 8]
        assert np.abs(middle - color).max() <= 8


def test_one_frame_is_a_video(tmp_path: Path, untouched: Stylizer) -> None:
    source = write_clip(tmp_path / "in.mp4", pts=[0])
    assert stylize_video(source, tmp_path / "out.mp4", style=untouched).frames == 1


def test_not_a_video(tmp_path: Path, astronaut: Path) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("no video\n" * 100)
    sound = tmp_path / "sound.mkv"
    with av.open(str(sound), "w") as container:
        container.add_stream("aac", rate=48000, layout="mono")
        container.start_encoding()
    for path in (text, sound):
        with pytest.raises(VideoError, match=path.name):
            probe(path)
    with pytest.raises(InputError, match="no such file"):
        probe(tmp_path / "nothing.mp4")
    with pytest.raises(InputError, match="directory"):
        probe(tmp_path)


def test_an_existing_output_is_kept(tmp_path: Path, untouched: Stylizer) -> None:
    source = write_clip(tmp_path / "in.mp4")
    output = tmp_path / "out.mp4"
    output.write_text("precious")
    with pytest.raises(OutputExistsError):
        stylize_video(source, output, style=untouched)
    assert output.read_text() == "precious"
    stylize_video(source, output, style=untouched, overwrite=True)
    assert probe(output).frames == 25


def test_an_unknown_container(tmp_path: Path, untouched: Stylizer) -> None:
    source = write_clip(tmp_path / "in.mp4")
    with pytest.raises(InputError, match="unknown video format"):
        stylize_video(source, tmp_path / "out.doc", style=untouched)


def test_few_frames_lie_between_the_stages(tmp_path: Path) -> None:
    """A slow stylizer must hold the reader back, or memory grows with the film."""
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
        on_frame=lambda done, _: counts.append(len(seen) - done),
    )
    assert max(counts) <= 6
    assert len(counts) == 60


class Boiling(Untouched):
    """Paints noise over each frame."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(0)

    def stylize(self, frame: np.ndarray) -> np.ndarray:
        noise = self._random.normal(0, 20, frame.shape[:2])[..., None]
        return np.clip(frame * 0.6 + 50 + noise, 0, 255).astype(np.uint8)


def test_a_stabilized_conversion_boils_less(converted: tuple[Path, Path], tmp_path: Path) -> None:
    changes = []
    for stability in (0, None):
        output = tmp_path / f"{stability}.mp4"
        stylize_video(converted[0], output, style=Boiling(), stability=stability, crf=5)
        frames = [timed.frame.astype(float) for timed in VideoReader(output)]
        assert len(frames) == 41
        pairs = itertools.pairwise(frames)
        changes.append(np.mean([np.abs(a - b).mean() for a, b in pairs]))
    assert changes[1] < 0.6 * changes[0]
