"""Who may talk to the studio: checks before any request is answered, headers after."""

import hashlib
import hmac
import ipaddress
import secrets
import socket
from collections.abc import Container, Iterable
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

# What the page may load, and from where: everything from here, nothing inline.
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' blob: data:",
        "media-src 'self' blob:",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Cache-Control": "no-cache",
}
_REFUSED_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>nst-rt studio</title><link rel="stylesheet" href="/static/style.css">
<main class="gate"><h1>This studio is locked</h1>
<p>{reason}</p>
<form action="/"><label>Token <input name="token" type="password" autocomplete="off" required>
</label><button class="primary">Open the studio</button></form></main></html>
"""
_POLICY_VIOLATION = 1008  # closing code of RFC 6455
_COOKIE_SECONDS = 400 * 86400  # the most that browsers grant; then they find their jobs no more


class Guard:
    """ASGI middleware that answers only to those who may ask, and only under our own names.

    - The Host header must be an address, or a name of this machine: a foreign name that was made to
      point here (DNS rebinding) is neither.
    - Whatever is not a plain GET must come from our own page: its Origin must be this very host.
    - All but the page itself needs the cookie that the page gives; with a token, the page gives it
      only for the link with the token. It tells visitors apart, too: `scope["visitor"]`. One that
      was given for another token opens nothing, but its visitor is the same with the right one.

    Args:
        app: that is guarded.
        token: that opens the page; None opens it to everyone who can reach it.
        key: secret that cookies are signed with, which are good where the key is the same.
        names: further names of this machine that are good; `*.` in front of one stands for any
            single name there, as in certificates.
    """

    def __init__(
        self, app: ASGIApp, *, token: str | None, key: bytes, names: Iterable[str] = ()
    ) -> None:
        self._app = app
        self._token = token
        own = socket.gethostname()
        self._names = {"localhost", own, f"{own}.local", *names}
        self._names = {name.lower() for name in self._names}
        self._key = key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See `Guard`."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        cookie = connection.cookies.get(_cookie_name(connection), "")
        visitor = self._visitor(cookie) if self._opens(cookie) else ""
        scope["visitor"] = visitor
        refusal = self._refusal(connection, visitor)
        if scope["type"] == "websocket":
            denied: ASGIApp = WebSocketClose(_POLICY_VIOLATION)
            await (denied if refusal else self._app)(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        if refusal is None and scope["path"] == "/":
            if not visitor:
                refusal = self._welcome(connection, self._visitor(cookie))
            elif "token" in connection.query_params:  # who has the cookie follows the link again
                refusal = RedirectResponse("/", 303)
        await (refusal or self._app)(scope, receive, send_guarded)

    def _refusal(self, connection: HTTPConnection, visitor: str) -> Response | None:
        scope = connection.scope
        host = connection.headers.get("host", "")
        if not self._is_own(host):
            return _error(f"this studio does not answer to the name {host[:100]!r}", 421)
        plain = scope["type"] == "http" and scope["method"] in ("GET", "HEAD")
        if not plain and _origin_host(connection) != host.lower():
            return _error("only the studio's own page may ask this", 403)
        if not visitor and scope["path"] != "/" and not scope["path"].startswith("/static/"):
            return _error("the studio was started anew, or not by this browser: reload it", 403)
        return None

    def _welcome(self, connection: HTTPConnection, visitor: str) -> Response:
        """Give a visitor the cookie, and the page again, without the token in its address."""
        given = connection.query_params.get("token", "")
        if self._token is not None and not _same(given, self._token):
            reason = "This is not its token." if given else "The link that it printed opens it."
            return HTMLResponse(_REFUSED_PAGE.format(reason=reason), 403)
        response = RedirectResponse("/", 303)
        visitor = visitor or secrets.token_hex(16)
        response.set_cookie(
            _cookie_name(connection),
            ".".join((visitor, self._signature(visitor), self._admission(visitor))),
            max_age=_COOKIE_SECONDS,
            httponly=True,
            # Strict would hide it from the page when the link is followed from elsewhere.
            samesite="lax",
            secure=connection.url.scheme == "https",
        )
        return response

    def _visitor(self, cookie: str) -> str:
        """Who a cookie of ours was given to; empty for any other."""
        visitor, signature, _ = _parts(cookie)
        return visitor if _same(signature, self._signature(visitor)) else ""

    def _opens(self, cookie: str) -> bool:
        """Whether a cookie was given for this token."""
        visitor, _, admission = _parts(cookie)
        return _same(admission, self._admission(visitor))

    def _admission(self, visitor: str) -> str:
        return self._signature(f"{visitor} {'' if self._token is None else self._token}")

    def _signature(self, text: str) -> str:
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()

    def _is_own(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if is_named(name, self._names):
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def is_named(name: str, names: Container[str]) -> bool:
    """Whether a name is among others, in which `*.` may stand for any first part of it."""
    name = name.lower()
    return name in names or f"*.{name.partition('.')[2]}" in names


def _parts(cookie: str) -> tuple[str, str, str]:
    visitor, _, signatures = cookie.partition(".")
    signature, _, admission = signatures.partition(".")
    return visitor, signature, admission


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


def _origin_host(connection: HTTPConnection) -> str:
    """Host and port of the page that asks, if it was loaded in the way in which it asks."""
    origin = urlsplit(connection.headers.get("origin", ""))
    secure = connection.url.scheme in ("https", "wss")
    return origin.netloc.lower() if origin.scheme == ("https" if secure else "http") else ""


def _cookie_name(connection: HTTPConnection) -> str:
    # Browsers share cookies between the ports of a host.
    return f"nst_rt_{connection.url.port or 443}"


def _error(reason: str, status: int) -> Response:
    return JSONResponse({"error": reason}, status)
