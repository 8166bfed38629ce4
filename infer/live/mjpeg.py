"""Live frames as an MJPEG stream over HTTP, for OBS, browsers, players and many TVs."""

import hmac
import socket
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import cv2

from nst_rt.errors import InputError
from nst_rt.images.io import Frame
from nst_rt.infer.frames import TimedFrame
from nst_rt.infer.live.addresses import is_loopback, links, listening, reached_at, token_query

MAX_VIEWERS = 8  # at the same time
_QUALITY = 85  # of JPEG
_TIMEOUT = 10.0  # seconds that a viewer may take for a request or an image
_BOUNDARY = "image"
_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>nst-rt</title>
<style>body{margin:0;background:#000}img{width:100vw;height:100vh;object-fit:contain}</style>
<img src="stream.mjpg{query}" alt="live stream">"""


class MjpegServer:
    """A `Sink` that serves the newest frame to viewers: `/stream.mjpg`, and `/`, a page with it.

    It listens on this machine only, unless viewers need a token. Frames are compressed once for all
    viewers, and only if there are any; a slow viewer misses some.

    Args:
        address: `PORT` or `HOST:PORT`; port 0 is any free one.
        token: what the URLs of viewers must end with, `?token=...`.

    Attributes:
        links: URLs of the stream, with the token, the best one first.

    Raises:
        InputError: an address that is invalid, in use, or open to other machines without a token.
    """

    def __init__(self, address: str | int, *, token: str | None = None) -> None:
        host, port = parsed_address(address)
        if token == "":
            raise InputError("`token` is empty and would let everybody in")
        if token is None and not is_loopback(host):
            raise InputError(f"other machines can reach {host}; set a `token` for its viewers")
        self._server = _Server(listening(host, port), token)
        threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True).start()
        path = f"/stream.mjpg{token_query(token)}"
        self.links = links(reached_at(host), self._server.server_port, path)

    def write(self, frame: TimedFrame) -> None:
        """Replace the frame that viewers get next."""
        self._server.newest.put(frame.image)

    def close(self) -> None:
        """Disconnect all viewers."""
        self._server.newest.put(None)
        self._server.shutdown()
        self._server.server_close()


def parsed_address(address: str | int) -> tuple[str, int]:
    """Host and port of `PORT`, `HOST:PORT` or `[IPV6]:PORT`.

    Raises:
        InputError: anything else.
    """
    host, _, port = str(address).rpartition(":")
    host = host.removeprefix("[").removesuffix("]") or "127.0.0.1"
    if not port.isdecimal() or int(port) > 65535:
        raise InputError(f"{address}: not an address to listen on; give PORT or HOST:PORT")
    return host, int(port)


class _Newest:
    """The newest image, and its JPEG, made when the first viewer wants it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._image: Frame | None = None
        self._number = 0
        self._jpeg: tuple[int, bytes] = 0, b""
        self._compressing = threading.Lock()

    def put(self, image: Frame | None) -> None:
        """Replace the image; None ends the stream."""
        with self._changed:
            self._image = image
            self._number += 1
            self._changed.notify_all()

    def after(self, number: int) -> tuple[int, bytes] | None:
        """Number and JPEG of the first image with a number above `number`; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._number > number)
            image, newest = self._image, self._number
        if image is None:
            return None
        with self._compressing:
            if self._jpeg[0] < newest:
                _, jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
                self._jpeg = newest, jpeg.tobytes()
            return self._jpeg


class _Server(ThreadingHTTPServer):
    def __init__(self, listens: socket.socket, token: str | None) -> None:
        host, self.server_port = listens.getsockname()[:2]
        # The server's own way to bind looks up host names, which takes long without a network.
        super().__init__((host, self.server_port), _Viewer, bind_and_activate=False)
        self.socket.close()
        self.socket = listens
        self.token = token
        self.newest = _Newest()
        self.seats = threading.BoundedSemaphore(MAX_VIEWERS)

    def handle_error(self, request: object, client_address: object) -> None:
        """Print nothing when a viewer disconnects."""


class _Viewer(BaseHTTPRequestHandler):
    server: _Server
    timeout = _TIMEOUT
    server_version, sys_version = "nst-rt", ""

    def do_GET(self) -> None:
        """Answer with the page or the stream."""
        url, token = urlsplit(self.path), self.server.token
        if token is not None:
            given = parse_qs(url.query).get("token", [""])[0]
            if not hmac.compare_digest(given.encode(), token.encode()):
                self.send_error(HTTPStatus.FORBIDDEN, "wrong token, or none")
                return
        elif not is_loopback(urlsplit(f"//{self.headers.get('Host', '')}").hostname or ""):
            # A foreign page whose host name leads here (DNS rebinding).
            self.send_error(HTTPStatus.FORBIDDEN, "not the name of this machine")
            return
        if url.path == "/":
            self._send_head("text/html; charset=utf-8")
            self.wfile.write(_PAGE.replace("{query}", token_query(token)).encode())
        elif url.path == "/stream.mjpg":
            self._stream()
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def log_message(self, format: str, *arguments: object) -> None:
        """Print nothing: the terminal belongs to the session."""

    def _stream(self) -> None:
        if not self.server.seats.acquire(blocking=False):
            self.send_error(HTTPStatus.SERVICE_UNAVAILABLE, "too many viewers")
            return
        try:
            self._send_head(f"multipart/x-mixed-replace; boundary={_BOUNDARY}")
            number = 0
            while (found := self.server.newest.after(number)) is not None:
                number, jpeg = found
                head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}"
                self.wfile.write(head.encode() + b"\r\n\r\n" + jpeg + b"\r\n")
        finally:
            self.server.seats.release()

    def _send_head(self, content_type: str) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", content_type)
        self.send_header("Cache-Control", "no-store")
        # Pages of other sites may not show it.
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Referrer-Policy", "no-referrer")
        self.end_headers()
