"""Compiled networks on disk, so that each is compiled once per machine."""

import hashlib
import json
import logging
import os
import stat
from pathlib import Path

from platformdirs import user_cache_path

from nst_rt.files import atomic_output

logger = logging.getLogger(__name__)

LIMIT = 256 * 2**20  # bytes
_DIGEST_SIZE = hashlib.sha256().digest_size


class Cache:
    """Bytes by key; the least recently used entries are dropped when it is full.

    It only ever saves time: where the folder cannot be written to, nothing is cached, and a damaged
    entry counts as missing. A folder that everyone can write to is not used either: OpenVINO runs
    what it imports.

    Args:
        folder: by default the environment variable NST_RT_CACHE, else the user's cache folder.
        limit: maximum size of all entries together, bytes.
    """

    def __init__(self, folder: Path | None = None, limit: int = LIMIT) -> None:
        chosen = os.environ.get("NST_RT_CACHE")
        self._folder = folder or (Path(chosen) if chosen else user_cache_path("nst-rt"))
        self._limit = limit

    def get(self, key: object) -> bytes | None:
        """The entry of a key (any JSON value), None if there is none."""
        file = self._file(key)
        try:
            if self._is_public:
                return None
            entry = file.read_bytes()
            file.touch()  # the most recently used one now
        except OSError:
            return None
        digest, data = entry[:_DIGEST_SIZE], entry[_DIGEST_SIZE:]
        # OpenVINO trusts what it imports, and may crash on damaged data.
        if hashlib.sha256(data).digest() != digest:
            logger.warning("%s: damaged cache entry, it is built again", file)
            file.unlink(missing_ok=True)
            return None
        return data

    def put(self, key: object, data: bytes) -> None:
        """Store an entry."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self._is_public:
                logger.warning("%s: everyone can write there, so nothing is cached", self._folder)
                return
            with atomic_output(self._file(key)) as temporary:
                temporary.write_bytes(hashlib.sha256(data).digest() + data)
            self._drop_oldest()
        except OSError as error:
            logger.warning("%s: nothing can be cached there (%s)", self._folder, error.strerror)

    @property
    def _is_public(self) -> bool:
        return self._folder.is_dir() and bool(self._folder.stat().st_mode & stat.S_IWOTH)

    def _file(self, key: object) -> Path:
        name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        return self._folder / f"{name}.bin"

    def _drop_oldest(self) -> None:
        entries = [(file.stat(), file) for file in self._folder.glob("*.bin")]
        excess = sum(status.st_size for status, _ in entries) - self._limit
        for status, file in sorted(entries, key=lambda entry: entry[0].st_mtime_ns):
            if excess <= 0:
                return
            file.unlink(missing_ok=True)
            excess -= status.st_size
