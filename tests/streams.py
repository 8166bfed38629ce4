"""Streams on loopback that a test starts and ends."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import IO

import av
import cv2
import numpy as np

from nst_rt.infer.frames import TimedFrame
from nst_rt.infer.live.mjpeg import MjpegServer

_EVERY = 0.03  # seconds between frames


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        return int(unused.getsockname()[1])


def decoded(video: Path) -> list[np.ndarray]:
    """All frames of a video file, BGR."""
    with av.open(str(video)) as container:
        return [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]


@contextmanager
def mjpeg_stream(port: int, frame: np.ndarray) -> Iterator[str]:
    """A camera that streams one image as MJPEG; yields its URL."""
    ended = threading.Event()

    def serve() -> None:
        while not ended.wait(_EVERY):
            server.write(TimedFrame(frame, 0))

    with closing(MjpegServer(port)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.links[0]
        finally:
            ended.set()
            thread.join()


class Snapshots:
    """A camera that serves a single JPEG for each request, at `url`.

    Attributes:
        frame: current image; None to answer with 503.
        asked: number of requests.
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
    """An encoder that sends H.264 in an MPEG transport stream over TCP to one viewer."""
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
