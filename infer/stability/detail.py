"""Detail of frames: how much each place has, and restoring what warping and averaging blurred."""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from nst_rt.images.io import Frame
from nst_rt.infer.stability.tracking import Buffers
from nst_rt.metrics.flow import Gray, Image

# Windows of the mean that detail is the difference from, pixels a side; the coarse one at half the
# size of the frame. Thin strokes are fine detail, thick ones coarse.
_FINE, _COARSE = 7, 23
_CELL = 16  # pixels a side, of the cells that detail is averaged over
_REGION = 7  # cells a side, of the regions whose detail is restored together
_MAX_GAIN = (0.06, 0.2)  # of fine and coarse detail per frame; more would add up to glare
_STRONG = 2.5  # times the mean detail; strokes of that strength are amplified little
_STEPS = 1024  # fixed-point steps of a gain
_LEVEL_STEPS = 64  # fixed-point steps of a level


def details(frame: Frame) -> Iterator[Gray]:
    """The fine, then the coarse detail of a frame: absolute differences of brightness, in levels.

    Args:
        frame: shape (H, W, 3), uint8 BGR.

    Yields:
        Shape (H, W), then, at half the size, (H // 2, W // 2); each computed when it is taken.
    """
    gray = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
    smooth = cv2.blur(gray, (_FINE, _FINE))
    yield np.asarray(cv2.absdiff(gray, smooth), np.uint8)
    half = cv2.resize(smooth, _half_size(frame))
    yield np.asarray(cv2.absdiff(half, cv2.blur(half, (_COARSE, _COARSE))), np.uint8)


def with_details(
    frame: Frame, wanted: Sequence[Gray], buffer: Buffers, *, warped: bool = False
) -> Frame:
    """A frame sharpened, region by region, until it has as much detail as another one.

    Warping and averaging blur a little in every frame. Sharpening by a fixed amount would correct
    too little or too much, which adds up as well. One amount for the whole frame would make the
    places grainy that were not averaged. And where few strokes are left, they would be amplified
    until they glare, so mainly weak detail is amplified.

    Args:
        frame: shape (H, W, 3), uint8 BGR; it is overwritten with the result.
        wanted: `details` of the other frame, of the same size.
        warped: whether most of the frame was interpolated, which blurs strong edges as well.
    """
    fine, coarse = (
        _gains(here, there, frame.shape, most)
        for here, there, most in zip(details(frame), wanted, _MAX_GAIN, strict=True)
    )
    strong = [_STRONG * max(cv2.mean(detail)[0], 1.0) for detail in wanted]
    smooth = cv2.blur(frame, (_FINE, _FINE), dst=buffer("smooth", frame.shape))
    added = _amplified("fine", frame, smooth, fine, None if warped else strong[0], buffer)
    half = np.asarray(cv2.resize(smooth, _half_size(frame)), np.uint8)
    smoother = cv2.blur(half, (_COARSE, _COARSE), dst=buffer("smoother", half.shape))
    band = _amplified("coarse", half, smoother, coarse, strong[1], buffer)
    more = cv2.resize(band, frame.shape[1::-1], dst=buffer("more", frame.shape, np.int16))
    cv2.add(added, more, dst=added)
    return np.asarray(cv2.add(frame, added, dst=frame, dtype=cv2.CV_8U), np.uint8)


def cell_means(image: Image, shape: tuple[int, ...], window: int) -> Image:
    """Moving averages of an image over windows of cells of 16x16 px.

    Args:
        image: of any size, shape (h, w) or (h, w, C).
        shape: shape (H, W, ...) of the frame that the image belongs to, which defines the cells.
        window: cells a side, odd.

    Returns:
        Shape (H // 16, W // 16) or with C channels, at least one cell a side; float32.
    """
    rows, columns = (max(side // _CELL, 1) for side in shape[:2])
    # Cells of a whole number of pixels are averaged in a quarter of the time.
    height, width = image.shape[0] // rows * rows, image.shape[1] // columns * columns
    whole = image[: height or None, : width or None]
    means = cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA).astype(np.float32)
    return cv2.blur(means, (window, window))


def _gains(here: Gray, there: Gray, shape: tuple[int, ...], most: float) -> Image:
    """By how much the detail here must grow to equal that there, by cells, in steps of 1/1024."""
    has, wanted = (1 + cell_means(detail, shape, _REGION) for detail in (here, there))
    return np.asarray(np.rint(_STEPS * np.clip(wanted / has - 1, 0, most)), np.int16)


def _amplified(
    name: str, image: Frame, smooth: Image, gains: Image, strong: float | None, buffer: Buffers
) -> Image:
    """The difference between an image and a smooth one, times the gains; int16, in levels.

    Differences from about `strong` levels on are amplified little; None for no limit.
    """
    band, factor = (buffer(f"{name}, {use}", image.shape, np.int16) for use in ("band", "factor"))
    if strong is None:
        steps = 1
        cv2.subtract(image, smooth, dst=band, dtype=cv2.CV_16S)
    else:
        steps = _LEVEL_STEPS
        difference = buffer(f"{name}, difference", image.shape)
        cv2.addWeighted(image, 1, smooth, -1, 128, dst=difference)
        levels = np.arange(256) - 128
        weak = np.rint(steps * levels * np.exp(-((levels / strong) ** 2))).astype(np.int16)
        cv2.LUT(difference, weak, dst=band)
    cv2.resize(cv2.merge([gains] * 3), image.shape[1::-1], dst=factor)
    return np.asarray(cv2.multiply(band, factor, dst=band, scale=1 / (_STEPS * steps)), np.int16)


def _half_size(frame: Frame) -> tuple[int, int]:
    """Half of the width and height."""
    return max(frame.shape[1] // 2, 1), max(frame.shape[0] // 2, 1)
