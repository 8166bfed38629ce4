"""Boldness: how much of the style image's strokes, contrast and color a stylized image has.

Losses over whole images do not show it: Gram matrices are matched by strokes where the content
image has detail anyway. So strokes are measured where it has none, in skies and on walls.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from nst_rt.errors import InputError
from nst_rt.images.convert import resize, resize_to, scaled_shape
from nst_rt.images.octaves import octaves
from nst_rt.images.style_image import Vividness

SIZE = 512  # pixels of the long side, at which everything is measured
MIN_EVEN = 0.1  # fraction of a content image that must be even for its strokes to be measured

_SIGMAS = (1.4, 2.8, 5.6, 11.2)  # pixels: three octaves, with periods of about 12, 25 and 50
_WINDOW = 49  # pixels
_MAX_EVEN_DEVIATION = 3 / 255
_MIN_MEASURABLE = 1e-3  # contrast and chroma; a quarter of a level


@dataclass(frozen=True)
class Boldness:
    """A stylized image relative to its style image; 1 is as much as the style image has.

    Attributes:
        strokes: energy of strokes in the even areas of the content image; None where less than a
            tenth of it is even.
        contrast: standard deviation of the luma.
        chroma: mean difference between the largest and the smallest channel; None for a style
            image in black and white.
    """

    strokes: float | None
    contrast: float
    chroma: float | None


def boldness(image: Tensor, content: Tensor, style: Tensor) -> Boldness:
    """Boldness of a stylized image.

    All three images are resized to 512 px on the long side. Strokes are differences of Gaussians of
    the luma, with sigmas of 1.4, 2.8, 5.6 and 11.2 px. A pixel of the content image is even where
    the standard deviation in a window of 49 px around it is below 3 of 255 levels in each of the
    three octaves. `strokes` is the `stroke_energy` of the stylized image over these pixels, divided
    by that of the whole style image.

    Args:
        image: the stylized image, shape (1, 3, H, W), RGB in [0, 1].
        content: its content image, shape (1, 3, H, W), the same up to its scale.
        style: its style image, shape (1, 3, H', W').

    Raises:
        InputError: the stylized image and its content image differ in shape, or the style image
            has the same brightness everywhere.
    """
    shapes = [(each.shape[-2], each.shape[-1]) for each in (image, content)]
    scaled, shape = (scaled_shape(each, SIZE) for each in shapes)
    if max(abs(scaled[0] - shape[0]), abs(scaled[1] - shape[1])) > 1:  # more than rounding
        raise InputError(
            "a stylized image and its content image must have the same shape up to its scale, "
            f"not {shapes[0]} and {shapes[1]}"
        )
    image, content = resize_to(image, shape), resize_to(content, shape)
    style = resize(style, SIZE)
    stylized, wanted = Vividness.of(image), Vividness.of(style)
    if wanted.deviation < _MIN_MEASURABLE:
        raise InputError("the style image has the same brightness everywhere, and so no strokes")
    even = even_areas(content)
    return Boldness(
        stroke_energy(image, even) / stroke_energy(style) if even.mean() >= MIN_EVEN else None,
        stylized.deviation / wanted.deviation,
        stylized.chroma / wanted.chroma if wanted.chroma > _MIN_MEASURABLE else None,
    )


def stroke_energy(image: Tensor, area: NDArray[np.bool_] | None = None) -> float:
    """Standard deviation of the octaves of the luma (see `boldness`), their geometric mean.

    Args:
        image: shape (1, 3, H, W), RGB in [0, 1], at the size at which it is measured.
        area: pixels to measure, shape (H, W), at least one; all of them by default.
    """
    where = ... if area is None else area
    deviations = [float(octave[where].std()) for octave in octaves(image, _SIGMAS)]
    return float(math.prod(deviations) ** (1 / len(deviations)))


def median_boldness(figures: Sequence[Boldness]) -> Boldness:
    """Medians over content images, each over those where the figure is known."""
    return Boldness(
        _median([each.strokes for each in figures]),
        statistics.median(each.contrast for each in figures),
        _median([each.chroma for each in figures]),
    )


def _median(figures: Sequence[float | None]) -> float | None:
    known = [figure for figure in figures if figure is not None]
    return statistics.median(known) if known else None


def even_areas(content: Tensor) -> NDArray[np.bool_]:
    """Where an image has nothing that strokes could follow, see `boldness`.

    Args:
        content: shape (1, 3, H, W), RGB in [0, 1], at the size at which it is measured.

    Returns:
        Shape (H, W).
    """
    deviations = []
    for octave in octaves(content, _SIGMAS):
        mean, square = (cv2.blur(plane, (_WINDOW, _WINDOW)) for plane in (octave, octave**2))
        deviations.append(np.sqrt(np.maximum(square - mean**2, 0)))
    return np.asarray(np.max(deviations, axis=0) < _MAX_EVEN_DEVIATION)
