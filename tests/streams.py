"""Streams on loopback that begin and end when a test says so."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from fractions import Fraction
from itertools import count
from typing import IO

import av
import numpy as np

from nst_rt.infer.mjpeg import MjpegServer

_EVERY = 0.03  # seconds


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        return int(unused.getsockname()[1])


@contextmanager
def mjpeg_stream(port: int, frame: np.ndarray) -> Iterator[str]:
    """A camera that serves JPEG pictures without end; yields its URL."""
    server = MjpegServer(port)
    with closing(server), _repeated(lambda: server.write(frame, 0.0)):
        yield server.url


@contextmanager
def transport_stream(port: int, frame: np.ndarray) -> Iterator[str]:
    """H.264 in an MPEG transport stream over TCP, as encoders send it, to one viewer."""
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
