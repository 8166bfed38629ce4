"""The studio's server: its address, its certificate, and its life from start to Ctrl-C."""

import secrets
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import uvicorn

from nst_rt.errors import InputError
from nst_rt.files import check_input
from nst_rt.images.collection import find_photos
from nst_rt.infer.backends import BackendName, Precision
from nst_rt.infer.live.addresses import in_url, is_any, is_loopback, reached_at
from nst_rt.infer.web.app import create_app
from nst_rt.infer.web.certificates import names_in
from nst_rt.infer.web.certificates import self_signed as make_certificate
from nst_rt.infer.web.checks import Limits
from nst_rt.infer.web.engine import Engine
from nst_rt.infer.web.security import is_named
from nst_rt.infer.web.settings import Settings
from nst_rt.infer.web.storage import default_results, temporary_folder
from nst_rt.models.style_model import StyleModel, gallery_files

_LARGEST_FRAME = 4 * 2**20  # bytes of a live JPEG
_PATIENCE = 3  # seconds that requests have when the server ends
_SHORTEST_TOKEN = 8


@dataclass(frozen=True)
class Ready:
    """That the studio can be opened.

    Attributes:
        links: addresses of the page, the best one first.
        fingerprint: SHA-256 of the certificate that was made for it.
        camera: whether browsers give a camera to the first of the links.
        results: folder that results are kept in.
    """

    links: tuple[str, ...]
    fingerprint: str | None
    camera: bool
    results: Path


def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 8765,
    token: str | None = None,
    models: Sequence[Path | str] = (),
    photos: Path | str | None = None,
    start_from: str = "gallery",
    results: Path | str | None = None,
    fps: float = 24.0,
    tls_cert: Path | str | None = None,
    tls_key: Path | str | None = None,
    self_signed: bool = False,
    limits: Limits | None = None,
    backend: BackendName = "auto",
    device: str | None = None,
    precision: Precision = "auto",
    on_ready: Callable[[Ready], None] | None = None,
) -> None:
    """Serve the studio until Ctrl-C or SIGTERM.

    Results stay, and are there at the next start; nothing else of its visitors' files does.

    Args:
        host: address or name to listen on; `0.0.0.0` for all networks of this machine.
        port: 0 takes a free one.
        token: opens the page, and must be given for any address but this machine's own; an empty
            one is chosen at random.
        models: model files, besides the gallery.
        photos: collection of photos that visitors may train on.
        start_from: that trainings start from, see `nst_rt.train.run.train_style`.
        results: folder that results are kept in; by default one in the user's data folder.
        fps: that live pictures hold by painting smaller; 0 never paints smaller.
        tls_cert, tls_key: PEM files, for HTTPS.
        self_signed: HTTPS with a certificate made on the spot.
        limits: see `Limits`.
        backend, device, precision: see `Stylizer`.
        on_ready: called when the page can be opened.

    Raises:
        InputError: an address, a token or a file that cannot be used.
        StyleModelError, BackendError: a model or an engine that cannot be used.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, when all has been cleaned up.
    """
    local = is_loopback(host)
    if not local and token is None:
        raise InputError(
            f"{host}: whoever reaches it could use this machine; --token makes a link that only "
            "those have whom you give it to (and browsers give a camera only to HTTPS or "
            "localhost: add --self-signed, or --tls-cert and --tls-key)"
        )
    if token and len(token) < _SHORTEST_TOKEN:
        raise InputError(f"a token must have at least {_SHORTEST_TOKEN} characters; or give none")
    if (tls_cert is None) != (tls_key is None):
        raise InputError("--tls-cert and --tls-key go together")
    if self_signed and tls_cert:
        raise InputError("a certificate is given; --self-signed would make another one")
    if not 0 <= fps < float("inf"):
        raise InputError(f"the frames per second to hold must be 0 or more, not {fps}")
    if not 0 <= port <= 65535:
        raise InputError(f"a port is a number from 0 to 65535, not {port}")
    if token == "":
        token = secrets.token_urlsafe(12)
    if photos is not None:
        find_photos(photos)
        photos = Path(photos).absolute()
    pem = [None if file is None else check_input(file) for file in (tls_cert, tls_key)]
    if pem[0] is not None:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(pem[0], pem[1])
        except OSError as error:  # ssl.SSLError is one
            raise InputError(f"{tls_cert}, {tls_key}: not a certificate and its key") from error
    vouched = () if pem[0] is None else names_in(pem[0])
    # What a router or a name server calls this machine; asking them may take time.
    called = () if local else (socket.getfqdn(),)
    with _listening(host, port) as sock, temporary_folder() as root:
        engine = Engine(backend, device, precision)
        for model in (*models, *dict.fromkeys(gallery_files().values())):
            engine.add(StyleModel.load(model))
        engine.prepare()
        addresses = reached_at(host)
        address = addresses[0]
        if vouched and not local:
            addresses = _covered(addresses, vouched)
        fingerprint = None
        if self_signed:
            certificate = make_certificate(root.parent, address, *called)
            pem, fingerprint = [certificate.cert, certificate.key], certificate.fingerprint
        settings = Settings(
            root,
            (default_results() if results is None else Path(results)).absolute(),
            limits or Limits(),
            fps=fps,
            photos=photos,
            start_from=start_from,
            token=token,
            names=(host, *called, *vouched),
        )
        config = uvicorn.Config(
            create_app(engine, settings),
            ws="websockets-sansio",
            ws_max_size=_LARGEST_FRAME,
            ws_per_message_deflate=False,  # JPEGs do not get smaller
            ssl_certfile=pem[0],
            ssl_keyfile=pem[1],
            log_level="warning",
            access_log=False,  # would write tokens down
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=_PATIENCE,
        )
        if on_ready is not None:
            secure = pem[0] is not None
            here = sock.getsockname()[1]
            links = tuple(
                f"{'https' if secure else 'http'}://{in_url(name)}:{here}/"
                + (f"?token={quote(token, safe='')}" if token else "")
                for name in addresses
            )
            on_ready(Ready(links, fingerprint, secure or local, settings.results))
        with _terminated_like_interrupted():
            uvicorn.Server(config).run(sockets=[sock])


def _listening(host: str, port: int) -> socket.socket:
    try:
        [(family, *_, where), *_] = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        # Where it can, all networks of IPv6 are those of IPv4, too.
        both = family == socket.AF_INET6 and is_any(host) and socket.has_dualstack_ipv6()
        return socket.create_server(where[:2], family=family, dualstack_ipv6=both)
    except socket.gaierror as error:
        raise InputError(f"{host}: no such address on this machine") from error
    except OSError as error:
        raise InputError(
            f"{host}, port {port}: cannot be listened on ({error}); --port takes another one"
        ) from error


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """SIGTERM, which uvicorn raises again in the end, becomes a KeyboardInterrupt, too."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _covered(addresses: Sequence[str], vouched: Sequence[str]) -> list[str]:
    """Those of the addresses that a certificate is for; else the first name that it is for."""
    good = [address for address in addresses if is_named(address, vouched)]
    others = [name for name in vouched if not (name.startswith("*.") or is_loopback(name))]
    if good and not is_loopback(good[0]):
        return good
    return [*others[:1], *good] or list(addresses)
