"""What is asked for of a conversion, and whether it can be done."""

import hashlib
import os
import queue
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from nst_rt.errors import InputError, OutputExistsError
from nst_rt.files import check_format, check_output, partial_path
from nst_rt.infer.stability.stabilizer import check_stability
from nst_rt.infer.video.encoder import VIDEO_SUFFIXES, Encoding, choose_encoding
from nst_rt.infer.video.picture_reader import (
    FOLDER_RATE,
    PICTURE_SUFFIXES,
    PictureReader,
    is_animation,
)
from nst_rt.infer.video.picture_writers import ANIMATION_SUFFIXES, check_pattern, is_pattern
from nst_rt.infer.video.probe import STDIO, Packet
from nst_rt.infer.video.reader import VideoReader
from nst_rt.infer.video.segments import work_path
from nst_rt.infer.video.transforms import Size, check_shape, exact_rate

SEGMENT = 250  # frames; of work that is lost at most


@dataclass(frozen=True)
class Settings:
    """What is made of a video, beside its style; see `stylize_video`."""

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

    @property
    def rate(self) -> Fraction | None:
        """The exact rate that is asked for."""
        return None if self.fps is None else exact_rate(self.fps)


@dataclass(frozen=True)
class Request:
    """A conversion whose two ends have been checked.

    Attributes:
        output: as it was given.
        reader: of the source.
        encoding: of the video, None where pictures are written.
        others: packets of sound and the like, where these are taken from the reader.
    """

    output: Path
    reader: VideoReader | PictureReader
    encoding: Encoding | None
    others: "queue.SimpleQueue[Packet] | None"


def check_conversion(
    source: Path | str, output: Path | str, settings: Settings | None = None
) -> Request:
    """Check a conversion's two ends before any work is done.

    Raises:
        InputError, OutputExistsError, VideoError: see `stylize_video`.
    """
    settings = settings or Settings()
    if settings.stability is not None:
        check_stability(settings.stability)
    check_shape(size=settings.size, scale=settings.scale, fps=settings.fps)
    if settings.segment < 1:
        raise InputError(f"a segment must have a frame at least, not {settings.segment}")
    output, encoding = _check_output(output, settings)
    unusual = STDIO if str(source) == STDIO else None
    if encoding is None or str(output) == STDIO:
        unusual = str(output)
    if settings.resume and unusual:
        raise InputError(
            f"--resume does not go with {unusual}: there are no segments to go on from"
        )
    reader, others = _reader(source, output, encoding, settings)
    _check_apart(reader.path, output)
    return Request(output, reader, encoding, others)


def fingerprint(source: Path) -> dict[str, Any]:
    """What tells a source from another one."""
    if str(source) == STDIO:
        return {"source": STDIO}
    if source.is_dir():
        # Of a link, what it leads to, unless that is gone.
        found = [(f.name, f.stat() if f.exists() else f.lstat()) for f in source.iterdir()]
        files = sorted((name, stat.st_size, stat.st_mtime_ns) for name, stat in found)
        return {"pictures of the source": hashlib.sha256(repr(files).encode()).hexdigest()[:16]}
    with source.open("rb") as file:
        beginning = hashlib.sha256(file.read(65536)).hexdigest()[:16]
    return {
        "bytes of the source": source.stat().st_size,
        "time of the source": source.stat().st_mtime_ns,
        "beginning of the source": beginning,
    }


def _check_apart(source: Path, output: Path) -> None:
    """Refuse to write over the source, by whatever name, or among the pictures of its folder."""
    is_pipe = str(source) == STDIO
    if not is_pipe and source.is_dir():
        writes_pictures = output.suffix.lower() in PICTURE_SUFFIXES
        if writes_pictures and output.parent.exists() and output.parent.samefile(source):
            raise InputError(
                f"{output}: would be written among the pictures of the source; choose another "
                "folder"
            )
        return
    try:
        read = os.fstat(0) if is_pipe else source.stat()
    except OSError:  # no standard input
        return
    for target in (output, partial_path(output)):
        if target.exists() and os.path.samestat(target.stat(), read):
            raise InputError(f"{output}: would be written over the source; choose another name")


def _check_output(output: Path | str, settings: Settings) -> tuple[Path, Encoding | None]:
    output, overwrite = Path(output), settings.overwrite
    given = (settings.codec, settings.crf, settings.preset)
    suffix = output.suffix.lower()
    if str(output) == STDIO:
        return output, choose_encoding(".mkv", codec=given[0], crf=given[1], preset=given[2])
    if is_pattern(output) or suffix in ANIMATION_SUFFIXES:
        if given != (None, None, None):
            raise InputError(f"{output}: codec, crf and preset go with video files only")
        if is_pattern(output):
            return check_pattern(output, overwrite=overwrite), None
        return check_output(output, overwrite=overwrite), None
    try:
        output = check_format(output, "video", VIDEO_SUFFIXES, overwrite=overwrite)
    except OutputExistsError:
        # Interrupted over a file that was to be replaced.
        if not (settings.resume and work_path(output).is_dir()):
            raise
    return output, choose_encoding(suffix, codec=given[0], crf=given[1], preset=given[2])


def _reader(
    source: Path | str, output: Path, encoding: Encoding | None, settings: Settings
) -> tuple[VideoReader | PictureReader, "queue.SimpleQueue[Packet] | None"]:
    given = {name: getattr(settings, name) for name in ("start", "end", "size", "scale")}
    if str(source) != STDIO and Path(source).is_dir():
        return PictureReader(source, rate=settings.rate or FOLDER_RATE, **given), None
    if str(source) != STDIO and is_animation(source):
        return PictureReader(source, **given), None
    # AV1 and VP9 do not tell the shape of pixels, and nor can PyAV in these containers.
    square = encoding is None or (
        encoding.codec in ("av1", "vp9") and output.suffix.lower() != ".mp4"
    )
    others: queue.SimpleQueue[Packet] | None = None
    # Pictures have no sound, and nobody would take it out.
    if encoding is not None and STDIO in (str(source), str(output)):
        others = queue.SimpleQueue()
    return VideoReader(source, square=square, others=others, **given), others
