"""Checks of the files that visitors send: by decoders that open nothing else, and by content."""

import zipfile
from pathlib import Path
from typing import Any

import av
from PIL import Image

from nst_rt.errors import InputError
from nst_rt.images.io import IMAGE_SUFFIXES, image_shape, load_picture
from nst_rt.images.pillow import readable_image
from nst_rt.infer.video.probe import video_stream
from nst_rt.infer.web.decoding.images import rewrite_photo
from nst_rt.infer.web.settings import Limits, TooLargeError
from nst_rt.models.transformer import MINIMUM_SIZE

# Only these formats are decoded: others name further files (playlists) or run programs.
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
_MAX_MEMBER = 100 * 2**20  # bytes of one photo in an archive
_MAX_MEMBERS = 200_000

# What a check finds: the suffix that the content calls for, and facts for the page. It raises an
# InputError or a VideoError for anything else, and a TooLargeError over a limit.
Found = tuple[str, dict[str, Any]]


def check_image(path: Path, limits: Limits) -> Found:
    """Check an image by decoding all of it; the facts are its size."""
    suffix = _check_header(path, limits)
    height, width = image_shape(path)
    # A JPEG is decoded at an eighth of its size, which reads all of the file, too.
    load_picture(path, at_least=MINIMUM_SIZE)
    return suffix, {"width": width, "height": height}


def check_photo(path: Path, limits: Limits) -> Found:
    """Check a photo to train on, and rewrite it; there are no facts."""
    _check_header(path, limits)
    rewrite_photo(path)
    return ".jpg", {}


def _check_header(path: Path, limits: Limits) -> str:
    """Check the format of an image and its number of pixels; returns the format's suffix."""
    try:
        with readable_image(path, formats=tuple(_IMAGE_FORMATS)) as opened:
            suffix = _IMAGE_FORMATS.get(opened.format or "", ".jpg")  # "MPO", a kind of JPEG
            pixels = opened.width * opened.height
    except InputError as error:
        raise InputError(
            f"{path}: not an image that can be read (JPEG, PNG, WebP, TIFF, BMP)"
        ) from error
    _check_pixels(path, pixels, limits)
    return suffix


def check_video(path: Path, limits: Limits) -> Found:
    """Check a video and its codec; the facts are its size and duration."""
    options = {"format_whitelist": ",".join(_VIDEO_FORMATS), "protocol_whitelist": "file"}
    try:
        with av.open(str(path), options=options, metadata_errors="replace") as container:
            context = video_stream(path, container).codec_context
            width, height = context.width, context.height
            seconds = None if container.duration is None else container.duration / av.time_base
            formats = container.format.name.split(",")
    except (av.FFmpegError, OSError) as error:
        raise InputError(f"{path}: not a video that can be read, or a damaged one") from error
    _check_pixels(path, width * height, limits)
    if seconds is not None and seconds > limits.seconds:
        raise TooLargeError(f"{path}: longer than the {limits.seconds:g} seconds allowed here")
    suffix = next(_VIDEO_FORMATS[each] for each in formats if each in _VIDEO_FORMATS)
    return suffix, {"width": width, "height": height, "seconds": seconds}


def check_archive(path: Path, limits: Limits) -> Found:
    """Check a zip archive of photos; the facts are the number of files in it.

    Damaged photos pass, since training skips them.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [m for m in archive.infolist() if not m.is_dir()]
            if len(members) > _MAX_MEMBERS or any(m.file_size > _MAX_MEMBER for m in members):
                raise InputError(f"{path}: the archive contains other things than photos")
            unpacked = sum(member.file_size for member in members)
            if unpacked > limits.storage:
                raise TooLargeError(
                    f"{path}: {unpacked / 1e9:.1f} GB when unpacked, and "
                    f"{limits.storage / 1e9:g} GB are allowed here"
                )
            for member in members:
                if Path(member.filename).suffix.lower() in IMAGE_SUFFIXES:
                    _check_member(archive, member, f"{path}: {member.filename}", limits)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise InputError(f"{path}: not a zip archive of photos") from error
    return ".zip", {"count": len(members)}


def _check_member(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str, limits: Limits
) -> None:
    try:
        with archive.open(member) as file, Image.open(file) as opened:
            image_format, pixels = opened.format, opened.width * opened.height
    except Image.DecompressionBombError as error:
        raise TooLargeError(f"{name}: too many pixels") from error
    except Exception:  # decoders raise anything on damaged and encrypted photos
        return
    if image_format not in (*_IMAGE_FORMATS, "MPO"):
        raise InputError(f"{name}: the content is {image_format}, not what the name says")
    _check_pixels(name, pixels, limits)


def _check_pixels(name: Path | str, pixels: int, limits: Limits) -> None:
    if pixels > limits.pixels:
        raise TooLargeError(
            f"{name}: {pixels / 1e6:.1f} megapixels, and {limits.pixels / 1e6:g} are allowed here"
        )
