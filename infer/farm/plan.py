"""How a video is cut for the farm: into the segments that one machine would write, and these into
pieces, each of which one worker makes.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from nst_rt.infer.video.picture_reader import PictureReader
from nst_rt.infer.video.probe import readable_packets, video_stream
from nst_rt.infer.video.reader import VideoReader
from nst_rt.infer.video.request import Request

# Frames that the stabilizer is given before a piece. On the clips of docs/farm.md, its output then
# differs from that of one machine by less than 1 level in the mean; after a cut of the scene among
# them it is the same.
WARM_UP = 100
_LONGEST = 2000  # frames of a piece


@dataclass(frozen=True)
class Piece:
    """Neighboring segments that one worker makes.

    Attributes:
        number: of its first segment.
        begins: tick of the output at which each of its segments begins.
        end: tick at which the last one ends; None for the end of the video.
        warm_up: tick from which on frames are stylized, not later than the first of `begins`.
        source: tick of the source at which the frame for `warm_up` is displayed.
        frames: number of frames, as far as that is known without decoding.
    """

    number: int
    begins: tuple[int, ...]
    end: int | None
    warm_up: int
    source: int
    frames: int


class Cut:
    """The segments of a video, found without decoding its frames.

    Args:
        times: of the source's frames in ticks of the source, ascending, at least one.
        end: tick of the source at which the last one ends.
        keys: those of `times` that can be decoded on their own.
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
        keys: Iterable[int],
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
        self._scenes = [time if ticks is None else time * ticks for time in _scenes(keys)]

    def pieces(self, numbers: Iterable[int], workers: int, *, warm_up: int) -> list[Piece]:
        """Pieces of the segments with these numbers.

        Args:
            numbers: of the segments that are missing.
            workers: number of workers that share them.
            warm_up: frames before each piece.
        """
        missing = sorted(numbers)
        length = self._best_length(len(missing), workers, warm_up)
        pieces: list[Piece] = []
        while missing:
            run = _first_run(missing)
            count = self._length(run, length, warm_up)
            pieces.append(self.piece(run[0], count, warm_up=warm_up))
            missing = missing[count:]
        return pieces

    def piece(self, number: int, count: int, *, warm_up: int) -> Piece:
        """A piece of so many segments, from that with this number on."""
        first = number * self._segment
        after = min(first + count * self._segment, self.frames)
        begins = tuple(self._output[place] for place in range(first, after, self._segment))
        start = self._output[max(first - warm_up, 0)]
        place = self._displayed(start)
        if self._ratio is not None and warm_up:
            # A repeated frame is stylized once, so it counts once.
            earlier = max(self._displayed(self._output[first]) - warm_up, 0)
            if earlier < place:
                place, start = earlier, -int(-self._times[earlier] * self._ratio // 1)
        end = None if after == self.frames else self._output[after]
        return Piece(number, begins, end, start, self._times[place], after - first)

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

    def _length(self, run: Sequence[int], length: int, warm_up: int) -> int:
        """Number of segments of the next piece of a run, at best such that a scene begins in the
        warm-up of the piece after it, which is then the same as on one machine.
        """
        for count in (length, length - 1, length + 1) if length > 2 else (length,):
            if count >= len(run):
                return len(run)
            border = run[count] * self._segment
            frames = self._output[max(border - warm_up, 0)], self._output[border]
            place = bisect_left(self._scenes, frames[0])
            if place < len(self._scenes) and self._scenes[place] <= frames[1]:
                return count
        return length


def cut(request: Request) -> Cut:
    """Cut a video; its packets are read, but not decoded."""
    reader, segment = request.reader, request.settings.segment
    ticks = None if request.rate is None else reader.time_base * request.rate
    if isinstance(reader, PictureReader):
        times = range(max(reader.expected, 1))
        return Cut(times, len(times), (), ticks, segment)
    assert isinstance(reader, VideoReader)
    times_of_packets, keys, end = _scanned(reader)
    return Cut(times_of_packets, end, keys, ticks, segment)


def _scanned(reader: VideoReader) -> tuple[list[int], list[int], int]:
    """Times of the frames and of the key frames, and the end, in ticks as the reader gives them."""
    times: dict[int, bool] = {}
    duration = 0
    with reader.container() as container:
        stream = video_stream(reader.path, container)
        for packet in readable_packets(container, stream):
            if packet is None or packet.is_discard:
                continue
            tick = packet.pts if packet.pts is not None else packet.dts
            if tick is not None and (time := reader.displayed(tick)) is not None:
                times[time] = bool(packet.is_keyframe)
                duration = packet.duration or duration
    ordered = sorted(times) or [0]
    keys = [tick for tick in ordered if times.get(tick)]
    return ordered, keys, reader.end_after(ordered[-1], duration)


def _scenes(keys: Iterable[int]) -> list[int]:
    """Key frames where a scene probably begins: encoders add them to those at a fixed distance."""
    pairs = list(pairwise(keys))
    usual = max((after - before for before, after in pairs), default=0)
    return [after for before, after in pairs if after - before < usual]


def _first_run(numbers: Sequence[int]) -> Sequence[int]:
    """The first of these numbers that follow each other without a gap."""
    for place, (before, after) in enumerate(pairwise(numbers), 1):
        if after != before + 1:
            return numbers[:place]
    return numbers
