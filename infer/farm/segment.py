"""What a worker of the farm does: it stylizes a piece of a video and encodes its segments."""

import tempfile
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, field
from itertools import dropwhile, takewhile
from pathlib import Path
from typing import Any

from nst_rt.errors import InputError
from nst_rt.images.io import Frame
from nst_rt.infer.farm.plan import Piece, Start
from nst_rt.infer.farm.style import loaded
from nst_rt.infer.frames import Stages, TimedFrame, stylized_frames
from nst_rt.infer.stability.stabilizer import stabilizer_for
from nst_rt.infer.stability.tracking import Tracker, View
from nst_rt.infer.threads import in_background
from nst_rt.infer.video.convert import AHEAD
from nst_rt.infer.video.encoder import Encoding, Shape
from nst_rt.infer.video.request import ConversionSettings, Request, fingerprint, open_reader
from nst_rt.infer.video.segments import Segment, SegmentWriter
from nst_rt.infer.video.source import Mark

_REPORTED = 10  # frames between two reports of the progress


@dataclass(frozen=True)
class Job:
    """What all pieces of a video have in common.

    Attributes:
        name: a key that identifies the video.
        source: absolute path, the same on all machines.
        fingerprint: of the source, to recognize it there.
        content: reference to the bytes of the source, for machines that do not see it.
        output, encoding, settings: see `Request`.
        shape: of the output's frames.
        reader: state of a reader after the video's first frame.
        stylizer: see `SentStyle`.
    """

    name: str
    source: Path
    fingerprint: Mapping[str, Any]
    content: Any
    output: Path
    encoding: Encoding
    settings: ConversionSettings
    shape: Shape
    reader: Mapping[str, Any]
    stylizer: tuple[str, Any]


@dataclass
class Made:
    """What a worker made of a piece.

    Attributes:
        segments: with their files, in order; one without frames has none.
        source: what became known of the source: damage and warnings, as JSON values.
        warnings: of the encoder.
        backend: what the frames were stylized on.
        stages: seconds of each stage.
    """

    segments: list[tuple[Segment, bytes]] = field(default_factory=list)
    source: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    backend: str = ""
    stages: dict[str, float] = field(default_factory=dict)


def sees(source: Path, mark: Mapping[str, Any]) -> bool:
    """Whether this machine has the same source at the same place."""
    try:
        return fingerprint(source, with_time=False) == dict(mark)
    except OSError:
        return False


def stylize_piece(job: Job, piece: Piece, tally: Any = None) -> Made:
    """Stylize a piece, after its warm-up, and encode its segments.

    Args:
        job, piece: what to do.
        tally: handle of the `Tally`, to report the progress to.

    Raises:
        InputError: the source is not what it was.
    """
    with ExitStack() as stack:
        source = stack.enter_context(_local(job))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nst-rt-")))
        reader = open_reader(source, job.output, job.encoding, job.settings)
        reader.restore(job.reader)
        request = Request(job.output, reader, job.encoding, job.settings)
        frame_stylizer = loaded(job.stylizer)
        rate = job.settings.rate or reader.info.rate
        frame_stylizer.stabilizer = stabilizer_for(job.settings.stability, rate)
        frame_stylizer.restore({})
        start, stages = piece.starts[0], Stages()
        if frame_stylizer.stabilizer is not None:
            with stages("search"):
                start = _best_start(request, piece, frame_stylizer.stylizer.shrunk)
        frames = _frames(request, start, piece.end)
        made = Made(backend=str(frame_stylizer))
        stylized = stylized_frames(frames, frame_stylizer, request.time_base, stages)
        encoder = _Segments(folder, job, piece, made)
        done = 0
        with closing(in_background(stylized, depth=AHEAD)) as ready:
            for timed, image in ready:
                if timed.pts < piece.begins[0]:
                    continue
                with stages("encode"):
                    encoder.write(timed, image)
                done += 1
                if tally is not None and done % _REPORTED == 0:
                    tally.report.remote(job.name, piece.number, done)
        encoder.finish()
        parts = [asdict(part) for part in reader.damage]
        made.source = {"damage": parts, "warnings": reader.warnings}
        made.stages = stages.seconds
        return made


def _best_start(request: Request, piece: Piece, shrunk: Callable[[Frame], Frame]) -> Start:
    """Where to begin: at the last scene before the piece, where the stabilizer starts over on one
    machine too, or at the beginning of the video; if neither is near, at the nearest start.

    Args:
        shrunk: see `Stylizer`; the stabilizer looks at frames of this size.
    """
    until = piece.begins[0]
    for start in piece.starts:
        if start.tick < until:
            scene = last_scene(_frames(request, start, until + 1), shrunk)
            if scene is not None:
                return scene
        if start.source is None:
            return start
        if not request.reader.is_seekable:  # each window would be read from the beginning
            break
        until = start.tick
    return piece.starts[0]


def last_scene(frames: Iterable[TimedFrame], shrunk: Callable[[Frame], Frame]) -> Start | None:
    """The last of these frames, after the first, with which a scene begins.

    Args:
        frames: in order.
        shrunk: see `Stylizer`; the stabilizer looks at frames of this size.
    """
    tracker, scene = Tracker(), None
    last: tuple[int, View] | None = None
    with closing(in_background(iter(frames))) as ready:
        for timed in ready:
            if last is not None and timed.source == last[0]:
                continue  # a repeated frame
            view = tracker.view(shrunk(timed.image))
            if last is not None and tracker.motion(last[1], view) is None:
                scene = Start(timed.pts, timed.source)
            last = timed.source, view
    return scene


def _frames(request: Request, start: Start, end: int | None) -> Iterator[TimedFrame]:
    """Frames from a start on, to a tick of the output."""
    frames = request.frames(None if start.source is None else Mark(start.source, ""))
    begun = dropwhile(lambda timed: timed.pts < start.tick, frames)
    return begun if end is None else takewhile(lambda timed: timed.pts < end, begun)


class _Segments:
    """Writes frames to the segments of a piece."""

    def __init__(self, folder: Path, job: Job, piece: Piece, made: Made) -> None:
        self._path, self._job, self._piece, self._made = folder / "open.nut", job, piece, made
        self._open: SegmentWriter | None = None

    def write(self, timed: TimedFrame, image: Frame) -> None:
        place = bisect_right(self._piece.begins, timed.pts) - 1
        while len(self._made.segments) < place:
            self._close()
        if self._open is None:
            self._open = SegmentWriter(self._path, self._job.encoding, self._job.shape)
        self._open.write(TimedFrame(image, timed.pts, timed.duration))

    def finish(self) -> None:
        """Complete all segments."""
        while len(self._made.segments) < len(self._piece.begins):
            self._close()

    def _close(self) -> None:
        """Complete the next segment, which has no frames if none could be decoded."""
        begin = self._piece.begins[len(self._made.segments)]
        segment, video = Segment(0, begin, begin, 0, 0), b""
        if self._open is not None:
            writer, self._open = self._open, None
            segment = writer.finish()
            video = self._path.read_bytes()
            self._made.warnings += [w for w in writer.warnings if w not in self._made.warnings]
        self._made.segments.append((segment, video))


@contextmanager
def _local(job: Job) -> Iterator[Path]:
    """The source, or a copy of it where this machine does not see it."""
    import ray

    if sees(job.source, job.fingerprint):
        yield job.source
    elif job.content is None:
        raise InputError(f"{job.source}: not there, or not the same file as at the beginning")
    else:
        with tempfile.TemporaryDirectory(prefix="nst-rt-") as folder:
            copy = Path(folder) / job.source.name
            copy.write_bytes(memoryview(ray.get(job.content)))
            yield copy
