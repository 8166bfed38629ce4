"""Detail of frames: how much there is, place by place, and giving back what mixing took away."""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from nst_rt.images.io import Frame
from nst_rt.infer.stability.tracking import Buffers
from nst_rt.metrics.flow import Gray, Image

# Fine detail is what differs from the mean of so many pixels a side, coarse detail that from the
# mean of more, at half the size; thin strokes are the one, thick ones the other.
_FINE, _COARSE = 7, 23
_CELL = 16  # pixels a side, of what is measured by place
_REGION = 7  # cells a side, that are to have as much detail as what is wanted
_MOST = (0.06, 0.2)  # fine and coarse, that a frame gets back, as a share of what it has
_STRONG = 2.5  # times the mean of the detail that is wanted: what is so strong gets little more
_STEPS = 1024  # of such a share
_FINER = 64  # steps of a level


def details(frame: Frame) -> Iterator[Gray]:
    """The fine, then the coarse detail of a frame's brightness, in levels without a sign.

    Args:
        frame: shape (H, W, 3), uint8 BGR.

    Returns:
        Shapes (H, W) and, at half the size, (H // 2, W // 2).
    """
    gray = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
    smooth = cv2.blur(gray, (_FINE, _FINE))
    yield np.asarray(cv2.absdiff(gray, smooth), np.uint8)
    half = cv2.resize(smooth, _half(frame))
    yield np.asarray(cv2.absdiff(half, cv2.blur(half, (_COARSE, _COARSE))), np.uint8)


def with_details(
    frame: Frame, wanted: Sequence[Gray], buffer: Buffers, *, blurred: bool = False
) -> Frame:
    """A frame sharpened, region by region, until it has as much detail as another one.

    Interpolating and mixing take some away, frame by frame; sharpening by a fixed amount would give
    back too little or too much, which adds up as well. So would one amount for the whole picture:
    what was not mixed gets grainy then, for the strokes that were averaged elsewhere. And where
    few strokes are left, all would be given to them until they glare: so it is the weak ones that
    are made stronger.

    Args:
        frame: shape (H, W, 3), uint8 BGR; the result is put there.
        wanted: `details` of the other one, of the same size.
        buffer: to compute in.
        blurred: whether the frame was interpolated, so that sharp edges need it as well.
    """
    fine, coarse = (
        _missing(here, there, frame.shape, most)
        for here, there, most in zip(details(frame), wanted, _MOST, strict=True)
    )
    usual = [max(cv2.mean(detail)[0], 1.0) for detail in wanted]
    smooth = cv2.blur(frame, (_FINE, _FINE), dst=buffer("smooth", frame.shape))
    limit = None if blurred else _STRONG * usual[0]
    added = _band("fine", frame, smooth, fine, limit, buffer)
    half = np.asarray(cv2.resize(smooth, _half(frame)), np.uint8)
    smoother = cv2.blur(half, (_COARSE, _COARSE), dst=buffer("smoother", half.shape))
    band = _band("coarse", half, smoother, coarse, _STRONG * usual[1], buffer)
    more = cv2.resize(band, frame.shape[1::-1], dst=buffer("more", frame.shape, np.int16))
    cv2.add(added, more, dst=added)
    return np.asarray(cv2.add(frame, added, dst=frame, dtype=cv2.CV_8U), np.uint8)


def around(image: Image, shape: tuple[int, ...], cells: int) -> Image:
    """Means of an image, over so many cells of 16 px a side around each cell of a frame.

    Args:
        image: of any size, shape (h, w) or (h, w, C).
        shape: of the frame, (H, W, ...).
        cells: odd.

    Returns:
        Shape (H // 16, W // 16) or with C channels, at least one cell a side; float32.
    """
    rows, columns = (max(side // _CELL, 1) for side in shape[:2])
    # Cells of a whole number of pixels are averaged in a quarter of the time.
    height, width = image.shape[0] // rows * rows, image.shape[1] // columns * columns
    whole = image[: height or None, : width or None]
    means = cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA).astype(np.float32)
    return cv2.blur(means, (cells, cells))


def _missing(here: Gray, there: Gray, shape: tuple[int, ...], most: float) -> Image:
    """By what share of the detail here there is more there, by cells, in steps of 1/1024."""
    has, wanted = (1 + around(detail, shape, _REGION) for detail in (here, there))
    return np.asarray(np.rint(_STEPS * np.clip(wanted / has - 1, 0, most)), np.int16)


def _band(
    name: str, image: Frame, smooth: Image, share: Image, limit: float | None, buffer: Buffers
) -> Image:
    """A share of the difference between an image and a smooth one, less from about a limit on."""
    band, factor = (buffer(f"{name}, {part}", image.shape, np.int16) for part in ("band", "factor"))
    cv2.resize(cv2.merge([share] * 3), image.shape[1::-1], dst=factor)
    if limit is None:
        cv2.subtract(image, smooth, dst=band, dtype=cv2.CV_16S)
        return np.asarray(cv2.multiply(band, factor, dst=band, scale=1 / _STEPS), np.int16)
    difference = buffer(f"{name}, difference", image.shape)
    cv2.addWeighted(image, 1, smooth, -1, 128, dst=difference)
    levels = np.arange(256) - 128
    weak = np.rint(_FINER * levels * np.exp(-((levels / limit) ** 2))).astype(np.int16)
    cv2.LUT(difference, weak, dst=band)
    return np.asarray(cv2.multiply(band, factor, dst=band, scale=1 / (_STEPS * _FINER)), np.int16)


def _half(frame: Frame) -> tuple[int, int]:
    """Half of its width and height."""
    return max(frame.shape[1] // 2, 1), max(frame.shape[0] // 2, 1)
