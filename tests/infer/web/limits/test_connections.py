"""Connections that do nothing, too many of them, and what is no HTTP."""

import asyncio
import json
import socket
import time
from collections.abc import Iterator

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from visitors import PATIENCE, serving, until
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from nst_rt.infer.web.limits import connections

IDLE = 0.3
HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
LARGE = 64 * 2**20  # more than sockets hold


async def slow(request: Request) -> Response:
    await asyncio.sleep(6 * IDLE)
    return JSONResponse({"slow": True})


async def large(request: Request) -> Response:
    return Response(bytes(LARGE))


async def echo(channel: WebSocket) -> None:
    await channel.accept()
    while True:
        await channel.send_bytes(await channel.receive_bytes())


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(connections, "IDLE_SECONDS", IDLE)
    routes = [Route("/", slow), Route("/large", large), WebSocketRoute("/echo", echo)]
    with serving(Starlette(routes=routes)) as port:
        yield port


def opened(port: int, *parts: bytes) -> socket.socket:
    connection = socket.create_connection(("localhost", port))
    connection.settimeout(PATIENCE)
    for part in parts:
        connection.sendall(part)
    return connection


def read(connection: socket.socket) -> bytes:
    """What the server sends until it ends the connection."""
    content = b""
    with connection:
        try:
            while part := connection.recv(2**16):
                content += part
        except ConnectionResetError:
            pass
    return content


@pytest.mark.parametrize("parts", [(), (b"GET",), (HEAD,), (HEAD, b"X-More: 1\r\n")])
def test_connection_without_a_whole_request_ends(port: int, parts: tuple[bytes, ...]) -> None:
    assert read(opened(port, *parts)) == b""


def test_header_that_never_ends_is_too_slow(port: int) -> None:
    connection = opened(port, HEAD)

    def is_over() -> bool:
        time.sleep(IDLE / 3)
        try:
            connection.sendall(b"X: 1\r\n")
        except OSError:
            return True
        return False

    until(is_over)


@pytest.mark.parametrize(
    "request_head",
    [b"nonsense\r\n\r\n", HEAD + b"X: " + b"x" * 70_000, HEAD + b"bad header\r\n\r\n"],
)
def test_what_is_no_request_is_answered_in_json(port: int, request_head: bytes) -> None:
    answer = read(opened(port, request_head))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]


def test_answer_may_take_its_time(port: int) -> None:
    answer = read(opened(port, HEAD + b"Connection: close\r\n\r\n"))
    assert json.loads(answer.partition(b"\r\n\r\n")[2]) == {"slow": True}


def test_answer_that_nobody_takes_ends(port: int) -> None:
    connection = opened(port, HEAD.replace(b"/", b"/large", 1) + b"\r\n")
    time.sleep(12 * IDLE)
    assert 0 < len(read(connection)) < LARGE


def test_one_connection_too_many_is_refused(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 3)
    monkeypatch.setattr(connections, "IDLE_SECONDS", 60.0)
    others = [opened(port) for _ in range(3)]
    answer = read(opened(port))
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    others.pop().close()
    until(lambda: b"slow" in read(opened(port, HEAD + b"Connection: close\r\n\r\n")))
    for other in others:
        other.close()


@pytest.mark.parametrize("message", [bytes(5 * 2**20), [bytes(2**20)] * 5], ids=["one", "parts"])
def test_live_channel_may_be_idle_but_takes_no_large_message(
    port: int, message: bytes | list[bytes]
) -> None:
    def send() -> None:
        channel.send(message)
        channel.recv()

    with connect(f"ws://localhost:{port}/echo", max_size=None) as channel:
        time.sleep(4 * IDLE)
        channel.send(b"x")
        assert channel.recv() == b"x"
        with pytest.raises(ConnectionClosed):
            send()
