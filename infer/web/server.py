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
from typing import Any

import uvicorn
from platformdirs import user_data_path
from starlette.applications import Starlette

from nst_rt.errors import InputError
from nst_rt.files import check_input
from nst_rt.images.collection import find_photos
from nst_rt.infer.adaptive import check_frame_rate
from nst_rt.infer.backends import BackendName, Precision
from nst_rt.infer.live.addresses import is_loopback, links, listening, reached_at, token_query
from nst_rt.infer.web.app import create_app
from nst_rt.infer.web.limits.connections import LimitedConnection
from nst_rt.infer.web.results import temporary_folder
from nst_rt.infer.web.security import certificate_names, is_named, self_signed_certificate
from nst_rt.infer.web.settings import Limits, Settings
from nst_rt.infer.web.stylizers import SharedStylizer
from nst_rt.models.style_model import StyleModel, gallery_files
from nst_rt.progress import signals_as_interrupt

_MIN_TOKEN_LENGTH = 8


@dataclass(frozen=True)
class Ready:
    """What is known when the studio can be opened.

    Attributes:
        links: addresses of the page, the best one first.
        others: the address for other devices; None if only this machine reaches the studio.
        fingerprint: SHA-256 of the certificate that was made for it.
        camera: whether browsers allow the camera at the first link.
        results: folder of the results.
    """

    links: tuple[str, ...]
    others: str | None
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
    viewers: int = 4,
    max_upload: float = 512.0,
    max_pixels: float = 50.0,
    max_seconds: float = 600.0,
    storage: float = 4.0,
    kiosk: bool = False,
    backend: BackendName = "auto",
    device: str | None = None,
    precision: Precision = "auto",
    on_ready: Callable[[Ready], None] | None = None,
) -> None:
    """Serve the studio until Ctrl-C, SIGTERM or SIGHUP.

    Results stay and are found by the next studio; all other files of visitors are removed.

    Args:
        host: address or name to listen on; `0.0.0.0` for all networks of this machine.
        port: 0 takes a free one.
        token: secret that opens the page, required unless `host` is this machine alone; an empty
            one is replaced by a random one.
        models: model files to offer beside the gallery.
        photos: collection of photos that visitors may train on.
        start_from: what trainings start from, see `nst_rt.train.run.train_style`.
        results: folder for results; by default one in the user's data folder.
        fps: frame rate of live viewers, held by stylizing at a smaller size; 0 never reduces it.
        tls_cert, tls_key: PEM files of a certificate and its key, for HTTPS.
        self_signed: HTTPS with a certificate that is made for this run.
        viewers: maximum number of live viewers at once.
        max_upload: maximum size of an uploaded file, MB.
        max_pixels: maximum size of an image or of a video frame, megapixels.
        max_seconds: maximum duration of a video.
        storage: maximum size of all files including results, GB.
        kiosk: give the links of the kiosk page, which shows the camera in one style after another,
            without controls.
        backend, device, precision: see `Stylizer`.
        on_ready: called when the page can be opened.

    Raises:
        InputError: an address, a token, a number or a file that cannot be used.
        StyleModelError, BackendError: a model or a backend that cannot be used.
        KeyboardInterrupt: after Ctrl-C, SIGTERM or SIGHUP, when everything is cleaned up.
    """
    local = is_loopback(host)
    if not local and token is None:
        raise InputError(
            f"{host}: others can reach this address; give `token`, and `self_signed` for cameras"
        )
    if token and len(token) < _MIN_TOKEN_LENGTH:
        raise InputError(f"the token must have at least {_MIN_TOKEN_LENGTH} characters")
    if (tls_cert is None) != (tls_key is None):
        raise InputError("`tls_cert` and `tls_key` must be given together")
    if self_signed and tls_cert:
        raise InputError("`self_signed` cannot be combined with `tls_cert`")
    check_frame_rate(fps)
    if not 0 <= port <= 65535:
        raise InputError(f"`port` must be from 0 to 65535, not {port}")
    names = ("viewers", "max_upload", "max_pixels", "max_seconds", "storage")
    given = (viewers, max_upload, max_pixels, max_seconds, storage)
    for name, value in zip(names, given, strict=True):
        if not 0 < value < float("inf"):
            raise InputError(f"`{name}` must be positive, not {value}")
    if photos is not None:
        find_photos(photos)
        photos = Path(photos).absolute()
    certified: tuple[str, ...] = ()
    if tls_cert is not None and tls_key is not None:
        tls_cert, tls_key = check_input(tls_cert), check_input(tls_key)
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tls_cert, tls_key)
        except OSError as error:  # ssl.SSLError is one
            raise InputError(f"{tls_cert}, {tls_key}: not a certificate and its key") from error
        certified = certificate_names(tls_cert)
    # The name that a router or a name server has for this machine; asking them may take time.
    own_names = () if local else (socket.getfqdn(),)
    with listening(host, port) as sock, temporary_folder() as root:
        loaded = [
            StyleModel.load(model) for model in (*models, *dict.fromkeys(gallery_files().values()))
        ]
        shared = SharedStylizer(*loaded, backend=backend, device=device, precision=precision)
        shared.prepare(480, 640)  # the most common size of cameras
        addresses = reached_at(host)
        fingerprint = None
        if self_signed:
            made = self_signed_certificate(root.parent, addresses[0], *own_names)
            tls_cert, tls_key, fingerprint = made.cert, made.key, made.fingerprint
        elif certified and not local:
            addresses = _certified_addresses(addresses, certified)
        https = tls_cert is not None
        port = sock.getsockname()[1]
        token = secrets.token_urlsafe(12) if token == "" else token
        scheme = "https" if https else "http"
        paths = (f"/{token_query(token)}", f"/?kiosk{token_query(token).replace('?', '&')}")
        pages, kiosks = (links(addresses, port, path, scheme=scheme) for path in paths)
        settings = Settings(
            root,
            Path(user_data_path("nst-rt") / "studio" if results is None else results).absolute(),
            Limits(
                upload=int(max_upload * 1e6),
                storage=int(storage * 1e9),
                pixels=int(max_pixels * 1e6),
                seconds=max_seconds,
                viewers=viewers,
            ),
            fps=fps,
            photos=photos,
            start_from=start_from,
            user_library=local,  # for whoever runs it, and nobody else
            token=token,
            names=(host, *own_names, *certified),
            cookie=f"nst_rt_{port}",
            https=https,
            link=None if local else pages[0],
            fingerprint=fingerprint,
        )
        app = create_app(shared, settings)
        config = server_config(app, ssl_certfile=tls_cert, ssl_keyfile=tls_key)
        if on_ready is not None:
            opened_at = kiosks if kiosk else pages
            others = None if local else opened_at[0]
            camera = https or local
            on_ready(Ready(opened_at, others, fingerprint, camera, settings.results))
        with signals_as_interrupt():  # which uvicorn raises again at its end
            _Server(config).run(sockets=[sock])


def server_config(app: Starlette, **more: Any) -> uvicorn.Config:
    """Configure uvicorn for a studio.

    Args:
        app: see `create_app`.
        **more: further settings of `uvicorn.Config`.
    """
    settings: dict[str, Any] = {
        "http": LimitedConnection,
        "ws": "websockets-sansio",
        "ws_max_size": 4 * 2**20,  # bytes of a live JPEG
        "ws_per_message_deflate": False,  # JPEGs do not get smaller
        "log_level": "warning",
        "access_log": False,  # it would contain tokens
        "server_header": False,
        "proxy_headers": False,
        "timeout_graceful_shutdown": 3,  # seconds that open requests get
    }
    return uvicorn.Config(app, **{**settings, **more})


class _Server(uvicorn.Server):
    """Shuts down at SIGHUP, too, of which uvicorn knows nothing."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        with super().capture_signals():
            number = getattr(signal, "SIGHUP", None)  # which not every platform has
            is_main = threading.current_thread() is threading.main_thread()
            if not (is_main and number and signal.getsignal(number) is signal.default_int_handler):
                yield  # without handlers of its own, or ignored as under nohup
                return
            signal.signal(number, lambda *_: signal.raise_signal(signal.SIGTERM))
            try:
                yield
            finally:
                signal.signal(number, signal.default_int_handler)


def _certified_addresses(addresses: Sequence[str], certified: Sequence[str]) -> list[str]:
    """The addresses that a certificate is for; else the first name that it is for."""
    good = [address for address in addresses if is_named(address, certified)]
    others = [name for name in certified if not (name.startswith("*.") or is_loopback(name))]
    if good and not is_loopback(good[0]):
        return good
    return [*others[:1], *good] or list(addresses)
