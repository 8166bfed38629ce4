"""Optical flow between frames, what it cannot find, and frames moved along with it.

A flow field says for each pixel how far away it is in the other frame: shape (H, W, 2), float32,
(x, y) in pixels of the field.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from nst_rt.images.io import Frame

Field = npt.NDArray[np.float32]
Gray = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Image = npt.NDArray[Any]

LEAST_SIDE = 64  # pixels; DIS crashes where a picture is smaller than a patch at its coarsest scale
_NO_MAP: Any = None  # both coordinates are in the first map
_FAR = 1e4  # pixels, which no flow is
_UNCHANGED = 6  # levels that noise may make
_AROUND = 7  # pixels, the side of what is looked at around a pixel
_SAME_PLACE = 12  # levels that the same place's brightness may differ by
_MOVES = 0.25  # pixels a frame, from which on a place moves
_EXPLAINED = 0.5  # of a place's change, that its flow leaves unexplained at most
_STANDS = 0.5  # pixels a frame, below which the flow of a picture means that the camera stands


@dataclass(frozen=True)
class Correspondence:
    """Where the pixels of a frame were in the frame before.

    Attributes:
        positions: of each pixel, shape (H, W, 2), (x, y) in pixels; None where it was.
        visible: whether the place is seen in both frames, shape (H, W).
    """

    positions: Field | None
    visible: Mask


def estimated_flow(flow: cv2.DISOpticalFlow, one: Gray, other: Gray) -> Field:
    """Where each pixel of `one` is in `other`; both of at least `LEAST_SIDE` px a side."""
    guess = np.zeros((*one.shape, 2), np.float32)  # DIS crashes on what happens to be in memory
    return np.asarray(flow.calc(one, other, guess), np.float32)


def consistent(back: Field, there: Field) -> Mask:
    """Where a flow and the flow the other way agree (Sundaram et al. 2010, eq. 5).

    Elsewhere a place is hidden in the other frame, or outside, or the flow is wrong.
    """
    returned = moved(there, back, outside=_FAR)
    lengths = _squares(back) + _squares(returned)
    return np.asarray(_squares(back + returned) <= 0.01 * lengths + 0.5, np.bool_)


def moved(
    image: Image,
    back: Field,
    *,
    outside: float | None = None,
    field: Field | None = None,
    output: Image | None = None,
) -> Image:
    """An image whose pixels come from where a flow says.

    Args:
        image: shape (H, W) or (H, W, C).
        back: flow field of any size.
        outside: what comes from outside of the image; by default it is as its edge.
        field: of shape (H, W, 2), to compute in.
        output: like `image`, for the result.
    """
    size, flow = image.shape[1::-1], back
    if back.shape[1::-1] != size:
        scale = np.divide(size, back.shape[1::-1], dtype=np.float32)
        flow = np.asarray(cv2.resize(back * scale, size, dst=field), np.float32)
    found = cv2.remap(
        image,
        flow,
        _NO_MAP,
        cv2.INTER_LINEAR | cv2.WARP_RELATIVE_MAP,
        dst=output,
        borderMode=cv2.BORDER_REPLICATE if outside is None else cv2.BORDER_CONSTANT,
        borderValue=(outside or 0.0,) * 4,
    )
    return np.asarray(found, image.dtype)


def resized(field: Image, shape: tuple[int, ...]) -> Image:
    """A field of numbers, interpolated to the height and width that `shape` starts with."""
    return np.asarray(cv2.resize(field, shape[1::-1]), field.dtype)


def pixel_grid(height: int, width: int) -> Field:
    """Positions (x, y) of the pixels, shape (H, W, 2)."""
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return np.stack([x, y], -1)


def flow_correspondence(before: Frame, now: Frame) -> Correspondence:
    """Where the pixels of a frame were, by the optical flow at full size (DIS, preset medium).

    What the flow both ways disagrees on, or is more than 12 levels brighter or darker there (over
    7x7 px), does not count as visible.

    While the camera stands, flow bleeds from what moves into flat places beside it, and follows
    noise. So what moves by a quarter pixel at most is where it was. What moves by more counts only
    if it looks different (see `unchanged`) and its flow explains half of that (over 7x7 px).

    Args:
        before, now: consecutive frames, shape (H, W, 3), uint8 BGR.
    """
    height, width = now.shape[:2]
    size = max(width, LEAST_SIDE), max(height, LEAST_SIDE)
    grays = [
        np.asarray(cv2.resize(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), size), np.uint8)
        for frame in (before, now)
    ]
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    back, there = estimated_flow(flow, *grays[::-1]), estimated_flow(flow, *grays)

    def change_from(gray: Gray) -> Gray:
        return np.asarray(cv2.blur(cv2.absdiff(gray, grays[1]), (_AROUND, _AROUND)), np.uint8)

    unexplained = change_from(moved(grays[0], back))
    found = consistent(back, there) & (unexplained <= _SAME_PLACE)
    scale = np.divide((width, height), size, dtype=np.float32)
    motion = resized(back * scale, now.shape)
    visible = resized(found.astype(np.uint8), now.shape).astype(np.bool_)
    if np.linalg.norm(np.median(motion, axis=(0, 1))) < _STANDS:
        stands = _squares(motion) <= _MOVES**2
        motion[stands] = 0
        explained = unexplained <= _EXPLAINED * change_from(grays[0])
        explained = resized(explained.astype(np.uint8), now.shape).astype(np.bool_)
        visible &= stands | (explained & ~unchanged(before, now).visible)
    return Correspondence(motion + pixel_grid(height, width), visible)


def unchanged(before: Frame, now: Frame) -> Correspondence:
    """The pixels that a fixed camera sees the same as before, noise aside.

    No pixel and channel of the 7x7 around them differs by more than 6 levels.

    Args:
        before, now: consecutive frames, shape (H, W, 3), uint8 BGR.
    """
    difference = cv2.absdiff(before, now).max(-1)
    largest = cv2.dilate(difference, np.ones((_AROUND, _AROUND), np.uint8))
    return Correspondence(None, np.asarray(largest <= _UNCHANGED, np.bool_))


def _squares(vectors: Field) -> Field:
    x, y = vectors[..., 0], vectors[..., 1]
    return np.asarray(x * x + y * y, np.float32)
