"""The frames of a video file or of a pipe, decoded by PyAV, upright, as uint8 BGR."""

import hashlib
import logging
import queue
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
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
from nst_rt.images import Frame
from nst_rt.infer.pipeline import PATIENCE, in_background
from nst_rt.infer.video.damage import Damage, with_damage
from nst_rt.infer.video.deinterlace import Deinterlacer
from nst_rt.infer.video.info import (
    STDIO,
    Packet,
    TimedFrame,
    not_a_video,
    url,
    video_info,
    video_stream,
)
from nst_rt.infer.video.shaping import Orientation, Size, resized, target_size

logger = logging.getLogger(__name__)

_SUSPECT = 40  # frames after a sign of damage in which a jump in time is taken for its trace
_JUMP = 1.75  # frames that such a jump is long at least
_TRIES = 200  # packets in a row that cannot be read, until the rest is given up
_HOLE = 256  # bytes of a Matroska file that belong to no packet, more than it needs between two
_WHOLE = 0.05  # seconds that a file may lack at its end and be called whole: containers round


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
        damage: what could not be decoded so far.
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
        with self.container() as container:
            self.info = video_info(path, container)
        base, origin = self.info.time_base, self.info.origin
        self._first = origin + round((start or 0) / base)
        self._end = None if end is None else origin + round(end / base)
        if self.info.duration and (start or 0) >= self._file_end:
            raise InputError(
                f"{path}: ends at {self._file_end:.2f} s, before the start that was asked for, "
                f"{start:g} s"
            )
        self._size, self._scale, self._square = size, scale, square
        self._others = others
        self._frame_ticks = max(round(1 / self.info.rate / base), 1)
        self._reformatter = VideoReformatter()
        # Height and width of the first frame; width and height that all get.
        self._shapes: tuple[tuple[int, int], tuple[int, int]] | None = None
        self._suspect = 0
        self._longest = 0  # ticks between two frames
        self._gap: tuple[int, int] | None = None  # ticks, of the last jump in time
        self._reached: int | None = None  # tick of the file that the last frame lasts to
        self.aspect = self.info.aspect
        self.damage: list[Damage] = []
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
    def expected(self) -> int:
        """Frames that will come, roughly; 0 if that cannot be known."""
        if self._end is None and self._first == self.info.origin:
            return self.info.frames
        if not self.info.duration:
            return 0
        return max(round((self._due_end - self._seconds(self._first)) * self.info.rate), 1)

    def state(self) -> dict[str, Any]:
        """What frames told so far that matters for those to come, in values that JSON knows."""
        return {
            "damage": [asdict(part) for part in self.damage],
            "longest": self._longest,
            "gap": self._gap,
            "shapes": self._shapes,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on as another reader of the same file whose `state` this was."""
        self.damage = [Damage(**part) for part in state["damage"]]
        self._longest = state["longest"]
        self._gap = None if state["gap"] is None else tuple(state["gap"])
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
        self.damage = known
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
        with _open(self.path) as container:
            yield container

    def _frames(self, target: int | None) -> Generator[TimedFrame, None, None]:
        """Frames from the window's start on; `target` is a time in the file to seek."""
        previous: int | None = None
        orientation: Orientation | None = None
        for picture in self._decoded(target):
            assert picture.pts is not None
            # Timestamps that stand still or go back would be refused by encoders.
            pts = picture.pts if previous is None else max(picture.pts, previous + 1)
            self._look_for_damage(picture, pts, previous)
            self._longest = max(self._longest, 0 if previous is None else pts - previous)
            previous = pts
            if pts < self._first:
                continue
            if self._end is not None and pts >= self._end:
                return
            orientation = orientation or Orientation(picture)
            frame = self._shaped(orientation.upright(self._bgr(picture)), orientation)
            pts -= self._first
            yield TimedFrame(frame, pts, picture.duration or self._frame_ticks, pts)
        self._look_for_the_end()

    def _decoded(self, target: int | None) -> Iterator[av.VideoFrame]:
        """All frames from the key frame before `target` on, deinterlaced, in ticks of the file."""
        with self.container() as container:
            stream = video_stream(self.path, container)
            stream.thread_type = "AUTO"
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
        for packet in self._packets(container, stream):
            try:
                pictures = packet.decode() if packet is not None else stream.decode(None)
            except (av.FFmpegError, OSError):
                self._suspect = _SUSPECT
                self._note(self._seconds(last), self._seconds(last))
                continue
            for picture in pictures:
                if picture.pts is None:
                    picture.pts = last + self._frame_ticks if picture.dts is None else picture.dts
                last = picture.pts
                self._reached = max(
                    self._reached or last, last + (picture.duration or self._frame_ticks)
                )
                yield picture

    def _packets(self, container: InputContainer, stream: VideoStream) -> Iterator[Any]:
        """Packets of the video, also those behind what cannot be read; None at the very end."""
        demuxed = container.demux()
        failures = 0
        # Where Matroska is damaged, its demuxer goes on behind without a word. Other containers
        # have holes of their own: boxes and tables, or they are interleaved in another way.
        is_packed = container.format.name.startswith("matroska")
        place: int | None = None  # in the file, behind the last packet
        while True:
            try:
                packet = next(demuxed)
            except StopIteration:
                return
            except (av.FFmpegError, OSError):
                self._suspect = _SUSPECT
                failures += 1
                if failures == _TRIES:
                    yield None
                    return
                demuxed = container.demux()
                continue
            failures = 0
            if is_packed and packet.pos is not None:
                if place is not None and packet.pos - place > _HOLE:
                    self._suspect = _SUSPECT
                place = packet.pos + packet.size
            if packet.stream_index == stream.index:
                if packet.is_corrupt:
                    self._suspect = _SUSPECT
                yield packet
            elif self._others is not None and packet.size:
                self._others.put(packet)

    def _bgr(self, picture: av.VideoFrame) -> Frame:
        if picture.format.components and max(c.bits for c in picture.format.components) > 8:
            self._warn("more than 8 bits per channel: painted and written in 8")
        colours = self.info.source_colours
        if not picture.format.is_rgb and not picture.format.has_palette:
            picture.colorspace, picture.color_range = colours.matrix, colours.range
        return np.asarray(
            self._reformatter.reformat(picture, format="bgr24").to_ndarray(), np.uint8
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
            self._warn("frames change their size: all are made as large as the first")
        return resized(frame, *target)

    def _warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)
            logger.warning("%s: %s", self.path, text)

    def _seconds(self, ticks: int) -> float:
        return float((ticks - self.info.origin) * self.info.time_base)

    @property
    def _file_end(self) -> float:
        assert self.info.duration is not None
        return self._seconds(self.info.start) + self.info.duration

    @property
    def _due_end(self) -> float:
        """Of what is wanted."""
        return (
            self._file_end if self._end is None else min(self._seconds(self._end), self._file_end)
        )

    def _look_for_damage(self, picture: av.VideoFrame, pts: int, previous: int | None) -> None:
        if picture.is_corrupt:
            self._suspect = _SUSPECT
            self._note(self._seconds(pts), self._seconds(pts + self._frame_ticks))
        due = pts if previous is None else previous + self._frame_ticks
        jumps = pts - due > (_JUMP - 1) * self._frame_ticks
        if jumps:
            self._gap = due, pts
        if self._suspect:
            self._suspect -= 1
            if jumps:
                self._note(self._seconds(due), self._seconds(pts))

    def _look_for_the_end(self) -> None:
        """See whether all came that the container tells of."""
        if not self.info.duration or self._reached is None:
            return
        reached, end = self._seconds(self._reached), self._due_end
        # The last frame may be a long one where frames come at any time.
        lacks = max(_WHOLE, float(max(self._frame_ticks, 2 * self._longest) * self.time_base))
        if not self.info.exact:
            lacks = max(lacks, 1 + 0.02 * end)
        if not self.info.missing:
            if end - reached > lacks:
                self._note(reached, end)
            return
        # Frames are not stored in the order that they are shown in: some of those that are missing
        # come before the last one that is there.
        if self._gap and self._reached - self._gap[1] < _SUSPECT * self._frame_ticks:
            self._note(self._seconds(self._gap[0]), self._seconds(self._gap[1]))
        if end > reached:
            self._note(reached, end)

    def _note(self, start: float, end: float) -> None:
        self.damage = with_damage(self.damage, start, end)


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
    opening = in_background(map(_open, [STDIO]), patience=PATIENCE)
    with closing(opening) as opened:
        return next(opened)


def _open(path: Path | str) -> InputContainer:
    try:
        if str(path) == STDIO:
            return av.open("pipe:0")
        return av.open(url(path))
    except (av.FFmpegError, OSError) as error:
        raise not_a_video(path, error) from error
