"""How much the style swims when the camera moves."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from nst_rt.images.io import Frame

PAN_FRAMES = 12

_PAN_SIDE = 720
_PAN_WINDOW = (360, 640)  # height, width
_PAN_START = (20, 10)  # x, y; likewise the step
_PAN_STEP = (3, 2)
_PAN_BORDER = 32


@dataclass(frozen=True)
class PanError:
    """How much the style swims when the camera pans, see `pan_error`.

    Attributes:
        error: RMSE in [0, 1] between consecutive frames, aligned.
        relative: over the standard deviation of the outputs: a style of low contrast gets a low
            error without being stable.
    """

    error: float
    relative: float


def pan_error(stylize: Callable[[Frame], Frame], photos: Iterable[Frame]) -> PanError:
    """Difference between consecutive frames of a pan, where they show the same place.

    The pan is over a still photo, resized by Lanczos to a short side of 720 px: 12 windows of
    640x360 px, the first at (20, 10), each (3, 2) px further. The inputs are the same but for that
    shift, so that all difference is the stylizer's. The RMSE over pixels and channels, 32 px of
    border left out, is averaged over consecutive frames, then over photos. The relative error is
    each photo's error over the standard deviation of all pixels and channels of its 12 outputs,
    averaged over photos. Published figures are of the photos astronaut, chelsea, coffee and rocket
    of scikit-image.

    Args:
        stylize: from frame to frame of the same size, uint8 BGR.
        photos: frames of any size, at least one.
    """
    figures = [_pan_figures([stylize(frame) for frame in pan(photo)]) for photo in photos]
    return PanError(*(statistics.fmean(column) for column in zip(*figures, strict=True)))


def pan(photo: Frame) -> list[Frame]:
    """The windows that `pan_error` moves over a photo."""
    large = pan_photo(photo)
    (h, w), (x, y), (right, down) = _PAN_WINDOW, _PAN_START, _PAN_STEP
    corners = [(y + i * down, x + i * right) for i in range(PAN_FRAMES)]
    return [np.ascontiguousarray(large[y : y + h, x : x + w]) for y, x in corners]


def pan_photo(photo: Frame) -> Frame:
    """A photo resized by Lanczos to a short side of 720 px, as clips are made of it."""
    height, width = photo.shape[:2]
    scale = _PAN_SIDE / min(height, width)
    size = round(width * scale), round(height * scale)
    return np.asarray(Image.fromarray(photo).resize(size, Image.Resampling.LANCZOS))


def _pan_figures(stylized: Sequence[Frame]) -> tuple[float, float]:
    """Pan error of one photo's outputs, plain and relative."""
    frames = np.stack(stylized).astype(np.float32) / 255
    inner = frames[:, _PAN_BORDER:-_PAN_BORDER, _PAN_BORDER:-_PAN_BORDER]
    x, y = _PAN_STEP
    moved = inner[:-1, y:, x:] - inner[1:, :-y, :-x]
    error = float(np.sqrt(np.square(moved).mean(axis=(1, 2, 3))).mean())
    deviation = float(frames.std(dtype=np.float64))
    # What is of one color everywhere does not swim.
    return error, error / deviation if deviation else 0.0
