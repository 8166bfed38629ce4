"""Stages in threads: what keeps reading, painting and writing busy at the same time.

An error in a stage is raised where its items are consumed; closing a stage (`contextlib.closing`)
ends its thread, also one that waits for another stage.
"""

import contextlib
import queue
import threading
from collections.abc import Generator, Iterable
from typing import Any, Generic, TypeVar

T = TypeVar("T")
PATIENCE = 1.0  # seconds that a live source may take to notice that it should end
GLANCE = 0.2  # seconds between two looks of a stage that waits whether it should end
_thread = threading.local()  # `stage`: whose thread it is


def in_background(
    items: Iterable[T], *, depth: int = 4, patience: float | None = None
) -> Generator[T, None, None]:
    """Iterate over `items` in a thread of their own, at most `depth` items ahead.

    Every item comes through, in order; a slow consumer holds the thread back.

    Args:
        items: what to iterate over.
        depth: items ahead.
        patience: seconds that closing waits for the thread; for a source that may hang, such as a
            pipe. Such a thread ends by itself later, or with the program.
    """
    return _consume(_Stage(items, depth, patience=patience))


def polled(
    items: Iterable[T], *, seconds: float, depth: int = 1, drop: bool = False
) -> Generator[T | None, None, None]:
    """`in_background`, giving None each time that nothing came for so long.

    For a consumer that has other things to do meanwhile, such as looking at keys.

    Args:
        items: what to iterate over.
        seconds: to wait for an item.
        depth: items ahead.
        drop: give the newest item only; what the consumer was too slow for is dropped, so that its
            latency never grows.
    """
    # What gives the newest item is live, and may hang.
    return _consume(_Stage(items, depth, drop=drop, patience=PATIENCE if drop else None), seconds)


def _consume(stage: "_Stage[T]", seconds: float | None = None) -> Generator[Any, None, None]:
    stage.start()
    try:
        while (item := stage.get(seconds)) is not stage.end:
            yield item
    finally:
        stage.stop()
    if stage.error:
        raise stage.error


class _Stage(Generic[T]):
    """A thread that moves items into a bounded queue until they or its consumer end."""

    def __init__(
        self, items: Iterable[T], depth: int, *, drop: bool = False, patience: float | None = None
    ) -> None:
        self.end = object()
        self.error: BaseException | None = None
        self._items = iter(items)
        self._drop, self._patience = drop, patience
        self._queue: queue.Queue[T | object] = queue.Queue(depth)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def get(self, seconds: float | None) -> T | object | None:
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
        self._empty()  # wakes a thread that waits for room
        self._thread.join(self._patience)

    def _run(self) -> None:
        _thread.stage = self
        try:
            for item in self._items:
                self._put(item)
                if self._stopped.is_set():
                    break
        except BaseException as error:  # raised again in the consumer's thread
            self.error = error
        finally:
            # A generator's clean-up belongs to the thread that ran it.
            close = getattr(self._items, "close", None)
            if close:
                close()
            if not self._stopped.is_set():
                self._queue.put(self.end)

    def _put(self, item: T) -> None:
        if self._drop:
            self._empty()
        self._queue.put(item)

    def _empty(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._queue.get_nowait()
