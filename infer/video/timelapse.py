"""A video of an optimization, one frame per step."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import partial
from itertools import islice
from pathlib import Path

from nst_rt.errors import VideoError
from nst_rt.files import check_format, partial_path
from nst_rt.images.convert import resize_to, tensor_to_frame
from nst_rt.images.inputs import File
from nst_rt.images.io import Frame
from nst_rt.infer.frames import TimedFrame
from nst_rt.infer.video.encoder import H264_SUFFIXES, Encoding, Shape, choose_encoding
from nst_rt.infer.video.reader import VideoReader
from nst_rt.infer.video.writers import StreamSink
from nst_rt.optimization.runs import ImageSink, OpenSink

logger = logging.getLogger(__name__)

_RATE = Fraction(30)  # frames per second
_HOLD = 30  # number of frames by which the last image is held
_LARGEST = 1920  # longest side, pixels, that players decode in hardware
_SMALLEST = 16  # shortest side, pixels, that the encoder takes
_CRF = 18


def timelapse(path: File, *, overwrite: bool = False) -> OpenSink:
    """An H.264 video as the sink of an optimization's images, see `optimize_to_file`.

    Frames go to `OUT.partial.EXT`. Leaving the sink's context without an error renames that to
    `path`; leaving it with an error finishes the partial file, so that it plays. Images with
    a side of more than 1920 px are scaled down, and odd sides become even.

    Args:
        path: the output, .mp4, .mkv or .mov.
        overwrite: whether to replace an existing file.

    Raises:
        InputError, OutputExistsError: a file that cannot be written.
        VideoError: this machine has no H.264 encoder.
    """
    path = check_format(path, "video", H264_SUFFIXES, overwrite=overwrite)
    encoding = choose_encoding(path.suffix.lower(), codec="h264", crf=_CRF)
    return partial(_open, path, encoding)


@contextmanager
def _open(
    path: Path, encoding: Encoding, shape: tuple[int, int], already_written: int
) -> Iterator[ImageSink]:
    scale = min(1, _LARGEST / max(shape))
    height, width = (max(round(side * scale) // 2 * 2, _SMALLEST) for side in shape)
    properties = Shape.plain(width, height, _RATE)
    sink = StreamSink(path, encoding, lambda _: properties)
    frames = 0
    last: Frame | None = None

    def write(frame: Frame) -> None:
        nonlocal frames, last
        sink.write(TimedFrame(frame, frames, 1))
        frames, last = frames + 1, frame

    try:
        if already_written:
            for frame in _interrupted(path, already_written, (width, height)):
                write(frame)
        yield lambda image: write(tensor_to_frame(resize_to(image, (height, width))))
        if last is not None:
            for _ in range(_HOLD):
                write(last)
    except BaseException:
        sink.abort()
        raise
    sink.close()


def _interrupted(path: Path, count: int, size: tuple[int, int]) -> Iterator[Frame]:
    """Frames of the partial file, which is deleted afterwards; encoding twice is hardly visible."""
    before = partial_path(path).with_name(f".{partial_path(path).name}")
    if not partial_path(path).exists():
        return
    partial_path(path).replace(before)
    try:
        for timed in islice(VideoReader(before, size=size), count):
            yield timed.image
    except VideoError:
        logger.warning("%s: the frames before the interruption cannot be read", path)
    before.unlink()
