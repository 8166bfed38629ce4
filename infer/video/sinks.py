"""Where painted frames go: segments of a video file, a pipe, GIF and WebP, numbered pictures."""

import contextlib
import logging
import queue
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import av
from av.container import InputContainer
from av.filter import Graph

from nst_rt.errors import InputError, OutputExistsError
from nst_rt.files import partial_path
from nst_rt.images import IMAGE_SUFFIXES, Frame, save_image
from nst_rt.infer.video.assemble import assemble
from nst_rt.infer.video.encoding import Encoding, FrameEncoder, Shape
from nst_rt.infer.video.info import Packet, url
from nst_rt.infer.video.segments import Checkpoint, Segment, SegmentWriter, WorkFolder
from nst_rt.infer.video.tracks import TrackCopier, taken

logger = logging.getLogger(__name__)

Tracks = Callable[[], AbstractContextManager[InputContainer | None]]

ANIMATION_SUFFIXES = (".gif", ".webp")
_HUNDREDTH = Fraction(1, 100)  # second; what GIF counts in
_SHORTEST = 2  # hundredths between two frames, or browsers slow the whole film down
_NUMBER = re.compile(r"%0?(\d*)d")


@dataclass(frozen=True)
class Painted:
    """A painted frame.

    Attributes:
        frame: shape (H, W, 3), uint8 BGR.
        pts, duration: in ticks of the output.
        checkpoint: what is needed to go on behind it, if a segment ends with it.
    """

    frame: Frame
    pts: int
    duration: int
    checkpoint: Checkpoint | None = None


class Sink(Protocol):
    """Takes painted frames in order, and is told how it ends."""

    def write(self, painted: Painted, shape: Shape) -> None:
        """Take a frame; `shape` is the same for all."""

    def finish(self) -> None:
        """Complete the output."""

    def abort(self) -> Path | None:
        """Keep what can be kept; returns the file that plays, if there is one."""


class SegmentSink:
    """A video file, written in segments; see `WorkFolder`.

    Args:
        output: .mp4, .mkv, .mov or .webm.
        work: its work folder.
        encoding: of the video.
        tracks: opens what sound and the like are taken from.
        start, end: seconds of it that are converted.
    """

    def __init__(
        self,
        output: Path,
        work: WorkFolder,
        encoding: Encoding,
        *,
        tracks: Tracks,
        start: float,
        end: float | None,
    ) -> None:
        self._output, self._work, self._encoding = output, work, encoding
        self._tracks, self._start, self._end = tracks, start, end
        self._shape = work.shape
        self._open: SegmentWriter | None = None

    def write(self, painted: Painted, shape: Shape) -> None:
        """Encode a frame; a checkpoint ends the segment."""
        if self._open is None:
            self._shape = shape
            self._open = SegmentWriter(self._work.open_video, self._encoding, shape)
        self._open.write(painted.frame, painted.pts, painted.duration)
        if painted.checkpoint is not None:
            segment, self._open = self._open.finish(), None
            self._work.add(segment, shape, painted.checkpoint)

    def finish(self) -> None:
        """Put the output together; the work folder goes."""
        self._assemble(self._output, self._parts(), self._end)
        partial_path(self._output).unlink(missing_ok=True)
        self._work.remove()

    def abort(self) -> Path | None:
        """Put together what there is; what no segment was finished of will be painted again."""
        partial = partial_path(self._output)
        try:
            parts = self._parts()
            if not parts:
                return None
            last = parts[-1][0]
            assert self._shape is not None
            end = self._start + float((last.last + last.duration) * self._shape.time_base)
            self._assemble(partial, parts, end)
        except (av.FFmpegError, OSError) as error:  # a full disk, say; the segments are there
            logger.info("%s: cannot be written (%s)", partial, error)
            return None
        finally:
            with contextlib.suppress(OSError):
                self._work.open_video.unlink(missing_ok=True)
            if not self._work.segments:
                self._work.remove()
        return partial

    def _parts(self) -> list[tuple[Segment, Path]]:
        """All segments, the one that was being written included."""
        parts = list(zip(self._work.segments, self._work.videos(), strict=True))
        if self._open is not None:
            writer, self._open = self._open, None
            try:
                parts.append((writer.finish(), self._work.open_video))
            except (av.FFmpegError, OSError, IndexError):
                if not parts:
                    raise
        return parts

    def _assemble(self, output: Path, parts: list[tuple[Segment, Path]], end: float | None) -> None:
        assert self._shape is not None
        with self._tracks() as source:
            assemble(
                output,
                parts,
                shape=self._shape,
                encoding=self._encoding,
                source=source,
                start=self._start,
                end=end,
            )


class PipeSink:
    """Matroska on standard output, picture and sound as they come.

    Args:
        encoding: of the video.
        source: whose sound and the like go along, None for none.
        others: packets of these streams, which the reader fills.
        start, end: seconds of the source that are converted.
    """

    def __init__(
        self,
        encoding: Encoding,
        *,
        source: InputContainer | None,
        others: "queue.SimpleQueue[Packet]",
        start: float,
        end: float | None,
    ) -> None:
        self._encoding, self._source, self._others = encoding, source, others
        self._start, self._end = start, end
        self._container = av.open("pipe:1", "w", format="matroska")
        self._encoder: FrameEncoder | None = None
        self._tracks: TrackCopier | None = None

    def write(self, painted: Painted, shape: Shape) -> None:
        """Encode a frame, and pass on what came with it."""
        if self._encoder is None:
            self._encoder = FrameEncoder(self._container, self._encoding, shape)
            if self._source is not None:
                self._tracks = TrackCopier(
                    self._source, self._container, ".mkv", start=self._start, end=self._end
                )
        self._encoder.encode(painted.frame, painted.pts)
        self._pass_on()

    def finish(self) -> None:
        """Write what is held back."""
        if self._encoder is not None:
            self._encoder.finish()
            self._pass_on()
            if self._tracks is not None:
                self._container.mux(self._tracks.finish())
        self._container.close()

    def abort(self) -> Path | None:
        """End the stream; what was written has been read already."""
        with contextlib.suppress(av.FFmpegError, OSError):
            self.finish()
        return None

    def _pass_on(self) -> None:
        for packet in taken(self._others):
            if self._tracks is not None:
                self._container.mux(self._tracks.convert(packet))


class AnimationSink:
    """A GIF with a palette for each frame, or an animated WebP; both without sound.

    Args:
        output: .gif or .webp; it appears when it is complete.

    Attributes:
        dropped: frames that came too fast for the format.
    """

    def __init__(self, output: Path) -> None:
        self._output, self._partial = output, partial_path(output)
        self._is_gif = output.suffix.lower() == ".gif"
        options = {"loop": "0"}  # for ever
        self._container = av.open(url(self._partial), "w", options=options)
        self._stream: av.VideoStream | None = None
        self._graph = Graph()
        self._last: int | None = None
        self.dropped = 0

    def write(self, painted: Painted, shape: Shape) -> None:
        """Encode a frame."""
        if self._stream is None:
            self._stream = self._new_stream(shape)
        pts = round(painted.pts * shape.time_base / _HUNDREDTH)
        if self._last is not None and pts - self._last < _SHORTEST:
            self.dropped += 1
            return
        self._last = pts
        picture = av.VideoFrame.from_ndarray(painted.frame, format="bgr24")
        picture.pts, picture.time_base = pts, _HUNDREDTH
        if self._is_gif:
            self._graph.vpush(picture)
            picture = self._graph.vpull()
            picture.pts, picture.time_base = pts, _HUNDREDTH
        self._container.mux(self._stream.encode(picture))

    def finish(self) -> None:
        """Complete the file."""
        self._close()
        self._partial.replace(self._output)

    def abort(self) -> Path | None:
        """Finish what there is as `OUT.partial.EXT`."""
        with contextlib.suppress(av.FFmpegError, OSError):
            self._close()
        if self._last is None:
            self._partial.unlink(missing_ok=True)
            return None
        return self._partial

    def _close(self) -> None:
        try:
            if self._stream is not None:
                self._container.mux(self._stream.encode(None))
        finally:
            self._container.close()

    def _new_stream(self, shape: Shape) -> av.VideoStream:
        codec = "gif" if self._is_gif else "libwebp_anim"
        stream = self._container.add_stream(codec, rate=shape.rate)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height = shape.width, shape.height
        stream.pix_fmt = "pal8" if self._is_gif else "yuv420p"
        stream.codec_context.time_base = stream.time_base = _HUNDREDTH
        if self._is_gif:
            self._plan_palettes(shape)
        return stream

    def _plan_palettes(self, shape: Shape) -> None:
        graph = self._graph
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


class FolderSink:
    """Pictures with numbers from 1 on.

    Args:
        pattern: such as `frames/%06d.png`.
    """

    def __init__(self, pattern: Path) -> None:
        self._pattern = pattern
        self._count = 0
        pattern.parent.mkdir(parents=True, exist_ok=True)

    def write(self, painted: Painted, shape: Shape) -> None:
        """Write a picture."""
        self._count += 1
        save_image(painted.frame, str(self._pattern) % self._count, overwrite=True)

    def finish(self) -> None:
        """All is there."""

    def abort(self) -> Path | None:
        """All pictures but the last are there."""
        return self._pattern.parent if self._count else None


def is_pattern(output: Path) -> bool:
    """A name such as `%06d.png`, for numbered pictures."""
    return _NUMBER.search(output.name) is not None


def check_pattern(output: Path, *, overwrite: bool) -> Path:
    """Check where numbered pictures are to go.

    Raises:
        InputError: no format of pictures, more than one number, or a file where the folder goes.
        OutputExistsError: there are such pictures already.
    """
    if output.suffix.lower() not in IMAGE_SUFFIXES or output.name.count("%") != 1:
        raise InputError(f"{output}: pictures are written as %06d.png, or .jpg and the like")
    if output.parent.exists() and not output.parent.is_dir():
        raise InputError(f"{output}: {output.parent} is a file, not a folder")
    if not overwrite and output.parent.is_dir():
        before, after = _NUMBER.split(output.name)[0], _NUMBER.split(output.name)[-1]
        taken = re.compile(re.escape(before) + r"\d+" + re.escape(after))
        for path in output.parent.iterdir():
            if taken.fullmatch(path.name):
                raise OutputExistsError(f"{path}: exists already; --overwrite replaces it")
    return output
