"""Images in memory: tensors to frames and back, and resizing.

An image is a float32 tensor (1, 3, H, W), RGB (sRGB) in [0, 1]; a frame is a uint8 array (H, W, 3),
BGR, the layout of OpenCV.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from nst_rt.errors import InputError

Frame = npt.NDArray[np.uint8]


def tensor_to_frame(image: Tensor) -> Frame:
    """Image (1, 3, H, W), RGB in [0, 1], to frame (H, W, 3), uint8 BGR; clamped and rounded."""
    levels = image.detach()[0].float().clamp(0, 1).mul(255).round().byte()
    return np.ascontiguousarray(levels.flip(0).permute(1, 2, 0).cpu().numpy())


def frame_to_tensor(frame: Frame) -> Tensor:
    """Frame (H, W, 3), uint8 BGR, to image (1, 3, H, W), float32 RGB in [0, 1]."""
    # torch refuses negative strides, which mirrored frames and RGB-to-BGR views have.
    levels = torch.from_numpy(np.ascontiguousarray(frame))
    return levels.permute(2, 0, 1).flip(0)[None].float() / 255


def resize(image: Tensor, size: int) -> Tensor:
    """Resize to a long side of `size` pixels, antialiased.

    Args:
        image: shape (N, C, H, W), values in [0, 1].
        size: length of the long side, pixels.

    Raises:
        InputError: the size is not positive.
    """
    return resize_to(image, scaled_shape((image.shape[-2], image.shape[-1]), size))


def resize_to(image: Tensor, shape: tuple[int, int]) -> Tensor:
    """Resize to (H, W), antialiased.

    Args:
        image: shape (N, C, H', W'), values in [0, 1].
        shape: height and width, pixels.
    """
    if shape == image.shape[-2:]:
        return image
    # Bicubic interpolation overshoots at edges.
    return F.interpolate(image, shape, mode="bicubic", antialias=True).clamp(0, 1)


def resize_with_alpha(
    image: Tensor, alpha: Tensor, shape: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Resize colors weighted by alpha, so that transparent colors do not bleed into others.

    Args:
        image: shape (N, 3, H', W'), RGB in [0, 1], not premultiplied.
        alpha: shape (N, 1, H', W'), values in [0, 1].
        shape: height and width, pixels.

    Returns:
        Image, white where alpha is 0, and alpha.
    """
    if shape == image.shape[-2:]:
        return image, alpha
    both = torch.cat([image * alpha, alpha], dim=1)
    # Not clamped before the division: colors and alpha overshoot alike.
    both = F.interpolate(both, shape, mode="bicubic", antialias=True)
    alpha = both[:, 3:]
    visible = alpha > 0.5 / 65535
    image = (both[:, :3] / alpha).clamp(0, 1).where(visible, 1)
    return image, alpha.clamp(max=1).where(visible, 0)


def scaled_shape(shape: tuple[int, int], size: int) -> tuple[int, int]:
    """(H, W) scaled so that the longer side is `size`; both sides are at least 1.

    Raises:
        InputError: the size is not positive.
    """
    if size < 1:
        raise InputError(f"the size must be a positive number of pixels, not {size}")
    h, w = shape
    scale = size / max(h, w)
    return max(round(h * scale), 1), max(round(w * scale), 1)


def over_white(image: Tensor, alpha: Tensor | None) -> Tensor:
    """An image (1, 3, H, W) composited over white by its alpha (1, 1, H, W)."""
    return image if alpha is None else image * alpha + (1 - alpha)
