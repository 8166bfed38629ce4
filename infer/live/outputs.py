"""Sinks for live frames besides the window: a recording at a constant rate, a virtual camera."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

from nst_rt.errors import CameraError, InputError, StyleTransferError, VideoError
from nst_rt.files import check_format
from nst_rt.images.io import Frame
from nst_rt.infer.frames import TimedFrame
from nst_rt.infer.live.camera import TIME_BASE, Size
from nst_rt.infer.strokes import resized_frame
from nst_rt.infer.video.encoder import H264_SUFFIXES, Encoding, Shape, choose_encoding
from nst_rt.infer.video.probe import probe
from nst_rt.infer.video.writers import StreamSink

FPS = 30  # frames per second of recordings and virtual cameras
_QUEUED = 8  # maximum number of frames that wait for the encoder
_KEY_FRAME_SECONDS = 2  # from one key frame to the next


class Recorder:
    """An H.264 file at a constant frame rate that keeps the times of irregular frames; a `Sink`.

    Each frame is shown from its own time until that of the next one, and is therefore encoded
    several times or not at all. A thread encodes; frames that it is too slow for are dropped, and
    times are kept. Until it is closed, the file is called `OUT.partial.EXT`; after an error it
    keeps that name if anything in it plays, and is removed otherwise.

    Args:
        path: .mp4, .mkv or .mov.
        overwrite: whether to replace an existing file.

    Attributes:
        path: path of the file.

    Raises:
        InputError, OutputExistsError: a file that cannot be written.
        VideoError: this machine has no H.264 encoder.
    """

    def __init__(self, path: Path | str, *, overwrite: bool = False) -> None:
        self.path = check_format(path, "video", H264_SUFFIXES, overwrite=overwrite)
        self._shape: tuple[int, int] | None = None  # height and width of the first frame
        self._begin = self._end = 0  # times of the first and the last frame
        self._thread = ThreadPoolExecutor(1, "record")
        self._queue: deque[Future[None]] = deque()
        # Only the thread touches these.
        encoding = _RecordingEncoding(**asdict(choose_encoding(self.path.suffix.lower())))
        self._sink = StreamSink(self.path, encoding, _properties)
        self._image: Frame | None = None
        self._count = 0  # number of encoded frames
        self._failed = False
        self._kept: Path | None = None  # what plays after an error

    @property
    def seconds(self) -> float:
        """Time from the first frame to the last."""
        return float((self._end - self._begin) * TIME_BASE)

    def write(self, frame: TimedFrame) -> None:
        """Take the next frame without waiting; it is scaled to the size of the first one.

        Raises:
            VideoError: an earlier frame could not be written, as on a full disk.
        """
        if self._shape is None:
            self._shape = frame.image.shape[0], frame.image.shape[1]
            self._begin = frame.pts
        self._end = max(frame.pts, self._end, self._begin)
        while self._queue and self._queue[0].done():
            self._check(self._queue[0])
            self._queue.popleft()
        if len(self._queue) < _QUEUED:
            image = resized_frame(frame.image, self._shape)
            self._queue.append(self._thread.submit(self._encode, image, frame.pts))

    def close(self) -> None:
        """Complete the file; there is none without a frame.

        Raises:
            VideoError: a frame could not be written; the thread has ended all the same.
        """
        if self._shape is None:
            return
        self._queue.append(self._thread.submit(self._finish))
        self._thread.shutdown()
        for done in self._queue:
            self._check(done)

    def _check(self, done: Future[None]) -> None:
        if error := done.exception():
            reason = getattr(error, "strerror", None) or error
            kept = f"; what was recorded until then is in {self._kept}" if self._kept else ""
            raise VideoError(f"{self.path}: cannot be written ({reason}){kept}") from error

    def _encode(self, image: Frame, pts: int) -> None:
        with self._ended_by_errors():
            self._repeat(self._frame_number(pts))
        self._image = image

    def _finish(self) -> None:
        with self._ended_by_errors():
            # The last frame is shown once: otherwise a recording of one frame would be empty.
            self._repeat(self._frame_number(self._end) + 1)
            if not self._failed:
                self._sink.close()

    @contextmanager
    def _ended_by_errors(self) -> Iterator[None]:
        """After the first error the file is closed, and nothing more is written."""
        try:
            yield
        except Exception:
            self._failed, self._image = True, None
            self._kept = self._playable(self._sink.abort())
            raise

    @staticmethod
    def _playable(partial: Path | None) -> Path | None:
        """The unfinished file if it is a video; else it is removed."""
        if partial is not None:
            with suppress(StyleTransferError):
                probe(partial)
                return partial
            with suppress(OSError):  # its folder may be gone, or the disk
                partial.unlink(missing_ok=True)
        return None

    def _frame_number(self, pts: int) -> Fraction:
        """The number of the recording's frame at a time of the source."""
        return (pts - self._begin) * TIME_BASE * FPS

    def _repeat(self, end: Fraction) -> None:
        """Encode the last image for each frame of the recording before `end`."""
        while self._image is not None and not self._failed and self._count < end:
            self._sink.write(TimedFrame(self._image, self._count, 1))
            self._count += 1


class _RecordingEncoding(Encoding):
    """With frequent key frames, so that nearly all of an unfinished file can be played."""

    @property
    def options(self) -> dict[str, str]:
        return {**super().options, "g": str(_KEY_FRAME_SECONDS * FPS)}


def _properties(image: Frame) -> Shape:
    height, width = image.shape[:2]
    return Shape.plain(width, height, Fraction(FPS))


class VirtualCamera:
    """A `Sink` that other programs see as a camera, by pyvirtualcam (v4l2loopback, OBS).

    Args:
        size: width and height; frames of another size are scaled.

    Attributes:
        device: name of the camera.

    Raises:
        InputError: pyvirtualcam is not installed.
        CameraError: this machine has no virtual camera.
    """

    def __init__(self, size: Size) -> None:
        try:
            import pyvirtualcam
        except ImportError as error:
            raise InputError(
                "a virtual camera needs pyvirtualcam: pip install 'nst-rt[virtual-camera]'"
            ) from error
        self._size = size
        try:
            self._camera: Any = pyvirtualcam.Camera(*size, FPS, fmt=pyvirtualcam.PixelFormat.BGR)
        except RuntimeError as error:
            raise CameraError(
                "this machine has no virtual camera: on Linux run sudo modprobe v4l2loopback, on "
                f"Windows and macOS install OBS Studio ({' '.join(str(error).split())})"
            ) from error
        self.device = str(self._camera.device)

    def write(self, frame: TimedFrame) -> None:
        """Send the next frame.

        Raises:
            CameraError: the device is gone.
        """
        try:
            self._camera.send(resized_frame(frame.image, self._size[::-1]))
        except RuntimeError as error:
            raise CameraError(f"the virtual camera {self.device} is gone ({error})") from error

    def close(self) -> None:
        """Release the device."""
        self._camera.close()
