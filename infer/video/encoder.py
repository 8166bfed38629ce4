"""Video codecs with their settings, and the one encoder of frames, for files and recordings."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, get_args

import av
import torch
from av.container import OutputContainer
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter

from nst_rt.errors import InputError, VideoError
from nst_rt.images.io import Frame
from nst_rt.infer.video.probe import Colors, Packet

CodecName = Literal["h264", "hevc", "av1", "vp9", "h264_nvenc", "hevc_nvenc"]
CODECS: tuple[CodecName, ...] = get_args(CodecName)
FORMATS = {".mp4": "mp4", ".mkv": "matroska", ".mov": "mov", ".webm": "webm"}
VIDEO_SUFFIXES = tuple(FORMATS)
# By codec; literals, from which the command line reads them without importing PyAV.
DEFAULT_CRF = {
    "h264": 20,
    "hevc": 24,
    "av1": 30,
    "vp9": 31,
    "h264_nvenc": 23,
    "hevc_nvenc": 26,
}
DEFAULT_PRESET = {
    "h264": "veryfast",
    "hevc": "veryfast",
    "av1": "10",
    "vp9": "5",
    "h264_nvenc": "p4",
    "hevc_nvenc": "p4",
}
H264_SUFFIXES = (".mp4", ".mkv", ".mov")

# SVT-AV1 prints its settings to stderr otherwise.
os.environ.setdefault("SVT_LOG", "1")


@dataclass(frozen=True)
class _Codec:
    """An encoder of FFmpeg: its settings, and the containers that hold its video."""

    encoder: str
    suffixes: tuple[str, ...]
    worst: int
    presets: str
    options: str = "crf={crf} preset={preset}"
    odd: str | None = "yuv444p"  # pixel format for odd sides
    smallest: int = 16


# With AVX-512 its macroblock trees differ from run to run (144x96, 1296x736; x264 165), and a
# resumed conversion must not.
_ASM = " x264-params=asm=avx2" if torch.cpu.get_capabilities().get("avx512_f") else ""
_X264 = f"{_Codec.options}{_ASM}"
# Closed groups of pictures, so that segments can be joined.
_X265 = f"{_Codec.options} x265-params=log-level=none:open-gop=0"
_VP9 = "crf={crf} cpu-used={preset} b=0 deadline=good row-mt=1"
_NVENC = "rc=vbr cq={crf} b=0 preset={preset}"

_X26X = "ultrafast superfast veryfast faster fast medium slow slower veryslow"
_P = "p1 p2 p3 p4 p5 p6 p7"
_0_TO_8 = "0 1 2 3 4 5 6 7 8"
_0_TO_13 = f"{_0_TO_8} 9 10 11 12 13"
_OPEN = (".mp4", ".mkv", ".webm")
_SAME_CODECS = {"h265": "hevc", "x265": "hevc", "x264": "h264", "avc": "h264"}  # other names
_CODECS: dict[str, _Codec] = {
    "h264": _Codec("libx264", H264_SUFFIXES, 51, _X26X, _X264),
    "hevc": _Codec("libx265", H264_SUFFIXES, 51, _X26X, _X265, smallest=32),
    "av1": _Codec("libsvtav1", _OPEN, 63, _0_TO_13, odd=None, smallest=64),
    "vp9": _Codec("libvpx-vp9", _OPEN, 63, _0_TO_8, _VP9, odd="yuv420p"),
    "h264_nvenc": _Codec("h264_nvenc", H264_SUFFIXES, 51, _P, _NVENC, smallest=160),
    "hevc_nvenc": _Codec("hevc_nvenc", H264_SUFFIXES, 51, _P, _NVENC, smallest=160),
}

_COLORSPACES = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
}


@dataclass(frozen=True)
class Encoding:
    """Codec and quality of a video; made by `choose_encoding`.

    Attributes:
        codec: one of `CODECS`.
        crf: quality, from 0 (nearly lossless) to 51, or 63 for AV1 and VP9 (worst).
        preset: speed of encoding, in the codec's own terms.
    """

    codec: CodecName
    crf: int
    preset: str

    @property
    def options(self) -> dict[str, str]:
        """Options of FFmpeg's encoder."""
        options = _CODECS[self.codec].options.format(crf=self.crf, preset=self.preset)
        return dict(option.split("=", 1) for option in options.split())

    @property
    def encoder(self) -> str:
        """Name of FFmpeg's encoder."""
        return _CODECS[self.codec].encoder

    def tag(self, suffix: str) -> str | None:
        """Codec tag that players expect in a container, if FFmpeg would write another one."""
        is_hevc = self.codec in ("hevc", "hevc_nvenc") and suffix in (".mp4", ".mov")
        return "hvc1" if is_hevc else None

    def pixels(self, width: int, height: int) -> str:
        """Pixel format for frames of a size.

        Raises:
            VideoError: the codec does not take this size.
        """
        codec = _CODECS[self.codec]
        if min(width, height) < codec.smallest:
            instead = self._instead(lambda other: other.smallest <= min(width, height))
            raise VideoError(
                f"{self.codec} needs frames of {codec.smallest} pixels a side or more, not "
                f"{width}x{height}; use {instead}a larger `size` or `scale`"
            )
        if width % 2 == 0 and height % 2 == 0:
            return "yuv420p"
        # Chroma at half the size needs even sides, and the size must not change.
        if codec.odd is None:
            instead = self._instead(lambda other: other.odd is not None)
            raise VideoError(
                f"{self.codec} needs even sides, not {width}x{height}; use {instead}`scale` 1.01"
            )
        return codec.odd

    def _instead(self, takes: Callable[[_Codec], bool]) -> str:
        """Advice to use another codec that the same containers hold."""
        suffixes = set(_CODECS[self.codec].suffixes)
        others = (name for name, other in _CODECS.items() if takes(other))
        name = next((name for name in others if suffixes <= set(_CODECS[name].suffixes)), None)
        return f"`codec` {name} or " if name else ""


def choose_encoding(
    suffix: str, *, codec: str | None = None, crf: int | None = None, preset: str | None = None
) -> Encoding:
    """The encoding for a container, with defaults for what is None.

    Args:
        suffix: of the output, one of `VIDEO_SUFFIXES`.
        codec: one of `CODECS`; by default h264, and vp9 for .webm.
        crf, preset: see `Encoding`.

    Raises:
        InputError: a value out of range, or a codec that the container does not hold.
        VideoError: this machine has no such encoder.
    """
    name = codec or ("vp9" if suffix == ".webm" else "h264")
    if name not in _CODECS:
        meant = _SAME_CODECS.get(name.lower().removeprefix("lib"))
        hint = f"; did you mean {meant}?" if meant else ""
        raise InputError(f"`codec` must be one of {', '.join(CODECS)}, not {name!r}{hint}")
    known = _CODECS[name]
    if suffix not in known.suffixes:
        raise InputError(f"{suffix} does not hold {name}; use one of {', '.join(known.suffixes)}")
    if crf is not None and not 0 <= crf <= known.worst:
        raise InputError(f"`crf` must be between 0 and {known.worst}, not {crf}")
    presets = known.presets.split()
    if preset is not None and preset not in presets:
        raise InputError(f"`preset` of {name} must be one of {', '.join(presets)}, not {preset!r}")
    _check_encoder(name, known.encoder)
    return Encoding(
        name,  # type: ignore[arg-type]
        DEFAULT_CRF[name] if crf is None else crf,
        DEFAULT_PRESET[name] if preset is None else preset,
    )


def _check_encoder(name: str, encoder: str) -> None:
    """Raise a VideoError if an encoder is missing, or, on a graphics card, cannot be opened."""
    on_processor = name.removesuffix("_nvenc")
    try:
        context = av.CodecContext.create(encoder, "w")
        if name == on_processor:
            return
        assert isinstance(context, av.VideoCodecContext)
        context.width = context.height = 256
        context.pix_fmt, context.time_base = "yuv420p", Fraction(1, 25)
        context.framerate = Fraction(25)
        context.open()
    except (av.FFmpegError, OSError, ValueError) as error:
        instead = "" if name == on_processor else f"; use `codec` {on_processor}"
        raise VideoError(f"{name}: this machine has no encoder for it{instead}") from error


@dataclass(frozen=True)
class Shape:
    """Properties of the frames that an encoder gets.

    Attributes:
        width, height: pixels.
        aspect: pixel aspect ratio, width by height.
        rate: frames per second, on average.
        time_base: seconds per tick of their times.
        colors: of the encoded YUV.
    """

    width: int
    height: int
    aspect: Fraction
    rate: Fraction
    time_base: Fraction
    colors: Colors

    @staticmethod
    def plain(width: int, height: int, rate: Fraction) -> "Shape":
        """That of frames at a constant rate, with square pixels."""
        return Shape(width, height, Fraction(1), rate, 1 / rate, Colors())

    @staticmethod
    def from_facts(facts: Mapping[str, Any]) -> "Shape":
        """From the fields, with the fractions as texts."""
        fractions = {name: Fraction(facts[name]) for name in ("aspect", "rate", "time_base")}
        return Shape(**{**facts, **fractions, "colors": Colors(**facts["colors"])})


def set_colors(context: av.VideoCodecContext, colors: Colors) -> None:
    """Tag a video with its colors; players would guess them by its size."""
    context.colorspace, context.color_range = colors.matrix, colors.range
    context.color_primaries, context.color_trc = colors.primaries, colors.transfer


@contextmanager
def _scheduling_kept() -> Iterator[None]:
    """Restore the scheduling of all threads afterwards, and give new ones that of this one.

    As root, SVT-AV1 gives real-time priority to its threads and to the one that opens it, which
    the threads started later inherit: nothing else would get any time.
    """
    tasks = Path("/proc/self/task")
    if not tasks.exists():  # not Linux
        yield
        return
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    known = {task.name for task in tasks.iterdir()}
    try:
        yield
    finally:
        os.sched_setscheduler(0, *before)
        for task in tasks.iterdir():
            if task.name not in known:
                with suppress(ProcessLookupError):  # it has ended
                    os.sched_setscheduler(int(task.name), *before)


class FrameEncoder:
    """Encodes frames into a new video stream of a container that is open for writing.

    Attributes:
        stream: the new stream.
        warnings: anything unusual about it.

    Raises:
        VideoError: the codec does not take this size or rate.
    """

    def __init__(self, container: OutputContainer, encoding: Encoding, shape: Shape) -> None:
        self._container, self._shape = container, shape
        stream = container.add_stream(encoding.encoder, rate=shape.rate)
        assert isinstance(stream, av.VideoStream)
        self.stream = stream
        stream.width, stream.height = shape.width, shape.height
        stream.pix_fmt = self._pixels = encoding.pixels(shape.width, shape.height)
        context = stream.codec_context
        context.options = encoding.options
        context.time_base = stream.time_base = shape.time_base
        context.sample_aspect_ratio = shape.aspect
        set_colors(context, shape.colors)
        try:
            with _scheduling_kept():
                context.open()
        except (av.FFmpegError, OSError) as error:
            raise VideoError(
                f"{encoding.codec} does not take {shape.width}x{shape.height} at "
                f"{float(shape.rate):g} frames per second ({error.strerror}); change `fps`, "
                "`size` or `codec`"
            ) from error
        self._reformatter = VideoReformatter()
        self._begin: tuple[int, int] | None = None  # pts and dts of the first packet
        self.warnings: list[str] = []
        if self._pixels == "yuv444p":
            self.warnings.append(
                f"odd sides, {shape.width}x{shape.height}, are written with 4:4:4 chroma, which "
                "many browsers and phones do not play; a scale of 1.01 or an even size avoids it"
            )

    def encode(self, image: Frame, pts: int) -> None:
        """Encode a frame, shape (H, W, 3), uint8 BGR, and write what is ready."""
        picture = self._reformatter.reformat(
            av.VideoFrame.from_ndarray(image, format="bgr24"),
            format=self._pixels,
            dst_colorspace=_COLORSPACES[self._shape.colors.matrix],
            dst_color_range=self._shape.colors.range,
            # Else red and blue lose 1.4 levels on average.
            interpolation=Interpolation.BILINEAR | Interpolation.ACCURATE_RND,
        )
        picture.pts, picture.time_base = pts, self._shape.time_base
        self._write(self.stream.encode(picture))

    def finish(self, end: int | None = None) -> None:
        """Write what the encoder still holds; the last frame is displayed until `end`, a pts."""
        packets = self.stream.encode(None)
        if end is not None and packets:
            last = max(packets, key=lambda packet: packet.pts or 0)
            last.duration = end - (last.pts or 0)
            if self._container.format.name in ("mp4", "mov"):
                # They last from the decoding of the first packet to the end of the last one.
                pts, dts = self._begin or (packets[0].pts or 0, packets[0].dts or 0)
                packets[-1].duration = end - pts - ((packets[-1].dts or 0) - dts)
        self._write(packets)

    def _write(self, packets: "list[Packet]") -> None:
        if self._begin is None and packets:
            self._begin = packets[0].pts or 0, packets[0].dts or 0
        self._container.mux(packets)
