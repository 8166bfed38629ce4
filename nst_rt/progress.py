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


# SIGTERM is sent by service managers and `timeout`, SIGHUP when a terminal is closed or a remote
# session breaks off; not every platform has SIGHUP.
_TERMINATIONS = (signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))


@contextmanager
def signals_as_interrupt() -> Iterator[None]:
    """Make SIGTERM and SIGHUP end the work as Ctrl-C does.

    A signal that is ignored, as SIGHUP is under `nohup`, stays ignored. Has no effect in threads
    other than the main thread, which alone may set handlers.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _TERMINATIONS}
    taken = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
    for number in taken:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, before[number])


@contextmanager
def interrupts_deferred(notice: str = "") -> Iterator[Callable[[], bool]]:
    """Make Ctrl-C set a flag instead of raising a KeyboardInterrupt anywhere.

    A KeyboardInterrupt anywhere would leave files half written, and Python loses it in places that
    let no exception through, such as finalizers. A second Ctrl-C raises it at once.

    The same holds for SIGTERM and SIGHUP inside `signals_as_interrupt`; but these are often sent
    twice, to the process and to its group, so that the second one raises nothing.

    Has no effect in threads other than the main thread, nor on signals that the program ignores or
    has its own handler for.

    Args:
        notice: message to log at the first signal.

    Yields:
        A function that returns whether there was a signal.
    """
    deferred = [
        number
        for number in (signal.SIGINT, *_TERMINATIONS)
        if signal.getsignal(number) is signal.default_int_handler
    ]
    is_main = threading.current_thread() is threading.main_thread()  # others cannot set handlers
    if not is_main or not deferred:
        yield lambda: False
        return
    requested = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal requested
        if requested:
            if number == signal.SIGINT:
                requested = False
                raise KeyboardInterrupt
            return
        requested = True
        if notice:
            logger.warning(notice)

    for number in deferred:
        signal.signal(number, handle)
    try:
        yield lambda: requested
    finally:
        for number in deferred:
            signal.signal(number, signal.default_int_handler)
