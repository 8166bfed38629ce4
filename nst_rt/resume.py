"""The resume record: everything that decides a result, kept beside interrupted work, name -> value.

Work is resumed only if its record is the same as before; otherwise the differences are named.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path

from nst_rt.errors import InputError
from nst_rt.files import atomic_output

_LONGEST = 40  # characters of a value that an error shows
_OF_FOLDER = ".nst-rt.json"  # hidden record of a folder of outputs, kept when they are complete
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


def record_folder(
    folder: Path, settings: Mapping[str, object], *, resume: bool, replaces: bool = False
) -> None:
    """Write the settings with which the outputs of a folder are made into a hidden file in it.

    Args:
        folder: folder of outputs, which is created if needed.
        settings: name -> value, in types of JSON.
        resume: whether existing outputs are to be kept, so that their settings must be the same.
        replaces: whether existing outputs are being replaced. Until this is called again without,
            the folder may hold outputs with earlier settings, and cannot be resumed.

    Raises:
        InputError: outputs with other settings would be kept; the message names the differences.
        OSError: the folder cannot be written.
    """
    path = folder / _OF_FOLDER
    if resume and path.exists():
        try:
            before = dict(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise InputError(f"{path}: damaged; start over with `overwrite`") from error
        check_record(folder, before, settings)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_output(path) as temporary:
        record = {**settings, "unfinished overwrite": "yes"} if replaces else dict(settings)
        temporary.write_text(json.dumps(record, indent=1), encoding="utf-8")


def has_record(folder: Path) -> bool:
    """Whether a folder holds outputs of an earlier run, with their settings."""
    return (folder / _OF_FOLDER).is_file()


def file_digest(path: Path | str) -> str:
    """SHA-256 of a file: files are compared by their content, wherever they lie."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _difference(name: str, before: object, now: object) -> str:
    shown = ["not given" if value is None else str(value) for value in (before, now)]
    if any(len(text) > _LONGEST or _DIGEST.fullmatch(text) for text in shown):
        return name
    return f"{name} ({shown[0]} before, {shown[1]} now)"
