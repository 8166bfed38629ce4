"""Ctrl-C, taken notice of where work can stop."""

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

logger = logging.getLogger(__name__)


@contextmanager
def interrupts_deferred(notice: str = "") -> Iterator[Callable[[], bool]]:
    """Have Ctrl-C set what is yielded, instead of raising a KeyboardInterrupt wherever it may be.

    Raised anywhere, it would leave files half written, and it is lost where Python lets no error
    through, as in finalizers. A second Ctrl-C does raise it at once.

    Nothing changes in other threads than the main one, nor where the program has a handler of its
    own or ignores Ctrl-C.

    Args:
        notice: what is logged at the first Ctrl-C.

    Yields:
        Whether Ctrl-C was pressed.
    """
    before = signal.getsignal(signal.SIGINT)
    is_main = threading.current_thread() is threading.main_thread()  # others may not handle signals
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
