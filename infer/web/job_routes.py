"""The routes of long work: starting, watching, stopping and fetching it."""

import mimetypes
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route

from nst_rt.errors import InputError
from nst_rt.infer.web.engine import Engine, Mix
from nst_rt.infer.web.jobs import Job, Jobs
from nst_rt.infer.web.settings import Settings, number, parsed
from nst_rt.infer.web.uploads import Upload, Uploads
from nst_rt.infer.web.works import optimize_work, train_work, video_work

_LARGEST_BODY = 2**16  # bytes


class JobRoutes:
    """What visitors may ask of their jobs; each job is its owner's alone.

    Args:
        engine: that paints.
        uploads: that jobs work on.
        jobs: of all visitors.
        settings: see `Settings`.
    """

    def __init__(self, engine: Engine, uploads: Uploads, jobs: Jobs, settings: Settings) -> None:
        self._engine = engine
        self._uploads = uploads
        self._jobs = jobs
        self._settings = settings

    @property
    def routes(self) -> list[BaseRoute]:
        """All of them."""
        return [
            Route("/api/jobs", self.all),
            Route("/api/jobs", self.start, methods=["POST"]),
            Route("/api/jobs/{id}", self.remove, methods=["DELETE"]),
            Route("/api/jobs/{id}/files/{name}", self.file),
            Route("/api/jobs/{id}/{ask}", self.ask, methods=["POST"]),
        ]

    async def all(self, request: Request) -> Response:
        """The visitor's jobs."""
        mine = self._jobs.of(request.scope["visitor"])
        return JSONResponse([job.describe() for job in mine])

    async def start(self, request: Request) -> Response:
        """Put a job in line, as its JSON describes it."""
        asked = parsed(await _small_body(request))
        if not isinstance(asked, dict):
            raise InputError("not a job")
        starts: Mapping[str, Callable[[Request, dict[str, Any]], Job]] = {
            "video": self._video,
            "optimize": self._optimize,
            "train": self._train,
        }
        kind = str(asked.get("kind"))
        if kind not in starts:
            raise InputError(f"unknown kind of job {kind[:20]!r}")
        job = await run_in_threadpool(starts[kind], request, asked)
        return JSONResponse(job.describe())

    def _video(self, request: Request, asked: dict[str, Any]) -> Job:
        source = self._upload(request, asked.get("video"), "video")
        mix = Mix.parse(asked.get("look"))
        work = video_work(self._engine, source, mix, self._settings.limits)
        title = f"{source.name}, {_title(mix)}"
        return self._jobs.submit("video", title, request.scope["visitor"], work, [source])

    def _optimize(self, request: Request, asked: dict[str, Any]) -> Job:
        content = self._upload(request, asked.get("content"), "photo")
        style = self._upload(request, asked.get("style"), "photo")
        weight = asked.get("style_weight")
        work = optimize_work(
            content,
            style,
            size=number(asked.get("size", 512), int),
            style_weight=None if weight is None else number(weight, float),
            preserve_colors=bool(asked.get("preserve_colors")),
        )
        title = f"{content.name} as {style.name}"
        inputs = [content, style]
        return self._jobs.submit("optimize", title, request.scope["visitor"], work, inputs)

    def _train(self, request: Request, asked: dict[str, Any]) -> Job:
        painting = self._upload(request, asked.get("painting"), "photo")
        inputs, photos = [painting], self._settings.photos
        if asked.get("photos"):
            inputs.append(self._upload(request, asked["photos"], "photos", "album"))
            photos = inputs[-1].path
        if photos is None:
            raise InputError("choose photos to train on")
        name = str(asked.get("name"))
        steps = asked.get("steps")
        work = train_work(
            self._engine,
            painting,
            photos,
            name=name,
            steps=None if steps is None else number(steps, int),
            whole=bool(asked.get("whole")),
            start_from=self._settings.start_from,
            arguments=self._settings.train_arguments,
        )
        return self._jobs.submit("train", name, request.scope["visitor"], work, inputs)

    async def ask(self, request: Request) -> Response:
        """End a job: `stop` keeps what there is, `cancel` does not; or `undo` that or a removal."""
        job = self._jobs.find(request.path_params["id"], request.scope["visitor"])
        asks: Mapping[str, Callable[[Job], None]] = {
            "stop": lambda job: job.stop(keep=True),
            "cancel": self._jobs.cancel,
            "undo": self._jobs.take_back,
        }
        name = request.path_params["ask"]
        if name not in asks:
            raise HTTPException(404)
        await run_in_threadpool(asks[name], job)
        return JSONResponse(job.describe())

    async def remove(self, request: Request) -> Response:
        """Forget a job that has ended."""
        job = self._jobs.find(request.path_params["id"], request.scope["visitor"])
        await run_in_threadpool(self._jobs.remove, job)
        return JSONResponse({})

    async def file(self, request: Request) -> Response:
        """A file that a job offers."""
        job = self._jobs.find(request.path_params["id"], request.scope["visitor"])
        name = request.path_params["name"]
        for _ in range(2):  # a job that ends takes its files elsewhere
            with suppress(KeyError, FileNotFoundError):
                return await run_in_threadpool(_sent, job.files[name][0])
        if not job.files:  # it was cancelled while the page asked for its picture
            return Response(status_code=204)
        raise HTTPException(404, "there is no such file")

    def _upload(self, request: Request, id: object, *kinds: str) -> Upload:
        return self._uploads.find(id, request.scope["visitor"], *kinds)


def _sent(path: Path) -> Response:
    """A file. A picture may be replaced at any time, so all of it is read from one opened file."""
    kind, _ = mimetypes.guess_type(path)
    if kind and kind.startswith("image/"):
        return Response(path.read_bytes(), media_type=kind)
    return FileResponse(path, stat_result=path.stat())


def _title(mix: Mix) -> str:
    return " and ".join(name.replace("_", " ") for name in mix.styles)


async def _small_body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LARGEST_BODY:
            raise HTTPException(413, "too long for the description of a job")
    return body
