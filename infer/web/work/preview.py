"""Previews of a video: two seconds in a style, before the minutes for all of it are spent."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nst_rt.errors import PartialResultError
from nst_rt.infer.adaptive import LiveStyle
from nst_rt.infer.frame_stylizer import FrameStylizer
from nst_rt.infer.video import VideoResult, stylize_video
from nst_rt.infer.video.probe import probe
from nst_rt.infer.web.stylizers import SharedStylizer
from nst_rt.infer.web.uploads import Upload

PREVIEW_SECONDS = 2.0
_PREVIEW_SIZE = 640  # pixels of the long side


@dataclass(frozen=True)
class VideoPreview:
    """A stylized part of a video.

    Attributes:
        content: an MP4 file.
        seconds: time that the whole video is expected to take; None if its length is unknown.
    """

    content: bytes
    seconds: float | None


def preview_video(
    source: Upload,
    choice: LiveStyle,
    shared: SharedStylizer,
    *,
    at: float,
    folder: Path,
    check: Callable[[], None],
) -> VideoPreview:
    """Stylize two seconds of a video at a reduced size, to judge the style and the time it takes.

    Args:
        at: where the part begins, seconds; it begins earlier if less is left.
        folder: folder for the file, which is removed.
        check: called after each frame; what it raises ends the work.

    Raises:
        InputError, VideoError: see `stylize_video`.
    """
    info = probe(source.path)
    start = at if info.end is None else min(at, max(info.end - PREVIEW_SECONDS, 0.0))
    times: list[float] = []

    def progress(frames: float, total: float | None, note: str) -> None:
        check()
        times.append(time.monotonic())

    file = folder / "preview.mp4"
    size = min(_PREVIEW_SIZE, max(info.width, info.height))
    try:
        result: object = stylize_video(
            source.path,
            file,
            style=FrameStylizer(shared.in_style(choice), post_processing=choice.post_processing),
            start=start,
            end=start + PREVIEW_SECONDS,
            size=size,
            stability=choice.stability,
            progress=progress,
        )
    except PartialResultError as error:  # damaged, but something can be shown
        result = error.result
    assert isinstance(result, VideoResult)
    content = file.read_bytes()
    # The first half is left out: networks are compiled for it, beside other previews.
    counted = times[(len(times) - 1) // 2 :]
    frames = len(counted) - 1
    if not frames or not info.frames:
        return VideoPreview(content, None)
    # The network runs at the same working size for any size of the video, but encoding and what
    # goes with it grow with the number of pixels.
    larger = (max(info.width, info.height) / size) ** 2 - 1
    each = (counted[-1] - counted[0]) / frames + larger * result.stages["encode"] / len(times)
    return VideoPreview(content, each * info.frames)
