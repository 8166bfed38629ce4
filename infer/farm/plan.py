"""How a video is cut for the farm: into the segments that one machine would write, and these into
pieces, each of which one worker makes.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import ceil

from nst_rt.infer.video.picture_reader import PictureReader
from nst_rt.infer.video.probe import readable_packets, video_stream
from nst_rt.infer.video.reader import VideoReader
from nst_rt.infer.video.request import Request

# Frames that the stabilizer is given before a piece where no scene begins. On the clips of
# docs/farm.md, its output then differs from that of one machine by less than 1 level in the mean.
WARM_UP = 100
_WINDOWS = 5  # of so many frames each, before a piece, in which the last scene is searched
# At a constant rate a frame is shown until the next one. If the one that a piece begins with is
# damaged, it begins with one before: so many frames are read earlier.
_LEAD = 8
_LONGEST = 2000  # frames of a piece


@dataclass(frozen=True)
class Start:
    """Where a worker may begin.

    Attributes:
        tick: of the output; the frame displayed then is the first one to stylize.
        source: tick of the source from which on to read; None for the beginning of the video.
    """

    tick: int
    source: int | None


@dataclass(frozen=True)
class Piece:
    """Neighboring segments that one worker makes.

    Attributes:
        number: of its first segment.
        begins: tick of the output at which each of its segments begins.
        end: tick at which the last one ends; None for the end of the video.
        starts: places to begin, the nearest first; they bound the windows in which the worker looks
            for the beginning of a scene.
    """

    number: int
    begins: tuple[int, ...]
    end: int | None
    starts: tuple[Start, ...]


class Cut:
    """The segments of a video, found without decoding its frames.

    Args:
        times: of the source's frames in ticks of the source, ascending, at least one.
        end: tick of the source at which the last one ends.
        ticks: ticks of the output per tick of the source at a constant rate, else None.
        segment: frames per segment.

    Attributes:
        frames: number of frames of the output.
        segments: number of segments.
    """

    def __init__(
        self,
        times: Sequence[int],
        end: int,
        ticks: Fraction | None,
        segment: int,
    ) -> None:
        self._times, self._ratio, self._segment = times, ticks, segment
        self._output: Sequence[int] = times
        if ticks is not None:
            first = ceil(times[0] * ticks)  # as `at_rate` does
            self._output = range(first, max(ceil(end * ticks), first + 1))
        self.frames = len(self._output)
        self.segments = -(-self.frames // segment)

    def pieces(self, numbers: Iterable[int], workers: int, *, warm_up: int) -> list[Piece]:
        """Pieces of the segments with these numbers.

        Args:
            numbers: of the segments that are missing.
            workers: number of workers that share them.
            warm_up: frames before each piece where no scene begins; 0 without a stabilizer.
        """
        missing = sorted(numbers)
        length = self._best_length(len(missing), workers, warm_up)
        pieces: list[Piece] = []
        while missing:
            count = min(length, _run_length(missing))
            pieces.append(self.piece(missing[0], count, warm_up=warm_up))
            missing = missing[count:]
        return pieces

    def piece(self, number: int, count: int, *, warm_up: int) -> Piece:
        """A piece of so many segments, from that with this number on."""
        first = number * self._segment
        after = min(first + count * self._segment, self.frames)
        begins = tuple(self._output[place] for place in range(first, after, self._segment))
        end = None if after == self.frames else self._output[after]
        starts = tuple(self._starts(first, after - first, warm_up))
        return Piece(number, begins, end, starts)

    def _starts(self, first: int, frames: int, warm_up: int) -> Iterator[Start]:
        """Starts of a piece of so many frames: the search covers no more than half of its length,
        but at least a warm-up.
        """
        if not warm_up:
            yield self._start(first, 0)
            return
        windows = max(min(_WINDOWS, frames // (2 * warm_up)), 1)
        for window in range(1, windows + 1):
            start = self._start(first, window * warm_up)
            yield start
            if start.source is None:
                return

    def _start(self, first: int, count: int) -> Start:
        """The start so many frames before a frame of the output."""
        tick = self._output[max(first - count, 0)]
        place = self._displayed(tick)
        lead = 0 if self._ratio is None else _LEAD
        if self._ratio is not None:
            # A repeated frame is stylized once, so it counts once.
            farther = max(self._displayed(self._output[first]) - count, 0)
            if farther < place:
                place = farther
                tick = max(ceil(self._times[place] * self._ratio), self._output[0])
        if place == 0 or tick == self._output[0]:
            return Start(tick, None)
        return Start(tick, self._times[max(place - lead, 0)])

    def span(self, number: int) -> tuple[int, int]:
        """Numbers of the first and last frame of a segment, from 0 on."""
        first = number * self._segment
        return first, min(first + self._segment, self.frames) - 1

    def _displayed(self, tick: int) -> int:
        """Place of the source's frame that is displayed at a tick of the output."""
        at = Fraction(tick) if self._ratio is None else tick / self._ratio
        return max(bisect_right(self._times, at) - 1, 0)

    def _best_length(self, segments: int, workers: int, warm_up: int) -> int:
        """The number of segments per piece with which all workers are done soonest."""

        def duration(length: int) -> int:
            pieces = -(-segments // length)
            return -(-pieces // workers) * (length * self._segment + warm_up)

        return min(range(1, max(_LONGEST // self._segment, 1) + 1), key=duration)


def cut(request: Request) -> Cut:
    """Cut a video; its packets are read, but not decoded."""
    reader, segment = request.reader, request.settings.segment
    ticks = None if request.rate is None else reader.time_base * request.rate
    if isinstance(reader, PictureReader):
        times = range(max(reader.expected, 1))
        return Cut(times, len(times), ticks, segment)
    assert isinstance(reader, VideoReader)
    times_of_packets, end = _scanned(reader)
    return Cut(times_of_packets, end, ticks, segment)


def _scanned(reader: VideoReader) -> tuple[list[int], int]:
    """Times of the frames, and the end, in ticks as the reader gives them."""
    times: set[int] = set()
    duration = 0
    with reader.container() as container:
        stream = video_stream(reader.path, container)
        for packet in readable_packets(container, stream):
            if packet is None or packet.is_discard:
                continue
            tick = packet.pts if packet.pts is not None else packet.dts
            if tick is not None and (time := reader.displayed(tick)) is not None:
                times.add(time)
                duration = packet.duration or duration
    ordered = sorted(times) or [0]
    return ordered, reader.end_after(ordered[-1], duration)


def _run_length(numbers: Sequence[int]) -> int:
    """How many of these numbers, from the first one on, follow each other without a gap."""
    for place, (before, after) in enumerate(pairwise(numbers), 1):
        if after != before + 1:
            return place
    return len(numbers)
