"""Frames with their times, what they are read from and written to, and their way in between."""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from nst_rt.images.io import Frame
from nst_rt.infer.backends import IN_FLIGHT
from nst_rt.infer.frame_stylizer import FrameStylizer
from nst_rt.infer.threads import in_background


@dataclass(frozen=True)
class TimedFrame:
    """A frame and its time.

    Attributes:
        image: shape (H, W, 3), uint8 BGR.
        pts: presentation time, ticks of the time base of its source or sink.
        duration: duration, ticks; 0 if unknown.
        source: `pts` of the source frame that it was made from, ticks of the source.
    """

    image: Frame
    pts: int
    duration: int = 0
    source: int = 0


class Source(Protocol):
    """What frames are read from: a file, a camera or a browser."""

    @property
    def time_base(self) -> Fraction:
        """Seconds per tick."""

    def frames(self) -> Iterator[TimedFrame]:
        """The frames in order of their times; closing the iterator releases the source."""


class Sink(Protocol):
    """What frames are written to: a file, a window or a browser."""

    def write(self, frame: TimedFrame) -> None:
        """Write the next frame."""

    def close(self) -> None:
        """Complete the output."""


class Stages:
    """Counts the seconds that each stage is busy: `with stages("encode"): ...`."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begin


def stylized_frames(
    frames: Iterator[TimedFrame],
    frame_stylizer: FrameStylizer,
    time_base: Fraction,
    stages: Stages,
    *,
    after: int | None = None,
    patience: float | None = None,
) -> Generator[tuple[TimedFrame, Frame], None, None]:
    """Each frame with what it becomes, in order; frames are read in a thread.

    When a frame comes, the frame stylizer has the state after it.

    Args:
        frames: in ticks of `time_base`.
        frame_stylizer, stages: what they go through.
        after: `source` of the frame before the first one, if it was stylized.
        patience: see `in_background`.
    """

    def read() -> Iterator[TimedFrame]:
        while True:
            with stages("decode"):
                timed = next(frames, None)
            if timed is None:
                return
            yield timed

    def finished() -> tuple[TimedFrame, Frame]:
        timed, finish = begun.popleft()
        with stages("stylize"):
            return timed, finish()

    begun: deque[tuple[TimedFrame, Callable[[], Frame]]] = deque()
    with closing(in_background(read(), patience=patience)) as waiting:
        for timed in waiting:
            with stages("stylize"):
                seconds, repeated = float(timed.pts * time_base), timed.source == after
                finish = frame_stylizer.start(timed.image, seconds, repeated=repeated)
            begun.append((timed, finish))
            after = timed.source
            if len(begun) == IN_FLIGHT:
                yield finished()
        while begun:
            yield finished()
