"""Unusual sources: rotated, 10 bit, interlaced, with other colors, damaged."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from clips import damage, numbered_frame, remux, truncate, write_clip
from PIL import Image
from videos import first_frame, stamps

from nst_rt.errors import InputError, PartialResultError, VideoError
from nst_rt.infer.stylizer import Stylizer
from nst_rt.infer.video import VideoReader, probe, stylize_video

CORNERS = np.zeros((48, 64, 3), np.uint8)
CORNERS[:24, :32] = 250  # the top left is white


@pytest.mark.parametrize(
    ("rotation", "mirrored", "corner"),
    [
        (0, False, "top left"),
        (90, False, "bottom left"),
        (180, False, "bottom right"),
        (-90, False, "top right"),
        (0, True, "top right"),
        (90, True, "bottom right"),
    ],
)
def test_frames_are_upright(
    tmp_path: Path, untouched: Stylizer, rotation: int, mirrored: bool, corner: str
) -> None:
    source = write_clip(
        tmp_path / "in.mp4", picture=lambda _: CORNERS, rotation=rotation, mirrored=mirrored
    )
    stylize_video(source, tmp_path / "out.mp4", style=untouched)
    frame = first_frame(tmp_path / "out.mp4")
    assert frame.rotation == 0
    shown = frame.to_ndarray(format="gray")
    assert shown.shape == ((64, 48) if abs(rotation) == 90 else (48, 64))
    levels = shown[8 :: shown.shape[0] - 16, 8 :: shown.shape[1] - 16].ravel()  # of the corners
    names = ["top left", "top right", "bottom left", "bottom right"]
    assert names[levels.argmax()] == corner
    assert sorted(levels)[2] < 40


@pytest.mark.parametrize("colors", [None, (1, 1, 1, 1), (6, 1, 6, 6), (5, 2, 5, 6), (9, 1, 9, 1)])
@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", None), (".mkv", None), (".webm", "vp9")])
def test_colors_and_their_tags_are_kept(
    tmp_path: Path,
    untouched: Stylizer,
    colors: tuple[int, int, int, int] | None,
    suffix: str,
    codec: str | None,
) -> None:
    bars = np.zeros((64, 128, 3), np.uint8)
    for index, color in enumerate([(255, 0, 0), (0, 255, 0), (0, 0, 255), (40, 120, 200)]):
        bars[:, 32 * index : 32 * index + 32] = color
    source = write_clip(tmp_path / "in.mp4", picture=lambda _: bars, size=(128, 64), colors=colors)
    read = next(iter(VideoReader(source))).image.astype(int)
    assert np.abs(read[32, 16::32] - bars[32, 16::32]).max() <= 8
    output = tmp_path / f"out{suffix}"
    stylize_video(source, output, style=untouched, codec=codec, crf=5)
    frame = first_frame(output)
    said = (frame.colorspace, frame.color_range, frame.color_primaries, frame.color_trc)
    assert said == (colors or (1, 1, 1, 1))
    written = next(iter(VideoReader(output))).image.astype(int)
    assert np.abs(written[32, 16::32] - bars[32, 16::32]).max() <= 12


def test_pixel_aspect_ratio_is_kept(tmp_path: Path, untouched: Stylizer) -> None:
    source = write_clip(tmp_path / "in.mp4", aspect=Fraction(4, 3), rotation=90)
    stylize_video(source, tmp_path / "out.mp4", style=untouched)
    assert probe(tmp_path / "out.mp4").aspect == Fraction(3, 4)


def test_pixels_become_square_where_containers_cannot_store_their_ratio(
    tmp_path: Path, untouched: Stylizer
) -> None:
    source = write_clip(tmp_path / "in.mp4", aspect=Fraction(4, 3), size=(96, 64))
    stylize_video(source, tmp_path / "out.webm", style=untouched)
    info = probe(tmp_path / "out.webm")
    assert (info.width, info.height, info.aspect) == (128, 64, 1)


def test_ten_bits_give_a_warning(tmp_path: Path, untouched: Stylizer) -> None:
    source = write_clip(tmp_path / "in.mkv", pixels="yuv420p10le")
    done = stylize_video(source, tmp_path / "out.mp4", style=untouched)
    assert done.frames == 25
    assert any("8 bits" in warning for warning in done.warnings)
    assert first_frame(tmp_path / "out.mp4").format.name == "yuv420p"


def test_interlaced_frames_are_deinterlaced(tmp_path: Path, untouched: Stylizer) -> None:
    """A bar that moves between fields looks like a comb until it is deinterlaced."""

    def comb(number: int) -> np.ndarray:
        picture = np.zeros((64, 64, 3), np.uint8)
        for field in (0, 1):
            left = (8 * (2 * number + field)) % 56
            picture[field::2, left : left + 8] = 255
        return picture

    source = write_clip(tmp_path / "in.mp4", picture=comb, size=(64, 64), interlaced=True)
    done = stylize_video(source, tmp_path / "out.mp4", style=untouched, crf=5)
    assert sum("interlaced" in warning for warning in done.warnings) == 1
    assert stamps(tmp_path / "out.mp4") == stamps(source)
    with av.open(str(tmp_path / "out.mp4")) as container:
        for frame in container.decode(video=0):
            assert not frame.interlaced_frame
            shown = frame.to_ndarray(format="gray").astype(int)
            assert np.abs(np.diff(shown[20:44], axis=0)).mean() < 12  # of combs 63


def test_transport_stream_starts_at_0(tmp_path: Path, untouched: Stylizer) -> None:
    source = write_clip(tmp_path / "in.ts", pts=range(128000, 140800, 512))
    stylize_video(source, tmp_path / "out.mp4", style=untouched)
    ours, theirs = stamps(tmp_path / "out.mp4"), stamps(source)
    assert theirs[0] > 1
    assert ours == [time - theirs[0] for time in theirs]


def test_wrong_extension(tmp_path: Path, untouched: Stylizer) -> None:
    source = write_clip(tmp_path / "in.mp4", container_format="matroska")
    assert stylize_video(source, tmp_path / "out.mp4", style=untouched).frames == 25


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("a.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n"),
        ("a.mp4", "ffconcat 1.0\nfile "),
    ],
)
def test_playlists_are_not_followed(tmp_path: Path, name: str, start: str) -> None:
    write_clip(tmp_path / "clip.ts")
    (tmp_path / name).write_text(f"{start}clip.ts\n#EXT-X-ENDLIST\n")
    for read in (probe, VideoReader):
        with pytest.raises(VideoError, match="playlist"):
            read(tmp_path / name)


def test_video_without_frames_is_refused(tmp_path: Path, untouched: Stylizer) -> None:
    with pytest.raises(VideoError, match=r"in\.mp4"):
        stylize_video(
            write_clip(tmp_path / "in.mp4", pts=[]), tmp_path / "out.mp4", style=untouched
        )
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Clips of 250 frames, with few bytes between their packets."""
    folder = tmp_path_factory.mktemp("noisy")
    picture = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    made = {
        suffix: write_clip(
            folder / f"whole.{suffix}",
            pts=range(0, 512 * 250, 512),
            picture=lambda _: picture,
            options={"g": "25", "preset": "ultrafast"},
        )
        for suffix in ("mkv", "mp4", "ts")
    }
    # Its index comes first.
    made["front"] = remux(made["mp4"], folder / "front.mp4", {"movflags": "faststart"})
    return made


@pytest.mark.parametrize("share", [0, 0.05, 0.3, 0.6, 0.95, 0.98])
@pytest.mark.parametrize("kind", ["mkv", "mp4", "front"])
def test_truncated_video_keeps_all_that_is_there(
    tmp_path: Path, untouched: Stylizer, noisy: dict[str, Path], share: float, kind: str
) -> None:
    whole = noisy[kind]
    source = truncate(whole, tmp_path / f"in{whole.suffix}", share)
    output = tmp_path / "out.mp4"
    nothing = kind == "mp4" or share < 0.2
    with pytest.raises(VideoError if nothing else PartialResultError) as raised:
        stylize_video(source, output, style=untouched)
    assert str(source) in str(raised.value)
    assert "\n" not in str(raised.value)
    assert raised.value.exit_code == (2 if nothing else 3)
    if nothing:
        assert [path.name for path in tmp_path.iterdir()] == [source.name]
    else:
        assert "to 10.00 s" in str(raised.value)
        kept = stamps(output)
        assert kept == stamps(whole)[: len(kept)] or kind == "mkv"
        assert abs(len(kept) / 250 - share) < 0.15


@pytest.mark.parametrize("cut", [20, 100, 200, 400])
def test_matroska_without_its_end_is_damaged(tmp_path: Path, cut: int) -> None:
    """Also if no frame is missing, or one that is not the last to be displayed."""
    whole = write_clip(tmp_path / "whole.mkv", pts=range(0, 51200, 512))
    source = tmp_path / "in.mkv"
    source.write_bytes(whole.read_bytes()[:-cut])
    reader = VideoReader(source)
    frames = len(list(reader))
    assert 80 < frames <= 100
    assert [part.end for part in reader.damage] == [4]
    assert f"{cut} bytes" in reader.warnings[0]


@pytest.mark.parametrize("kind", ["mkv", "front", "ts"])
def test_frames_after_damage_are_kept(
    tmp_path: Path, untouched: Stylizer, noisy: dict[str, Path], kind: str
) -> None:
    source = tmp_path / f"in{noisy[kind].suffix}"
    source.write_bytes(noisy[kind].read_bytes())
    damage(source, 0.45, 0.55)
    with pytest.raises(PartialResultError, match=r"\d\.\d\d to \d\.\d\d s") as raised:
        stylize_video(source, tmp_path / "out.mp4", style=untouched)
    assert raised.value.exit_code == 3
    kept = stamps(tmp_path / "out.mp4")
    assert 180 < len(kept) < 250
    assert kept[-1] > 9.9
    damaged = [time for time in stamps(noisy["mp4"]) if 4.5 < time < 5.5]
    assert len([time for time in kept if 4.5 < time < 5.5]) < len(damaged)


def test_pauses_are_not_damage(tmp_path: Path, untouched: Stylizer) -> None:
    times = [0, 40, 80, 120, 160, 2000, 2040, 9000, 9040]
    source = write_clip(tmp_path / "in.mkv", pts=times, time_base=Fraction(1, 1000))
    assert stylize_video(source, tmp_path / "out.mkv", style=untouched).frames == 9


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("in.mkv", {}),
        ("in.mp4", {}),
        ("in.mp4", {"movflags": "frag_keyframe+empty_moov"}),
        ("in.ts", {}),
        ("in.asf", {}),
    ],
)
def test_dropped_frames_are_not_damage(tmp_path: Path, name: str, options: dict[str, str]) -> None:
    """Between the packets of a container lies more than video and audio."""
    picture = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    plain = write_clip(
        tmp_path / "plain.mp4",
        pts=[512 * number for number in range(100) if number % 27 != 26],
        picture=lambda _: picture,
        audio="aac",
        audio_seconds=4,
        options={"g": "25", "preset": "ultrafast"},
    )
    reader = VideoReader(remux(plain, tmp_path / name, options))
    assert (len(list(reader)), reader.damage, reader.warnings) == (97, [], [])


def test_folder_of_images(tmp_path: Path, untouched: Stylizer) -> None:
    (tmp_path / "frames").mkdir()
    for number in (1, 2, 3, 10, 11):
        level = numbered_frame(number, 64, 48)
        Image.fromarray(level).save(tmp_path / "frames" / f"a{number}.png")
    output = tmp_path / "out.mp4"
    done = stylize_video(tmp_path / "frames", output, style=untouched, fps=10, stability=0)
    assert done.frames == 5
    assert stamps(output) == [Fraction(number, 10) for number in range(5)]
    levels = [timed.image.mean() for timed in VideoReader(output)]
    assert np.allclose(levels, [16 + 7 * number for number in (1, 2, 3, 10, 11)], atol=3)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty"):
        stylize_video(tmp_path / "empty", tmp_path / "o.mp4", style=untouched)


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_animations_are_read_and_written(tmp_path: Path, untouched: Stylizer, suffix: str) -> None:
    source = write_clip(tmp_path / "in.mp4", audio="aac")
    animation = tmp_path / f"out{suffix}"
    done = stylize_video(source, animation, style=untouched)
    assert (done.frames, done.audio) == (25, None)
    with Image.open(animation) as opened:
        assert opened.n_frames == 25
        assert opened.info["loop"] == 0
        opened.seek(5)
        opened.load()
        assert opened.info["duration"] == 40
        level = np.asarray(opened.convert("L")).mean()
    assert abs(level - (16 + 7 * 5)) < 6
    stylize_video(animation, tmp_path / "back.mp4", style=untouched)
    assert stamps(tmp_path / "back.mp4") == stamps(source)
