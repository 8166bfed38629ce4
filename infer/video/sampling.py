"""Single frames of a video, at a time or spread over it."""

from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nst_rt.errors import InputError, VideoError
from nst_rt.images.convert import tensor_to_frame
from nst_rt.images.io import Frame, image_shape, load_image
from nst_rt.infer.video.picture_reader import (
    PictureReader,
    is_animated_webp,
    numbered_images,
)
from nst_rt.infer.video.probe import STDIO, probe
from nst_rt.infer.video.reader import VideoReader, check_range
from nst_rt.infer.video.transforms import check_shape

_STRIDE = 10  # frames, in a video whose end is not known


def video_frame(path: Path | str, at: float, size: int) -> Frame:
    """The frame that a video shows at a time, or its last one, with `size` pixels on the long side.

    Raises:
        InputError: a size or a time out of range.
        VideoError: nothing can be decoded.
    """
    info = probe(path)
    check_range(at, None)
    check_shape(size=size, scale=None, fps=None)
    if info.end is not None:
        at = min(at, max(info.end - float(1 / info.rate), 0.0))
    for start in (at, 0.0):  # where the end is missing, the beginning is better than nothing
        if (first := next(VideoReader(path, start=start, size=size).frames(), None)) is not None:
            return first.image
    raise VideoError(f"{path}: no frame of this video can be decoded")


def spread_frames(
    source: Path | str,
    *,
    count: int,
    size: int,
    start: float | None = None,
    end: float | None = None,
) -> Iterator[Frame]:
    """Frames from all over a video, in an order in which the first few are far apart.

    Frames that cannot be decoded are left out. An animated WebP, and a video whose end is not
    known, are read from their beginning on. Standard input has none, since it is read once.

    Args:
        source: see `stylize_video`.
        count: maximum number of frames.
        size: long side of the frames, pixels; small ones are not enlarged.
        start, end: seconds, for a part of a video file.

    Raises:
        InputError, VideoError: not a video.
    """
    if str(source) == STDIO:
        return
    if Path(source).is_dir():
        files = numbered_images(Path(source))
        for place in _spread(np.linspace(0, len(files) - 1, min(count, len(files)))):
            file = files[round(place)]
            with suppress(InputError):
                yield tensor_to_frame(load_image(file, size=min(size, max(image_shape(file)))))
        return
    if is_animated_webp(source):
        pictures = PictureReader(source, start=start, end=end)
        yield from (timed.image for timed in islice(pictures.frames(), count))
        return
    info = probe(source)
    side = min(size, max(info.width, info.height))
    first, last = start or 0.0, end if info.end is None else min(end or info.end, info.end)
    if last is None:
        frames = VideoReader(source, start=start, size=side).frames()
        for timed in islice(frames, 0, _STRIDE * count, _STRIDE):
            yield timed.image
        return
    last = max(last - float(1 / info.rate), first)
    for time in _spread(np.linspace(first, last, count if last > first else 1)):
        with suppress(InputError, VideoError):
            yield video_frame(source, time, side)


def _spread(places: npt.NDArray[np.float64]) -> list[float]:
    """Places in an order in which the first few are far apart; the same each time."""
    shuffled: list[float] = np.random.default_rng(0).permutation(places).tolist()
    return shuffled
