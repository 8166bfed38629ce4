"""Long-running work: how it reports its progress, and how Ctrl-C stops it."""

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

logger = logging.getLogger(__name__)

stages = logging.getLogger("nst_rt.stages")
"""Its messages, of level DEBUG, name what takes seconds before progress is made, such as `loading
VGG19`; the command line shows them beside its bar."""

Progress = Callable[[float, float | None, str], None]
"""Called with the amount done, the total (None if unknown), and a note such as the current loss."""


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Make SIGTERM, as sent by service managers and `timeout`, end the work as Ctrl-C does.

    Has no effect in threads other than the main thread, which alone may set handlers.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def interrupts_deferred(notice: str = "") -> Iterator[Callable[[], bool]]:
    """Make Ctrl-C set a flag instead of raising a KeyboardInterrupt anywhere.

    A KeyboardInterrupt anywhere would leave files half written, and Python loses it in places that
    let no exception through, such as finalizers. A second Ctrl-C raises it at once.

    Has no effect in threads other than the main thread, nor if the program has its own handler or
    ignores Ctrl-C.

    Args:
        notice: message to log at the first Ctrl-C.

    Yields:
        A function that returns whether Ctrl-C was pressed.
    """
    before = signal.getsignal(signal.SIGINT)
    is_main = threading.current_thread() is threading.main_thread()  # others cannot set handlers
    if not is_main or before is not signal.default_int_handler:
        yield lambda: False
        return
    requested = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal requested
        if requested:
            requested = False
            raise KeyboardInterrupt
        requested = True
        if notice:
            logger.warning(notice)

    signal.signal(signal.SIGINT, handle)
    try:
        yield lambda: requested
    finally:
        signal.signal(signal.SIGINT, before)
