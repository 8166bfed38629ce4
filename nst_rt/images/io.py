"""Image files: loading them as tensors and saving tensors or frames.

How files are decoded is in `nst_rt.images.decoding`, what images are in `nst_rt.images.convert`.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from nst_rt.errors import InputError
from nst_rt.files import atomic_output, check_format
from nst_rt.images.color_profiles import srgb_profile
from nst_rt.images.convert import Frame as Frame
from nst_rt.images.convert import (
    frame_to_tensor,
    over_white,
    resize_to,
    resize_with_alpha,
    scaled_shape,
)
from nst_rt.images.decoding import Depth, read_pixels, upright_shape
from nst_rt.images.pillow import readable_image, writable_image

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".tif", ".tiff")
_ALPHA_SUFFIXES = (".png", ".webp", ".tif", ".tiff")
# Maximum side, pixels, of a format or its encoder.
_LARGEST_SIDE = {".jpg": 65500, ".jpeg": 65500, ".jfif": 65500, ".webp": 16383}


@dataclass(frozen=True)
class Picture:
    """Content of an image file.

    Attributes:
        image: shape (1, 3, H, W), float32, RGB (sRGB) in [0, 1]; colors are straight (not
            premultiplied), white where alpha is 0.
        alpha: shape (1, 1, H, W), float32 in [0, 1]; None where all of the image is opaque.
        depth: bits per channel that were read.
    """

    image: Tensor
    alpha: Tensor | None
    depth: Depth


def load_image(
    path: Path | str,
    *,
    size: int | None = None,
    content: bytes | None = None,
    at_least: int | None = None,
    max_pixels: int | None = None,
) -> Tensor:
    """Read an image file; transparent areas are composited over white. See `load_picture`.

    Returns:
        Shape (1, 3, H, W), float32, RGB in [0, 1].
    """
    picture = load_picture(
        path, size=size, content=content, at_least=at_least, max_pixels=max_pixels
    )
    return over_white(picture.image, picture.alpha)


def load_picture(
    path: Path | str,
    *,
    size: int | None = None,
    content: bytes | None = None,
    at_least: int | None = None,
    max_pixels: int | None = None,
) -> Picture:
    """Read an image file, with its alpha.

    The EXIF orientation is applied, colors are converted from the embedded ICC profile to sRGB (an
    unusable profile is ignored with a warning), gray and palette images become RGB, and values of
    9 to 16 bits are scaled. Of an animation, the still image or the first frame is read.

    Args:
        path: any format that Pillow reads, except PostScript; HEIC with `pillow-heif`. More than 8
            bits per channel are kept for PNG and for gray TIFF; other files are read at 8 bits.
        size: length of the long side to resize to, pixels; None keeps the size. Images of more
            than 50 megapixels are decoded at a reduced size, at least twice as large as `size`,
            which takes less memory.
        content: bytes of the file; `path` is then only its name (a member of an archive, say).
        at_least: minimum short side that is needed, pixels; a larger JPEG is then decoded at 1/2,
            1/4 or 1/8 of its size, in less time.
        max_pixels: maximum number of pixels of a file; None for no limit but the memory.

    Raises:
        InputError: no such file, not an image, a damaged image, an image that is too large, or a
            size that is not positive.
    """
    pixels = read_pixels(Path(path), content, size=size, at_least=at_least, max_pixels=max_pixels)
    rgba = torch.from_numpy(pixels.rgba).permute(2, 0, 1)[None]
    image, alpha = rgba[:, :3].contiguous(), rgba[:, 3:].contiguous()
    shape = None if size is None else scaled_shape(pixels.shape, size)
    if alpha.min() == 1:
        return Picture(image if shape is None else resize_to(image, shape), None, pixels.depth)
    image = image.where(alpha > 0, 1)
    if shape is not None:
        image, alpha = resize_with_alpha(image, alpha, shape)
    return Picture(image, alpha, pixels.depth)


def image_shape(path: Path | str) -> tuple[int, int]:
    """Height and width of an image file as `load_picture` reads it, mostly from its header.

    Raises:
        InputError: no such file, or not an image.
    """
    with readable_image(path) as opened:
        return upright_shape(Path(path), opened)


def save_image(
    image: Tensor | Frame,
    path: Path | str,
    *,
    overwrite: bool = False,
    alpha: Tensor | None = None,
    depth: Depth = 8,
) -> Path:
    """Write an image file, tagged as sRGB; it appears only when it is complete.

    Args:
        image: tensor (1, 3, H, W), RGB in [0, 1], or a frame (H, W, 3), uint8 BGR.
        path: file to write; its suffix chooses the format.
        overwrite: replace an existing file.
        alpha: shape (1, 1, H, W), values in [0, 1]; for formats without alpha the image is
            composited over white.
        depth: bits per channel; 16 for .png only, which then gets no profile (sRGB is what PNG
            without one means). Other formats get 8.

    Raises:
        InputError: an unknown suffix, a folder that does not exist, an alpha of another shape, or
            an image that is too large for the format.
        OutputExistsError: the file exists and `overwrite` is False.
    """
    path = check_image_output(path, overwrite=overwrite)
    suffix = path.suffix.lower()
    image = image if isinstance(image, Tensor) else frame_to_tensor(image)
    check_image_size(path, image.shape[-2], image.shape[-1])
    if alpha is not None:
        expected = (1, 1, *image.shape[-2:])
        if alpha.shape != expected:
            raise InputError(f"`alpha` must have the shape {expected}, not {tuple(alpha.shape)}")
        image, alpha = image.float(), alpha.to(image.device).float()
        keeps_alpha = suffix in _ALPHA_SUFFIXES
        image = torch.cat([image, alpha], dim=1) if keeps_alpha else over_white(image, alpha)
    with atomic_output(path) as temporary, writable_image(path):
        if depth == 16 and suffix == ".png":  # Pillow cannot write it
            levels = _levels(image, 65535).astype(np.uint16)
            bgr = levels[:, :, [2, 1, 0, 3][: levels.shape[2]]]
            temporary.write_bytes(cv2.imencode(".png", bgr)[1].tobytes())
        else:
            picture = Image.fromarray(_levels(image, 255).astype(np.uint8))
            picture.save(temporary, quality=95, icc_profile=srgb_profile())
    return path


def check_image_output(path: Path | str, *, overwrite: bool = False) -> Path:
    """`check_format` for an image file."""
    return check_format(path, "image", IMAGE_SUFFIXES, overwrite=overwrite)


def check_image_size(path: Path | str, height: int, width: int) -> None:
    """Raise an InputError if an image is larger than the format of `path` can hold."""
    suffix = Path(path).suffix.lower()
    if max(height, width) > _LARGEST_SIDE.get(suffix, math.inf):
        raise InputError(
            f"{path}: {width}x{height} px is too large for {suffix}, whose maximum side is "
            f"{_LARGEST_SIDE[suffix]} px; write a .png or a smaller image"
        )


def _levels(image: Tensor, full: int) -> npt.NDArray[np.float32]:
    """Image (1, C, H, W) in [0, 1] as whole numbers up to `full`, (H, W, C)."""
    values = image.detach()[0].float().clamp(0, 1).mul(full).round()
    array: npt.NDArray[np.float32] = values.permute(1, 2, 0).cpu().numpy()
    return array
