"""Live quality control: a frame rate is held by painting at a lower resolution where it must be."""

import time
from concurrent.futures import Future, ThreadPoolExecutor

import cv2
import numpy as np

from nst_rt.errors import InputError
from nst_rt.images import Frame
from nst_rt.infer.stylizer import Stylizer
from nst_rt.transformer import MINIMUM_SIZE

# Of the frame's sides; each step is about 0.7 of the pixels.
SCALES = (1.0, 0.84, 0.7, 0.6, 0.5, 0.42, 0.35)
_PATIENCE = 8  # frames at a scale before the next decision
_SLACK = 0.85  # of the time that a frame may take, which the next scale up must be expected to keep
_WINDOW = 5  # pixels of the small picture that a local fit goes over
_NOISE = 25.0  # variance, in levels squared, below which a difference in brightness is no edge


class AdaptiveStylizer:
    """Paints frames at the largest of a few scales that holds a frame rate.

    Where the source has fewer frames per second, theirs is the rate to hold. What it paints small
    it enlarges again, with the edges of the frame put back. A new scale is compiled in the
    background, while frames go on at the one before.

    Args:
        stylizer: that paints.
        fps: frames per second to hold.

    Attributes:
        scale: of the frames' sides, that it paints at now.

    Raises:
        InputError: a rate that is not positive.
    """

    def __init__(self, stylizer: Stylizer, fps: float) -> None:
        if not 0 < fps < float("inf"):
            raise InputError(f"the frames per second to hold must be positive, not {fps}")
        self.stylizer = stylizer
        self._budget = 1 / fps
        self._level = 0
        self._next: tuple[int, Future[None]] | None = None
        self._compiler = ThreadPoolExecutor(1, "compile")
        self._times: list[float] = []
        self._intervals: list[float] = []

    def __str__(self) -> str:
        """What paints, and how small."""
        smaller = "" if self.scale == 1 else f", at {self.scale:.0%} of the size"
        return f"{self.stylizer}{smaller}"

    @property
    def scale(self) -> float:
        """See `AdaptiveStylizer`."""
        return SCALES[self._level]

    def close(self) -> None:
        """End the thread that compiles."""
        self._compiler.shutdown(wait=True, cancel_futures=True)

    def stylize(self, frame: Frame, *, interval: float = 0.0) -> Frame:
        """Paint one frame; see `Stylizer.stylize`.

        Args:
            frame: see there.
            interval: seconds from one frame of the source to the next, as far as known.
        """
        self._take_next()
        begin = time.perf_counter()
        small = shrunk(frame, self.scale)
        painted = self.stylizer.stylize(small)
        if small is not frame:
            painted = enlarged(painted, small, frame)
        self._times.append(time.perf_counter() - begin)
        self._intervals.append(interval)
        if self._next is None and len(self._times) >= _PATIENCE:
            self._decide(frame)
        return painted

    def _decide(self, frame: Frame) -> None:
        seconds = float(np.median(self._times))
        budget = max(self._budget, float(np.median(self._intervals)))
        self._forget()
        level = self._level
        if seconds > budget:
            level = min(level + 1, len(SCALES) - 1)
        elif level and seconds * (SCALES[level - 1] / self.scale) ** 2 < _SLACK * budget:
            level -= 1
        height, width = shrunk(frame, SCALES[level]).shape[:2]
        if level != self._level and min(height, width) >= MINIMUM_SIZE:
            self._next = level, self._compiler.submit(self.stylizer.prepare, height, width)

    def _take_next(self) -> None:
        if self._next is not None and self._next[1].done():
            self._level, compiled = self._next
            compiled.result()
            self._next = None
            self._forget()

    def _forget(self) -> None:
        self._times.clear()
        self._intervals.clear()


def shrunk(frame: Frame, scale: float) -> Frame:
    """A frame of `scale` times the sides; the frame itself for 1."""
    if scale == 1:
        return frame
    height, width = (max(round(side * scale), 1) for side in frame.shape[:2])
    return np.asarray(cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def enlarged(painted: Frame, small: Frame, frame: Frame) -> Frame:
    """Enlarge a small pastiche to a frame's size, with the frame's edges put back.

    Around each pixel the pastiche's brightness is fitted as a linear function of the photo's, at
    low resolution, as in the guided filter (He et al. 2010, eq. 5). Its slope says how much of the
    detail that the photo lost by shrinking belongs into the pastiche; the strokes stay as they are.

    Args:
        painted: the pastiche of `small`, shape (h, w, 3).
        small: `frame`, shrunk.
        frame: shape (H, W, 3).

    Returns:
        Shape (H, W, 3).
    """
    size = frame.shape[1], frame.shape[0]
    guide, target = (
        cv2.cvtColor(x, cv2.COLOR_BGR2GRAY).astype(np.float32) for x in (small, painted)
    )

    def mean(x: np.ndarray) -> np.ndarray:
        return cv2.blur(x, (_WINDOW, _WINDOW))

    guide_mean = mean(guide)
    covariance = mean(guide * target) - guide_mean * mean(target)
    variance = mean(guide * guide) - guide_mean**2
    slope = cv2.resize(mean(covariance / (variance + _NOISE)), size)
    photo = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY).astype(np.float32)
    detail = slope * (photo - cv2.resize(guide, size, interpolation=cv2.INTER_CUBIC))
    large = cv2.resize(painted, size, interpolation=cv2.INTER_CUBIC)
    added = cv2.add(large, cv2.merge([detail] * 3), dtype=cv2.CV_8U)
    return np.asarray(added, np.uint8)
