"""Codecs that videos are written in, with their settings, and the encoder of frames."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, get_args

import av
import torch
from av.container import OutputContainer
from av.video.reformatter import Colorspace, VideoReformatter

from nst_rt.errors import InputError, VideoError
from nst_rt.images.io import Frame
from nst_rt.infer.video.probe import Colors

CodecName = Literal["h264", "hevc", "av1", "vp9", "h264_nvenc", "hevc_nvenc"]
VIDEO_SUFFIXES = (".mp4", ".mkv", ".mov", ".webm")

_X26X = (
    "ultrafast",
    "superfast",
    "veryfast",
    "faster",
    "fast",
    "medium",
    "slow",
    "slower",
    "veryslow",
)
_NVENC = ("p1", "p2", "p3", "p4", "p5", "p6", "p7")

# SVT-AV1 tells its settings on stderr otherwise.
os.environ.setdefault("SVT_LOG", "1")


@dataclass(frozen=True)
class _Codec:
    """An encoder of FFmpeg: what it may be given, and where its video may go."""

    encoder: str
    suffixes: tuple[str, ...]
    crf: int
    worst: int
    preset: str
    presets: tuple[str, ...]
    options: Callable[[int, str], dict[str, str]]
    odd: str | None = "yuv444p"  # pixels for odd sides
    smallest: int = 16


def _x264(crf: int, preset: str) -> dict[str, str]:
    options = {"crf": str(crf), "preset": preset}
    if torch.cpu.get_capabilities().get("avx512_f"):
        # With AVX-512 its trees of macroblocks differ from run to run (144x96, 1296x736; x264 165),
        # and what is resumed must not.
        options["x264-params"] = "asm=avx2"
    return options


def _nvenc(crf: int, preset: str) -> dict[str, str]:
    return {"rc": "vbr", "cq": str(crf), "b": "0", "preset": preset}


_MPEG = (".mp4", ".mkv", ".mov")
_CODECS: dict[str, _Codec] = {
    "h264": _Codec("libx264", _MPEG, 20, 51, "veryfast", _X26X, _x264),
    "hevc": _Codec(
        "libx265",
        _MPEG,
        24,
        51,
        "veryfast",
        _X26X,
        # Groups that stand for themselves, so that segments join.
        lambda q, p: {"crf": str(q), "preset": p, "x265-params": "log-level=none:open-gop=0"},
        smallest=32,
    ),
    "av1": _Codec(
        "libsvtav1",
        (".mp4", ".mkv", ".webm"),
        30,
        63,
        "10",
        tuple(str(number) for number in range(14)),
        lambda q, p: {"crf": str(q), "preset": p},
        odd=None,
        smallest=64,
    ),
    "vp9": _Codec(
        "libvpx-vp9",
        (".mp4", ".mkv", ".webm"),
        31,
        63,
        "5",
        tuple(str(number) for number in range(9)),
        lambda q, p: {
            "crf": str(q),
            "b": "0",
            "deadline": "good",
            "cpu-used": p,
            "row-mt": "1",
        },
        odd="yuv420p",
    ),
    "h264_nvenc": _Codec("h264_nvenc", _MPEG, 23, 51, "p4", _NVENC, _nvenc, smallest=160),
    "hevc_nvenc": _Codec("hevc_nvenc", _MPEG, 26, 51, "p4", _NVENC, _nvenc, smallest=160),
}
CODECS: tuple[CodecName, ...] = get_args(CodecName)

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
    """How a video is encoded; made by `choose_encoding`.

    Attributes:
        codec: one of `CODECS`.
        crf: quality, from 0 (lossless or nearly) to 51, of AV1 and VP9 63 (worst).
        preset: how much time it may take, in the codec's own words.
    """

    codec: CodecName
    crf: int
    preset: str

    @property
    def options(self) -> dict[str, str]:
        """For FFmpeg's encoder."""
        return _CODECS[self.codec].options(self.crf, self.preset)

    @property
    def encoder(self) -> str:
        """Name of FFmpeg's encoder."""
        return _CODECS[self.codec].encoder

    @property
    def tag(self) -> str | None:
        """What MP4 and MOV call it, if players want another name than FFmpeg gives it."""
        return "hvc1" if self.codec in ("hevc", "hevc_nvenc") else None

    def pixels(self, width: int, height: int) -> str:
        """Pixel format for frames of a size.

        Raises:
            VideoError: a size that the codec does not take.
        """
        codec = _CODECS[self.codec]
        if min(width, height) < codec.smallest:
            other = self._instead(lambda other: other.smallest <= min(width, height))
            raise VideoError(
                f"{self.codec} takes frames from {codec.smallest} pixels a side, not "
                f"{width}x{height}; {other}a larger --size or --scale makes them so"
            )
        if width % 2 == 0 and height % 2 == 0:
            return "yuv420p"
        # Chroma of half the size needs even sides; the size must not change.
        if codec.odd is None:
            other = self._instead(lambda other: other.odd is not None)
            raise VideoError(
                f"{self.codec} takes even sides only, not {width}x{height}; "
                f"{other}--scale 1.01 makes them even"
            )
        return codec.odd

    def _instead(self, takes: Callable[[_Codec], bool]) -> str:
        """Advice to use another codec, of those that all containers of this one hold."""
        suffixes = set(_CODECS[self.codec].suffixes)
        others = (name for name, other in _CODECS.items() if takes(other))
        name = next((name for name in others if suffixes <= set(_CODECS[name].suffixes)), None)
        return f"--codec {name} takes them, and " if name else ""

    def warnings(self, width: int, height: int) -> tuple[str, ...]:
        """What a user may not expect of frames of a size."""
        if self.pixels(width, height) != "yuv444p":
            return ()
        return (
            f"odd sides, {width}x{height}, are written with 4:4:4 chroma, which many browsers and "
            "phones do not play; --scale 1.01 or an even --size avoids it",
        )


def choose_encoding(
    suffix: str, *, codec: str | None = None, crf: int | None = None, preset: str | None = None
) -> Encoding:
    """The encoding for a container, with defaults for what is not given.

    Args:
        suffix: of the output, one of `VIDEO_SUFFIXES`.
        codec: one of `CODECS`; by default h264, and vp9 for .webm.
        crf, preset: see `Encoding`.

    Raises:
        InputError: values out of range, or a codec that the container does not hold.
        VideoError: an encoder that is not there.
    """
    name = codec or ("vp9" if suffix == ".webm" else "h264")
    if name not in _CODECS:
        raise InputError(f"the codec must be one of {', '.join(CODECS)}, not {name!r}")
    known = _CODECS[name]
    if suffix not in known.suffixes:
        raise InputError(f"{suffix} does not hold {name}; write one of {', '.join(known.suffixes)}")
    if crf is not None and not 0 <= crf <= known.worst:
        raise InputError(f"the crf must be between 0 and {known.worst}, not {crf}")
    if preset is not None and preset not in known.presets:
        raise InputError(
            f"the preset of {name} must be one of {', '.join(known.presets)}, not {preset!r}"
        )
    _check_encoder(name, known.encoder)
    return Encoding(
        name,  # type: ignore[arg-type]
        known.crf if crf is None else crf,
        known.preset if preset is None else preset,
    )


def _check_encoder(name: str, encoder: str) -> None:
    """See that an encoder is there; one on a graphics card also if it opens."""
    instead = name.removesuffix("_nvenc")
    try:
        context = av.CodecContext.create(encoder, "w")
        if name == instead:
            return
        assert isinstance(context, av.VideoCodecContext)
        context.width = context.height = 256
        context.pix_fmt, context.time_base = "yuv420p", Fraction(1, 25)
        context.framerate = Fraction(25)
        context.open()
    except (av.FFmpegError, OSError, ValueError) as error:
        what = "no NVIDIA encoder" if name != instead else "no encoder"
        raise VideoError(
            f"{name}: there is {what} for it on this machine"
            + (f"; --codec {instead} encodes on the processor" if name != instead else "")
        ) from error


@dataclass(frozen=True)
class Shape:
    """What an encoder must know of the frames that it gets.

    Attributes:
        width, height: pixels.
        aspect: width of a pixel by its height.
        rate: frames per second, on average.
        time_base: seconds per tick of their times.
        colors: that YUV is to be written in.
    """

    width: int
    height: int
    aspect: Fraction
    rate: Fraction
    time_base: Fraction
    colors: Colors

    @property
    def frame_ticks(self) -> int:
        """Ticks from one frame to the next, on average."""
        return max(round(1 / self.rate / self.time_base), 1)

    def facts(self) -> dict[str, Any]:
        """In values that JSON knows."""
        fractions = {name: str(getattr(self, name)) for name in ("aspect", "rate", "time_base")}
        return {**asdict(self), **fractions}

    @staticmethod
    def from_facts(facts: Mapping[str, Any]) -> "Shape":
        """What `facts` gave."""
        fractions = {name: Fraction(facts[name]) for name in ("aspect", "rate", "time_base")}
        return Shape(**{**facts, **fractions, "colors": Colors(**facts["colors"])})


def set_colors(context: av.VideoCodecContext, colors: Colors) -> None:
    """Say what colors a video is written in; players would guess by its size."""
    context.colorspace, context.color_range = colors.matrix, colors.range
    context.color_primaries, context.color_trc = colors.primaries, colors.transfer


@contextmanager
def _scheduling_kept() -> Iterator[None]:
    """Threads are scheduled afterwards as they were before, new ones as the one that is here.

    For root, SVT-AV1 makes its threads and the one that opens it the most urgent of the machine,
    and what they start after that as well: nothing else would run beside them.
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
                with suppress(ProcessLookupError):  # it ended already
                    os.sched_setscheduler(int(task.name), *before)


class FrameEncoder:
    """Encodes frames into a new video stream of a container.

    Args:
        container: that is being written.
        encoding, shape: of the stream.

    Raises:
        VideoError: a size or a rate that the codec does not take.
    """

    def __init__(self, container: OutputContainer, encoding: Encoding, shape: Shape) -> None:
        self._container, self._shape = container, shape
        stream = container.add_stream(encoding.encoder, rate=shape.rate)
        assert isinstance(stream, av.VideoStream)
        self.stream = stream
        self.stream.width, self.stream.height = shape.width, shape.height
        self.stream.pix_fmt = encoding.pixels(shape.width, shape.height)
        context = self.stream.codec_context
        context.options = encoding.options
        context.time_base = self.stream.time_base = shape.time_base
        context.sample_aspect_ratio = shape.aspect
        set_colors(context, shape.colors)
        try:
            with _scheduling_kept():
                context.open()
        except (av.FFmpegError, OSError) as error:
            raise VideoError(
                f"{encoding.codec} does not take {shape.width}x{shape.height} at "
                f"{float(shape.rate):g} frames per second ({error.strerror}); --fps, --size or "
                "--codec changes that"
            ) from error
        self._reformatter = VideoReformatter()
        self._pixels = self.stream.pix_fmt

    def encode(self, frame: Frame, pts: int) -> None:
        """Encode a frame, shape (H, W, 3), uint8 BGR, and write what is ready."""
        picture = self._reformatter.reformat(
            av.VideoFrame.from_ndarray(frame, format="bgr24"),
            format=self._pixels,
            dst_colorspace=_COLORSPACES[self._shape.colors.matrix],
            dst_color_range=self._shape.colors.range,
        )
        picture.pts, picture.time_base = pts, self._shape.time_base
        self._container.mux(self.stream.encode(picture))

    def finish(self) -> None:
        """Write what the encoder still holds back."""
        self._container.mux(self.stream.encode(None))
