"""Videos converted: frames read, painted and written, each in a thread of its own."""

import errno
import hashlib
import logging
import queue
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from itertools import dropwhile
from pathlib import Path
from typing import Any, TypeVar

import av

from nst_rt.errors import InputError, OutputExistsError, PartialResultError, VideoError
from nst_rt.files import check_format, check_output, partial_path
from nst_rt.infer.painter import Painter
from nst_rt.infer.pipeline import in_background
from nst_rt.infer.stabilize import Stabilizer
from nst_rt.infer.stylizer import Stylizer, load_style
from nst_rt.infer.video.encoding import VIDEO_SUFFIXES, Encoding, Shape, choose_encoding
from nst_rt.infer.video.info import STDIO, Packet, TimedFrame, VideoInfo
from nst_rt.infer.video.pictures import FOLDER_RATE, PictureReader, Source, is_animation
from nst_rt.infer.video.reading import Mark, VideoReader, digest
from nst_rt.infer.video.segments import Checkpoint, WorkFolder, work_folder, work_path
from nst_rt.infer.video.shaping import Size, at_rate, check_shape, exact_rate
from nst_rt.infer.video.sinks import (
    ANIMATION_SUFFIXES,
    AnimationSink,
    FolderSink,
    Painted,
    PipeSink,
    SegmentSink,
    Sink,
    check_pattern,
    is_pattern,
)
from nst_rt.infer.video.tracks import Spool, Track, plan_tracks

logger = logging.getLogger(__name__)

Item = TypeVar("Item")

SEGMENT = 250  # frames; of work that is lost at most
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True)
class Conversion:
    """What a conversion did.

    Attributes:
        output: the file written.
        frames: how many it has.
        seconds: wall-clock time.
        audio: codec of the source's first audio track, if it is in the output.
        engine: backend, precision and device.
        resumed: frames of an interrupted conversion that were there already.
        stages: seconds that decoding, painting, encoding and putting together took; they overlap.
        tracks: what became of sound, subtitles and the like.
        warnings: what a user may not expect.
    """

    output: Path
    frames: int
    seconds: float
    audio: str | None
    engine: str
    resumed: int = 0
    stages: Mapping[str, float] = field(default_factory=dict)
    tracks: tuple[Track, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def fps(self) -> float:
        """Frames per second, decoding and encoding included."""
        return (self.frames - self.resumed) / self.seconds


@dataclass(frozen=True)
class Settings:
    """What is made of a video, beside its style; see `convert_video`."""

    codec: str | None = None
    crf: int | None = None
    preset: str | None = None
    start: float | None = None
    end: float | None = None
    size: Size | None = None
    scale: float | None = None
    fps: Fraction | float | None = None
    overwrite: bool = False
    resume: bool = False
    segment: int = SEGMENT

    @property
    def rate(self) -> Fraction | None:
        """The exact rate that is asked for."""
        return None if self.fps is None else exact_rate(self.fps)


@dataclass(frozen=True)
class Request:
    """A conversion whose two ends have been checked.

    Attributes:
        output: as it was given.
        reader: of the source.
        encoding: of the video, None where pictures are written.
        others: packets of sound and the like, where these are taken from the reader.
    """

    output: Path
    reader: VideoReader | PictureReader
    encoding: Encoding | None
    others: "queue.SimpleQueue[Packet] | None"


def check_conversion(
    source: Path | str, output: Path | str, settings: Settings | None = None
) -> Request:
    """Check a conversion's two ends before any work is done.

    Raises:
        InputError, OutputExistsError, VideoError: see `convert_video`.
    """
    settings = settings or Settings()
    check_shape(size=settings.size, scale=settings.scale, fps=settings.fps)
    if settings.segment < 1:
        raise InputError(f"a segment must have a frame at least, not {settings.segment}")
    output, encoding = _check_output(output, settings)
    unusual = STDIO if str(source) == STDIO else None
    if encoding is None or str(output) == STDIO:
        unusual = str(output)
    if settings.resume and unusual:
        raise InputError(
            f"--resume does not go with {unusual}: there are no segments to go on from"
        )
    reader, others = _reader(source, output, encoding, settings)
    for target in (output, partial_path(output)) if encoding and str(output) != STDIO else ():
        if target.exists() and reader.path.exists() and target.samefile(reader.path):
            raise InputError(f"{output}: would be written over the source; choose another name")
    return Request(output, reader, encoding, others)


def convert_video(
    source: Path | str,
    output: Path | str,
    *,
    style: str | Stylizer | Painter = "starry_night",
    codec: str | None = None,
    crf: int | None = None,
    preset: str | None = None,
    start: float | None = None,
    end: float | None = None,
    size: Size | None = None,
    scale: float | None = None,
    fps: Fraction | float | None = None,
    stabilize: bool = False,
    overwrite: bool = False,
    resume: bool = False,
    segment: int = SEGMENT,
    on_frame: Callable[[int, VideoInfo], None] | None = None,
) -> Conversion:
    """Stylize a video: every frame once, with its time, and all that goes along with it.

    Reading, painting and writing run in threads of their own, with few frames between them, so
    that memory does not grow with the length. The video is written in segments, which are kept in
    `OUT.EXT.partial` until the end, and put together then: with `resume`, a conversion that was
    interrupted in whatever way goes on behind the last finished one, and the result is the same.
    After an error or Ctrl-C what was finished plays as `OUT.partial.EXT`.

    Args:
        source: any file that FFmpeg decodes, a folder of pictures, an animated WebP, or `-` for
            standard input.
        output: .mp4, .mkv, .mov or .webm; .gif or .webp; a name such as `frames/%06d.png` for
            numbered pictures; or `-` for Matroska on standard output. A file appears when it is
            complete.
        style: see `load_style`, or a Stylizer or Painter.
        codec: h264 (default), hevc, av1, vp9 (default of .webm), h264_nvenc or hevc_nvenc.
        crf: quality, from 0 (best) to 51, of av1 and vp9 63; by default 20 for h264.
        preset: how much time encoding may take: veryfast (default) and the like for h264 and
            hevc, 0 (slow) to 13 for av1, 0 to 8 for vp9, p1 to p7 (slow) for NVENC.
        start, end: seconds of the source, to convert a part.
        size: pixels of the long side, or (width, height).
        scale: of both sides, instead of a size.
        fps: a constant rate, by repeating and leaving out frames; of a folder, its rate.
        stabilize: keep strokes where they are in the scene, see `Stabilizer`; a Painter has its
            own.
        overwrite: replace an existing output, or an interrupted conversion to it.
        resume: go on with an interrupted conversion, if there is one.
        segment: frames of a segment.
        on_frame: called after each frame with their number, and with what is known of the
            source; `frames` therein are those that the output will have, roughly.

    Raises:
        InputError, OutputExistsError: files or values that cannot be used; a conversion that
            another process is at; one to resume that was another.
        VideoError: a source that is not a video or without frames; a codec or a size that cannot
            be encoded.
        PartialResultError: a source of which not all can be decoded, whose output has the rest; a
            full disk.
    """
    settings = Settings(
        codec, crf, preset, start, end, size, scale, fps, overwrite, resume, segment
    )
    request = check_conversion(source, output, settings)
    painter = _painter(style, stabilize=stabilize)
    begin = time.perf_counter()
    with _opened(request, painter, settings) as job:
        job.run(on_frame)
    reader = request.reader
    tracks = job.tracks
    audio = next((track.codec for track in tracks if track.kind == "audio"), None)
    if any(track.kind == "audio" and track.action == "left out" for track in tracks):
        audio = None
    done = Conversion(
        request.output,
        job.done,
        time.perf_counter() - begin,
        audio,
        str(painter),
        job.resumed,
        job.clock.seconds,
        tracks,
        tuple(reader.warnings) + job.warnings,
    )
    if reader.damage:
        parts = ", ".join(map(str, reader.damage))
        raise PartialResultError(
            f"{source}: damaged or cut off ({parts}); {request.output} has what can be decoded, "
            f"{done.frames} frames"
        )
    return done


def _check_output(output: Path | str, settings: Settings) -> tuple[Path, Encoding | None]:
    output, overwrite = Path(output), settings.overwrite
    given = (settings.codec, settings.crf, settings.preset)
    suffix = output.suffix.lower()
    if str(output) == STDIO:
        return output, choose_encoding(".mkv", codec=given[0], crf=given[1], preset=given[2])
    if is_pattern(output) or suffix in ANIMATION_SUFFIXES:
        if given != (None, None, None):
            raise InputError(f"{output}: codec, crf and preset go with video files only")
        if is_pattern(output):
            return check_pattern(output, overwrite=overwrite), None
        return check_output(output, overwrite=overwrite), None
    try:
        output = check_format(output, "video", VIDEO_SUFFIXES, overwrite=overwrite)
    except OutputExistsError:
        # Interrupted over a file that was to be replaced.
        if not (settings.resume and work_path(output).is_dir()):
            raise
    return output, choose_encoding(suffix, codec=given[0], crf=given[1], preset=given[2])


def _reader(
    source: Path | str, output: Path, encoding: Encoding | None, settings: Settings
) -> tuple[VideoReader | PictureReader, "queue.SimpleQueue[Packet] | None"]:
    given = {name: getattr(settings, name) for name in ("start", "end", "size", "scale")}
    if str(source) != STDIO and Path(source).is_dir():
        return PictureReader(source, rate=settings.rate or FOLDER_RATE, **given), None
    if str(source) != STDIO and is_animation(source):
        return PictureReader(source, **given), None
    # AV1 and VP9 do not tell the shape of pixels, and nor can PyAV in these containers.
    square = encoding is None or (
        encoding.codec in ("av1", "vp9") and output.suffix.lower() != ".mp4"
    )
    others: queue.SimpleQueue[Packet] | None = None
    if STDIO in (str(source), str(output)):
        others = queue.SimpleQueue()
    return VideoReader(source, square=square, others=others, **given), others


def _painter(style: str | Stylizer | Painter, *, stabilize: bool) -> Painter:
    if isinstance(style, Painter):
        if stabilize:
            raise InputError("a painter has a stabilizer of its own, or none")
        return style
    stylizer = load_style(style) if isinstance(style, str) else style
    return Painter(stylizer, stabilizer=Stabilizer() if stabilize else None)


class _Clock:
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


class _Job:
    """Frames on their way from a reader through a painter to a sink."""

    def __init__(
        self,
        request: Request,
        painter: Painter,
        settings: Settings,
        sink: Sink,
        *,
        work: WorkFolder | None = None,
        tracks: tuple[Track, ...] = (),
        spool: Spool | None = None,
    ) -> None:
        self._reader: Source = request.reader
        self._request, self._painter, self._sink = request, painter, sink
        self._work, self._spool = work, spool
        self._segment = settings.segment
        # A folder's rate is what it is read at.
        self._rate = None if request.reader.path.is_dir() else settings.rate
        self.tracks = tracks
        self.clock = _Clock()
        self.resumed = self.done = 0 if work is None else work.frames
        self._checkpoint = None if work is None else work.checkpoint()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What became known on the way, beside what the reader has to say."""
        left = tuple(str(track) for track in self.tracks if track.action != "copied")
        dropped = getattr(self._sink, "dropped", 0)
        if not dropped:
            return left
        return (*left, f"{dropped} frames left out, which came too fast for the format")

    def run(self, on_frame: Callable[[int, VideoInfo], None] | None) -> None:
        """Convert all; on an error keep what can be kept."""
        for track in self.tracks:
            if track.action != "copied":
                logger.warning("%s: %s", self._request.output, track)
        info = replace(self._reader.info, frames=self._expected())
        try:
            with closing(in_background(self._painted())) as frames:
                for painted in frames:
                    with self.clock.stage("encode"):
                        self._sink.write(painted, self._shape(painted))
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
            self._sink.abort()
            raise self._unwritten(error) from error
        except BaseException:
            self._sink.abort()
            raise

    def _painted(self) -> Generator[Painted, None, None]:
        base = self._time_base
        if self._checkpoint is not None:
            self._painter.restore(self._checkpoint.state)
        with closing(in_background(self.clock.over("decode", self._frames()))) as frames:
            for count, timed in enumerate(frames, self.done + 1):
                with self.clock.stage("paint"):
                    picture = self._painter.paint(timed.frame, float(timed.pts * base))
                checkpoint = None
                if self._work is not None and count % self._segment == 0:
                    mark = Mark(timed.source, digest(timed.frame))
                    damage = tuple(self._reader.damage)
                    checkpoint = Checkpoint(mark, self._painter.state(), damage)
                yield Painted(picture, timed.pts, timed.duration, checkpoint)

    def _frames(self) -> Iterator[TimedFrame]:
        """Those that are to be painted, in ticks of the output."""
        mark = None
        if self._checkpoint is not None:
            mark = self._checkpoint.mark
            self._reader.damage.extend(self._checkpoint.damage)
        frames = self._reader.frames(mark)
        if self._rate is not None:
            frames = at_rate(frames, self._reader.time_base, self._rate)
        if self._work is None or not self._work.segments:
            return frames
        last = self._work.segments[-1].last
        return dropwhile(lambda timed: timed.pts <= last, frames)

    @property
    def _time_base(self) -> Fraction:
        return self._reader.time_base if self._rate is None else 1 / self._rate

    def _shape(self, painted: Painted) -> Shape:
        height, width = painted.frame.shape[:2]
        info = self._reader.info
        return Shape(
            width,
            height,
            self._reader.aspect,
            self._rate or info.rate,
            self._time_base,
            info.colours,
        )

    def _expected(self) -> int:
        count = self._reader.expected
        return count if self._rate is None else round(count * self._rate / self._reader.info.rate)

    def _unwritten(self, error: av.FFmpegError | OSError) -> Exception:
        """What to say of an output that cannot be written on."""
        output = self._request.output
        reason = f"{output}: cannot be written ({error.strerror or error})"
        if self._work is None or not self._work.segments:
            return VideoError(reason)
        room = "make room, and " if error.errno in _FULL else ""
        return PartialResultError(
            f"{reason}; {self._work.frames} frames are kept in {self._work.path}; "
            f"{room}--resume continues"
        )


@contextmanager
def _opened(request: Request, painter: Painter, settings: Settings) -> Iterator[_Job]:
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
            yield _Job(request, painter, settings, sink, tracks=tracks)
            return
        if str(output) == STDIO:
            others = request.others or queue.SimpleQueue()
            sink = PipeSink(request.encoding, source=source, others=others, start=start, end=end)
            yield _Job(request, painter, settings, sink, tracks=tracks)
            return
        work = stack.enter_context(
            work_folder(
                output,
                _plan(request, painter, settings),
                resume=settings.resume,
                overwrite=settings.overwrite,
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
        yield _Job(request, painter, settings, sink, work=work, tracks=tracks, spool=spool)


def _tracks_of(
    reader: VideoReader | PictureReader, spool: Spool | None
) -> Callable[[], AbstractContextManager[Any]]:
    if spool is not None:
        return spool.container
    return reader.container if isinstance(reader, VideoReader) else nullcontext


def _plan(request: Request, painter: Painter, settings: Settings) -> dict[str, Any]:
    """All that decides what the output will be, for `work_folder`."""
    assert request.encoding is not None
    same = ("start", "end", "size", "scale", "segment")
    return {
        **_fingerprint(request.reader.path),
        **{name: getattr(settings, name) for name in same},
        "fps": None if settings.rate is None else str(settings.rate),
        **asdict(request.encoding),
        **painter.identity,
        "PyAV": av.__version__,
    }


def _fingerprint(source: Path) -> dict[str, Any]:
    """What tells a source from another one."""
    if str(source) == STDIO:
        return {"source": STDIO}
    if source.is_dir():
        files = sorted((f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in source.iterdir())
        return {"pictures of the source": hashlib.sha256(repr(files).encode()).hexdigest()[:16]}
    with source.open("rb") as file:
        beginning = hashlib.sha256(file.read(65536)).hexdigest()[:16]
    return {
        "bytes of the source": source.stat().st_size,
        "time of the source": source.stat().st_mtime_ns,
        "beginning of the source": beginning,
    }
