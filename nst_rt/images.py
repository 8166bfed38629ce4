"""Images: from files to tensors to frames and back; nothing else converts between them.

An image is a float32 tensor (1, 3, H, W), RGB in [0, 1]; a frame is a uint8 array (H, W, 3), BGR,
as OpenCV has them.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torch.nn import functional as F

from nst_rt.errors import InputError
from nst_rt.files import atomic_output, check_input, check_output

Frame = npt.NDArray[np.uint8]

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")


def load_image(path: Path | str, *, size: int | None = None) -> Tensor:
    """Read an image file.

    EXIF orientation is applied, transparency is laid over white, grey and palette become RGB, and
    16-bit values are scaled.

    Args:
        path: any format that Pillow reads.
        size: long side in pixels to resize to; None keeps the size.

    Returns:
        Shape (1, 3, H, W), float32, RGB in [0, 1].

    Raises:
        InputError: no such file, not an image, a damaged one, or a size that is not positive.
    """
    path = check_input(path)
    try:
        with Image.open(path) as opened:
            picture = ImageOps.exif_transpose(opened)
            pixels = _rgb_pixels(picture)
    except UnidentifiedImageError as error:
        raise InputError(f"{path}: not an image that can be read") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: damaged or unreadable image ({error})") from error
    image = pixels.permute(2, 0, 1)[None].contiguous()
    return image if size is None else resize(image, size)


def _rgb_pixels(picture: Image.Image) -> Tensor:
    """Pillow image to float32 (H, W, 3) in [0, 1]."""
    if picture.mode.startswith("I;16") or picture.mode in ("I", "F"):
        # 16-bit grey; Pillow's own conversion to RGB would clip it at 255.
        full = 1 if picture.mode == "F" else 65535
        grey = torch.from_numpy(np.array(picture, dtype=np.float32)) / full
        return grey.clamp(0, 1)[:, :, None].expand(-1, -1, 3)
    if picture.has_transparency_data:
        rgba = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return torch.from_numpy(np.array(picture.convert("RGB"))).float() / 255


def resize(image: Tensor, size: int) -> Tensor:
    """Resize so that the long side has `size` pixels, antialiased.

    Args:
        image: shape (N, 3, H, W), RGB in [0, 1].
        size: pixels.

    Raises:
        InputError: a size that is not positive.
    """
    if size < 1:
        raise InputError(f"the size must be a positive number of pixels, not {size}")
    h, w = image.shape[-2:]
    scale = size / max(h, w)
    shape = (max(round(h * scale), 1), max(round(w * scale), 1))
    if shape == (h, w):
        return image
    # Bicubic overshoots at edges.
    return F.interpolate(image, shape, mode="bicubic", antialias=True).clamp(0, 1)


def check_image_output(path: Path | str, *, overwrite: bool = False) -> Path:
    """`check_output` for an image file, whose suffix must name a format.

    Raises:
        InputError: an unknown suffix.
        OutputExistsError: it exists and `overwrite` is False.
    """
    path = check_output(path, overwrite=overwrite)
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        raise InputError(
            f"{path}: unknown image format {path.suffix!r}; use one of {', '.join(IMAGE_SUFFIXES)}"
        )
    return path


def save_image(image: Tensor | Frame, path: Path | str, *, overwrite: bool = False) -> Path:
    """Write an image file; it appears only when it is complete.

    Args:
        image: tensor (1, 3, H, W), RGB in [0, 1], or a uint8 BGR frame (H, W, 3).
        path: its suffix chooses the format.
        overwrite: replace an existing file.

    Raises:
        InputError: an unknown suffix or a folder that does not exist.
        OutputExistsError: it exists and `overwrite` is False.
    """
    path = check_image_output(path, overwrite=overwrite)
    frame = tensor_to_frame(image) if isinstance(image, Tensor) else image
    with atomic_output(path) as temporary:
        try:
            Image.fromarray(frame[:, :, ::-1]).save(temporary, quality=95)
        except ValueError as error:  # formats have their own largest sizes
            size = f"{frame.shape[1]}x{frame.shape[0]}"
            raise InputError(f"{path}: cannot hold {size} px ({error}); try .png") from error
    return path


def tensor_to_frame(image: Tensor) -> Frame:
    """Image (1, 3, H, W), RGB in [0, 1] to frame (H, W, 3), uint8 BGR; clamped and rounded."""
    levels = image.detach()[0].float().clamp(0, 1).mul(255).round().byte()
    return np.ascontiguousarray(levels.flip(0).permute(1, 2, 0).cpu().numpy())


def frame_to_tensor(frame: Frame) -> Tensor:
    """Frame (H, W, 3), uint8 BGR to image (1, 3, H, W), float32 RGB in [0, 1]."""
    # torch takes no negative strides, which mirrored and RGB-to-BGR views have.
    levels = torch.from_numpy(np.ascontiguousarray(frame))
    return levels.permute(2, 0, 1).flip(0)[None].float() / 255
