"""Files of the studio: finished results in a folder that stays, everything else in a temporary one.

Each result has a folder named by its job, with the files to download and a `result.json` of what
the page shows. Several studios may share the results folder.
"""

import json
import logging
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

import filelock

from nst_rt.errors import InputError
from nst_rt.files import atomic_output
from nst_rt.infer.web.limits.storage import BLOCK, on_disk

logger = logging.getLogger(__name__)

Kind = Literal["images", "video", "optimize", "train"]
State = Literal["waiting", "running", "done", "partial", "failed", "cancelled"]

RECORD_FILE = "result.json"
_KEY_FILE = ".nst-rt.key"
_KEY_BYTES = 32
_LOCK_FILE = ".nst-rt.lock"
_PART_PREFIX = ".nst-rt-part-"  # of folders that are being written or removed
_TEMPORARY_PREFIX = "nst-rt-web-"
_VISITORS = "visitors"
_INTERRUPTED = "The studio ended before this was done. Choose the files again, and start it again."


@dataclass(eq=False)
class Record:
    """What is kept of a job, beside its files.

    Attributes:
        title: for people.
        owner: id of the visitor who started it.
        note: progress or result in words.
        error: why it failed, or what is missing.
        created: seconds since the epoch.
        facts: about the result, for the page.
        curve: points (step, value, ...) of the loss.
    """

    kind: Kind
    title: str
    owner: str
    state: State = "waiting"
    note: str = ""
    error: str = ""
    created: float = field(default_factory=time.time)
    facts: dict[str, Any] = field(default_factory=dict)
    curve: list[tuple[float, ...]] = field(default_factory=list)

    def values(self) -> dict[str, Any]:
        """The attributes of a record, without those of a subclass."""
        return {each.name: getattr(self, each.name) for each in fields(Record)}


class Results:
    """The results folder.

    Args:
        folder: created if missing.

    Attributes:
        folder: as given.
        key: secret kept in the folder, so that cookies signed with it survive a restart.

    Raises:
        InputError: the folder is not writable.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = filelock.FileLock(folder / _LOCK_FILE)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._lock:
                for left_over in folder.glob(f"{_PART_PREFIX}*"):
                    shutil.rmtree(left_over, ignore_errors=True)
                self.key = self._read_or_create_key()
        except OSError as error:
            raise InputError(
                f"{folder}: results cannot be stored there ({error.strerror}); choose another "
                "folder with `results`"
            ) from error

    def keep(self, id: str, files: Mapping[str, Path], record: Record) -> Path:
        """Link or copy a job's files into the folder; they appear there once they are complete.

        An earlier record of the job is replaced.

        Args:
            id: of the job.
            files: source files by the names that they get.
            record: what to write beside them.

        Returns:
            The folder of this result.

        Raises:
            OSError: they cannot be written.
        """
        part = self.folder / f"{_PART_PREFIX}{id}"
        with self._lock:  # any part that exists while nobody holds it is left over
            try:
                part.mkdir(mode=0o700)
                for name, file in files.items():
                    _link_or_copy(file, part / name)
                (part / RECORD_FILE).write_text(json.dumps(record.values()), encoding="utf-8")
                self.drop(id)
                return part.rename(self.folder / id)
            finally:
                shutil.rmtree(part, ignore_errors=True)

    def shares_files_with(self, folder: Path) -> bool:
        """Whether files of that folder can be in this one, too, without taking more room."""
        return folder.stat().st_dev == self.folder.stat().st_dev

    def drop(self, id: str) -> None:
        """Remove a job's folder, if there is one."""
        shutil.rmtree(self.folder / id, ignore_errors=True)

    def load(self) -> list[tuple[Path, Record]]:
        """Folders and records of all results, oldest first, without damaged ones.

        A job that was not done when its studio ended has failed.
        """
        found = []
        for file in self.folder.glob(f"*/{RECORD_FILE}"):
            try:
                record = Record(**json.loads(file.read_bytes()))
                if record.kind not in get_args(Kind):
                    raise ValueError(f"unknown kind {record.kind!r}")
                if record.state in ("waiting", "running"):
                    record.state, record.error = "failed", _INTERRUPTED
                found.append((file.parent, record))
            except (OSError, ValueError, TypeError) as error:
                logger.warning("%s: not the record of a result (%s)", file, error)
        return sorted(found, key=lambda each: each[1].created)

    def _read_or_create_key(self) -> bytes:
        file = self.folder / _KEY_FILE
        if not file.exists() or file.stat().st_size != _KEY_BYTES:
            with atomic_output(file) as new:
                new.touch()
                new.chmod(0o600)
                new.write_bytes(secrets.token_bytes(_KEY_BYTES))
        return file.read_bytes()


def remove_folder(folder: Path) -> None:
    """Remove the folder of a job completely or not at all."""
    going = folder.with_name(f"{_PART_PREFIX}{folder.name}")
    try:
        folder.rename(going)
    except OSError as error:
        logger.warning("%s: cannot be removed (%s)", folder, error.strerror)
    shutil.rmtree(going, ignore_errors=True)


def _link_or_copy(file: Path, target: Path) -> None:
    """Let a file be in another folder, too; nobody may write into it after that."""
    try:
        target.hardlink_to(file)
    except OSError:  # on another disk, or where there are no links
        shutil.copyfile(file, target)


def folder_size(folder: Path) -> int:
    """Bytes on disk of a folder and all in it, which may vanish meanwhile; 0 if there is none."""
    size = 0
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        size += BLOCK
        for entry in entries:
            with suppress(FileNotFoundError):
                if entry.is_dir(follow_symlinks=False):
                    size += folder_size(Path(entry.path))
                else:
                    size += on_disk(entry.stat(follow_symlinks=False).st_size)
    return size


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder for uploads and unfinished work, in one of this studio's own; both are removed.

    A lock file beside it shows that the studio is running; folders of killed studios are removed.
    """
    with tempfile.TemporaryDirectory(
        prefix=_TEMPORARY_PREFIX, ignore_cleanup_errors=True
    ) as created:
        own = Path(created)
        with filelock.FileLock(own / _LOCK_FILE):
            # Only now: other studios remove a folder of visitors whose lock nobody holds.
            visitors = own / _VISITORS
            visitors.mkdir()
            for other in own.parent.glob(f"{_TEMPORARY_PREFIX}*"):
                if other != own:
                    _remove_if_dead(other, own.stat().st_uid)
            yield visitors


def _remove_if_dead(folder: Path, user: int) -> None:
    with suppress(OSError):  # the lock is held, or another studio was faster
        ours = folder.lstat().st_uid == user
        if ours and (folder / _VISITORS).is_dir() and (folder / _LOCK_FILE).is_file():
            with filelock.FileLock(folder / _LOCK_FILE, timeout=0):
                shutil.rmtree(folder)
