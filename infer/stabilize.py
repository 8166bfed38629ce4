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

_FLOW_SIDE = 128  # pixels of the short side that the flow is estimated at
_KEEP = 0.3  # of the last output, where the scene moved
_SHARPEN = 0.8  # of the last output there, which interpolation and mixing blur
_KEEP_STILL = 0.92  # where it did not: noise of the camera must not make strokes boil
_STILL = 0.05  # pixels of the small picture that count as no motion, which noise has too
_UNCHANGED = 3  # levels of brightness that noise may make in the small picture
_BRIGHTNESS = 10.0  # levels; where the brightness differs by more, it is another place
_CUT = 0.35  # of the picture that must be found again, or the scene is another one
_LEAST = 64  # pixels; DIS crashes on pictures that are smaller at its coarsest scale than a patch

Field = npt.NDArray[np.float32]
Grey = npt.NDArray[np.uint8]

# Share that is kept, of 255, by how many levels the brightness differs.
_ALIKE = np.array([255 * np.exp(-((d / _BRIGHTNESS) ** 2)) for d in range(256)]).astype(np.uint8)


class Stabilizer:
    """Steadies the frames of one video, in order.

    It starts over at cuts, and where the last frame does not show a place it leaves what was
    painted as it is.
    """

    def __init__(self) -> None:
        # A grid of patches at half of the small picture's size and smoothing there: more exact on
        # RubberWhale than the preset FAST at 1.5 times the size, in less time.
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self._flow.setFinestScale(1)
        self._flow.setVariationalRefinementIterations(5)
        self._last: tuple[Grey, Frame] | None = None

    def reset(self) -> None:
        """Forget what came before."""
        self._last = None

    def state(self) -> dict[str, npt.NDArray[np.uint8]]:
        """What it remembers, for `restore`: the frame after is then steadied the same."""
        if self._last is None:
            return {}
        grey, output = self._last
        return {"grey": grey.copy(), "output": output.copy()}

    def restore(self, state: Mapping[str, npt.NDArray[np.uint8]]) -> None:
        """Go on from a `state`."""
        self._last = (state["grey"].copy(), state["output"].copy()) if state else None

    def steady(self, frame: Frame, painted: Frame) -> Frame:
        """Steady a frame of the video.

        Args:
            frame: of the input, shape (H, W, 3), uint8 BGR.
            painted: what was made of it, same shape.

        Returns:
            Same shape; `painted` itself where there is nothing to keep.
        """
        grey = _halved(frame)
        if self._last is not None and self._last[1].shape == painted.shape:
            painted = self._mixed(*self._last, grey, painted)
        self._last = grey, painted
        return painted

    def _mixed(self, before: Grey, output: Frame, now: Grey, painted: Frame) -> Frame:
        """What is painted now, with the last output where it still holds."""
        back, keep, still = self._found(_small(before), _small(now))
        alike = _alike(before, now, back)
        keep = cv2.multiply(_resized(keep, now.shape), alike, scale=1 / 255)
        if np.count_nonzero(keep) < _CUT * keep.size:
            return painted
        moved = _moved(output, back)
        _sharpen(moved, still=_resized(still, painted.shape))
        share = cv2.cvtColor(_resized(keep, painted.shape), cv2.COLOR_GRAY2BGR)
        cv2.multiply(moved, share, dst=moved, scale=1 / 255)
        cv2.bitwise_not(share, dst=share)
        cv2.multiply(painted, share, dst=share, scale=1 / 255)
        return np.asarray(cv2.add(moved, share, dst=share), np.uint8)

    def _found(self, before: Grey, now: Grey) -> tuple[Field, Grey, Grey]:
        """Where each pixel was relative to where it is, its share that is kept, and what is still.

        The shares are of 255, and what is still is 255.

        Forward and backward flow must agree (Sundaram et al. 2010, eq. 5).
        """
        back, there = self._flow_between(now, before), self._flow_between(before, now)
        returned = _moved(there, back)
        length, apart = _squares(back), _squares(back + returned)
        positions = back + _grid(*now.shape)
        last = np.array(now.shape[::-1]) - 1
        inside = ((positions >= 0) & (positions <= last)).all(-1)
        found = inside & (apart <= 0.01 * (length + _squares(returned)) + 0.5)
        still = (length < _STILL**2) & (cv2.absdiff(before, now) <= _UNCHANGED)
        back[still] = 0  # or what is held would be interpolated again and again
        keep = np.where(still, 255 * _KEEP_STILL, 255 * _KEEP) * found
        # What is hidden grows by a pixel, since flow bleeds over edges.
        kept = cv2.erode(keep.astype(np.uint8), np.ones((3, 3)))
        return back, np.asarray(kept, np.uint8), still.astype(np.uint8) * 255

    def _flow_between(self, one: Grey, other: Grey) -> Field:
        """Where each pixel of `one` is in `other`, relative to where it is; (x, y) in pixels."""
        guess = np.zeros((*one.shape, 2), np.float32)  # DIS crashes on what lies in memory
        return np.asarray(self._flow.calc(one, other, guess), np.float32)


def _halved(frame: Frame) -> Grey:
    """Brightness, at half the size."""
    height, width = frame.shape[:2]
    grey = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
    size = (width + 1) // 2, (height + 1) // 2
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8)


def _small(grey: Grey) -> Grey:
    """Small enough to estimate flow on."""
    height, width = grey.shape
    scale = min(_FLOW_SIDE / min(height, width), 1)
    size = max(round(width * scale), _LEAST), max(round(height * scale), _LEAST)
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8)


def _alike(before: Grey, now: Grey, back: Field) -> Grey:
    """How well the brightness agrees, as a share of 255."""
    difference = cv2.absdiff(_moved(before, back), now)
    alike = np.asarray(cv2.LUT(difference, _ALIKE), np.uint8)
    return alike


def _moved(image: npt.NDArray[Any], back: Field) -> npt.NDArray[Any]:
    """An image whose pixels come from where a flow field of any size says, (x, y) in its pixels."""
    height, width = image.shape[:2]
    scale = np.array([width / back.shape[1], height / back.shape[0]], np.float32)
    flow = back if (scale == 1).all() else _resized(back * scale, image.shape)
    flags = cv2.INTER_LINEAR | cv2.WARP_RELATIVE_MAP
    colours = image.ndim == 3 and image.shape[2] == 3
    if colours:  # OpenCV interpolates four channels in half the time that it takes for three
        image = cv2.cvtColor(image, cv2.COLOR_BGR2BGRA)
    moved = cv2.remap(image, flow, None, flags, borderMode=cv2.BORDER_REPLICATE)
    return cv2.cvtColor(moved, cv2.COLOR_BGRA2BGR) if colours else moved


def _sharpen(image: Frame, still: Grey) -> None:
    """Sharpen an image in place, where it is not still."""
    sharp = cv2.blur(image, (3, 3))
    cv2.addWeighted(image, 1 + _SHARPEN, sharp, -_SHARPEN, 0, dst=sharp)
    cv2.copyTo(sharp, cv2.bitwise_not(still), image)


def _resized(field: npt.NDArray[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    return np.asarray(cv2.resize(field, shape[1::-1]), field.dtype)


def _squares(vectors: Field) -> Field:
    return np.einsum("hwc,hwc->hw", vectors, vectors)


def _grid(height: int, width: int) -> Field:
    """Positions (x, y) of the pixels, shape (H, W, 2)."""
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return np.stack([x, y], -1)
