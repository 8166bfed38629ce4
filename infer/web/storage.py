"""Where the studio's files are: results in a folder that outlives it, all else in a temporary one.

Each result has a folder of its own, named by its job: the files that can be fetched, and a record
of what the page shows. Several studios may share the folder of results.
"""

import contextlib
import json
import logging
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import filelock
from platformdirs import user_data_path

from nst_rt.errors import InputError
from nst_rt.files import atomic_output

logger = logging.getLogger(__name__)

Kind = Literal["video", "optimize", "train"]

RECORD = "result.json"
_KEY = ".nst-rt.key"
_KEY_BYTES = 32
_LOCK = ".nst-rt.lock"
_PART = ".nst-rt-part-"  # starts the names of folders that are being written or removed
_TEMPORARY = "nst-rt-web-"
_VISITORS = "visitors"


@dataclass(frozen=True)
class Result:
    """The record of a job that has ended; see `Job` for the attributes."""

    kind: Kind
    title: str
    owner: str
    state: Literal["done", "partial"]
    note: str
    error: str
    created: float
    facts: dict[str, Any]
    curve: list[tuple[float, ...]]

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"unknown kind of result {self.kind!r}")


class Results:
    """The folder of results.

    Args:
        folder: is made if it is not there.

    Attributes:
        folder: as it was given.
        key: a secret that stays with the folder: cookies signed with it are good at the next start.

    Raises:
        InputError: a folder that cannot be written to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = filelock.FileLock(folder / _LOCK)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._lock:
                for left_over in folder.glob(f"{_PART}*"):
                    shutil.rmtree(left_over, ignore_errors=True)
                self.key = self._own_key()
        except OSError as error:
            raise InputError(
                f"{folder}: results cannot be kept there ({error.strerror}); "
                "--results takes another folder"
            ) from error

    def keep(self, id: str, files: Mapping[str, Path], result: Result) -> Path:
        """Copy a job's files into the folder; they appear there when they are complete.

        Args:
            id: of the job.
            files: by the names that they get.
            result: the record.

        Returns:
            The result's own folder.

        Raises:
            OSError: they cannot be written.
        """
        part = self.folder / f"{_PART}{id}"
        with self._lock:  # parts that are there while nobody holds it are left over
            try:
                part.mkdir(mode=0o700)
                for name, file in files.items():
                    shutil.copyfile(file, part / name)
                (part / RECORD).write_text(json.dumps(asdict(result)), encoding="utf-8")
                return part.rename(self.folder / id)
            finally:
                shutil.rmtree(part, ignore_errors=True)

    def earlier(self) -> list[tuple[Path, Result]]:
        """The folders and records of all results, the oldest first; damaged ones are left out."""
        found = []
        for file in self.folder.glob(f"*/{RECORD}"):
            try:
                found.append((file.parent, Result(**json.loads(file.read_bytes()))))
            except (OSError, ValueError, TypeError) as error:
                logger.warning("%s: not the record of a result (%s)", file, error)
        return sorted(found, key=lambda each: each[1].created)

    def _own_key(self) -> bytes:
        file = self.folder / _KEY
        if not file.exists() or file.stat().st_size != _KEY_BYTES:
            with atomic_output(file) as new:
                new.touch(0o600)
                new.write_bytes(secrets.token_bytes(_KEY_BYTES))
        return file.read_bytes()


def default_results() -> Path:
    """Where results are kept if nothing else is said."""
    return user_data_path("nst-rt") / "studio"


def remove_folder(folder: Path) -> None:
    """Remove the folder of a job at once, or not at all."""
    going = folder.with_name(f"{_PART}{folder.name}")
    try:
        folder.rename(going)
    except OSError as error:
        logger.warning("%s: cannot be removed (%s)", folder, error.strerror)
    shutil.rmtree(going, ignore_errors=True)


def folder_size(folder: Path) -> int:
    """Bytes of all files in it; those that vanish meanwhile are not counted."""
    size = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            size += path.stat().st_size
    return size


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder for visitors' files, in one of this studio's own; both go in the end.

    A lock beside it tells that the studio lives; what killed ones left behind is removed.
    """
    with tempfile.TemporaryDirectory(prefix=_TEMPORARY, ignore_cleanup_errors=True) as made:
        own = Path(made)
        with filelock.FileLock(own / _LOCK):
            # Only now: to others, a folder of visitors whose lock nobody holds is a dead one's.
            visitors = own / _VISITORS
            visitors.mkdir()
            for other in own.parent.glob(f"{_TEMPORARY}*"):
                if other != own:
                    _remove_if_dead(other, own.stat().st_uid)
            yield visitors


def _remove_if_dead(folder: Path, user: int) -> None:
    with contextlib.suppress(OSError):  # the lock is held, or another studio was faster
        ours = folder.lstat().st_uid == user
        if ours and (folder / _VISITORS).is_dir() and (folder / _LOCK).is_file():
            with filelock.FileLock(folder / _LOCK, timeout=0):
                shutil.rmtree(folder)
