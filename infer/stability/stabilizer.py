"""Calm videos: what was painted before moves along with the scene, and is kept where it can be.

As in Ruder et al. 2016, without their optimization: the optical flow of the input says where each
place was in the last frame, and what was painted there then is mixed into what is painted now.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import cv2
import numpy as np
import numpy.typing as npt

from nst_rt.errors import InputError
from nst_rt.images.io import Frame
from nst_rt.infer.postprocess import mixed
from nst_rt.infer.stability.detail import around, details, with_details
from nst_rt.infer.stability.tracking import FOUND, Buffers, Motion, Tracker, View
from nst_rt.metrics.flow import Gray, Mask, resized

DEFAULT_STABILITY = 0.95

_MOVES = 5  # frames per second, from which on pictures are a motion
_KEEP = 0.98  # of the last output at full stability: strokes that never change would wear out
_BESIDE = 10  # frames that count beside what moves, where networks draw halos
_PASSED = 3  # frames that count when it has passed, and the halo with it
_LASTS = 5  # frames in a row, from which on something moves, which noise does not for as long
_SETTLED = 40  # frames after which a place is left alone while the picture fades
_ALWAYS = 255  # frames that a place counts as seen for, when all begins
_WORN = (0.25, 0.5)  # of the fine detail of what is painted now: nothing is kept, or all of it

_LAYER = "layer "  # and its number, in a state
# Levels that the output comes nearer to what is painted at least, by how many it differs by.
_LEAST = np.array([0, 0, 0] + [1] * 253, np.uint8)


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
        view: what its input looked like.
        output: with a fourth channel, since OpenCV interpolates four in half the time of three.
        seen: for how many frames each place was followed, at the small size of the view.
        beside: for how many frames in a row it was beside what moves, likewise.
        layers: what it was mixed of, by name, if they may be asked for.
    """

    view: View
    output: Frame
    seen: Gray
    beside: Gray
    layers: dict[Hashable, Frame] = field(default_factory=dict)


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
        self._tracker = Tracker()
        self._last: _Last | None = None
        self._buffer = Buffers()

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
        return {
            "gray": last.view.half.copy(),
            "colors": last.view.colors.copy(),
            "output": last.output[..., :3].copy(),
            "seen": last.seen.copy(),
            "beside": last.beside.copy(),
            **layers,
        }

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
            view = View(state["gray"].copy(), state["colors"].copy())
            output = _four_channels(state["output"])
            seen, beside = state["seen"].copy(), state["beside"].copy()
            self._last = _Last(view, output, seen, beside, layers)

    def steady(self, frame: Frame, stylized: Frame, *, valid: float = 1.0) -> Frame:
        """Steady a frame of the video.

        Args:
            frame: of the input, shape (H, W, 3), uint8 BGR.
            painted: what was made of it, same shape.
            valid: how much of the last output may be kept, from 0 to 1; less while the style
                changes.

        Returns:
            Same shape; `stylized` itself where there is nothing to keep.
        """
        return self.steady_layers(frame, [Layer("", 1.0, lambda: stylized)], valid=valid)

    def steady_layers(self, frame: Frame, layers: Sequence[Layer], *, valid: float = 1.0) -> Frame:
        """Steady a frame of which several networks paint a layer each, and not all in each frame.

        Args:
            frame, valid: see `steady`.
            layers: at least one.

        Returns:
            Same shape: the mean of the layers, with what is kept of the last output.
        """
        view = self._tracker.view(frame)
        last, most = self._last, _KEEP * self.stability * valid
        if last is not None and last.view.half.shape != view.half.shape:
            last = _resized(last, view, frame)
        motion = None
        if last is not None and (most > 0 or not all(layer.due for layer in layers)):
            motion = self._tracker.motion(last.view, view)
        if last is None or motion is None:
            pictures = {layer.name: layer.picture() for layer in layers}
            seen = np.full_like(view.small, _ALWAYS)
            beside = np.zeros_like(seen)
        else:
            pictures = self._layers(layers, last, motion)
            seen, beside = self._seen(last, motion)
        stylized = mixed([(pictures[layer.name], layer.share) for layer in layers])
        if last is not None and motion is not None and most > 0:
            late = np.uint8(len(layers) - 1)  # frames, until the last of them had its turn
            stylized = self._mixed(last, motion, stylized, most, np.maximum(seen, late) - late)
        # A copy, since the caller may draw on it.
        output = _four_channels(stylized, self._buffer("output", (*stylized.shape[:2], 4)))
        if self.stability > 0:
            kept = {n: p.copy() if p is stylized else p for n, p in pictures.items()}
        else:
            kept = {}
        self._last = _Last(view, output, seen, beside, kept)
        return stylized

    def _layers(
        self, layers: Sequence[Layer], last: _Last, motion: Motion
    ) -> dict[Hashable, Frame]:
        """What is painted now, or was in the last frame and came along."""
        asked = [layer for layer in layers if layer.due or layer.name not in last.layers]
        pictures = {layer.name: layer.picture() for layer in asked}
        fresh = next(iter(pictures.values()), None)
        for layer in layers:
            if layer.name not in pictures:
                before = last.layers[layer.name]
                before = _four_channels(before, self._buffer("before", (*before.shape[:2], 4)))
                moved = self._tracker.moved("moved", before, motion.back)
                come = np.asarray(cv2.cvtColor(moved, cv2.COLOR_BGRA2BGR), np.uint8)
                new = resized(motion.share, come.shape) == 0
                if fresh is not None and new.any():  # what the last frame did not show
                    come[new] = _in_colors_of(come, fresh, ~new)[new]
                pictures[layer.name] = come
        return {layer.name: pictures[layer.name] for layer in layers}  # `state` counts on the order

    def _seen(self, last: _Last, motion: Motion) -> tuple[Gray, Gray]:
        """For how many frames each place counts as followed, and has been beside what moves.

        Few frames count where something moves by.
        """
        seen, before = (
            np.asarray(np.minimum(self._tracker.moved(name, frames, motion.back), _ALWAYS - 1) + 1)
            for name, frames in (("seen", last.seen), ("beside", last.beside))
        )
        seen[resized(motion.share, seen.shape) <= FOUND] = 0
        beside = np.where(motion.beside, before, 0).astype(np.uint8)
        passed = (before > _LASTS) & ~motion.beside
        for where, most in ((beside >= _LASTS, _BESIDE), (passed, _PASSED)):
            seen[where] = np.minimum(seen[where], most)
        return seen, beside

    def _mixed(
        self, last: _Last, motion: Motion, stylized: Frame, most: float, seen: Gray
    ) -> Frame:
        """What is painted now, with the last output, at most so much, where it still holds."""
        shape = stylized.shape
        kept, other = (self._buffer(name, shape) for name in ("kept", "other"))
        moved = self._tracker.moved("moved", last.output, motion.back)
        kept = np.asarray(cv2.cvtColor(moved, cv2.COLOR_BGRA2BGR, dst=kept), np.uint8)
        fading = 1 - float(np.exp(-(motion.fade**2)))
        share = cv2.multiply(
            motion.share,
            resized(cv2.LUT(seen, _kept_by_age(most, fading)), motion.share.shape),
            scale=1 / 255,
        )
        keep = cv2.resize(share, shape[1::-1], dst=self._buffer("keep", shape[:2]))
        kept = self._faded(kept, stylized, np.asarray(keep, np.uint8), fading)
        wanted = list(details(stylized))
        keep = cv2.multiply(keep, self._unworn(kept, wanted[0]), dst=keep, scale=1 / 255)
        taken = cv2.cvtColor(cv2.bitwise_not(keep, dst=keep), cv2.COLOR_GRAY2BGR, dst=other)
        change, least = (self._buffer(name, shape) for name in ("change", "least"))
        result = kept.copy()
        for brighter, darker, add in (
            (stylized, kept, cv2.add),
            (kept, stylized, cv2.subtract),
        ):
            cv2.subtract(brighter, darker, dst=change)
            # A small share of a small change rounds to nothing, and what was there would stay.
            cv2.LUT(change, _LEAST, dst=least)
            cv2.multiply(change, taken, dst=change, scale=1 / 255)
            add(result, cv2.max(change, least, dst=change), dst=result)
        return with_details(result, wanted, self._buffer, blurred=motion.camera_moves)

    def _faded(self, kept: Frame, stylized: Frame, keep: Gray, fading: float) -> Frame:
        """What is kept, in the brightness and contrast of what is painted now, as far as it fades.

        Strokes stay then while a camera adapts its exposure, and brightness does not lag behind.
        """
        if fading == 0:
            return kept
        holds = (keep > FOUND).astype(np.uint8)
        (mean, deviation), (wanted, contrast) = (
            [number.ravel() for number in cv2.meanStdDev(image, mask=holds)]
            for image in (kept, stylized)
        )
        levels = np.arange(256)[:, None]
        faded = wanted + contrast / np.maximum(deviation, 1) * (levels - mean)
        table = np.rint(levels + fading * (faded - levels)).clip(0, 255).astype(np.uint8)
        return np.asarray(cv2.LUT(kept, table[None], dst=kept), np.uint8)

    def _unworn(self, kept: Frame, wanted: Gray) -> Gray:
        """Where what is kept has still got strokes, of 255; elsewhere they are painted anew.

        Beside something that moves the flow of what is flat is wrong, and wipes strokes off.
        """
        here, there = (
            1 + around(np.ascontiguousarray(detail[::2, ::2]), kept.shape, 3)
            for detail in (next(details(kept)), wanted)
        )
        ratio = here / there
        least, enough = _WORN
        share = np.clip((ratio - least) / (enough - least), 0, 1)
        return resized((255 * share).astype(np.uint8), kept.shape)


def _kept_by_age(most: float, fading: float) -> Gray:
    """Share that is kept, of 255, by for how many frames a place was followed.

    At first what is shown is the mean of all of them (as in Schied et al. 2017), so that
    what networks draw around a thing that passes does not stay behind as a trail. During a fade
    what is painted is another picture in each frame: mixed in, they would wipe out all strokes.
    """
    age = np.arange(256)
    held = 1 - (1 - most) * (1 - most * fading)
    share = np.minimum(np.where(age < _SETTLED, most, held), age / (age + 1))
    return np.asarray(np.rint(255 * share), np.uint8)


def _resized(last: _Last, view: View, frame: Frame) -> _Last:
    """What is remembered, at another size: strokes of a new size fade in then, and do not jump."""
    output = resized(last.output, frame.shape)
    layers = {name: resized(layer, frame.shape) for name, layer in last.layers.items()}
    seen = resized(last.seen, view.small.shape)
    beside = resized(last.beside, seen.shape)
    return _Last(last.view.resized(view), output, seen, beside, layers)


def _in_colors_of(image: Frame, other: Frame, known: Mask) -> Frame:
    """Another image in the colors that this one has nearby, as far as it is known."""
    mask = known.astype(np.uint8) * 255
    here, there, share = (
        around(x, known.shape, 5) for x in (cv2.copyTo(image, mask), cv2.copyTo(other, mask), mask)
    )
    change = (here - there) / np.maximum(share / 255, 0.01)[..., None]
    return np.asarray(np.clip(other + resized(change, known.shape), 0, 255), np.uint8)


def _four_channels(frame: Frame, output: Frame | None = None) -> Frame:
    return np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2BGRA, dst=output), np.uint8)
