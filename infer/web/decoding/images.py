"""Decoding visitors' images. These functions run in worker processes and return arrays."""

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from nst_rt.errors import InputError
from nst_rt.images.convert import over_white, resize_to, tensor_to_frame
from nst_rt.images.io import Frame, load_picture
from nst_rt.images.pillow import readable_image
from nst_rt.models.transformer import MINIMUM_SIZE

_MAX_LIVE_PIXELS = 1920 * 1080
# Pixels of the short side of photos to train on, of which crops of 288 px are taken.
_PHOTO_SIDE = 576
_PHOTO_QUALITY = 95


def image_frame(path: Path, size: int) -> Frame:
    """An image with `size` pixels on the long side, shape (H, W, 3), uint8 BGR."""
    return tensor_to_frame(load_picture(path, size=size).image)


def whole_image(path: Path) -> tuple[Frame, npt.NDArray[np.uint16] | None]:
    """An image at its own size, and its alpha.

    Returns:
        Frame (H, W, 3), uint8 BGR; and alpha (H, W) from 0 to 65535, None if all is opaque.
    """
    picture = load_picture(path)
    frame = tensor_to_frame(picture.image)
    if picture.alpha is None:
        return frame, None
    return frame, picture.alpha[0, 0].mul(65535).round().numpy().astype(np.uint16)


def image_values(path: Path, size: int) -> npt.NDArray[np.float32]:
    """An image with `size` pixels on the long side, shape (1, 3, H, W), RGB in [0, 1]."""
    values: npt.NDArray[np.float32] = load_picture(path, size=size).image.numpy()
    return values


def style_levels(path: Path, size: int) -> npt.NDArray[np.uint8]:
    """A style image with `size` pixels on the long side, shape (H, W, 3), uint8 RGB.

    Transparent areas are composited over white, as in a training.
    """
    picture = load_picture(path, size=size)
    frame = tensor_to_frame(over_white(picture.image, picture.alpha))
    return np.ascontiguousarray(frame[..., ::-1])


def rewrite_photo(path: Path) -> None:
    """Replace a photo to train on by a JPEG of the size that training needs.

    The training then decodes nothing that a visitor wrote. Transparent areas are composited over
    white, as the training would.
    """
    picture = load_picture(path, at_least=_PHOTO_SIDE)
    image = over_white(picture.image, picture.alpha)
    height, width = image.shape[-2:]
    scale = min(1.0, _PHOTO_SIDE / min(height, width))
    image = resize_to(image, (max(round(height * scale), 1), max(round(width * scale), 1)))
    quality = (cv2.IMWRITE_JPEG_QUALITY, _PHOTO_QUALITY)
    # No other file: this process may be killed, and would leave it.
    path.write_bytes(cv2.imencode(".jpg", tensor_to_frame(image), quality)[1].tobytes())


def decode_jpeg(jpeg: bytes) -> Frame:
    """Decode a live frame, shape (H, W, 3), uint8 BGR.

    Raises:
        InputError: not a JPEG, or a header with a size out of range, seen before it is decoded.
    """
    with readable_image("live JPEG frame", jpeg, formats=("JPEG",)) as header:
        width, height = header.size
    if width * height > _MAX_LIVE_PIXELS or min(width, height) < MINIMUM_SIZE:
        raise InputError(f"the live frame of {width}x{height} px is too small or too large")
    frame = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    if frame is None:
        raise InputError("the live frame is a damaged JPEG image")
    return np.asarray(frame, np.uint8)
