"""The frames of a video file or of a pipe, decoded by PyAV, upright, as uint8 BGR."""

import hashlib
import logging
import queue
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from nst_rt.errors import InputError
from nst_rt.files import check_input
from nst_rt.images.io import Frame
from nst_rt.infer.threads import PATIENCE, in_background
from nst_rt.infer.video.damage import Damage, DamageWatch
from nst_rt.infer.video.deinterlace import Deinterlacer
from nst_rt.infer.video.packets import decoder_of, picture_packets
from nst_rt.infer.video.probe import (
    STDIO,
    Packet,
    TimedFrame,
    open_media,
    video_info,
    video_stream,
)
from nst_rt.infer.video.transforms import (
    Orientation,
    Size,
    fitted,
    has_alpha,
    over_white,
    target_size,
)

logger = logging.getLogger(__name__)

# What may be in `warnings`.
TRANSPARENT = "transparent: laid over white"
CHANGES_SIZE = "frames change their size: all are fitted into the first one's, with bars if need be"


@dataclass(frozen=True)
class Mark:
    """A frame of the source to go on behind: its time in ticks, and what it looks like."""

    pts: int
    digest: str


def digest(frame: Frame) -> str:
    """A fingerprint of a frame."""
    return hashlib.blake2b(frame.tobytes(), digest_size=16).hexdigest()


class VideoReader:
    """The frames of a video in order, upright, each with its time.

    Times count from the start of the file, or from `start`. What is damaged is left out, and
    told in `damage`; what else a user should know, in `warnings`.

    Args:
        path: any file that FFmpeg decodes, or `-` for a pipe on standard input, which can be read
            once.
        start, end: seconds, to read a part.
        size, scale: see `target_size`.
        square: stretch frames whose pixels are not square.
        others: where packets of other streams go to while the frames are read.

    Attributes:
        info: of the file.
        aspect: of the pixels that frames have; known from the first frame on.
        warnings: what was done that a user may not expect, each once.

    Raises:
        InputError: no such file, or a range that is none.
        VideoError: not a video, without frames, or cut off before its index.
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
        self.path = Path(path)
        self._pipe = _open_pipe() if str(path) == STDIO else None
        if self._pipe is None:
            check_input(path)
        self._ahead: list[Packet] = []  # of a pipe, read before its frames
        with self.container() as container:
            self.info = video_info(path, container, None if self._pipe is None else self._ahead)
            self._knows_its_end = container.format.name.startswith("mov")
        base, origin = self.info.time_base, self.info.origin
        self._first = origin + round((start or 0) / base)
        self._end = None if end is None else origin + round(end / base)
        if self.info.end is not None and (start or 0) >= self.info.end:
            raise InputError(
                f"{path}: ends at {self.info.end:.2f} s, before the start that was asked for, "
                f"{start:g} s"
            )
        self._size, self._scale, self._square = size, scale, square
        self._others = others
        self._frame_ticks = max(round(1 / self.info.rate / base), 1)
        self._reformatter = VideoReformatter()
        # Height and width of the first frame; width and height that all get.
        self._shapes: tuple[tuple[int, int], tuple[int, int]] | None = None
        self._watch = DamageWatch(self.info, self._frame_ticks)
        self.aspect = self.info.aspect
        self.warnings: list[str] = []
        if self.info.missing:
            self._warn(f"truncated: {self.info.missing} bytes are missing at its end")

    def __iter__(self) -> Iterator[TimedFrame]:
        return self.frames()

    @property
    def time_base(self) -> Fraction:
        """Seconds per tick of the frames' times."""
        return self.info.time_base

    @property
    def damage(self) -> list[Damage]:
        """What could not be decoded so far."""
        return self._watch.damage

    @property
    def expected(self) -> int:
        """Frames that will come, roughly; 0 if that cannot be known."""
        if self._end is None and self._first == self.info.origin:
            return self.info.frames
        if self.info.end is None:
            return 0
        end = self.info.end
        if self._end is not None:
            end = min(end, self.info.seconds(self._end))
        return max(round((end - self.info.seconds(self._first)) * self.info.rate), 1)

    def state(self) -> dict[str, Any]:
        """What frames told so far that matters for those to come, in values that JSON knows."""
        return {**self._watch.state(), "shapes": self._shapes}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on as another reader of the same file whose `state` this was."""
        self._watch.restore(state)
        if state["shapes"] is not None:
            first, target = state["shapes"]
            self._shapes = tuple(first), tuple(target)

    def frames(self, after: Mark | None = None) -> Iterator[TimedFrame]:
        """The frames; from the one that is marked on, itself included, if `after` is given.

        That one is looked for by seeking. Where this does not lead to just that frame, as in
        files with a wrong index, all is decoded from the beginning.
        """
        if after is None or self._pipe is not None:
            yield from self._frames(self._first if self._first > self.info.origin else None)
            return
        known = list(self.damage)
        frames = self._frames(after.pts + self._first)
        for timed in frames:
            if timed.pts == after.pts and digest(timed.frame) == after.digest:
                yield timed
                yield from frames
                return
            if timed.pts >= after.pts:
                break
        frames.close()
        logger.info("%s: seeking does not work; decoding from the beginning", self.path)
        self._watch.damage = known
        for timed in self._frames(None):
            if timed.pts >= after.pts:
                yield timed

    @contextmanager
    def container(self) -> "Iterator[InputContainer]":
        """The file, open; a pipe stays open afterwards.

        Raises:
            VideoError: it cannot be opened.
        """
        if self._pipe is not None:
            yield self._pipe
            return
        with open_media(self.path) as container:
            yield container

    def _frames(self, target: int | None) -> Generator[TimedFrame, None, None]:
        """Frames from the window's start on; `target` is a time in the file to seek."""
        previous: int | None = None
        orientation: Orientation | None = None
        held: TimedFrame | None = None  # until the next one tells how long it is shown
        for picture in self._decoded(target):
            assert picture.pts is not None
            # Timestamps that stand still or go back would be refused by encoders.
            pts = picture.pts if previous is None else max(picture.pts, previous + 1)
            self._watch.look_at(picture, pts, previous)
            previous = pts
            if pts < self._first:
                continue
            if held is not None:
                yield self._shown_until(pts, held)
            if self._end is not None and pts >= self._end:
                return
            if orientation is None or picture.rotation != orientation.rotation:
                orientation = Orientation(picture)
            frame = self._shaped(orientation.upright(self._bgr(picture)), orientation)
            pts -= self._first
            held = TimedFrame(frame, pts, picture.duration or self._frame_ticks, pts)
        self._watch.look_for_the_end(self._end)
        if held is not None:
            yield self._shown_until(self._stream_end(held), held)

    def _shown_until(self, tick: int, timed: TimedFrame) -> TimedFrame:
        """The frame, which is shown until a time in the file, or until the end that is wanted."""
        end = tick if self._end is None else min(tick, self._end)
        return replace(timed, duration=end - self._first - timed.pts)

    def _stream_end(self, last: TimedFrame) -> int:
        """When the last frame ends.

        Its own duration is that to the frame which is stored behind it in MP4 and MOV, and that is
        not the one which is shown next; there the stream's tells the end.
        """
        begin = self._first + last.pts
        if self._knows_its_end and self.info.duration and not self.damage:
            end = self.info.start + round(self.info.duration / self.time_base)
            if end > begin:
                return end
        return begin + last.duration

    def _decoded(self, target: int | None) -> Iterator[av.VideoFrame]:
        """All frames from the key frame before `target` on, deinterlaced, in ticks of the file."""
        with self.container() as container:
            stream = video_stream(self.path, container)
            if target is not None and self._pipe is None and not self._seek(container, target):
                target = None
            first = True
            deinterlacer = Deinterlacer(self.info.time_base)
            for picture in self._pictures(container, stream):
                if first and target is not None and picture.pts > self._sought(target):
                    break  # not where it should be
                first = False
                yield from deinterlacer(picture)
                if deinterlacer.is_running:
                    self._warn("interlaced: made whole frames, one for each two fields")
            else:
                yield from deinterlacer.flush()
                return
        yield from self._decoded(None)

    def _sought(self, target: int) -> int:
        """Where to seek to: before the frame, since deinterlacing looks at those before it."""
        return target - 2 * self._frame_ticks

    def _seek(self, container: InputContainer, target: int) -> bool:
        sought = self._sought(target)
        if sought <= self.info.start or not self.info.duration:  # bare streams lose their time
            return False
        try:
            container.seek(sought, stream=video_stream(self.path, container))
        except (av.FFmpegError, OSError):
            return False
        return True

    def _pictures(self, container: InputContainer, stream: VideoStream) -> Iterator[Any]:
        """Decoded frames, each with a timestamp."""
        last = self.info.start - self._frame_ticks
        decoder = decoder_of(stream)
        for packet in picture_packets(
            container,
            stream,
            ahead=self._ahead,
            others=self._others,
            on_damage=self._watch.suspect,
        ):
            try:
                pictures = decoder.decode(packet)
            except (av.FFmpegError, OSError):
                self._watch.note_lost(last)
                continue
            for picture in pictures:
                if picture.pts is None:
                    picture.pts = last + self._frame_ticks if picture.dts is None else picture.dts
                last = picture.pts
                self._watch.note_reached(last + (picture.duration or self._frame_ticks))
                yield picture

    def _bgr(self, picture: av.VideoFrame) -> Frame:
        if picture.format.components and max(c.bits for c in picture.format.components) > 8:
            self._warn("more than 8 bits per channel: painted and written in 8")
        colors = self.info.source_colors
        if not picture.format.is_rgb and not picture.format.has_palette:
            picture.colorspace, picture.color_range = colors.matrix, colors.range
        if not has_alpha(picture.format):
            return self._pixels(picture, "bgr24")
        frame, is_transparent = over_white(self._pixels(picture, "bgra"))
        if is_transparent:
            self._warn(TRANSPARENT)
        return frame

    def _pixels(self, picture: av.VideoFrame, format_: str) -> Frame:
        return np.asarray(
            self._reformatter.reformat(picture, format=format_).to_ndarray(), np.uint8
        )

    def _shaped(self, frame: Frame, orientation: Orientation) -> Frame:
        aspect = 1 / self.info.aspect if orientation.swaps else self.info.aspect
        stretch = aspect if self._square else Fraction(1)
        self.aspect = aspect / stretch
        height, width = frame.shape[:2]
        if self._shapes is None:
            target = target_size(width, height, size=self._size, scale=self._scale, stretch=stretch)
            self._shapes = (height, width), target
        first, target = self._shapes
        if (height, width) != first:
            self._warn(CHANGES_SIZE)
        return fitted(frame, first, target)

    def _warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)
            logger.warning("%s: %s", self.path, text)


def check_range(start: float | None, end: float | None) -> None:
    """Check the part of a video that is asked for.

    Raises:
        InputError: it is none.
    """
    if start is not None and not 0 <= start < float("inf"):
        raise InputError(f"the start must be a time in seconds, not {start}")
    if end is not None and not (start or 0) < end < float("inf"):
        raise InputError(f"the end, {end:g} s, must come after the start, {start or 0:g} s")


def _open_pipe() -> InputContainer:
    """Standard input, opened in a thread: Ctrl-C does not reach FFmpeg while it waits."""
    opening = in_background(map(open_media, [STDIO]), patience=PATIENCE)
    with closing(opening) as opened:
        return next(opened)
