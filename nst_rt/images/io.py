"""Images: from files to tensors to frames and back; nothing else converts between them.

An image is a float32 tensor (1, 3, H, W), RGB (sRGB) in [0, 1]; a frame is a uint8 array (H, W, 3),
BGR, as OpenCV has them.
"""

import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from nst_rt.errors import InputError
from nst_rt.files import atomic_output, check_format
from nst_rt.images.color_profiles import srgb_profile
from nst_rt.images.decoding import Depth as Depth
from nst_rt.images.decoding import Shape, read_pixels, upright_shape
from nst_rt.images.decoding import readable_image as readable_image

Frame = npt.NDArray[np.uint8]
_Values = npt.NDArray[np.float32]

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".tif", ".tiff")
_ALPHA_SUFFIXES = (".png", ".webp", ".tif", ".tiff")
# Pixels a side that a format has room for, or its encoder.
_LARGEST_SIDE = {".jpg": 65500, ".jpeg": 65500, ".jfif": 65500, ".webp": 16383}


@dataclass(frozen=True)
class Picture:
    """What an image file holds.

    Attributes:
        image: shape (1, 3, H, W), float32, RGB (sRGB) in [0, 1]; straight colors, that is, not
            premultiplied; white where alpha is 0.
        alpha: shape (1, 1, H, W), float32 in [0, 1]; None where nothing is transparent.
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
    """`load_picture`, transparency laid over white.

    Returns:
        Shape (1, 3, H, W), float32, RGB in [0, 1].
    """
    picture = load_picture(
        path, size=size, content=content, at_least=at_least, max_pixels=max_pixels
    )
    return _over_white(picture.image, picture.alpha)


def load_picture(
    path: Path | str,
    *,
    size: int | None = None,
    content: bytes | None = None,
    at_least: int | None = None,
    max_pixels: int | None = None,
) -> Picture:
    """Read an image file.

    EXIF orientation is applied, colors of an ICC profile become sRGB (a profile that cannot be
    used is ignored with a warning), gray and palette become RGB, and values of 9 to 16 bits are
    scaled. Of an animation, the still image is read, or the first frame.

    Args:
        path: any format that Pillow reads; HEIC with `pillow-heif`. More than 8 bits per channel
            are kept of PNGs and of gray TIFFs; other files are read at 8.
        size: long side in pixels to resize to; None keeps the size. Images of more than 50
            megapixels are then decoded reduced, still twice as large, in less memory.
        content: of the file, where `path` is only its name: in an archive, say.
        at_least: pixels that the short side needs; a larger JPEG is then decoded at 1/2, 1/4 or 1/8
            of its size, in less time.
        max_pixels: of a file, larger ones are refused; None for as many as the memory holds.

    Raises:
        InputError: no such file, not an image, a damaged one, one too large, or a size that is not
            positive.
    """
    pixels = read_pixels(Path(path), content, size=size, at_least=at_least, max_pixels=max_pixels)
    rgba = torch.from_numpy(pixels.rgba).permute(2, 0, 1)[None]
    image, alpha = rgba[:, :3].contiguous(), rgba[:, 3:].contiguous()
    shape = None if size is None else scaled_shape(pixels.shape, size)
    if alpha.min() == 1:
        return Picture(image if shape is None else resize_to(image, shape), None, pixels.depth)
    image = image.where(alpha > 0, 1)
    if shape is not None:
        image, alpha = _resize_with_alpha(image, alpha, shape)
    return Picture(image, alpha, pixels.depth)


def image_shape(path: Path | str) -> tuple[int, int]:
    """Height and width of an image file as `load_picture` reads it, from its header mostly.

    Raises:
        InputError: no such file, or not an image.
    """
    with readable_image(path) as opened:
        return upright_shape(Path(path), opened)


def _over_white(image: Tensor, alpha: Tensor | None) -> Tensor:
    return image if alpha is None else image * alpha + (1 - alpha)


def resize(image: Tensor, size: int) -> Tensor:
    """Resize so that the long side has `size` pixels, antialiased.

    Args:
        image: shape (N, 3, H, W), RGB in [0, 1].
        size: pixels.

    Raises:
        InputError: a size that is not positive.
    """
    return resize_to(image, scaled_shape((image.shape[-2], image.shape[-1]), size))


def resize_to(image: Tensor, shape: tuple[int, int]) -> Tensor:
    """Resize to (H, W), antialiased.

    Args:
        image: shape (N, C, H', W'), in [0, 1].
        shape: pixels.
    """
    if shape == image.shape[-2:]:
        return image
    # Bicubic overshoots at edges.
    return F.interpolate(image, shape, mode="bicubic", antialias=True).clamp(0, 1)


def scaled_shape(shape: tuple[int, int], size: int) -> tuple[int, int]:
    """(H, W) scaled so that the longer one is `size`, both at least 1.

    Raises:
        InputError: a size that is not positive.
    """
    if size < 1:
        raise InputError(f"the size must be a positive number of pixels, not {size}")
    h, w = shape
    scale = size / max(h, w)
    return max(round(h * scale), 1), max(round(w * scale), 1)


def _resize_with_alpha(image: Tensor, alpha: Tensor, shape: Shape) -> tuple[Tensor, Tensor]:
    """Resize colors weighted by alpha, so that what is transparent does not bleed in."""
    if shape == image.shape[-2:]:
        return image, alpha
    both = torch.cat([image * alpha, alpha], dim=1)
    # Not clamped before the division: colors and alpha overshoot alike.
    both = F.interpolate(both, shape, mode="bicubic", antialias=True)
    alpha = both[:, 3:]
    visible = alpha > 0.5 / 65535
    image = (both[:, :3] / alpha).clamp(0, 1).where(visible, 1)
    return image, alpha.clamp(max=1).where(visible, 0)


def check_image_output(path: Path | str, *, overwrite: bool = False) -> Path:
    """`check_output` for an image file, whose suffix must name a format.

    Raises:
        InputError: an unknown suffix.
        OutputExistsError: it exists and `overwrite` is False.
    """
    return check_format(path, "image", IMAGE_SUFFIXES, overwrite=overwrite)


def check_image_size(path: Path | str, height: int, width: int) -> None:
    """Raise an InputError if an image is larger than the format that `path` names can hold."""
    suffix = Path(path).suffix.lower()
    if max(height, width) > _LARGEST_SIDE.get(suffix, math.inf):
        raise InputError(
            f"{path}: {width}x{height} px are too many for {suffix}, which holds "
            f"{_LARGEST_SIDE[suffix]} a side; write .png, or a smaller image"
        )


@contextmanager
def writable_image(path: Path | str) -> Iterator[None]:
    """What Pillow and OpenCV raise as they write an image, as one line.

    Raises:
        InputError: an image that the format cannot hold.
        OSError: a disk that is full, say.
    """
    try:
        yield
    except (OSError, ValueError, OverflowError, struct.error, cv2.error) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        cause = " ".join(str(error).split())
        raise InputError(f"{path}: cannot be written as {Path(path).suffix} ({cause})") from error


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
        image: tensor (1, 3, H, W), RGB in [0, 1], or a uint8 BGR frame (H, W, 3).
        path: its suffix chooses the format.
        overwrite: replace an existing file.
        alpha: shape (1, 1, H, W), in [0, 1]; formats without it get the image over white.
        depth: bits per channel; 16 in a .png, which then has no profile: that means sRGB as well.
            Other formats get 8.

    Raises:
        InputError: an unknown suffix, a folder that does not exist, an alpha of another size, or
            an image that is too large for the format.
        OutputExistsError: it exists and `overwrite` is False.
    """
    path = check_image_output(path, overwrite=overwrite)
    suffix = path.suffix.lower()
    image = image if isinstance(image, Tensor) else frame_to_tensor(image)
    check_image_size(path, image.shape[-2], image.shape[-1])
    if alpha is not None:
        expected = (1, 1, *image.shape[-2:])
        if alpha.shape != expected:
            raise InputError(f"alpha must have the shape {expected}, not {tuple(alpha.shape)}")
        image, alpha = image.float(), alpha.to(image.device).float()
        keeps_alpha = suffix in _ALPHA_SUFFIXES
        image = torch.cat([image, alpha], dim=1) if keeps_alpha else _over_white(image, alpha)
    with atomic_output(path) as temporary, writable_image(path):
        if depth == 16 and suffix == ".png":  # Pillow cannot write it.
            levels = _levels(image, 65535).astype(np.uint16)
            bgr = levels[:, :, [2, 1, 0, 3][: levels.shape[2]]]
            temporary.write_bytes(cv2.imencode(".png", bgr)[1].tobytes())
        else:
            picture = Image.fromarray(_levels(image, 255).astype(np.uint8))
            picture.save(temporary, quality=95, icc_profile=srgb_profile())
    return path


def _levels(image: Tensor, full: int) -> _Values:
    """Image (1, C, H, W) in [0, 1] as whole numbers up to `full`, (H, W, C)."""
    values = image.detach()[0].float().clamp(0, 1).mul(full).round()
    array: _Values = values.permute(1, 2, 0).cpu().numpy()
    return array


def tensor_to_frame(image: Tensor) -> Frame:
    """Image (1, 3, H, W), RGB in [0, 1] to frame (H, W, 3), uint8 BGR; clamped and rounded."""
    levels = image.detach()[0].float().clamp(0, 1).mul(255).round().byte()
    return np.ascontiguousarray(levels.flip(0).permute(1, 2, 0).cpu().numpy())


def frame_to_tensor(frame: Frame) -> Tensor:
    """Frame (H, W, 3), uint8 BGR to image (1, 3, H, W), float32 RGB in [0, 1]."""
    # torch takes no negative strides, which mirrored and RGB-to-BGR views have.
    levels = torch.from_numpy(np.ascontiguousarray(frame))
    return levels.permute(2, 0, 1).flip(0)[None].float() / 255
