"""The studio as a web application: its routes, each a thin layer over what the other files do."""

import asyncio
import logging
import secrets
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket, WebSocketDisconnect

from nst_rt.errors import InputError, StyleTransferError
from nst_rt.images.io import load_picture, save_image, tensor_to_frame
from nst_rt.infer.web.checks import TooLargeError
from nst_rt.infer.web.engine import Engine, Mix, Viewer, encoded
from nst_rt.infer.web.job_routes import JobRoutes
from nst_rt.infer.web.jobs import Jobs
from nst_rt.infer.web.security import Guard
from nst_rt.infer.web.settings import Settings, number, parsed, usual_steps
from nst_rt.infer.web.storage import Results
from nst_rt.infer.web.uploads import Upload, Uploads
from nst_rt.infer.web.works import bring_back
from nst_rt.version import __version__

logger = logging.getLogger(__name__)

_STATIC = Path(str(resources.files("nst_rt.infer.web"))) / "static"
_KINDS = ("photo", "video", "photos")
_TRY_AGAIN_LATER = 1013  # closing code of RFC 6455's registry
_PAINTED_AT_ONCE = 2  # photos, since large ones take gigabytes


def create_app(engine: Engine, settings: Settings) -> Starlette:
    """The application for an engine that has at least one model."""
    studio = _Studio(engine, settings)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await run_in_threadpool(studio.close)

    return Starlette(
        routes=[
            Route("/", studio.page),
            Mount("/static", StaticFiles(directory=_STATIC)),
            Route("/api/studio", studio.facts),
            WebSocketRoute("/api/live", studio.live),
            Route("/api/uploads", studio.upload, methods=["POST"]),
            Route("/api/uploads/{id}", studio.remove_upload, methods=["DELETE"]),
            Route("/api/uploads/{id}/photos", studio.add_photo, methods=["POST"]),
            Route("/api/uploads/{id}/painted", studio.stylized),
            *studio.job_routes.routes,
        ],
        middleware=[
            Middleware(Guard, token=settings.token, key=studio.results.key, names=settings.names),
            # In the guard, whose headers its answers get, too.
            Middleware(ExceptionMiddleware, handlers={Exception: _broken}),
        ],
        exception_handlers={
            TooLargeError: _refused(413),
            StyleTransferError: _refused(400),
            ClientDisconnect: _refused(400),
            HTTPException: _refused(None),
        },
        lifespan=lifespan,
    )


def _refused(status: int | None) -> Callable[[Request, Exception], Response]:
    def answer(request: Request, error: Exception) -> Response:
        code = error.status_code if isinstance(error, HTTPException) else status or 500
        reason = error.detail if isinstance(error, HTTPException) else str(error)
        return JSONResponse({"error": reason}, code)

    return answer


def _broken(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": _explained(error)}, 500)


def _explained(error: Exception) -> str:
    """What a visitor is told; a fault of ours is told to who runs the studio."""
    if isinstance(error, StyleTransferError):
        return str(error)
    logger.error("internal error", exc_info=error)
    return "internal error"


class _Studio:
    """What all requests share."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings
        self.results = Results(settings.results)
        self._jobs = Jobs(
            settings.root, self.results, limit=settings.limits.jobs, undo=settings.undo
        )
        for job in self._jobs:
            bring_back(engine, job)
        self._uploads = Uploads(settings.root, settings.limits, lambda: self._jobs.stored)
        self.job_routes = JobRoutes(engine, self._uploads, self._jobs, settings)
        self._viewers = 0
        self._painting = asyncio.Semaphore(_PAINTED_AT_ONCE)

    def close(self) -> None:
        self._jobs.close()
        shutil.rmtree(self._settings.root, ignore_errors=True)

    async def page(self, request: Request) -> Response:
        return FileResponse(_STATIC / "index.html")

    async def facts(self, request: Request) -> Response:
        limits = self._settings.limits
        leaving = {job.facts.get("style") for job in self._jobs if job.hidden}
        known = [style for style in self._engine.styles.values() if style.name not in leaving]
        titles = Counter(style.title for style in known)
        styles = [
            {
                "name": style.name,
                # Two networks may have the same painting.
                "title": style.title
                if style.title and titles[style.title] == 1
                else style.name.replace("_", " ").capitalize(),
                "artist": style.artist,
                "year": style.year,
                "preview": style.preview,
            }
            for style in known
        ]
        return JSONResponse(
            {
                "version": __version__,
                "engine": str(self._engine),
                "styles": styles,
                "photos": self._settings.photos is not None,
                "steps": usual_steps(),
                "undo": self._settings.undo,
                "limits": {
                    "upload": limits.upload,
                    "pixels": limits.pixels,
                    "seconds": limits.seconds,
                },
            }
        )

    async def live(self, socket: WebSocket) -> None:
        """Frames of a camera in, painted ones out, one for each, in order."""
        await socket.accept()
        if self._viewers >= self._settings.limits.viewers:
            await socket.send_json({"full": self._settings.limits.viewers})
            await socket.close(_TRY_AGAIN_LATER)
            return
        self._viewers += 1
        viewer: Viewer | None = None
        try:
            first = next(iter(self._engine.styles))
            mix = Mix({first: 1.0})
            viewer = await run_in_threadpool(Viewer, self._engine, mix, fps=self._settings.fps)
            await self._serve(socket, viewer)
        except WebSocketDisconnect:
            pass
        finally:
            self._viewers -= 1
            if viewer is not None:
                await run_in_threadpool(viewer.close)

    async def _serve(self, socket: WebSocket, viewer: Viewer) -> None:
        told: dict[str, Any] = {}
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            try:
                if message.get("bytes") is not None:
                    picture = await run_in_threadpool(viewer.stylize, message["bytes"])
                    state = {"size": viewer.size, "viewers": self._viewers}
                    if state != told:
                        await socket.send_json(state)
                        told = state
                    await socket.send_bytes(picture)
                else:
                    mix = Mix.parse(parsed(message["text"]))
                    await run_in_threadpool(viewer.set_mix, mix)
            except WebSocketDisconnect:
                raise
            except Exception as error:  # one bad frame ends nothing
                # The page counts frames on their way; one that failed comes back no more.
                lost = message.get("bytes") is not None
                await socket.send_json({"error": _explained(error), "lost": lost})

    async def upload(self, request: Request) -> Response:
        kind = request.query_params.get("kind", "")
        owner, name = request.scope["visitor"], _name(request)
        if kind == "album":
            return JSONResponse(self._uploads.new_album(owner, name).describe())
        if kind not in _KINDS:
            raise InputError(f"unknown kind of file {kind[:20]!r}")
        upload = await self._uploads.receive(
            request.stream(), owner=owner, kind=kind, name=name, size=_announced(request)
        )
        await self._uploads.check(upload)
        return JSONResponse(upload.describe())

    async def add_photo(self, request: Request) -> Response:
        album = self._upload(request, request.path_params["id"], "album")
        await self._uploads.receive_into(album, request.stream(), _announced(request))
        return JSONResponse(album.describe())

    async def remove_upload(self, request: Request) -> Response:
        upload = self._upload(request, request.path_params["id"], *_KINDS, "album")
        if upload.users:
            raise InputError(f"{upload.name}: a job still needs it")
        self._uploads.remove(upload)
        return JSONResponse({})

    async def stylized(self, request: Request) -> Response:
        """A photo in a mix of styles, at its own size or smaller, as JPEG or PNG."""
        photo = self._upload(request, request.path_params["id"], "photo")
        query = request.query_params
        chosen = {name: query[name] for name in ("strength", "strokes") if name in query}
        mix = Mix.parse({"styles": _weights(query), **chosen})
        size = number(query["size"], int) if "size" in query else None
        suffix = ".png" if query.get("format") == "png" else ".jpg"
        stylizer = self._engine.stylizer(mix)

        def stylize() -> bytes:
            own = max(photo.facts["width"], photo.facts["height"])
            picture = load_picture(photo.path, size=None if size is None else min(size, own))
            frame = stylizer(tensor_to_frame(picture.image))
            if size is not None:
                return encoded(frame, suffix)
            with _scratch_file(photo.path, suffix) as file:
                return save_image(frame, file, alpha=picture.alpha).read_bytes()

        async with self._painting:
            try:
                content = await run_in_threadpool(stylize)
            except StyleTransferError as error:
                raise InputError(photo.explained(error)) from error
        kind = "image/png" if suffix == ".png" else "image/jpeg"
        return Response(content, media_type=kind, headers={"Cache-Control": "private"})

    def _upload(self, request: Request, id: object, *kinds: str) -> Upload:
        return self._uploads.find(id, request.scope["visitor"], *kinds)


@contextmanager
def _scratch_file(beside: Path, suffix: str) -> Iterator[Path]:
    """A new path, which is removed in the end."""
    path = beside.with_name(f"{secrets.token_hex(8)}{suffix}")
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _weights(query: Mapping[str, str]) -> dict[str, str]:
    """Names and weights from `style=a:0.7,b:0.3`."""
    pairs = (part.partition(":") for part in query.get("style", "").split(","))
    return {name: weight or "1" for name, _, weight in pairs}


def _name(request: Request) -> str:
    return unquote(request.headers.get("x-name", ""))


def _announced(request: Request) -> int:
    length = request.headers.get("content-length", "0")
    return int(length) if length.isdecimal() else 0
