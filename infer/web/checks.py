"""What visitors may send: limits, and a look into each file by decoders that open nothing else."""

import lzma
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
from PIL import Image

from nst_rt.errors import InputError, StyleTransferError, VideoError
from nst_rt.images.io import IMAGE_SUFFIXES, image_shape, load_picture
from nst_rt.images.pillow import readable_image
from nst_rt.infer.video.probe import open_media, video_stream
from nst_rt.models.transformer import MINIMUM_SIZE

# What decoders are let loose on: no formats that name other files (playlists), or run programs.
_IMAGE_FORMATS = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "BMP": ".bmp", "TIFF": ".tif"}
_VIDEO_FORMATS = {
    "mov": ".mp4",
    "matroska": ".mkv",
    "avi": ".avi",
    "mpegts": ".ts",
    "mpeg": ".mpg",
    "ogg": ".ogv",
    "flv": ".flv",
    "asf": ".wmv",
}
# What damaged and encrypted members raise, and what is in them.
_UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    SyntaxError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)
_LARGEST_MEMBER = 100 * 2**20  # bytes of one photo in an archive
_MOST_MEMBERS = 200_000


class TooLargeError(StyleTransferError):
    """More than the studio takes: of bytes, pixels or seconds."""


@dataclass(frozen=True)
class Limits:
    """What visitors may ask of this machine.

    Attributes:
        upload: bytes of a file.
        storage: bytes of all files; the oldest uploads make room, results never do.
        pixels: of a photo, or of a video's frame.
        seconds: of a video.
        viewers: live pictures at once.
        jobs: that one visitor may have waiting or running.
    """

    upload: int = 512 * 10**6
    storage: int = 4 * 10**9
    pixels: int = 50 * 10**6
    seconds: float = 600.0
    viewers: int = 4
    jobs: int = 6


def check_photo(path: Path, name: str, limits: Limits) -> tuple[str, dict[str, Any]]:
    """The suffix that a photo's content calls for, and its size. It is decoded to its end.

    Raises:
        InputError: not a photo, or a damaged one.
        TooLargeError: too many pixels.
    """
    try:
        with readable_image(path, formats=tuple(_IMAGE_FORMATS)) as opened:
            suffix = _IMAGE_FORMATS.get(opened.format or "", ".jpg")  # "MPO", a kind of JPEG
            pixels = opened.width * opened.height
    except InputError as error:
        raise InputError(
            f"{name}: not a photo that can be read (JPEG, PNG, WebP, TIFF, BMP)"
        ) from error
    _check_pixels(name, pixels, limits)
    try:
        height, width = image_shape(path)
        # A JPEG at an eighth of its size, which reads all of the file, too.
        load_picture(path, at_least=MINIMUM_SIZE)
    except InputError as error:
        raise InputError(str(error).replace(str(path), name)) from error
    return suffix, {"width": width, "height": height}


def check_video(path: Path, name: str, limits: Limits) -> tuple[str, dict[str, Any]]:
    """The suffix that a video's content calls for; its size and duration.

    Raises:
        InputError: not a video, or one of an unknown codec.
        TooLargeError: too many pixels or seconds.
    """
    options = {"format_whitelist": ",".join(_VIDEO_FORMATS), "protocol_whitelist": "file"}
    try:
        with open_media(path, options=options) as container:
            context = video_stream(path, container).codec_context
            width, height = context.width, context.height
            seconds = None if container.duration is None else container.duration / av.time_base
            formats = container.format.name.split(",")
    except VideoError as error:
        raise InputError(str(error).replace(str(path), name)) from error
    _check_pixels(name, width * height, limits)
    if seconds is not None and seconds > limits.seconds:
        raise TooLargeError(f"{name}: longer than the {limits.seconds:g} seconds allowed here")
    suffix = next(_VIDEO_FORMATS[f] for f in formats if f in _VIDEO_FORMATS)
    return suffix, {"width": width, "height": height, "seconds": seconds}


def check_archive(path: Path, name: str, limits: Limits) -> tuple[str, dict[str, Any]]:
    """The suffix of an archive of photos, and how many files are in it.

    Photos in it that cannot be read pass: trainings go on without them.

    Raises:
        InputError: not a zip archive, or one of other things than photos.
        TooLargeError: too many bytes when it is unpacked, or too many pixels in a photo.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [m for m in archive.infolist() if not m.is_dir()]
            _check_members(archive, members, name, limits)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise InputError(f"{name}: not a zip archive of photos") from error
    return ".zip", {"count": len(members)}


def _check_members(
    archive: zipfile.ZipFile, members: list[zipfile.ZipInfo], name: str, limits: Limits
) -> None:
    if len(members) > _MOST_MEMBERS or any(m.file_size > _LARGEST_MEMBER for m in members):
        raise InputError(f"{name}: an archive of other things than photos")
    unpacked = sum(member.file_size for member in members)
    if unpacked > limits.storage:
        raise TooLargeError(
            f"{name}: {unpacked / 1e9:.1f} GB when unpacked, and {limits.storage / 1e9:g} are "
            "allowed here"
        )
    for member in members:
        if Path(member.filename).suffix.lower() not in IMAGE_SUFFIXES:
            continue
        shown = f"{name}: {member.filename}"
        try:
            with archive.open(member) as file, Image.open(file) as opened:
                kind, pixels = opened.format, opened.width * opened.height
        except Image.DecompressionBombError as error:
            raise TooLargeError(f"{shown}: too many pixels") from error
        except _UNREADABLE:
            continue
        if kind not in (*_IMAGE_FORMATS, "MPO"):
            raise InputError(f"{shown}: {kind} and not what its name says")
        _check_pixels(shown, pixels, limits)


def _check_pixels(name: str, pixels: int, limits: Limits) -> None:
    if pixels > limits.pixels:
        raise TooLargeError(
            f"{name}: {pixels / 1e6:.1f} megapixels, and {limits.pixels / 1e6:g} are allowed here"
        )
