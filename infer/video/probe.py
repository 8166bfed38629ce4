"""What a video file says about itself: streams, rate, duration, colors. Nothing is decoded."""

import codecs
import statistics
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, TypeAlias

import av
from av.container import InputContainer
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from nst_rt.errors import VideoError
from nst_rt.files import check_input

Packet: TypeAlias = "av.Packet[Any]"

STDIO = "-"  # standard input or output instead of a file

# Codes of ITU-T H.273.
_BT709, _BT601, _BT2020 = 1, 6, 9
_LIMITED, _FULL = 1, 2
_MATRICES = {1, 4, 5, 6, 7, 9, 10}  # known to swscale
_HD = 720  # lines from which an untagged video is decoded as BT.709, as players do

_OWN_CLOCK = {"mpegts", "mpeg"}  # the clocks of broadcasts start anywhere
# IDs of Matroska's first two elements.
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"

# Formats that name other files or addresses: a playlist may name itself, or what is private.
_PLAYLISTS = {"concat", "hls", "dash", "imf", "sdp", "vobsub", "webm_dash_manifest"}
_PLAYLIST_STARTS = (b"#EXTM3U", b"ffconcat", b"v=0")

# Brands of AVIF and HEIC files with a single image, which FFmpeg opens as videos.
_PHOTO_BRANDS = {"avif", "heic", "heix", "mif1"}
# Frames per second above which the timestamps decide: FFmpeg takes a browser's recording, which has
# no rate, for 1000 frames per second, since its timestamps are milliseconds.
_FASTEST = 120
_MEASURED = 32  # number of frames

_TRIES = 200  # unreadable packets in a row after which the rest of a file is given up
_JOINED = 0.5  # seconds between two damaged parts that are reported as one


@dataclass(frozen=True)
class Colors:
    """How YUV values represent colors, in codes of ITU-T H.273.

    Attributes:
        matrix: from RGB to YUV.
        range: 1 for limited (16-235), 2 for full.
        primaries, transfer: of the RGB values, 2 if unknown.
    """

    matrix: int = _BT709
    range: int = _LIMITED
    primaries: int = _BT709
    transfer: int = _BT709


@dataclass(frozen=True)
class VideoInfo:
    """Properties of a video, as its container states them.

    Attributes:
        width, height: pixels, before rotation.
        rate: frames per second, exact.
        time_base: seconds per tick of the timestamps, exact.
        start: first timestamp of the video stream, in ticks.
        frames: number of frames; an estimate where the container has none, 0 if unknown.
        duration: of the video stream in seconds, None if unknown.
        audio: codec of the first audio stream, None without audio.
        aspect: pixel aspect ratio, width by height.
        source_colors: colors that the source is decoded with.
        colors: colors that an output is encoded in: the source's, or BT.709 if it has no tags.
        origin: tick that counts as 0 seconds.
        missing: number of bytes missing at the end of the file.
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
    missing: int = 0

    @property
    def end(self) -> float | None:
        """End of the video stream, in seconds from `origin`; None if unknown."""
        return self.seconds(self.start) + self.duration if self.duration else None

    def seconds(self, tick: int) -> float:
        """Seconds from `origin` to a tick."""
        return float((tick - self.origin) * self.time_base)


@dataclass(frozen=True)
class Damage:
    """A part of the source that could not be decoded, or only with errors; in its seconds."""

    start: float
    end: float

    def __str__(self) -> str:
        if self.end - self.start < 0.01:
            return f"at {self.start:.2f} s"
        return f"{self.start:.2f} to {self.end:.2f} s"


def with_damage(parts: list[Damage], start: float, end: float) -> list[Damage]:
    """The parts and one more, from `start` to `end` seconds; neighbors are joined."""
    if parts and end <= parts[-1].end:  # decoded a second time, while seeking to resume
        return parts
    if parts and start <= parts[-1].end + _JOINED:
        start, end = min(start, parts[-1].start), max(end, parts[-1].end)
        parts = parts[:-1]
    return [*parts, Damage(max(start, 0.0), max(end, 0.0))]


def probe(path: Path | str) -> VideoInfo:
    """Read a video file's headers.

    Raises:
        InputError: no such file.
        VideoError: not a video, no frames, or cut off before its index.
    """
    path = check_input(path)
    with open_media(path) as container:
        return video_info(path, container)


def open_media(path: Path | str) -> InputContainer:
    """Open any file that FFmpeg knows, or standard input for `-`, as a context manager.

    Raises:
        VideoError: FFmpeg cannot open it, or it is a playlist, which would open further files.
    """
    file = "pipe:0" if str(path) == STDIO else url(path)
    try:
        return av.open(file, metadata_errors=_AS_LATIN_1, options={"format_whitelist": _formats()})
    except (av.FFmpegError, OSError, UnicodeError) as error:
        if str(path) != STDIO and _is_playlist(Path(path)):
            raise VideoError(
                f"{path}: a playlist, not a video; give the files that it names"
            ) from error
        reason = getattr(error, "strerror", None) or error
        raise VideoError(f"{path}: not a video, or a damaged one ({reason})") from error


@cache
def _formats() -> str:
    """Names of all formats but playlists, as FFmpeg takes them."""
    return ",".join(av.formats_available - _PLAYLISTS)


def _is_playlist(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(64).lstrip(b"\xef\xbb\xbf").startswith(_PLAYLIST_STARTS)
    except OSError:
        return False


def _as_latin_1(error: UnicodeError) -> tuple[str, int]:
    """Decode tags that are not UTF-8: older programs wrote Latin-1."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return error.object[error.start : error.end].decode("latin-1"), error.end


_AS_LATIN_1 = "nst_rt.latin-1"
codecs.register_error(_AS_LATIN_1, _as_latin_1)


def url(path: Path | str) -> str:
    """An absolute path: FFmpeg takes `a:` at the start of a relative one for a protocol."""
    return str(Path(path).absolute())


def readable_packets(container: InputContainer, *streams: Stream) -> "Iterator[Packet | None]":
    """Packets of the streams (of all by default), with None for each that cannot be read."""
    packets = container.demux(*streams)
    failures = 0
    while failures < _TRIES:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except (av.FFmpegError, OSError):
            failures += 1
            packets = container.demux(*streams)
            yield None
        else:
            failures = 0
            if packet.size:
                yield packet


def video_stream(path: Path | str, container: InputContainer) -> VideoStream:
    """The stream to convert: the first one that is not a cover image and can be decoded.

    Raises:
        VideoError: there is none.
    """
    for stream in container.streams.video:
        # PyAV has no context for a codec that FFmpeg does not know.
        is_cover = stream.disposition & Disposition.attached_pic
        if stream.codec_context is not None and not is_cover:
            return stream
    if any(stream.codec_context is None for stream in container.streams.video):
        raise VideoError(f"{path}: its video codec is unknown to FFmpeg")
    raise VideoError(f"{path}: no video in this file")


def video_info(
    path: Path | str, container: InputContainer, ahead: "list[Packet] | None" = None
) -> VideoInfo:
    """`probe` for an open container, or for `-`, whose packets that are read here go to `ahead`."""
    stream = video_stream(path, container)
    if str(path) != STDIO and _is_photo(container):
        raise VideoError(f"{path}: a photo, not a video; try: nst-rt image {path}")
    rate, time_base = _rate(container, stream, ahead), stream.time_base
    if not rate or not time_base or not stream.width:
        raise VideoError(f"{path}: no frames in this video, or its header is damaged")
    missing = 0
    if str(path) != STDIO:
        # The index of MP4, MOV and AVI has the file position of each frame.
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
        missing=missing,
    )


def _is_photo(container: InputContainer) -> bool:
    """Whether a file holds a single image; image formats may also hold a film, image by image."""
    name = container.format.name
    if not (name.endswith("_pipe") or name == "image2"):
        return container.metadata.get("major_brand") in _PHOTO_BRANDS
    return len(list(islice(_packets(container), 2))) == 1


def _rate(
    container: InputContainer, stream: VideoStream, ahead: "list[Packet] | None"
) -> Fraction | None:
    """Frames per second: as stated, or the median of the first frames if that is implausible."""
    stated = stream.average_rate
    if stated and stated <= _FASTEST:
        return stated
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
        return stated or stream.guessed_rate
    return 1 / (statistics.median_low(gaps) * stream.time_base)


def _packets(container: InputContainer) -> Iterator[Packet]:
    """Packets up to the first that cannot be read."""
    with suppress(av.FFmpegError, OSError):
        yield from (packet for packet in container.demux() if packet.size)


def clock_origin(container: InputContainer) -> Fraction:
    """Time on the container's own clock that counts as 0, in seconds."""
    if container.format.name in _OWN_CLOCK and container.start_time:
        return Fraction(container.start_time, av.time_base)
    return Fraction(0)


def _matroska_end(path: Path) -> int:
    """Size of a Matroska file according to its header (RFC 9559); 0 if unknown."""
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
    """Size of an element (None if unknown) and the offset of its content (RFC 8794)."""
    length = 9 - data[place].bit_length()
    most = (1 << 7 * length) - 1
    size = int.from_bytes(data[place : place + length], "big") & most
    return None if size == most else size, place + length


def codec_name(stream: Stream) -> str:
    """Name of a stream's format, not of FFmpeg's decoder for it."""
    if stream.codec_context is None:
        return getattr(stream, "name", None) or "unknown"
    return stream.codec_context.codec.canonical_name


def _duration(stream: VideoStream) -> float | None:
    """Seconds of the video stream; the container's duration is that of its longest stream."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    tag = stream.metadata.get("DURATION")  # Matroska: "00:01:02.345000000"
    if tag is None:
        return None
    hours, minutes, seconds = (float(part) for part in tag.split(":"))
    stated = 3600 * hours + 60 * minutes + seconds
    if any(name.startswith("_STATISTICS") for name in stream.metadata):  # written by mkvmerge
        return stated
    # FFmpeg writes the end of the stream, not its length.
    return stated - float((stream.start_time or 0) * (stream.time_base or 0))


def _colors(stream: VideoStream) -> tuple[Colors, Colors]:
    """Colors of the source, and of an output made from it."""
    context = stream.codec_context
    pixels = context.format
    is_yuv = pixels is None or not (pixels.is_rgb or pixels.has_palette)
    is_tagged = is_yuv and context.colorspace in _MATRICES
    # swscale knows BT.2020 with constant luminance (10) as the other one only.
    tagged = _BT2020 if context.colorspace == 10 else context.colorspace
    assumed = _BT709 if stream.height >= _HD else _BT601
    source = Colors(
        matrix=tagged if is_tagged else assumed,
        range=_FULL if is_yuv and context.color_range == _FULL else _LIMITED,
        primaries=context.color_primaries,
        transfer=context.color_trc,
    )
    return source, source if is_tagged else Colors(range=source.range)
