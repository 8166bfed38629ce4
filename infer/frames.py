"""Frames with their times, and the protocols of what they are read from and written to."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from nst_rt.images.io import Frame


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
