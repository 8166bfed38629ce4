"""Stability: how much an output changes where its input shows the same place, as warping error.

For a clip, correspondences come from its optical flow (`nst_rt.metrics.flow`) or from a known
motion; a pan over a photo is a clip whose flow is a known shift.
"""

import math
import statistics
from collections.abc import Callable, Iterable
from dataclasses import astuple, dataclass

import cv2
import numpy as np
from PIL import Image

from nst_rt.images.io import Frame
from nst_rt.metrics.flow import Correspondence, pixel_grid

DEFINITION = (
    "warping error: RMSE in [0, 1] between a frame of the output and the one before, aligned, over "
    "the channels of the pixels that both show, mean over frames; relative: over the standard "
    "deviation of the output"
)
PAN_FRAMES = 12

_BORDER = 32  # pixels that are left out; at most an eighth of the frame
_MIN_SEEN = 0.02  # fraction of a frame's pixels that must be visible for the frame to count
_PAN_SIDE = 720  # pixels of the photo's short side
_PAN_WINDOW = (360, 640)  # height, width
_PAN_START = (20, 10)  # x, y; likewise the step
_PAN_STEP = (3, 2)


@dataclass(frozen=True)
class WarpingError:
    """How much the outputs of a clip change from frame to frame, see `WarpingMeter`.

    Attributes:
        error: RMSE in [0, 1].
        relative: the error divided by the standard deviation of the outputs, since a style of low
            contrast gets a low error without being stable.
        seen: fraction of the pixels that the error is over, mean over the frames.
    """

    error: float
    relative: float
    seen: float


class WarpingMeter:
    """Accumulates the warping error of the outputs of one video, in constant memory.

    The previous output is warped to the current one (bicubic); the error is the RMSE over channels
    and visible pixels, without 32 px of border (an eighth of small frames), averaged over frames.
    The relative error is over the standard deviation of all pixels and channels of all outputs.
    Frames of which less than 2 % can be compared, as after a cut, do not count.
    """

    def __init__(self) -> None:
        self._last: Frame | None = None
        self._errors: list[float] = []
        self._seen: list[float] = []
        self._sums = np.zeros(3)  # number of values, their sum, sum of their squares

    def add(self, output: Frame, found: Correspondence | None = None) -> None:
        """Take the next output.

        Args:
            output: shape (H, W, 3), uint8 BGR.
            found: where the pixels of its input were in the previous frame; None for a first frame,
                or where nothing can be compared.
        """
        values = output.astype(np.float64)
        self._sums += values.size, values.sum(), np.square(values).sum()
        if found is not None and self._last is not None:
            self._compare(self._last, output, found)
        self._last = output

    def result(self) -> WarpingError | None:
        """The error so far; None where no frames could be compared."""
        if not self._errors:
            return None
        count, total, squares = self._sums
        deviation = math.sqrt(max(squares / count - (total / count) ** 2, 0)) / 255
        error = float(np.mean(self._errors))
        relative = error / deviation if deviation else 0.0  # one color everywhere does not flicker
        return WarpingError(error, relative, float(np.mean(self._seen)))

    def _compare(self, before: Frame, now: Frame, found: Correspondence) -> None:
        border = min(_BORDER, min(now.shape[:2]) // 8)
        inner = np.s_[border : now.shape[0] - border, border : now.shape[1] - border]
        visible = found.visible[inner]
        if np.count_nonzero(visible) < _MIN_SEEN * visible.size:
            return
        warped = before
        if found.positions is not None:
            x, y = cv2.split(found.positions)
            warped = np.asarray(
                cv2.remap(before, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE), np.uint8
            )
        difference = (warped[inner].astype(np.float32) - now[inner])[visible] / 255
        self._errors.append(float(np.sqrt(np.square(difference).mean(dtype=np.float64))))
        self._seen.append(float(visible.mean()))


def warping_error(
    outputs: Iterable[Frame], found: Iterable[Correspondence | None]
) -> WarpingError | None:
    """Warping error of a clip, see `WarpingMeter`.

    Args:
        outputs: shape (H, W, 3), uint8 BGR.
        found: the correspondence of each output but the first.
    """
    meter = WarpingMeter()
    for output, correspondence in zip(outputs, (None, *found), strict=True):
        meter.add(output, correspondence)
    return meter.result()


def pan_error(stylize: Callable[[Frame], Frame], photos: Iterable[Frame]) -> WarpingError:
    """Warping error of pans over photos, averaged over the photos.

    Each photo is resized by Lanczos to a short side of 720 px, and the pan is 12 windows of
    640x360 px, the first at (20, 10), each (3, 2) px further. The inputs are the same but for that
    shift, so that any difference is due to the stylizer. Published figures are for the photos
    astronaut, chelsea, coffee and rocket of scikit-image.

    Args:
        stylize: function from frame to frame of the same size, uint8 BGR.
        photos: frames of any size, at least one.
    """
    found = [_pan_correspondence()] * (PAN_FRAMES - 1)
    errors = [warping_error(map(stylize, pan(photo)), found) for photo in photos]
    figures = [astuple(error) for error in errors if error is not None]
    return WarpingError(*map(statistics.fmean, zip(*figures, strict=True)))


def pan(photo: Frame) -> list[Frame]:
    """The windows that `pan_error` moves over a photo."""
    large = pan_photo(photo)
    (h, w), (x, y), (right, down) = _PAN_WINDOW, _PAN_START, _PAN_STEP
    corners = [(y + i * down, x + i * right) for i in range(PAN_FRAMES)]
    return [np.ascontiguousarray(large[y : y + h, x : x + w]) for y, x in corners]


def pan_photo(photo: Frame) -> Frame:
    """A photo resized by Lanczos to a short side of 720 px."""
    height, width = photo.shape[:2]
    scale = _PAN_SIDE / min(height, width)
    size = round(width * scale), round(height * scale)
    return np.asarray(Image.fromarray(photo).resize(size, Image.Resampling.LANCZOS))


def _pan_correspondence() -> Correspondence:
    """The shift of a pan; pixels that lie within the border of either frame do not count."""
    height, width = _PAN_WINDOW
    right, down = _PAN_STEP
    visible = np.zeros(_PAN_WINDOW, np.bool_)
    visible[: height - _BORDER - down, : width - _BORDER - right] = True
    return Correspondence(pixel_grid(height, width) + np.array(_PAN_STEP, np.float32), visible)
