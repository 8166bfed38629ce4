"""Connections of browsers: how many there may be, and how long one may do nothing."""

import asyncio
import json
from http import HTTPStatus
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

# A browser opens six, and one for each live channel. Each takes one of the files that a process may
# have open, of which there are often 1024.
MAX_CONNECTIONS = 512
IDLE_SECONDS = 20.0  # without a request, or while an answer is not taken
_IDLE_ANSWERS = 6  # times as long for an answer: browsers pause a video that they have read ahead


class LimitedConnection(H11Protocol):
    """An HTTP connection that ends if nothing happens on it, with refusals that the page can read.

    Uvicorn ends a connection that waits for another request after five seconds, but waits for the
    first one, and for the rest of its headers, forever. What is longer than 64 KiB is no header.
    """

    _watching: asyncio.TimerHandle | None = None
    _stalled = 0
    _seen: tuple[object, int] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, or refuse one connection too many."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections: try again later")
        else:
            self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._stop_watching()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Become a live channel, which has pings to notice that nobody is there."""
        self._stop_watching()
        super().handle_websocket_upgrade(event)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP."""
        self._refuse(HTTPStatus.BAD_REQUEST, "not a valid request")

    def _refuse(self, status: HTTPStatus, reason: str) -> None:
        body = json.dumps({"error": reason}).encode()
        head = f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/json\r\n"
        head += f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        self.transport.write(head.encode() + body)
        self.transport.close()

    def _watch(self) -> None:
        """End the connection if nothing has happened twice in a row."""
        cycle: Any = self.cycle
        unsent = self.transport.get_write_buffer_size()
        # A request that is being answered may take as long as it needs.
        waits = cycle is None or cycle.response_complete or unsent > 0
        seen = (cycle, unsent)
        self._stalled = self._stalled + 1 if waits and seen == self._seen else 0
        self._seen = seen
        if self._stalled >= (_IDLE_ANSWERS if unsent else 1):
            self.transport.abort()
            return
        self._watching = self.loop.call_later(IDLE_SECONDS, self._watch)

    def _stop_watching(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None
