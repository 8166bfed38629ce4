"""The style that a visitor has the studio learn: to begin it, to watch it, to change it."""

from functools import partial
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from nst_rt.errors import InputError
from nst_rt.infer.web.decoding.images import style_levels
from nst_rt.infer.web.decoding.pool import Decoders
from nst_rt.infer.web.learning import ACTIONS, StudioLearning
from nst_rt.infer.web.limits.visitors import InFlight
from nst_rt.infer.web.routes.bodies import json_body
from nst_rt.infer.web.uploads import Uploads
from nst_rt.infer.web.work.content import MAX_CONTENT, Content, frames_of
from nst_rt.infer.web.work.plan import number
from nst_rt.learning.request import STYLE_WEIGHT

_SIDE = 1024  # pixels of a style image, at most
_MAX_TITLE = 60  # characters


class LearningRoutes:
    """The learning, which only the visitor who has begun it can access."""

    def __init__(self, learning: StudioLearning, uploads: Uploads, decoders: Decoders) -> None:
        self._learning = learning
        self._uploads = uploads
        self._decoders = decoders
        self._starting = InFlight("style images", each=1, total=8)

    @property
    def routes(self) -> list[BaseRoute]:
        return [
            Route("/api/learning", self.state),
            Route("/api/learning", self.begin, methods=["POST"]),
            Route("/api/learning/content", self.show, methods=["POST"]),
            Route("/api/learning/{action}", self.act, methods=["POST"]),
        ]

    async def state(self, request: Request) -> Response:
        """What is learned for the visitor, null if nothing is."""
        return JSONResponse({"learning": self._learning.describe(request.scope["visitor"])})

    async def begin(self, request: Request) -> Response:
        """Learn from `image`, an upload; without it, from the same image with other settings.

        `content` lists uploads to learn on.
        """
        asked, visitor = await json_body(request), request.scope["visitor"]
        size = asked.get("style_size")
        settings = {
            "style_size": None if size is None else number(size, int),
            "style_weight": number(asked.get("style_weight", STYLE_WEIGHT), float),
        }
        with self._starting.one(visitor):
            if "image" in asked:
                content = self._content(asked, visitor)
                start = partial(self._begin, visitor, asked["image"], content, settings)
            else:
                start = partial(self._learning.restart, visitor, **settings)
            await run_in_threadpool(start)
        return await self.state(request)

    async def show(self, request: Request) -> Response:
        """Learn on the uploads that `content` lists, too."""
        content = self._content(await json_body(request), request.scope["visitor"])
        await run_in_threadpool(self._learning.show, request.scope["visitor"], content)
        return await self.state(request)

    async def act(self, request: Request) -> Response:
        """`pause`, `continue`, `keep`, `reset` or `end` it."""
        action = request.path_params["action"]
        if action not in ACTIONS:
            raise HTTPException(404)
        await run_in_threadpool(self._learning.act, request.scope["visitor"], action)
        return await self.state(request)

    def _begin(
        self, visitor: str, id: object, content: dict[str, Content], settings: dict[str, Any]
    ) -> None:
        upload = self._uploads.find(id, visitor, "image")
        size = min(_SIDE, max(upload.facts["width"], upload.facts["height"]))
        with upload.in_use():
            decode = partial(style_levels, upload.path, size)
            image = self._decoders.run(upload.path, decode, writes=3 * upload.pixels(size))
        title = Path(upload.name).stem.strip()[:_MAX_TITLE] or "style"
        self._learning.begin(visitor, title, image, content=content, **settings)

    def _content(self, asked: dict[str, Any], visitor: str) -> dict[str, Content]:
        ids = asked.get("content", [])
        if not isinstance(ids, list) or len(ids) > MAX_CONTENT:
            raise InputError(f"a list of at most {MAX_CONTENT} files is expected")
        uploads = [self._uploads.find(id, visitor, "image", "video", "album") for id in ids]
        return frames_of(uploads, self._decoders)
