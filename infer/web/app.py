"""The studio as a web application."""

import hashlib
import logging
import shutil
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import get_args

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from nst_rt.errors import StyleTransferError
from nst_rt.infer.live.addresses import is_loopback
from nst_rt.infer.web.decoding.pool import Decoders
from nst_rt.infer.web.jobs import Jobs
from nst_rt.infer.web.learning import StudioLearning
from nst_rt.infer.web.limits.storage import Storage
from nst_rt.infer.web.limits.visitors import TooManyError, TooSlowError
from nst_rt.infer.web.results import Kind, Results
from nst_rt.infer.web.routes.jobs import JobRoutes
from nst_rt.infer.web.routes.learning import LearningRoutes
from nst_rt.infer.web.routes.link import LinkRoutes
from nst_rt.infer.web.routes.live import LiveRoutes
from nst_rt.infer.web.routes.uploads import UploadRoutes
from nst_rt.infer.web.security import COOKIE_SECONDS, Guard, StrictHeaders, refuse
from nst_rt.infer.web.settings import Settings, TooLargeError
from nst_rt.infer.web.stylizers import SharedStylizer
from nst_rt.infer.web.uploads import Uploads, visitor_message
from nst_rt.infer.web.work.train import count_packaged_photos, restore_style
from nst_rt.learning.library import Library
from nst_rt.models.style_model import Style
from nst_rt.recipes import recipe_steps
from nst_rt.version import __version__

logger = logging.getLogger(__name__)

_FRAME_SECONDS = 5.0  # that decoding a live frame may take, on the busiest machine
_STATIC = Path(str(resources.files("nst_rt.infer.web"))) / "static"


def create_app(shared: SharedStylizer, settings: Settings) -> Starlette:
    """Create the ASGI application of a studio."""
    studio = _Studio(shared, settings)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        studio.open()
        try:
            yield
        finally:
            await run_in_threadpool(studio.close)

    key = studio.results.key
    app = Starlette(
        routes=studio.routes,
        middleware=[
            Middleware(StrictHeaders),
            # Outside of all that may fail, so that the page can read every answer.
            Middleware(ExceptionMiddleware, handlers={Exception: _error_answer(500)}),
            Middleware(
                SessionMiddleware,
                secret_key=key.hex(),
                # Browsers share cookies between the ports of a host, and so between studios.
                session_cookie=f"{settings.cookie}_{hashlib.sha256(key).hexdigest()[:8]}",
                max_age=COOKIE_SECONDS,
                same_site="lax",  # strict hides the cookie when the link is followed from elsewhere
                https_only=settings.https,
            ),
            Middleware(Guard, token=settings.token, key=key, names=settings.names),
        ],
        exception_handlers={
            TooLargeError: _error_answer(413),
            TooManyError: _error_answer(429),
            TooSlowError: _error_answer(408),
            StyleTransferError: _error_answer(400),
            ClientDisconnect: lambda request, error: Response(status_code=400),
            HTTPException: _error_answer(500),
        },
        lifespan=lifespan,
    )
    app.router.default = _not_found
    return app


async def _not_found(scope: Scope, receive: Receive, send: Send) -> None:
    """The answer to a path that is not known, for live channels, too."""
    await refuse(JSONResponse({"error": "there is no such page"}, 404), scope, receive, send)


def _error_answer(status: int) -> Callable[[Request, Exception], Response]:
    def answer(request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException):
            return JSONResponse({"error": error.detail}, error.status_code, error.headers)
        return JSONResponse({"error": visitor_message(error)}, status)

    return answer


class _Studio:
    """The page and what it must know at its start; what all requests share."""

    def __init__(self, shared: SharedStylizer, settings: Settings) -> None:
        self._shared = shared
        self._settings = settings
        self.results = Results(settings.results)
        storage = Storage(settings.limits.storage)
        self._jobs = Jobs(settings.root, self.results, undo=settings.undo, storage=storage)
        for job in self._jobs:
            restore_style(shared, job)
        # OpenVINO has other names for devices than PyTorch, which learns.
        device = None if shared.backend == "openvino" else shared.loading["device"]
        library = Library(None if settings.user_library else settings.results / "learned")
        self._learning = StudioLearning(shared.style_set, library=library, device=device)
        if settings.user_library:
            self._learning.offer_known()
        self._decoders = Decoders(settings.root, settings.limits, storage=storage)
        # Its process never changes: starting one would take several frames' time.
        self._live = Decoders(
            settings.root,
            settings.limits,
            workers=1,
            seconds=_FRAME_SECONDS,
            tasks=0,
            storage=storage,
        )
        uploads = Uploads(settings.root, settings.limits, storage, self._decoders)
        self.routes = [
            Route("/", self.page),
            Mount("/static", StaticFiles(directory=_STATIC)),
            Route("/api/studio", self.facts),
            *LinkRoutes(settings).routes,
            *LiveRoutes(shared, settings, self._live, self._learning).routes,
            *LearningRoutes(self._learning, uploads, self._decoders).routes,
            *UploadRoutes(shared, uploads, storage, self._decoders).routes,
            *JobRoutes(shared, settings, self._jobs, uploads, self._decoders).routes,
        ]

    def open(self) -> None:
        for decoders in (self._decoders, self._live):
            threading.Thread(target=decoders.warm, daemon=True).start()

    def close(self) -> None:
        if unfinished := [job.title for job in self._jobs if job.active]:
            logger.warning("unfinished jobs end with the studio: %s", "; ".join(unfinished))
        # A job may wait for a decoder, which is refused by closing it: cancelled, not failed.
        self._jobs.cancel_all()
        self._decoders.close()
        self._learning.close()
        self._jobs.close()
        self._live.close()
        shutil.rmtree(self._settings.root, ignore_errors=True)

    async def page(self, request: Request) -> Response:
        name = "kiosk.html" if "kiosk" in request.query_params else "index.html"
        return FileResponse(_STATIC / name)

    async def facts(self, request: Request) -> Response:
        settings = self._settings
        hidden = self._jobs.hidden_styles
        styles = [
            style for style in self._shared.style_set.styles.values() if style.name not in hidden
        ]
        titles = Counter(style.title for style in styles)

        def title(style: Style) -> str:  # two networks may have learned the same style image
            unique = style.title and titles[style.title] == 1
            return style.title if unique else style.name.replace("_", " ").capitalize()

        return JSONResponse(
            {
                "instance": settings.instance,
                "version": __version__,
                "backend": str(self._shared),
                "styles": [
                    {name: getattr(style, name) for name in ("name", "artist", "year", "preview")}
                    | {"title": title(style)}
                    for style in styles
                ],
                "photos": settings.photos is not None,
                "packaged_photos": count_packaged_photos(),
                "steps": recipe_steps("new_style"),
                "pace": {kind: asdict(self._jobs.pace(kind)) for kind in get_args(Kind)},
                "results": str(settings.results) if _is_here(request) else "",
                "undo": settings.undo,
                "limits": {
                    name: getattr(settings.limits, name) for name in ("upload", "pixels", "seconds")
                },
            }
        )


def _is_here(request: Request) -> bool:
    """Whether the browser is on this machine, so that its paths mean something to the visitor."""
    return request.client is not None and is_loopback(request.client.host)
