"""Test images: arrays of levels, and files that no library writes."""

import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import putchunk
from torch import Tensor

from nst_rt.images.io import load_image, load_picture

Array = np.ndarray[Any, Any]


def rgb_picture() -> Image.Image:
    """Noise, in which all pixels differ."""
    return Image.fromarray(noise(3, np.uint8))


def noise(channels: int, dtype: type[np.unsignedinteger[Any]] = np.uint16) -> Array:
    """Levels, shape (5, 7, channels)."""
    full = np.iinfo(dtype).max
    return np.random.default_rng(0).integers(1, full, (5, 7, channels), dtype, endpoint=True)


def pixels(image: Tensor) -> Array:
    """Image (1, 3, H, W) as an array (H, W, 3)."""
    assert image.shape[:2] == (1, 3)
    assert image.dtype == torch.float32
    array: Array = image[0].permute(1, 2, 0).numpy()
    return array


def loaded(picture: Image.Image, path: Path, **options: Any) -> Array:
    """A Pillow image after saving it and `load_image`."""
    picture.save(path, **options)
    return pixels(load_image(path))


def deep_png(
    levels: Array,
    *,
    exif: Image.Exif | None = None,
    profile: bytes = b"",
    key: tuple[int, ...] = (),
    frames: int = 0,
) -> bytes:
    """A PNG with 16-bit levels (H, W, 1 to 4), a transparent color `key`, and black frames."""
    height, width, channels = levels.shape
    color_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
    file = BytesIO()
    file.write(b"\x89PNG\r\n\x1a\n")
    putchunk(file, b"IHDR", struct.pack(">2L5B", width, height, 16, color_type, 0, 0, 0))
    if profile:
        putchunk(file, b"iCCP", b"a\0\0" + zlib.compress(profile))
    if key:
        putchunk(file, b"tRNS", struct.pack(f">{len(key)}H", *key))
    if frames:
        putchunk(file, b"acTL", struct.pack(">2L", frames, 0))
    putchunk(file, b"IDAT", zlib.compress(rows))
    for number in range(frames):
        place = struct.pack(">5L2H2B", 2 * number, width, height, 0, 0, 10, 100, 0, 1)
        putchunk(file, b"fcTL", place)
        black = zlib.compress(bytes(len(rows)))
        putchunk(file, b"fdAT", struct.pack(">L", 2 * number + 1) + black)
    if exif is not None:
        putchunk(file, b"eXIf", exif.tobytes()[6:])
    putchunk(file, b"IEND")
    return file.getvalue()


def assert_holds(path: Path, levels: Array) -> None:
    """Assert that a file loads as these levels (H, W, 1 to 4): gray or RGB, maybe with alpha."""
    picture = load_picture(path)
    assert picture.depth == 8 * levels.itemsize
    values = levels / np.float32(np.iinfo(levels.dtype).max)
    assert (picture.alpha is None) == (levels.shape[2] in (1, 3))
    if picture.alpha is not None:
        np.testing.assert_array_equal(picture.alpha[0, 0], values[:, :, -1])
        values = values[:, :, :-1]
    expected = np.broadcast_to(values, (*levels.shape[:2], 3))
    np.testing.assert_array_equal(pixels(picture.image), expected)


def gray_tiff(content: bytes, *, bits: int, white: int = 1) -> bytes:
    """An uncompressed TIFF of 8 x 4 pixels of packed gray; `white` is 0 if 0 means white."""
    tags = {256: 8, 257: 4, 258: bits, 259: 1, 262: white, 273: 8, 277: 1, 278: 4}
    tags[279] = len(content)
    entries = b"".join(struct.pack("<2H2L", tag, 4, 1, value) for tag, value in tags.items())
    head = b"II*\0" + struct.pack("<L", 8 + len(content))
    return head + content + struct.pack("<H", len(tags)) + entries + bytes(4)


def unknown_dds() -> bytes:
    """A texture in DXGI format 93, which Pillow does not support."""
    header = struct.pack("<7L", 124, 0x1007, 4, 4, 0, 0, 0) + bytes(44)
    format = struct.pack("<2L4s5L", 32, 4, b"DX10", 0, 0, 0, 0, 0)
    return b"DDS " + header + format + bytes(20) + struct.pack("<5L", 93, 3, 0, 1, 0)
