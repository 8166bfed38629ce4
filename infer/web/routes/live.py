"""The live channel: frames of a camera in, stylized ones out."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from nst_rt.errors import InputError
from nst_rt.images.io import Frame
from nst_rt.infer.adaptive import LiveStyle
from nst_rt.infer.web.decoding.images import decode_jpeg
from nst_rt.infer.web.decoding.pool import Decoders
from nst_rt.infer.web.learning import StudioLearning
from nst_rt.infer.web.routes.bodies import from_json
from nst_rt.infer.web.settings import Settings
from nst_rt.infer.web.stylizers import SharedStylizer, Viewer, parse_choice, parse_rate
from nst_rt.infer.web.uploads import visitor_message

_MAX_TEXT = 2**16  # characters of a choice
_TRY_AGAIN_LATER = 1013  # closing code of RFC 6455's registry


class LiveRoutes:
    """The channel of each live viewer.

    Frames have decoders of their own, so that uploads do not delay them.
    """

    def __init__(
        self,
        shared: SharedStylizer,
        settings: Settings,
        decoders: Decoders,
        learning: StudioLearning,
    ) -> None:
        self._shared = shared
        self._learning = learning
        self._decoders = decoders
        self._settings = settings
        self._viewers = 0

    @property
    def routes(self) -> list[BaseRoute]:
        return [WebSocketRoute("/api/live", self.live)]

    async def live(self, socket: WebSocket) -> None:
        """Frames of a camera in, stylized ones out, one for each, in order."""
        await socket.accept()
        max_viewers = self._settings.limits.viewers
        if self._viewers >= max_viewers:
            await socket.send_json({"full": max_viewers})
            await socket.close(_TRY_AGAIN_LATER)
            return
        self._viewers += 1
        channel = _Channel(socket, self._shared, self._decoded, self._settings.fps, self._learning)
        try:
            await channel.serve(lambda: self._viewers)
        except WebSocketDisconnect:
            pass
        finally:
            self._viewers -= 1
            await channel.close()

    def _decoded(self, jpeg: bytes) -> Frame:
        return self._decoders.run("live frame", partial(decode_jpeg, jpeg))


class _Channel:
    """One viewer's channel.

    The page sends choices of styles as text and JPEG frames as bytes. The answer to a frame is a
    stylized one, or `{"error": ..., "lost": true}`. In between, the page is told what changes:
    `{"size": [width, height], "viewers": ..., "preparing": NAME or null}`.
    """

    def __init__(
        self,
        socket: WebSocket,
        shared: SharedStylizer,
        decode: Callable[[bytes], Frame],
        fps: float,
        learning: StudioLearning,
    ) -> None:
        self._socket = socket
        offer = partial(learning.offer, socket.scope["visitor"])
        self._new_viewer = partial(Viewer, shared, decode=decode, offer=offer)
        self._learning = learning
        self._shared = shared
        self._fps = fps
        self._viewer: Viewer | None = None
        self._told: dict[str, Any] = {}

    async def serve(self, viewers: Callable[[], int]) -> None:
        """Answer messages until the page leaves; `viewers` counts all of the studio."""
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            jpeg = message.get("bytes")
            try:
                if jpeg is None:
                    if len(message["text"]) > _MAX_TEXT:
                        raise InputError("too long for a choice of styles")
                    await self._choose(from_json(message["text"]))
                    continue
                viewer = await self._opened()
                if "size" not in self._told:  # the first frame, which may have to wait
                    await self._tell(preparing=viewer.preparing)
                shares = self._learning.is_learning  # which slows the machine down for a while
                stylize = partial(viewer.stylize, jpeg, may_shrink=not shares)
                stylized = await run_in_threadpool(stylize)
                await self._tell(size=viewer.size, viewers=viewers(), preparing=viewer.preparing)
                await self._socket.send_bytes(stylized)
                if shares:  # the page sends no more than two frames ahead
                    await asyncio.sleep(viewer.rest())
            except WebSocketDisconnect:
                raise
            except Exception as error:  # one bad frame does not end the channel
                # The page counts frames in flight; a lost one does not come back.
                lost = jpeg is not None
                await self._socket.send_json({"error": visitor_message(error), "lost": lost})

    async def close(self) -> None:
        """End the viewer's background work."""
        if self._viewer is not None:
            await run_in_threadpool(self._viewer.close)

    async def _choose(self, asked: Any) -> None:
        choice, fps = parse_choice(asked), parse_rate(asked, self._fps)
        if self._viewer is None:  # starts with the style of the page, which may have to be compiled
            self._viewer = await run_in_threadpool(self._new_viewer, choice, fps=fps)
        else:
            await run_in_threadpool(self._viewer.set_choice, choice, fps)

    async def _opened(self) -> Viewer:
        if self._viewer is None:
            first = LiveStyle({next(iter(self._shared.style_set.styles)): 1.0})
            self._viewer = await run_in_threadpool(self._new_viewer, first, fps=self._fps)
        return self._viewer

    async def _tell(self, **state: Any) -> None:
        """Tell the page what it does not know yet."""
        news = {name: value for name, value in state.items() if self._told.get(name) != value}
        if news:
            await self._socket.send_json(news)
            self._told |= news
