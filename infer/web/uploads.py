"""Files that visitors send: kept under names of our own, within limits.

What a visitor calls a file is shown to people and never used as a path.
"""

import asyncio
import contextlib
import secrets
import shutil
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool

from nst_rt.errors import InputError
from nst_rt.infer.web.checks import (
    Limits,
    TooLargeError,
    check_archive,
    check_photo,
    check_video,
)

_CHECKED_AT_ONCE = 2  # large photos take gigabytes
_CHECKS = {"photo": check_photo, "video": check_video, "photos": check_archive}


@dataclass
class Upload:
    """A visitor's file, or a folder of photos.

    Attributes:
        id: that only its owner knows.
        owner: the visitor.
        kind: `photo`, `video`, `photos` (an archive) or `album` (a folder).
        name: as the visitor calls it; to be shown only.
        path: where it is.
        size: bytes.
        facts: what was found in it, for the page.
        users: jobs and requests that need it at the moment; it is not removed to make room.
    """

    id: str
    owner: str
    kind: str
    name: str
    path: Path
    size: int = 0
    facts: dict[str, Any] = field(default_factory=dict)
    users: set[object] = field(default_factory=set)

    def explained(self, error: BaseException) -> str:
        """An error's message with the file's own name in place of ours."""
        return str(error).replace(str(self.path), self.name)

    @contextlib.contextmanager
    def needed(self) -> Iterator[None]:
        """Keep it for as long as this lasts."""
        user = object()
        self.users.add(user)
        try:
            yield
        finally:
            self.users.discard(user)

    def describe(self) -> dict[str, Any]:
        """What the page is told."""
        return {"id": self.id, "kind": self.kind, "name": self.name, **self.facts}


class Uploads:
    """All files that visitors sent, in one folder; each in a folder of its own.

    Args:
        root: the folder.
        limits: see `Limits`.
        results: gives the bytes of all jobs' files, which share the storage.
    """

    def __init__(self, root: Path, limits: Limits, results: Callable[[], int]) -> None:
        self._root = root
        self._limits = limits
        self._results = results
        self._files: dict[str, Upload] = {}
        self._coming: dict[Path, int] = {}  # files on their way -> bytes that have room
        self._lock = threading.Lock()
        self._checking = asyncio.Semaphore(_CHECKED_AT_ONCE)

    def find(self, id: object, owner: str, *kinds: str) -> Upload:
        """The owner's file of that id.

        Raises:
            InputError: there is none, or it is of another kind.
        """
        upload = self._files.get(str(id))
        if upload is None or upload.owner != owner:
            raise InputError("that file is no longer here: choose it again")
        if upload.kind not in kinds:
            raise InputError(f"{upload.name}: needed is a {' or '.join(kinds)}")
        return upload

    async def receive(
        self, chunks: AsyncIterator[bytes], *, owner: str, kind: str, name: str, size: int
    ) -> Upload:
        """Write a file down as it comes in, up to the limit; it is not checked yet.

        Args:
            chunks: of the file.
            owner, kind, name: see `Upload`.
            size: in bytes, as announced; 0 if it was not.

        Raises:
            TooLargeError: it is too large; nothing of it is kept.
        """
        folder = self._root / secrets.token_hex(16)
        path = folder / "file"
        folder.mkdir()
        try:
            with self._receiving(path, size):
                written = await self._write(chunks, path)
                return self._keep(Upload(folder.name, owner, kind, _shown(name), path, written))
        except BaseException:
            shutil.rmtree(folder)
            raise

    def new_album(self, owner: str, name: str) -> Upload:
        """An empty folder for photos."""
        folder = self._root / secrets.token_hex(16)
        (folder / "photos").mkdir(parents=True)
        path = folder / "photos"
        return self._keep(Upload(folder.name, owner, "album", _shown(name), path, 0, {"count": 0}))

    async def receive_into(self, album: Upload, chunks: AsyncIterator[bytes], size: int) -> None:
        """Add a photo to an album.

        Raises:
            TooLargeError: it is too large.
            InputError: not a photo; it is not kept.
        """
        file = album.path / f"{secrets.token_hex(8)}.part"
        with album.needed(), self._receiving(file, size):
            try:
                written = await self._write(chunks, file)
                suffix, _ = await self._checked("photo", file, "this photo")
                file.rename(file.with_suffix(suffix))
            finally:
                file.unlink(missing_ok=True)
            album.facts["count"] += 1
            album.size += written
            with self._lock:
                self._files[album.id] = self._files.pop(album.id)  # now the newest

    async def check(self, upload: Upload) -> None:
        """Look into a file that came in, and remove it if it cannot be used.

        Raises:
            TooLargeError: more pixels than the limit.
            InputError: not what it is meant to be.
        """
        with upload.needed():
            try:
                suffix, upload.facts = await self._checked(upload.kind, upload.path, upload.name)
            except BaseException:
                self.remove(upload)
                raise
            upload.path = upload.path.rename(upload.path.with_suffix(suffix))

    def remove(self, upload: Upload) -> None:
        """Forget a file."""
        with self._lock:
            self._files.pop(upload.id, None)
        shutil.rmtree(self._root / upload.id, ignore_errors=True)

    def make_room(self, size: int) -> None:
        """Remove the oldest files that no job uses until `size` more bytes may come.

        Raises:
            TooLargeError: there is no room, all that is there being results or in use.
        """
        while self._stored() + size > self._limits.storage:
            with self._lock:
                unused = next((file for file in self._files.values() if not file.users), None)
            if unused is None:
                raise TooLargeError(
                    "the studio is full, all of it being results or in use: "
                    "remove results that are no longer needed, or try again later"
                )
            self.remove(unused)

    def _stored(self) -> int:
        with self._lock:
            uploads = sum(upload.size for upload in self._files.values())
        return uploads + sum(self._coming.values()) + self._results()

    def _keep(self, upload: Upload) -> Upload:
        with self._lock:
            self._files[upload.id] = upload
        return upload

    def _check_size(self, size: int) -> None:
        if size > self._limits.upload:
            raise TooLargeError(f"larger than the {self._limits.upload / 1e6:.0f} MB allowed here")

    @contextlib.contextmanager
    def _receiving(self, path: Path, size: int) -> Iterator[None]:
        """Have room for a file of that size; `_write` makes more if it has more to write."""
        self._check_size(size)
        self.make_room(size)
        self._coming[path] = size
        try:
            yield
        finally:
            del self._coming[path]

    async def _write(self, chunks: AsyncIterator[bytes], path: Path) -> int:
        written = 0
        with path.open("wb") as file:
            async for chunk in chunks:
                written += len(chunk)
                self._check_size(written)
                if (more := written - self._coming[path]) > 0:
                    self.make_room(more)
                    self._coming[path] = written
                file.write(chunk)
        return written

    async def _checked(self, kind: str, path: Path, name: str) -> tuple[str, dict[str, Any]]:
        async with self._checking:
            return await run_in_threadpool(_CHECKS[kind], path, name, self._limits)


def _shown(name: str) -> str:
    """A visitor's name for a file, fit to be shown."""
    printable = "".join(c for c in name if c.isprintable())
    return printable.replace("\\", "/").rpartition("/")[2][:120] or "file"
