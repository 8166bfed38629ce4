"""What a video is: opened, what its container says of it, its colors, its timed frames."""

import codecs
import statistics
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, TypeAlias

import av
from av.container import InputContainer
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from nst_rt.errors import VideoError
from nst_rt.files import check_input
from nst_rt.images.io import Frame

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

# What AVIF and HEIC files of one picture begin with; to FFmpeg they are videos.
_PHOTO_BRANDS = {"avif", "heic", "heix", "mif1"}
# Frames per second above which the timestamps decide: FFmpeg takes a recording of a browser, which
# tells no rate, for one of 1000, since it counts in milliseconds.
_FASTEST = 120
_MEASURED = 32  # frames


@dataclass(frozen=True)
class Colors:
    """How YUV stands for colors: codes of ITU-T H.273.

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
        source_colors: how the source's colors are decoded.
        colors: what an output is written in; as the source where that says, else BT.709.
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
    source_colors: Colors = Colors()
    colors: Colors = Colors()
    origin: int = 0
    exact: bool = False
    missing: int = 0

    @property
    def end(self) -> float | None:
        """Of the video, in seconds from the file's start on, if the container tells."""
        return self.seconds(self.start) + self.duration if self.duration else None

    def seconds(self, tick: int) -> float:
        """The time of a tick of the file, from its start on."""
        return float((tick - self.origin) * self.time_base)


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
    with open_media(path) as container:
        return video_info(path, container)


def open_media(path: Path | str, *, options: Mapping[str, str] | None = None) -> InputContainer:
    """Open a video file to read, or standard input for `-`; to be closed, as a context.

    Args:
        path: of any file that FFmpeg knows.
        options: for FFmpeg.

    Raises:
        VideoError: FFmpeg cannot open it.
    """
    file = "pipe:0" if str(path) == STDIO else url(path)
    try:
        return av.open(file, options=dict(options or {}), metadata_errors=_AS_LATIN_1)
    except (av.FFmpegError, OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise VideoError(
            f"{path}: not a video that can be read, or a damaged one ({reason})"
        ) from error


def _as_latin_1(error: UnicodeError) -> tuple[str, int]:
    """Stand in for what is not UTF-8 in a tag: older programs wrote Latin-1."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return error.object[error.start : error.end].decode("latin-1"), error.end


_AS_LATIN_1 = "nst_rt.latin-1"
codecs.register_error(_AS_LATIN_1, _as_latin_1)


def url(path: Path | str) -> str:
    """For FFmpeg, which takes what stands before a colon in a relative path for a protocol."""
    return str(Path(path).absolute())


def main_video(container: InputContainer) -> VideoStream | None:
    """The stream that is converted: the first that is no cover picture and can be decoded."""
    streams = [
        stream
        for stream in container.streams.video
        if not stream.disposition & Disposition.attached_pic
    ]
    # PyAV has no context for a codec that FFmpeg does not know.
    return next((stream for stream in streams if stream.codec_context is not None), None)


def video_stream(path: Path | str, container: InputContainer) -> VideoStream:
    """`main_video`, which must be there.

    Raises:
        VideoError: there is none.
    """
    stream = main_video(container)
    if stream is None:
        if any(stream.codec_context is None for stream in container.streams.video):
            raise VideoError(f"{path}: a video in a codec that FFmpeg does not know")
        raise VideoError(f"{path}: no video in this file")
    return stream


def video_info(
    path: Path | str, container: InputContainer, ahead: "list[Packet] | None" = None
) -> VideoInfo:
    """`probe` for a container that is open.

    Args:
        path: of it, or `-`.
        container: which is read a little where its header does not tell enough.
        ahead: takes the packets that were read; of a pipe, they do not come again.
    """
    stream = video_stream(path, container)
    if str(path) != STDIO and _is_photo(container):
        raise VideoError(f"{path}: a photo, not a video; nst-rt image stylizes photos")
    rate, time_base = _rate(container, stream, ahead), stream.time_base
    if not rate or not time_base or not stream.width:
        raise VideoError(f"{path}: no frames in this video, or its header is damaged")
    missing = 0
    if str(path) != STDIO:
        # The index of MP4, MOV and AVI tells where each frame's data should end.
        frames_end = max((entry.pos + entry.size for entry in stream.index_entries), default=0)
        end = max(frames_end, _matroska_end(Path(path)))
        missing = max(end - Path(path).stat().st_size, 0)
    duration = _duration(stream)
    source_colors, colors = _colors(stream)
    return VideoInfo(
        width=stream.width,
        height=stream.height,
        rate=rate,
        time_base=time_base,
        start=stream.start_time or 0,
        frames=stream.frames or round((duration or 0) * rate),
        duration=duration,
        audio=next((codec_name(s) for s in container.streams.audio if s.codec_context), None),
        aspect=stream.sample_aspect_ratio or Fraction(1),
        source_colors=source_colors,
        colors=colors,
        origin=round(clock_origin(container) / time_base),
        exact=container.format.name.startswith(_EXACT),
        missing=missing,
    )


def _is_photo(container: InputContainer) -> bool:
    """A file of one picture, not a film of pictures one after the other."""
    name = container.format.name
    if not (name.endswith("_pipe") or name == "image2"):
        return container.metadata.get("major_brand") in _PHOTO_BRANDS
    return len(list(islice(_packets(container), 2))) == 1


def _rate(
    container: InputContainer, stream: VideoStream, ahead: "list[Packet] | None"
) -> Fraction | None:
    """Frames per second; from the first frames' times where the container's word is not enough."""
    said = stream.average_rate
    if said and said <= _FASTEST:
        return said
    times: list[int] = []
    for packet in _packets(container):
        if ahead is not None:
            ahead.append(packet)
        if packet.stream.index == stream.index and packet.pts is not None:
            times.append(packet.pts)
        if len(times) == _MEASURED:
            break
    gaps = [after - before for before, after in pairwise(sorted(times)) if after > before]
    if not gaps or not stream.time_base:
        return said or stream.guessed_rate
    return 1 / (statistics.median_low(gaps) * stream.time_base)


def _packets(container: InputContainer) -> Iterator[Packet]:
    """Those that can be read, with something in them."""
    with suppress(av.FFmpegError, OSError):
        yield from (packet for packet in container.demux() if packet.size)


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
        return getattr(stream, "name", None) or "unknown"
    return stream.codec_context.codec.canonical_name


def _duration(stream: VideoStream) -> float | None:
    """Of the video alone; the container's is that of its longest stream."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    tag = stream.metadata.get("DURATION")  # Matroska: "00:01:02.345000000"
    if tag is None:
        return None
    hours, minutes, seconds = (float(part) for part in tag.split(":"))
    told = 3600 * hours + 60 * minutes + seconds
    if any(name.startswith("_STATISTICS") for name in stream.metadata):  # of mkvmerge
        return told
    # FFmpeg tells when the stream ends.
    return told - float((stream.start_time or 0) * (stream.time_base or 0))


def _colors(stream: VideoStream) -> tuple[Colors, Colors]:
    """Of the source, and of what is made of it."""
    context = stream.codec_context
    pixels = context.format
    is_yuv = pixels is None or not (pixels.is_rgb or pixels.has_palette)
    said = is_yuv and context.colorspace in _MATRICES
    guess = _BT709 if stream.height >= _HD else _BT601
    full = is_yuv and context.color_range == _FULL
    source = Colors(
        matrix=_MATRICES[context.colorspace] if said else guess,
        range=_FULL if full else _LIMITED,
        primaries=context.color_primaries,
        transfer=context.color_trc,
    )
    if not said:
        return source, Colors(range=source.range)
    return source, source
