"""A conversion at work: frames on their way from a reader through a painter to a sink."""

import errno
import itertools
import logging
import queue
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import av
import cv2

from nst_rt.errors import PartialResultError, VideoError
from nst_rt.images.io import Frame
from nst_rt.infer.backends import IN_FLIGHT, installed_version
from nst_rt.infer.frame_stylizer import FrameStylizer
from nst_rt.infer.threads import GLANCE, PATIENCE, in_background, polled
from nst_rt.infer.video.copying import Spool
from nst_rt.infer.video.encoder import Shape
from nst_rt.infer.video.picture_reader import PictureReader, Source
from nst_rt.infer.video.picture_writers import AnimationSink, FolderSink, is_pattern
from nst_rt.infer.video.probe import STDIO, TimedFrame, VideoInfo
from nst_rt.infer.video.reader import Mark, VideoReader, digest
from nst_rt.infer.video.request import Request, Settings, fingerprint
from nst_rt.infer.video.segments import Checkpoint, WorkFolder, work_folder
from nst_rt.infer.video.tracks import Track, plan_tracks
from nst_rt.infer.video.transforms import at_rate
from nst_rt.infer.video.writers import Painted, PipeSink, SegmentSink, Sink
from nst_rt.progress import interrupts_deferred
from nst_rt.version import __version__

logger = logging.getLogger(__name__)

Item = TypeVar("Item")

# What decides how frames look, beside what was asked for; OpenCV has several packages.
_PACKAGES = ("torch", "openvino", "onnxruntime", "av")
_AHEAD = 4  # painted frames that wait to be encoded
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Clock:
    """Seconds that each stage was busy."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what is done meanwhile."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - begin
            self.seconds[name] = self.seconds.get(name, 0.0) + spent

    def over(self, name: str, items: Iterable[Item]) -> Iterator[Item]:
        """Items, the making of which is counted."""
        iterator = iter(items)
        end = object()
        while True:
            with self.stage(name):
                item: Any = next(iterator, end)
            if item is end:
                return
            yield item


class Job:
    """Frames on their way from a reader through a painter to a sink."""

    def __init__(
        self,
        request: Request,
        frame_stylizer: FrameStylizer,
        settings: Settings,
        sink: Sink,
        *,
        work: WorkFolder | None = None,
        tracks: tuple[Track, ...] = (),
        spool: Spool | None = None,
    ) -> None:
        self._reader: Source = request.reader
        self._request, self._frame_stylizer, self._sink = request, frame_stylizer, sink
        self._work, self._spool = work, spool
        self._segment = settings.segment
        # A folder's rate is what it is read at.
        self._rate = None if request.reader.path.is_dir() else settings.rate
        self.tracks = tracks
        self.clock = Clock()
        self.resumed = self.done = 0 if work is None else work.frames
        self._checkpoint = None if work is None else work.checkpoint()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What became known on the way, beside what the reader has to say."""
        left = tuple(str(track) for track in self.tracks if track.action != "copied")
        spooled = () if self._spool is None else self._spool.warnings
        return (*left, *spooled, *self._sink.warnings)

    def run(self, on_frame: Callable[[int, VideoInfo], None] | None) -> None:
        """Convert all; on an error keep what can be kept."""
        for track in self.tracks:
            if track.action != "copied":
                logger.warning("%s: %s", self._request.output, track)
        info = replace(self._reader.info, frames=self._expected())
        try:
            with (
                interrupts_deferred() as interrupted,
                closing(polled(self._painted(), seconds=GLANCE, depth=_AHEAD)) as frames,
            ):
                for stylized in frames:
                    if interrupted():
                        raise KeyboardInterrupt
                    if stylized is None:
                        continue
                    with self.clock.stage("encode"):
                        self._sink.write(stylized, self._shape(stylized))
                        if self._spool is not None:
                            self._spool.keep()
                    self.done += 1
                    if on_frame:
                        on_frame(self.done, info)
            if not self.done:
                raise VideoError(f"{self._reader.path}: no frame of this video can be decoded")
            with self.clock.stage("assemble"):
                self._sink.finish()
        except BrokenPipeError:  # nobody reads on
            self._sink.abort()
            raise
        except (av.FFmpegError, OSError) as error:
            raise self._unwritten(error, self._sink.abort()) from error
        except BaseException:
            self._sink.abort()
            raise

    def _painted(self) -> Generator[Painted, None, None]:
        base = self._time_base
        self._frame_stylizer.restore({} if self._checkpoint is None else self._checkpoint.state)
        count = itertools.count(self.done + 1)
        source = None if self._checkpoint is None else self._checkpoint.mark.pts
        begun: deque[tuple[TimedFrame, Callable[[], Frame]]] = deque()
        patience = PATIENCE if str(self._reader.path) == STDIO else None
        decoded = in_background(self.clock.over("decode", self._frames()), patience=patience)
        with closing(decoded) as frames:
            for timed in frames:
                with self.clock.stage("paint"):
                    finish = self._frame_stylizer.start(
                        timed.frame, float(timed.pts * base), repeated=timed.source == source
                    )
                    begun.append((timed, finish))
                source = timed.source
                if len(begun) == IN_FLIGHT:
                    yield self._finished(next(count), *begun.popleft())
            while begun:
                yield self._finished(next(count), *begun.popleft())

    def _finished(self, count: int, timed: TimedFrame, finish: Callable[[], Frame]) -> Painted:
        """What was begun, with all that a conversion needs to go on behind it."""
        with self.clock.stage("paint"):
            picture = finish()
        checkpoint = None
        if self._work is not None and count % self._segment == 0:
            mark = Mark(timed.source, digest(timed.frame))
            checkpoint = Checkpoint(mark, self._frame_stylizer.state(), self._reader.state())
        return Painted(picture, timed.pts, timed.duration, checkpoint)

    def _frames(self) -> Iterator[TimedFrame]:
        """Those that are to be painted, in ticks of the output."""
        mark = None
        if self._checkpoint is not None:
            mark = self._checkpoint.mark
            self._reader.restore(self._checkpoint.source)
        frames = self._reader.frames(mark)
        if self._rate is not None:
            frames = at_rate(frames, self._reader.time_base, self._rate)
        if self._work is None or not self._work.segments:
            return frames
        last = self._work.segments[-1].last
        return itertools.dropwhile(lambda timed: timed.pts <= last, frames)

    @property
    def _time_base(self) -> Fraction:
        return self._reader.time_base if self._rate is None else 1 / self._rate

    def _shape(self, stylized: Painted) -> Shape:
        height, width = stylized.frame.shape[:2]
        info = self._reader.info
        return Shape(
            width,
            height,
            self._reader.aspect,
            self._rate or info.rate,
            self._time_base,
            info.colors,
        )

    def _expected(self) -> int:
        count = self._reader.expected
        return count if self._rate is None else round(count * self._rate / self._reader.info.rate)

    def _unwritten(self, error: av.FFmpegError | OSError, partial: Path | None) -> Exception:
        """What to say of an output that cannot be written on."""
        output = self._request.output
        reason = f"{output}: cannot be written ({error.strerror or error})"
        if self._work is None or not self._work.segments:
            return VideoError(reason)
        if not self._work.resumable:
            kept = partial or self._work.path
            return PartialResultError(f"{reason}; what was finished is in {kept}")
        room = "make room, and " if error.errno in _FULL else ""
        return PartialResultError(
            f"{reason}; {self._work.frames} frames are kept in {self._work.path}; "
            f"{room}--resume continues"
        )


@contextmanager
def opened_job(
    request: Request, frame_stylizer: FrameStylizer, settings: Settings
) -> Iterator[Job]:
    """The job that a request is, with its sink."""
    output, reader = request.output, request.reader
    start = float((settings.start or 0) + reader.info.origin * reader.time_base)
    end = None if settings.end is None else settings.end - (settings.start or 0) + start
    with ExitStack() as stack:
        source = None
        if isinstance(reader, VideoReader):
            source = stack.enter_context(reader.container())
        suffix = ".mkv" if str(output) == STDIO else output.suffix.lower()
        tracks = tuple(plan_tracks(source, suffix).values()) if source is not None else ()
        if request.encoding is None:
            sink: Sink = FolderSink(output) if is_pattern(output) else AnimationSink(output)
            yield Job(request, frame_stylizer, settings, sink, tracks=tracks)
            return
        if str(output) == STDIO:
            others = request.others or queue.SimpleQueue()
            sink = PipeSink(request.encoding, source=source, others=others, start=start, end=end)
            yield Job(request, frame_stylizer, settings, sink, tracks=tracks)
            return
        work = stack.enter_context(
            work_folder(
                output,
                _plan(request, frame_stylizer, settings),
                resume=settings.resume,
                overwrite=settings.overwrite,
                resumable=str(reader.path) != STDIO,
            )
        )
        spool = None
        if source is not None and request.others is not None:
            spool = Spool(source, request.others, work.streams)
        sink = SegmentSink(
            output,
            work,
            request.encoding,
            tracks=_tracks_of(reader, spool),
            start=start,
            end=end,
        )
        yield Job(request, frame_stylizer, settings, sink, work=work, tracks=tracks, spool=spool)


def _tracks_of(
    reader: VideoReader | PictureReader, spool: Spool | None
) -> Callable[[], AbstractContextManager[Any]]:
    if spool is not None:
        return spool.container
    return reader.container if isinstance(reader, VideoReader) else nullcontext


def _plan(request: Request, frame_stylizer: FrameStylizer, settings: Settings) -> dict[str, Any]:
    """All that decides what the output will be, for `work_folder`."""
    assert request.encoding is not None
    same = ("start", "end", "size", "scale", "segment")
    return {
        **fingerprint(request.reader.path),
        **{name: getattr(settings, name) for name in same},
        "fps": None if settings.rate is None else str(settings.rate),
        **asdict(request.encoding),
        **frame_stylizer.identity,
        **{package: installed_version(package) for package in _PACKAGES},
        "opencv": cv2.__version__,
        "nst-rt": __version__,
    }
