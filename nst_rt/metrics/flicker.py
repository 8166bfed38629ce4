"""Flicker, as a number: how much an output changes where its input shows the same place.

`nst_rt.metrics.stability.pan_error` is the same figure on a pan, whose correspondence is a shift.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np

from nst_rt.images.io import Frame
from nst_rt.metrics.flow import Correspondence

DEFINITION = (
    "warping error: RMSE in [0, 1] between a frame of the output and the one before, aligned, over "
    "the channels of the pixels that both show, mean over frames; relative: over the standard "
    "deviation of the output"
)

_BORDER = 32  # pixels that are left out, as in the pan error
_LEAST_SEEN = 0.02  # of the pixels of a frame, for it to count


@dataclass(frozen=True)
class WarpingError:
    """See `WarpingMeter`.

    Attributes:
        error: RMSE in [0, 1].
        relative: over the standard deviation of the outputs: a style of low contrast gets a low
            error without being stable.
        seen: share of the pixels that the error is over, mean over the frames.
    """

    error: float
    relative: float
    seen: float


class WarpingMeter:
    """Adds up the warping error of the outputs of one video, in memory that does not grow.

    The frame before is moved to where the scene is now (bicubic); the error is the RMSE over
    channels and visible pixels, 32 px of border (an eighth of small frames) left out, averaged
    over frames. The relative error is over the standard deviation of all pixels and channels of
    all outputs. Frames of which less than 2 % can be compared, as after a cut, do not count.
    """

    def __init__(self) -> None:
        self._last: Frame | None = None
        self._errors: list[float] = []
        self._seen: list[float] = []
        self._sums = np.zeros(3)  # numbers, their sum, and that of their squares

    def add(self, output: Frame, found: Correspondence | None = None) -> None:
        """Take the next output, shape (H, W, 3), uint8 BGR.

        Args:
            output: of the next frame.
            found: where its input's pixels were in the frame before; None for a first frame, or
                what cannot be compared.
        """
        numbers = output.astype(np.float64)
        self._sums += numbers.size, numbers.sum(), np.square(numbers).sum()
        if found is not None and self._last is not None:
            self._compare(self._last, output, found)
        self._last = output

    def result(self) -> WarpingError | None:
        """The error up to here; None where no frames could be compared."""
        if not self._errors:
            return None
        count, total, squares = self._sums
        deviation = math.sqrt(max(squares / count - (total / count) ** 2, 0)) / 255
        error = float(np.mean(self._errors))
        relative = error / deviation if deviation else 0.0
        return WarpingError(error, relative, float(np.mean(self._seen)))

    def _compare(self, before: Frame, now: Frame, found: Correspondence) -> None:
        border = min(_BORDER, min(now.shape[:2]) // 8)
        inner = np.s_[border : now.shape[0] - border, border : now.shape[1] - border]
        visible = found.visible[inner]
        if np.count_nonzero(visible) < _LEAST_SEEN * visible.size:
            return
        moved = before
        if found.positions is not None:
            x, y = cv2.split(found.positions)
            moved = np.asarray(
                cv2.remap(before, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE), np.uint8
            )
        difference = (moved[inner].astype(np.float32) - now[inner])[visible] / 255
        self._errors.append(float(np.sqrt(np.square(difference).mean(dtype=np.float64))))
        self._seen.append(float(visible.mean()))


def warping_error(
    outputs: Iterable[Frame], found: Iterable[Correspondence | None]
) -> WarpingError | None:
    """Warping error of a clip, see `WarpingMeter`.

    Args:
        outputs: shape (H, W, 3), uint8 BGR.
        found: for each output but the first.
    """
    meter = WarpingMeter()
    for output, correspondence in zip(outputs, (None, *found), strict=True):
        meter.add(output, correspondence)
    return meter.result()
