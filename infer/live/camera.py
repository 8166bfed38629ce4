"""Live sources: a camera, a stream by URL, or a video file at its own speed.

Cameras and streams that are lost are waited for and opened again.
"""

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from itertools import chain, repeat
from pathlib import Path

import cv2
import numpy as np

from nst_rt.errors import CameraError, InputError
from nst_rt.files import shown_source
from nst_rt.images.io import Frame
from nst_rt.infer.frames import TimedFrame
from nst_rt.infer.strokes import resized_frame
from nst_rt.infer.video import probe
from nst_rt.models.transformer import MINIMUM_SIZE

Size = tuple[int, int]

TIME_BASE = Fraction(1, 10**9)  # of live frames: nanoseconds of `time.perf_counter_ns`
NO_CAMERA = "this machine has no camera; a video file or a URL works, too"
DEFAULT_SIZE = (1280, 720)  # requested from cameras
_RAW_SIZE = (640, 480)  # requested from cameras that cannot send 720p fast enough
_FPS = 30
_FAST_ENOUGH = 24  # frames per second
_MJPG = cv2.VideoWriter.fourcc(*"MJPG")
_STREAM = [
    # FFmpeg would wait half a minute for a silent server.
    *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, 10_000),
    *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, 5_000),
    # Each additional decoder thread would hold a frame back.
    *(cv2.CAP_PROP_N_THREADS, 1),
]
_MAX_POLLS = 10  # requests per second to a URL that serves single images
_MEASURED = 20  # number of frames over which the frame rate of a source is measured
_PAUSE = 0.01  # seconds after a frame that cannot be used
_DELAYS = (0.25, 0.5, 1.0, 2.0, 4.0)  # seconds before each attempt to reopen; the last one repeats


class Camera:
    """Frames of a live source at the time they arrive; a `Source`.

    A camera or stream that is lost is opened again as soon as it is back: meanwhile `problem` says
    so, and `frames` waits. A URL that serves a single image is requested again and again. A file
    ends.

    Args:
        source: index of a camera ("0"), device file, URL (RTSP, HTTP, ...), or video file, which is
            played at its own speed.
        size: width and height. A camera is asked for them (by default for 1280x720 as MJPG at 30
            frames per second) and may choose the nearest that it has. Streams and files that are
            larger are scaled down to fit; by default they keep their size.
        fps: maximum number of requests per second to a URL that serves single images, at most 10.
        loop: whether a file starts again at its end.

    Attributes:
        is_device: whether it is a camera of this machine.
        is_live: whether it is a camera or a stream, and not a recording.
        size: width and height of the frames, as far as known before the first one.
        problem: why no frames arrive; empty while they do.

    Raises:
        CameraError: a camera or stream cannot be opened; the message lists the cameras there are.
        InputError, VideoError: a file that is missing or not a video; a size under 16 px;
            `loop` with a camera or a stream, which have no end.
    """

    time_base = TIME_BASE

    def __init__(
        self,
        source: str | int = 0,
        *,
        size: Size | None = None,
        fps: float | None = None,
        loop: bool = False,
    ) -> None:
        if size is not None and min(size) < 16:
            raise InputError(f"`size` must be at least 16 px a side, not {size[0]}x{size[1]}")
        self.source = str(source)
        self.is_device = is_device(self.source)
        self.problem = ""
        self._name = source_name(self.source)
        self._size = size
        self._loop = loop
        if loop and self.is_device:
            raise InputError(f"`loop` is for video files; {self._name} is live and never ends")
        self._is_stream = "://" in self.source
        if not (self.is_device or self._is_stream):
            probe(self.source)
        self._opened_at = 0.0
        self._capture = self._open()
        # A URL may be a recording, which comes as fast as it is decoded; a clock holds it to its
        # own speed. A URL of one frame is a camera that serves its current image.
        is_recording = self._is_stream and self._capture.get(cv2.CAP_PROP_FRAME_COUNT) > 1
        self.is_live = (self.is_device or self._is_stream) and not is_recording
        if loop and self.is_live:
            self._capture.release()
            raise InputError(f"`loop` is for video files; {self._name} is live and never ends")
        sides = (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
        width, height = (round(self._capture.get(side)) for side in sides)
        self.size = self._fitted_size(width, height) if width and height else DEFAULT_SIZE
        self._poll_seconds = 1 / min(fps or _MAX_POLLS, _MAX_POLLS)
        self._times: deque[int] = deque(maxlen=_MEASURED)  # of the last frames
        self._closed = threading.Event()
        self._started = False

    def frames(self) -> Iterator[TimedFrame]:
        """Frames as they arrive.

        The duration of a frame is the median interval between the last frames of the source,
        including those that the consumer dropped; 0 while it is unknown.
        """
        self._started = True
        begin = due = time.perf_counter()
        count = 0  # frames since the source was opened
        try:
            while not self._closed.is_set():
                found, image = self._capture.read()
                if found and image is not None:
                    frame = _usable(image) if self.is_live else np.asarray(image, np.uint8)
                    if frame is None:
                        self.problem = f"{self._name} delivers frames that cannot be used"
                        self._closed.wait(_PAUSE)
                        continue
                    self.problem = ""
                    count += 1
                    if not self.is_live:
                        due = begin + self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                        self._wait_until(due)
                    yield self._timed(frame)
                elif not self.is_live:
                    if not (self._loop and count):
                        return
                    # The last frame has its time, too.
                    self._wait_until(due + 1 / max(self._capture.get(cv2.CAP_PROP_FPS), 1))
                    self._capture.release()
                    self._capture = self._open()
                    begin, count = time.perf_counter(), 0
                else:
                    if count == 1 and self._is_stream:
                        self._request_again()
                    else:
                        self._reconnect()
                    count = 0
        finally:
            # In the thread that reads: FFmpeg and drivers crash if another one releases them.
            self._capture.release()

    def close(self) -> None:
        """End the iteration and free the device."""
        self._closed.set()
        if not self._started:
            self._capture.release()

    def _timed(self, image: Frame) -> TimedFrame:
        image = resized_frame(image, self._fitted_size(image.shape[1], image.shape[0])[::-1])
        now = time.perf_counter_ns()
        self._times.append(now)
        interval = np.median(np.diff(self._times)) if len(self._times) > 1 else 0
        return TimedFrame(image, now, int(interval), now)

    def _fitted_size(self, width: int, height: int) -> Size:
        if self._size is None:
            return width, height
        scale = min(self._size[0] / width, self._size[1] / height, 1)
        return round(width * scale), round(height * scale)

    def _wait_until(self, due: float) -> bool:
        """Whether the camera is still open at that time."""
        return not self._closed.wait(max(due - time.perf_counter(), 0))

    def _request_again(self) -> None:
        """Request the next image from a URL that serves single ones."""
        self._capture.release()
        if self._wait_until(self._opened_at + self._poll_seconds):
            try:
                self._capture = self._open()
            except CameraError:
                self._reconnect()

    def _reconnect(self) -> None:
        self._capture.release()
        self._times.clear()
        self.problem = f"{self._name} is gone; trying again"
        for delay in chain(_DELAYS, repeat(_DELAYS[-1])):
            if self._closed.wait(delay):
                return
            with suppress(CameraError):
                self._capture = self._open()
                return

    def _open(self) -> cv2.VideoCapture:
        self._opened_at = time.perf_counter()
        try:
            if self.is_device:
                capture = self._open_device()
            elif self._is_stream:
                capture = cv2.VideoCapture(self.source, cv2.CAP_FFMPEG, _STREAM)
            else:
                capture = cv2.VideoCapture(str(Path(self.source).absolute()), cv2.CAP_FFMPEG)
        except cv2.error as error:  # an index outside any range
            raise CameraError(self._reason()) from error
        if not capture.isOpened():
            raise CameraError(self._reason())
        return capture

    def _open_device(self) -> cv2.VideoCapture:
        index = int(self.source) if self.source.isdecimal() else self.source
        capture = cv2.VideoCapture(index)
        if not capture.isOpened():
            return capture
        negotiate(capture, self._size)
        if not capture.grab():  # a format that the camera offers and cannot deliver
            capture.release()
            capture = cv2.VideoCapture(index)
        return capture

    def _reason(self) -> str:
        if not self.is_device:
            return f"{self._name}: cannot open this stream; check the address and that it is on"
        names = ", ".join(f"{index} ({name})" for index, name in list_cameras().items())
        others = f"cameras of this machine: {names}" if names else NO_CAMERA
        return f"{self._name} cannot be opened; {others}"


def _usable(image: np.ndarray) -> Frame | None:
    """A live frame as BGR; None if a broken driver delivered something else."""
    height, width, channels = (*image.shape, 1)[:3] if image.ndim in (2, 3) else (0, 0, 0)
    if image.dtype != np.uint8 or min(height, width) < MINIMUM_SIZE or channels not in (1, 3, 4):
        return None
    if channels == 1:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR), np.uint8)
    return np.ascontiguousarray(image[..., :3])


def is_device(source: str | int) -> bool:
    """Whether a source is a camera of this machine."""
    return str(source).isdecimal() or str(source).startswith("/dev/video")


def source_name(source: str | int) -> str:
    """A source as others may see it on a screen: without a password."""
    return f"camera {source}" if is_device(source) else shown_source(str(source))


def negotiate(capture: cv2.VideoCapture, size: Size | None = None) -> None:
    """Request MJPG at 30 frames per second, and a size, from an open camera.

    USB 2 is too slow for uncompressed 720p; without MJPG the default is therefore a smaller size.
    The driver replaces what the camera does not offer by the nearest that it does.

    Args:
        capture: a camera of this machine.
        size: width and height; by default 1280x720, or 640x480 if that is too slow.
    """
    capture.set(cv2.CAP_PROP_FOURCC, _MJPG)
    for width, height in (DEFAULT_SIZE, _RAW_SIZE) if size is None else (size,):
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, width)
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, height)
        capture.set(cv2.CAP_PROP_FPS, _FPS)
        is_compressed = round(capture.get(cv2.CAP_PROP_FOURCC)) == _MJPG
        if is_compressed or not 0 < capture.get(cv2.CAP_PROP_FPS) < _FAST_ENOUGH:
            break
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)


def list_cameras() -> dict[int, str]:
    """Cameras of this machine: OpenCV's index -> name, in order of the indices."""
    from cv2_enumerate_cameras import enumerate_cameras, supported_backends

    # Indices are those of the backend that `cv2.VideoCapture(index)` tries first.
    order = cv2.videoio_registry.getCameraBackends()
    backend = next((each for each in order if each in supported_backends), cv2.CAP_ANY)
    return dict(sorted((each.index, each.name or "camera") for each in enumerate_cameras(backend)))
