"""What is compiled once per machine and kept on disk, within a bound."""

import hashlib
import json
import logging
import os
from pathlib import Path

from platformdirs import user_cache_path

from nst_rt.files import atomic_output

logger = logging.getLogger(__name__)

LIMIT = 256 * 2**20  # bytes
_DIGEST_SIZE = hashlib.sha256().digest_size


class Cache:
    """Bytes by key; the entries that were used least recently leave when it is full.

    It only ever saves time: a folder that cannot be written to, or a damaged entry, is an entry
    that is not there.

    Args:
        folder: by default that of the environment variable NST_RT_CACHE, else the user's cache.
        limit: bytes that all entries take together at most.
    """

    def __init__(self, folder: Path | None = None, limit: int = LIMIT) -> None:
        chosen = os.environ.get("NST_RT_CACHE")
        self._folder = folder or (Path(chosen) if chosen else user_cache_path("nst-rt"))
        self._limit = limit

    def get(self, key: object) -> bytes | None:
        """The entry of a key (any JSON value), None if there is none."""
        file = self._file(key)
        try:
            entry = file.read_bytes()
            file.touch()  # used most recently
        except OSError:
            return None
        digest, data = entry[:_DIGEST_SIZE], entry[_DIGEST_SIZE:]
        # Engines trust what they read, and may crash on it.
        if hashlib.sha256(data).digest() != digest:
            logger.warning("%s: a damaged entry of the cache; it is built again", file)
            file.unlink(missing_ok=True)
            return None
        return data

    def put(self, key: object, data: bytes) -> None:
        """Keep an entry."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with atomic_output(self._file(key)) as temporary:
                temporary.write_bytes(hashlib.sha256(data).digest() + data)
            self._drop_oldest()
        except OSError as error:
            logger.warning("%s: nothing can be cached there (%s)", self._folder, error.strerror)

    def _file(self, key: object) -> Path:
        name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        return self._folder / f"{name}.bin"

    def _drop_oldest(self) -> None:
        entries = [(file.stat(), file) for file in self._folder.glob("*.bin")]
        excess = sum(stat.st_size for stat, _ in entries) - self._limit
        for stat, file in sorted(entries, key=lambda entry: entry[0].st_mtime_ns):
            if excess <= 0:
                return
            file.unlink(missing_ok=True)
            excess -= stat.st_size
