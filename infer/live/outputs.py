"""Where live pictures go beside the window: a file at a constant rate, a virtual camera."""

import contextlib
import queue
import threading
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import av
import cv2
import numpy as np
from av.container import OutputContainer

from nst_rt.errors import CameraError, InputError, VideoError
from nst_rt.files import check_format, partial_path
from nst_rt.images.io import Frame
from nst_rt.infer.video.encoder import FrameEncoder, Shape, choose_encoding
from nst_rt.infer.video.probe import Colors

RECORDINGS = (".mp4", ".mkv", ".mov")
RATE = 30  # frames per second of recordings
_WAITING = 8  # frames between the pictures and the encoder
_KEY_FRAMES = 2  # seconds between them
# While it is written, all up to the last key frame can be played, whatever happens; in the end it
# is a file like any other. Matroska is so of itself.
_MOVFLAGS = {"movflags": "hybrid_fragmented+negative_cts_offsets"}


class Sink(Protocol):
    """Something that live pictures go to."""

    def write(self, frame: Frame, at: float) -> None:
        """Take a picture, shape (H, W, 3), uint8 BGR, of a time in seconds; it does not wait."""

    def close(self) -> None:
        """Finish."""


class Recorder:
    """An H.264 file of a constant rate, in which everything happens when it happened.

    Pictures come when they come: each is shown from its own time until that of the next one, and is
    written as often as that takes, or not at all. Encoding goes on in a thread; what it is too slow
    for is left out, and the time is kept. The file is `OUT.partial.EXT` until it is closed.

    Args:
        path: .mp4, .mkv or .mov.
        rate: frames per second.
        overwrite: replace an existing file.

    Attributes:
        path: the file.

    Raises:
        InputError, OutputExistsError: a file that cannot be written.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        rate: int = RATE,
        overwrite: bool = False,
    ) -> None:
        self.path = check_format(path, "video", RECORDINGS, overwrite=overwrite)
        self._partial = partial_path(self.path)
        self._rate = rate
        self._queue: queue.Queue[tuple[Frame, float] | None] = queue.Queue(_WAITING)
        self._thread = threading.Thread(target=self._run, name="record", daemon=True)
        self._error: Exception | None = None
        self._begin = self._end = 0.0
        self._size: tuple[int, int] | None = None

    @property
    def seconds(self) -> float:
        """From the first picture to the last one."""
        return self._end - self._begin

    def write(self, frame: Frame, at: float) -> None:
        """See `Sink`; pictures of another size than the first one's are scaled to that.

        Raises:
            VideoError: what was written before could not be, as on a full disk.
        """
        if self._error:
            raise VideoError(f"{self.path}: cannot be written ({self._error})") from self._error
        if self._size is None:
            self._size = frame.shape[1], frame.shape[0]
            self._begin = at
            self._thread.start()
        self._end = max(at, self._end, self._begin)
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait((resized(frame, self._size), at))

    def close(self) -> None:
        """Finish the file; without a picture there is none.

        Raises:
            VideoError: see `write`.
        """
        if self._size is None:
            return
        self._queue.put(None)
        self._thread.join()
        if self._error:
            raise VideoError(f"{self.path}: cannot be written ({self._error})") from self._error
        self._partial.replace(self.path)

    def _run(self) -> None:
        try:
            self._encode()
        except Exception as error:  # whatever it is, nobody is kept waiting
            self._error = error
            while self._queue.get() is not None:
                pass

    def _encode(self) -> None:
        options = {} if self.path.suffix.lower() == ".mkv" else _MOVFLAGS
        with av.open(str(self._partial.absolute()), "w", options=options) as container:
            encoder: FrameEncoder | None = None
            written, shown = 0, None
            while (item := self._queue.get()) is not None:
                frame, at = item
                if encoder is None or shown is None:
                    encoder = self._encoder(container, frame)
                else:
                    written = self._fill(encoder, shown, written, until=at)
                shown = frame
            if encoder is not None and shown is not None:
                # The last one has a time too, or a single picture would be no film.
                self._fill(encoder, shown, written, until=self._end + 1 / self._rate)
                encoder.finish()

    def _encoder(self, container: OutputContainer, frame: Frame) -> FrameEncoder:
        height, width = frame.shape[:2]
        rate = Fraction(self._rate)
        shape = Shape(width, height, Fraction(1), rate, 1 / rate, Colors())
        encoder = FrameEncoder(container, choose_encoding(self.path.suffix.lower()), shape)
        encoder.stream.codec_context.gop_size = _KEY_FRAMES * self._rate
        return encoder

    def _fill(self, encoder: FrameEncoder, frame: Frame, written: int, *, until: float) -> int:
        """Write a frame for each tick before a time; returns how many there are then."""
        while self._begin + written / self._rate < until:
            encoder.encode(frame, written)
            written += 1
        return written


class VirtualCamera:
    """A camera that other programs see, by pyvirtualcam: v4l2loopback, or that of OBS.

    Args:
        size: width and height; pictures of another size are scaled to it.
        rate: frames per second to announce.

    Attributes:
        device: its name.

    Raises:
        InputError: pyvirtualcam is not installed.
        CameraError: there is no device for it.
    """

    def __init__(self, size: tuple[int, int], *, rate: int = RATE) -> None:
        try:
            import pyvirtualcam
        except ImportError as error:
            raise InputError(
                "a virtual camera needs pyvirtualcam: pip install 'nst-rt[virtual-camera]'"
            ) from error
        self._size = size
        try:
            self._camera: Any = pyvirtualcam.Camera(*size, rate, fmt=pyvirtualcam.PixelFormat.BGR)
        except RuntimeError as error:
            raise CameraError(
                "there is no virtual camera on this machine: on Linux sudo modprobe v4l2loopback "
                "makes one, on Windows and macOS OBS Studio brings one "
                f"({' '.join(str(error).split())})"
            ) from error
        self.device = str(self._camera.device)

    def write(self, frame: Frame, at: float) -> None:
        """See `Sink`.

        Raises:
            CameraError: the device is gone.
        """
        try:
            self._camera.send(resized(frame, self._size))
        except RuntimeError as error:
            raise CameraError(f"the virtual camera {self.device} is gone ({error})") from error

    def close(self) -> None:
        """Give the device back."""
        self._camera.close()


def resized(frame: Frame, size: tuple[int, int]) -> Frame:
    """A frame at a width and height, without a copy where it has them."""
    if size == (frame.shape[1], frame.shape[0]):
        return frame
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)
