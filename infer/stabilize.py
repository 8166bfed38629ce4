"""Calm videos: what was painted before moves along with the scene, and is kept where it can be.

As in Ruder et al. 2016, without their optimization: the optical flow of the input says where each
place was in the last frame, and what was painted there then is mixed into what is painted now.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from nst_rt.flow import (
    LEAST_SIDE,
    Correspondence,
    Field,
    Grey,
    consistent,
    estimated_flow,
    moved,
    pixel_grid,
    resized,
)
from nst_rt.images import Frame

_FLOW_SIDE = 128  # pixels of the short side that the flow is estimated at
_KEEP = 0.75  # of the last output at most, where the scene moved
_BOILS = 23  # levels from which on that much is kept; less where strokes are calm as it is
_SHARPEN = 0.5  # of the last output there, which interpolation and mixing blur
_KEEP_STILL = 0.92  # where it did not: noise of the camera must not make strokes boil
_STILL = 0.05  # pixels of the small picture that count as no motion, which noise has too
_UNCHANGED = 3  # levels of brightness that noise may make in the small picture
_BRIGHTNESS = 10.0  # levels; where the brightness differs by more, it is another place
_CUT = 0.35  # of the picture that must be found again, or the scene is another one

_AROUND = np.ones((3, 3), np.uint8)
# Share that is kept, of 255, by how many levels the brightness differs.
_ALIKE = np.array([255 * np.exp(-((d / _BRIGHTNESS) ** 2)) for d in range(256)]).astype(np.uint8)


@dataclass(frozen=True)
class _Last:
    """What is remembered of the frame before: its brightness in two sizes, and the output."""

    grey: Grey
    small: Grey
    output: Frame


class Stabilizer:
    """Steadies the frames of one video, in order.

    It starts over at cuts, and where the last frame does not show a place it leaves what was
    painted as it is.
    """

    def __init__(self) -> None:
        # Patches down to half of the small picture's size: nearer to RubberWhale's true flow than
        # the preset FAST at 1.5 times the size, in less time. The way there is only compared with.
        self._back = _flow(refined=True)
        self._there = _flow(refined=False)
        self._last: _Last | None = None

    def reset(self) -> None:
        """Forget what came before."""
        self._last = None

    def state(self) -> dict[str, npt.NDArray[np.uint8]]:
        """What it remembers, for `restore`: the frames after it are steadied the same."""
        last = self._last
        return {} if last is None else {"grey": last.grey.copy(), "output": last.output.copy()}

    def restore(self, state: Mapping[str, npt.NDArray[np.uint8]]) -> None:
        """Go on from a `state`."""
        self._last = None
        if state:
            grey = state["grey"].copy()
            self._last = _Last(grey, _small(grey), state["output"].copy())

    def steady(self, frame: Frame, painted: Frame) -> Frame:
        """Steady a frame of the video.

        Args:
            frame: of the input, shape (H, W, 3), uint8 BGR.
            painted: what was made of it, same shape.

        Returns:
            Same shape; `painted` itself where there is nothing to keep.
        """
        grey = _halved(frame)
        small = _small(grey)
        if self._last is not None and self._last.output.shape == painted.shape:
            painted = self._mixed(self._last, grey, small, painted)
        self._last = _Last(grey, small, painted.copy())  # the caller may draw on it
        return painted

    def _mixed(self, last: _Last, grey: Grey, small: Grey, painted: Frame) -> Frame:
        """What is painted now, with the last output where it still holds."""
        back, keep, still = self._found(last, grey, small)
        if np.count_nonzero(keep) < _CUT * keep.size:
            return painted
        kept, still = moved(last.output, back), resized(still, painted.shape)
        _sharpen(kept, still)
        boils = cv2.cvtColor(cv2.absdiff(kept, painted), cv2.COLOR_BGR2GRAY)
        boils = cv2.multiply(boils, boils, scale=255 / _BOILS**2)
        keep = cv2.multiply(resized(keep, painted.shape), cv2.max(boils, still), scale=1 / 255)
        share = cv2.cvtColor(keep, cv2.COLOR_GRAY2BGR)
        cv2.multiply(kept, share, dst=kept, scale=1 / 255)
        cv2.bitwise_not(share, dst=share)
        cv2.multiply(painted, share, dst=share, scale=1 / 255)
        return np.asarray(cv2.add(kept, share, dst=share), np.uint8)

    def correspondence(self, before: Frame, now: Frame) -> Correspondence:
        """What it goes by between two frames, scaled up to their size; nothing is remembered."""
        last, grey = _halved(before), _halved(now)
        back, keep, _ = self._found(_Last(last, _small(last), before), grey, _small(grey))
        scale = np.divide(now.shape[1::-1], back.shape[1::-1], dtype=np.float32)
        positions = resized(back * scale, now.shape) + pixel_grid(*now.shape[:2])
        return Correspondence(positions, resized(keep, now.shape) > 0)

    def _found(self, last: _Last, grey: Grey, small: Grey) -> tuple[Field, Grey, Grey]:
        """Where each pixel was relative to where it is, its share that is kept, and what is still.

        The flow and what is still (255) are at the small size; the share, of 255, at half size.
        """
        back = estimated_flow(self._back, small, last.small)
        there = estimated_flow(self._there, last.small, small)
        motion = np.abs(back).max(-1)
        # While the camera stands, what looks the same is, whatever the flow of flat places says.
        shift = np.abs(np.median(back, axis=(0, 1))).max()
        camera_stands = shift <= _STILL and np.median(motion) <= 2 * _STILL
        changes = cv2.dilate(cv2.absdiff(last.small, small), _AROUND)
        still = (changes <= _UNCHANGED) & (camera_stands | (motion <= _STILL))
        found = consistent(back, there)
        back[still] = 0  # or what is held would be interpolated again and again
        share = np.where(still, 255 * _KEEP_STILL, 255 * _KEEP * found).round()
        # What is hidden grows by a pixel, since flow bleeds over edges.
        share = cv2.erode(share.astype(np.uint8), _AROUND)
        alike = cv2.LUT(cv2.absdiff(moved(last.grey, back), grey), _ALIKE)
        keep = cv2.multiply(resized(share, grey.shape), alike, scale=1 / 255)
        return back, np.asarray(keep, np.uint8), still.astype(np.uint8) * 255


def _flow(*, refined: bool) -> cv2.DISOpticalFlow:
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    flow.setFinestScale(1)
    flow.setVariationalRefinementIterations(5 if refined else 0)
    return flow


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
    size = max(round(width * scale), LEAST_SIDE), max(round(height * scale), LEAST_SIDE)
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8)


def _sharpen(image: Frame, still: Grey) -> None:
    """Sharpen an image in place, where it is not still."""
    sharp = cv2.blur(image, (3, 3))
    cv2.addWeighted(image, 1 + _SHARPEN, sharp, -_SHARPEN, 0, dst=sharp)
    cv2.copyTo(sharp, cv2.bitwise_not(still), image)
