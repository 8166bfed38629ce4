"""The studio as a web application: its routes, each a thin layer over the other modules."""

import asyncio
import hashlib
import json
import mimetypes
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket, WebSocketDisconnect

from nst_rt.errors import InputError, StyleTransferError
from nst_rt.images.convert import tensor_to_frame
from nst_rt.images.io import load_picture, save_image
from nst_rt.infer.adaptive import LiveStyle
from nst_rt.infer.frame_stylizer import FrameStylizer
from nst_rt.infer.web.jobs import Job, Jobs
from nst_rt.infer.web.results import Results
from nst_rt.infer.web.security import COOKIE_SECONDS, Guard
from nst_rt.infer.web.settings import Settings
from nst_rt.infer.web.stylizers import SharedStylizer, Viewer, encode_image, parse_choice
from nst_rt.infer.web.uploads import TooLargeError, Upload, Uploads, visitor_message
from nst_rt.infer.web.work import PLANS, number, restore_style
from nst_rt.models.style_model import Style
from nst_rt.recipes import recipe_steps
from nst_rt.version import __version__

_STATIC = Path(str(resources.files("nst_rt.infer.web"))) / "static"
_TRY_AGAIN_LATER = 1013  # closing code of RFC 6455's registry
_IMAGES_AT_ONCE = 2  # large ones take gigabytes
_MAX_JOB_BODY = 2**16  # bytes


def create_app(shared: SharedStylizer, settings: Settings) -> Starlette:
    """Create the ASGI application of a studio."""
    routes = _Routes(shared, settings)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await run_in_threadpool(routes.close)

    key = routes.results.key
    return Starlette(
        routes=[
            Route("/", routes.page),
            Mount("/static", StaticFiles(directory=_STATIC)),
            Route("/api/studio", routes.facts),
            WebSocketRoute("/api/live", routes.live),
            Route("/api/uploads", routes.upload, methods=["POST"]),
            Route("/api/uploads/{id}", routes.remove_upload, methods=["DELETE"]),
            Route("/api/uploads/{id}/photos", routes.add_photo, methods=["POST"]),
            Route("/api/uploads/{id}/stylized", routes.stylized),
            Route("/api/jobs", routes.all_jobs),
            Route("/api/jobs", routes.start_job, methods=["POST"]),
            Route("/api/jobs/{id}", routes.remove_job, methods=["DELETE"]),
            Route("/api/jobs/{id}/files/{name}", routes.job_file),
            Route("/api/jobs/{id}/{action}", routes.change_job, methods=["POST"]),
        ],
        middleware=[
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
            # Inside the guard, which adds its headers to these answers, too.
            Middleware(ExceptionMiddleware, handlers={Exception: _error_answer(500)}),
        ],
        exception_handlers={
            TooLargeError: _error_answer(413),
            StyleTransferError: _error_answer(400),
            ClientDisconnect: lambda request, error: Response(status_code=400),
            HTTPException: _error_answer(500),
        },
        lifespan=lifespan,
    )


def _error_answer(status: int) -> Callable[[Request, Exception], Response]:
    def answer(request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException):
            return JSONResponse({"error": error.detail}, error.status_code)
        return JSONResponse({"error": visitor_message(error)}, status)

    return answer


class _Routes:
    """The routes, and what all requests share. Only its owner can access an upload or a job."""

    def __init__(self, shared: SharedStylizer, settings: Settings) -> None:
        self._shared = shared
        self._settings = settings
        self.results = Results(settings.results)
        self._jobs = Jobs(settings.root, self.results, undo=settings.undo)
        for job in self._jobs:
            restore_style(shared, job)
        self._uploads = Uploads(settings.root, settings.limits, lambda: self._jobs.stored)
        self._viewers = 0
        self._stylizing = asyncio.Semaphore(_IMAGES_AT_ONCE)

    def close(self) -> None:
        self._jobs.close()
        shutil.rmtree(self._settings.root, ignore_errors=True)

    async def page(self, request: Request) -> Response:
        return FileResponse(_STATIC / "index.html")

    async def facts(self, request: Request) -> Response:
        settings = self._settings
        hidden = {job.facts.get("style") for job in self._jobs if job.hidden}
        styles = [
            style for style in self._shared.style_set.styles.values() if style.name not in hidden
        ]
        titles = Counter(style.title for style in styles)

        def title(style: Style) -> str:  # two networks may have learned the same style image
            unique = style.title and titles[style.title] == 1
            return style.title if unique else style.name.replace("_", " ").capitalize()

        return JSONResponse(
            {
                "version": __version__,
                "backend": str(self._shared),
                "styles": [
                    {name: getattr(style, name) for name in ("name", "artist", "year", "preview")}
                    | {"title": title(style)}
                    for style in styles
                ],
                "photos": settings.photos is not None,
                "steps": recipe_steps("new_style"),
                "undo": settings.undo,
                "limits": {
                    name: getattr(settings.limits, name) for name in ("upload", "pixels", "seconds")
                },
            }
        )

    async def live(self, socket: WebSocket) -> None:
        """Frames of a camera in, stylized ones out, one for each, in order."""
        await socket.accept()
        max_viewers = self._settings.limits.viewers
        if self._viewers >= max_viewers:
            await socket.send_json({"full": max_viewers})
            await socket.close(_TRY_AGAIN_LATER)
            return
        self._viewers += 1
        viewer: Viewer | None = None
        try:
            first = LiveStyle({next(iter(self._shared.style_set.styles)): 1.0})
            viewer = await run_in_threadpool(Viewer, self._shared, first, fps=self._settings.fps)
            await self._serve(socket, viewer)
        except WebSocketDisconnect:
            pass
        finally:
            self._viewers -= 1
            if viewer is not None:
                await run_in_threadpool(viewer.close)

    async def _serve(self, socket: WebSocket, viewer: Viewer) -> None:
        sent_state: dict[str, Any] = {}
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            jpeg = message.get("bytes")
            try:
                if jpeg is None:
                    choice = parse_choice(_from_json(message["text"]))
                    await run_in_threadpool(viewer.set_choice, choice)
                    continue
                stylized = await run_in_threadpool(viewer.stylize, jpeg)
                state = {"size": viewer.size, "viewers": self._viewers}
                if state != sent_state:
                    await socket.send_json(state)
                    sent_state = state
                await socket.send_bytes(stylized)
            except WebSocketDisconnect:
                raise
            except Exception as error:  # one bad frame does not end the channel
                # The page counts frames in flight; a lost one does not come back.
                lost = jpeg is not None
                await socket.send_json({"error": visitor_message(error), "lost": lost})

    async def upload(self, request: Request) -> Response:
        kind = request.query_params.get("kind", "")
        owner, name = request.scope["visitor"], unquote(request.headers.get("x-name", ""))
        if kind == "album":
            return JSONResponse(self._uploads.new_album(owner, name).describe())
        upload = await self._uploads.receive(
            request.stream(), owner=owner, kind=kind, name=name, size=_announced_size(request)
        )
        return JSONResponse(upload.describe())

    async def add_photo(self, request: Request) -> Response:
        album = self._upload(request, request.path_params["id"], "album")
        await self._uploads.receive_into(album, request.stream(), _announced_size(request))
        return JSONResponse(album.describe())

    async def remove_upload(self, request: Request) -> Response:
        upload = self._upload(request, request.path_params["id"])
        if upload.users:
            raise InputError(f"{upload.name}: a job still needs it")
        self._uploads.remove(upload)
        return JSONResponse({})

    async def stylized(self, request: Request) -> Response:
        """An image in a style or a blend, at its own size or smaller, as JPEG or PNG."""
        content = self._upload(request, request.path_params["id"], "image")
        query = request.query_params
        given = {
            name: query[name]
            for name in ("strength", "stroke_size", "preserve_colors")
            if name in query
        }
        choice = parse_choice({"styles": _weights(query), **given})
        own_size = max(content.facts["width"], content.facts["height"])
        size = min(number(query["size"], int), own_size) if "size" in query else None
        suffix = ".png" if query.get("format") == "png" else ".jpg"
        stylizer = FrameStylizer(
            self._shared.in_style(choice), post_processing=choice.post_processing
        )

        def stylize() -> bytes:
            picture = load_picture(content.path, size=size)
            frame = stylizer.stylize(tensor_to_frame(picture.image), 0)
            if size is not None:
                return encode_image(frame, suffix)
            with TemporaryDirectory(dir=content.path.parent) as folder:
                file = Path(folder) / f"image{suffix}"
                return save_image(frame, file, alpha=picture.alpha).read_bytes()

        async with self._stylizing:
            try:
                body = await run_in_threadpool(stylize)
            except StyleTransferError as error:
                raise InputError(visitor_message(error, content)) from error
        media_type = "image/png" if suffix == ".png" else "image/jpeg"
        return Response(body, media_type=media_type, headers={"Cache-Control": "private"})

    async def all_jobs(self, request: Request) -> Response:
        return JSONResponse([job.describe() for job in self._jobs.of(request.scope["visitor"])])

    async def start_job(self, request: Request) -> Response:
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > _MAX_JOB_BODY:
                raise HTTPException(413, "too long for the description of a job")
        asked = _from_json(body)
        kind = asked.get("kind") if isinstance(asked, dict) else None
        if kind not in tuple(PLANS):  # of any type, hashable or not
            raise InputError(f"unknown kind of job {str(kind)[:20]!r}")
        find = partial(self._upload, request)
        plan = PLANS[kind]
        title, work, inputs = await run_in_threadpool(
            plan, asked, find, self._shared, self._settings
        )
        job = self._jobs.submit(kind, title, request.scope["visitor"], work, inputs)
        return JSONResponse(job.describe())

    async def change_job(self, request: Request) -> Response:
        """Stop a job and keep its partial result, `cancel` it, or `undo` that or a removal."""
        job = self._job(request)
        match request.path_params["action"]:
            case "stop":
                job.stop(keep=True)
            case "cancel":
                await run_in_threadpool(self._jobs.cancel, job)
            case "undo":
                await run_in_threadpool(self._jobs.undo, job)
            case _:
                raise HTTPException(404)
        return JSONResponse(job.describe())

    async def remove_job(self, request: Request) -> Response:
        await run_in_threadpool(self._jobs.remove, self._job(request))
        return JSONResponse({})

    async def job_file(self, request: Request) -> Response:
        job = self._job(request)
        name = request.path_params["name"]
        for _ in range(2):  # a job that ends moves its files
            with suppress(KeyError, FileNotFoundError):
                return await run_in_threadpool(_file_answer, job.files[name][0])
        if not job.files:  # it was cancelled while the page asked for its preview
            return Response(status_code=204)
        raise HTTPException(404, "there is no such file")

    def _job(self, request: Request) -> Job:
        return self._jobs.find(request.path_params["id"], request.scope["visitor"])

    def _upload(self, request: Request, id: object, *kinds: str) -> Upload:
        return self._uploads.find(id, request.scope["visitor"], *kinds)


def _file_answer(path: Path) -> Response:
    """A file. An image may be replaced at any time, so it is read whole from one open file."""
    kind, _ = mimetypes.guess_type(path)
    if kind and kind.startswith("image/"):
        return Response(path.read_bytes(), media_type=kind)
    return FileResponse(path, stat_result=path.stat())


def _from_json(text: str | bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InputError("not JSON") from error


def _weights(query: Mapping[str, str]) -> dict[str, str]:
    """Names and weights from `style=a:0.7,b:0.3`."""
    pairs = (part.partition(":") for part in query.get("style", "").split(","))
    return {name: weight or "1" for name, _, weight in pairs}


def _announced_size(request: Request) -> int:
    length = request.headers.get("content-length", "0")
    return int(length) if length.isdecimal() else 0
