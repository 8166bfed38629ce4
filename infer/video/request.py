"""The settings of a conversion, and whether it can be done: checked before any work starts."""

import hashlib
import os
import queue
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2

from nst_rt.errors import InputError, OutputExistsError
from nst_rt.files import check_format, check_output, partial_path
from nst_rt.images.io import Frame
from nst_rt.infer.backends import installed_version
from nst_rt.infer.frame_stylizer import StyleOrStylizer, label_of
from nst_rt.infer.frames import TimedFrame
from nst_rt.infer.stability.stabilizer import check_stability
from nst_rt.infer.timeline import DEFAULT_STYLE
from nst_rt.infer.video.encoder import VIDEO_SUFFIXES, Encoding, Shape, choose_encoding
from nst_rt.infer.video.picture_reader import (
    FOLDER_RATE,
    PICTURE_SUFFIXES,
    PictureReader,
    is_animated_webp,
)
from nst_rt.infer.video.probe import STDIO, Packet
from nst_rt.infer.video.reader import VideoReader
from nst_rt.infer.video.segments import has_conversion
from nst_rt.infer.video.source import Mark, VideoSource
from nst_rt.infer.video.transforms import Size, at_rate, check_shape, exact_rate
from nst_rt.infer.video.writers import ANIMATION_SUFFIXES, check_pattern, is_pattern
from nst_rt.models.style_model import StyleModel
from nst_rt.version import __version__

SEGMENT = 250  # frames; the most that an interruption loses

# Of `frame_versions`, by name; OpenCV comes in several packages, so it is asked itself.
_PACKAGES = ("torch", "openvino", "onnxruntime", "av")


@dataclass(frozen=True)
class ConversionSettings:
    """Settings of a conversion other than its style; see `stylize_video`.

    Attributes:
        learned: the style, if it was learned for this conversion, to be kept with what is finished.
    """

    codec: str | None = None
    crf: int | None = None
    preset: str | None = None
    start: float | None = None
    end: float | None = None
    size: Size | None = None
    scale: float | None = None
    fps: Fraction | float | None = None
    stability: float | None = None
    overwrite: bool = False
    resume: bool = False
    segment: int = SEGMENT
    learned: StyleModel | None = None

    @property
    def rate(self) -> Fraction | None:
        """`fps` as a fraction."""
        return None if self.fps is None else exact_rate(self.fps)


@dataclass(frozen=True)
class Request:
    """A conversion whose input and output have been checked.

    Attributes:
        output: as given.
        reader: of the source.
        encoding: of the video; None for GIF, WebP and numbered images.
        settings: as given.
    """

    output: Path
    reader: VideoSource
    encoding: Encoding | None
    settings: ConversionSettings

    @property
    def rate(self) -> Fraction | None:
        """Constant rate that frames are brought to; a folder is read at its rate."""
        return None if self.reader.path.is_dir() else self.settings.rate

    @property
    def time_base(self) -> Fraction:
        """Seconds per tick of the output."""
        return self.reader.time_base if self.rate is None else 1 / self.rate

    @property
    def span(self) -> tuple[float, float | None]:
        """Seconds of the source's other tracks to copy: start, and end or None."""
        settings, origin = self.settings, self.reader.info.origin * self.reader.time_base
        start = float((settings.start or 0) + origin)
        end = None if settings.end is None else settings.end - (settings.start or 0) + start
        return start, end

    def shape(self, image: Frame) -> Shape:
        """Properties of the output, known when the first frame has come."""
        height, width = image.shape[:2]
        info, aspect = self.reader.info, self.reader.aspect
        rate = self.rate or info.rate
        return Shape(width, height, aspect, rate, self.time_base, info.colors)

    def frames(self, after: Mark | None = None) -> Iterator[TimedFrame]:
        """Frames to stylize, in ticks of the output; see `VideoSource.frames`."""
        frames = self.reader.frames(after)
        if self.rate is None:
            return frames
        return at_rate(frames, self.reader.time_base, self.rate)

    def plan(self, identity: Mapping[str, Any]) -> dict[str, Any]:
        """All that decides what the output will be, with the identity of the frame stylizer."""
        assert self.encoding is not None
        settings = self.settings
        same = ("start", "end", "size", "scale", "segment")
        return {
            **fingerprint(self.reader.path),
            **{name: getattr(settings, name) for name in same},
            "fps": settings.rate,
            **asdict(self.encoding),
            **identity,
            **frame_versions(),
        }


def check_conversion(
    source: Path | str, output: Path | str, settings: ConversionSettings = ConversionSettings()
) -> Request:
    """Check input, output and settings of a conversion.

    Raises:
        InputError, OutputExistsError, VideoError: see `stylize_video`.
    """
    if settings.stability is not None:
        check_stability(settings.stability)
    check_shape(size=settings.size, scale=settings.scale, fps=settings.fps)
    if settings.segment < 1:
        raise InputError(f"`segment` must be 1 frame or more, not {settings.segment}")
    output, encoding = _check_output(output, settings)
    in_one_go = STDIO if str(source) == STDIO else None
    if encoding is None or str(output) == STDIO:
        in_one_go = str(output)
    if settings.resume and in_one_go:
        raise InputError(f"`resume` does not work with {in_one_go}, which is written in one go")
    reader = open_reader(source, output, encoding, settings)
    _check_apart(reader.path, output)
    return Request(output, reader, encoding, settings)


def frame_versions() -> dict[str, str | None]:
    """Versions of the packages that decide how frames look; None of those not installed."""
    found = {package: installed_version(package) for package in _PACKAGES}
    return {**found, "opencv": cv2.__version__, "nst-rt": __version__}


def default_output(
    source: Path | str, style: StyleOrStylizer = DEFAULT_STYLE, *, strength: float = 1.0
) -> Path:
    """`FILM_STYLE.EXT` in the current folder, in the container of the source or else .mp4.

    STYLE is the `style_label` of the style, which includes unequal weights and the strength.

    Raises:
        InputError: standard input, which has no name.
    """
    if str(source) == STDIO:
        raise InputError("standard input needs an `output`: a file, or - for standard output")
    source = Path(source)
    suffix = source.suffix.lower() if source.suffix.lower() in VIDEO_SUFFIXES else ".mp4"
    stem = source.resolve().name if source.is_dir() else source.stem
    return Path(f"{stem}_{label_of(style, strength=strength)}{suffix}")


def fingerprint(source: Path, *, with_time: bool = True) -> dict[str, Any]:
    """What distinguishes a source from others; `with_time`: also when a file was written."""
    if source.is_dir():
        # Of a link, what it points to, unless that is gone.
        found = [(f.name, f.stat() if f.exists() else f.lstat()) for f in source.iterdir()]
        files = sorted((n, stat.st_size, stat.st_mtime_ns * with_time) for n, stat in found)
        return {"images of the source": hashlib.sha256(repr(files).encode()).hexdigest()[:16]}
    with source.open("rb") as file:
        beginning = hashlib.sha256(file.read(65536)).hexdigest()[:16]
    stat = source.stat()
    return {
        "bytes of the source": stat.st_size,
        **({"time of the source": stat.st_mtime_ns} if with_time else {}),
        "beginning of the source": beginning,
    }


def _check_apart(source: Path, output: Path) -> None:
    """Refuse to write over the source, under any name, or among the images of its folder."""
    is_pipe = str(source) == STDIO
    if not is_pipe and source.is_dir():
        writes_images = output.suffix.lower() in PICTURE_SUFFIXES
        if writes_images and output.parent.exists() and output.parent.samefile(source):
            raise InputError(
                f"{output}: lies among the images of the source; choose another folder"
            )
        return
    try:
        read = os.fstat(0) if is_pipe else source.stat()
    except OSError:  # no standard input
        return
    for target in (output, partial_path(output)):
        if target.exists() and os.path.samestat(target.stat(), read):
            raise InputError(f"{output}: would be written over the source; choose another name")


def _check_output(output: Path | str, settings: ConversionSettings) -> tuple[Path, Encoding | None]:
    output, overwrite = Path(output), settings.overwrite
    given = {name: getattr(settings, name) for name in ("codec", "crf", "preset")}
    suffix = output.suffix.lower()
    if str(output) == STDIO:
        return output, choose_encoding(".mkv", **given)
    if is_pattern(output) or suffix in ANIMATION_SUFFIXES:
        if any(value is not None for value in given.values()):
            raise InputError(f"{output}: `codec`, `crf` and `preset` are for video files only")
        check = check_pattern if is_pattern(output) else check_output
        return check(output, overwrite=overwrite), None
    try:
        known = (*VIDEO_SUFFIXES, *ANIMATION_SUFFIXES)
        output = check_format(output, "video", known, overwrite=overwrite)
    except OutputExistsError:
        # A conversion that was to replace it, or that has just made it, was interrupted.
        if not (settings.resume and has_conversion(output)):
            raise
    return output, choose_encoding(suffix, **given)


def open_reader(
    source: Path | str, output: Path, encoding: Encoding | None, settings: ConversionSettings
) -> VideoSource:
    """The reader of a source for an output; see `check_conversion`."""
    given = {name: getattr(settings, name) for name in ("start", "end", "size", "scale")}
    if str(source) != STDIO and Path(source).is_dir():
        return PictureReader(source, rate=settings.rate or FOLDER_RATE, **given)
    if str(source) != STDIO and is_animated_webp(source):
        return PictureReader(source, **given)
    # AV1 and VP9 do not store the pixel aspect ratio, and PyAV cannot set it in these containers.
    square = encoding is None or (
        encoding.codec in ("av1", "vp9") and output.suffix.lower() != ".mp4"
    )
    # GIF and the like have no sound, and nobody would empty the queue.
    has_others = encoding is not None and STDIO in (str(source), str(output))
    others = queue.SimpleQueue[Packet]() if has_others else None
    return VideoReader(source, square=square, others=others, **given)
