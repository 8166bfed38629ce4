"""Frames with their times, where they come from, and where they go: files, cameras and browsers."""

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
        pts: presentation time, in ticks of the time base of its source or sink.
        duration: in ticks; 0 if unknown.
        source: `pts` of the source's frame that it was made from, in the source's ticks.
    """

    image: Frame
    pts: int
    duration: int = 0
    source: int = 0


class Source(Protocol):
    """Where frames come from."""

    @property
    def time_base(self) -> Fraction:
        """Seconds per tick."""

    def frames(self) -> Iterator[TimedFrame]:
        """The frames in order of their times; closing the iterator releases what they come from."""


class Sink(Protocol):
    """Where frames go."""

    def write(self, frame: TimedFrame) -> None:
        """Take the next frame."""

    def close(self) -> None:
        """Complete the output."""
