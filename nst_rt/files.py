"""Files: inputs and outputs checked before work starts, outputs that appear when complete."""

import contextlib
import errno
import hashlib
import os
import re
import sys
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

if sys.platform != "win32":
    import fcntl

from nst_rt.errors import InputError, OutputExistsError

# `Path` merges the two slashes of a URL into one. Drive names have one letter.
_URL = re.compile(r"([\w.+-]{2,}:/+)([^/?#]*)(.*)", re.DOTALL)
# In a URL's path: a component such as `user=admin_password=secret`, and the query.
_SECRETS = re.compile(r"(?<=/)[^/?#]*=.*|(?<=[?#]).+", re.DOTALL)


def shown_source(source: Path | str) -> str:
    """The name of a source without secrets: a URL without user, password and query.

    Omitted parts become `...`; a name that is no URL is unchanged. Cameras take passwords under
    vendor-specific names, so nothing that looks like a setting is shown.
    """
    url = _URL.fullmatch(str(source))
    if url is None:
        return str(source)
    scheme, place, path = url.groups()
    if "@" in path:  # may be the end of a password that contains a slash
        return f"{scheme}..."
    return scheme + place.rpartition("@")[2] + _SECRETS.sub("...", path)


def check_input(path: Path | str) -> Path:
    """Return `path` as a Path if it is a readable file.

    Raises:
        InputError: the path does not exist, is a directory or a device, or is not readable.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path}: is a directory, not a file")
    if not path.exists():
        raise InputError(f"{shown_source(path)}: no such file")
    if path.is_char_device() or path.is_block_device():  # some of which never end
        raise InputError(f"{path}: is a device, not a file")
    if not os.access(path, os.R_OK):
        raise InputError(f"{path}: no permission to read it")
    return path


def check_output(path: Path | str, *, overwrite: bool = False) -> Path:
    """Return `path` as a Path if a file can be written there.

    Raises:
        OutputExistsError: the file exists and `overwrite` is False.
        InputError: the path is a directory, or its folder does not exist or is not writable.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path}: is a directory; give the name of a file to write")
    if path.exists() and not overwrite:
        raise OutputExistsError(f"{path}: exists already; `overwrite` replaces it")
    if not path.parent.is_dir():
        folder = shown_source(path.parent)
        raise InputError(f"{shown_source(path)}: the folder {folder} does not exist")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"{path}: no permission to write to the folder {path.parent}")
    return path


def check_format(
    path: Path | str, kind: str, suffixes: Sequence[str], *, overwrite: bool = False
) -> Path:
    """`check_output` for a file whose suffix must name a format.

    Args:
        path: file to write.
        kind: kind of file for the error message, such as `image`.
        suffixes: accepted suffixes, lower case.
        overwrite: whether the file may exist.

    Raises:
        InputError: another suffix, or a path that cannot be written.
        OutputExistsError: the file exists and `overwrite` is False.
    """
    path = check_output(path, overwrite=overwrite)
    if path.suffix.lower() not in suffixes:
        wrong = f"unknown {kind} format {path.suffix!r}" if path.suffix else "has no suffix"
        raise InputError(f"{path}: {wrong}; use one of {', '.join(suffixes)}")
    return path


def check_not_input(outputs: Iterable[Path | str], inputs: Iterable[Path | str]) -> None:
    """Check that no output would replace an input, under whatever name.

    Args:
        outputs: files to write, which may or may not exist.
        inputs: files that are read.

    Raises:
        InputError: an output is one of the inputs, or a link to one.
    """
    read = {identity: path for path in inputs if (identity := _identity(path))}
    for output in outputs:
        if original := read.get(_identity(output) or ()):
            raise InputError(f"{output}: would replace the input {original}; choose another output")


def _identity(path: Path | str) -> tuple[int, ...] | None:
    """Device and inode, which a file shares with its links only; None if it does not exist."""
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def is_disk_full(error: BaseException) -> bool:
    """Whether the disk or the quota is full, so that writing other files would fail, too."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def check_room(path: Path, size: int) -> None:
    """Check that a file of so many bytes can be written to `path`, by writing and removing it.

    Raises:
        OSError: the system cannot write it: a full disk, for example.
    """
    with _temporary(path) as probe:
        try:
            probe.write_bytes(bytes(size))
        except OSError as error:
            error.filename = str(path)
            raise
        finally:
            probe.unlink(missing_ok=True)


def partial_path(path: Path) -> Path:
    """Path of the unfinished output for `path`: `OUT.partial.EXT`."""
    return path.with_name(f"{path.stem}.partial{path.suffix}")


def sync(path: Path) -> None:
    """Flush a file, or the entries of a folder, to the disk, so that a power cut keeps them.

    Raises:
        OSError: the file cannot be written to the disk.
    """
    is_folder = path.is_dir()
    # Not every system supports it for folders.
    with contextlib.suppress(OSError) if is_folder else contextlib.nullcontext():
        handle = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def atomic_output(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to; it is renamed to `path` on success, else removed.

    What a killed process left there is overwritten by the next one that writes the same file.

    Raises:
        OSError: the system cannot write the file; its `filename` is `path`.
    """
    with _temporary(path) as temporary:
        try:
            yield temporary
            temporary.replace(path)
        except BaseException as error:
            # Another error, of a folder that is gone, would hide the first one.
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            # A full disk names no file, and nobody knows the temporary one.
            if (
                isinstance(error, OSError)
                and error.errno
                and str(error.filename) in ("None", str(temporary))
            ):
                with contextlib.suppress(AttributeError):  # PyAV's errors keep their own name
                    error.filename, error.filename2 = str(path), None
            raise


def remove_output(path: Path) -> None:
    """Remove a file that may not exist, and what a killed process left of writing it."""
    path.unlink(missing_ok=True)
    with _temporary(path) as temporary:
        temporary.unlink(missing_ok=True)


@contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    """A hidden path beside `path` for this process alone.

    It is the same each time, so that processes that are killed do not leave more and more files;
    while another process holds it, it is a new one.
    """
    name = hashlib.blake2b(path.name.encode(errors="surrogateescape"), digest_size=16).hexdigest()
    usual = path.with_name(f".{name}{path.suffix}")
    lock = _lock(usual)
    try:
        yield path.with_name(f".{uuid.uuid4().hex}{path.suffix}") if lock is None else usual
    finally:
        if lock is not None:
            os.close(lock)


def _lock(path: Path) -> int | None:
    """A handle of a file that locks it, and creates it if needed; None if that is impossible."""
    if sys.platform == "win32":  # where a locked file can be neither written nor renamed
        return None
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except OSError:  # whoever writes the file is told why
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(handle), path.stat()):
            return handle
    except OSError:  # locked by another process, which may have renamed it just now
        pass
    os.close(handle)
    return None
