"""Strokes in proportion: pictures are stylized at a working size, whatever their own size is.

A network's strokes have a fixed size in pixels, so that a large photo would get strokes too small
to be seen. Stylized at the working size and enlarged again, with its edges put back, it gets the
strokes that a small copy of it gets.
"""

from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from nst_rt.errors import InputError
from nst_rt.images.io import Frame
from nst_rt.models.transformer import MINIMUM_SIZE

STROKE = 20  # pixels from one stroke to the next in what a network makes, of any style about
_LARGEST_FACTOR = 4.0  # that small pictures are enlarged by, to get strokes as fine
_WINDOW = 3  # pixels of half the working size that a local fit goes over
_NOISE = 50.0  # variance, in levels squared, at which a place is half an edge
_SLOPES = (1.2, 2.0)  # range of how many times an edge keeps its contrast
_STEEP = 2.0  # of unsharp masking at most, which makes enlarged strokes steep again
_BLUR = 1.4  # pixels of the small picture, sigma
_BAND = 32  # rows that are worked on together: their planes stay in the processor's cache

Plane = npt.NDArray[np.float32]
Unit = Literal["of the picture", "pixels", "as trained"]
_SENSIBLE: dict[Unit, tuple[float, float]] = {
    "of the picture": (0.005, 0.1),
    "pixels": (STROKE / _LARGEST_FACTOR, 200),
}


@dataclass(frozen=True)
class StrokeSize:
    """How far a stroke is from the next one.

    Attributes:
        value: a fraction of the picture's long side, or pixels of the picture.
        unit: what the value is; `as trained` stylizes at the picture's own size, where strokes have
            the `STROKE` pixels that a network was trained to make.
    """

    value: float
    unit: Unit = "of the picture"

    @classmethod
    def parse(cls, size: "StrokeSize | str | float") -> "StrokeSize":
        """Read a stroke size: `2%` or 0.02 of the long side, `40px`, or `1:1` for as trained.

        Raises:
            InputError: anything else, or a size out of range.
        """
        if isinstance(size, StrokeSize):
            return size
        text = str(size).strip().lower()
        if text == "1:1":
            return cls(STROKE, "as trained")
        unit: Unit = "pixels" if text.endswith("px") else "of the picture"
        try:
            value = float(text.removesuffix("px").removesuffix("%"))
        except ValueError:
            value = float("nan")
        if text.endswith("%"):
            value /= 100
        largest = 1.0 if unit == "of the picture" else float(2**15)
        least, _ = _SENSIBLE["pixels"]
        if unit == "pixels" and 0 < value < least:
            raise InputError(f"a stroke size of {size} is too fine: {least:g}px is the least")
        if not 0 < value <= largest:
            raise InputError(
                "a stroke size is a share of the picture's long side, up to 100% (2%), a length in "
                f"pixels (40px), or 1:1, not {size}"
            )
        return cls(value, unit)

    def scaled(self, factor: float) -> "StrokeSize":
        """So many times the size, as far as that makes sense; from `1:1` on in pixels."""
        unit: Unit = "of the picture" if self.unit == "of the picture" else "pixels"
        least, most = _SENSIBLE[unit]
        return StrokeSize(min(max(self.value * factor, least), most), unit)

    def __str__(self) -> str:
        """As `parse` reads it."""
        if self.unit == "as trained":
            return "1:1"
        return f"{self.value:.3g}px" if self.unit == "pixels" else f"{100 * self.value:.3g}%"

    def working_size(self, height: int, width: int, *, scale: float = 1.0) -> tuple[int, int]:
        """Height and width to stylize a picture at.

        Args:
            height, width: of the picture, pixels.
            scale: of the working size, for who has less time than it takes.
        """
        if self.unit == "as trained":
            factor = scale
        elif self.unit == "pixels":
            factor = scale * STROKE / self.value
        else:
            factor = scale * STROKE / (self.value * max(height, width))
        factor = min(factor, _LARGEST_FACTOR)
        return (
            max(round(height * factor), MINIMUM_SIZE),
            max(round(width * factor), MINIMUM_SIZE),
        )


DEFAULT_STROKES = StrokeSize(0.02)  # a picture's long side is 1000 px then


def resized(frame: Frame, size: tuple[int, int]) -> Frame:
    """A frame at another height and width; itself if that is its own."""
    if frame.shape[:2] == size:
        return frame
    is_smaller = size[0] * size[1] < frame.shape[0] * frame.shape[1]
    interpolation = cv2.INTER_AREA if is_smaller else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(frame, size[::-1], interpolation=interpolation), np.uint8)


def brought_back(stylized: Frame, small: Frame, frame: Frame) -> Frame:
    """Bring what was stylized at a working size to the size of the picture.

    Where that is larger, the picture's own edges are put back: the more contrast there is in its
    small copy, the more of the fine detail comes from the picture instead of from the strokes. It
    is scaled by the slope of the stylized brightness over the picture's, as in the guided filter
    (He et al. 2010, eq. 5), but never fainter than it was. Elsewhere strokes are made steep again.

    Args:
        stylized: what was made of `small`, same shape (h, w, 3), uint8 BGR.
        small: `frame` at the working size.
        frame: the picture, shape (H, W, 3).

    Returns:
        Shape (H, W, 3).
    """
    height, width = frame.shape[:2]
    if height * width <= small.shape[0] * small.shape[1]:
        return resized(stylized, (height, width))

    def enlarged(x: npt.NDArray[Any], interpolation: int) -> npt.NDArray[Any]:
        return cv2.resize(x, (width, height), interpolation=interpolation)

    share, slope = _edges(*(_brightness(_halved(x)) for x in (small, stylized)))
    # In 255ths, since arithmetic of bytes is several times faster.
    of_picture = enlarged(cv2.convertScaleAbs(share, alpha=255), cv2.INTER_LINEAR)
    detail = enlarged(cv2.convertScaleAbs(share * slope, alpha=255 / _SLOPES[1]), cv2.INTER_LINEAR)
    blurred = _blurred(stylized)
    seen = enlarged(_blurred(_brightness(small)), cv2.INTER_LINEAR)
    coarse = enlarged(blurred, cv2.INTER_LINEAR)
    # Unsharp masking overshoots; the darkest and the brightest around keep it from making halos.
    around = np.ones((3, 3), np.uint8)
    lowest = enlarged(cv2.erode(stylized, around), cv2.INTER_LINEAR)
    highest = enlarged(cv2.dilate(stylized, around), cv2.INTER_LINEAR)
    # What is enlarged less needs less of it, and would show its pixels as stairs.
    amount = min(_STEEP, max(width / small.shape[1] - 1, 0))
    steep = cv2.addWeighted(stylized, 1 + amount, blurred, -amount, 0)
    result = enlarged(steep, cv2.INTER_CUBIC)
    for top in range(0, height, _BAND):
        rows = slice(top, top + _BAND)
        strokes = cv2.min(cv2.max(result[rows], lowest[rows]), highest[rows])
        part = cv2.merge([of_picture[rows]] * 3)
        mixed = cv2.multiply(coarse[rows], part, scale=1 / 255)
        mixed = cv2.add(mixed, cv2.multiply(strokes, cv2.bitwise_not(part), scale=1 / 255))
        bright = _brightness(frame[rows])
        for brighter, darker, change in (
            (bright, seen[rows], cv2.add),
            (seen[rows], bright, cv2.subtract),
        ):
            lost = cv2.multiply(
                cv2.subtract(brighter, darker), detail[rows], scale=_SLOPES[1] / 255
            )
            mixed = change(mixed, cv2.merge([lost] * 3))
        result[rows] = mixed
    return np.asarray(result, np.uint8)


def _edges(before: npt.NDArray[Any], after: npt.NDArray[Any]) -> tuple[Plane, Plane]:
    """Where brightness has edges, from 0 to 1, and how many times their contrast is kept."""

    def mean(x: Plane) -> Plane:
        return np.asarray(cv2.blur(x, (_WINDOW, _WINDOW)), np.float32)

    x, y = before.astype(np.float32), after.astype(np.float32)
    mean_x = mean(x)
    variance = mean(x * x) - mean_x**2
    covariance = mean(x * y) - mean_x * mean(y)
    slope = np.clip(mean(covariance / (variance + _NOISE)), *_SLOPES)
    return mean(variance / (variance + _NOISE)), slope


def _halved(x: Frame) -> Frame:
    return resized(x, ((x.shape[0] + 1) // 2, (x.shape[1] + 1) // 2))


def _blurred(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """As strokes are that a network makes along an edge."""
    return cv2.GaussianBlur(x, (0, 0), _BLUR)


def _brightness(frame: Frame) -> npt.NDArray[Any]:
    return cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
