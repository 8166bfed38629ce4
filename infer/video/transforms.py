"""What happens to frames before stylization: deinterlaced, upright, resized, constant rate."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from math import ceil
from typing import cast

import av
import cv2
import numpy as np
from av.filter import Graph
from av.sidedata.sidedata import SideData

from nst_rt.errors import InputError
from nst_rt.images.io import Frame
from nst_rt.infer.frames import TimedFrame
from nst_rt.infer.strokes import resized_frame

Size = int | tuple[int, int]

_LARGEST = 16384  # pixels per side, the limit of H.264 and similar codecs
# FFmpeg's number of the display matrix among the kinds of side data, and a limit of these numbers.
_DISPLAY_MATRIX, _SIDE_DATA = 6, 64


def check_shape(*, size: Size | None, scale: float | None, fps: Fraction | float | None) -> None:
    """Check a requested size or scale and frame rate.

    Raises:
        InputError: a value out of range, or both a size and a scale.
    """
    if size is not None and scale is not None:
        raise InputError("give `size` or `scale`, not both")
    sides = (size,) if isinstance(size, int) else size or ()
    if any(not 16 <= side <= _LARGEST for side in sides):
        raise InputError(f"`size` must be between 16 and {_LARGEST} pixels, not {size}")
    if scale is not None and not 0.01 <= scale <= 8:
        raise InputError(f"`scale` must be between 0.01 and 8, not {scale}")
    if fps is not None and not 0.01 <= fps <= 1000:
        raise InputError(f"`fps` must be between 0.01 and 1000, not {fps}")


def exact_rate(fps: Fraction | float) -> Fraction:
    """Frames per second as a fraction: 29.97 means 30000/1001."""
    if isinstance(fps, Fraction):
        return fps
    broadcast = Fraction(round(fps * 1.001) * 1000, 1001)
    if broadcast and abs(broadcast - fps) < 0.005 and fps != round(fps):
        return broadcast
    return Fraction(fps).limit_denominator(1000)


def target_size(
    width: int, height: int, *, size: Size | None, scale: float | None, stretch: Fraction
) -> tuple[int, int]:
    """(width, height) of the resized frames.

    Args:
        width, height: pixels, before.
        size: pixels of the long side, or (width, height).
        scale: factor for both sides.
        stretch: factor for the width alone, which makes pixels square.
    """
    if isinstance(size, tuple):
        return size
    wide, high = width * float(stretch), float(height)
    if size is None and scale is None and stretch == 1:
        return width, height
    factor = size / max(wide, high) if size is not None else scale or 1.0
    # Chroma at half the size needs even sides.
    even = (max(round(side * factor / 2) * 2, 2) for side in (wide, high))
    return next(even), next(even)


def fitted(frame: Frame, first: tuple[int, int], target: tuple[int, int]) -> Frame:
    """A frame fitted into the size of the first one, with black bars if its shape differs.

    Args:
        frame: any frame of the video.
        first: height and width of the video's first frame.
        target: width and height after resizing.
    """
    height, width = frame.shape[:2]
    scale = min(first[0] / height, first[1] / width)
    inner = (
        _filling(width * scale * target[0] / first[1], target[0]),
        _filling(height * scale * target[1] / first[0], target[1]),
    )
    if inner == target:
        return resized_frame(frame, target[::-1])
    left, top = (target[0] - inner[0]) // 2, (target[1] - inner[1]) // 2
    right, bottom = target[0] - inner[0] - left, target[1] - inner[1] - top
    image = resized_frame(frame, inner[::-1])
    framed = cv2.copyMakeBorder(image, top, bottom, left, right, cv2.BORDER_CONSTANT)
    return np.asarray(framed, np.uint8)


def _filling(side: float, whole: int) -> int:
    """A side in pixels, rounded up to the whole one where bars would be too thin to see."""
    return whole if whole - side <= max(0.01 * whole, 1) else max(round(side), 1)


def opaque_frame(bgra: Frame) -> tuple[Frame, bool]:
    """A frame without transparency: composited over white.

    Args:
        bgra: shape (H, W, 4), uint8, straight (not premultiplied) alpha.

    Returns:
        Shape (H, W, 3), uint8 BGR; and whether any pixel was transparent.
    """
    alpha = bgra[..., 3:]
    frame = np.asarray(cv2.cvtColor(bgra, cv2.COLOR_BGRA2BGR), np.uint8)
    if alpha.min() == 255:
        return frame, False
    share = alpha.astype(np.uint16)
    return ((frame * share + (255 - share) * 255 + 127) // 255).astype(np.uint8), True


class Orientation:
    """Rotation and mirroring that make frames upright; none without a display matrix.

    Attributes:
        swaps: whether height and width change places.
        rotation: degrees, as PyAV reads them from the matrix.
    """

    def __init__(self, frame: av.VideoFrame) -> None:
        self.rotation = frame.rotation
        matrix = _with_display_matrix_only(frame).side_data.get("DISPLAYMATRIX")
        self.swaps = False
        self._mirrors_x = self._mirrors_y = False
        if matrix is None:
            return
        # A point (x, y) is shown at (a x + c y, b x + d y).
        a, b, _, c, d = np.frombuffer(bytes(cast(SideData, matrix)), np.int32)[:5].tolist()
        self.swaps = abs(b) > abs(a)
        along_x, along_y = (c, b) if self.swaps else (a, d)
        self._mirrors_x, self._mirrors_y = along_x < 0, along_y < 0

    def upright(self, frame: Frame) -> Frame:
        """The frame as players show it."""
        if self.swaps:
            frame = np.asarray(cv2.transpose(frame), np.uint8)
        if self._mirrors_x or self._mirrors_y:
            # OpenCV: 0 mirrors top and bottom, 1 left and right, -1 both.
            code = (-1 if self._mirrors_y else 1) if self._mirrors_x else 0
            frame = np.asarray(cv2.flip(frame, code), np.uint8)
        return frame


def _with_display_matrix_only(frame: av.VideoFrame) -> av.VideoFrame:
    """The frame without other side data.

    PyAV 18 frees the names of side data (of ICC profiles in PNG) twice, which kills the process
    when it ends, and it raises an error for kinds that it does not know (EXIF).
    """
    others = (kind for kind in range(_SIDE_DATA) if kind != _DISPLAY_MATRIX)
    filters = (("sidedata", f"mode=delete:type={kind}") for kind in others)
    graph = _filter_graph(frame, frame.time_base or Fraction(1), *filters)
    graph.vpush(frame)
    return graph.vpull()


def _filter_graph(frame: av.VideoFrame, time_base: Fraction, *filters: tuple[str, str]) -> Graph:
    """Filters, each with its options, for frames like this one."""
    graph = Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=time_base
    )
    nodes = [source, *(graph.add(*one) for one in filters), graph.add("buffersink")]
    graph.link_nodes(*nodes).configure()
    return graph


class Deinterlacer:
    """Passes frames through until one is interlaced, then sends them through FFmpeg's bwdif.

    bwdif gives one frame per frame, at its time, and leaves progressive frames alone. It looks at
    the frame before and the frame after, so it lags one frame behind.
    """

    def __init__(self, time_base: Fraction) -> None:
        self._time_base = time_base
        self._graph: Graph | None = None
        self._before: av.VideoFrame | None = None
        self._shape: tuple[int, int, str] | None = None  # of the graph's frames

    @property
    def is_running(self) -> bool:
        """Whether an interlaced frame of the current size has come."""
        return self._graph is not None

    def __call__(self, frame: av.VideoFrame) -> list[av.VideoFrame]:
        """Take the next frame and return those that are ready."""
        shape = frame.width, frame.height, frame.format.name
        ready: list[av.VideoFrame] = []
        if shape != self._shape:
            ready = self.flush()
            self._graph, self._before, self._shape = None, None, shape
        if self._graph is not None:
            return ready + self._filtered(frame)
        before, self._before = self._before, frame
        if not frame.interlaced_frame:
            return [*ready, frame]
        bwdif = "bwdif", "mode=send_frame:deint=interlaced"
        self._graph = _filter_graph(frame, self._time_base, bwdif)
        if before is None:
            return ready + self._filtered(frame)
        self._graph.vpush(before)  # for bwdif to look at; it was returned already
        return ready + [one for one in self._filtered(frame) if one.pts != before.pts]

    def flush(self) -> list[av.VideoFrame]:
        """Return the frame that still waits for its successor."""
        return [] if self._graph is None else self._filtered(None)

    def _filtered(self, frame: av.VideoFrame | None) -> list[av.VideoFrame]:
        assert self._graph is not None
        self._graph.vpush(frame)
        ready: list[av.VideoFrame] = []
        while True:
            try:
                done = self._graph.vpull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return ready
            if done.pts is not None and done.time_base:
                done.pts = round(done.pts * done.time_base / self._time_base)
                done.time_base = self._time_base
            ready.append(done)


def at_rate(
    frames: Iterable[TimedFrame], time_base: Fraction, rate: Fraction
) -> Iterator[TimedFrame]:
    """Frames at a constant rate: at each tick the frame that is displayed at that time.

    Args:
        frames: in ticks of `time_base`.
        time_base: seconds per tick.
        rate: frames per second; the frames returned are in ticks of 1 / `rate`.
    """
    ratio = time_base * rate  # output ticks per input tick
    shown: TimedFrame | None = None
    tick = 0
    for frame in frames:
        if shown is None:
            tick = ceil(frame.pts * ratio)
        while shown is not None and tick < frame.pts * ratio:
            yield replace(shown, pts=tick, duration=1)
            tick += 1
        shown = frame
    if shown is None:
        return
    end = (shown.pts + shown.duration) * ratio
    while tick < end:
        yield replace(shown, pts=tick, duration=1)
        tick += 1
