"""The resume record: everything that decides a result, kept beside interrupted work, name -> value.

Work is resumed only if its record is the same as before; otherwise the differences are named.
"""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from nst_rt.errors import InputError

_LONGEST = 40  # characters of a value that an error shows
_DIGEST = re.compile("[0-9a-f]{16,}")


def check_record(path: Path, before: Mapping[str, object], now: Mapping[str, object]) -> None:
    """Refuse to resume interrupted work that had another record.

    Args:
        path: file or folder of the interrupted work, for the message.
        before: its record; values that JSON or `torch.load` gave back compare equal to `now`'s.
        now: record of the run that is to resume.

    Raises:
        InputError: the records differ; the message names the differences.
    """
    differences = [
        _difference(name, before.get(name), now.get(name))
        for name in {**before, **now}
        if before.get(name) != now.get(name)
    ]
    if differences:
        raise InputError(
            f"{path}: cannot be resumed with other settings: {', '.join(differences)}; give the "
            "same ones, or start over with `overwrite`"
        )


def file_digest(path: Path | str) -> str:
    """SHA-256 of a file: files are compared by their content, wherever they lie."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _difference(name: str, before: object, now: object) -> str:
    shown = ["not given" if value is None else str(value) for value in (before, now)]
    if any(len(text) > _LONGEST or _DIGEST.fullmatch(text) for text in shown):
        return name
    return f"{name} ({shown[0]} before, {shown[1]} now)"
