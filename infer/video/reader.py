"""The frames of a video file or pipe, decoded by PyAV, upright, as uint8 BGR."""

import logging
import queue
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from nst_rt.errors import InputError
from nst_rt.files import check_input
from nst_rt.images.io import Frame
from nst_rt.infer.frames import TimedFrame
from nst_rt.infer.threads import PATIENCE, in_background
from nst_rt.infer.video.probe import (
    STDIO,
    Packet,
    open_media,
    readable_packets,
    video_info,
    video_stream,
    with_damage,
)
from nst_rt.infer.video.source import Mark, VideoSource, frame_digest
from nst_rt.infer.video.transforms import (
    Deinterlacer,
    Orientation,
    Size,
    target_size,
)

logger = logging.getLogger(__name__)

# WebM keeps transparency beside the picture, where FFmpeg's own decoders ignore it.
_WITH_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}

_TRACE = 40  # frames after a sign of damage among which missing ones count as damaged
_JUMP = 0.75  # frames that are missing at least where time jumps
# Most pixels of a frame, twice as many as 8K has, unless the file's header announces more: a stream
# may change to any size, for which FFmpeg would take gigabytes.
_MOST_PIXELS = 2**26
_PADDING = 128  # pixels that decoders may add to a side
_HOLE = 256  # bytes between two packets of a Matroska file, more than it needs


class VideoReader(VideoSource):
    """The frames of a video in order, upright, each with its time.

    Times count from the beginning of the file, or from `start`. Parts that cannot be decoded are
    left out and listed in `damage`.

    Args:
        path: any file that FFmpeg decodes, or `-` for standard input, which can be read once.
        start, end: seconds, to read a part.
        size, scale: see `target_size`.
        square: whether to stretch frames whose pixels are not square.
        others: queue that collects the packets of all other streams while frames are read.

    Raises:
        InputError: no such file, or `start` and `end` do not make a range.
        VideoError: not a video, no frames, or cut off before its index.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        start: float | None = None,
        end: float | None = None,
        size: Size | None = None,
        scale: float | None = None,
        square: bool = False,
        others: "queue.SimpleQueue[Packet] | None" = None,
    ) -> None:
        check_range(start, end)
        self._file = path
        self._pipe = _open_pipe() if str(path) == STDIO else None
        if self._pipe is None:
            check_input(path)
        self._ahead: list[Packet] = []  # of a pipe, read while its properties were found out
        with self.container() as container:
            info = video_info(path, container, None if self._pipe is None else self._ahead)
            self._knows_its_end = container.format.name.startswith("mov")
        super().__init__(path, info)
        base, origin = self.info.time_base, self.info.origin
        self._first = origin + round((start or 0) / base)
        self._end = None if end is None else origin + round(end / base)
        if self.info.end is not None and (start or 0) >= self.info.end:
            raise InputError(
                f"{path}: ends at {self.info.end:.2f} s, before the `start` of {start:g} s"
            )
        self._size, self._scale, self._square = size, scale, square
        self.others = others
        self._frame_ticks = max(round(1 / self.info.rate / base), 1)
        self._reformatter = VideoReformatter()
        # Height and width of the first frame; width and height after resizing.
        self._shapes: tuple[tuple[int, int], tuple[int, int]] | None = None
        self._suspects = 0  # number of frames in which a jump in time still counts as damage
        self._reached: int | None = None  # latest end of a decoded frame
        if self.info.missing:
            self._warn(f"{self.info.missing} bytes are missing at its end")

    @property
    def expected(self) -> int:
        if self._end is None and self._first == self.info.origin:
            return self.info.frames
        if self.info.end is None:
            return 0
        end = self.info.end
        if self._end is not None:
            end = min(end, self.info.seconds(self._end))
        return max(round((end - self.info.seconds(self._first)) * self.info.rate), 1)

    def displayed(self, tick: int) -> int | None:
        """The time of a frame with this tick of the file; None before `start` and after `end`."""
        if tick < self._first or (self._end is not None and tick >= self._end):
            return None
        return tick - self._first

    def end_after(self, pts: int, duration: int) -> int:
        """Time at which the last frame ends, by its own time and the duration of its packet."""
        end = self._stream_end(pts, duration or self._frame_ticks)
        return (end if self._end is None else min(end, self._end)) - self._first

    def state(self) -> dict[str, Any]:
        return {**super().state(), "shapes": self._shapes}

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        if state["shapes"] is not None:
            first, target = state["shapes"]
            self._shapes = tuple(first), tuple(target)

    def frames(self, after: Mark | None = None) -> Iterator[TimedFrame]:
        # The mark is found by seeking. If that does not lead to the very same frame, as in files
        # with a wrong index, everything is decoded from the beginning.
        if after is None or self._pipe is not None:
            yield from self._frames(self._first if self._first > self.info.origin else None)
            return
        known = self.damage
        frames = self._frames(after.pts + self._first)
        for timed in frames:
            if timed.pts == after.pts and after.digest in ("", frame_digest(timed.image)):
                yield timed
                yield from frames
                return
            if timed.pts >= after.pts:
                break
        frames.close()
        logger.info("%s: seeking does not work; decoding from the beginning", self.path)
        self.is_seekable = False
        self.damage = known
        for timed in self._frames(None):
            if timed.pts >= after.pts:
                yield timed

    @contextmanager
    def container(self) -> "Iterator[InputContainer]":
        """The open file; a pipe stays open afterwards.

        Raises:
            VideoError: it cannot be opened.
        """
        if self._pipe is not None:
            yield self._pipe
            return
        with open_media(self._file) as container:
            yield container

    def _frames(self, target: int | None) -> Generator[TimedFrame, None, None]:
        """Frames from `start` to `end`; `target` is a tick of the file to seek to."""
        previous: int | None = None
        due = self.info.start if target is None else None  # when a frame is expected, if known
        orientation: Orientation | None = None
        held: TimedFrame | None = None  # until the next frame tells its duration
        for picture in self._decoded(target):
            assert picture.pts is not None
            # Encoders refuse timestamps that do not ascend.
            pts = picture.pts if previous is None else max(picture.pts, previous + 1)
            self._look_for_damage(picture, pts, pts if due is None else due)
            previous, due = pts, pts + self._frame_ticks
            if pts < self._first:
                continue
            if held is not None:
                yield self._shown_until(pts, held)
            if self._end is not None and pts >= self._end:
                return
            if orientation is None or picture.rotation != orientation.rotation:
                orientation = Orientation(picture)
            image = self._shaped(orientation.upright(self._bgr(picture)), orientation)
            pts -= self._first
            held = TimedFrame(image, pts, picture.duration or self._frame_ticks, pts)
        self._look_for_a_missing_end()
        if held is not None:
            yield self._shown_until(self._stream_end(held.pts, held.duration), held)

    def _shown_until(self, tick: int, timed: TimedFrame) -> TimedFrame:
        """The frame, displayed until a tick of the file or until `end`."""
        end = tick if self._end is None else min(tick, self._end)
        return replace(timed, duration=end - self._first - timed.pts)

    def _stream_end(self, pts: int, duration: int) -> int:
        """Tick of the file at which the last frame ends.

        In MP4 and MOV the duration of a frame is the time to the one stored after it, which is not
        the one displayed next, so the duration of the stream decides.
        """
        begin = self._first + pts
        if self._knows_its_end and self.info.duration and not self.damage:
            end = self.info.start + round(self.info.duration / self.time_base)
            if end > begin:
                return end
        return begin + duration

    def _decoded(self, target: int | None) -> Iterator[av.VideoFrame]:
        """Deinterlaced frames from the key frame before `target` on, in ticks of the file."""
        with self.container() as container:
            stream = video_stream(self.path, container)
            sought = None if target is None else self._seek(container, target)
            deinterlacer = Deinterlacer(self.info.time_base)
            for picture in self._pictures(container, stream):
                if sought is not None and picture.pts > sought:
                    break  # a wrong index
                sought = None
                yield from deinterlacer(picture)
                if deinterlacer.is_running:
                    self._warn("interlaced: deinterlaced, one frame for each pair of fields")
            else:
                yield from deinterlacer.flush()
                return
        self.is_seekable = False
        yield from self._decoded(None)

    def _seek(self, container: InputContainer, target: int) -> int | None:
        """The tick sought, before the target for the deinterlacer's sake; None if impossible."""
        sought = target - 2 * self._frame_ticks
        if sought <= self.info.start:
            return None
        # Bare streams, which have no duration, lose their timestamps.
        if self._pipe is not None or not self.info.duration:
            self.is_seekable = False
            return None
        try:
            container.seek(sought, stream=video_stream(self.path, container))
        except (av.FFmpegError, OSError):
            self.is_seekable = False
            return None
        return sought

    def _pictures(self, container: InputContainer, stream: VideoStream) -> Iterator[Any]:
        """Decoded frames, each with a timestamp."""
        last = self.info.start - self._frame_ticks
        decoder = _decoder(stream)
        for packet in chain(self._packets(container, stream), [None]):
            try:
                pictures = decoder.decode(packet)
            except (av.FFmpegError, OSError):
                self._suspects = _TRACE
                self._note_damage(last, last)
                continue
            for picture in pictures:
                if picture.pts is None:
                    picture.pts = last + self._frame_ticks if picture.dts is None else picture.dts
                last = picture.pts
                end = last + (picture.duration or self._frame_ticks)
                self._reached = max(self._reached or end, end)
                yield picture

    def _packets(self, container: InputContainer, stream: VideoStream) -> Iterator[Packet]:
        """Packets of the video; those of other streams go to `others`."""
        # Where Matroska is damaged, FFmpeg continues after it silently. Other containers have holes
        # that mean nothing: boxes, tables, another interleaving.
        has_no_holes = container.format.name.startswith("matroska")
        place: int | None = None  # in the file, after the last packet
        for packet in chain(self._ahead, readable_packets(container)):
            if packet is None:
                self._suspects = _TRACE
                continue
            if has_no_holes and packet.pos is not None:
                if place is not None and packet.pos - place > _HOLE:
                    self._suspects = _TRACE
                place = packet.pos + packet.size
            if packet.stream.index == stream.index:
                if packet.is_corrupt:
                    self._suspects = _TRACE
                yield packet
            elif self.others is not None:
                self.others.put(packet)

    def _look_for_damage(self, picture: av.VideoFrame, pts: int, due: int) -> None:
        """Note a corrupt frame, and frames that are missing after a sign of damage.

        Args:
            picture, pts: the frame and its time.
            due: time at which a frame was expected.
        """
        if picture.is_corrupt:
            self._suspects = _TRACE
            self._note_damage(pts, pts + self._frame_ticks)
        if not self._suspects:
            return
        self._suspects -= 1
        if pts - due > _JUMP * self._frame_ticks:
            self._note_damage(due, pts)

    def _look_for_a_missing_end(self) -> None:
        """Note what lacks between the last frame and the end that the container states."""
        if self.info.end is None or self._reached is None:
            return
        end = self.info.start + round((self.info.duration or 0) / self.time_base)
        if self._end is not None:
            end = min(end, self._end)
        # Durations are rounded, guessed, or those of a longer stream.
        tolerance = 1 + 0.02 * self.info.seconds(end)
        if self.info.missing or (end - self._reached) * self.time_base > tolerance:
            self._note_damage(min(self._reached, end), end)

    def _note_damage(self, start: int, end: int) -> None:
        if end >= self._first:
            self.damage = with_damage(self.damage, self.info.seconds(start), self.info.seconds(end))

    def _bgr(self, picture: av.VideoFrame) -> Frame:
        pixels = picture.format
        if any(part.bits > 8 for part in pixels.components):
            self._warn("more than 8 bits per channel: stylized and written in 8")
        colors = self.info.source_colors
        if not pixels.is_rgb and not pixels.has_palette:
            picture.colorspace, picture.color_range = colors.matrix, colors.range
        has_alpha = pixels.has_palette or any(part.is_alpha for part in pixels.components)
        converted = self._reformatter.reformat(picture, format="bgra" if has_alpha else "bgr24")
        frame = np.asarray(converted.to_ndarray(), np.uint8)
        return self._over_white(frame) if has_alpha else frame

    def _shaped(self, frame: Frame, orientation: Orientation) -> Frame:
        aspect = 1 / self.info.aspect if orientation.swaps else self.info.aspect
        stretch = aspect if self._square else Fraction(1)
        self.aspect = aspect / stretch
        height, width = frame.shape[:2]
        if self._shapes is None:
            target = target_size(width, height, size=self._size, scale=self._scale, stretch=stretch)
            self._shapes = (height, width), target
        return self._fitted(frame, *self._shapes)


def check_range(start: float | None, end: float | None) -> None:
    """Check the part of a video that is asked for.

    Raises:
        InputError: a negative or infinite time, or an end that does not come after the start.
    """
    if start is not None and not 0 <= start < float("inf"):
        raise InputError(f"`start` must be 0 seconds or more, not {start}")
    if end is not None and not (start or 0) < end < float("inf"):
        raise InputError(f"`end`, {end:g} s, must come after `start`, {start or 0:g} s")


def _decoder(stream: VideoStream) -> VideoCodecContext:
    """A decoder that gives frames with their transparency, and none that are far too large."""
    context = stream.codec_context
    tags = {name.lower(): value for name, value in stream.metadata.items()}
    with_alpha = _WITH_ALPHA.get(context.codec.canonical_name)
    if with_alpha is not None and tags.get("alpha_mode") == "1":
        decoder = av.CodecContext.create(with_alpha, "r")
        assert isinstance(decoder, VideoCodecContext)
    else:
        decoder = context
        stream.thread_type = "AUTO"
    announced = (stream.width + _PADDING) * (stream.height + _PADDING)
    decoder.options = {"max_pixels": str(max(announced, _MOST_PIXELS))}
    return decoder


def _open_pipe() -> InputContainer:
    """Standard input, opened in a thread: Ctrl-C does not reach FFmpeg while it waits."""
    opening = in_background(map(open_media, [STDIO]), patience=PATIENCE)
    with closing(opening) as opened:
        return next(opened)
