"""Files that visitors send: checked by decoders that open nothing else, kept under random names.

What a visitor calls a file is shown to people and never used as a path.
"""

import asyncio
import logging
import re
import secrets
import shutil
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool

from nst_rt.errors import InputError, StyleTransferError
from nst_rt.infer.web.decoding.checks import (
    check_archive,
    check_image,
    check_photo,
    check_video,
)
from nst_rt.infer.web.decoding.pool import Decoders
from nst_rt.infer.web.limits.storage import BLOCK, FULL, Storage, on_disk
from nst_rt.infer.web.limits.visitors import InFlight, TooManyError, steady
from nst_rt.infer.web.settings import Limits, TooLargeError

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
_WRITE_BYTES = 2**20  # that are collected before they are written
_GONE = "that file is no longer here: choose it again"
# Of one visitor; the oldest ones make room. A folder of photos is no large file, but many are.
_MAX_ALBUMS = 16
_MAX_UPLOADS = 4000
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
        users: jobs and requests that need it now, so that it is not removed to make room; see
            `claim`.
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
    _retired: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def claim(self, user: object) -> None:
        """Keep it from being removed until it is released; an InputError if it was removed."""
        with self._lock:
            if self._retired:
                raise InputError(_GONE)
            self.users.add(user)

    def release(self, user: object) -> None:
        """Undo `claim`."""
        self.users.discard(user)

    def retire(self) -> bool:
        """Whether nobody needs it; if so, it can be removed, since nobody can claim it now."""
        with self._lock:
            self._retired = self._retired or not self.users
            return self._retired

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Claim it for a while; an InputError if it was removed."""
        user = object()
        self.claim(user)
        try:
            yield
        finally:
            self.release(user)

    def pixels(self, size: int | None = None) -> int:
        """Number of pixels of an image, at most, with `size` pixels on the long side if given."""
        width, height = self.facts["width"], self.facts["height"]
        if size is None or size >= max(width, height):
            return int(width * height)
        return int(size * (size * min(width, height) // max(width, height) + 1))

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

    Files arrive in the thread of the event loop only; the rest may be called in any.

    Args:
        root: folder of these folders.
        storage: counts the bytes of all files of the studio.
        decoders: run the checks.
    """

    def __init__(self, root: Path, limits: Limits, storage: Storage, decoders: Decoders) -> None:
        self._root = root
        self._limits = limits
        self._storage = storage
        self._decoders = decoders
        storage.evict = self._evict
        self._files: dict[str, Upload] = {}
        self._arriving = InFlight("uploads", each=8, total=64)
        self._checking = asyncio.Semaphore(_CHECKS_AT_ONCE)

    def find(self, id: object, owner: str, *kinds: str) -> Upload:
        """The visitor's upload with that id; an InputError if there is none, or of another kind."""
        upload = self._files.get(str(id))
        if upload is None or upload.owner != owner:
            raise InputError(_GONE)
        if kinds and upload.kind not in kinds:
            raise InputError(f"{upload.name}: expected {' or '.join(kinds)}, not {upload.kind}")
        return upload

    def of(self, owner: str) -> list[Upload]:
        """A visitor's uploads, oldest first."""
        return [upload for upload in list(self._files.values()) if upload.owner == owner]

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
            TooManyError, TooSlowError: see `InFlight` and `steady`; likewise.
        """
        if kind not in _CHECKS:
            raise InputError(f"unknown kind of file {kind[:20]!r}")
        _check_place(place)
        await self._limit(owner)
        folder = self._root / secrets.token_hex(16)
        upload = Upload(folder.name, owner, kind, _shown(name), folder / "file", place)
        try:
            with self._arriving.one(owner):
                self._check_room(size)
                await self._storage.hold_async(upload.id, BLOCK)
                await run_in_threadpool(folder.mkdir)
                await self._write(chunks, upload.path, upload.id, BLOCK)
                upload.path, upload.facts = await self._checked(kind, upload.path, upload.name)
                upload.size = upload.path.stat().st_size  # a check may write a file of its own
                await self._storage.hold_async(upload.id, BLOCK + on_disk(upload.size))
        except BaseException:
            self.remove(upload)
            raise
        self._files[upload.id] = upload
        return upload

    async def new_album(self, owner: str, name: str, place: str = "") -> Upload:
        """Create an empty folder of photos.

        Raises:
            InputError: there is no such place.
            TooLargeError: there is no room.
            TooManyError: the visitor has too many.
        """
        _check_place(place)
        await self._limit(owner, album=True)
        folder = self._root / secrets.token_hex(16)
        path = folder / "photos"
        album = Upload(folder.name, owner, "album", _shown(name), path, place, 0, {"count": 0})
        await self._storage.hold_async(album.id, 2 * BLOCK)
        await run_in_threadpool(path.mkdir, parents=True)
        self._files[album.id] = album
        return album

    async def receive_into(self, album: Upload, chunks: AsyncIterator[bytes], size: int) -> None:
        """Add a photo to an album; raises what `receive` does."""
        file = album.path / f"{secrets.token_hex(8)}.part"
        part = (album.id, file.name)
        with album.in_use(), self._arriving.one(album.owner):
            try:
                self._check_room(size)
                written = await self._write(chunks, file, part)
                # The check may write a clean copy, which then stays.
                await self._storage.hold_async(part, 2 * on_disk(written))
                file, _ = await self._checked("photo", file, "this photo")
                kept = file.stat().st_size
                await self._storage.hold_async(part, on_disk(kept))
            except BaseException:
                file.unlink(missing_ok=True)
                self._storage.release(part)
                raise
            self._storage.transfer(part, album.id)
            album.facts["count"] += 1
            album.size += kept
            self._files[album.id] = self._files.pop(album.id)  # now the newest

    def remove(self, upload: Upload) -> None:
        """Remove a file; for an album, not in the thread of the event loop."""
        self._files.pop(upload.id, None)
        shutil.rmtree(self._root / upload.id, ignore_errors=True)
        self._storage.release(upload.id)

    def _evict(self) -> bool:
        """Remove the oldest file that nobody needs, if there is one."""
        return self._remove_oldest(list(self._files.values()))

    def _remove_oldest(self, uploads: list[Upload]) -> bool:
        unused = next((upload for upload in uploads if upload.retire()), None)
        if unused is not None:
            self.remove(unused)
        return unused is not None

    async def _limit(self, owner: str, *, album: bool = False) -> None:
        """Remove the visitor's oldest file of too many; a TooManyError if all are in use."""
        mine = self.of(owner)
        limits = [(mine, _MAX_UPLOADS)]
        if album:
            limits.append(([upload for upload in mine if upload.kind == "album"], _MAX_ALBUMS))
        for files, limit in limits:
            has_room = len(files) < limit or await run_in_threadpool(self._remove_oldest, files)
            if not has_room:
                raise TooManyError(f"{limit} of your files are in use: wait for a job to end")

    def _check_room(self, size: int) -> None:
        """A TooLargeError if so many bytes are over a limit, or no room can be made for them.

        Nothing is removed for what is only announced: room is made as the bytes arrive.
        """
        self._check_size(size)
        files = list(self._files.values())
        unused = sum(self._storage.of(upload.id) for upload in files if not upload.users)
        if self._storage.total - unused + on_disk(size) > self._storage.limit:
            raise TooLargeError(FULL)

    def _check_size(self, size: int) -> None:
        if size > self._limits.upload:
            raise TooLargeError(f"larger than the {self._limits.upload / 1e6:.0f} MB allowed here")

    async def _write(
        self, chunks: AsyncIterator[bytes], path: Path, what: object, more: int = 0
    ) -> int:
        """Write a file as it arrives; returns its bytes, for which, and `more`, room is held."""
        written, waiting = 0, bytearray()
        async for chunk in steady(chunks):
            written += len(chunk)
            self._check_size(written)
            await self._storage.hold_async(what, more + on_disk(written))
            waiting += chunk
            if len(waiting) >= _WRITE_BYTES:
                await run_in_threadpool(_append, path, waiting)
                waiting = bytearray()
        await run_in_threadpool(_append, path, waiting)
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


def _append(path: Path, content: bytearray) -> None:
    with path.open("ab") as file:
        file.write(content)


def _check_place(place: str) -> None:
    if place not in ("", *PLACES):
        raise InputError(f"unknown place {place[:20]!r}")


_CHECKS = {"image": check_image, "video": check_video, "archive": check_archive}


def _shown(name: str) -> str:
    """A visitor's name for a file, fit to be shown."""
    printable = "".join(c for c in name if c.isprintable())
    return printable.replace("\\", "/").rpartition("/")[2][:120] or "file"
