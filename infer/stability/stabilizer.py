"""The stabilizer: strokes move along with the scene, instead of being new in every frame.

It follows Ruder et al. 2016 (Artistic Style Transfer for Videos) without their optimization. They
optimize each frame toward the previous stylized frame, warped along the optical flow, wherever the
flow can be trusted. Here a network has stylized the frame already, and the warped previous output
is blended into what the network made of it, pixel by pixel:

    output[t] = keep * warp(output[t-1]) + (1 - keep) * network(frame[t])

What is kept is the product of three factors:

- trust (`tracking.py`): the flow is consistent, and the brightness is what it was. It is 0 where
  the previous frame does not show the place, and at a cut everything starts over.
- age: a place followed for n frames keeps n / (n + 1), so that the output is the mean of all of
  them (as in Schied et al. 2017), up to `stability`. Networks draw halos around things; so that
  halos do not stay behind as trails, places beside something that moves are kept young.
- wear: beside moving things the flow of flat places is wrong, and wipes strokes off. Nothing is
  kept where the warped output has lost its fine detail, so that new strokes take their place.

Two corrections are made. While the light of the whole frame changes, the warped output first gets
the brightness and contrast of the new one, so that strokes stay and brightness does not lag. In the
end the result is sharpened to the detail that the network's output has (`detail.py`), since warping
and averaging blur.

If several networks share a frame (a blend) and take turns, the outputs of those that do not run are
warped from the previous frame in the same way.
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
from nst_rt.infer.stability.detail import cell_means, details, with_details
from nst_rt.infer.stability.tracking import FOUND, Buffers, Motion, Tracker, View
from nst_rt.metrics.flow import Gray, Mask, interpolated

DEFAULT_STABILITY = 0.95

_MIN_RATE = 5  # frames per second; slower videos, such as slides, are single pictures to the eye
_MAX_KEPT = 0.98  # fraction kept at stability 1; strokes that are never renewed would wear out
_WORN = (0.25, 0.5)  # kept detail over new detail: below, nothing is kept; above, everything

# Ages are numbers of frames for which a place has been followed.
_OLD = 255  # age of all places in a first frame; also the largest age
_MAX_AGE_BESIDE = 10  # beside something that moves
_MAX_AGE_PASSED = 3  # where it has just passed, and its halo with it
_LASTS = 5  # frames beside motion that make it something that moves; noise is shorter
_SETTLED = 40  # age from which a place is kept whole while the light of the frame changes

_LAYER = "layer "  # key of a layer in a state, followed by its number
# Minimum step toward the new output by the difference to it, both in levels: a small fraction of a
# small difference rounds to nothing, and the old output would stay forever.
_MIN_STEP = np.array([0, 0, 0] + [1] * 253, np.uint8)


def stabilizer_for(stability: float | None, rate: Fraction | float) -> "Stabilizer | None":
    """The stabilizer for a video, or None.

    Args:
        stability: from 0 (none) to 1; by default `DEFAULT_STABILITY`, but none for slides and time
            lapses, whose frames come more slowly than 5 a second.
        rate: frames per second.

    Raises:
        InputError: the stability is out of range.
    """
    if stability is None:
        return Stabilizer() if rate >= _MIN_RATE else None
    check_stability(stability)
    return Stabilizer(stability) if stability else None


def check_stability(stability: float) -> None:
    """Raise an InputError unless a stability is from 0 to 1."""
    if not 0 <= stability <= 1:
        raise InputError(f"`stability` must be between 0 and 1, not {stability:g}")


@dataclass(frozen=True)
class Layer:
    """One of several networks that share a frame; the output is the weighted mean of the layers.

    Attributes:
        name: identifies the layer from frame to frame.
        share: weight in the mean.
        picture: runs the network; returns shape (H, W, 3), uint8 BGR.
        due: whether it runs for this frame; otherwise its output of the previous frame is warped,
            if there is one.
    """

    name: Hashable
    share: float
    picture: Callable[[], Frame]
    due: bool = True


@dataclass(frozen=True)
class _Last:
    """What is remembered of the previous frame.

    Attributes:
        view: what its input looked like.
        output: with a fourth channel, since OpenCV warps four in half the time of three.
        age: number of frames for which each place was followed, at the size of the small image.
        beside: number of frames in a row for which it was beside something that moves, likewise.
        layers: outputs of the layers by name, where they may be needed.
    """

    view: View
    output: Frame
    age: Gray
    beside: Gray
    layers: dict[Hashable, Frame] = field(default_factory=dict)

    def resized(self, view: View, frame: Frame) -> "_Last":
        """At the size of a new frame: strokes of another size fade in instead of jumping."""
        return _Last(
            self.view.resized(view),
            interpolated(self.output, frame.shape),
            interpolated(self.age, view.small.shape),
            interpolated(self.beside, view.small.shape),
            {name: interpolated(layer, frame.shape) for name, layer in self.layers.items()},
        )


class Stabilizer:
    """Stabilizes the stylized frames of one video, in order.

    Raises:
        InputError: the stability is out of range.
    """

    def __init__(self, stability: float = DEFAULT_STABILITY) -> None:
        self.stability = stability
        self._tracker = Tracker()
        self._last: _Last | None = None
        self._buffer = Buffers()

    @property
    def stability(self) -> float:
        """How much of the previous output is kept, from 0 (nothing) to 1 (almost everything).

        It may be set at any time, and holds from the next frame on.
        """
        return self._stability

    @stability.setter
    def stability(self, stability: float) -> None:
        check_stability(stability)
        self._stability = stability

    @property
    def output(self) -> Frame | None:
        """A copy of the last output, None before the first frame."""
        return None if self._last is None else self._last.output[..., :3].copy()

    def state(self) -> dict[str, npt.NDArray[np.uint8]]:
        """All that the next outputs depend on, for `restore`."""
        last = self._last
        if last is None:
            return {}
        layers = {f"{_LAYER}{n}": layer for n, layer in enumerate(last.layers.values())}
        return {
            "gray": last.view.half.copy(),
            "colors": last.view.colors.copy(),
            "output": last.output[..., :3].copy(),
            "age": last.age.copy(),
            "beside": last.beside.copy(),
            **layers,
        }

    def restore(
        self, state: Mapping[str, npt.NDArray[np.uint8]], names: Sequence[Hashable] = ()
    ) -> None:
        """Continue from a `state` whose layers have these names."""
        self._last = None
        if state:
            known = ((name, state.get(f"{_LAYER}{n}")) for n, name in enumerate(names))
            self._last = _Last(
                View(state["gray"].copy(), state["colors"].copy()),
                _four_channels(state["output"]),
                state["age"].copy(),
                state["beside"].copy(),
                {name: layer for name, layer in known if layer is not None},
            )

    def steady(self, frame: Frame, stylized: Frame) -> Frame:
        """Stabilize a stylized frame.

        Args:
            frame: the input, shape (H, W, 3), uint8 BGR.
            stylized: what the network made of it, same shape.

        Returns:
            Same shape; `stylized` itself where nothing can be kept.
        """
        return self.steady_layers(frame, [Layer("", 1.0, lambda: stylized)])

    def steady_layers(self, frame: Frame, layers: Sequence[Layer], *, valid: float = 1.0) -> Frame:
        """Stabilize the mean of several networks' outputs, not all of which run for each frame.

        Args:
            frame: the input, shape (H, W, 3), uint8 BGR.
            layers: at least one.
            valid: factor of how much of the last output may be kept, from 0 to 1; below 1 while
                the style changes.

        Returns:
            Same shape.
        """
        view = self._tracker.view(frame)
        last, max_kept = self._last, _MAX_KEPT * self.stability * valid
        if last is not None and last.view.half.shape != view.half.shape:
            last = last.resized(view, frame)
        motion = None
        if last is not None and (max_kept > 0 or not all(layer.due for layer in layers)):
            motion = self._tracker.motion(last.view, view)
        if last is None or motion is None:  # a first frame, a cut, or nothing is to be kept
            outputs = {layer.name: layer.picture() for layer in layers}
            age = np.full_like(view.small, _OLD)
            beside = np.zeros_like(age)
        else:
            outputs = self._layer_outputs(layers, last, motion)
            age, beside = self._ages(last, motion)
        result = mixed([(outputs[layer.name], layer.share) for layer in layers])
        if last is not None and motion is not None and max_kept > 0:
            turns = np.uint8(len(layers) - 1)  # frames until all layers had their turn
            result = self._blended(last, motion, result, max_kept, np.maximum(age, turns) - turns)
        # Copies, since the caller may draw on the result.
        output = _four_channels(result, self._buffer("output", (*result.shape[:2], 4)))
        if self.stability == 0:
            outputs = {}
        kept = {n: p.copy() if p is result else p for n, p in outputs.items()}
        self._last = _Last(view, output, age, beside, kept)
        return result

    def _layer_outputs(
        self, layers: Sequence[Layer], last: _Last, motion: Motion
    ) -> dict[Hashable, Frame]:
        """Outputs of the layers: new ones of those that are due, warped ones of the others."""
        due = [layer for layer in layers if layer.due or layer.name not in last.layers]
        outputs = {layer.name: layer.picture() for layer in due}
        fresh = next(iter(outputs.values()), None)
        for layer in layers:
            if layer.name not in outputs:
                before = last.layers[layer.name]
                before = _four_channels(before, self._buffer("before", (*before.shape[:2], 4)))
                moved = self._tracker.moved("moved", before, motion.back)
                warped = np.asarray(cv2.cvtColor(moved, cv2.COLOR_BGRA2BGR), np.uint8)
                uncovered = interpolated(motion.trust, warped.shape) == 0
                if fresh is not None and uncovered.any():
                    warped[uncovered] = _in_colors_of(warped, fresh, ~uncovered)[uncovered]
                outputs[layer.name] = warped
        return {layer.name: outputs[layer.name] for layer in layers}  # in order, for `state`

    def _ages(self, last: _Last, motion: Motion) -> tuple[Gray, Gray]:
        """`age` and `beside` of the new frame, see `_Last`."""
        age, beside_before = (
            np.asarray(np.minimum(self._tracker.moved(name, frames, motion.back), _OLD - 1) + 1)
            for name, frames in (("age", last.age), ("beside", last.beside))
        )
        age[interpolated(motion.trust, age.shape) <= FOUND] = 0
        beside = np.where(motion.beside, beside_before, 0).astype(np.uint8)
        passed = (beside_before > _LASTS) & ~motion.beside
        for where, most in ((beside >= _LASTS, _MAX_AGE_BESIDE), (passed, _MAX_AGE_PASSED)):
            age[where] = np.minimum(age[where], most)
        return age, beside

    def _blended(
        self, last: _Last, motion: Motion, stylized: Frame, max_kept: float, age: Gray
    ) -> Frame:
        """The new output blended with the warped last one, as the head of this file explains."""
        shape = stylized.shape
        moved = self._tracker.moved("moved", last.output, motion.back)
        warped = cv2.cvtColor(moved, cv2.COLOR_BGRA2BGR, dst=self._buffer("kept", shape))
        kept: Frame = np.asarray(warped, np.uint8)
        # 0 in constant light, almost 1 from 2 levels on.
        fading = 1 - float(np.exp(-(motion.fade**2)))
        by_age = interpolated(cv2.LUT(age, _kept_by_age(max_kept, fading)), motion.trust.shape)
        keep = cv2.multiply(motion.trust, by_age, scale=1 / 255)
        keep = cv2.resize(keep, shape[1::-1], dst=self._buffer("keep", shape[:2]))
        if fading:
            kept = _in_light_of(stylized, kept, np.asarray(keep, np.uint8), fading)
        wanted = list(details(stylized))
        keep = cv2.multiply(keep, _unworn(kept, wanted[0]), dst=keep, scale=1 / 255)
        result = self._weighted_mean(kept, stylized, np.asarray(keep, np.uint8))
        return with_details(result, wanted, self._buffer, warped=motion.camera_moves)

    def _weighted_mean(self, kept: Frame, stylized: Frame, keep: Gray) -> Frame:
        """The kept output moved toward the new one, by at least `_MIN_STEP`; overwrites `keep`."""
        shape = stylized.shape
        take = cv2.bitwise_not(keep, dst=keep)
        take = cv2.cvtColor(take, cv2.COLOR_GRAY2BGR, dst=self._buffer("take", shape))
        step, least = (self._buffer(name, shape) for name in ("step", "least"))
        result = kept.copy()
        # Unsigned arithmetic: first all steps up, then all steps down.
        for upper, lower, add in ((stylized, kept, cv2.add), (kept, stylized, cv2.subtract)):
            cv2.subtract(upper, lower, dst=step)
            cv2.LUT(step, _MIN_STEP, dst=least)
            cv2.multiply(step, take, dst=step, scale=1 / 255)
            add(result, cv2.max(step, least, dst=step), dst=result)
        return result


def _kept_by_age(max_kept: float, fading: float) -> Gray:
    """Fraction that is kept, of 255, by age.

    While the light of the frame changes, the network's output changes everywhere; blended in, it
    would wipe out all strokes, so settled places are kept whole.
    """
    age = np.arange(256)
    settled = 1 - (1 - max_kept) * (1 - max_kept * fading)
    kept = np.minimum(np.where(age < _SETTLED, max_kept, settled), age / (age + 1))
    return np.asarray(np.rint(255 * kept), np.uint8)


def _in_light_of(stylized: Frame, kept: Frame, keep: Gray, fading: float) -> Frame:
    """The kept output with the brightness and contrast of the new one; overwrites `kept`.

    Both are compared where more than a negligible fraction is kept; `fading` is how far to go.
    """
    compared = (keep > FOUND).astype(np.uint8)
    (mean, deviation), (new_mean, new_deviation) = (
        [number.ravel() for number in cv2.meanStdDev(image, mask=compared)]
        for image in (kept, stylized)
    )
    levels = np.arange(256)[:, None]
    matched = new_mean + new_deviation / np.maximum(deviation, 1) * (levels - mean)
    table = np.rint(levels + fading * (matched - levels)).clip(0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(kept, table[None], dst=kept), np.uint8)


def _unworn(kept: Frame, wanted: Gray) -> Gray:
    """Where the kept output still has strokes, from 0 (worn off) to 255."""
    # Every second pixel is enough for means over cells.
    has, should = (
        1 + cell_means(np.ascontiguousarray(detail[::2, ::2]), kept.shape, 3)
        for detail in (next(details(kept)), wanted)
    )
    worn_off, enough = _WORN
    unworn = np.clip((has / should - worn_off) / (enough - worn_off), 0, 1)
    return interpolated((255 * unworn).astype(np.uint8), kept.shape)


def _in_colors_of(image: Frame, other: Frame, known: Mask) -> Frame:
    """Another image with the colors that this one has nearby, as far as it is known."""
    mask = known.astype(np.uint8) * 255
    here, there, weight = (
        cell_means(x, known.shape, 5)
        for x in (cv2.copyTo(image, mask), cv2.copyTo(other, mask), mask)
    )
    change = (here - there) / np.maximum(weight / 255, 0.01)[..., None]
    return np.asarray(np.clip(other + interpolated(change, known.shape), 0, 255), np.uint8)


def _four_channels(frame: Frame, output: Frame | None = None) -> Frame:
    return np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2BGRA, dst=output), np.uint8)
