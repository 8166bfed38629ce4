"""How much of a kind one visitor may ask for at a time, and how slowly they may send it."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from nst_rt.errors import InputError, StyleTransferError

STALL_SECONDS = 30.0
_STALL_BYTES = 2**16  # that must arrive in this time: less than any connection that is of use


class TooManyError(InputError):
    """A visitor asks for more at a time than the studio accepts."""


class TooSlowError(StyleTransferError):
    """A visitor stopped sending, or sends too slowly to wait for."""


class InFlight:
    """Requests of one kind that are in flight. Used in the thread of the event loop only.

    Args:
        kind: plural, for the message.
        each: maximum number of each visitor.
        total: maximum number of all visitors: those without a token may be as many as they like.
    """

    def __init__(self, kind: str, *, each: int, total: int) -> None:
        self._kind = kind
        self._each = each
        self._total = total
        self._counts: Counter[str] = Counter()

    @contextmanager
    def one(self, visitor: str) -> Iterator[None]:
        """Count one more request; a TooManyError over a limit."""
        if self._counts[visitor] >= self._each:
            raise TooManyError(
                f"{self._each} {self._kind} of yours are in progress: wait for one to end"
            )
        if self._counts.total() >= self._total:
            raise TooManyError(
                f"the studio is busy with {self._total} {self._kind}: try again later"
            )
        self._counts[visitor] += 1
        try:
            yield
        finally:
            self._counts[visitor] -= 1
            self._counts += Counter()  # forget visitors without any


async def steady(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The chunks of a body as they arrive.

    Raises:
        TooSlowError: less than 64 KiB arrived within `STALL_SECONDS`.
    """
    clock = asyncio.get_running_loop()
    due, arrived = clock.time() + STALL_SECONDS, 0
    while True:
        try:
            async with asyncio.timeout_at(due):
                chunk = await anext(chunks)
        except StopAsyncIteration:
            return
        except TimeoutError as error:
            raise TooSlowError("the upload stopped, or is too slow: try again") from error
        arrived += len(chunk)
        if arrived >= _STALL_BYTES:
            due, arrived = clock.time() + STALL_SECONDS, 0
        given = clock.time()
        yield chunk
        due += clock.time() - given  # the visitor is not to blame for a slow disk
