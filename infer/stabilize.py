"""Calm videos: what was painted before moves along with the scene, and is kept where it can be.

As in Ruder et al. 2016, without their optimization: the optical flow of the input says where each
place was in the last frame, and what was painted there then is mixed into what is painted now.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from nst_rt.errors import InputError
from nst_rt.flow import (
    LEAST_SIDE,
    Correspondence,
    Field,
    Grey,
    Image,
    consistent,
    estimated_flow,
    moved,
    pixel_grid,
    resized,
)
from nst_rt.images import Frame
from nst_rt.infer.looks import mixed

DEFAULT_STABILITY = 0.95

_MOVES = 5  # frames per second, from which on pictures are a motion
_FLOW_SIDE = 180  # pixels of the short side that the flow is estimated at
_KEEP = 0.98  # of the last output at full stability: strokes that never change would wear out
_STILL = 0.05  # pixels of the small picture that count as no motion, which noise has too
_UNCHANGED = 4  # levels of brightness that noise may make in the small picture
_BRIGHTNESS = 10.0  # levels; where the brightness differs by more, it is another place
_FADE = 3.0  # levels that the whole picture may become brighter or darker by from frame to frame
_FOUND = 25  # of 255, the least share of a place that was found again
_CUT = 0.35  # of the picture that must be found again, or the scene is another one
# Fine detail is what differs from the mean of so many pixels a side, coarse detail that from the
# mean of more; thin strokes are the one, thick ones the other.
_DETAIL = (7, 25)
_SAMPLED = 4  # one row of so many tells how much there is
_MOST_DETAIL = 1.0  # that a frame gets back, as a share of what it has

_LAYER = "layer "  # and its number, in a state
_AROUND = np.ones((3, 3), np.uint8)
_BLEEDS = np.ones((5, 5), np.uint8)  # how far flow bleeds over edges in the small picture
# Levels that the output comes nearer to what is painted at least, by how many it differs by.
_LEAST = np.array([0, 0, 0] + [1] * 253, np.uint8)
# Share that is kept, of 255, by how many levels the brightness differs.
_ALIKE = np.array([255 * np.exp(-((d / _BRIGHTNESS) ** 2)) for d in range(256)]).astype(np.uint8)


def stabilizer_for(stability: float | None, rate: Fraction | float) -> "Stabilizer | None":
    """The stabilizer of a video, or none.

    Slides and time lapses, whose frames come more slowly than 5 a second, are single pictures to
    the eye: they have none unless it is asked for.

    Args:
        stability: from 0 (none) to 1; by default `DEFAULT_STABILITY` where the video moves.
        rate: frames per second.

    Raises:
        InputError: a stability out of its range.
    """
    if stability is None:
        return Stabilizer() if rate >= _MOVES else None
    check_stability(stability)
    return Stabilizer(stability) if stability else None


def check_stability(stability: float) -> None:
    """Raise an InputError unless a stability is from 0 to 1."""
    if not 0 <= stability <= 1:
        raise InputError(f"stability must be between 0 and 1, not {stability:g}")


@dataclass(frozen=True)
class Layer:
    """What is painted of a frame by one of several networks, the mean of which is shown.

    Attributes:
        name: what it is known by from frame to frame.
        share: of it in what is shown.
        picture: gives it, shape (H, W, 3), uint8 BGR, in the time that the network takes.
        due: whether it is to be asked for; else that of the last frame is moved along instead,
            where there is one.
    """

    name: Hashable
    share: float
    picture: Callable[[], Frame]
    due: bool = True


@dataclass(frozen=True)
class _Last:
    """What is remembered of the frame before.

    Attributes:
        grey, small: its brightness in two sizes.
        output: with a fourth channel, since OpenCV interpolates four in half the time of three.
        layers: what it was mixed of, by name, if they may be asked for.
    """

    grey: Grey
    small: Grey
    output: Frame
    layers: dict[Hashable, Frame] = field(default_factory=dict)


class _Buffers:
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


class Stabilizer:
    """Steadies the frames of one video, in order.

    It starts over at cuts, and where the last frame does not show a place it leaves what was
    painted as it is.

    Args:
        stability: see the attribute.

    Raises:
        InputError: a stability out of its range.
    """

    def __init__(self, stability: float = DEFAULT_STABILITY) -> None:
        self.stability = stability
        # Patches down to half of the small picture's size: as near to the true flow as patches of
        # its full size are at half of its size, in less time.
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self._flow.setFinestScale(1)
        self._flow.setVariationalRefinementIterations(3)
        self._last: _Last | None = None
        self._buffer = _Buffers()

    @property
    def stability(self) -> float:
        """How much of what was painted before is kept, from 0 (nothing) to 1 (all but all).

        It may be set at any time, and holds from the next frame on.
        """
        return self._stability

    @stability.setter
    def stability(self, stability: float) -> None:
        check_stability(stability)
        self._stability = stability

    def reset(self) -> None:
        """Forget what came before."""
        self._last = None

    def state(self) -> dict[str, npt.NDArray[np.uint8]]:
        """What it remembers, for `restore`: the frames after it are steadied the same."""
        last = self._last
        if last is None:
            return {}
        layers = {f"{_LAYER}{n}": layer for n, layer in enumerate(last.layers.values())}
        return {"grey": last.grey.copy(), "output": last.output[..., :3].copy(), **layers}

    @property
    def output(self) -> Frame | None:
        """A copy of what it made of the last frame, None before the first."""
        return None if self._last is None else self._last.output[..., :3].copy()

    def restore(
        self, state: Mapping[str, npt.NDArray[np.uint8]], names: Sequence[Hashable] = ()
    ) -> None:
        """Go on from a `state`, in which the layers have these names."""
        self._last = None
        if state:
            known = ((name, state.get(f"{_LAYER}{n}")) for n, name in enumerate(names))
            layers = {name: layer for name, layer in known if layer is not None}
            grey = state["grey"].copy()
            self._last = _Last(grey, _small(grey), _four_channels(state["output"]), layers)

    def steady(self, frame: Frame, painted: Frame, *, valid: float = 1.0) -> Frame:
        """Steady a frame of the video.

        Args:
            frame: of the input, shape (H, W, 3), uint8 BGR.
            painted: what was made of it, same shape.
            valid: how much of the last output may be kept, from 0 to 1; less while the style
                changes.

        Returns:
            Same shape; `painted` itself where there is nothing to keep.
        """
        return self.steady_layers(frame, [Layer("", 1.0, lambda: painted)], valid=valid)

    def steady_layers(self, frame: Frame, layers: Sequence[Layer], *, valid: float = 1.0) -> Frame:
        """Steady a frame of which several networks paint a layer each, and not all in each frame.

        Args:
            frame, valid: see `steady`.
            layers: at least one.

        Returns:
            Same shape: the mean of the layers, with what is kept of the last output.
        """
        grey = self._halved(frame)
        small = _small(grey)
        last, most = self._last, _KEEP * self.stability * valid
        if last is not None and last.grey.shape != grey.shape:
            last = _resized(last, grey, frame)
        found = None
        if last is not None and (most > 0 or not all(layer.due for layer in layers)):
            found = self._found(last, grey, small)
        if found is None or last is None:
            pictures = {layer.name: layer.picture() for layer in layers}
        else:
            pictures = {layer.name: self._layer(layer, last, found[0]) for layer in layers}
        painted = mixed([(pictures[layer.name], layer.share) for layer in layers])
        if found is not None and last is not None and most > 0:
            painted = self._mixed(last, *found, painted, most)
        # A copy, since the caller may draw on it.
        output = _four_channels(painted, self._buffer("output", (*painted.shape[:2], 4)))
        if self.stability > 0:
            kept = {n: p.copy() if p is painted else p for n, p in pictures.items()}
        else:
            kept = {}
        self._last = _Last(grey, small, output, kept)
        return painted

    def _layer(self, layer: Layer, last: _Last, back: Field) -> Frame:
        """What is painted now, or was in the last frame and came along."""
        before = last.layers.get(layer.name)
        if layer.due or before is None:
            return layer.picture()
        before = _four_channels(before, self._buffer("before", (*before.shape[:2], 4)))
        come = cv2.cvtColor(self._moved("moved", before, back), cv2.COLOR_BGRA2BGR)
        return np.asarray(come, np.uint8)

    def _mixed(self, last: _Last, back: Field, share: Grey, painted: Frame, most: float) -> Frame:
        """What is painted now, with the last output, at most so much, where it still holds."""
        kept, other = (self._buffer(name, painted.shape) for name in ("kept", "other"))
        cv2.cvtColor(self._moved("moved", last.output, back), cv2.COLOR_BGRA2BGR, dst=kept)
        kept = self._detailed(kept, painted)
        keep = cv2.resize(share, painted.shape[1::-1], dst=self._buffer("keep", painted.shape[:2]))
        cv2.convertScaleAbs(keep, dst=keep, alpha=most)
        taken = cv2.cvtColor(cv2.bitwise_not(keep, dst=keep), cv2.COLOR_GRAY2BGR, dst=other)
        change, least = (self._buffer(name, painted.shape) for name in ("change", "least"))
        result = kept.copy()
        for brighter, darker, add in (
            (painted, kept, cv2.add),
            (kept, painted, cv2.subtract),
        ):
            cv2.subtract(brighter, darker, dst=change)
            # A small share of a small change rounds to nothing, and what was there would stay.
            cv2.LUT(change, _LEAST, dst=least)
            cv2.multiply(change, taken, dst=change, scale=1 / 255)
            add(result, cv2.max(change, least, dst=change), dst=result)
        return np.asarray(result, np.uint8)

    def _detailed(self, kept: Frame, painted: Frame) -> Frame:
        """What is kept, sharpened until it has as much detail as what is painted now.

        Interpolating and mixing take some away, frame by frame; sharpening by a fixed amount would
        give back too little or too much, which adds up as well.
        """
        levels = [kept, *(self._smooth("kept", kept, side) for side in _DETAIL)]
        wanted = [painted, *(self._smooth("painted", painted, side) for side in _DETAIL)]

        def detail(band: tuple[Frame, Frame]) -> float:
            rows = (image[::_SAMPLED] for image in band)
            return 1 + sum(cv2.mean(cv2.absdiff(*rows)))

        fine, coarse = (
            min(max(detail(there) / detail(here) - 1, 0), _MOST_DETAIL)
            for here, there in zip(pairwise(levels), pairwise(wanted), strict=True)
        )
        shape = kept.shape
        fine_added, coarse_added = (self._buffer(n, shape, np.int16) for n in ("fine", "coarse"))
        cv2.addWeighted(kept, 1 + fine, levels[1], -fine, 0, dst=fine_added, dtype=cv2.CV_16S)
        cv2.addWeighted(
            levels[1], coarse, levels[2], -coarse, 0, dst=coarse_added, dtype=cv2.CV_16S
        )
        sharpened = cv2.add(fine_added, coarse_added, dst=kept, dtype=cv2.CV_8U)
        return np.asarray(sharpened, np.uint8)

    def _smooth(self, name: str, image: Frame, side: int) -> Frame:
        smooth = self._buffer(f"{name}, smooth {side}", image.shape)
        return np.asarray(cv2.blur(image, (side, side), dst=smooth), np.uint8)

    def correspondence(self, before: Frame, now: Frame) -> Correspondence:
        """What it goes by between two frames, scaled up to their size; nothing is remembered."""
        last, grey = self._halved(before), self._halved(now)
        found = self._found(_Last(last, _small(last), before), grey, _small(grey))
        if found is None:
            return Correspondence(pixel_grid(*now.shape[:2]), np.zeros(now.shape[:2], np.bool_))
        back, keep = found
        scale = np.divide(now.shape[1::-1], back.shape[1::-1], dtype=np.float32)
        positions = resized(back * scale, now.shape) + pixel_grid(*now.shape[:2])
        return Correspondence(positions, resized(keep, now.shape) > 0)

    def _found(self, last: _Last, grey: Grey, small: Grey) -> tuple[Field, Grey] | None:
        """Where each pixel was relative to where it is, and what share of it holds; None at a cut.

        The flow is at the small size; the share, of 255, at half size.
        """
        back = estimated_flow(self._flow, small, last.small)
        there = estimated_flow(self._flow, last.small, small)
        motion = np.maximum(*np.abs(cv2.split(back)))
        # While the camera stands, what looks the same is, whatever the flow of flat places says.
        shift = np.abs(np.median(back[::4, ::4], axis=(0, 1))).max()
        camera_stands = shift <= _STILL and np.median(motion[::4, ::4]) <= 2 * _STILL
        changes = cv2.dilate(cv2.absdiff(last.small, small), _AROUND)
        still = (changes <= _UNCHANGED) & (camera_stands | (motion <= _STILL))
        found = consistent(back, there)
        back[still] = 0  # or what is held would be interpolated again and again
        share = cv2.erode((still | found).astype(np.uint8) * 255, _BLEEDS)
        before = self._moved("grey", last.grey, back)
        alike = cv2.LUT(cv2.absdiff(before, grey), _ALIKE)
        # A fade of the whole picture must not lag behind.
        fade = float(np.median(grey[::8, ::8].astype(np.int16) - before[::8, ::8]))
        steady = np.exp(-((fade / _FADE) ** 2))
        keep = cv2.multiply(resized(share, grey.shape), alike, scale=steady / 255)
        if np.count_nonzero(keep > _FOUND) < _CUT * keep.size:
            return None
        return back, np.asarray(keep, np.uint8)

    def _moved(self, name: str, image: Image, back: Field) -> Image:
        """See `moved`; in buffers of that name."""
        field = self._buffer(f"{name}, field", (*image.shape[:2], 2), np.float32)
        return moved(image, back, field=field, output=self._buffer(name, image.shape))

    def _halved(self, frame: Frame) -> Grey:
        """Brightness, at half the size."""
        height, width = frame.shape[:2]
        grey = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY, dst=self._buffer("bright", frame.shape[:2]))
        size = (width + 1) // 2, (height + 1) // 2
        return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8)


def _resized(last: _Last, grey: Grey, frame: Frame) -> _Last:
    """What is remembered, at another size: strokes of a new size fade in then, and do not jump."""
    before, output = resized(last.grey, grey.shape), resized(last.output, frame.shape)
    layers = {name: resized(layer, frame.shape) for name, layer in last.layers.items()}
    return _Last(before, _small(before), output, layers)


def _four_channels(frame: Frame, output: Frame | None = None) -> Frame:
    return np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2BGRA, dst=output), np.uint8)


def _small(grey: Grey) -> Grey:
    """Small enough to estimate flow on."""
    height, width = grey.shape
    scale = min(_FLOW_SIDE / min(height, width), 1)
    size = max(round(width * scale), LEAST_SIDE), max(round(height * scale), LEAST_SIDE)
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8)
