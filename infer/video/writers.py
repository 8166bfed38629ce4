"""Where stylized frames go: segments of a video file, a stream in one go, numbered images."""

import contextlib
import logging
import queue
import re
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import av
from av.container import InputContainer, OutputContainer
from av.filter import Graph

from nst_rt.errors import InputError, OutputExistsError
from nst_rt.files import partial_path, remove_output
from nst_rt.images.io import IMAGE_SUFFIXES, Frame, save_image
from nst_rt.infer.frames import Sink, TimedFrame
from nst_rt.infer.video.encoder import FORMATS, Encoding, FrameEncoder, Shape
from nst_rt.infer.video.mux import Part, assemble, mp4_options
from nst_rt.infer.video.probe import STDIO, Packet, url
from nst_rt.infer.video.segments import Checkpoint, SegmentWriter, WorkFolder
from nst_rt.infer.video.tracks import TrackCopier

logger = logging.getLogger(__name__)

ANIMATION_SUFFIXES = (".gif", ".webp")

Tracks = Callable[[], AbstractContextManager[InputContainer | None]]
ShapeOf = Callable[[Frame], Shape]  # the same for all frames; known from the first one on

# Until it is complete, an MP4 plays up to its last fragment, whatever happens; after that it is an
# ordinary file. The delayed header keeps the time of a first frame that is not at 0.
_MOVFLAGS = "hybrid_fragmented+delay_moov"

_HUNDREDTH = Fraction(1, 100)  # second; the unit of GIF
_SHORTEST = 2  # hundredths between two frames; browsers slow down faster animations
_NUMBER = re.compile(r"%0?(\d*)d")


class VideoSink(Sink, Protocol):
    """A sink of frames with an end, which keeps what it can after an error.

    Attributes:
        warnings: anything unusual about frames and tracks.
    """

    warnings: list[str]

    def write(self, frame: TimedFrame, checkpoint: Checkpoint | None = None) -> None:
        """Take the next frame; with a checkpoint, a segment ends here."""

    def abort(self) -> Path | None:
        """Keep what can be kept; returns the file that plays, if there is one."""


class SegmentSink:
    """A video file, written in segments that survive an interruption; see `WorkFolder`.

    Args:
        output, work: .mp4, .mkv, .mov or .webm, and its work folder.
        encoding, shape: of the video.
        tracks: opens the container whose tracks are copied.
        start, end: seconds of it to copy.
    """

    def __init__(
        self,
        output: Path,
        work: WorkFolder,
        encoding: Encoding,
        shape: ShapeOf,
        *,
        tracks: Tracks,
        start: float,
        end: float | None,
    ) -> None:
        self._output, self._work, self._encoding = output, work, encoding
        self._shape_of, self._shape = shape, work.shape
        self._tracks, self._start, self._end = tracks, start, end
        self._open: SegmentWriter | None = None
        self.warnings: list[str] = []

    def write(self, frame: TimedFrame, checkpoint: Checkpoint | None = None) -> None:
        """Encode a frame; a checkpoint ends the segment."""
        if self._open is None:
            self._shape = self._shape_of(frame.image)
            self._open = SegmentWriter(self._work.open_video, self._encoding, self._shape)
            warn(self._output, self._open.warnings, self.warnings)
        self._open.write(frame)
        if checkpoint is not None:
            assert self._shape is not None
            self._work.add(self._closed()[0], self._shape, checkpoint)

    def close(self) -> None:
        """Join the segments, unless that is done; the work folder is removed."""
        if self._work.is_complete:
            text = "was complete already; what its conversion had left behind is removed"
            warn(self._output, [text], self.warnings)
        else:
            last = [] if self._open is None else [self._closed()]
            texts = self._assemble(self._output, [*self._work.parts(), *last], self._end)
            warn(self._output, texts, self.warnings)
            remove_output(partial_path(self._output))
        self._work.finish()

    def abort(self) -> Path | None:
        """Join what there is; frames after the last checkpoint will be stylized again."""
        partial = partial_path(self._output)
        parts = self._work.parts()
        try:
            with contextlib.suppress(av.FFmpegError, OSError):  # then without the open one
                if self._open is not None and self._open.frames:
                    parts.append(self._closed())
            if not parts:
                return None
            last = parts[-1][0]
            assert self._shape is not None
            end = self._start + float((last.last + last.duration) * self._shape.time_base)
            self._assemble(partial, parts, end)
        except (av.FFmpegError, OSError) as error:  # a full disk; the segments are kept
            logger.info("%s: cannot be written (%s)", partial, error.strerror or error)
            return None
        finally:
            with contextlib.suppress(OSError):
                self._work.open_video.unlink(missing_ok=True)
            if not self._work.segments:
                self._work.remove()
        return partial

    def _closed(self) -> Part:
        """The open segment, completed; it is not tried twice."""
        assert self._open is not None
        writer, self._open = self._open, None
        return writer.finish(), self._work.open_video

    def _assemble(self, output: Path, parts: list[Part], end: float | None) -> list[str]:
        assert self._shape is not None
        with self._tracks() as source:
            return assemble(output, parts, self._shape, self._encoding, source, self._start, end)


class StreamSink:
    """An output written in one go, video and tracks as they come; there is nothing to resume.

    A file is called `OUT.partial.EXT` until it is complete.

    Args:
        output: a video file, .gif, .webp, or `-` for Matroska on standard output.
        encoding, shape: of the video; no encoding for GIF and WebP, which have no sound.
        source: container whose tracks are copied; None for video alone.
        others: queue of the packets of these tracks, which the reader fills.
        start, end: seconds of the source to copy.
    """

    def __init__(
        self,
        output: Path,
        encoding: Encoding | None,
        shape: ShapeOf,
        source: InputContainer | None = None,
        others: "queue.SimpleQueue[Packet] | None" = None,
        *,
        start: float = 0.0,
        end: float | None = None,
    ) -> None:
        self._output, self._encoding, self._shape_of = output, encoding, shape
        self._source, self._others = source, others
        self._start, self._end = start, end
        self._partial = None if str(output) == STDIO else partial_path(output)
        self._container: OutputContainer | None = None
        self._encoder: FrameEncoder | _AnimationEncoder | None = None
        self._tracks: TrackCopier | None = None
        self._last_end = 0  # tick at which the last frame ends
        self.warnings: list[str] = []

    def write(self, frame: TimedFrame, checkpoint: Checkpoint | None = None) -> None:
        """Encode a frame, and copy the packets that came with it."""
        if self._encoder is None:
            self._encoder = self._begun(self._shape_of(frame.image))
            warn(self._output, self._encoder.warnings, self.warnings)
        self._encoder.encode(frame.image, frame.pts)
        self._last_end = frame.pts + frame.duration
        self._copy_tracks()

    def close(self) -> None:
        """Write what is held back; the file gets its name."""
        self._finish()
        if self._partial is not None:
            self._partial.replace(self._output)

    def abort(self) -> Path | None:
        """End the file as `OUT.partial.EXT`."""
        with contextlib.suppress(av.FFmpegError, OSError):
            self._finish()
        if self._encoder is None and self._partial is not None:
            self._partial.unlink(missing_ok=True)
            return None
        return self._partial

    def _begun(self, shape: Shape) -> "FrameEncoder | _AnimationEncoder":
        suffix = ".mkv" if self._partial is None else self._output.suffix.lower()
        options = {"loop": "0"}  # without end
        if suffix not in ANIMATION_SUFFIXES:
            # FFmpeg would hold back a megabyte, which a killed process loses.
            options = {"flush_packets": "1", **mp4_options(suffix, _MOVFLAGS, shape)}
        self._container = container = av.open(
            "pipe:1" if self._partial is None else url(self._partial),
            "w",
            # By its name alone FFmpeg would take 50%discount.gif for numbered images.
            format=FORMATS.get(suffix, suffix[1:]),
            options=options,
        )
        if self._encoding is None:
            return _AnimationEncoder(container, shape, is_gif=suffix == ".gif")
        encoder = FrameEncoder(container, self._encoding, shape)
        if tag := self._encoding.tag(suffix):
            encoder.stream.codec_context.codec_tag = tag
        if self._source is not None:
            self._tracks = TrackCopier(self._source, container, suffix, self._start, self._end)
        return encoder

    def _copy_tracks(self) -> None:
        with contextlib.suppress(queue.Empty):
            while self._others is not None:
                packet = self._others.get_nowait()
                if self._container is not None and self._tracks is not None:
                    self._container.mux(self._tracks.convert(packet))

    def _finish(self) -> None:
        container, self._container = self._container, None
        if container is None:
            return
        try:
            if self._encoder is not None:
                self._encoder.finish(self._last_end)
                self._copy_tracks()
                warn(self._output, self._encoder.warnings, self.warnings)
            if self._tracks is not None:
                container.mux(self._tracks.finish())
                warn(self._output, self._tracks.warnings, self.warnings)
        finally:
            container.close()


class _AnimationEncoder:
    """Encodes frames as GIF, with a palette for each frame, or as animated WebP."""

    def __init__(self, container: OutputContainer, shape: Shape, *, is_gif: bool) -> None:
        self._container, self._time_base = container, shape.time_base
        stream = container.add_stream("gif" if is_gif else "libwebp_anim", rate=shape.rate)
        assert isinstance(stream, av.VideoStream)
        self._stream = stream
        stream.width, stream.height = shape.width, shape.height
        stream.pix_fmt = "pal8" if is_gif else "yuv420p"
        stream.codec_context.time_base = stream.time_base = _HUNDREDTH
        self._palettes = _palette_graph(shape) if is_gif else None
        self._last: int | None = None
        self._dropped = 0
        self.warnings: list[str] = []

    def encode(self, image: Frame, pts: int) -> None:
        """Encode a frame, unless it comes too fast for the format."""
        pts = round(pts * self._time_base / _HUNDREDTH)
        if self._last is not None and pts - self._last < _SHORTEST:
            self._dropped += 1
            return
        self._last = pts
        picture = av.VideoFrame.from_ndarray(image, format="bgr24")
        picture.pts, picture.time_base = pts, _HUNDREDTH
        if self._palettes is not None:
            self._palettes.vpush(picture)
            picture = self._palettes.vpull()
            picture.pts, picture.time_base = pts, _HUNDREDTH
        self._container.mux(self._stream.encode(picture))

    def finish(self, end: int) -> None:
        """Write what the encoder still holds."""
        if self._dropped:
            self.warnings.append(f"{self._dropped} frames left out, too fast for the format")
        self._container.mux(self._stream.encode(None))


def _palette_graph(shape: Shape) -> Graph:
    """A filter that reduces each frame to a palette of its own."""
    graph = Graph()
    source = graph.add_buffer(
        width=shape.width,
        height=shape.height,
        format=av.VideoFormat("bgr24"),
        time_base=_HUNDREDTH,
    )
    split = graph.add("split")
    palette = graph.add("palettegen", "stats_mode=single")
    use = graph.add("paletteuse", "new=1")
    source.link_to(split)
    split.link_to(palette, 0, 0)
    split.link_to(use, 1, 0)
    palette.link_to(use, 0, 1)
    use.link_to(graph.add("buffersink"))
    graph.configure()
    return graph


class FolderSink:
    """Images with numbers from 1 on, named by a pattern such as `frames/%06d.png`."""

    def __init__(self, pattern: Path) -> None:
        self._pattern, self._count = pattern, 0
        self.warnings: list[str] = []
        pattern.parent.mkdir(parents=True, exist_ok=True)

    def write(self, frame: TimedFrame, checkpoint: Checkpoint | None = None) -> None:
        """Write an image."""
        self._count += 1
        path = self._pattern.with_name(self._pattern.name % self._count)
        save_image(frame.image, path, overwrite=True)

    def close(self) -> None:
        """Nothing is left to do."""

    def abort(self) -> Path | None:
        """The folder, which has all images but the last."""
        return self._pattern.parent if self._count else None


def is_pattern(output: Path) -> bool:
    """Whether a name such as `%06d.png` stands for numbered images; `50%discount.mp4` does not."""
    return output.suffix.lower() in IMAGE_SUFFIXES and _NUMBER.search(output.name) is not None


def check_pattern(output: Path, *, overwrite: bool) -> Path:
    """Return `output` if numbered images may be written there.

    Raises:
        InputError: more than one number, or a file in place of the folder.
        OutputExistsError: such images exist.
    """
    if output.name.count("%") != 1:
        raise InputError(f"{output}: numbered images have one %, as in %06d.png")
    if output.parent.exists() and not output.parent.is_dir():
        raise InputError(f"{output}: {output.parent} is a file, not a folder")
    if not overwrite and output.parent.is_dir():
        before, _, after = _NUMBER.split(output.name)
        numbered = re.compile(re.escape(before) + r"\d+" + re.escape(after))
        for path in output.parent.iterdir():
            if numbered.fullmatch(path.name):
                raise OutputExistsError(f"{path}: exists already; `overwrite` replaces it")
    return output


def warn(output: Path, texts: Iterable[str], known: list[str]) -> None:
    """Log and keep each text once."""
    for text in texts:
        if text not in known:
            known.append(text)
            logger.warning("%s: %s", output, text)
