"""Files of visitors, and their images and videos in a style."""

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote, unquote

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route

from nst_rt.errors import InputError, StyleTransferError
from nst_rt.infer.adaptive import LiveStyle
from nst_rt.infer.frame_stylizer import FrameStylizer
from nst_rt.infer.web.decoding.pool import Decoders
from nst_rt.infer.web.limits.storage import Storage
from nst_rt.infer.web.limits.visitors import InFlight
from nst_rt.infer.web.originals import Originals
from nst_rt.infer.web.routes.bodies import announced_size
from nst_rt.infer.web.settings import TooLargeError
from nst_rt.infer.web.stylizers import SharedStylizer, encode_image, parse_choice
from nst_rt.infer.web.uploads import Upload, Uploads, visitor_message
from nst_rt.infer.web.work.images import write_stylized
from nst_rt.infer.web.work.plan import number, output_name
from nst_rt.infer.web.work.preview import PREVIEW_BYTES, preview_video

_IMAGES_AT_ONCE = 2  # large ones take gigabytes
_VIDEOS_AT_ONCE = 1
_PREVIEW_SIZE = 1024  # pixels of the long side, unless the page asks for another
_PLAYED_AS = {".mkv": "video/webm", ".ogv": "video/ogg"}  # browsers play what they can of it
_HEADER_BYTES = 2**16  # of an image file, at most


class UploadRoutes:
    """Uploads, which only their owner can access."""

    def __init__(
        self, shared: SharedStylizer, uploads: Uploads, storage: Storage, decoders: Decoders
    ) -> None:
        self._shared = shared
        self._uploads = uploads
        self._storage = storage
        self._decoders = decoders
        self._originals = Originals(decoders)
        # A page asks for an image in all styles at once, and browsers send six requests at a time.
        self._images = _Queue(_IMAGES_AT_ONCE, InFlight("images", each=32, total=256))
        self._previews = _Queue(_VIDEOS_AT_ONCE, InFlight("previews", each=3, total=32))

    @property
    def routes(self) -> list[BaseRoute]:
        return [
            Route("/api/uploads", self.all_uploads),
            Route("/api/uploads", self.upload, methods=["POST"]),
            Route("/api/uploads/{id}", self.remove_upload, methods=["DELETE"]),
            Route("/api/uploads/{id}/photos", self.add_photo, methods=["POST"]),
            Route("/api/uploads/{id}/file", self.file),
            Route("/api/uploads/{id}/original", self.original),
            Route("/api/uploads/{id}/stylized", self.stylized),
            Route("/api/uploads/{id}/preview", self.preview),
        ]

    async def all_uploads(self, request: Request) -> Response:
        """The visitor's uploads, oldest first."""
        owned = self._uploads.of(request.scope["visitor"])
        return JSONResponse([upload.describe() for upload in owned])

    async def upload(self, request: Request) -> Response:
        kind, place = (request.query_params.get(name, "") for name in ("kind", "place"))
        owner, name = request.scope["visitor"], unquote(request.headers.get("x-name", ""))
        if kind == "album":
            album = await self._uploads.new_album(owner, name, place)
            return JSONResponse(album.describe())
        upload = await self._uploads.receive(
            request.stream(),
            owner=owner,
            kind=kind,
            name=name,
            size=announced_size(request),
            place=place,
        )
        return JSONResponse(upload.describe())

    async def add_photo(self, request: Request) -> Response:
        album = self._upload(request, "album")
        await self._uploads.receive_into(album, request.stream(), announced_size(request))
        return JSONResponse(album.describe())

    async def remove_upload(self, request: Request) -> Response:
        upload = self._upload(request)
        if not upload.retire():
            raise InputError(f"{upload.name}: a job still needs it")
        await run_in_threadpool(self._uploads.remove, upload)
        return JSONResponse({})

    async def file(self, request: Request) -> Response:
        """A video as it was sent, to be played beside its result."""
        path = self._upload(request, "video").path
        return FileResponse(path, media_type=_PLAYED_AS.get(path.suffix))

    async def original(self, request: Request) -> Response:
        """An image, or a frame of a video, as it is, at a reduced size."""
        upload = self._upload(request, "image", "video")
        size = number(request.query_params.get("size", _PREVIEW_SIZE), int)
        at = number(request.query_params.get("at", 0), float)

        def encoded() -> bytes:
            return encode_image(self._originals.frame(upload, size=size, at=at))

        async with self._images.turn(request, upload):
            return _image(await run_in_threadpool(encoded), ".jpg")

    async def stylized(self, request: Request) -> Response:
        """An image, or a frame of a video, in a style or a blend, as JPEG or PNG.

        It has a reduced size; without one, an image has its own and its transparency.
        """
        upload = self._upload(request, "image", "video")
        query = request.query_params
        choice = _choice(query)
        at = number(query.get("at", 0), float)
        size = number(query["size"], int) if "size" in query else None
        if upload.kind == "video":
            size = size or _PREVIEW_SIZE
        suffix = ".png" if query.get("format") == "png" else ".jpg"
        stylizer = FrameStylizer(
            self._shared.in_style(choice), post_processing=choice.post_processing
        )

        def stylize() -> bytes:
            if size is not None:
                original = self._originals.frame(upload, size=size, at=at)
                return encode_image(stylizer.stylize(original, 0), suffix)
            # What the file takes at most.
            room = upload.pixels() * (4 if suffix == ".png" else 3) + _HEADER_BYTES
            with (
                self._storage.reserved(room),
                TemporaryDirectory(dir=upload.path.parent) as folder,
            ):
                file = Path(folder) / f"image{suffix}"
                write_stylized(upload, stylizer, file, self._decoders)
                return file.read_bytes()

        async with self._images.turn(request, upload):
            answer = _image(await run_in_threadpool(stylize), suffix)
        answer.headers["X-Name"] = quote(output_name(upload, stylizer.stylizer, suffix))
        return answer

    async def preview(self, request: Request) -> Response:
        """Two seconds of a video in a style, and how long the whole video would take."""
        video = self._upload(request, "video")
        choice = _choice(request.query_params)
        at = number(request.query_params.get("at", 0), float)

        def stylize(gone: threading.Event) -> Response:
            def check() -> None:
                if gone.is_set():
                    raise InputError("nobody waits for this preview any longer")

            with (
                self._storage.reserved(PREVIEW_BYTES),
                TemporaryDirectory(dir=video.path.parent) as folder,
            ):
                made = preview_video(
                    video,
                    choice,
                    self._shared,
                    self._decoders,
                    at=at,
                    folder=Path(folder),
                    check=check,
                )
            headers = {} if made.seconds is None else {"X-Seconds": f"{made.seconds:.1f}"}
            return Response(made.content, media_type="video/mp4", headers=headers)

        async with self._previews.turn(request, video) as gone:
            return await run_in_threadpool(stylize, gone)

    def _upload(self, request: Request, *kinds: str) -> Upload:
        return self._uploads.find(request.path_params["id"], request.scope["visitor"], *kinds)


class _Queue:
    """Requests that take turns, a few at a time.

    Args:
        places: number of those that run at once.
        in_flight: limits of those that run or wait.
    """

    def __init__(self, places: int, in_flight: InFlight) -> None:
        self._places = asyncio.Semaphore(places)
        self._in_flight = in_flight

    @asynccontextmanager
    async def turn(self, request: Request, upload: Upload) -> AsyncIterator[threading.Event]:
        """Wait for a place; errors name the file as its visitor does.

        Yields an event that is set once nobody waits for the answer any longer.

        Raises:
            TooManyError: too many requests wait.
            ClientDisconnect: nobody waits any longer.
        """
        gone = threading.Event()
        with self._in_flight.one(upload.owner), upload.in_use():
            leaving = asyncio.create_task(_left(request))
            leaving.add_done_callback(lambda _: gone.set())
            place = asyncio.create_task(self._places.acquire())
            try:
                await asyncio.wait((leaving, place), return_when=asyncio.FIRST_COMPLETED)
                if leaving.done():
                    raise ClientDisconnect
                yield gone
            except (TooLargeError, InputError) as error:
                raise type(error)(visitor_message(error, upload)) from error
            except StyleTransferError as error:
                raise InputError(visitor_message(error, upload)) from error
            finally:
                leaving.cancel()
                if not place.cancel():  # it was granted
                    self._places.release()
                with suppress(asyncio.CancelledError):
                    await leaving


async def _left(request: Request) -> None:
    """Return once nobody waits for the answer any longer."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _image(content: bytes, suffix: str) -> Response:
    media_type = "image/png" if suffix == ".png" else "image/jpeg"
    return Response(content, media_type=media_type, headers={"Cache-Control": "private"})


def _choice(query: Mapping[str, str]) -> LiveStyle:
    """The choice in a query such as `style=a:0.7,b:0.3&strength=0.8`."""
    names = ("strength", "stroke_size", "stability", "preserve_colors")
    pairs = (part.partition(":") for part in query.get("style", "").split(","))
    return parse_choice(
        {
            "styles": {name: weight or "1" for name, _, weight in pairs},
            **{name: query[name] for name in names if name in query},
        }
    )
