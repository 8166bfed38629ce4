"""The live channel: frames of a camera in, stylized ones out."""

from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from nst_rt.infer.adaptive import LiveStyle
from nst_rt.infer.web.routes.bodies import from_json
from nst_rt.infer.web.settings import Settings
from nst_rt.infer.web.stylizers import SharedStylizer, Viewer, parse_choice
from nst_rt.infer.web.uploads import visitor_message

_TRY_AGAIN_LATER = 1013  # closing code of RFC 6455's registry


class LiveRoutes:
    """The channel of each live viewer."""

    def __init__(self, shared: SharedStylizer, settings: Settings) -> None:
        self._shared = shared
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
                    choice = parse_choice(from_json(message["text"]))
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
