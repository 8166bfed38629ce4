"""Files at the edges: inputs checked before work starts, outputs that appear when complete."""

import contextlib
import errno
import os
import re
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from nst_rt.errors import InputError, OutputExistsError

# A path that was made of a URL has one slash only. Drives have one letter.
_URL = re.compile(r"([\w.+-]{2,}:/+)([^/?#]*)(.*)", re.DOTALL)
# Of a path: a part such as `user=admin_password=secret`, and the query.
_SECRETS = re.compile(r"(?<=/)[^/?#]*=.*|(?<=[?#]).+", re.DOTALL)


def shown_source(source: Path | str) -> str:
    """A source's name as others may see it: a URL without user, password and query.

    What was left out becomes `...`; a name that is no URL stays as it is. Cameras take passwords
    under names of their makers' own, so that none of what looks like a setting is shown.
    """
    url = _URL.fullmatch(str(source))
    if url is None:
        return str(source)
    scheme, place, path = url.groups()
    if "@" in path:  # perhaps the end of a password that has a slash in it
        return f"{scheme}..."
    return scheme + place.rpartition("@")[2] + _SECRETS.sub("...", path)


def check_input(path: Path | str) -> Path:
    """Return `path` as a Path if it is a file.

    Raises:
        InputError: it does not exist, is a directory or may not be read.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path}: is a directory, not a file")
    if not path.exists():
        raise InputError(f"{shown_source(path)}: no such file")
    if not os.access(path, os.R_OK):
        raise InputError(f"{path}: may not be read (permission denied)")
    return path


def check_output(path: Path | str, *, overwrite: bool = False) -> Path:
    """Return `path` as a Path if a file may be written there.

    Raises:
        OutputExistsError: it exists and `overwrite` is False.
        InputError: it is a directory, or its folder does not exist or may not be written to.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path}: is a directory; give the name of a file to write")
    if path.exists() and not overwrite:
        raise OutputExistsError(f"{path}: exists already; --overwrite replaces it")
    if not path.parent.is_dir():
        folder = shown_source(path.parent)
        raise InputError(f"{shown_source(path)}: the folder {folder} does not exist")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"{path}: the folder {path.parent} may not be written to")
    return path


def check_format(
    path: Path | str, kind: str, suffixes: Sequence[str], *, overwrite: bool = False
) -> Path:
    """`check_output` for a file of a kind (`image`, `video`), whose suffix must name a format.

    Raises:
        InputError: a suffix that is not one of `suffixes`.
        OutputExistsError: it exists and `overwrite` is False.
    """
    path = check_output(path, overwrite=overwrite)
    if path.suffix.lower() not in suffixes:
        raise InputError(
            f"{path}: unknown {kind} format {path.suffix!r}; use one of {', '.join(suffixes)}"
        )
    return path


def check_not_input(outputs: Iterable[Path | str], inputs: Iterable[Path | str]) -> None:
    """Check that nothing to be written is read as well, by whatever name: originals stay.

    Args:
        outputs: files to write, those that exist and those that do not.
        inputs: files that are read.

    Raises:
        InputError: an output that is one of the inputs, a link to one included.
    """
    read = {identity: path for path in inputs if (identity := _identity(path))}
    for output in outputs:
        if original := read.get(_identity(output) or ()):
            raise InputError(
                f"{output}: would replace {original}, which is read; choose another output"
            )


def _identity(path: Path | str) -> tuple[int, ...] | None:
    """What a file has in common with all links to it, and with no other one; None for no file."""
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def is_disk_full(error: BaseException) -> bool:
    """Whether nothing else could be written either: it is not for want of one file."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def partial_path(path: Path) -> Path:
    """Where unfinished work on `path` is kept: `OUT.partial.EXT`."""
    return path.with_name(f"{path.stem}.partial{path.suffix}")


def sync(path: Path) -> None:
    """Have a file, or the names in a folder, on the disk itself: a power cut does not undo it.

    Raises:
        OSError: a file that cannot be written there.
    """
    if path.is_dir():
        with contextlib.suppress(OSError):  # not on every system
            _sync(path, os.O_RDONLY)
    else:
        _sync(path, os.O_RDWR)


@contextmanager
def atomic_output(path: Path) -> Iterator[Path]:
    """Yield a new path to write to; it becomes `path` on success and is removed on an error."""
    temporary = path.with_name(f".{uuid.uuid4().hex}{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _sync(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
