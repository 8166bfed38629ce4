import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest
from clips import write_clip

from nst_rt.errors import CameraError, InputError, VideoError
from nst_rt.infer.camera import Camera, list_cameras


def test_a_file_is_played_at_its_own_speed(tmp_path: Path) -> None:
    camera = Camera(str(write_clip(tmp_path / "in.mp4")))
    begin = time.perf_counter()
    frames = list(camera)
    # A lower bound only: nothing makes a machine play a second of film in less than it takes.
    assert time.perf_counter() - begin >= 24 / 25
    assert len(frames) == 25
    assert frames[0].dtype == np.uint8
    assert not camera.is_device


@pytest.mark.parametrize("source", ["77", 77, "/dev/video77", "77777777777777"])
def test_a_missing_camera_names_those_that_exist(
    source: str | int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nst_rt.infer.camera.list_cameras", lambda: {0: "Front", 2: "Back"})
    with pytest.raises(CameraError, match=r"camera .*77 .*here: 0 \(Front\), 2 \(Back\)"):
        Camera(source)


def test_no_camera_at_all_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nst_rt.infer.camera.list_cameras", dict)
    with pytest.raises(CameraError, match="there is no camera on this machine"):
        Camera(77)


def test_cameras_are_listed_by_index() -> None:
    assert all(isinstance(index, int) and name for index, name in list_cameras().items())


def test_a_missing_file_and_one_that_is_no_video(tmp_path: Path, astronaut: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        Camera(str(tmp_path / "nothing.mp4"))
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(VideoError, match="empty"):
        Camera(str(tmp_path / "empty.mp4"))


def test_a_dead_stream_is_an_error() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with pytest.raises(CameraError, match="cannot open this stream"):
        Camera(f"http://127.0.0.1:{port}/stream.mjpg")


@pytest.fixture
def mjpeg_url() -> Iterator[str]:
    """A camera of the kind that serves JPEG pictures without end."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            _, jpeg = cv2.imencode(".jpg", np.full((48, 64, 3), (200, 100, 50), np.uint8))
            part = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
            try:
                for _ in range(200):
                    self.wfile.write(part % len(jpeg) + jpeg.tobytes() + b"\r\n")
                    time.sleep(0.01)
            except OSError:
                return

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/stream.mjpg"
    server.shutdown()
    server.server_close()


def test_a_stream_is_watched(mjpeg_url: str) -> None:
    camera = Camera(mjpeg_url)
    frame = next(iter(camera))
    camera.close()
    assert np.abs(frame[24, 32].astype(int) - (200, 100, 50)).max() < 12
