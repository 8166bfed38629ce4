"""Images as callers have them: as files, arrays, Pillow's or tensors; checked, and all one tensor.

How files are decoded is told in `nst_rt.images.io`.
"""

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

File = Path | str
ImageSource = File | npt.NDArray[np.uint8] | Image.Image | Tensor

_ROUNDING = 1e-3  # a quarter of a level; what is farther out of range was never meant for it


def is_file(value: object) -> TypeGuard[File]:
    """Whether an image is given as the name of a file, which may be too large to load unseen."""
    return isinstance(value, str | Path)


def as_list(value: ImageSource | Sequence[ImageSource]) -> list[ImageSource]:
    """One image or several, as a list; a name is one, whatever letters it has."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return list(value)
    return [value]


def as_image(value: ImageSource, name: str) -> Tensor:
    """An image, whatever it is given as.

    Args:
        value: a file; a NumPy array (H, W, 3), uint8, RGB; a Pillow image of 8 bits per channel,
            which is turned as its EXIF says, converted from its profile to sRGB and laid over
            white; or a tensor (1, 3, H, W) of any float dtype, RGB in [0, 1].
        name: of the option that it was given for.

    Returns:
        Shape (1, 3, H, W), float32, RGB in [0, 1], on the CPU.

    Raises:
        InputError: a file that cannot be read, another type, or a wrong shape, dtype or range.
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
        f"{name}: an image is given as a path, a NumPy array, a Pillow image or a tensor, not as "
        f"{type(value).__name__}"
    )


def _of_pillow(image: Image.Image, name: str) -> Tensor:
    if image.mode.startswith(("I", "F")):
        raise InputError(
            f"{name}: a Pillow image must have 8 bits per channel, unlike mode {image.mode}; files "
            "may have 16: give the path"
        )
    content = BytesIO()
    try:
        upright = ImageOps.exif_transpose(image)
        upright = upright.convert("RGBA") if upright.has_transparency_data else upright
        upright.save(content, "TIFF")  # so that profiles are read in one place, from files
    except (OSError, ValueError) as error:
        raise InputError(f"{name}: a Pillow image that cannot be used ({error})") from error
    return load_image(name, content=content.getvalue())


def _of_array(array: npt.NDArray[Any], name: str) -> Tensor:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
        raise InputError(
            f"{name}: a NumPy array must have the shape (H, W, 3) and the dtype uint8 (RGB), not "
            f"{array.shape} and {array.dtype}"
        )
    # A copy: torch takes neither negative strides nor, without a warning, what is read-only.
    levels = torch.from_numpy(array.astype(np.float32, order="C"))
    return levels.permute(2, 0, 1)[None] / 255


def _of_tensor(tensor: Tensor, name: str) -> Tensor:
    shape = tuple(tensor.shape)
    if shape[:-2] != (1, 3) or not tensor.numel() or not tensor.is_floating_point():
        raise InputError(
            f"{name}: a tensor must have the shape (1, 3, H, W) and a float dtype, RGB in [0, 1], "
            f"not {shape} and {tensor.dtype}"
        )
    image = tensor.detach().float().cpu()
    low, high = (float(value) for value in image.aminmax())
    if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):  # which NaN is not
        raise InputError(f"{name}: a tensor must be RGB in [0, 1], not in [{low:.3g}, {high:.3g}]")
    return image.clamp(0, 1)
