"""A video of an optimization, one frame per iterate."""

import itertools
import logging
from fractions import Fraction
from pathlib import Path
from types import TracebackType

# Before PyAV: otherwise OpenCV's windows hang, see nst_rt.infer.
import cv2  # noqa: F401

# isort: split
import av
from av.video.reformatter import Colorspace
from torch import Tensor
from torch.nn import functional as F

from nst_rt.files import partial_path
from nst_rt.images.convert import tensor_to_frame
from nst_rt.images.io import Frame

logger = logging.getLogger(__name__)

TIMELAPSE_SUFFIXES = (".mp4", ".mkv", ".mov")
_RATE = 30  # frames per second
_HOLD = 30  # number of frames that show the last image
_LARGEST = 1920  # long side, pixels, that players decode in hardware


class Timelapse:
    """Writes an H.264 video, frame by frame.

    Frames go to `OUT.partial.EXT`. Leaving the context without an error renames that to `path`;
    leaving it with an error finishes the partial file, so that it plays.

    Args:
        path: the output, .mp4, .mkv or .mov.
        shape: (H, W) of the finished image, pixels; larger ones are scaled down to 1920, and odd
            sides become even.
        earlier: number of frames to take over from an existing partial file.
    """

    def __init__(self, path: Path, shape: tuple[int, int], *, earlier: int = 0) -> None:
        self.path = path
        self.partial = partial_path(path)
        scale = min(1, _LARGEST / max(shape))
        height, width = (max(round(side * scale) // 2 * 2, 2) for side in shape)
        self._shape = (height, width)
        self._frame: Frame | None = None
        self._count = 0
        before = self.partial.with_name(f".{self.partial.name}")
        resumed = earlier > 0 and self.partial.exists()
        if resumed:
            self.partial.replace(before)
        self._container = av.open(f"file:{self.partial}", "w")
        self._stream = self._container.add_stream("libx264", rate=_RATE)
        self._stream.height, self._stream.width = self._shape
        self._stream.pix_fmt = "yuv420p"
        self._stream.options = {"crf": "18", "preset": "veryfast"}
        context = self._stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = 1
        context.color_range = 1  # codes of ITU-T H.273, as in nst_rt.infer.video
        if resumed:
            self._copy(before, earlier)

    def __enter__(self) -> "Timelapse":
        return self

    def write(self, image: Tensor) -> None:
        """Append an image of any size, shape (1, 3, H, W), RGB in [0, 1]."""
        if image.shape[-2:] != self._shape:
            image = F.interpolate(image, self._shape, mode="bicubic", antialias=True)
        self._append(tensor_to_frame(image))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if kind is None and self._frame is not None:
                for _ in range(_HOLD):
                    self._append(self._frame)
            if self._count:
                self._container.mux(self._stream.encode(None))
        finally:
            self._container.close()
        if kind is None:
            self.partial.replace(self.path)
        elif not self._count:
            self.partial.unlink(missing_ok=True)

    def _append(self, frame: Frame) -> None:
        self._frame = frame
        yuv = av.VideoFrame.from_ndarray(frame, format="bgr24").reformat(
            format="yuv420p", dst_colorspace=Colorspace.ITU709
        )
        self._encode(yuv)

    def _encode(self, yuv: av.VideoFrame) -> None:
        yuv.pts, yuv.time_base = self._count, Fraction(1, _RATE)
        self._count += 1
        self._container.mux(self._stream.encode(yuv))

    def _copy(self, before: Path, count: int) -> None:
        """Take over frames of an interrupted video; encoding them twice is hardly visible."""
        try:
            with av.open(f"file:{before}") as video:
                for frame in itertools.islice(video.decode(video=0), count):
                    height, width = self._shape
                    yuv = frame.reformat(width, height, "yuv420p")
                    yuv.pict_type = 0  # left to the encoder
                    self._encode(yuv)
        except (av.FFmpegError, IndexError):
            logger.warning("%s: the frames before the interruption cannot be read", self.path)
        before.unlink()
