"""Live sources: a camera by index or device file, a stream by URL, a file at its own speed."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from nst_rt.errors import CameraError
from nst_rt.images import Frame
from nst_rt.infer.video import probe


class Camera:
    """Frames of a live source, as they come.

    Args:
        source: a camera's index ("0") or device file, a URL (RTSP, HTTP, ...), or a video file,
            which is played at its own speed.

    Raises:
        CameraError: a camera or stream that does not exist or cannot be opened; the message lists
            the cameras that do.
        InputError, VideoError: a file that is missing or not a video.
    """

    def __init__(self, source: str | int = 0) -> None:
        self.source = str(source)
        self.is_device = self.source.isdecimal() or self.source.startswith("/dev/video")
        self.is_stream = "://" in self.source
        # Frames of a file come as fast as they are decoded; a clock holds them to their time.
        self._paced = not (self.is_device or self.is_stream)
        if self._paced:
            probe(self.source)
        try:
            self._capture = cv2.VideoCapture(
                int(source) if self.source.isdecimal() else self.source
            )
        except cv2.error as error:  # an index out of any range
            raise CameraError(self._reason()) from error
        if not self._capture.isOpened():
            raise CameraError(self._reason())

    def __iter__(self) -> Iterator[Frame]:
        begin = time.perf_counter()
        while True:
            found, frame = self._capture.read()
            if not found:
                return
            if self._paced:
                due = begin + self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                time.sleep(max(due - time.perf_counter(), 0))
            yield np.asarray(frame, dtype=np.uint8)

    def close(self) -> None:
        """Free the device."""
        self._capture.release()

    def _reason(self) -> str:
        if not self.is_device:
            return f"{self.source}: cannot open this stream; is it on, and the address right?"
        cameras = list_cameras()
        there = (
            "cameras here: " + ", ".join(f"{index} ({name})" for index, name in cameras.items())
            if cameras
            else "there is no camera on this machine; a video file or a URL works too"
        )
        return f"camera {self.source} cannot be opened; {there}"


def list_cameras() -> dict[int, str]:
    """Cameras of this machine: index -> name."""
    if sys.platform == "linux":
        devices = sorted(Path("/sys/class/video4linux").glob("video*"))
        names = {int(d.name.removeprefix("video")): (d / "name").read_text() for d in devices}
        return {index: name.strip() for index, name in sorted(names.items())}
    # Elsewhere OpenCV offers nothing but to try.
    return {index: "camera" for index in range(5) if _opens(index)}


def _opens(index: int) -> bool:
    capture = cv2.VideoCapture(index)
    try:
        return bool(capture.isOpened())
    finally:
        capture.release()
