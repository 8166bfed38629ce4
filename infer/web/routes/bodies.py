"""What visitors send: JSON and the sizes of files."""

import json
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request

from nst_rt.errors import InputError
from nst_rt.infer.web.limits.visitors import steady

_MAX_BODY = 2**16  # bytes


def from_json(text: str | bytes) -> Any:
    """Parse JSON; an InputError if it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # the latter for thousands of brackets
        raise InputError("not JSON") from error


async def json_body(request: Request) -> dict[str, Any]:
    """The JSON object that a request has as its body, of at most 64 KiB.

    Raises:
        InputError: not JSON, or no object.
        HTTPException: it is too long.
        TooSlowError: see `steady`.
    """
    body = b""
    async for chunk in steady(request.stream()):
        body += chunk
        if len(body) > _MAX_BODY:
            raise HTTPException(413, "too long for a description")
    asked = from_json(body)
    if not isinstance(asked, dict):
        raise InputError("not a JSON object")
    return asked


def announced_size(request: Request) -> int:
    """Bytes of the body as the request says, 0 if it does not."""
    length = request.headers.get("content-length", "0")
    return int(length) if length.isdecimal() else 0
