"""A video of an image on its way, one frame for each iterate."""

import logging
from pathlib import Path
from types import TracebackType

# Before PyAV: the other way round OpenCV's windows hang, see nst_rt.infer.
import cv2

# isort: split
import av
import numpy as np
from torch import Tensor
from torch.nn import functional as F

from nst_rt.errors import InputError
from nst_rt.files import check_output, partial_path
from nst_rt.images import Frame, tensor_to_frame

logger = logging.getLogger(__name__)

TIMELAPSE_SUFFIXES = (".mp4", ".mkv", ".mov")
_RATE = 30  # frames per second
_HOLD = 30  # frames that the last image stays for
_LARGEST = 1920  # long side, pixels: what players and their hardware are made for


def check_timelapse(path: Path | str, *, overwrite: bool = False) -> Path:
    """`check_output` for a timelapse, whose suffix must name a container.

    Raises:
        InputError: an unknown suffix.
        OutputExistsError: it exists and `overwrite` is False.
    """
    path = check_output(path, overwrite=overwrite)
    if path.suffix.lower() not in TIMELAPSE_SUFFIXES:
        raise InputError(
            f"{path}: unknown video format {path.suffix!r}; use one of "
            f"{', '.join(TIMELAPSE_SUFFIXES)}"
        )
    return path


class Timelapse:
    """Writes an H.264 video, frame by frame.

    It is written to `OUT.partial.EXT`. Leaving the context without an error makes that `path`;
    leaving it with one finishes the partial file, so that it plays.

    Args:
        path: the output, .mp4, .mkv or .mov.
        shape: (H, W) of the finished image, pixels; larger ones are shown smaller, odd sides cut.
        resume: begin with the frames of the partial file that is there.
    """

    def __init__(self, path: Path, shape: tuple[int, int], *, resume: bool = False) -> None:
        self.path = path
        self.partial = partial_path(path)
        scale = min(1, _LARGEST / max(shape))
        height, width = (max(round(side * scale) // 2 * 2, 2) for side in shape)
        self._shape = (height, width)
        self._frame: Frame | None = None
        earlier = self.partial.with_name(f".{self.partial.name}")
        if resume and self.partial.exists():
            self.partial.replace(earlier)
        self._container = av.open(f"file:{self.partial}", "w")
        self._stream = self._container.add_stream("libx264", rate=_RATE)
        self._stream.height, self._stream.width = self._shape
        self._stream.pix_fmt = "yuv420p"
        self._stream.options = {"crf": "18", "preset": "veryfast"}
        if earlier.exists():
            self._copy(earlier)

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
            if self._frame is not None:
                self._container.mux(self._stream.encode(None))
        finally:
            self._container.close()
        if kind is None:
            self.partial.replace(self.path)
        elif self._frame is None:
            self.partial.unlink()

    def _append(self, frame: Frame) -> None:
        self._frame = frame
        picture = av.VideoFrame.from_ndarray(frame, format="bgr24")
        self._container.mux(self._stream.encode(picture))

    def _copy(self, earlier: Path) -> None:
        """Take over the frames of an interrupted video; encoding them again is hardly seen."""
        video = cv2.VideoCapture(str(earlier))
        if not video.isOpened():
            logger.warning("%s: what there was of the timelapse cannot be read", self.path)
        while (read := video.read())[0]:
            self._append(np.asarray(cv2.resize(read[1], self._shape[::-1]), np.uint8))
        video.release()
        earlier.unlink()
