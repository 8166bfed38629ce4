"""Live quality control: a frame rate is held by stylizing at a smaller size where it must be."""

import copy
import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from nst_rt.errors import InputError
from nst_rt.images.io import Frame
from nst_rt.infer.frame_stylizer import FrameStylizer
from nst_rt.infer.postprocess import PostProcessing
from nst_rt.infer.strokes import StrokeSize
from nst_rt.infer.stylizer import Stylizer

# Of the sides of the working size; each step is about 0.7 of the pixels.
SCALES = (1.0, 0.84, 0.7, 0.6, 0.5, 0.42, 0.35)
_FRAMES = 8  # at a scale before the next decision,
_SECONDS = 1.0  # or so long, for slow machines
_SLACK = 0.85  # of the time that a frame may take, which a larger scale must be expected to keep
_CALIBRATED = 3  # frames that a network of unknown speed is timed with


class AdaptiveStylizer:
    """Stylizes live frames at the largest of a few scales that holds a frame rate.

    The working size, and so the stroke size, is the one that the stylizer is set to where there is
    time for it. Where the source has fewer frames per second, theirs is the rate to hold.

    Nothing makes a frame late: another scale, or a style of another architecture, is compiled in
    the background, while frames go on as before. It begins at the scale that `calibrate` found.

    Args:
        painter: of one stylizer, without a timeline.
        fps: frames per second to hold; 0 never makes the scale smaller.

    Attributes:
        scale: of the working size's sides, now.
        working_size: height and width that the last frame was stylized at.

    Raises:
        InputError: a rate that cannot be.
    """

    def __init__(self, frame_stylizer: FrameStylizer, fps: float) -> None:
        if not 0 <= fps < float("inf"):
            raise InputError(f"the frames per second to hold must be 0 or more, not {fps}")
        self._frame_stylizer = frame_stylizer
        self._stylizer = frame_stylizer.stylizer
        self._budget = 1 / fps if fps else float("inf")
        self._allowed = self._budget  # seconds per frame, as the source comes
        self._background = ThreadPoolExecutor(1, "compile")
        self.working_size = (0, 0)
        self._asked: object = None  # of `set_style`
        self._next: Stylizer | None = None  # what takes over as soon as it is compiled
        self._compiling: Future[None] | None = None
        # Seconds per pixel of the working size, by kind of network.
        self._costs: dict[object, float] = {}
        self._times: deque[float] = deque(maxlen=_FRAMES)
        self._intervals: deque[float] = deque(maxlen=_FRAMES)

    def __str__(self) -> str:
        """What stylizes, and how small."""
        smaller = "" if self.scale == 1 else f", at {self.scale:.0%} of the size"
        return f"{self._stylizer}{smaller}"

    @property
    def engine(self) -> str:
        """Backend, precision and device, as they really are."""
        return str(self._stylizer)

    @property
    def scale(self) -> float:
        """See `AdaptiveStylizer`."""
        return self._stylizer.scale

    def close(self) -> None:
        """End the thread that compiles."""
        self._background.shutdown(wait=True, cancel_futures=True)

    def calibrate(self, height: int, width: int) -> None:
        """Find the scale for frames of a size, and compile for it, before the first one comes."""
        self._prepare(self._stylizer, height, width)

    def set_style(
        self,
        style: str | Mapping[str, float],
        *,
        strength: float = 1.0,
        stroke_size: StrokeSize | str | float | None = None,
    ) -> None:
        """Choose a style: on the next frame, or as soon as its network is compiled.

        Args:
            style, strength, stroke_size: see `Stylizer.set_style`.

        Raises:
            UnknownNameError, InputError: see there; the style before stays.
        """
        if (asked := (style, strength, stroke_size)) == self._asked:
            return
        self._asked = asked
        wanted = copy.copy(self._stylizer if self._next is None else self._next)
        wanted.set_style(style, strength=strength, stroke_size=stroke_size)
        self._next = wanted

    def set_post_processing(self, post_processing: PostProcessing) -> None:
        """Choose how the next frames are shown."""
        self._frame_stylizer.post_processing = post_processing

    def set_stability(self, stability: float) -> None:
        """Choose how stable the next frames are, see `Stabilizer`.

        Raises:
            InputError: a stability out of its range.
        """
        if self._frame_stylizer.stabilizer is not None:
            self._frame_stylizer.stabilizer.stability = stability

    def stylize(self, frame: Frame, *, interval: float = 0.0) -> Frame:
        """Stylize the next frame; see `FrameStylizer.stylize`.

        Args:
            frame: see there.
            interval: seconds from one frame of the source to the next, as far as known.
        """
        if not self._times and not self._costs:
            self.calibrate(*frame.shape[:2])
        self._take_next(*frame.shape[:2])
        self.working_size = self._stylizer.working_size(*frame.shape[:2])
        begin = time.perf_counter()
        stylized = self._frame_stylizer.stylize(frame, begin)
        self._times.append(time.perf_counter() - begin)
        self._intervals.append(interval)
        if self._next is None and (
            len(self._times) == _FRAMES or (len(self._times) > 1 and sum(self._times) > _SECONDS)
        ):
            self._decide(*frame.shape[:2])
        return stylized

    def _take_next(self, height: int, width: int) -> None:
        if self._next is None:
            return
        if self._next.runs != self._stylizer.runs and self._knows(self._next):
            self._next.scale = self._scale_for(self._next, height, width, self._allowed)
        if self._next.is_ready(height, width):
            if self._next.runs != self._stylizer.runs or self._next.scale != self.scale:
                self._forget()
            self._stylizer.become(self._next)
            self._next = self._compiling = None
        elif self._compiling is None or self._compiling.done():
            if self._compiling is not None:
                self._compiling.result()  # raises what went wrong
            self._compiling = self._background.submit(self._prepare, self._next, height, width)

    def _prepare(self, stylizer: Stylizer, height: int, width: int) -> None:
        """Find the scale that a stylizer has time for, and compile it for that."""
        if not self._knows(stylizer) and self._budget < float("inf"):
            stylizer.scale = SCALES[-1]
            size = stylizer.working_size(height, width)
            gray = np.full((*size, 3), 128, np.uint8)
            for kind, each in dict(zip(stylizer.runs, stylizer.passes, strict=True)).items():
                stylizer.stylize_shrunk(gray, [each])  # compiles
                times = []
                for _ in range(_CALIBRATED):
                    begin = time.perf_counter()
                    stylizer.stylize_shrunk(gray, [each])
                    times.append(time.perf_counter() - begin)
                self._costs[kind] = min(times) / (size[0] * size[1])
            stylizer.scale = self._scale_for(stylizer, height, width, self._allowed)
        stylizer.prepare(height, width)

    def _scale_for(self, stylizer: Stylizer, height: int, width: int, seconds: float) -> float:
        """The largest scale that is expected to take so long, or the smallest one."""
        measured = copy.copy(stylizer)
        for scale in SCALES:
            measured.scale = scale
            working = measured.working_size(height, width)
            if self._cost(stylizer) * working[0] * working[1] <= seconds:
                return scale
        return SCALES[-1]

    def _knows(self, stylizer: Stylizer) -> bool:
        return all(kind in self._costs for kind in stylizer.runs)

    def _cost(self, stylizer: Stylizer) -> float:
        """Seconds per pixel of the working size that a frame is expected to take."""
        costs = [self._costs[kind] for kind in stylizer.runs]
        return max(costs) if self._frame_stylizer.takes_turns else sum(costs)

    def _decide(self, height: int, width: int) -> None:
        seconds = float(np.median(self._times))
        self._allowed = max(self._budget, float(np.median(self._intervals)))
        self._forget()
        working = self._stylizer.working_size(height, width)
        kinds = set(self._stylizer.runs)
        for kind in kinds:
            self._costs.setdefault(kind, 1.0)  # not calibrated where no rate is to be held
        slower = seconds / (working[0] * working[1] * self._cost(self._stylizer))
        self._costs.update({kind: slower * self._costs[kind] for kind in kinds})
        too_slow = seconds > self._allowed
        allowed = self._allowed if too_slow else _SLACK * self._allowed
        scale = self._scale_for(self._stylizer, height, width, allowed)
        if too_slow or scale > self.scale:
            wanted = copy.copy(self._stylizer)
            wanted.scale = scale
            self._next = wanted if scale != self.scale else None

    def _forget(self) -> None:
        self._times.clear()
        self._intervals.clear()
