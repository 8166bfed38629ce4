"""Live pictures as an MJPEG stream over HTTP, which OBS, browsers, players and many TVs show."""

import contextlib
import hmac
import socket
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import cast
from urllib.parse import parse_qs, quote, urlsplit

import cv2

from nst_rt.errors import InputError
from nst_rt.images.io import Frame
from nst_rt.infer.live.addresses import in_url, is_any, is_loopback, reached_at

VIEWERS = 8  # at the same time
_QUALITY = 85
_SECONDS = 10.0  # that a viewer may take for a request or a picture
_BOUNDARY = "picture"
_PAGE = b"""<!doctype html><html lang="en"><meta charset="utf-8"><title>nst-rt</title>
<style>body{margin:0;background:#000}img{width:100vw;height:100vh;object-fit:contain}</style>
<img src="stream.mjpg%s" alt="the live picture">"""


class MjpegServer:
    """Serves the newest picture to several viewers: `/stream.mjpg`, and `/`, a page with it.

    It listens on this machine only, unless a token says who may watch. Pictures are compressed
    once for all viewers, and only if there are any; a slow one misses some.

    Args:
        address: `PORT` or `HOST:PORT`; 0 is any free port.
        token: what a viewer's address has to end with, `?token=...`.

    Attributes:
        links: URLs of the stream, with the token, the best one first.

    Raises:
        InputError: not an address, one that is taken, or one that others reach without a token.
    """

    def __init__(self, address: str | int, *, token: str | None = None) -> None:
        host, port = parsed_address(address)
        if token == "":
            raise InputError("an empty token keeps nobody out")
        if token is None and not is_loopback(host):
            raise InputError(
                f"{host} can be reached by other machines: give --token, which viewers then need"
            )
        try:
            self._server = _Server((host, port), token)
        except OSError as error:
            raise InputError(f"{host}:{port}: cannot listen there ({error.strerror})") from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True
        )
        self._thread.start()
        query = f"?token={quote(token, safe='')}" if token else ""
        self.links = tuple(
            f"http://{in_url(name)}:{self._server.server_port}/stream.mjpg{query}"
            for name in reached_at(host)
        )

    @property
    def url(self) -> str:
        """The best one of the links."""
        return self.links[0]

    def write(self, frame: Frame, at: float) -> None:
        """See `Sink`."""
        self._server.picture.put(frame)

    def close(self) -> None:
        """Send all viewers away."""
        self._server.picture.put(None)
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


class _Picture:
    """The newest picture, and its JPEG, made when the first viewer asks."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._frame: Frame | None = None
        self._number = 0
        self._closed = False
        self._jpeg: tuple[int, bytes] = 0, b""
        self._compressing = threading.Lock()

    def put(self, frame: Frame | None) -> None:
        """A new picture; None for the end."""
        with self._changed:
            self._frame = frame
            self._closed = frame is None
            self._number += 1
            self._changed.notify_all()

    def after(self, number: int) -> tuple[int, bytes] | None:
        """The newest one's number and JPEG as soon as it is not `number`; None for the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._number > number)
            frame, newest = self._frame, self._number
        if frame is None:
            return None
        with self._compressing:
            if self._jpeg[0] < newest:
                _, jpeg = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
                self._jpeg = newest, jpeg.tobytes()
            return self._jpeg


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], token: str | None) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, _Viewer)
        self.token = token
        self.picture = _Picture()
        self.seats = threading.BoundedSemaphore(VIEWERS)

    def server_bind(self) -> None:
        """Without looking up names, which takes long where there is no network."""
        if self.address_family == socket.AF_INET6 and is_any(str(self.server_address[0])):
            with contextlib.suppress(OSError):  # a system that cannot listen for IPv4 too
                self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def handle_error(self, request: object, client_address: object) -> None:
        """A viewer that went away is no news."""


class _Viewer(BaseHTTPRequestHandler):
    timeout = _SECONDS  # of its socket
    server_version, sys_version = "nst-rt", ""

    def do_GET(self) -> None:
        """The page, or the stream."""
        server = cast(_Server, self.server)
        url = urlsplit(self.path)
        given = parse_qs(url.query).get("token", [""])[0]
        if server.token is not None:
            if not hmac.compare_digest(given.encode(), server.token.encode()):
                self.send_error(HTTPStatus.FORBIDDEN, "a wrong token, or none")
                return
        elif not is_loopback(urlsplit(f"//{self.headers.get('Host', '')}").hostname or ""):
            # A foreign page whose name leads here (DNS rebinding).
            self.send_error(HTTPStatus.FORBIDDEN, "not the name of this machine")
            return
        if url.path == "/":
            query = f"?token={quote(given, safe='')}" if server.token else ""
            self._begin("text/html; charset=utf-8")
            self.wfile.write(_PAGE.replace(b"%s", query.encode(), 1))
        elif url.path == "/stream.mjpg":
            self._stream(server)
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: the terminal belongs to the session."""

    def _stream(self, server: _Server) -> None:
        if not server.seats.acquire(blocking=False):
            self.send_error(HTTPStatus.SERVICE_UNAVAILABLE, "too many viewers")
            return
        try:
            self._begin(f"multipart/x-mixed-replace; boundary={_BOUNDARY}")
            number = 0
            while (found := server.picture.after(number)) is not None:
                number, jpeg = found
                head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}"
                self.wfile.write(head.encode() + b"\r\n\r\n" + jpeg + b"\r\n")
        finally:
            server.seats.release()

    def _begin(self, kind: str) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Cache-Control", "no-store")
        # Other sites' pages may not show it.
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Referrer-Policy", "no-referrer")
        self.end_headers()
