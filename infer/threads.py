"""Pipeline stages in threads, so that reading, stylizing and writing run at the same time.

An error in a stage is raised where its items are consumed. Closing a stage (`contextlib.closing`)
ends its thread, even one that is waiting for another stage. `concurrent.futures` has neither
bounded queues nor a way to end a thread that waits for one.
"""

import contextlib
import queue
import threading
from collections.abc import Generator, Iterable
from typing import Any, Generic, TypeVar

T = TypeVar("T")
PATIENCE = 1.0  # seconds to wait for a live source to end
GLANCE = 0.2  # seconds between two checks of a waiting stage whether it should end
_thread = threading.local()  # `stage`: the stage that runs in this thread


def in_background(
    items: Iterable[T], *, depth: int = 4, patience: float | None = None
) -> Generator[T, None, None]:
    """Iterate over `items` in a thread, in order and without loss.

    Args:
        items: what to iterate over; a slow consumer blocks it.
        depth: maximum number of items ahead of the consumer.
        patience: seconds that closing waits for the thread, for a source that may hang, such as a
            pipe; None waits as long as it takes. A thread left behind ends by itself later, or with
            the program.
    """
    return _consume(_Stage(items, depth, patience=patience))


def polled(
    items: Iterable[T], *, seconds: float, depth: int = 1, drop: bool = False
) -> Generator[T | None, None, None]:
    """`in_background` that yields None whenever there was no item for some time.

    For a consumer that has other things to do in the meantime, such as handling keys.

    Args:
        items: what to iterate over.
        seconds: time to wait for an item.
        depth: maximum number of items ahead of the consumer.
        drop: yield only the newest item, and drop those that the consumer was too slow for, so that
            its latency never grows.
    """
    # A source whose items may be dropped is live, and may hang.
    return _consume(_Stage(items, depth, drop=drop, patience=PATIENCE if drop else None), seconds)


def _consume(stage: "_Stage[T]", seconds: float | None = None) -> Generator[Any, None, None]:
    stage.thread.start()
    try:
        while (item := stage.get(seconds)) is not stage.end:
            yield item
    finally:
        stage.stop()
    if stage.error:
        raise stage.error


class _Stage(Generic[T]):
    """A thread that moves items into a bounded queue until they end or it is stopped."""

    def __init__(
        self, items: Iterable[T], depth: int, *, drop: bool = False, patience: float | None = None
    ) -> None:
        self.end = object()
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self._items = iter(items)
        self._drop, self._patience = drop, patience
        self._queue: queue.Queue[T | object] = queue.Queue(depth)
        self._stopped = threading.Event()

    def get(self, seconds: float | None) -> T | object | None:
        """The next item; None after `seconds` without one; `end` after the last one."""
        consumer: _Stage[Any] | None = getattr(_thread, "stage", None)
        if consumer is None or seconds is not None:
            try:
                return self._queue.get(timeout=seconds)
            except queue.Empty:
                return None
        while not consumer._stopped.is_set():
            with contextlib.suppress(queue.Empty):
                return self._queue.get(timeout=GLANCE)
        return self.end

    def stop(self) -> None:
        self._stopped.set()
        self._empty()  # wakes the thread if it waits for room
        self.thread.join(self._patience)

    def _run(self) -> None:
        _thread.stage = self
        try:
            for item in self._items:
                if self._drop:
                    self._empty()
                self._queue.put(item)
                if self._stopped.is_set():
                    break
        except BaseException as error:  # raised again in the consumer's thread
            self.error = error
        finally:
            # A generator must be closed by the thread that ran it.
            if close := getattr(self._items, "close", None):
                close()
            if not self._stopped.is_set():
                self._queue.put(self.end)

    def _empty(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._queue.get_nowait()
