"""What a video is: what its container says of it, its colours, its timed frames."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeAlias

import av
from av.container import InputContainer
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from nst_rt.errors import VideoError
from nst_rt.files import check_input
from nst_rt.images import Frame

Packet: TypeAlias = "av.Packet[Any]"

STDIO = "-"  # a pipe instead of a file

# Codes of ITU-T H.273.
_UNSPECIFIED = 2
_BT709, _BT601, _BT2020 = 1, 6, 9
_LIMITED, _FULL = 1, 2
_MATRICES = {1: 1, 4: 4, 5: 5, 6: 6, 7: 7, 9: 9, 10: 9}  # those that swscale knows
_HD = 720  # lines from which a video that does not say is taken for BT.709, as players do

# Clocks of broadcasts start anywhere.
_OWN_CLOCK = {"mpegts", "mpeg"}
# Containers that tell how long each stream is; others tell what the longest one is, or guess.
_EXACT = ("mov", "matroska")
# Names of Matroska's first two elements.
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"


@dataclass(frozen=True)
class Colours:
    """How YUV stands for colours: codes of ITU-T H.273.

    Attributes:
        matrix: from RGB to YUV.
        range: 1 for limited (16-235), 2 for full.
        primaries, transfer: of the RGB, 2 if not known.
    """

    matrix: int = _BT709
    range: int = _LIMITED
    primaries: int = _BT709
    transfer: int = _BT709


@dataclass(frozen=True)
class VideoInfo:
    """What a video's container says of it.

    Attributes:
        width, height: pixels, before rotation.
        rate: frames per second, exact.
        time_base: seconds per tick of the timestamps, exact.
        start: of the video stream, in ticks.
        frames: number of frames; estimated where the container does not tell, 0 if it cannot be.
        duration: of the video stream in seconds, if the container tells.
        audio: codec of the first audio stream, if there is one.
        aspect: width of a pixel by its height.
        source_colours: how the source's colours are decoded.
        colours: what an output is written in; as the source where that says, else BT.709.
        origin: ticks on the container's own clock that count as 0.
        exact: the duration is that of the video alone, to a frame.
        missing: bytes that the file's end lacks.
    """

    width: int
    height: int
    rate: Fraction
    time_base: Fraction
    start: int
    frames: int
    duration: float | None
    audio: str | None
    aspect: Fraction = Fraction(1)
    source_colours: Colours = Colours()
    colours: Colours = Colours()
    origin: int = 0
    exact: bool = False
    missing: int = 0


@dataclass(frozen=True)
class TimedFrame:
    """A frame and its time in ticks.

    Attributes:
        frame: shape (H, W, 3), uint8 BGR.
        pts: when it appears, in ticks of the video's time base.
        duration: in ticks; 0 if it is not known.
        source: `pts` of the source's frame that it was made of, in the source's ticks.
    """

    frame: Frame
    pts: int
    duration: int = 0
    source: int = 0


def probe(path: Path | str) -> VideoInfo:
    """Read a video file's headers.

    Raises:
        InputError: no such file.
        VideoError: not a video, without frames, or cut off before its index.
    """
    path = check_input(path)
    try:
        with av.open(url(path)) as container:
            return video_info(path, container)
    except (av.FFmpegError, OSError) as error:
        raise not_a_video(path, error) from error


def not_a_video(path: Path | str, error: av.FFmpegError | OSError) -> VideoError:
    """What to say of a file that FFmpeg cannot open."""
    return VideoError(f"{path}: not a video that can be read, or a damaged one ({error.strerror})")


def url(path: Path | str) -> str:
    """For FFmpeg, which takes what stands before a colon in a relative path for a protocol."""
    return str(Path(path).absolute())


def main_video(container: InputContainer) -> VideoStream | None:
    """The stream that is converted: the first that is no cover picture."""
    streams = container.streams.video
    return next((s for s in streams if not s.disposition & Disposition.attached_pic), None)


def video_stream(path: Path | str, container: InputContainer) -> VideoStream:
    """`main_video`, which must be there.

    Raises:
        VideoError: there is none.
    """
    stream = main_video(container)
    if stream is None:
        raise VideoError(f"{path}: no video in this file")
    return stream


def video_info(path: Path | str, container: InputContainer) -> VideoInfo:
    """`probe` for a container that is open; `path` is only named in errors, or `-`."""
    stream = video_stream(path, container)
    rate, time_base = stream.average_rate or stream.guessed_rate, stream.time_base
    if not rate or not time_base or stream.codec_context is None or not stream.width:
        raise VideoError(f"{path}: no frames in this video, or its header is damaged")
    missing = 0
    if str(path) != STDIO:
        # The index of MP4, MOV and AVI tells where each frame's data should end.
        frames_end = max((entry.pos + entry.size for entry in stream.index_entries), default=0)
        end = max(frames_end, _matroska_end(Path(path)))
        missing = max(end - Path(path).stat().st_size, 0)
    duration = _duration(stream)
    source_colours, colours = _colours(stream)
    return VideoInfo(
        width=stream.width,
        height=stream.height,
        rate=rate,
        time_base=time_base,
        start=stream.start_time or 0,
        frames=stream.frames or round((duration or 0) * rate),
        duration=duration,
        audio=codec_name(container.streams.audio[0]) if container.streams.audio else None,
        aspect=stream.sample_aspect_ratio or Fraction(1),
        source_colours=source_colours,
        colours=colours,
        origin=round(clock_origin(container) / time_base),
        exact=container.format.name.startswith(_EXACT),
        missing=missing,
    )


def clock_origin(container: InputContainer) -> Fraction:
    """Seconds on a container's own clock that count as 0."""
    if container.format.name in _OWN_CLOCK and container.start_time:
        return Fraction(container.start_time, av.time_base)
    return Fraction(0)


def _matroska_end(path: Path) -> int:
    """Where a Matroska file's header says that the file ends (RFC 9559); 0 if it does not."""
    with path.open("rb") as file:
        head = file.read(256).ljust(272, b"\0")
    if not head.startswith(_EBML):
        return 0
    size, place = _ebml_size(head, len(_EBML))
    place += size or 0
    if head[place : place + len(_SEGMENT)] != _SEGMENT:
        return 0
    size, place = _ebml_size(head, place + len(_SEGMENT))
    return 0 if size is None else place + size


def _ebml_size(data: bytes, place: int) -> tuple[int | None, int]:
    """The size of an element, None where it is unknown, and where the element begins (RFC 8794)."""
    length = 9 - data[place].bit_length()
    most = (1 << 7 * length) - 1
    size = int.from_bytes(data[place : place + length], "big") & most
    return None if size == most else size, place + length


def codec_name(stream: Stream) -> str:
    """Name of the format, not of a decoder of it."""
    if stream.codec_context is None:
        return stream.name or "unknown"
    return stream.codec_context.codec.canonical_name


def _duration(stream: VideoStream) -> float | None:
    """Of the video alone; the container's is that of its longest stream."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    tag = stream.metadata.get("DURATION")  # Matroska: "00:01:02.345000000"
    if tag is None:
        return None
    hours, minutes, seconds = (float(part) for part in tag.split(":"))
    return 3600 * hours + 60 * minutes + seconds


def _colours(stream: VideoStream) -> tuple[Colours, Colours]:
    """Of the source, and of what is made of it."""
    context = stream.codec_context
    pixels = context.format
    is_yuv = pixels is None or not (pixels.is_rgb or pixels.has_palette)
    said = is_yuv and context.colorspace in _MATRICES
    guess = _BT709 if stream.height >= _HD else _BT601
    full = is_yuv and context.color_range == _FULL
    source = Colours(
        matrix=_MATRICES[context.colorspace] if said else guess,
        range=_FULL if full else _LIMITED,
        primaries=context.color_primaries,
        transfer=context.color_trc,
    )
    if not said:
        return source, Colours(range=source.range)
    return source, source
