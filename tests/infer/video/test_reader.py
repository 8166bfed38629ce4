"""Files with unusual streams, tags, transparency, rates and durations."""

from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest
from clips import remux, write_clip, write_image_film
from conversions import read_and_collect, run, through_pipes
from PIL import Image, ImageCms
from videos import audio_bytes, stamps

from nst_rt.errors import VideoError
from nst_rt.infer.stylizer import Stylizer
from nst_rt.infer.video import VideoReader, probe, stylize_video
from nst_rt.infer.video import reader as video_reader


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".flv", ".ts", "pipe"])
def test_no_frame_is_lost_after_audio_stored_first(tmp_path: Path, suffix: str) -> None:
    """The decoder holds frames until its stream ends."""
    plain = write_clip(tmp_path / "plain.mp4", audio="aac", options={"bf": "3"})
    source = remux(plain, tmp_path / f"in{suffix if suffix != 'pipe' else '.mkv'}", step=-1)
    with av.open(str(source)) as container:
        assert container.streams[0].type == "audio"
    if suffix == "pipe":
        output = tmp_path / "out.mp4"
        assert run(through_pipes, source, None, output) == 0
        assert len(stamps(output)) == 25
        return
    reader = VideoReader(source)
    assert (len(list(reader)), reader.damage) == (25, [])


def test_tags_in_latin_1_are_kept(tmp_path: Path, untouched: Stylizer) -> None:
    source = write_clip(
        tmp_path / "in.avi",
        codec="mjpeg",
        pixels="yuvj420p",
        metadata={"title": "F_te"},
        time_base=Fraction(1, 25),
        pts=range(25),
    )
    source.write_bytes(source.read_bytes().replace(b"F_te", b"F\xeate"))
    assert stylize_video(source, tmp_path / "out.mp4", style=untouched).frames == 25
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.metadata["title"] == "Fête"
    animation = tmp_path / "in.gif"
    Image.new("L", (64, 48)).save(animation, comment=b"F\xeate")
    assert probe(animation).width == 64


def test_file_name_in_latin_1(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4")
    renamed = source.rename(tmp_path / b"F\xeate.mp4".decode(errors="surrogateescape"))
    assert len(list(VideoReader(renamed))) == 25


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [
        ("in.mov", "qtrle", "argb"),
        ("in.mov", "prores_ks", "yuva444p10le"),
        ("in.mov", "png", "rgba"),
        ("in.apng", "apng", "rgba"),
        ("in.webm", "libvpx-vp9", "yuva420p"),
        ("in.webm", "libvpx", "yuva420p"),
    ],
)
@pytest.mark.parametrize("alpha", [0, 128, 255])
def test_transparent_videos_are_composited_over_white(
    tmp_path: Path, name: str, codec: str, pixels: str, alpha: int
) -> None:
    """Half of each frame is opaque red, the other one more or less transparent blue."""
    bgra = np.zeros((48, 64, 4), np.uint8)
    bgra[:, :32, [2, 3]], bgra[:, 32:, 0], bgra[:, 32:, 3] = 255, 255, alpha
    source = tmp_path / name
    with av.open(str(source), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixels
        if "vpx" in codec:
            stream.options = {"auto-alt-ref": "0"}
        for number in range(3):
            frame = av.VideoFrame.from_ndarray(bgra, format="bgra").reformat(format=pixels)
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    reader = VideoReader(source)
    frames = [timed.image.astype(int) for timed in reader]
    assert len(frames) == 3
    for frame in frames:
        assert np.abs(frame[24, 16] - [0, 0, 255]).max() < 8
        assert np.abs(frame[24, 48] - [255, 255 - alpha, 255 - alpha]).max() < 8
    told = [warning for warning in reader.warnings if "transparent" in warning]
    assert len(told) == (alpha < 255)


def test_transparent_gif_is_composited_over_white(tmp_path: Path) -> None:
    pictures = [Image.new("P", (64, 48), 1) for _ in range(3)]
    for picture in pictures:
        picture.putpalette([0, 0, 0, 0, 0, 255])
        picture.paste(0, (32, 0, 64, 48))
    source = tmp_path / "in.gif"
    pictures[0].save(
        source, save_all=True, append_images=pictures[1:], transparency=0, disposal=2, duration=40
    )
    reader = VideoReader(source)
    for timed in reader:
        assert timed.image[24, [16, 48]].tolist() == [[255, 0, 0], [255, 255, 255]]
    assert len(reader.warnings) == 1


@pytest.mark.parametrize("piped", [False, True])
def test_missing_rate_is_measured(tmp_path: Path, untouched: Stylizer, piped: bool) -> None:
    """A browser's recording: WebM without durations, times in milliseconds."""
    gaps = np.random.default_rng(0).integers(20, 50, 60)
    times = np.cumsum(gaps).tolist()
    plain = write_clip(
        tmp_path / "plain.webm", pts=times, time_base=Fraction(1, 1000), codec="libvpx"
    )
    source, output = tmp_path / "in.webm", tmp_path / "out.mp4"
    remux(plain, source, {"live": "1"}, change=lambda packet: setattr(packet, "duration", 0))
    with av.open(str(source)) as container:
        assert container.streams.video[0].guessed_rate == 1000
    if piped:
        assert run(through_pipes, source, None, output) == 0
    else:
        assert probe(source).rate == 1000 / Fraction(int(np.sort(gaps[1:32])[15]))
        stylize_video(source, output, style=untouched)
    assert stamps(output) == [Fraction(time, 1000) for time in times]
    with av.open(str(output)) as container:
        assert container.streams.video[0].codec_context.level <= 13


def test_high_rate_is_kept(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", pts=range(0, 2500, 50), rate=Fraction(256))
    assert probe(source).rate == 256


@pytest.mark.parametrize("segment", [1, 2, 250])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
def test_slides_keep_their_durations(
    tmp_path: Path, untouched: Stylizer, suffix: str, segment: int
) -> None:
    """The duration of a frame in MP4 is the time to the one stored after it."""
    plain = write_clip(
        tmp_path / "plain.mp4",
        pts=[0, 3000, 3500],
        time_base=Fraction(1, 1000),
        options={"bf": "2", "b_strategy": "0"},
    )
    source = tmp_path / "in.mp4"
    with av.open(str(plain)) as old, av.open(str(source), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        packets = [packet for packet in old.demux() if packet.size]
        stored = [(0, -3500, 3000), (3500, -500, 500), (3000, 0, 100)]  # pts, dts, duration
        for packet, (pts, dts, duration) in zip(packets, stored, strict=True):
            packet.stream, packet.time_base = stream, Fraction(1, 1000)
            packet.pts, packet.dts, packet.duration = pts, dts, duration
            new.mux(packet)
    reader = VideoReader(source)
    shown = [(timed.pts * reader.time_base, timed.duration * reader.time_base) for timed in reader]
    assert shown == [(0, 3), (3, Fraction(1, 2)), (Fraction(7, 2), Fraction(1, 10))]
    output = tmp_path / f"out{suffix}"
    stylize_video(source, output, style=untouched, segment=segment)
    assert probe(output).duration == pytest.approx(3.6)
    assert stamps(output) == [0, 3, Fraction(7, 2)]


def test_last_frame_of_part_ends_with_it(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", pts=[0, 6400, 12800])
    reader = VideoReader(source, end=0.75)
    assert [timed.duration * reader.time_base for timed in reader] == [
        Fraction(1, 2),
        Fraction(1, 4),
    ]


def test_video_that_starts_late_is_not_damaged(tmp_path: Path) -> None:
    """In Matroska, FFmpeg writes the end of a stream in place of its duration."""
    source = write_clip(tmp_path / "in.mkv", pts=range(25600, 38400, 512))
    reader = VideoReader(source)
    assert (len(list(reader)), reader.damage) == (25, [])
    assert reader.info.duration == 1


def test_unknown_video_codec_is_refused(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", audio="aac")
    source.write_bytes(source.read_bytes().replace(b"avc1", b"xvz9"))
    with pytest.raises(VideoError, match="codec"):
        probe(source)


def test_unknown_audio_codec_leaves_the_known_one(tmp_path: Path, untouched: Stylizer) -> None:
    source = write_clip(tmp_path / "in.mp4", audio="aac", languages=["eng", "fra"])
    data = bytearray(source.read_bytes())
    name, kind = data.rindex(b"mp4a"), data.index(0x40, data.rindex(b"esds"))
    data[name : name + 4], data[kind] = b"xpac", 0
    source.write_bytes(data)
    assert probe(source).audio == "aac"
    done = stylize_video(source, tmp_path / "out.mp4", style=untouched)
    assert (done.frames, done.audio) == (25, "aac")
    assert audio_bytes(tmp_path / "out.mp4") == audio_bytes(source)
    assert len([track for track in done.tracks if track.action == "left out"]) == 1


@pytest.mark.parametrize("name", ["in.png", "in.jpg", "in.webp", "in.bmp", "in.tif", "in.avif"])
def test_photo_is_refused(tmp_path: Path, untouched: Stylizer, name: str) -> None:
    Image.new("RGB", (64, 48)).save(tmp_path / name, icc_profile=_srgb())
    with pytest.raises(VideoError, match="nst-rt image"):
        stylize_video(tmp_path / name, tmp_path / "out.mp4", style=untouched)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_images_in_one_file_are_a_video(tmp_path: Path) -> None:
    source = tmp_path / "in.png"
    source.write_bytes(b"".join(_encoded((64, 48), "PNG", red) for red in (0, 50, 100)))
    assert [timed.image[0, 0, 2] for timed in VideoReader(source)] == [0, 50, 100]


def _encoded(size: tuple[int, int], form: str, red: int = 200, **more: object) -> bytes:
    file = BytesIO()
    Image.new("RGB", size, (red, 0, 0)).save(file, form, **more)
    return file.getvalue()


def _srgb() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def test_color_profiles_in_frames(tmp_path: Path) -> None:
    """In a process of its own, which freeing them twice would kill."""
    source = write_image_film(
        tmp_path / "in.mov", "png", [_encoded((64, 48), "PNG", icc_profile=_srgb())] * 3
    )
    assert run(read_and_collect, source, 3) == 0


def test_exif_orientation_in_frames(tmp_path: Path) -> None:
    """Cameras write it into each frame of Motion JPEG."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "camera"
    plain, turned = _encoded((64, 48), "JPEG"), _encoded((64, 48), "JPEG", exif=exif)
    source = write_image_film(tmp_path / "turned.avi", "mjpeg", [turned] * 3)
    assert [timed.image.shape for timed in VideoReader(source)] == [(64, 48, 3)] * 3
    source = write_image_film(tmp_path / "turns.avi", "mjpeg", [plain, turned, plain])
    frames = [timed.image for timed in VideoReader(source)]
    assert [frame.shape for frame in frames] == [(48, 64, 3)] * 3
    assert [bool(frame[24, 0].any()) for frame in frames] == [True, False, True]


@pytest.mark.parametrize(
    ("size", "asked", "shape", "bars"),
    [
        ((48, 64), {}, (48, 64), ("x", 14)),  # turned midway
        ((128, 48), {}, (48, 64), ("y", 12)),
        ((128, 96), {}, (48, 64), None),  # of the same shape
        ((48, 64), {"size": (128, 48)}, (48, 128), ("x", 28)),  # which stretches all alike
    ],
)
def test_frames_of_another_shape_get_bars(
    tmp_path: Path,
    size: tuple[int, int],
    asked: dict[str, tuple[int, int]],
    shape: tuple[int, int],
    bars: tuple[str, int] | None,
) -> None:
    source = write_image_film(
        tmp_path / "in.mkv", "mjpeg", [_encoded((64, 48), "JPEG"), _encoded(size, "JPEG")] * 2
    )
    reader = VideoReader(source, **asked)
    frames = [timed.image for timed in reader]
    assert [frame.shape[:2] for frame in frames] == [shape] * 4
    assert frames[0][..., 2].min() > 150
    lit = frames[1][..., 2] > 100
    if bars is None:
        assert lit.all()
    else:
        along = lit.any(axis=0 if bars[0] == "x" else 1)
        assert abs(int(along.argmax()) - bars[1]) <= 1
        assert abs(int(along[::-1].argmax()) - bars[1]) <= 1
    assert len([warning for warning in reader.warnings if "size" in warning]) == 1


def test_interlaced_frames_that_change_their_size(tmp_path: Path) -> None:
    """As in a broadcast, between two programs."""
    picture = np.zeros((96, 128, 3), np.uint8)
    picture[:, 64:] = 200
    parts = [
        write_clip(tmp_path / "1.ts", interlaced=True),
        write_clip(
            tmp_path / "2.ts",
            interlaced=True,
            size=(128, 96),
            pts=range(25600, 38400, 512),
            picture=lambda _: picture,
        ),
    ]
    source = tmp_path / "in.ts"
    source.write_bytes(b"".join(part.read_bytes() for part in parts))
    reader = VideoReader(source)
    frames = [timed.image for timed in reader]
    assert {frame.shape for frame in frames} == {(48, 64, 3)}
    assert np.abs(frames[-1][24, [16, 48]].astype(int) - [[0] * 3, [200] * 3]).max() < 20
    assert len(reader.warnings) == 2


def test_a_size_that_only_the_stream_announces_is_limited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = write_clip(tmp_path / "small.h264", pts=range(0, 2560, 512))
    large = write_clip(tmp_path / "large.h264", pts=range(0, 1024, 512), size=(640, 480))
    both = tmp_path / "both.h264"
    both.write_bytes(small.read_bytes() + large.read_bytes() + small.read_bytes())
    assert len([*VideoReader(both).frames()]) == 12
    monkeypatch.setattr(video_reader, "_MOST_PIXELS", 100_000)
    limited = VideoReader(both)
    assert len([*limited.frames()]) == 10
    assert len(limited.damage) == 1


def test_a_damaged_first_key_frame_is_reported(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", options={"g": "10", "bf": "0"})
    with av.open(str(source)) as container:
        first = next(packet for packet in container.demux(video=0))
        place, size = first.pos, first.size
    content = bytearray(source.read_bytes())
    content[place + 4 : place + size] = bytes(size - 4)
    source.write_bytes(content)
    reader = VideoReader(source)
    times = [timed.pts for timed in reader.frames()]
    assert len(times) == 15
    [damage] = reader.damage
    assert (damage.start, round(damage.end, 2)) == (0, 0.4)
