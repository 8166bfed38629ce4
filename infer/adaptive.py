"""Live stylization that holds a frame rate, at a smaller working size if necessary."""

import copy
import time
from collections import deque
from collections.abc import Mapping, MutableMapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from nst_rt.errors import InputError
from nst_rt.images.io import Frame
from nst_rt.infer.frame_stylizer import FrameStylizer
from nst_rt.infer.postprocess import PLAIN, PostProcessing, check_strength
from nst_rt.infer.stability.stabilizer import DEFAULT_STABILITY, Stabilizer, check_stability
from nst_rt.infer.strokes import DEFAULT_STROKES, StrokeSize
from nst_rt.infer.stylizer import Stylizer

# Factors of the sides of the working size; each step has about 0.7 times the pixels.
SCALES = (1.0, 0.84, 0.7, 0.6, 0.5, 0.42, 0.35)
# A scale is decided on again after so many frames, on a slow machine after so many seconds.
_FRAMES, _SECONDS = 8, 1.0
_MARGIN = 0.85  # fraction of the available time that a larger scale may be expected to take
_CALIBRATION_FRAMES = 3


@dataclass(frozen=True)
class LiveStyle:
    """How live frames are stylized, which may change from each frame to the next.

    Attributes:
        blend: names of styles with weights.
        strength, stroke_size: see `Stylizer`.
        stability: see `Stabilizer`.
        post_processing: colors and split screen.

    Raises:
        InputError: a strength or a stability out of range.
    """

    blend: Mapping[str, float]
    strength: float = 1.0
    stroke_size: StrokeSize = DEFAULT_STROKES
    stability: float = DEFAULT_STABILITY
    post_processing: PostProcessing = PLAIN

    def __post_init__(self) -> None:
        check_strength(self.strength)
        check_stability(self.stability)


class AdaptiveStylizer:
    """Stylizes live frames at the largest of a few scales that holds a frame rate.

    At scale 1 frames have the working size, and so the stroke size, that the stylizer is set to. If
    the source has fewer frames per second, its own rate is held.

    Frames do not wait for a compilation: another scale, or a style of another architecture, is
    compiled in the background. The first frame has the scale that `calibrate` found.

    Args:
        frame_stylizer: without a timeline.
        fps: frames per second to hold; 0 keeps scale 1.
        costs: seconds per pixel of the working size, by kind of network (see `Stylizer.runs`); used
            and updated. Stylizers that share them need not calibrate again.

    Attributes:
        scale: current scale.
        working_size: height and width that the last frame was stylized at.
        preparing: whether the style that was set last is still being compiled, so that frames have
            the previous one.

    Raises:
        InputError: a frame rate that is negative or not finite.
    """

    def __init__(
        self,
        frame_stylizer: FrameStylizer,
        fps: float,
        costs: MutableMapping[object, float] | None = None,
    ) -> None:
        self._frame_stylizer = frame_stylizer
        self.hold(fps)
        self._background = ThreadPoolExecutor(1, "compile")
        self.working_size = (0, 0)
        self._requested: tuple[LiveStyle, int] | None = None
        self._next: Stylizer | None = None  # takes over as soon as it is compiled
        self._compiling: Future[None] | None = None
        self._costs: MutableMapping[object, float] = {} if costs is None else costs
        self._is_calibrated = False
        self._times: deque[float] = deque(maxlen=_FRAMES)
        self._intervals: deque[float] = deque(maxlen=_FRAMES)

    def __str__(self) -> str:
        """Backend, precision, device and scale."""
        return self.backend + ("" if self.scale == 1 else f", at {self.scale:.0%} of the size")

    @property
    def backend(self) -> str:
        """Backend, precision and device."""
        return str(self._stylizer)

    @property
    def _stylizer(self) -> Stylizer:
        return self._frame_stylizer.stylizer

    @property
    def scale(self) -> float:
        return self._stylizer.scale

    @property
    def preparing(self) -> bool:
        return self._next is not None and self._next.blend != self._stylizer.blend

    def hold(self, fps: float) -> None:
        """Change the frame rate to hold; 0 keeps the scale, or returns to scale 1.

        Raises:
            InputError: a frame rate that is negative or not finite; nothing changes then.
        """
        check_frame_rate(fps)
        self._budget = 1 / fps if fps else float("inf")
        self._allowed = self._budget  # seconds per frame, with the rate of the source

    def close(self) -> None:
        """End the thread that compiles."""
        self._background.shutdown(wait=True, cancel_futures=True)

    def calibrate(self, height: int, width: int) -> None:
        """Find the scale for frames of a size, and compile for it, before the first one comes."""
        self._is_calibrated = True
        stylizer = self._stylizer
        if self._budget < float("inf"):
            if not self._knows(stylizer):
                self._prepare(stylizer, height, width)
                self._rehearse(height, width)
            stylizer.scale = self._scale_for(stylizer, height, width, self._allowed)
        if not stylizer.is_ready(height, width):
            stylizer.prepare(height, width)

    def _rehearse(self, height: int, width: int) -> None:
        """Correct the costs by whole frames, which are also stabilized and brought to full size."""
        known = self._frame_stylizer.stabilizer
        trial = FrameStylizer(
            self._stylizer,
            stabilizer=None if known is None else Stabilizer(known.stability),
            post_processing=self._frame_stylizer.post_processing,
        )
        gray = np.full((height, width, 3), 128, np.uint8)
        times = []
        for _ in range(1 + _CALIBRATION_FRAMES):
            begin = time.perf_counter()
            trial.stylize(gray, begin)
            times.append(time.perf_counter() - begin)
        # The first one has no previous frame. The others are as late as live frames will be.
        self._correct(float(np.median(times[1:])), self._stylizer.working_size(height, width))

    def _correct(self, seconds: float, working_size: tuple[int, int]) -> None:
        """Update the costs by the time that a frame took."""
        kinds = set(self._stylizer.runs)
        for kind in kinds:
            self._costs.setdefault(kind, 1.0)  # not calibrated where no frame rate is to be held
        expected = working_size[0] * working_size[1] * self._cost(self._stylizer)
        self._costs.update({kind: seconds / expected * self._costs[kind] for kind in kinds})

    def set_style(self, style: LiveStyle) -> None:
        """Change the style from the next frame on, or as soon as its network is compiled.

        Call it before each frame if styles may get other weights, see `StyleSet.replace`.

        Raises:
            UnknownNameError, InputError: see `Stylizer.set_style`; the style stays.
        """
        requested = style, self._stylizer.style_set.version
        if requested == self._requested:
            return
        self._requested = requested  # also one with an error, which is then raised only once
        wanted = copy.copy(self._next or self._stylizer)
        wanted.set_style(style.blend, strength=style.strength, stroke_size=style.stroke_size)
        self._next = wanted
        self._frame_stylizer.post_processing = style.post_processing
        if self._frame_stylizer.stabilizer is not None:
            self._frame_stylizer.stabilizer.stability = style.stability

    def stylize(self, frame: Frame, *, interval: float = 0.0, may_shrink: bool = True) -> Frame:
        """Stylize the next frame; see `FrameStylizer.stylize`.

        Args:
            frame: see there.
            interval: seconds from one frame of the source to the next; 0 if unknown.
            may_shrink: whether the working size may become smaller if frames take too long; not
                where something else slows the machine down for some time.
        """
        height, width = frame.shape[:2]
        if not self._is_calibrated:
            self.calibrate(height, width)
        self._take_next(height, width)
        self.working_size = self._stylizer.working_size(height, width)
        begin = time.perf_counter()
        stylized = self._frame_stylizer.stylize(frame, begin)
        self._times.append(time.perf_counter() - begin)
        self._intervals.append(interval)
        is_measured = len(self._times) == _FRAMES or sum(self._times) > _SECONDS
        if is_measured and len(self._times) > 1 and self._next is None:
            self._decide(height, width, may_shrink=may_shrink)
        return stylized

    def _take_next(self, height: int, width: int) -> None:
        """Switch to the next stylizer if it is compiled; else have it compiled."""
        if self._next is None:
            return
        is_other = self._next.runs != self._stylizer.runs
        if is_other and self._knows(self._next):
            self._next.scale = self._scale_for(self._next, height, width, self._allowed)
        # A network that is being measured is compiled, but runs in the other thread still.
        is_measured = self._budget == float("inf") or self._knows(self._next)
        if is_measured and self._next.is_ready(height, width):
            if is_other or self._next.scale != self.scale:
                self._forget_times()
            self._frame_stylizer.stylizer = self._next
            self._next = self._compiling = None
        elif self._compiling is None or self._compiling.done():
            if self._compiling is not None:
                self._compiling.result()  # raises what went wrong
            self._compiling = self._background.submit(self._prepare, self._next, height, width)

    def _prepare(self, stylizer: Stylizer, height: int, width: int) -> None:
        """Choose the scale that the frame rate allows, and compile for it."""
        if self._budget < float("inf") and not self._knows(stylizer):
            self._measure(stylizer, height, width)
            stylizer.scale = self._scale_for(stylizer, height, width, self._allowed)
        stylizer.prepare(height, width)

    def _measure(self, stylizer: Stylizer, height: int, width: int) -> None:
        """Measure the costs of a stylizer's networks at the smallest scale, which compiles fast."""
        trial = copy.copy(stylizer)
        trial.scale = SCALES[-1]
        size = trial.working_size(height, width)
        gray = np.full((*size, 3), 128, np.uint8)
        for kind, each in dict(zip(trial.runs, trial.passes, strict=True)).items():
            if kind in self._costs:  # it stylizes frames meanwhile, one at a time
                continue
            trial.stylize_shrunk(gray, [each])  # compiles
            times = []
            for _ in range(_CALIBRATION_FRAMES):
                begin = time.perf_counter()
                trial.stylize_shrunk(gray, [each])
                times.append(time.perf_counter() - begin)
            self._costs[kind] = min(times) / (size[0] * size[1])

    def _scale_for(self, stylizer: Stylizer, height: int, width: int, seconds: float) -> float:
        """The largest scale at which a frame should take at most `seconds`, else the smallest."""
        trial = copy.copy(stylizer)
        for scale in SCALES:
            trial.scale = scale
            working = trial.working_size(height, width)
            if self._cost(stylizer) * working[0] * working[1] <= seconds:
                return scale
        return SCALES[-1]

    def _knows(self, stylizer: Stylizer) -> bool:
        return all(kind in self._costs for kind in stylizer.runs)

    def _cost(self, stylizer: Stylizer) -> float:
        """Expected seconds per pixel of the working size."""
        costs = [self._costs[kind] for kind in stylizer.runs]
        return max(costs) if self._frame_stylizer.takes_turns else sum(costs)

    def _decide(self, height: int, width: int, *, may_shrink: bool) -> None:
        """Update the costs by the measured times, and choose the scale for the next frames."""
        seconds = float(np.median(self._times))
        self._allowed = max(self._budget, float(np.median(self._intervals)))
        self._forget_times()
        self._correct(seconds, self.working_size)
        is_too_slow = seconds > self._allowed
        allowed = self._allowed if is_too_slow else _MARGIN * self._allowed
        scale = self._scale_for(self._stylizer, height, width, allowed)
        if scale > self.scale or (is_too_slow and scale < self.scale and may_shrink):
            self._next = copy.copy(self._stylizer)
            self._next.scale = scale

    def _forget_times(self) -> None:
        self._times.clear()
        self._intervals.clear()


def check_frame_rate(fps: float) -> None:
    """Raise an InputError unless a frame rate to hold is 0 or a finite number."""
    if not 0 <= fps < float("inf"):
        raise InputError(f"`fps` must be 0 or more frames per second, not {fps}")
