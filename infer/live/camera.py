"""Live sources: a camera by index or device file, a stream by URL, a file at its own speed.

Cameras and streams that go away are waited for and opened again.
"""

import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from nst_rt.errors import CameraError, InputError
from nst_rt.files import shown_source
from nst_rt.images.io import Frame
from nst_rt.infer.video import probe

Size = tuple[int, int]

DEFAULT_SIZE = (1280, 720)  # asked of cameras
_RAW_SIZE = (640, 480)  # of cameras that cannot send 720p fast enough
_RATE = 30
_FAST_ENOUGH = 24  # frames per second
_MJPG = cv2.VideoWriter.fourcc(*"MJPG")
# FFmpeg would wait half a minute for a stream that says nothing.
_OPEN_MS, _READ_MS = 10000, 5000
_POLLS = 10  # pictures per second, at most, that a source of single ones is asked for
_MEASURED = 20  # frames that the rate of a source goes over
_WAITS = (0.25, 0.5, 1.0, 2.0, 4.0)  # seconds before trying again, the last one again and again


@dataclass(frozen=True)
class Captured:
    """A frame as it came.

    Attributes:
        frame: shape (H, W, 3), uint8 BGR.
        at: when it came, by `time.perf_counter`.
        interval: seconds from one frame of the source to the next, the median over the last ones,
            also those that were dropped; 0 as long as it is not known.
    """

    frame: Frame
    at: float
    interval: float = 0.0


class Camera:
    """Frames of a live source, as they come.

    A camera or a stream that goes away is opened again as soon as it is there: `problem` says so
    meanwhile, and iterating waits. A URL that gives one picture is asked for the next. A file ends.

    Args:
        source: a camera's index ("0") or device file, a URL (RTSP, HTTP, ...), or a video file,
            which is played at its own speed.
        size: width and height to ask a camera for, by default 1280x720 as MJPG at 30 frames per
            second where it offers that; it may take what is nearest. Frames of streams and files
            that are larger are shrunk to fit into it, by default they are not.
        fps: frames per second that are wanted of a URL that gives one picture; by default, and at
            most, ten.

    Attributes:
        is_device: a camera of this machine.
        is_live: a camera or a stream, not a film.
        size: width and height of its frames, as far as known before the first one.
        problem: what keeps frames from coming, empty as long as they come.

    Raises:
        CameraError: a camera or stream that does not exist or cannot be opened; the message lists
            the cameras that do.
        InputError, VideoError: a file that is missing or not a video; a size that is none.
    """

    def __init__(
        self, source: str | int = 0, *, size: Size | None = None, fps: float | None = None
    ) -> None:
        if size is not None and min(size) < 16:
            raise InputError(f"a size of {size[0]}x{size[1]} px is too small: 16 px a side")
        self.source = str(source)
        self.is_device = self.source.isdecimal() or self.source.startswith("/dev/video")
        self.problem = ""
        self._size = size
        is_stream = "://" in self.source
        if not (self.is_device or is_stream):
            probe(self.source)
        self._opened_at = 0.0
        self._capture = self._open()
        # Films come as fast as they are decoded; a clock holds them to their time. One picture is
        # what a camera has now.
        is_film = is_stream and self._capture.get(cv2.CAP_PROP_FRAME_COUNT) > 1
        self.is_live = (self.is_device or is_stream) and not is_film
        sides = (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
        width, height = (round(self._capture.get(side)) for side in sides)
        self.size = self._fitting(width, height) if width and height else DEFAULT_SIZE
        self._poll_seconds = 1 / min(fps or _POLLS, _POLLS)
        self._times: deque[float] = deque(maxlen=_MEASURED)  # of the last frames
        self._closed = threading.Event()
        self._iterated = False

    def __iter__(self) -> Iterator[Captured]:
        self._iterated = True
        begin = time.perf_counter()
        count = 0  # of frames since the source was opened
        try:
            while not self._closed.is_set():
                found, frame = self._capture.read()
                if found:
                    self.problem = ""
                    count += 1
                    if not self.is_live:
                        due = begin + self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                        self._wait_until(due)
                    yield self._captured(np.asarray(frame, np.uint8))
                elif not self.is_live:
                    return
                else:
                    if count == 1 and not self.is_device:
                        self._poll()
                    else:
                        self._reconnect()
                    count = 0
        finally:
            # By the thread that reads, since FFmpeg and drivers break under one that does.
            self._capture.release()

    def close(self) -> None:
        """End the iteration, and free the device."""
        self._closed.set()
        if not self._iterated:
            self._capture.release()

    def _captured(self, frame: Frame) -> Captured:
        frame, now = self._fitted(frame), time.perf_counter()
        self._times.append(now)
        interval = np.median(np.diff(self._times)) if len(self._times) > 1 else 0
        return Captured(frame, now, float(interval))

    def _wait_until(self, due: float) -> bool:
        """False if it is closed before a time."""
        return not self._closed.wait(max(due - time.perf_counter(), 0))

    def _poll(self) -> None:
        """Open a source of single pictures for the next one."""
        self._capture.release()
        if self._wait_until(self._opened_at + self._poll_seconds):
            try:
                self._capture = self._open()
            except CameraError:
                self._reconnect()

    def _reconnect(self) -> None:
        self._capture.release()
        self._times.clear()
        tries = 0
        self.problem = f"{self._name} is gone; trying again"
        while not self._closed.wait(_WAITS[min(tries, len(_WAITS) - 1)]):
            tries += 1
            try:
                self._capture = self._open()
            except CameraError:
                continue
            return

    def _open(self) -> cv2.VideoCapture:
        self._opened_at = time.perf_counter()
        try:
            if self.is_device:
                capture = self._open_device()
            elif "://" in self.source:
                capture = cv2.VideoCapture(self.source, cv2.CAP_FFMPEG, _STREAM)
            else:
                capture = cv2.VideoCapture(str(Path(self.source).absolute()), cv2.CAP_FFMPEG)
        except cv2.error as error:  # an index out of any range
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
        if not capture.grab():  # a format that it offers and cannot send
            capture.release()
            capture = cv2.VideoCapture(index)
        return capture

    def _fitted(self, frame: Frame) -> Frame:
        height, width = frame.shape[:2]
        size = self._fitting(width, height)
        if size == (width, height):
            return frame
        return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)

    def _fitting(self, width: int, height: int) -> Size:
        if self._size is None:
            return width, height
        scale = min(self._size[0] / width, self._size[1] / height, 1)
        return round(width * scale), round(height * scale)

    @property
    def _name(self) -> str:
        """What to call it on a screen that others see: without a password."""
        if self.is_device:
            return f"camera {self.source}"
        return shown_source(self.source)

    def _reason(self) -> str:
        if not self.is_device:
            return f"{self._name}: cannot open this stream; is it on, and the address right?"
        cameras = list_cameras()
        there = (
            "cameras here: " + ", ".join(f"{index} ({name})" for index, name in cameras.items())
            if cameras
            else "there is no camera on this machine; a video file or a URL works too"
        )
        return f"camera {self.source} cannot be opened; {there}"


# One thread: several would each hold a frame back.
_STREAM = [
    *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _OPEN_MS),
    *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, _READ_MS),
    *(cv2.CAP_PROP_N_THREADS, 1),
]


def negotiate(capture: cv2.VideoCapture, size: Size | None = None) -> None:
    """Ask an open camera for MJPG at 30 frames per second, and a size.

    Without MJPG, 720p does not fit through USB 2 in time; then the default is a smaller size. What
    a camera does not offer, its driver replaces by what is nearest.

    Args:
        capture: a camera of this machine.
        size: width and height; by default 1280x720, or 640x480 if that is too slow.
    """
    capture.set(cv2.CAP_PROP_FOURCC, _MJPG)
    _ask(capture, size or DEFAULT_SIZE)
    packed = round(capture.get(cv2.CAP_PROP_FOURCC)) == _MJPG
    if size is None and not packed and 0 < capture.get(cv2.CAP_PROP_FPS) < _FAST_ENOUGH:
        _ask(capture, _RAW_SIZE)
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)


def _ask(capture: cv2.VideoCapture, size: Size) -> None:
    capture.set(cv2.CAP_PROP_FRAME_WIDTH, size[0])
    capture.set(cv2.CAP_PROP_FRAME_HEIGHT, size[1])
    capture.set(cv2.CAP_PROP_FPS, _RATE)


def list_cameras() -> dict[int, str]:
    """Cameras of this machine: index -> name."""
    if sys.platform == "linux":
        devices = sorted(Path("/sys/class/video4linux").glob("video*"))
        names = {int(d.name.removeprefix("video")): (d / "name").read_text() for d in devices}
        return {
            index: name.strip()
            for index, name in sorted(names.items())
            if _captures(Path(f"/dev/video{index}"))
        }
    # Elsewhere OpenCV offers nothing but to try.
    return {index: "camera" for index in range(5) if _opens(index)}


# VIDIOC_QUERYCAP and V4L2_CAP_VIDEO_CAPTURE of linux/videodev2.h; device_caps of the struct.
_QUERY, _CAPTURE, _CAPABILITIES = 0x80685600, 1, "88xI12x"


def _captures(device: Path) -> bool:
    """Whether a device gives pictures; webcams have a second one that tells about them."""
    import fcntl  # which Windows does not have

    try:
        with device.open("rb", buffering=0) as file:
            answer = fcntl.ioctl(file, _QUERY, bytes(struct.calcsize(_CAPABILITIES)))
    except OSError:
        return True  # not ours to ask, perhaps
    return bool(struct.unpack(_CAPABILITIES, answer)[0] & _CAPTURE)


def _opens(index: int) -> bool:
    capture = cv2.VideoCapture(index)
    try:
        return bool(capture.isOpened())
    finally:
        capture.release()
