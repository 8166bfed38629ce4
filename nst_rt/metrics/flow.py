"""Optical flow between frames, its consistency, and warping along with it.

A flow field gives each pixel's displacement to the other frame: shape (H, W, 2), float32, (x, y) in
pixels of the field.
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

LEAST_SIDE = 64  # pixels; DIS crashes on images smaller than a patch at its coarsest scale
_NO_MAP: Any = None  # `cv2.remap` takes both coordinates from its first map
_FAR = 1e4  # pixels, more than any flow
_UNCHANGED = 6  # levels of difference that noise may cause
_WINDOW = 7  # pixels a side, over which differences are taken
_SAME_PLACE = 12  # levels that the brightness of one place may differ by between two frames
_STILL = 0.25  # pixels per frame, up to which a place stands still while the camera does
_UNEXPLAINED = 0.5  # largest fraction of a place's change that its flow may leave unexplained
_CAMERA_STILL = 0.5  # pixels per frame, median flow below which the camera stands still


@dataclass(frozen=True)
class Correspondence:
    """Where the pixels of a frame were in the previous frame.

    Attributes:
        positions: position of each pixel, shape (H, W, 2), (x, y) in pixels; None for no motion.
        visible: whether both frames show the place, shape (H, W).
    """

    positions: Field | None
    visible: Mask


def estimated_flow(flow: cv2.DISOpticalFlow, one: Gray, other: Gray) -> Field:
    """Flow from `one` to `other`, both at least `LEAST_SIDE` px a side."""
    guess = np.zeros((*one.shape, 2), np.float32)  # else DIS starts from uninitialized memory
    return np.asarray(flow.calc(one, other, guess), np.float32)


def consistent(back: Field, there: Field) -> Mask:
    """Where backward and forward flow agree (Sundaram et al. 2010, eq. 5).

    Elsewhere the place is hidden in the other frame or outside of it, or the flow is wrong.
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
    """An image warped by a backward flow.

    Args:
        image: shape (H, W) or (H, W, C).
        back: flow from the result to `image`, of any size; it is resized and scaled.
        outside: value of pixels from outside of the image; by default its edge is continued.
        field: buffer for the resized flow, shape (H, W, 2).
        output: buffer for the result, like `image`.
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


def interpolated(field: Image, shape: tuple[int, ...]) -> Image:
    """An array, interpolated to the height and width that `shape` starts with."""
    return np.asarray(cv2.resize(field, shape[1::-1]), field.dtype)


def pixel_grid(height: int, width: int) -> Field:
    """Positions (x, y) of the pixels, shape (H, W, 2)."""
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return np.stack([x, y], -1)


def flow_correspondence(before: Frame, now: Frame) -> Correspondence:
    """Where the pixels of a frame were, by optical flow at full size (DIS, preset medium).

    Pixels are not visible where forward and backward flow disagree, or where the brightness differs
    by more than 12 levels (over 7x7 px).

    While the camera stands still, flow bleeds from moving things into flat places beside them, and
    follows noise. Then pixels that move by at most a quarter pixel count as standing still, and
    pixels that move by more are visible only if they look different (see `unchanged`) and the flow
    explains half of that difference (over 7x7 px).

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
        return np.asarray(cv2.blur(cv2.absdiff(gray, grays[1]), (_WINDOW, _WINDOW)), np.uint8)

    unexplained = change_from(moved(grays[0], back))
    found = consistent(back, there) & (unexplained <= _SAME_PLACE)
    scale = np.divide((width, height), size, dtype=np.float32)
    motion = interpolated(back * scale, now.shape)
    visible = interpolated(found.astype(np.uint8), now.shape).astype(np.bool_)
    if np.linalg.norm(np.median(motion, axis=(0, 1))) < _CAMERA_STILL:
        still = _squares(motion) <= _STILL**2
        motion[still] = 0
        explained = unexplained <= _UNEXPLAINED * change_from(grays[0])
        explained = interpolated(explained.astype(np.uint8), now.shape).astype(np.bool_)
        visible &= still | (explained & ~unchanged(before, now).visible)
    return Correspondence(motion + pixel_grid(height, width), visible)


def unchanged(before: Frame, now: Frame) -> Correspondence:
    """The pixels that look the same as before to a fixed camera, apart from noise.

    No channel of any of the 7x7 pixels around them differs by more than 6 levels.

    Args:
        before, now: consecutive frames, shape (H, W, 3), uint8 BGR.
    """
    difference = cv2.absdiff(before, now).max(-1)
    largest = cv2.dilate(difference, np.ones((_WINDOW, _WINDOW), np.uint8))
    return Correspondence(None, np.asarray(largest <= _UNCHANGED, np.bool_))


def _squares(vectors: Field) -> Field:
    x, y = vectors[..., 0], vectors[..., 1]
    return np.asarray(x * x + y * y, np.float32)
