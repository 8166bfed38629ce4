"""Decoding image files: pixels (sRGB and alpha) that are upright, of 8 or 16 bits per channel.

Pillow decodes; OpenCV only decodes 16-bit PNGs, which Pillow reads at 8 bits.
"""

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
import torch
from cv2.typing import MatLike
from PIL import ExifTags, Image, ImageCms
from PIL import TiffImagePlugin as tiff
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from nst_rt.devices import available_memory
from nst_rt.errors import InputError
from nst_rt.images.color_profiles import deep_to_srgb, srgb_transform
from nst_rt.images.pillow import DECODED, SURELY_FITS, readable_image

Depth = Literal[8, 16]
_Levels = npt.NDArray[np.uint16]
_Values = npt.NDArray[np.float32]

_ON_THEIR_SIDE = (5, 6, 7, 8)  # EXIF orientations that swap width and height

# Pixels from which an image is reduced before its values become float32.
_LARGE = 50 * 10**6
_WHOLE = 60  # peak bytes per pixel of an image on its way to float32


@dataclass(frozen=True)
class Pixels:
    """A decoded image.

    Attributes:
        rgba: colors (sRGB) and alpha, upright, shape (H, W, 4), float32 in [0, 1].
        depth: bits per channel that were read.
        shape: (H, W) of the upright file; `rgba` may be smaller.
    """

    rgba: _Values
    depth: Depth
    shape: tuple[int, int]


def read_pixels(
    path: Path,
    content: bytes | None = None,
    *,
    size: int | None = None,
    at_least: int | None = None,
    max_pixels: int | None = None,
) -> Pixels:
    """Decode an image file; see `load_picture` for the arguments.

    Large images are reduced to no less than twice `size`: JPEGs while they are decoded, other
    formats before their values become float32.

    Raises:
        InputError: the file cannot be read, or is too large.
    """
    with readable_image(path, content) as opened:
        sides = opened.size
        _check_pixels(path, opened, max_pixels)
        factor = _reduction(sides, size, at_least)
        is_drafted = opened.draft(None, (sides[0] // factor, sides[1] // factor)) is not None
        factor = _reduction(opened.size, size, at_least)
        is_deep_png = opened.format == "PNG" and "16B" in str(opened.tile[0][3])
        shrinks = (
            factor > 1
            and opened.width * opened.height > _LARGE
            and not (is_deep_png or opened.mode.startswith(("I", "F")))
        )
        bytes_per_pixel = DECODED if shrinks else _WHOLE
        check_memory(path, (opened.height, opened.width), bytes_per_pixel)
        opened.load()  # turns a TIFF already
        # An icon may hold an image of another size than it says.
        _check_pixels(path, opened, max_pixels)
        check_memory(path, (opened.height, opened.width), bytes_per_pixel)
        orientation = opened.getexif().get(ExifTags.Base.Orientation, 1)
        width, height = sides if is_drafted else opened.size
        shape = (width, height) if orientation in _ON_THEIR_SIDE else (height, width)
        picture: Image.Image = _shrunk(opened, factor) if shrinks else opened
        levels = None
        if is_deep_png:
            stored = path.read_bytes() if content is None else content
            levels = _deep_png(stored, opened.info.get("transparency"))
        elif picture.mode.startswith("I"):
            levels = _rgba_levels(_gray_levels(picture, opened))
        rgba, depth = _rgba(path, picture, opened.info.get("icc_profile"), levels)
        return Pixels(_upright(rgba, orientation), depth, shape)


def upright_shape(path: Path, opened: ImageFile) -> tuple[int, int]:
    """Height and width of an image that is open but not loaded, after its EXIF orientation."""
    width, height = opened.size
    if isinstance(opened, TiffImageFile):  # some versions of Pillow have turned `size` already
        width, height = opened.tag_v2[tiff.IMAGEWIDTH], opened.tag_v2[tiff.IMAGELENGTH]
    elif opened.format == "PNG":  # Pillow decodes it to find its EXIF
        check_memory(path, (height, width), DECODED)
    on_its_side = opened.getexif().get(ExifTags.Base.Orientation) in _ON_THEIR_SIDE
    return (width, height) if on_its_side else (height, width)


def check_memory(path: Path, shape: tuple[int, int], bytes_per_pixel: float = _WHOLE) -> None:
    """Raise an InputError if decoding an image of shape (H, W) would exceed the free memory."""
    needed = shape[0] * shape[1] * bytes_per_pixel
    if needed <= SURELY_FITS:
        return
    free = available_memory(torch.device("cpu"))
    if needed > free:
        raise InputError(
            f"{path}: reading {shape[1]}x{shape[0]} px takes {needed / 1e9:.1f} GB of memory, "
            f"{free / 1e9:.1f} GB are free; make the image smaller first"
        )


def _check_pixels(path: Path, opened: ImageFile, max_pixels: int | None) -> None:
    width, height = opened.size
    if not width * height:
        raise InputError(f"{path}: an image without pixels ({width}x{height})")
    if max_pixels is not None and width * height > max_pixels:
        raise InputError(
            f"{path}: {width}x{height} px have {width * height} pixels; the maximum is {max_pixels}"
        )


def _rgba(
    path: Path, picture: Image.Image, profile: bytes | None, levels: _Levels | None
) -> tuple[_Values, Depth]:
    """Colors (sRGB) and alpha of an image, from its `levels` if it has 16 bits."""
    if picture.mode == "F":
        gray = np.nan_to_num(np.asarray(picture)).clip(0, 1)
        return np.asarray(cv2.cvtColor(gray, cv2.COLOR_GRAY2RGBA)), 16
    transform = srgb_transform(profile, picture.mode, path)
    if levels is None:
        return _shallow(picture, transform), 8
    values = levels.astype(np.float32)
    values /= np.float32(65535)
    if transform:
        values[:, :, :3] = deep_to_srgb(transform, levels[:, :, :3])
    return values, 16


def _upright(values: _Values, orientation: int) -> _Values:
    """The image (H, W, 4) turned as its EXIF orientation says.

    Not ImageOps.exif_transpose: it rewrites all tags and fails on malformed ones.
    """
    if orientation in _ON_THEIR_SIDE:
        values = values.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    return np.ascontiguousarray(values)


def _reduction(sides: tuple[int, int], size: int | None, at_least: int | None) -> int:
    """Largest whole factor that leaves `at_least` and, for a large image, twice `size`.

    Other images are not reduced for `size`: they are as if resized after decoding.
    """
    is_large = sides[0] * sides[1] > _LARGE
    factors = [] if size is None or not is_large else [max(sides) // max(2 * size, 1)]
    factors += [] if at_least is None else [min(sides) // max(at_least, 1)]
    return max(min(factors, default=1), 1)


def _shrunk(picture: Image.Image, factor: int) -> Image.Image:
    """The image reduced by a whole factor to the means of squares, weighted by alpha."""
    if "transparency" in picture.info:  # a color that stands for transparency
        picture = picture.convert("LA" if picture.mode == "L" else "RGBA")
    elif picture.mode in ("1", "P", "PA"):
        picture = picture.convert({"1": "L", "P": "RGB", "PA": "RGBA"}[picture.mode])
    # Not `reduce`: its last squares may reach beyond the borders.
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
    """Gray of more than 8 bits, (H, W); Pillow's own conversion to RGB clips at 255."""
    levels = np.asarray(picture).clip(0, 65535).astype(np.uint16)
    if isinstance(opened, TiffImageFile):  # Pillow keeps the stored values
        [bits, *_] = opened.tag_v2.get(tiff.BITSPERSAMPLE, (16,))
        if bits < 16:
            levels = np.rint(levels * (65535 / (2**bits - 1))).astype(np.uint16)
        if opened.tag_v2.get(tiff.PHOTOMETRIC_INTERPRETATION) == 0:  # white is zero
            levels = 65535 - levels
    return levels


def _deep_png(content: bytes, key: int | tuple[int, ...] | None) -> _Levels:
    """RGBA levels (H, W, 4) of a 16-bit PNG, of which a color may stand for transparency."""
    stored = cv2.imdecode(np.frombuffer(_bare_png(content), np.uint8), cv2.IMREAD_UNCHANGED)
    if stored is None:
        raise ValueError("OpenCV cannot decode it")
    levels = _rgba_levels(stored)
    if key is not None:
        levels[:, :, 3] = np.where((levels[:, :, :3] == key).all(axis=2), 0, 65535)
    return levels


def _bare_png(content: bytes) -> bytes:
    """The PNG with nothing but the pixels of its still image: OpenCV crashes on damaged animations.

    Raises:
        ValueError: the checksum of any chunk is wrong.
    """
    bare, start, name = [content[:8]], 8, b""
    while start < len(content) and name != b"IEND":
        end = start + 12 + int.from_bytes(content[start : start + 4])
        chunk = content[start:end]
        name = chunk[4:8]
        if zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:]):
            raise ValueError(f"wrong checksum of chunk {name!r}")
        if name in (b"IHDR", b"IDAT", b"IEND"):
            bare.append(chunk)
        start = end
    return b"".join(bare)


def _rgba_levels(stored: MatLike) -> _Levels:
    """RGBA levels (H, W, 4) of gray (H, W), BGR or BGRA, as OpenCV decodes them."""
    to_rgba = {(): cv2.COLOR_GRAY2RGBA, (3,): cv2.COLOR_BGR2RGBA, (4,): cv2.COLOR_BGRA2RGBA}
    return np.asarray(cv2.cvtColor(stored, to_rgba[stored.shape[2:]]), np.uint16)
