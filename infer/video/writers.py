"""Where painted frames go: segments of a video file, or a pipe; pictures are in `picture_sinks`."""

import contextlib
import logging
import queue
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import av
from av.container import InputContainer

from nst_rt.files import partial_path
from nst_rt.images.io import Frame
from nst_rt.infer.video.copying import TrackCopier, taken
from nst_rt.infer.video.encoder import Encoding, FrameEncoder, Shape
from nst_rt.infer.video.mux import assemble
from nst_rt.infer.video.probe import STDIO, Packet
from nst_rt.infer.video.segments import Checkpoint, Segment, SegmentWriter, WorkFolder

logger = logging.getLogger(__name__)

Tracks = Callable[[], AbstractContextManager[InputContainer | None]]


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

    @property
    def warnings(self) -> Sequence[str]:
        """What became of frames and tracks that a user may not expect."""

    def write(self, stylized: Painted, shape: Shape) -> None:
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
        self.warnings: list[str] = []

    def write(self, stylized: Painted, shape: Shape) -> None:
        """Encode a frame; a checkpoint ends the segment."""
        if self._open is None:
            _warn(self._output, self._encoding.warnings(shape.width, shape.height), self.warnings)
            self._shape = shape
            self._open = SegmentWriter(self._work.open_video, self._encoding, shape)
        self._open.write(stylized.frame, stylized.pts, stylized.duration)
        if stylized.checkpoint is not None:
            self._work.add(self._closed()[0], shape, stylized.checkpoint)

    def finish(self) -> None:
        """Put the output together; the work folder goes."""
        last = [] if self._open is None else [self._closed()]
        _warn(
            self._output,
            self._assemble(self._output, [*self._finished(), *last], self._end),
            self.warnings,
        )
        partial_path(self._output).unlink(missing_ok=True)
        self._work.remove()

    def abort(self) -> Path | None:
        """Put together what there is; what no segment was finished of will be painted again."""
        partial = partial_path(self._output)
        parts = self._finished()
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
        except (av.FFmpegError, OSError) as error:  # a full disk, say; the segments are there
            logger.info("%s: cannot be written (%s)", partial, error)
            return None
        finally:
            with contextlib.suppress(OSError):
                self._work.open_video.unlink(missing_ok=True)
            if not self._work.segments:
                self._work.remove()
        if not self._work.resumable:  # all that it is good for is there
            self._work.remove()
        return partial

    def _finished(self) -> list[tuple[Segment, Path]]:
        return list(zip(self._work.segments, self._work.videos(), strict=True))

    def _closed(self) -> tuple[Segment, Path]:
        """The segment that was being written, completed; it is not tried twice."""
        assert self._open is not None
        writer, self._open = self._open, None
        return writer.finish(), self._work.open_video

    def _assemble(
        self, output: Path, parts: list[tuple[Segment, Path]], end: float | None
    ) -> tuple[str, ...]:
        assert self._shape is not None
        with self._tracks() as source:
            return assemble(
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
        self.warnings: list[str] = []

    def write(self, stylized: Painted, shape: Shape) -> None:
        """Encode a frame, and pass on what came with it."""
        if self._encoder is None:
            told = self._encoding.warnings(shape.width, shape.height)
            _warn(Path(STDIO), told, self.warnings)
            self._encoder = FrameEncoder(self._container, self._encoding, shape)
            if self._source is not None:
                self._tracks = TrackCopier(
                    self._source, self._container, ".mkv", start=self._start, end=self._end
                )
        self._encoder.encode(stylized.frame, stylized.pts)
        self._pass_on()

    def finish(self) -> None:
        """Write what is held back."""
        if self._encoder is not None:
            self._encoder.finish()
            self._pass_on()
            if self._tracks is not None:
                self._container.mux(self._tracks.finish())
                _warn(Path(STDIO), self._tracks.warnings, self.warnings)
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


def _warn(output: Path, told: Sequence[str], known: list[str]) -> None:
    """Tell each once, and keep it."""
    for text in told:
        if text not in known:
            known.append(text)
            logger.warning("%s: %s", output, text)
