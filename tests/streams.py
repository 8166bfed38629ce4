"""Network streams on the loopback interface, started and stopped by tests."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import IO

import av
import cv2
import numpy as np

from nst_rt.infer.live.mjpeg import MjpegServer

_EVERY = 0.03  # seconds


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        return int(unused.getsockname()[1])


@contextmanager
def mjpeg_stream(port: int, frame: np.ndarray) -> Iterator[str]:
    """A camera that serves an endless MJPEG stream; yields its URL."""
    server = MjpegServer(port)
    with closing(server), _repeated(lambda: server.write(frame, 0.0)):
        yield server.url


class Snapshots:
    """A camera that answers each request to `url` with one JPEG image.

    Attributes:
        frame: image to serve; None to answer with status 503.
        asked: number of requests so far.
    """

    def __init__(self, frame: np.ndarray) -> None:
        self.frame: np.ndarray | None = frame
        self.asked = 0
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                camera.asked += 1
                if camera.frame is None:
                    self.send_error(503)
                    return
                jpeg = cv2.imencode(".jpg", camera.frame)[1].tobytes()
                self.send_response(200)
                self.send_header("Content-Type", "image/jpeg")
                self.send_header("Content-Length", str(len(jpeg)))
                self.end_headers()
                self.wfile.write(jpeg)

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/snapshot.jpg"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def transport_stream(port: int, frame: np.ndarray) -> Iterator[str]:
    """H.264 in an MPEG transport stream over TCP, for one viewer; yields its URL."""
    ended = threading.Event()
    server = socket.create_server(("127.0.0.1", port))

    def serve() -> None:
        with suppress(OSError):  # the viewer leaves, or none comes
            connection, _ = server.accept()
            with connection, connection.makefile("wb", 0) as file:
                send(file)

    def send(file: IO[bytes]) -> None:
        with av.open(file, "w", format="mpegts", options={"flush_packets": "1"}) as container:
            stream = container.add_stream("libx264", rate=25)
            stream.height, stream.width = frame.shape[:2]
            stream.pix_fmt = "yuv420p"
            stream.options = {"tune": "zerolatency", "g": "5"}
            for number in count():
                if ended.wait(_EVERY):
                    return
                picture = av.VideoFrame.from_ndarray(frame, format="bgr24")
                picture.pts, picture.time_base = number, Fraction(1, 25)
                container.mux(stream.encode(picture))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"tcp://127.0.0.1:{port}"
    finally:
        ended.set()
        server.shutdown(socket.SHUT_RDWR)  # wakes one that waits for a viewer
        server.close()
        thread.join()


@contextmanager
def _repeated(action: Callable[[], None]) -> Iterator[None]:
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(_EVERY):
            action()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
