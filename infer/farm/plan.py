"""How a video is cut for the farm: into the segments that one machine would write, and these into
pieces, each of which one worker makes.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from nst_rt.infer.video.picture_reader import PictureReader
from nst_rt.infer.video.probe import readable_packets, video_stream
from nst_rt.infer.video.reader import VideoReader
from nst_rt.infer.video.request import Request

# Frames that the stabilizer is given before a piece where no scene begins. On the clips of
# docs/farm.md, its output then differs from that of one machine by less than 1 level in the mean.
WARM_UP = 100
_SEARCHED = 5  # warm-ups before a piece in which the beginning of a scene is searched
_LONGEST = 2000  # frames of a piece


@dataclass(frozen=True)
class Start:
    """A frame from which on a worker may stylize.

    Attributes:
        tick: of the output at which the frame is displayed.
        source: the same in the source; None for the first frame of the video.
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
        starts: frames before it, the nearest first. The worker begins where a scene does, if one
            does after the last of them, else at the first.
        frames: number of frames, as far as that is known without decoding.
    """

    number: int
    begins: tuple[int, ...]
    end: int | None
    starts: tuple[Start, ...]
    frames: int


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
            first = -int(-times[0] * ticks // 1)  # rounded up, as `at_rate` does
            self._output = range(first, max(-int(-end * ticks // 1), first + 1))
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
            count = min(length, len(_first_run(missing)))
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
        return Piece(number, begins, end, starts, after - first)

    def _starts(self, first: int, frames: int, warm_up: int) -> Iterator[Start]:
        """Starts of a piece; the search is not longer than the piece, unless the warm-up is."""
        farthest = max(min(_SEARCHED * warm_up, frames), warm_up)
        for earlier in range(warm_up, farthest + 1, warm_up or 1):
            start = self._start(first, earlier)
            yield start
            if start.source is None:
                return

    def _start(self, first: int, earlier: int) -> Start:
        """The start so many frames before a frame of the output."""
        tick = self._output[max(first - earlier, 0)]
        place = self._displayed(tick)
        if self._ratio is not None and earlier:
            # A repeated frame is stylized once, so it counts once.
            distinct = max(self._displayed(self._output[first]) - earlier, 0)
            if distinct < place:
                place, tick = distinct, -int(-self._times[distinct] * self._ratio // 1)
        return Start(tick, self._times[place] if place else None)

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


def _first_run(numbers: Sequence[int]) -> Sequence[int]:
    """The first of these numbers that follow each other without a gap."""
    for place, (before, after) in enumerate(pairwise(numbers), 1):
        if after != before + 1:
            return numbers[:place]
    return numbers
