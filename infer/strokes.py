"""Stroke size: frames are stylized at a working size that depends on it, and then resized to their
own size.

A network's strokes have a fixed size in pixels, so that a large photo would get strokes too small
to be seen. Stylized at the working size and enlarged again, with the detail of its edges put back,
it gets the strokes that a small copy of it gets.
"""

from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from nst_rt.errors import InputError
from nst_rt.images.io import Frame
from nst_rt.models.transformer import MINIMUM_SIZE

STROKE = 20  # distance between the strokes that a network makes, pixels; similar in all styles
_LARGEST_FACTOR = 4.0  # maximum by which small frames are enlarged for the network
_WINDOW = 3  # side of the window of the local fit, pixels at half the working size
_NOISE = 50.0  # variance at which a pixel counts as half an edge, levels squared
_SLOPES = (1.2, 2.0)  # range of the factor on an edge's contrast
_STEEP = 2.0  # maximum amount of unsharp masking, which makes enlarged strokes steep again
_BLUR = 1.4  # sigma at the working size, pixels
_BAND = 32  # rows that are processed together, so that their planes stay in the processor's cache

Plane = npt.NDArray[np.float32]
Unit = Literal["fraction", "pixels", "as trained"]
_SENSIBLE: dict[Unit, tuple[float, float]] = {
    "fraction": (0.005, 0.1),
    "pixels": (STROKE / _LARGEST_FACTOR, 200),
}


@dataclass(frozen=True)
class StrokeSize:
    """Distance between strokes.

    Attributes:
        value: a fraction of the frame's long side, or pixels of the frame.
        unit: what the value is; `as trained` stylizes at the frame's own size, where the distance
            is the `STROKE` pixels that networks are trained to make.
    """

    value: float
    unit: Unit = "fraction"

    @classmethod
    def parse(cls, size: "StrokeSize | str | float") -> "StrokeSize":
        """Read a stroke size: `2%` or 0.02 of the long side, `40px`, or `1:1` for `as trained`.

        Raises:
            InputError: anything else, or a value out of range.
        """
        if isinstance(size, StrokeSize):
            return size
        text = str(size).strip().lower()
        if text == "1:1":
            return cls(STROKE, "as trained")
        unit: Unit = "pixels" if text.endswith("px") else "fraction"
        try:
            value = float(text.removesuffix("px").removesuffix("%"))
        except ValueError:
            value = float("nan")
        if text.endswith("%"):
            value /= 100
        largest = 1.0 if unit == "fraction" else float(2**15)
        least, _ = _SENSIBLE["pixels"]
        if unit == "pixels" and 0 < value < least:
            raise InputError(f"`stroke_size` must be {least:g}px or more, not {size}")
        if not 0 < value <= largest:
            raise InputError(
                "`stroke_size` must be a percentage of the long side, such as 2%, a length such as "
                f"40px, or 1:1, not {size}"
            )
        return cls(value, unit)

    def scaled(self, factor: float) -> "StrokeSize":
        """The size times a factor, within a sensible range; `1:1` becomes pixels."""
        unit: Unit = "fraction" if self.unit == "fraction" else "pixels"
        least, most = _SENSIBLE[unit]
        return StrokeSize(min(max(self.value * factor, least), most), unit)

    def __str__(self) -> str:
        """The size as `parse` reads it."""
        if self.unit == "as trained":
            return "1:1"
        return f"{self.value:.3g}px" if self.unit == "pixels" else f"{100 * self.value:.3g}%"

    def working_size(self, height: int, width: int, *, scale: float = 1.0) -> tuple[int, int]:
        """Height and width at which to stylize a frame.

        Args:
            height, width: size of the frame, pixels.
            scale: factor on both sides of the working size; less than 1 for more speed.
        """
        if self.unit == "as trained":
            factor = scale
        elif self.unit == "pixels":
            factor = scale * STROKE / self.value
        else:
            factor = scale * STROKE / (self.value * max(height, width))
        factor = min(factor, _LARGEST_FACTOR)
        return (max(round(height * factor), MINIMUM_SIZE), max(round(width * factor), MINIMUM_SIZE))


DEFAULT_FRACTION = 0.02
DEFAULT_STROKES = StrokeSize(DEFAULT_FRACTION)  # the long side of the working size is 1000 px


def resized_frame(frame: Frame, size: tuple[int, int]) -> Frame:
    """A frame resized to (height, width); itself if it has this size."""
    if frame.shape[:2] == size:
        return frame
    is_smaller = size[0] * size[1] < frame.shape[0] * frame.shape[1]
    interpolation = cv2.INTER_AREA if is_smaller else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(frame, size[::-1], interpolation=interpolation), np.uint8)


def at_full_size(stylized: Frame, small: Frame, frame: Frame) -> Frame:
    """What was stylized at a working size, resized to the frame's own size, with its fine detail.

    A network draws nothing thinner than its strokes: windows, masts and eyelashes are lost. So
    where the small frame has edges, the fine detail of the frame's brightness is added back. It is
    scaled by the slope of the stylized brightness over the frame's, as in the guided filter (He et
    al. 2010, eq. 5), but never made fainter. In an enlarged result, strokes give way to detail at
    edges, and are sharpened elsewhere.

    Args:
        stylized: the stylized version of `small`, same shape (h, w, 3), uint8 BGR.
        small: `frame` at the working size.
        frame: shape (H, W, 3).

    Returns:
        Shape (H, W, 3).
    """
    height, width = frame.shape[:2]
    is_enlarged = height * width > small.shape[0] * small.shape[1]

    def resized(x: npt.NDArray[Any], interpolation: int = cv2.INTER_LINEAR) -> npt.NDArray[Any]:
        if x.shape[:2] == (height, width):
            return x
        return cv2.resize(x, (width, height), interpolation=interpolation)

    half = (small.shape[0] + 1) // 2, (small.shape[1] + 1) // 2
    edges, slope = _edges(*(_brightness(resized_frame(x, half)) for x in (small, stylized)))
    # Weights are bytes, 255 for the largest: arithmetic on bytes is several times faster.
    gain = resized(cv2.convertScaleAbs(edges * slope, alpha=255 / _SLOPES[1]))
    seen = resized(_blurred(_brightness(small)))
    if is_enlarged:
        edge_weight = resized(cv2.convertScaleAbs(edges, alpha=255))
        blurred = _blurred(stylized)
        coarse = resized(blurred)
        # Unsharp masking overshoots: limited to the darkest and brightest neighbors, no halos.
        around = np.ones((3, 3), np.uint8)
        lowest = resized(cv2.erode(stylized, around))
        highest = resized(cv2.dilate(stylized, around))
        # A smaller enlargement needs less; more would show pixels as stairs.
        amount = min(_STEEP, max(width / small.shape[1] - 1, 0))
        steep = cv2.addWeighted(stylized, 1 + amount, blurred, -amount, 0)
        strokes = resized(steep, cv2.INTER_CUBIC)
    else:
        strokes = resized_frame(stylized, (height, width))
    result = np.empty_like(frame)
    for top in range(0, height, _BAND):
        rows = slice(top, top + _BAND)
        mixed = strokes[rows]
        if is_enlarged:
            mixed = cv2.min(cv2.max(mixed, lowest[rows]), highest[rows])
            weight = cv2.merge([edge_weight[rows]] * 3)
            mixed = cv2.multiply(mixed, cv2.bitwise_not(weight), scale=1 / 255)
            mixed = cv2.add(cv2.multiply(coarse[rows], weight, scale=1 / 255), mixed)
        bright, before = _brightness(frame[rows]), seen[rows]
        for brighter, darker, change in (
            (bright, before, cv2.add),
            (before, bright, cv2.subtract),
        ):
            differs = cv2.subtract(brighter, darker)
            lost = cv2.multiply(differs, gain[rows], scale=_SLOPES[1] / 255)
            mixed = change(mixed, cv2.merge([lost] * 3))
        result[rows] = mixed
    return result


def _edges(before: npt.NDArray[Any], after: npt.NDArray[Any]) -> tuple[Plane, Plane]:
    """Edge weight of each pixel, from 0 to 1, and the factor on the contrast of its detail."""

    def mean(x: Plane) -> Plane:
        return np.asarray(cv2.blur(x, (_WINDOW, _WINDOW)), np.float32)

    x, y = before.astype(np.float32), after.astype(np.float32)
    mean_x = mean(x)
    variance = mean(x * x) - mean_x**2
    covariance = mean(x * y) - mean_x * mean(y)
    slope = np.clip(mean(covariance / (variance + _NOISE)), *_SLOPES)
    return mean(variance / (variance + _NOISE)), slope


def _blurred(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Blurred as much as the strokes that a network makes along an edge."""
    return cv2.GaussianBlur(x, (0, 0), _BLUR)


def _brightness(frame: Frame) -> npt.NDArray[Any]:
    return cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
