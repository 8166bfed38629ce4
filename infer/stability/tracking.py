"""How the scene of a video moves from frame to frame: optical flow, and how far to trust it."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from nst_rt.images.io import Frame
from nst_rt.metrics.flow import (
    LEAST_SIDE,
    Field,
    Gray,
    Image,
    Mask,
    consistent,
    estimated_flow,
    interpolated,
    moved,
)

FOUND = 25  # trust, of 255, from which a place counts as found again

# Flow is estimated on a small image of each frame.
_FLOW_SIDE = 144  # pixels of the small image's short side
_STILL = 0.05  # pixels of the small image; flow up to this is noise
_UNCHANGED = 12  # levels of difference that noise may cause in the small image
_AROUND = np.ones((3, 3), np.uint8)  # neighborhood in which a pixel must be unchanged
_BLEEDS = np.ones((5, 5), np.uint8)  # how far flow bleeds over edges in the small image

# Trust in a place, of 255, by how many levels its brightness differs from before: where it differs
# by much more than 16 levels, it is another place.
_ALIKE = np.array([255 * np.exp(-((d / 16.0) ** 2)) for d in range(256)]).astype(np.uint8)
_FADE = 20.0  # levels of overall change per frame; frames that change more have little in common
_CUT = 0.35  # fraction of the frame that must be found again, else the scene is another one

# Regions whose flow is noise, see `_noisy_regions`.
_FLAT = 40  # slope of brightness (Sobel) below which a place is flat, and flow finds nothing there
_LARGE = 0.05  # fraction of the image from which a region is large enough to be judged
_CONSISTENT = 0.85  # fraction of a region with consistent flow, below which the flow is noise
_VARIES = 0.7  # median deviation of the flow over the median flow, above which it may be noise
_UNEXPLAINED = 0.93  # fraction of the change that the flow leaves unexplained, if it is noise
_SPECK = 30  # pixels; smaller holes in such a region are single noisy pixels, dilated

# Places beside something that moves on its own, see `_beside_motion`.
_CELL = 4  # pixels of the small image a side, at which motion is compared
_NEAR = np.ones((7, 7), np.uint8)  # neighborhood, in cells
_PASSES = 1.0  # pixels of the small image that motion differs by near something that moves


@dataclass(frozen=True)
class View:
    """What the tracker looks at of a frame.

    Attributes:
        half: brightness at half the size of the frame.
        colors: the small image, BGR.
    """

    half: Gray
    colors: Frame

    @cached_property
    def small(self) -> Gray:
        """Brightness of the small image."""
        return np.asarray(cv2.cvtColor(self.colors, cv2.COLOR_BGR2GRAY), np.uint8)

    def resized(self, other: "View") -> "View":
        """This view at the size of another one."""
        half = interpolated(self.half, other.half.shape)
        return View(half, interpolated(self.colors, other.colors.shape))


@dataclass(frozen=True)
class Motion:
    """Motion since the previous frame.

    Attributes:
        back: flow to the previous frame, at the size of the small image.
        trust: how certain it is that a place shows what the flow says it showed before, of 255, at
            half size.
        beside: places near something that moves on its own, at the size of the small image.
        fade: levels by which the whole frame became brighter.
    """

    back: Field
    trust: Gray
    beside: Mask
    fade: float

    @property
    def camera_moves(self) -> bool:
        """Whether most places moved."""
        moves = self.back.any(-1)
        return bool(np.count_nonzero(moves) > moves.size / 2)


class Buffers:
    """Named arrays that are reused for each frame.

    Fresh arrays cost more than what is computed in them, since the system provides their memory
    page by page: warping a frame of 1280x720 px took 11 ms with them, and 4 ms without.
    """

    def __init__(self) -> None:
        self._arrays: dict[str, npt.NDArray[Any]] = {}

    def __call__(
        self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike = np.uint8
    ) -> npt.NDArray[Any]:
        """The array of that name, with arbitrary content."""
        array = self._arrays.get(name)
        if array is None or array.shape != shape:
            array = self._arrays[name] = np.empty(shape, dtype)
        return array


class Tracker:
    """Follows the scene of one video."""

    def __init__(self) -> None:
        # Patches down to the full size of the small image separate moving edges far better than
        # patches down to half of a larger image, in the same time.
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self._flow.setFinestScale(0)
        self._flow.setPatchStride(5)
        self._flow.setGradientDescentIterations(8)
        self._flow.setVariationalRefinementIterations(3)
        self._buffer = Buffers()

    def view(self, frame: Frame) -> View:
        """The view of a frame, shape (H, W, 3), uint8 BGR."""
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
        """Motion since the previous frame, of the same size; None at a cut.

        A place is trusted where it stands still, or where forward and backward flow agree; and then
        by how little its brightness differs, apart from the fade of the whole frame.
        """
        small = now.small
        back = estimated_flow(self._flow, small, last.small)
        there = estimated_flow(self._flow, last.small, small)
        motion = np.maximum(*np.abs(cv2.split(back)))
        shift = np.abs(np.median(back[::4, ::4], axis=(0, 1))).max()
        camera_is_still = shift <= _STILL and np.median(motion[::4, ::4]) <= 2 * _STILL
        fade = float(np.median(small.astype(np.int16) - last.small))
        changes = cv2.absdiff(_brighter(last.colors, fade), now.colors).max(-1)
        unchanged = cv2.dilate(changes, _AROUND) <= _UNCHANGED
        found = consistent(back, there)
        # While the camera is still, pixels that look unchanged are static, whatever the flow says.
        still = unchanged & (camera_is_still | (motion <= _STILL))
        still |= _noisy_regions(unchanged, found, back, _brighter(last.small, fade), small)
        back[still] = 0  # else what is kept would be interpolated again and again
        trust = cv2.erode((still | found).astype(np.uint8) * 255, _BLEEDS)
        trust[still] = 255
        before = _brighter(self.moved("gray", last.half, back), fade)
        alike = cv2.LUT(cv2.absdiff(before, now.half), _ALIKE)
        in_common = np.exp(-((fade / _FADE) ** 2))
        trust = cv2.multiply(interpolated(trust, now.half.shape), alike, scale=in_common / 255)
        if np.count_nonzero(trust > FOUND) < _CUT * trust.size:
            return None
        return Motion(back, np.asarray(trust, np.uint8), _beside_motion(back), fade)

    def moved(self, name: str, image: Image, back: Field) -> Image:
        """See `nst_rt.metrics.flow.moved`; in buffers of that name."""
        field = self._buffer(f"{name}, field", (*image.shape[:2], 2), np.float32)
        return moved(image, back, field=field, output=self._buffer(name, image.shape))


def _brighter(image: Image, levels: float) -> Image:
    """An image with all levels raised, or lowered if `levels` is negative."""
    return np.clip(image.astype(np.int16) + round(levels), 0, 255).astype(np.uint8)


def _beside_motion(back: Field) -> Mask:
    """Whether motion differs within the neighborhood."""
    cells = np.ascontiguousarray(back[::_CELL, ::_CELL])
    differs = (cv2.dilate(cells, _NEAR) - cv2.erode(cells, _NEAR)).max(-1) > _PASSES
    return interpolated(differs.astype(np.uint8), back.shape).astype(np.bool_)


def _noisy_regions(unchanged: Mask, found: Mask, back: Field, before: Gray, now: Gray) -> Mask:
    """Connected unchanged regions whose flow is noise in their flat places: they stand still.

    A road is such a region while the camera adapts its exposure, but the roof of a car on it is
    not. Flow is noise where it is inconsistent, or varies and explains hardly any of the change.
    """
    count, regions = cv2.connectedComponents(unchanged.astype(np.uint8))
    flat = unchanged & (cv2.dilate(_slope(now), _BLEEDS) < _FLAT)
    sampled = np.s_[::2, ::2]  # enough to judge large regions
    labels = np.where(flat, regions, 0)[sampled]
    is_noise = np.zeros(count, np.bool_)
    change, left = (cv2.absdiff(p, now)[sampled] for p in (before, moved(before, back)))
    for region in 1 + np.flatnonzero(np.bincount(labels.ravel())[1:] >= _LARGE * labels.size):
        where = labels == region
        flow = back[sampled][where]
        middle = np.median(flow, axis=0)
        varies = np.median(np.abs(flow - middle).max(-1)) > _VARIES * np.abs(middle).max()
        unexplained = left[where].mean() > _UNEXPLAINED * change[where].mean()
        is_noise[region] = found[sampled][where].mean() < _CONSISTENT or (varies and unexplained)
    # Specks within them, single pixels that noise changed, stand still as well.
    others = np.uint8(1) - is_noise[regions]
    _, labels, sizes, _ = cv2.connectedComponentsWithStats(others)
    return np.asarray((others == 0) | (sizes[:, cv2.CC_STAT_AREA] <= _SPECK)[labels], np.bool_)


def _slope(gray: Gray) -> npt.NDArray[np.int16]:
    """How steeply the brightness changes from pixel to pixel."""
    x, y = (cv2.Sobel(gray, cv2.CV_16S, *direction) for direction in ((1, 0), (0, 1)))
    return np.asarray(np.abs(x) + np.abs(y), np.int16)
