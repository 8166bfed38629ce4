"""Who may talk to the studio: checks before a request is answered, headers after it, certificates.

The cookie is that of Starlette's SessionMiddleware, which stands in front of the guard.
"""

import asyncio
import datetime
import hashlib
import hmac
import secrets
import socket
from collections.abc import Container, Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from nst_rt.errors import InputError
from nst_rt.infer.live.addresses import ip_address

COOKIE_SECONDS = 400 * 86400  # the most that browsers grant; a visitor's jobs are lost after it

# What the page may load, and from where: everything from the studio, nothing inline.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob: data:; media-src 'self' blob:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(self), geolocation=()",
    "Cache-Control": "no-cache",
}
_LOCKED_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>nst-rt studio</title><link rel="stylesheet" href="/static/css/page.css">
<link rel="stylesheet" href="/static/css/controls.css">
<main class="gate"><h1>This studio is locked</h1>
<p>{reason}</p>
<form action="/"><label>Token <input name="token" type="password" autocomplete="off" required>
</label><button class="primary">Open the studio</button></form></main></html>
"""
_GUESS_SECONDS = 0.1  # for each wrong token of all visitors together
_POLICY_VIOLATION = 1008  # closing code of RFC 6455


class StrictHeaders:
    """ASGI middleware that adds headers to all answers: what the page may load, and who may use it.

    Args:
        app: the application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""

        async def send_strictly(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_strictly)


class Guard:
    """ASGI middleware that answers only to those who may ask, and only under the studio's names.

    - The Host header must be an IP address or a name of this machine. A foreign name that was made
      to point here (DNS rebinding) is neither. (Starlette's TrustedHostMiddleware knows fixed names
      only; the addresses at which routers and containers make a machine reachable are not known.)
    - Every request but a plain GET must come from the studio's own page: its Origin must be the
      host that is asked. A GET that a browser says to come from another page gets nothing, either.
    - Everything but the page itself needs the cookie that the page sets. If there is a token, the
      page sets it only for the link with the token. The cookie also tells visitors apart, in
      `scope["visitor"]`. One that was set for another token opens nothing, but its visitor stays
      the same once the right token is given.

    Args:
        app: the guarded application.
        token: secret that opens the page; None opens it to everyone who can reach it.
        key: secret that the token is hashed with in cookies.
        names: further names of this machine; a leading `*.` stands for any single name, as in
            certificates.
    """

    def __init__(
        self, app: ASGIApp, *, token: str | None, key: bytes, names: Iterable[str] = ()
    ) -> None:
        self._app = app
        self._token = None if token is None else token.encode()
        self._admission = hmac.new(key, (token or "").encode(), hashlib.sha256).hexdigest()
        own = socket.gethostname()
        self._guessing = asyncio.Lock()
        self._names = {name.lower() for name in ("localhost", own, f"{own}.local", *names)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        session = scope["session"]
        admitted = hmac.compare_digest(session.get("admission", ""), self._admission)
        scope["visitor"] = session["visitor"] if admitted else ""
        connection = HTTPConnection(scope)
        refusal = self._refusal(connection)
        if refusal is None and scope["type"] == "http" and scope["path"] == "/":
            refusal = self._admit(connection)
            is_guess = bool(connection.query_params.get("token"))
            if is_guess and refusal is not None and refusal.status_code == 403:
                async with self._guessing:  # wrong tokens wait for each other, right ones do not
                    await asyncio.sleep(_GUESS_SECONDS)
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            await refuse(refusal, scope, receive, send)

    def _refusal(self, connection: HTTPConnection) -> Response | None:
        scope = connection.scope
        host = connection.headers.get("host", "")
        if not self._is_own(host):
            return _error(f"this studio does not answer to the name {host[:100]!r}", 421)
        plain = scope["type"] == "http" and scope["method"] in ("GET", "HEAD")
        if not plain and _origin_host(connection) != host.lower():
            return _error("only the studio's own page may ask for this", 403)
        asked_by = connection.headers.get("sec-fetch-site", "same-origin")
        if scope["path"].startswith("/api/") and asked_by not in ("same-origin", "none"):
            return _error("only the studio's own page may ask for this", 403)
        public = scope["path"] == "/" or scope["path"].startswith("/static/")
        if not (scope["visitor"] or public):
            return _error(
                "the studio was restarted, or this browser has not opened it: reload the page", 403
            )
        return None

    def _admit(self, connection: HTTPConnection) -> Response | None:
        """Set the cookie of a visitor who may enter, and take the token out of the address."""
        given = connection.query_params.get("token")
        if not connection.scope["visitor"]:
            said = (given or "").encode()
            if self._token is not None and not hmac.compare_digest(said, self._token):
                reason = "The token is wrong." if given else "Open it by the link that it printed."
                return HTMLResponse(_LOCKED_PAGE.format(reason=reason), 403)
            session = connection.scope["session"]
            session.setdefault("visitor", secrets.token_hex(16))
            session["admission"] = self._admission
        elif given is None:
            return None
        rest = connection.url.remove_query_params("token").query
        return RedirectResponse(f"/?{rest}" if rest else "/", 303)

    def _is_own(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        return is_named(name, self._names) or ip_address(name) is not None


def is_named(name: str, names: Container[str]) -> bool:
    """Whether a name is among others, in which `*.` may stand for its first part."""
    name = name.lower()
    return name in names or f"*.{name.partition('.')[2]}" in names


def _origin_host(connection: HTTPConnection) -> str:
    """Host and port of the page that asks, if it was loaded with the scheme of the request."""
    try:
        origin = urlsplit(connection.headers.get("origin", ""))
    except ValueError:  # such as brackets without an address
        return ""
    secure = connection.url.scheme in ("https", "wss")
    return origin.netloc.lower() if origin.scheme == ("https" if secure else "http") else ""


async def refuse(answer: Response, scope: Scope, receive: Receive, send: Send) -> None:
    """Send an answer instead of opening a live channel, if one was asked for."""
    silent = scope["type"] == "websocket" and "websocket.http.response" not in scope["extensions"]
    refusal: ASGIApp = WebSocketClose(_POLICY_VIOLATION) if silent else answer
    await refusal(scope, receive, send)


def _error(reason: str, status: int) -> Response:
    return JSONResponse({"error": reason}, status)


@dataclass(frozen=True)
class Certificate:
    """Files of a certificate and its key, and the SHA-256 fingerprint that browsers show."""

    cert: Path
    key: Path
    fingerprint: str


def certificate_names(file: Path) -> tuple[str, ...]:
    """Names and addresses that a certificate is for; a leading `*.` stands for any single name.

    Args:
        file: PEM; the first certificate of a chain counts.

    Raises:
        InputError: not a certificate.
    """
    try:
        extensions = x509.load_pem_x509_certificate(file.read_bytes()).extensions
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    except (ValueError, OSError) as error:
        raise InputError(f"{file}: not a readable certificate ({error})") from error
    addresses = map(str, names.get_values_for_type(x509.IPAddress))
    return (*(name.lower() for name in names.get_values_for_type(x509.DNSName)), *addresses)


def self_signed_certificate(folder: Path, *names: str) -> Certificate:
    """Make a certificate for this machine, valid for 30 days.

    Args:
        folder: folder for the files; only their owner can read the key.
        *names: names and addresses at which others reach this machine.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "nst-rt studio")])
    host = socket.gethostname()
    known = dict.fromkeys(("localhost", host, f"{host}.local", "127.0.0.1", "::1", *names))
    alternatives = [
        x509.IPAddress(address) if (address := ip_address(name)) else x509.DNSName(name)
        for name in known
    ]
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(issuer)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))  # clocks differ
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    cert_file.write_bytes(certificate.public_bytes(pem))
    key_file.touch(mode=0o600)
    key_file.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    fingerprint = certificate.fingerprint(hashes.SHA256()).hex(":").upper()
    return Certificate(cert_file, key_file, fingerprint)
