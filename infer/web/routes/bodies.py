"""What visitors send: JSON and the sizes of files."""

import json
from typing import Any

from starlette.requests import Request

from nst_rt.errors import InputError


def from_json(text: str | bytes) -> Any:
    """Parse JSON; an InputError if it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # the latter for thousands of brackets
        raise InputError("not JSON") from error


def announced_size(request: Request) -> int:
    """Bytes of the body as the request says, 0 if it does not."""
    length = request.headers.get("content-length", "0")
    return int(length) if length.isdecimal() else 0
