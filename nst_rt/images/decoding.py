"""From image files to pixels: the one place where Pillow opens them and its errors become ours.

OpenCV has a part in 16-bit PNGs only, and sees nothing of them but their pixels.
"""

import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Literal

import cv2
import numpy as np
import numpy.typing as npt
import torch
from cv2.typing import MatLike
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError
from PIL import TiffImagePlugin as tiff
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from nst_rt.devices import available_memory
from nst_rt.errors import InputError, StyleTransferError
from nst_rt.files import check_input
from nst_rt.images.color_profiles import deep_to_srgb, srgb_transform

Depth = Literal[8, 16]
Shape = tuple[int, int]
_Levels = npt.NDArray[np.uint16]
_Values = npt.NDArray[np.float32]

_TURNS = {  # what makes an image upright, by its EXIF orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ON_THEIR_SIDE = (5, 6, 7, 8)

_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_SIGNATURES = (
    b"\xff\xd8\xff",  # JPEG
    b"\x89PNG\r\n\x1a\n",
    b"GIF87a",
    b"GIF89a",
    b"\0\0\0\x0cjP  \r\n\x87\n",  # JPEG 2000
)
SIGNATURE_SIZE = 16  # bytes that `is_photo` needs

# Pixels from which an image is reduced before its values become float32.
_LARGE = 50 * 10**6
# Bytes per pixel, at the peak, of an image on its way to float32; and as Pillow decodes it.
_WHOLE, _DECODED = 60, 16
# Not worth a look at how much memory is free.
_SURELY_FITS = 10**9


@dataclass(frozen=True)
class Pixels:
    """What was decoded.

    Attributes:
        rgba: colors (sRGB) and alpha, upright, shape (H, W, 4), float32 in [0, 1].
        depth: bits per channel that were read.
        shape: (H, W) of the upright file, of which `rgba` may be a reduced version.
    """

    rgba: _Values
    depth: Depth
    shape: Shape


def is_photo(signature: bytes) -> bool:
    """Whether a file that begins like this is of a format that photos have, whatever its name.

    Camera raw files are not: they look like TIFF, whose files are known by their names.
    """
    is_webp = signature[:4] == b"RIFF" and signature[8:12] == b"WEBP"
    is_avif = signature[4:12] in (b"ftypavif", b"ftypavis")
    return is_webp or is_avif or _is_heif(signature) or signature.startswith(_SIGNATURES)


def _is_heif(signature: bytes) -> bool:
    return signature[4:8] == b"ftyp" and signature[8:12] in _HEIF_BRANDS


class _PillowsLimit:
    """Lifts Pillow's limit on pixels while an image is read; the host process keeps its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readers = 0
        self._limit = Image.MAX_IMAGE_PIXELS

    def __enter__(self) -> None:
        with self._lock:
            if not self._readers:
                self._limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            self._readers += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._readers -= 1
            if not self._readers:
                Image.MAX_IMAGE_PIXELS = self._limit


_no_limit_of_pillow = _PillowsLimit()


@contextmanager
def readable_image(
    path: Path | str, content: bytes | None = None, *, formats: tuple[str, ...] | None = None
) -> Iterator[ImageFile]:
    """Open an image file with Pillow; whatever goes wrong with it becomes one line.

    Pillow's limit on pixels does not hold meanwhile: see `check_memory`.

    Args:
        path: any format that Pillow reads.
        content: of the file, where `path` is only its name.
        formats: the only ones to try, by Pillow's names; all by default.

    Raises:
        InputError: no such file, not an image, a damaged one, or too little memory for it.
    """
    path = check_input(path) if content is None else Path(path)
    try:
        # Never by its path: Pillow 13 maps such TIFFs into memory and scrambles those that EXIF
        # turns.
        with (
            path.open("rb") if content is None else BytesIO(content) as file,
            _no_limit_of_pillow,
            _opened(path, file, formats) as opened,
        ):
            yield opened
    except StyleTransferError:
        raise
    except UnidentifiedImageError as error:
        raise InputError(f"{path}: not an image that can be read") from error
    except MemoryError as error:
        raise InputError(f"{path}: there is too little memory to read it") from error
    except Exception as error:  # decoders raise whatever a damaged byte leads them to
        cause = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: damaged or unreadable image ({cause})") from error


def _opened(path: Path, file: BinaryIO, formats: tuple[str, ...] | None) -> ImageFile:
    try:
        return Image.open(file, formats=formats)
    except UnidentifiedImageError:
        file.seek(0)
        if formats is not None or not _is_heif(file.read(SIGNATURE_SIZE)):
            raise
    try:
        from pillow_heif import register_heif_opener
    except ImportError as error:
        raise InputError(
            f"{path}: HEIC photos need pillow-heif; pip install 'nst-rt[heif]', or save it as JPEG"
        ) from error
    register_heif_opener()
    return Image.open(file)


def upright_shape(path: Path, opened: ImageFile) -> Shape:
    """Height and width of an image that is open and not loaded yet, as EXIF turns it."""
    width, height = opened.size
    if isinstance(opened, TiffImageFile):  # turned already, in some versions of Pillow
        width, height = opened.tag_v2[tiff.IMAGEWIDTH], opened.tag_v2[tiff.IMAGELENGTH]
    elif opened.format == "PNG":  # which Pillow decodes to find its EXIF
        check_memory(path, (height, width), _DECODED)
    on_its_side = opened.getexif().get(ExifTags.Base.Orientation) in _ON_THEIR_SIDE
    return (width, height) if on_its_side else (height, width)


def check_memory(path: Path, shape: Shape, bytes_per_pixel: float = _WHOLE) -> None:
    """Raise an InputError if an image would not fit into the memory, before it is decoded."""
    needed = shape[0] * shape[1] * bytes_per_pixel
    if needed <= _SURELY_FITS:
        return
    free = available_memory(torch.device("cpu"))
    if needed > free:
        raise InputError(
            f"{path}: reading {shape[1]}x{shape[0]} px takes {needed / 1e9:.1f} GB of memory, and "
            f"there are {free / 1e9:.1f} GB; make it smaller first"
        )


def read_pixels(
    path: Path,
    content: bytes | None = None,
    *,
    size: int | None = None,
    at_least: int | None = None,
    max_pixels: int | None = None,
) -> Pixels:
    """Decode an image file; see `load_picture` for the arguments.

    A large image that is needed at a smaller `size` only is reduced, to no less than twice that: a
    JPEG as it is decoded, one of another format before its values become float32.

    Raises:
        InputError: a file that cannot be read, or is too large.
    """
    with readable_image(path, content) as opened:
        sides = opened.size
        if max_pixels is not None and sides[0] * sides[1] > max_pixels:
            raise InputError(
                f"{path}: {sides[0]}x{sides[1]} px are {sides[0] * sides[1]} pixels, more than the "
                f"{max_pixels} allowed"
            )
        factor = _reduction(sides, size, at_least)
        is_drafted = opened.draft(None, (sides[0] // factor, sides[1] // factor)) is not None
        factor = _reduction(opened.size, size, at_least)
        is_deep_png = opened.format == "PNG" and "16B" in str(opened.tile[0][3])
        shrinks = (
            factor > 1
            and opened.width * opened.height > _LARGE
            and not (is_deep_png or opened.mode.startswith(("I", "F")))
        )
        check_memory(path, (opened.height, opened.width), _DECODED if shrinks else _WHOLE)
        opened.load()  # which turns a TIFF already
        orientation = opened.getexif().get(ExifTags.Base.Orientation, 1)
        width, height = sides if is_drafted else opened.size
        shape = (width, height) if orientation in _ON_THEIR_SIDE else (height, width)
        picture: Image.Image = _shrunk(opened, factor) if shrinks else opened
        # Not by ImageOps.exif_transpose, which writes all tags anew and fails on malformed ones.
        if orientation in _TURNS:
            picture = picture.transpose(_TURNS[orientation])
        levels = None
        if is_deep_png:
            stored = path.read_bytes() if content is None else content
            levels = _deep_png(stored, orientation, opened.info.get("transparency"))
        elif picture.mode.startswith("I"):
            levels = _rgba_levels(_gray_levels(picture, opened))
        rgba, depth = _rgba(path, picture, opened.info.get("icc_profile"), levels)
        return Pixels(rgba, depth, shape)


def _rgba(
    path: Path, picture: Image.Image, profile: bytes | None, levels: _Levels | None
) -> tuple[_Values, Depth]:
    """Colors (sRGB) and alpha of an upright picture, from its `levels` where it has 16 bits."""
    if picture.mode == "F":
        gray = np.asarray(picture).clip(0, 1)
        return np.asarray(cv2.cvtColor(gray, cv2.COLOR_GRAY2RGBA)), 16
    transform = srgb_transform(profile, picture.mode, path)
    if levels is None:
        return _shallow(picture, transform), 8
    values = levels.astype(np.float32)
    values /= np.float32(65535)
    if transform:
        values[:, :, :3] = deep_to_srgb(transform, levels[:, :, :3])
    return values, 16


def _reduction(sides: tuple[int, int], size: int | None, at_least: int | None) -> int:
    """By how much an image may shrink and keep `at_least` and, if it is large, twice `size`.

    All others are the same at a size as if they were resized afterwards.
    """
    is_large = sides[0] * sides[1] > _LARGE
    factors = [] if size is None or not is_large else [max(sides) // max(2 * size, 1)]
    factors += [] if at_least is None else [min(sides) // max(at_least, 1)]
    return max(min(factors, default=1), 1)


def _shrunk(picture: Image.Image, factor: int) -> Image.Image:
    """By a whole factor, to the means of squares of pixels, weighted by alpha."""
    if "transparency" in picture.info:  # a color that stands for it
        picture = picture.convert("LA" if picture.mode == "L" else "RGBA")
    elif picture.mode in ("1", "P", "PA"):
        picture = picture.convert({"1": "L", "P": "RGB", "PA": "RGBA"}[picture.mode])
    # Not `reduce`, whose last squares may reach beyond the borders.
    width, height = (max(side // factor, 1) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.BOX)


def _shallow(picture: Image.Image, transform: ImageCms.ImageCmsTransform | None) -> _Values:
    rgb = transform.apply(picture.convert(transform.input_mode)) if transform else picture
    rgba = rgb.convert("RGB").convert("RGBA")
    if picture.has_transparency_data:
        rgba.putalpha(picture.convert("RGBA").getchannel("A"))
    values = np.asarray(rgba, np.float32)
    values /= np.float32(255)
    return values


def _gray_levels(picture: Image.Image, opened: ImageFile) -> _Levels:
    """Gray of more than 8 bits, (H, W); Pillow's own conversion to RGB would clip it at 255."""
    levels = np.asarray(picture).clip(0, 65535).astype(np.uint16)
    if isinstance(opened, TiffImageFile):  # which Pillow leaves as it is stored
        [bits, *_] = opened.tag_v2.get(tiff.BITSPERSAMPLE, (16,))
        if bits < 16:
            levels = np.rint(levels * (65535 / (2**bits - 1))).astype(np.uint16)
        if opened.tag_v2.get(tiff.PHOTOMETRIC_INTERPRETATION) == 0:  # white is zero
            levels = 65535 - levels
    return levels


def _deep_png(content: bytes, orientation: int, key: int | tuple[int, ...] | None) -> _Levels:
    """RGBA levels, upright, of a PNG with 16 bits, whose colors Pillow reads at 8.

    Args:
        key: the color that stands for transparency, if there is one.
    """
    stored = cv2.imdecode(np.frombuffer(_bare_png(content), np.uint8), cv2.IMREAD_UNCHANGED)
    if stored is None:
        raise ValueError("OpenCV cannot decode it")
    levels = _rgba_levels(stored)
    if key is not None:
        levels[:, :, 3] = np.where((levels[:, :, :3] == key).all(axis=2), 0, 65535)
    if orientation in _ON_THEIR_SIDE:  # as EXIF numbers them
        levels = levels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        levels = levels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        levels = levels[::-1]
    return levels


def _bare_png(content: bytes) -> bytes:
    """A PNG of its still image's pixels alone: OpenCV crashes on damaged animations.

    Raises:
        ValueError: a chunk, of whatever kind, whose checksum is wrong.
    """
    bare, start, name = [content[:8]], 8, b""
    while start < len(content) and name != b"IEND":
        end = start + 12 + int.from_bytes(content[start : start + 4])
        chunk = content[start:end]
        name = chunk[4:8]
        if zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:]):
            raise ValueError(f"the checksum of its chunk {name!r} is wrong")
        if name in (b"IHDR", b"IDAT", b"IEND"):
            bare.append(chunk)
        start = end
    return b"".join(bare)


def _rgba_levels(stored: MatLike) -> _Levels:
    """From gray (H, W), BGR or BGRA, as OpenCV decodes it, to RGBA (H, W, 4)."""
    to_rgba = {(): cv2.COLOR_GRAY2RGBA, (3,): cv2.COLOR_BGR2RGBA, (4,): cv2.COLOR_BGRA2RGBA}
    return np.asarray(cv2.cvtColor(stored, to_rgba[stored.shape[2:]]), np.uint16)
