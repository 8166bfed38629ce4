"""How processes that decode visitors' files are started, and how they ended."""

import multiprocessing
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

# Service managers and terminals that close send these to all processes of the studio, which is then
# about to end them itself, in order. Not every platform has SIGHUP.
END_SIGNALS = (
    signal.SIGINT,
    signal.SIGTERM,
    *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []),
)

_hiding = threading.Lock()


@contextmanager
def _without_main() -> Iterator[None]:
    """Hide the main program, which a new process would otherwise import.

    A script that calls `serve` without asking for its `__name__` would serve again there.
    """
    with _hiding:
        main, sys.modules["__main__"] = sys.modules["__main__"], ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main


if sys.platform == "win32":
    _Context, _Started = multiprocessing.context.SpawnContext, multiprocessing.context.SpawnProcess
else:
    # Never forked from the server, whose threads may hold locks, but from a process that has
    # imported everything.
    _Context = multiprocessing.context.ForkServerContext
    _Started = multiprocessing.context.ForkServerProcess


class _WorkerProcess(_Started):
    def start(self) -> None:
        with _without_main():
            super().start()


class _WorkerContext(_Context):
    Process = _WorkerProcess


CONTEXT: Any = _WorkerContext()
CONTEXT.set_forkserver_preload(["nst_rt.infer.web.decoding.conversion"])


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let this process write no file of more than `size` bytes (on Linux); 0 for any size.

    Writing more is an OSError with the number EFBIG, since Python ignores the signal.
    """
    if sys.platform != "linux" or not size:
        yield
        return
    import resource

    usual, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    most = size if hard == resource.RLIM_INFINITY else min(size, hard)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (usual, hard))


def crashed(code: int | None) -> str:
    """How a process ended, by its exit code, which is negative after a signal."""
    try:
        return f"crashed ({signal.Signals(-(code or 0)).name})"
    except ValueError:
        return f"crashed (exit code {code})"
