"""Where Pillow opens and writes image files, and the one place where its errors become ours."""

import re
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import cv2
import torch
from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from nst_rt.devices import available_memory
from nst_rt.errors import InputError, StyleTransferError
from nst_rt.files import check_input

SIGNATURE_SIZE = 16  # bytes that `is_photo` needs
DECODED = 16  # peak bytes per pixel of an image that Pillow decodes
SURELY_FITS = 10**9  # bytes; for less, free memory does not matter

_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_SIGNATURES = (
    b"\xff\xd8\xff",  # JPEG
    b"\x89PNG\r\n\x1a\n",
    b"GIF87a",
    b"GIF89a",
    b"\0\0\0\x0cjP  \r\n\x87\n",  # JPEG 2000
)


@contextmanager
def readable_image(
    path: Path | str, content: bytes | None = None, *, formats: tuple[str, ...] | None = None
) -> Iterator[ImageFile]:
    """Open an image file with Pillow; any error while it is open becomes one line.

    Instead of Pillow's limit on the number of pixels, that of the free memory holds meanwhile: for
    images inside the file, too, such as the PNGs of an icon. `check_memory` of
    `nst_rt.images.decoding` predicts what decoding the file itself takes.

    Args:
        path: any format that Pillow reads by itself; HEIC with `pillow-heif`.
        content: bytes of the file; `path` is then only its name.
        formats: Pillow's names of the formats to try; all by default.

    Raises:
        InputError: no such file, not an image, a damaged image, or too little memory for it.
    """
    path = check_input(path) if content is None else Path(path)
    try:
        # Never by its path: Pillow 13 maps such TIFFs into memory and scrambles those that EXIF
        # turns.
        with (
            path.open("rb") if content is None else BytesIO(content) as file,
            _limit_by_memory,
            _opened(path, file, formats) as opened,
        ):
            yield opened
    except StyleTransferError:
        raise
    except UnidentifiedImageError as error:
        raise InputError(f"{path}: not an image that can be read") from error
    except (MemoryError, Image.DecompressionBombError) as error:
        found = re.search(r"\d+ pixels", str(error))
        raise InputError(
            f"{path}: reading {found[0] if found else 'it'} takes more memory than is free; make "
            "the image smaller first"
        ) from error
    except Exception as error:  # decoders raise anything on damaged bytes
        raise InputError(f"{path}: damaged image: {_one_line(error)}") from error


@contextmanager
def writable_image(path: Path | str) -> Iterator[None]:
    """Turn what Pillow and OpenCV raise while they write an image into one line.

    Raises:
        InputError: the format cannot hold the image.
        OSError: the system cannot write the file: a full disk, for example.
    """
    try:
        yield
    except (OSError, ValueError, OverflowError, struct.error, cv2.error) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        format = Path(path).suffix or "an image"
        raise InputError(f"{path}: cannot be written as {format} ({_one_line(error)})") from error


def is_photo(signature: bytes) -> bool:
    """Whether a file that begins with these bytes has a format of photos, whatever its name.

    Camera raw files do not count: they look like TIFF, so TIFF files are recognized by name.
    """
    is_webp = signature[:4] == b"RIFF" and signature[8:12] == b"WEBP"
    is_avif = signature[4:12] in (b"ftypavif", b"ftypavis")
    return is_webp or is_avif or _is_heif(signature) or signature.startswith(_SIGNATURES)


def _is_heif(signature: bytes) -> bool:
    return signature[4:8] == b"ftyp" and signature[8:12] in _HEIF_BRANDS


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _opened(path: Path, file: BinaryIO, formats: tuple[str, ...] | None) -> ImageFile:
    try:
        opened = Image.open(file, formats=formats)
        if opened.format == "EPS":  # Pillow would have Ghostscript run it
            raise InputError(f"{path}: a PostScript program, not an image; convert it to PNG first")
        return opened
    except UnidentifiedImageError:
        file.seek(0)
        if formats is not None or not _is_heif(file.read(SIGNATURE_SIZE)):
            raise
    try:
        from pillow_heif import register_heif_opener
    except ImportError as error:
        raise InputError(
            f"{path}: HEIC photos need pillow-heif: pip install 'nst-rt[heif]', or save the photo "
            "as JPEG"
        ) from error
    register_heif_opener()
    return Image.open(file)


class _LimitByMemory:
    """Replaces Pillow's limit on pixels while an image is read; the host process keeps its own.

    Pillow warns beyond the limit, where `check_memory` refuses, and refuses twice the limit.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readers = 0
        self._limit = Image.MAX_IMAGE_PIXELS

    def __enter__(self) -> None:
        with self._lock:
            if not self._readers:
                free = available_memory(torch.device("cpu"))
                limit = round(max(free, SURELY_FITS) / DECODED)
                self._limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, limit
            self._readers += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._readers -= 1
            if not self._readers:
                Image.MAX_IMAGE_PIXELS = self._limit


_limit_by_memory = _LimitByMemory()
