"""Jobs of visitors and their files."""

import mimetypes
from contextlib import suppress
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route

from nst_rt.errors import InputError
from nst_rt.infer.web.decoding.pool import Decoders
from nst_rt.infer.web.jobs import Job, Jobs
from nst_rt.infer.web.routes.bodies import json_body
from nst_rt.infer.web.settings import Settings
from nst_rt.infer.web.stylizers import SharedStylizer
from nst_rt.infer.web.uploads import Upload, Uploads
from nst_rt.infer.web.work import PLANS

# Files that browsers show; they download anything else, which a results folder may have.
_SHOWN = ("image/jpeg", "image/png", "video/mp4")


class JobRoutes:
    """Jobs, which only their owner can access."""

    def __init__(
        self,
        shared: SharedStylizer,
        settings: Settings,
        jobs: Jobs,
        uploads: Uploads,
        decoders: Decoders,
    ) -> None:
        self._studio = (shared, settings, decoders)
        self._shared = shared
        self._settings = settings
        self._jobs = jobs
        self._uploads = uploads

    @property
    def routes(self) -> list[BaseRoute]:
        return [
            Route("/api/jobs", self.all_jobs),
            Route("/api/jobs", self.start_job, methods=["POST"]),
            Route("/api/jobs/{id}", self.remove_job, methods=["DELETE"]),
            Route("/api/jobs/{id}/files/{name}", self.job_file),
            Route("/api/jobs/{id}/{action}", self.change_job, methods=["POST"]),
        ]

    async def all_jobs(self, request: Request) -> Response:
        jobs, hidden = self._jobs.of(request.scope["visitor"]), self._jobs.hidden_styles
        return JSONResponse(
            {
                "instance": self._settings.instance,
                "styles": [name for name in self._shared.style_set.styles if name not in hidden],
                "jobs": [{**job.describe(), **self._jobs.queue_facts(job)} for job in jobs],
            }
        )

    async def start_job(self, request: Request) -> Response:
        asked = await json_body(request)
        kind = asked.get("kind")
        if kind not in tuple(PLANS):  # of any type, hashable or not
            raise InputError(f"unknown kind of job {str(kind)[:20]!r}")
        visitor = request.scope["visitor"]

        def find(id: object, *kinds: str) -> Upload:
            return self._uploads.find(id, visitor, *kinds)

        plan = PLANS[kind]
        planned = await run_in_threadpool(plan, asked, find, *self._studio)
        title, work, inputs, units = planned
        # Writes a record: not in the event loop, which live frames pass through.
        submit = self._jobs.submit
        job = await run_in_threadpool(submit, kind, title, visitor, work, inputs, units)
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


def _file_answer(path: Path) -> Response:
    """A file. An image may be replaced at any time, so it is read whole from one open file."""
    kind, _ = mimetypes.guess_type(path)
    if kind not in _SHOWN:
        kind = "application/octet-stream"
    if kind.startswith("image/"):
        return Response(path.read_bytes(), media_type=kind)
    return FileResponse(path, media_type=kind, stat_result=path.stat())
