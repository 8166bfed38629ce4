"""Images as callers have them (path, NumPy array, Pillow image or tensor), checked, as a tensor."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps
from torch import Tensor

from nst_rt.errors import InputError
from nst_rt.images.io import load_image
from nst_rt.images.pillow import writable_image

File = Path | str
ImageSource = File | npt.NDArray[np.uint8] | Image.Image | Tensor

_ROUNDING = 1e-3  # a quarter of an 8-bit level; values farther out of range are an error


def is_file(value: object) -> TypeGuard[File]:
    """Whether an image is given as a path, whose file may be too large to load at full size."""
    return isinstance(value, str | Path)


def as_list(value: ImageSource | Sequence[ImageSource]) -> list[ImageSource]:
    """One image or several, as a list; a string is one path."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return list(value)
    return [value]


def as_image(value: ImageSource, name: str) -> Tensor:
    """An image in any of the accepted forms, as a tensor.

    Args:
        value: a path; a NumPy array (H, W, 3), uint8, RGB; a Pillow image of 8 bits per channel,
            whose EXIF orientation is applied, whose colors are converted from its profile to sRGB
            and which is composited over white; or a tensor (1, 3, H, W) of any float dtype, RGB in
            [0, 1].
        name: name of the argument, for error messages.

    Returns:
        Shape (1, 3, H, W), float32, RGB in [0, 1], on the CPU.

    Raises:
        InputError: a file that cannot be read, or a wrong type, shape, dtype or range.
    """
    if is_file(value):
        return load_image(value)
    if isinstance(value, Image.Image):
        return _of_pillow(value, name)
    if isinstance(value, np.ndarray):
        return _of_array(value, name)
    if isinstance(value, Tensor):
        return _of_tensor(value, name)
    raise InputError(
        f"`{name}`: an image must be a path, a NumPy array, a Pillow image or a tensor, not "
        f"{type(value).__name__}"
    )


def _of_pillow(image: Image.Image, name: str) -> Tensor:
    if image.mode.startswith(("I", "F")):
        raise InputError(
            f"`{name}`: a Pillow image must have 8 bits per channel, not mode {image.mode}; for 16 "
            "bits give the path of a file"
        )
    content = BytesIO()
    with writable_image(f"`{name}`"):
        upright = ImageOps.exif_transpose(image)
        upright = upright.convert("RGBA") if upright.has_transparency_data else upright
        upright.save(content, "TIFF")  # so that color profiles are handled in one place, for files
    return load_image(f"`{name}`", content=content.getvalue())


def _of_array(array: npt.NDArray[Any], name: str) -> Tensor:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
        raise InputError(
            f"`{name}`: a NumPy array must have shape (H, W, 3) and dtype uint8 (RGB), not "
            f"{array.shape} and {array.dtype}"
        )
    # A copy: torch refuses negative strides and warns about read-only arrays.
    levels = torch.from_numpy(array.astype(np.float32, order="C"))
    return levels.permute(2, 0, 1)[None] / 255


def _of_tensor(tensor: Tensor, name: str) -> Tensor:
    shape = tuple(tensor.shape)
    if shape[:-2] != (1, 3) or not tensor.numel() or not tensor.is_floating_point():
        raise InputError(
            f"`{name}`: a tensor must have shape (1, 3, H, W) and a float dtype, RGB in [0, 1], "
            f"not {shape} and {tensor.dtype}"
        )
    image = tensor.detach().float().cpu()
    low, high = (float(value) for value in image.aminmax())
    if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):  # also refuses NaN
        raise InputError(f"`{name}`: a tensor must be in [0, 1], not in [{low:.3g}, {high:.3g}]")
    return image.clamp(0, 1)
