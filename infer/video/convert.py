"""Videos stylized: frames read, stylized and written, each in a thread of its own."""

import itertools
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Unpack

import av

from nst_rt.errors import PartialResultError, VideoError
from nst_rt.files import is_disk_full
from nst_rt.infer.backends import BackendName, Precision
from nst_rt.infer.frame_stylizer import (
    FrameStylizer,
    Preparation,
    StyleOrStylizer,
    load_frame_stylizer,
)
from nst_rt.infer.frames import Stages, TimedFrame, stylized_frames
from nst_rt.infer.learning.learn import LearningOptions, learning_for
from nst_rt.infer.stability.stabilizer import stabilizer_for
from nst_rt.infer.strokes import DEFAULT_STROKES, StrokeSize
from nst_rt.infer.threads import GLANCE, PATIENCE, polled
from nst_rt.infer.timeline import DEFAULT_FADE, DEFAULT_STYLE, Timeline
from nst_rt.infer.video.learned import learned_for
from nst_rt.infer.video.probe import STDIO, Damage
from nst_rt.infer.video.request import (
    SEGMENT,
    ConversionSettings,
    Request,
    check_conversion,
    default_output,
)
from nst_rt.infer.video.segments import Checkpoint, WorkFolder, work_folder
from nst_rt.infer.video.source import Mark, VideoSource, frame_digest
from nst_rt.infer.video.tracks import Track, plan_tracks
from nst_rt.infer.video.transforms import Size
from nst_rt.infer.video.writers import (
    FolderSink,
    SegmentSink,
    StreamSink,
    VideoSink,
    is_pattern,
    warn,
)
from nst_rt.learning.request import StyleImages
from nst_rt.progress import Progress, interrupts_deferred

AHEAD = 4  # stylized frames that wait to be encoded


@dataclass(frozen=True)
class VideoResult:
    """Result of a conversion.

    Attributes:
        output: the file written.
        frames: number of its frames.
        seconds: wall-clock time.
        audio: codec in the source of the first audio track of the output, None without audio.
        backend: name, precision and device.
        resumed: number of frames that an interrupted conversion had finished.
        stages: seconds of each stage (decode, stylize, encode, assemble), which overlap.
        tracks: what became of audio, subtitles and other tracks.
        warnings: anything unusual about the output.
        damage: parts of the source that could not be decoded.
    """

    output: Path
    frames: int
    seconds: float
    audio: str | None
    backend: str
    resumed: int = 0
    stages: Mapping[str, float] = field(default_factory=dict)
    tracks: tuple[Track, ...] = ()
    warnings: tuple[str, ...] = ()
    damage: tuple[Damage, ...] = ()

    @property
    def fps(self) -> float:
        """Frames per second, including decoding and encoding."""
        return (self.frames - self.resumed) / self.seconds

    def checked(self, source: Path | str) -> "VideoResult":
        """The result itself; raises a PartialResultError if parts of the source are missing."""
        if self.damage:
            parts = ", ".join(map(str, self.damage))
            raise PartialResultError(
                f"{source}: cannot be decoded: {parts}; {self.output} has the other {self.frames} "
                "frames",
                self,
            )
        return self


def stylize_video(
    source: Path | str,
    output: Path | str | None = None,
    *,
    style: StyleOrStylizer = DEFAULT_STYLE,
    fade: float = DEFAULT_FADE,
    strength: float = 1.0,
    preserve_colors: bool = False,
    compare: bool = False,
    stroke_size: StrokeSize | str | float = DEFAULT_STROKES,
    backend: BackendName = "auto",
    device: str | None = None,
    precision: Precision = "auto",
    codec: str | None = None,
    crf: int | None = None,
    preset: str | None = None,
    start: float | None = None,
    end: float | None = None,
    size: Size | None = None,
    scale: float | None = None,
    fps: Fraction | float | None = None,
    stability: float | None = None,
    overwrite: bool = False,
    resume: bool = False,
    segment: int = SEGMENT,
    ray: str | None = None,
    progress: Progress | None = None,
    style_image: StyleImages | None = None,
    **learning: Unpack[LearningOptions],
) -> VideoResult:
    """Stylize a video: every frame at its exact time, with audio, subtitles and chapters.

    Reading, stylizing and writing run in threads with few frames between them, so memory does not
    grow with the length. The video is written in segments in `OUT.EXT.partial`, which are joined
    at the end. With `resume`, a conversion that was interrupted in any way continues after its
    last segment, and the result is the same. After an error or Ctrl-C, what was finished plays as
    `OUT.partial.EXT`. Pipes, GIF, WebP and numbered images are written in one go.

    Args:
        source: any file that FFmpeg decodes, a folder of images, an animated WebP, or `-` for
            standard input.
        output: .mp4, .mkv, .mov or .webm; .gif or .webp; a name such as `frames/%06d.png` for
            numbered images; `-` for Matroska on standard output; by default `FILM_STYLE.EXT` in
            the current folder, see `default_output`. A file appears when it is complete.
        style, fade, strength, preserve_colors, compare, stroke_size, backend, device, precision:
            see `load_frame_stylizer`.
        codec: h264 (default), hevc, av1, vp9 (default of .webm), h264_nvenc or hevc_nvenc.
        crf: quality, from 0 (best) to 51, or 63 for av1 and vp9; by default 20 for h264.
        preset: speed of encoding: veryfast (default) and the like for h264 and hevc, 0 (slow) to
            13 for av1, 0 to 8 for vp9, p1 to p7 (slow) for NVENC.
        start, end: seconds of the source, to convert a part.
        size: pixels of the long side, or (width, height).
        scale: factor for both sides, instead of a size.
        fps: a constant rate, by repeating and dropping frames; of a folder, its rate. Repeated
            frames are stylized once.
        stability: how much of the last stylized frame is kept, from 0 (each frame on its own) to
            1; by default see `stabilizer_for`. It also replaces a FrameStylizer's stabilizer.
        overwrite: whether to replace an existing output, or an interrupted conversion to it.
        resume: whether to continue an interrupted conversion, if there is one.
        segment: number of frames per segment.
        ray: address of a Ray cluster whose machines share the work: `auto`, `HOST:6379` or
            `ray://HOST:10001`; see `nst_rt.infer.farm.video.stylize_on_farm`.
        progress: called after each frame with the number of frames done, and that of all frames
            (an estimate; None if unknown).
        style_image, learning: style image to learn on frames from all over this video instead of a
            style, and how, see `learn_style`; `progress` is then first called with the fraction of
            the time. What was learned is kept with an interrupted conversion.

    Raises:
        InputError, OutputExistsError: files or values that cannot be used; a conversion that
            another process is running, or that cannot be resumed with these settings.
        VideoError: a source that is not a video or has no frames; a codec or size that cannot be
            encoded.
        PartialResultError: parts of the source cannot be decoded: the output has the others, and
            the error's result is the `VideoResult`. Or the disk is full.
    """
    settings = ConversionSettings(
        codec, crf, preset, start, end, size, scale, fps, stability, overwrite, resume, segment
    )
    wanted = learning_for(
        style, DEFAULT_STYLE, style_image, learning, overwrite=overwrite, resumes=resume
    )
    if output is None:
        named = {wanted.request.name: 1.0} if wanted else style
        output = default_output(source, named, strength=strength)
    styling: dict[str, Any] = {
        "fade": fade,
        "strength": strength,
        "preserve_colors": preserve_colors,
        "compare": compare,
        "stroke_size": stroke_size,
        "backend": backend,
        "device": device,
        "precision": precision,
    }
    request = None
    if ray is None or wanted:
        request = check_conversion(source, output, settings)
    if wanted and request:
        style = learned_for(request, wanted, progress=progress, device=device)
        settings = replace(settings, learned=style)
        request = replace(request, settings=settings)
    if ray is not None:
        return _on_farm(source, output, Preparation.of(style, **styling), settings, ray, progress)
    assert request is not None
    frame_stylizer = load_frame_stylizer(style, **styling)
    reader = request.reader
    frame_stylizer.stabilizer = stabilizer_for(stability, settings.rate or reader.info.rate)
    begin = time.perf_counter()
    with ExitStack() as stack:
        conversion = _Conversion(request, frame_stylizer, stack)
        conversion.run(progress)
    copied = (track for track in conversion.tracks if not track.is_left_out)
    result = VideoResult(
        output=request.output,
        frames=conversion.done,
        seconds=time.perf_counter() - begin,
        audio=next((track.codec for track in copied if track.kind == "audio"), None),
        backend=str(frame_stylizer),
        resumed=conversion.resumed,
        stages=conversion.stages.seconds,
        tracks=conversion.tracks,
        warnings=(*reader.warnings, *conversion.sink.warnings),
        damage=tuple(reader.damage),
    )
    return result.checked(source)


def _on_farm(
    source: Path | str,
    output: Path | str,
    preparation: Preparation,
    settings: ConversionSettings,
    ray: str,
    progress: Progress | None,
) -> VideoResult:
    from nst_rt.infer.farm.video import stylize_on_farm

    videos = [(source, output)]
    [(_, done)] = stylize_on_farm(videos, preparation, settings, ray=ray, progress=progress)
    if isinstance(done, Exception):
        raise done
    return done


class _Conversion:
    """Frames on their way from a reader through a frame stylizer to a sink.

    The stack closes what is opened here.
    """

    def __init__(self, request: Request, frame_stylizer: FrameStylizer, stack: ExitStack) -> None:
        self._request, self._frame_stylizer = request, frame_stylizer
        self._reader = request.reader
        self._work: WorkFolder | None = None
        self.tracks: tuple[Track, ...] = ()
        self.stages = Stages()
        self.sink = self._opened_sink(stack)
        self.resumed = self.done = 0 if self._work is None else self._work.frames
        checkpoint = None if self._work is None else self._work.checkpoint()
        self._mark = None if checkpoint is None else checkpoint.mark
        frame_stylizer.restore({} if checkpoint is None else checkpoint.state)
        if checkpoint is not None:
            self._reader.restore(checkpoint.source)

    def run(self, progress: Progress | None) -> None:
        """Convert everything; after an error keep what can be kept."""
        changed = (str(track) for track in self.tracks if track.action != "copied")
        unseen = unseen_styles(self._frame_stylizer.timeline, self._reader)
        warn(self._request.output, [*changed, *unseen], self.sink.warnings)
        expected: float = self._reader.expected
        if self._request.rate is not None:
            expected = round(expected * self._request.rate / self._reader.info.rate)
        try:
            with (
                interrupts_deferred() as interrupted,
                closing(polled(self._stylized(), seconds=GLANCE, depth=AHEAD)) as frames,
            ):
                for item in frames:
                    if interrupted():
                        raise KeyboardInterrupt
                    if item is None:
                        continue
                    with self.stages("encode"):
                        self.sink.write(*item)
                    self.done += 1
                    if progress:
                        progress(self.done, expected or None, "")
            if not self.done:
                raise VideoError(f"{self._reader.path}: no frame of this video can be decoded")
            with self.stages("assemble"):
                self.sink.close()
        except BrokenPipeError:  # the reader of standard output has ended
            self.sink.abort()
            raise
        except (av.FFmpegError, OSError) as error:
            partial = self.sink.abort()
            raise unwritten(self._request.output, self._work, error, partial) from error
        except BaseException:
            self.sink.abort()
            raise

    def _stylized(self) -> Generator[tuple[TimedFrame, Checkpoint | None], None, None]:
        """Stylized frames, with a checkpoint where a segment ends; none if all are done."""
        if self._work is not None and self._work.is_complete:
            return
        stylized = stylized_frames(
            self._frames(),
            self._frame_stylizer,
            self._request.time_base,
            self.stages,
            after=None if self._mark is None else self._mark.pts,
            patience=PATIENCE if str(self._reader.path) == STDIO else None,
        )
        with closing(stylized) as frames:
            for count, (timed, image) in enumerate(frames, self.done + 1):
                checkpoint = None
                if self._work is not None and count % self._request.settings.segment == 0:
                    mark = Mark(timed.source, frame_digest(timed.image))
                    state = self._frame_stylizer.state()
                    checkpoint = Checkpoint(mark, state, self._reader.state())
                yield replace(timed, image=image), checkpoint

    def _frames(self) -> Iterator[TimedFrame]:
        """Frames to stylize, in ticks of the output."""
        frames = self._request.frames(self._mark)
        if self._work is None or not self._work.segments:
            return frames
        last = self._work.segments[-1].last
        return itertools.dropwhile(lambda timed: timed.pts <= last, frames)

    def _opened_sink(self, stack: ExitStack) -> VideoSink:
        """The sink of the output; also sets `tracks` and, for segments, the work folder."""
        request, reader = self._request, self._request.reader
        output, settings = request.output, request.settings
        start, end = request.span
        if (source := stack.enter_context(reader.container())) is not None:
            suffix = ".mkv" if str(output) == STDIO else output.suffix.lower()
            self.tracks = tuple(plan_tracks(source, suffix).values())
        if is_pattern(output):
            return FolderSink(output)
        if request.encoding is None or STDIO in (str(output), str(reader.path)):
            return StreamSink(
                output, request.encoding, request.shape, source, reader.others, start=start, end=end
            )
        plan = request.plan(self._frame_stylizer.identity)
        self._work = stack.enter_context(
            work_folder(
                output,
                plan,
                resume=settings.resume,
                overwrite=settings.overwrite,
                learned=settings.learned,
            )
        )
        encoding, tracks = request.encoding, reader.container
        return SegmentSink(
            output, self._work, encoding, request.shape, tracks=tracks, start=start, end=end
        )


def unseen_styles(timeline: Timeline | None, reader: VideoSource) -> Iterator[str]:
    """Warnings of styles that begin after the end of the video, as far as that is known."""
    rate = reader.info.rate
    if timeline is None or not reader.expected or not rate:
        return
    end = float(reader.expected / rate)
    for (begin, _), blend in zip(timeline.moments, timeline.blends, strict=True):
        if begin >= end and begin:
            yield (
                f"{' + '.join(blend)} would begin at {begin:g} s, after the end of the video at "
                f"{end:.3g} s"
            )


def unwritten(
    output: Path, work: WorkFolder | None, error: av.FFmpegError | OSError, partial: Path | None
) -> Exception:
    """What to raise where the output cannot be written.

    Args:
        output, work: the output, and its work folder if it has one.
        error: what happened.
        partial: the file that plays, if there is one.
    """
    reason = f"{output}: cannot be written ({error.strerror or error})"
    if work is not None and work.segments:
        room = "make room, then " if is_disk_full(error) else ""
        return PartialResultError(
            f"{reason}; {work.frames} frames are kept in {work.path}; {room}`resume` continues"
        )
    if partial is not None:
        return PartialResultError(f"{reason}; what was finished is in {partial}")
    return VideoError(reason)
