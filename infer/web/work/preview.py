"""Previews of a video: two seconds in a style, before the minutes for all of it are spent."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from nst_rt.infer.adaptive import LiveStyle
from nst_rt.infer.frame_stylizer import FrameStylizer
from nst_rt.infer.video import stylize_video
from nst_rt.infer.web.decoding.pool import Decoders
from nst_rt.infer.web.decoding.videos import write_clip
from nst_rt.infer.web.stylizers import SharedStylizer
from nst_rt.infer.web.uploads import Upload

PREVIEW_SECONDS = 2.0
_PREVIEW_SIZE = 640  # pixels of the long side
# Of the part without loss, in which a frame of noise takes 0.6 MB, and of the stylized one.
_PART_BYTES, _STYLIZED_BYTES = 64 * 2**20, 16 * 2**20
PREVIEW_BYTES = _PART_BYTES + _STYLIZED_BYTES  # of the files of a preview


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
    decoders: Decoders,
    *,
    at: float,
    folder: Path,
    check: Callable[[], None],
) -> VideoPreview:
    """Stylize two seconds of a video at a reduced size, to judge the style and the time it takes.

    Args:
        at: where the part begins, seconds; it begins earlier if less is left.
        folder: folder for files of at most `PREVIEW_BYTES`, which are removed with it.
        check: called after each frame; what it raises ends the work.

    Raises:
        InputError, VideoError: see `stylize_video`.
    """
    part = folder / "part.mp4"
    write = partial(
        write_clip,
        source.path,
        part,
        start=at,
        seconds=PREVIEW_SECONDS,
        size=_PREVIEW_SIZE,
        most=_PART_BYTES,
    )
    clip = decoders.run(source.path, write)
    check()
    info = clip.info
    times: list[float] = []

    def progress(frames: float, total: float | None, note: str) -> None:
        check()
        times.append(time.monotonic())

    file = folder / "preview.mp4"
    result = stylize_video(
        part,
        file,
        style=FrameStylizer(shared.in_style(choice), post_processing=choice.post_processing),
        stability=choice.stability,
        progress=progress,
    )
    content = file.read_bytes()
    # The first half is left out: networks are compiled for it, beside other previews.
    counted = times[(len(times) - 1) // 2 :]
    frames = len(counted) - 1
    if not frames or not info.frames:
        return VideoPreview(content, None)
    # The network runs at the same working size for any size of the video, but encoding and what
    # goes with it grow with the number of pixels.
    larger = (max(info.width, info.height) / clip.size) ** 2 - 1
    each = (counted[-1] - counted[0]) / frames + larger * result.stages["encode"] / len(times)
    # Decoding the whole video takes place at the same time.
    return VideoPreview(content, max(each, clip.decoding) * info.frames)
