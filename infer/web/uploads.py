"""Files that visitors send: checked by decoders that open nothing else, kept under random names.

What a visitor calls a file is shown to people and never used as a path.
"""

import asyncio
import logging
import re
import secrets
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool

from nst_rt.errors import InputError, StyleTransferError
from nst_rt.infer.web.decoding.checks import (
    TooLargeError,
    check_archive,
    check_image,
    check_photo,
    check_video,
)
from nst_rt.infer.web.decoding.pool import Decoders
from nst_rt.infer.web.settings import Limits

# Where the page shows an upload again after a reload.
PLACES = (
    "image",
    "video",
    "optimize-content",
    "optimize-style",
    "train-style",
    "train-album",
    "train-camera",
    "train-photos",
)
_CHECKS_AT_ONCE = 2  # large images take gigabytes
_CHECK_SECONDS = {"archive": 600.0}  # of as many photos


@dataclass
class Upload:
    """A visitor's file, or a folder of photos.

    Attributes:
        id: random name that only its owner knows.
        owner: id of the visitor.
        kind: `image`, `video`, `archive` (of photos) or `album` (a folder of photos).
        name: what the visitor calls it, to be shown only.
        place: one of `PLACES`, or empty if the page need not find it again.
        size: bytes.
        facts: what was found in it, for the page.
        users: jobs and requests that need it now, so that it is not removed to make room.
    """

    id: str
    owner: str
    kind: str
    name: str
    path: Path
    place: str = ""
    size: int = 0
    facts: dict[str, Any] = field(default_factory=dict)
    users: set[object] = field(default_factory=set)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        user = object()
        self.users.add(user)
        try:
            yield
        finally:
            self.users.discard(user)

    def describe(self) -> dict[str, Any]:
        known = {"id": self.id, "kind": self.kind, "name": self.name, "place": self.place}
        return {**known, "needed": bool(self.users), **self.facts}


def visitor_message(error: BaseException, *uploads: Upload) -> str:
    """An error's message for a visitor: their names for files, and no options in code.

    Bugs go to the log, for whoever runs the studio.
    """
    if not isinstance(error, StyleTransferError):
        logging.getLogger(__name__).error("internal error", exc_info=error)
        return "internal error"
    text = str(error)
    for upload in uploads:
        text = text.replace(str(upload.path), upload.name)

    def words(option: re.Match[str]) -> str:
        return re.sub("[_-]", " ", option[1] or option[2])

    return re.sub(r"`([^`]*)`|(?<!\S)--([a-z][a-z-]*)", words, text)


class Uploads:
    """All files that visitors sent, each in a random folder of its own.

    Files come and go in the thread of the event loop only; `find` may be called in any.

    Args:
        root: folder of these folders.
        results: returns the bytes of all jobs' files, which share the storage.
        decoders: run the checks.
    """

    def __init__(
        self, root: Path, limits: Limits, results: Callable[[], int], decoders: Decoders
    ) -> None:
        self._root = root
        self._limits = limits
        self._results = results
        self._decoders = decoders
        self._files: dict[str, Upload] = {}
        self._arriving: dict[Path, int] = {}  # file -> bytes reserved for it
        self._checking = asyncio.Semaphore(_CHECKS_AT_ONCE)

    def find(self, id: object, owner: str, *kinds: str) -> Upload:
        """The visitor's upload with that id; an InputError if there is none, or of another kind."""
        upload = self._files.get(str(id))
        if upload is None or upload.owner != owner:
            raise InputError("that file is no longer here: choose it again")
        if kinds and upload.kind not in kinds:
            raise InputError(f"{upload.name}: expected {' or '.join(kinds)}, not {upload.kind}")
        return upload

    def of(self, owner: str) -> list[Upload]:
        """A visitor's uploads, oldest first."""
        return [upload for upload in self._files.values() if upload.owner == owner]

    async def receive(
        self,
        chunks: AsyncIterator[bytes],
        *,
        owner: str,
        kind: str,
        name: str,
        size: int,
        place: str = "",
    ) -> Upload:
        """Store a file as it arrives and check it.

        Args:
            chunks, size: of the file; the announced size in bytes is 0 if unknown.
            owner, kind, name, place: see `Upload`.

        Raises:
            TooLargeError: it is over a limit; nothing of it is kept.
            InputError: not of its kind, or damaged; likewise.
        """
        if kind not in _CHECKS:
            raise InputError(f"unknown kind of file {kind[:20]!r}")
        _check_place(place)
        folder = self._root / secrets.token_hex(16)
        upload = Upload(folder.name, owner, kind, _shown(name), folder / "file", place)
        folder.mkdir()
        try:
            with self._reserved(upload.path, size):
                upload.size = await self._write(chunks, upload.path)
                self._files[upload.id] = upload
            with upload.in_use():
                upload.path, upload.facts = await self._checked(kind, upload.path, upload.name)
        except BaseException:
            self.remove(upload)
            raise
        return upload

    def new_album(self, owner: str, name: str, place: str = "") -> Upload:
        """Create an empty folder of photos; an InputError if there is no such place."""
        _check_place(place)
        folder = self._root / secrets.token_hex(16)
        path = folder / "photos"
        path.mkdir(parents=True)
        album = Upload(folder.name, owner, "album", _shown(name), path, place, 0, {"count": 0})
        self._files[album.id] = album
        return album

    async def receive_into(self, album: Upload, chunks: AsyncIterator[bytes], size: int) -> None:
        """Add a photo to an album; raises what `receive` does."""
        file = album.path / f"{secrets.token_hex(8)}.part"
        with album.in_use(), self._reserved(file, size):
            try:
                written = await self._write(chunks, file)
                await self._checked("photo", file, "this photo")
            finally:
                file.unlink(missing_ok=True)
            album.facts["count"] += 1
            album.size += written
            self._files[album.id] = self._files.pop(album.id)  # now the newest

    def remove(self, upload: Upload) -> None:
        self._files.pop(upload.id, None)
        shutil.rmtree(self._root / upload.id, ignore_errors=True)

    def make_room(self, size: int) -> None:
        """Remove the oldest files until there is room for `size` more bytes, or a TooLargeError."""
        while self._stored() + size > self._limits.storage:
            unused = next((file for file in self._files.values() if not file.users), None)
            if unused is None:
                raise TooLargeError(
                    "the studio is full of results and files in use: remove results that are no "
                    "longer needed, or try again later"
                )
            self.remove(unused)

    def _stored(self) -> int:
        uploads = sum(upload.size for upload in self._files.values())
        return uploads + sum(self._arriving.values()) + self._results()

    def _check_size(self, size: int) -> None:
        if size > self._limits.upload:
            raise TooLargeError(f"larger than the {self._limits.upload / 1e6:.0f} MB allowed here")

    @contextmanager
    def _reserved(self, path: Path, size: int) -> Iterator[None]:
        """Reserve room for a file of the announced size; `_write` reserves more if it is larger."""
        self._check_size(size)
        self.make_room(size)
        self._arriving[path] = size
        try:
            yield
        finally:
            del self._arriving[path]

    async def _write(self, chunks: AsyncIterator[bytes], path: Path) -> int:
        written = 0
        with path.open("wb") as file:
            async for chunk in chunks:
                written += len(chunk)
                self._check_size(written)
                if (more := written - self._arriving[path]) > 0:
                    self.make_room(more)
                    self._arriving[path] = written
                file.write(chunk)
        return written

    async def _checked(self, kind: str, path: Path, name: str) -> tuple[Path, dict[str, Any]]:
        """The path of a file that passed the check, now with a suffix, and what was found."""
        async with self._checking:
            check = partial(_CHECKS.get(kind, check_photo), path, self._limits)
            seconds = _CHECK_SECONDS.get(kind)
            try:
                suffix, facts = await run_in_threadpool(
                    self._decoders.run, path, check, seconds=seconds
                )
            except StyleTransferError as error:
                raise type(error)(str(error).replace(str(path), name)) from error
        return path.rename(path.with_suffix(suffix)), facts


def _check_place(place: str) -> None:
    if place not in ("", *PLACES):
        raise InputError(f"unknown place {place[:20]!r}")


_CHECKS = {"image": check_image, "video": check_video, "archive": check_archive}


def _shown(name: str) -> str:
    """A visitor's name for a file, fit to be shown."""
    printable = "".join(c for c in name if c.isprintable())
    return printable.replace("\\", "/").rpartition("/")[2][:120] or "file"
