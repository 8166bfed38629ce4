"""Decoding parts of visitors' videos. These functions run in worker processes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nst_rt.errors import PartialResultError
from nst_rt.images.io import Frame
from nst_rt.infer.frame_stylizer import FrameStylizer
from nst_rt.infer.video import VideoResult, stylize_video
from nst_rt.infer.video.probe import VideoInfo, probe
from nst_rt.infer.video.sampling import spread_frames
from nst_rt.infer.web.decoding.processes import largest_file


@dataclass(frozen=True)
class Clip:
    """A part of a video in a file that was written here.

    Attributes:
        info: properties of the whole video.
        size: pixels of the long side of the frames.
        decoding: seconds that decoding a frame of the whole video takes.
    """

    info: VideoInfo
    size: int
    decoding: float


def write_clip(
    path: Path, output: Path, *, start: float, seconds: float, size: int, most: int = 0
) -> Clip:
    """Write a part of a video as an MP4 without loss, with the tracks of an MP4.

    Args:
        path: a video.
        output: the file to write.
        start: where the part begins, seconds; it begins earlier if less is left.
        seconds: duration.
        size: pixels of the long side; small videos are not enlarged.
        most: maximum number of bytes of the file (on Linux), 0 for any.

    Raises:
        InputError, VideoError: see `stylize_video`.
    """
    info = probe(path)
    if info.end is not None:
        start = min(start, max(info.end - seconds, 0.0))
    size = min(size, max(info.width, info.height))
    try:
        with largest_file(most):
            result: object = stylize_video(
                path,
                output,
                style=_Unchanged(),
                codec="h264",
                crf=0,
                preset="ultrafast",
                start=start,
                end=start + seconds,
                size=size,
            )
    except PartialResultError as error:  # damaged, but something can be shown
        result = error.result
    assert isinstance(result, VideoResult)
    return Clip(info, size, result.stages["decode"] / result.frames)


def frames_of_video(path: Path, count: int, size: int) -> list[Frame]:
    """Frames from all over a video, at most `size` pixels long, see `spread_frames`."""
    return [np.ascontiguousarray(frame) for frame in spread_frames(path, count=count, size=size)]


class _Unchanged(FrameStylizer):
    """Leaves frames as they are, without a network."""

    def __init__(self) -> None:
        self.timeline = self.stabilizer = None

    def start(self, frame: Frame, seconds: float, *, repeated: bool = False) -> Callable[[], Frame]:
        return lambda: frame

    def state(self) -> dict[str, npt.NDArray[Any]]:
        return {}

    def restore(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        pass

    @property
    def identity(self) -> dict[str, str]:
        return {}

    def __str__(self) -> str:
        return "unchanged"
