"""Calm videos: what was painted before moves along with the scene, and is kept where it can be.

As in Ruder et al. 2016, without their optimization: the optical flow of the input says where each
place was in the last frame, and what was painted there then is mixed into what is painted now.
"""

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from nst_rt.images import Frame

_FLOW_SIDE = 192  # pixels of the short side that the flow is estimated at
_KEEP = 0.7  # of the last output, where the scene moved
_KEEP_STILL = 0.92  # where it did not: noise of the camera must not make strokes boil
_STILL = 0.1  # pixels of the small picture that count as no motion
_BRIGHTNESS = 10.0  # levels; where the brightness differs by more, it is another place
_CUT = 0.35  # of the picture that must be found again, or the scene is another one
_STATE = ("frame", "output")

Field = npt.NDArray[np.float32]


class Stabilizer:
    """Steadies the frames of one video, in order.

    It starts over at cuts, and where the last frame does not show a place it leaves what was
    painted as it is.
    """

    def __init__(self) -> None:
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        self._last: tuple[Frame, Frame] | None = None

    def reset(self) -> None:
        """Forget what came before."""
        self._last = None

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """What the next frame depends on, for `restore`."""
        return {} if self._last is None else dict(zip(_STATE, self._last, strict=True))

    def restore(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Go on after the frame at which `state` was taken."""
        self._last = (state[_STATE[0]], state[_STATE[1]]) if state else None

    def steady(self, frame: Frame, painted: Frame) -> Frame:
        """Steady a frame of the video.

        Args:
            frame: of the input, shape (H, W, 3), uint8 BGR.
            painted: what was made of it, same shape.

        Returns:
            Same shape.
        """
        small = _small(frame)
        if self._last is not None and self._last[1].shape == painted.shape:
            painted = self._mixed(self._last[0], small, self._last[1], painted)
        self._last = small, painted
        return painted

    def _mixed(self, before: Frame, small: Frame, output: Frame, painted: Frame) -> Frame:
        """What is painted now, with the last output where it still holds."""
        back, there = self._flow_between(small, before), self._flow_between(before, small)
        keep = _share(before, small, back, there)
        if np.count_nonzero(keep) < _CUT * keep.size:
            return painted
        height, width = painted.shape[:2]
        # Where each pixel was, at full size.
        scale = np.array([width / small.shape[1], height / small.shape[0]], np.float32)
        positions = _resized(back * scale, width, height) + _grid(height, width)
        keep = _resized(keep, width, height)
        mixed = cv2.blendLinear(_sampled(output, positions), painted, keep, 1 - keep)
        return np.asarray(mixed, np.uint8)

    def _flow_between(self, one: Frame, other: Frame) -> Field:
        """Where each pixel of `one` is in `other`, relative to where it is; (x, y) in pixels."""
        guess = np.zeros((*one.shape, 2), np.float32)
        return np.asarray(self._flow.calc(one, other, guess), np.float32)


def _small(frame: Frame) -> Frame:
    """Grey, and small enough to estimate flow on."""
    height, width = frame.shape[:2]
    scale = min(_FLOW_SIDE / min(height, width), 1)
    # DIS crashes on pictures that are smaller than its patches at its coarsest scale.
    size = max(round(width * scale), 64), max(round(height * scale), 64)
    small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), np.uint8)


def _share(before: Frame, now: Frame, back: Field, there: Field) -> Field:
    """How much of the last output holds at each pixel, from 0 to 1.

    Forward and backward flow must agree (Sundaram et al. 2010, eq. 5), and so must the brightness.
    """
    positions = _grid(*now.shape) + back
    returned = _sampled(there, positions).astype(np.float32)
    length = (back**2).sum(-1)
    apart = ((back + returned) ** 2).sum(-1)
    consistent = apart <= 0.01 * (length + (returned**2).sum(-1)) + 0.5
    height, width = now.shape
    x, y = positions[..., 0], positions[..., 1]
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    difference = now.astype(np.float32) - _sampled(before, positions)
    alike = np.exp(-((difference / _BRIGHTNESS) ** 2))
    still = (length < _STILL**2) & (np.abs(difference) < 3)
    keep = np.where(still, _KEEP_STILL, _KEEP) * alike * (consistent & inside & (alike > 0.1))
    # What is hidden grows by a pixel, since flow bleeds over edges.
    return np.asarray(cv2.erode(keep.astype(np.float32), np.ones((3, 3), np.uint8)), np.float32)


def _sampled(image: npt.NDArray[Any], positions: Field) -> npt.NDArray[Any]:
    """An image at positions (H, W, 2), (x, y) in pixels."""
    x, y = cv2.split(positions)
    return np.asarray(
        cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), image.dtype
    )


def _resized(field: Field, width: int, height: int) -> Field:
    return np.asarray(cv2.resize(field, (width, height)), np.float32)


def _grid(height: int, width: int) -> Field:
    """Positions (x, y) of the pixels, shape (H, W, 2)."""
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return np.stack([x, y], -1)
