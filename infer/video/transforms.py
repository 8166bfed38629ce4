"""What is done to frames on their way in: turned upright, resized, brought to a constant rate."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from typing import cast

import av
import cv2
import numpy as np
from av.filter import Graph
from av.sidedata.sidedata import SideData

from nst_rt.errors import InputError
from nst_rt.images.io import Frame
from nst_rt.infer.video.probe import TimedFrame

Size = int | tuple[int, int]

_LARGEST = 16384  # pixels a side, of what H.264 and its like can be
# FFmpeg's number of a kind of side data, and one above all numbers.
_DISPLAY_MATRIX, _SIDE_DATA = 6, 64


def check_shape(*, size: Size | None, scale: float | None, fps: Fraction | float | None) -> None:
    """Check what may be asked for of a video's frames.

    Raises:
        InputError: a size, a scale or a rate out of range, or both a size and a scale.
    """
    if size is not None and scale is not None:
        raise InputError("give a size or a scale, not both")
    sides = (size,) if isinstance(size, int) else size or ()
    if any(not 16 <= side <= _LARGEST for side in sides):
        raise InputError(f"the size must be between 16 and {_LARGEST} pixels, not {size}")
    if scale is not None and not 0.01 <= scale <= 8:
        raise InputError(f"the scale must be between 0.01 and 8, not {scale}")
    if fps is not None and not 0.01 <= fps <= 1000:
        raise InputError(f"the frames per second must be between 0.01 and 1000, not {fps}")


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
    """(width, height) that frames get.

    Args:
        width, height: that they have.
        size: of the long side, or (width, height).
        scale: of both sides.
        stretch: of the width alone, to make pixels square.
    """
    if isinstance(size, tuple):
        return size
    wide, high = width * float(stretch), float(height)
    if size is None and scale is None and stretch == 1:
        return width, height
    factor = size / max(wide, high) if size is not None else scale or 1.0
    # Chroma of half the size needs even sides.
    even = (max(round(side * factor / 2) * 2, 2) for side in (wide, high))
    return next(even), next(even)


def resized(frame: Frame, width: int, height: int) -> Frame:
    """A frame of another size; the same one if it has that size."""
    if frame.shape[:2] == (height, width):
        return frame
    smaller = width * height < frame.shape[0] * frame.shape[1]
    method = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(frame, (width, height), interpolation=method), np.uint8)


def fitted(frame: Frame, first: tuple[int, int], target: tuple[int, int]) -> Frame:
    """A frame made as large as the first one became: whole, with bars where its shape differs.

    Args:
        frame: one of the video.
        first: height and width that the first one had.
        target: width and height that it got.
    """
    height, width = frame.shape[:2]
    scale = min(first[0] / height, first[1] / width)
    inner = (
        _filling(width * scale * target[0] / first[1], target[0]),
        _filling(height * scale * target[1] / first[0], target[1]),
    )
    if inner == target:
        return resized(frame, *target)
    left, top = (target[0] - inner[0]) // 2, (target[1] - inner[1]) // 2
    right, bottom = target[0] - inner[0] - left, target[1] - inner[1] - top
    return np.asarray(
        cv2.copyMakeBorder(resized(frame, *inner), top, bottom, left, right, cv2.BORDER_CONSTANT),
        np.uint8,
    )


def _filling(side: float, whole: int) -> int:
    """A side in pixels, all of the whole one where nobody would see the bars."""
    return whole if whole - side <= max(0.01 * whole, 1) else max(round(side), 1)


def has_alpha(pixels: av.VideoFormat) -> bool:
    """Whether pixels of a format may be transparent."""
    return pixels.has_palette or any(part.is_alpha for part in pixels.components)


def over_white(bgra: Frame) -> tuple[Frame, bool]:
    """Lay pixels over white.

    Args:
        bgra: shape (H, W, 4), uint8; straight colors, not premultiplied.

    Returns:
        Shape (H, W, 3), uint8 BGR; and whether any of them was transparent.
    """
    alpha = bgra[..., 3:]
    frame = np.asarray(cv2.cvtColor(bgra, cv2.COLOR_BGRA2BGR), np.uint8)
    if alpha.min() == 255:
        return frame, False
    share = alpha.astype(np.uint16)
    return ((frame * share + (255 - share) * 255 + 127) // 255).astype(np.uint8), True


class Orientation:
    """How frames must be turned and mirrored to stand upright, as a display matrix says.

    Args:
        frame: one of the video; that it stands upright is the default.

    Attributes:
        swaps: height and width change places.
        rotation: that PyAV reads from the matrix, in degrees.
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
        """The frame as it is meant to be seen."""
        if self.swaps:
            frame = np.asarray(cv2.transpose(frame), np.uint8)
        if self._mirrors_x or self._mirrors_y:
            # OpenCV: 0 mirrors up and down, 1 left and right, -1 both.
            code = (-1 if self._mirrors_y else 1) if self._mirrors_x else 0
            frame = np.asarray(cv2.flip(frame, code), np.uint8)
        return frame


def _with_display_matrix_only(frame: av.VideoFrame) -> av.VideoFrame:
    """The frame without other side data.

    PyAV 18 frees the names of side data (of ICC profiles in PNG) a second time, which kills the
    process at its end, and it fails at kinds that it does not know (EXIF).
    """
    graph = Graph()
    graph.link_nodes(
        graph.add_buffer(
            width=frame.width,
            height=frame.height,
            format=frame.format,
            time_base=frame.time_base or Fraction(1),
        ),
        *(
            graph.add("sidedata", f"mode=delete:type={kind}")
            for kind in range(_SIDE_DATA)
            if kind != _DISPLAY_MATRIX
        ),
        graph.add("buffersink"),
    ).configure()
    graph.vpush(frame)
    return graph.vpull()


def at_rate(
    frames: Iterable[TimedFrame], time_base: Fraction, rate: Fraction
) -> Iterator[TimedFrame]:
    """Frames at a constant rate: at each of its moments the one that is on display then.

    Args:
        frames: in ticks of `time_base`.
        rate: frames per second; what comes out is in ticks of 1 / `rate`.
    """
    ratio = time_base * rate  # ticks of the output per tick of the input
    shown: TimedFrame | None = None
    moment = 0
    for frame in frames:
        if shown is None:
            moment = _at_or_after(frame.pts * ratio)
        while shown is not None and moment < frame.pts * ratio:
            yield replace(shown, pts=moment, duration=1)
            moment += 1
        shown = frame
    if shown is None:
        return
    end = (shown.pts + shown.duration) * ratio
    while moment < end:
        yield replace(shown, pts=moment, duration=1)
        moment += 1


def _at_or_after(time: Fraction) -> int:
    return -int(-time // 1)
