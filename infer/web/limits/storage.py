"""The bytes of all files of a studio, counted so that they stay under its limit."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from starlette.concurrency import run_in_threadpool

from nst_rt.infer.web.settings import TooLargeError

BLOCK = 4096  # bytes that even the smallest file or folder takes
FULL = (
    "the studio is full of results and files in use: remove results that are no longer needed, or "
    "try again later"
)


def on_disk(size: int) -> int:
    """Bytes that a file of `size` bytes takes on disk."""
    return -(-size // BLOCK) * BLOCK


class Storage:
    """Counts the bytes of all files: before they are written, and until they are removed.

    The sum is kept, so that nothing has to walk through folders. Any thread may use it.

    Args:
        limit: maximum number of bytes.

    Attributes:
        limit: as given.
        evict: removes something that nobody needs and returns True, or returns False if there is
            no such thing; called to make room.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.evict: Callable[[], bool] = lambda: False
        self._held: dict[object, int] = {}
        self._total = 0
        self._lock = threading.Lock()
        self._making_room = threading.Lock()

    @property
    def total(self) -> int:
        """Bytes of everything."""
        return self._total

    def of(self, what: object) -> int:
        """Bytes that are counted for a thing, 0 if it is unknown."""
        return self._held.get(what, 0)

    def count(self, what: object, size: int) -> None:
        """Count what is there already, instead of what was counted for it before."""
        with self._lock:
            self._set(what, size)

    def try_hold(self, what: object, size: int) -> bool:
        """Reserve `size` bytes for a thing in all; False, and no change, if there is no room."""
        with self._lock:
            more = size - self.of(what)
            if more > 0 and self._total + more > self.limit:
                return False
            self._set(what, size)
            return True

    def hold(self, what: object, size: int) -> None:
        """As `try_hold`, but make room if there is none, which takes a while.

        Raises:
            TooLargeError: nothing more can be removed.
        """
        if self.try_hold(what, size):
            return
        if size > self.limit:  # removing all would not help
            raise TooLargeError(FULL)
        with self._making_room:  # one after the other, so that no more is removed than necessary
            while not self.try_hold(what, size):
                if not self.evict():
                    raise TooLargeError(FULL)

    async def hold_async(self, what: object, size: int) -> None:
        """As `hold`, in a thread if room must be made; raises what it does."""
        if not self.try_hold(what, size):
            await run_in_threadpool(self.hold, what, size)

    @contextmanager
    def reserved(self, size: int) -> Iterator[None]:
        """Reserve room for a temporary file; raises what `hold` does."""
        what = object()
        self.hold(what, size)
        try:
            yield
        finally:
            self.release(what)

    def transfer(self, what: object, to: object) -> None:
        """Count for `to` what has been counted for a part of it."""
        with self._lock:
            part = self.of(what)
            self._set(what, 0)
            self._set(to, self.of(to) + part)

    def release(self, what: object) -> None:
        """Forget a thing, which is no longer there."""
        self.count(what, 0)

    def _set(self, what: object, size: int) -> None:
        self._total += size - self._held.pop(what, 0)
        if size:
            self._held[what] = size
