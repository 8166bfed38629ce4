"""How a video's scene moves from frame to frame: by optical flow, as far as it can be trusted."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from nst_rt.images.io import Frame
from nst_rt.metrics.flow import (
    LEAST_SIDE,
    Correspondence,
    Field,
    Gray,
    Image,
    Mask,
    consistent,
    estimated_flow,
    moved,
    pixel_grid,
    resized,
)

FOUND = 25  # of 255, the least share of a place that was found again

_FLOW_SIDE = 144  # pixels of the short side that the flow is estimated at
_STILL = 0.05  # pixels of the small picture that count as no motion, which noise has too
_UNCHANGED = 12  # levels that noise may make in the small picture
_BRIGHTNESS = 16.0  # levels; where the brightness differs by more, it is another place
_FADE = 20.0  # levels by which the whole picture becomes another one from frame to frame
_FLAT = 40  # slope of brightness (Sobel's) below which a place is flat: flow finds nothing there
_NOISE = 0.85  # share of a region that flow must find again, or it is noise
_VARIES = 0.7  # of a region's motion, by which it varies within it, or more, if it is noise
_EXPLAINS = 0.93  # of the change from frame to frame, that noise leaves unexplained, or more
_LARGE = 0.05  # share of the picture, below which a region is too small to tell noise by
_SPECK = 30  # pixels of the small picture that single ones make with those around them
_CUT = 0.35  # of the picture that must be found again, or the scene is another one
_CELL = 4  # pixels of the small picture a side, that motion is compared in
_NEAR = np.ones((7, 7), np.uint8)  # in cells, what is near
_PASSES = 1.0  # pixels of the small picture by which motion differs near what passes
_AROUND = np.ones((3, 3), np.uint8)
_BLEEDS = np.ones((5, 5), np.uint8)  # how far flow bleeds over edges in the small picture
# Share that is kept, of 255, by how many levels the brightness differs.
_ALIKE = np.array([255 * np.exp(-((d / _BRIGHTNESS) ** 2)) for d in range(256)]).astype(np.uint8)


@dataclass(frozen=True)
class View:
    """What a frame looks like.

    Attributes:
        half: its brightness at half its size.
        colors: BGR, small enough to estimate flow on.
    """

    half: Gray
    colors: Frame

    @cached_property
    def small(self) -> Gray:
        """The brightness of the small picture."""
        return np.asarray(cv2.cvtColor(self.colors, cv2.COLOR_BGR2GRAY), np.uint8)

    def resized(self, other: "View") -> "View":
        """At the size of another one."""
        half = resized(self.half, other.half.shape)
        return View(half, resized(self.colors, other.colors.shape))


@dataclass(frozen=True)
class Motion:
    """What became of the last frame.

    Attributes:
        back: where each place was relative to where it is, at the small size.
        share: how much of what was there holds, of 255, at half size.
        beside: what is near something that moves on its own, at the small size.
        fade: levels that the whole picture became brighter by.
    """

    back: Field
    share: Gray
    beside: Mask
    fade: float

    @property
    def camera_moves(self) -> bool:
        """Whether most places moved."""
        moves = self.back.any(-1)
        return bool(np.count_nonzero(moves) > moves.size / 2)


class Buffers:
    """Arrays that are used again for each frame.

    Fresh ones cost more than what is computed in them: the system hands out their memory page by
    page (moving a frame of 1280x720 px took 11 ms with them, and 4 without).
    """

    def __init__(self) -> None:
        self._arrays: dict[str, npt.NDArray[Any]] = {}

    def __call__(
        self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike = np.uint8
    ) -> npt.NDArray[Any]:
        """The array of that name, with anything in it."""
        array = self._arrays.get(name)
        if array is None or array.shape != shape:
            array = self._arrays[name] = np.empty(shape, dtype)
        return array


class Tracker:
    """Follows the scene of one video."""

    def __init__(self) -> None:
        # Patches down to the small picture's full size tell edges of what moves far better than
        # those down to half of a larger one, in the same time.
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self._flow.setFinestScale(0)
        self._flow.setPatchStride(5)
        self._flow.setGradientDescentIterations(8)
        self._flow.setVariationalRefinementIterations(3)
        self._buffer = Buffers()

    def view(self, frame: Frame) -> View:
        """What it looks at of a frame, shape (H, W, 3), uint8 BGR."""
        height, width = (frame.shape[0] + 1) // 2, (frame.shape[1] + 1) // 2
        half = cv2.resize(
            frame,
            (width, height),
            dst=self._buffer("half", (height, width, 3)),
            interpolation=cv2.INTER_AREA,
        )
        scale = min(_FLOW_SIDE / min(height, width), 1)
        size = max(round(width * scale), LEAST_SIDE), max(round(height * scale), LEAST_SIDE)
        colors = np.asarray(cv2.resize(half, size, interpolation=cv2.INTER_AREA), np.uint8)
        return View(np.asarray(cv2.cvtColor(half, cv2.COLOR_BGR2GRAY), np.uint8), colors)

    def motion(self, last: View, now: View) -> Motion | None:
        """What became of the last frame, of the same size; None at a cut."""
        small = now.small
        back = estimated_flow(self._flow, small, last.small)
        there = estimated_flow(self._flow, last.small, small)
        motion = np.maximum(*np.abs(cv2.split(back)))
        # While the camera stands, what looks the same is, whatever the flow of flat places says.
        shift = np.abs(np.median(back[::4, ::4], axis=(0, 1))).max()
        camera_stands = shift <= _STILL and np.median(motion[::4, ::4]) <= 2 * _STILL
        fade = float(np.median(small.astype(np.int16) - last.small))
        changes = cv2.absdiff(_brighter(last.colors, fade), now.colors).max(-1)
        unchanged = cv2.dilate(changes, _AROUND) <= _UNCHANGED
        found = consistent(back, there)
        still = unchanged & (camera_stands | (motion <= _STILL))
        still |= _flow_is_noise(unchanged, found, back, _brighter(last.small, fade), small)
        back[still] = 0  # or what is held would be interpolated again and again
        share = cv2.erode((still | found).astype(np.uint8) * 255, _BLEEDS)
        share[still] = 255
        before = _brighter(self.moved("gray", last.half, back), fade)
        alike = cv2.LUT(cv2.absdiff(before, now.half), _ALIKE)
        steady = np.exp(-((fade / _FADE) ** 2))
        keep = cv2.multiply(resized(share, now.half.shape), alike, scale=steady / 255)
        if np.count_nonzero(keep > FOUND) < _CUT * keep.size:
            return None
        return Motion(back, np.asarray(keep, np.uint8), _beside_motion(back), fade)

    def moved(self, name: str, image: Image, back: Field) -> Image:
        """See `moved`; in buffers of that name."""
        field = self._buffer(f"{name}, field", (*image.shape[:2], 2), np.float32)
        return moved(image, back, field=field, output=self._buffer(name, image.shape))

    def correspondence(self, before: Frame, now: Frame) -> Correspondence:
        """What it goes by between two frames, scaled up to their size; nothing is remembered."""
        motion = self.motion(self.view(before), self.view(now))
        if motion is None:
            return Correspondence(pixel_grid(*now.shape[:2]), np.zeros(now.shape[:2], np.bool_))
        back = motion.back
        scale = np.divide(now.shape[1::-1], back.shape[1::-1], dtype=np.float32)
        positions = resized(back * scale, now.shape) + pixel_grid(*now.shape[:2])
        return Correspondence(positions, resized(motion.share, now.shape) > 0)


def _brighter(image: Image, levels: float) -> Image:
    """As much brighter, or darker below 0."""
    return np.clip(image.astype(np.int16) + round(levels), 0, 255).astype(np.uint8)


def _beside_motion(back: Field) -> Mask:
    """Whether motion differs nearby."""
    cells = np.ascontiguousarray(back[::_CELL, ::_CELL])
    differs = (cv2.dilate(cells, _NEAR) - cv2.erode(cells, _NEAR)).max(-1) > _PASSES
    return resized(differs.astype(np.uint8), back.shape).astype(np.bool_)


def _flow_is_noise(unchanged: Mask, found: Mask, back: Field, before: Gray, now: Gray) -> Mask:
    """Regions that look the same and whose flow is noise in their flat places: they stand.

    Such is a road while the camera adapts its exposure, but not the roof of a car on it.
    """
    count, regions = cv2.connectedComponents(unchanged.astype(np.uint8))
    flat = unchanged & (cv2.dilate(_slope(now), _BLEEDS) < _FLAT)
    sampled = np.s_[::2, ::2]  # which is enough to judge large regions
    labels = np.where(flat, regions, 0)[sampled]
    noise = np.zeros(count, np.bool_)
    change, left = (cv2.absdiff(p, now)[sampled] for p in (before, moved(before, back)))
    for region in 1 + np.flatnonzero(np.bincount(labels.ravel())[1:] >= _LARGE * labels.size):
        where = labels == region
        flow = back[sampled][where]
        middle = np.median(flow, axis=0)
        varies = np.median(np.abs(flow - middle).max(-1)) > _VARIES * np.abs(middle).max()
        unexplained = left[where].mean() > _EXPLAINS * change[where].mean()
        noise[region] = found[sampled][where].mean() < _NOISE or (varies and unexplained)
    # Specks in them, of single pixels that noise changed, stand, too.
    others = np.uint8(1) - noise[regions]
    _, labels, sizes, _ = cv2.connectedComponentsWithStats(others)
    return np.asarray((others == 0) | (sizes[:, cv2.CC_STAT_AREA] <= _SPECK)[labels], np.bool_)


def _slope(gray: Gray) -> npt.NDArray[np.int16]:
    """How steeply brightness changes from pixel to pixel."""
    x, y = (cv2.Sobel(gray, cv2.CV_16S, *direction) for direction in ((1, 0), (0, 1)))
    return np.asarray(np.abs(x) + np.abs(y), np.int16)
