"""The link by which other devices open the studio, as text and as a QR code."""

from io import BytesIO

import segno
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from nst_rt.infer.web.settings import Settings

_QUIET_ZONE = 4  # modules of white around the code, as the standard asks for


class LinkRoutes:
    """The link with the token, for those who were let in and so have the token."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @property
    def routes(self) -> list[BaseRoute]:
        return [Route("/api/link", self.link), Route("/api/link.svg", self.qr_code)]

    async def link(self, request: Request) -> Response:
        """The link, null if only this machine reaches the studio, and the fingerprint of HTTPS."""
        settings = self._settings
        return JSONResponse(
            {
                "link": settings.link,
                "camera": settings.https,
                "fingerprint": settings.fingerprint,
            }
        )

    async def qr_code(self, request: Request) -> Response:
        """The link as an SVG image."""
        if self._settings.link is None:
            return JSONResponse({"error": "only this machine reaches the studio"}, 404)
        svg = BytesIO()
        code = segno.make(self._settings.link, micro=False)
        code.save(svg, kind="svg", scale=8, border=_QUIET_ZONE, light="white")
        return Response(svg.getvalue(), media_type="image/svg+xml")
