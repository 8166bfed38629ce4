"""Files of visitors, and images in a style."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import unquote

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from nst_rt.errors import InputError, StyleTransferError
from nst_rt.images.convert import tensor_to_frame
from nst_rt.images.io import load_picture, save_image
from nst_rt.infer.frame_stylizer import FrameStylizer
from nst_rt.infer.web.routes.bodies import announced_size
from nst_rt.infer.web.stylizers import SharedStylizer, encode_image, parse_choice
from nst_rt.infer.web.uploads import Upload, Uploads, visitor_message
from nst_rt.infer.web.work.plan import number

_IMAGES_AT_ONCE = 2  # large ones take gigabytes


class UploadRoutes:
    """Uploads, which only their owner can access."""

    def __init__(self, shared: SharedStylizer, uploads: Uploads) -> None:
        self._shared = shared
        self._uploads = uploads
        self._stylizing = asyncio.Semaphore(_IMAGES_AT_ONCE)

    @property
    def routes(self) -> list[BaseRoute]:
        return [
            Route("/api/uploads", self.upload, methods=["POST"]),
            Route("/api/uploads/{id}", self.remove_upload, methods=["DELETE"]),
            Route("/api/uploads/{id}/photos", self.add_photo, methods=["POST"]),
            Route("/api/uploads/{id}/stylized", self.stylized),
        ]

    async def upload(self, request: Request) -> Response:
        kind = request.query_params.get("kind", "")
        owner, name = request.scope["visitor"], unquote(request.headers.get("x-name", ""))
        if kind == "album":
            return JSONResponse(self._uploads.new_album(owner, name).describe())
        upload = await self._uploads.receive(
            request.stream(), owner=owner, kind=kind, name=name, size=announced_size(request)
        )
        return JSONResponse(upload.describe())

    async def add_photo(self, request: Request) -> Response:
        album = self._upload(request, request.path_params["id"], "album")
        await self._uploads.receive_into(album, request.stream(), announced_size(request))
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

    def _upload(self, request: Request, id: object, *kinds: str) -> Upload:
        return self._uploads.find(id, request.scope["visitor"], *kinds)


def _weights(query: Mapping[str, str]) -> dict[str, str]:
    """Names and weights from `style=a:0.7,b:0.3`."""
    pairs = (part.partition(":") for part in query.get("style", "").split(","))
    return {name: weight or "1" for name, _, weight in pairs}
