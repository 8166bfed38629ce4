"""Worker processes that decode visitors' files, so that a crash costs one request.

Decoders are written in C: a damaged file may end their process, or keep it busy forever.
"""

import logging
import os
import secrets
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import TimeoutError
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar, cast

from pebble import ProcessExpired, ProcessPool

from nst_rt.errors import InputError
from nst_rt.infer.web.decoding.processes import CONTEXT, END_SIGNALS, crashed
from nst_rt.infer.web.decoding.worker import Outcome, begin_small, perform, unpack
from nst_rt.infer.web.limits.storage import BLOCK, Storage, on_disk
from nst_rt.infer.web.settings import Limits

logger = logging.getLogger(__name__)

T = TypeVar("T")

WORKERS = 4
SECONDS = 60.0  # that a task may take, unless it says otherwise
_TASKS = 200  # after which a worker is replaced, with whatever leaked
# Bytes that decoding may take: for a pixel (60 in images; FFmpeg keeps tens of frames), and anyway.
_PER_PIXEL, _ANYWAY = 128, 512 * 2**20
_POLL_SECONDS = 0.5
_TRIES = 3  # with workers that ended before they began, or with the studio


class WorkerError(Exception):
    """A task failed by a bug; the message is the traceback in the worker."""


class Decoders:
    """Processes that run one task at a time each: functions that decode a visitor's file.

    A task that crashes, takes too long or needs too much memory ends with its process, which is
    replaced; the others go on. Processes start when they are needed and end with the studio, even
    if that is killed (on Linux).

    Args:
        folder: existing folder for large results on their way from a worker.
        limits: the number of pixels decides how much memory a task may use (on Linux).
        workers: maximum number of processes.
        seconds: duration of a task after which it is refused, by default.
        tasks: number of tasks after which a process is replaced; 0 for never.
        storage: counts the bytes of all files of the studio; without one they are not limited.
    """

    def __init__(
        self,
        folder: Path,
        limits: Limits,
        *,
        workers: int = WORKERS,
        seconds: float = SECONDS,
        tasks: int = _TASKS,
        storage: Storage | None = None,
    ) -> None:
        self._folder = folder
        self._storage = storage or Storage(sys.maxsize)
        self._memory = _ANYWAY + round(_PER_PIXEL * limits.pixels)
        self._seconds = seconds
        self._tasks = tasks
        self._changed = threading.Condition()
        self._idle: list[_Process] = []
        self._workers, self._started = workers, 0
        self._is_closed = False

    def run(
        self,
        name: object,
        task: Callable[[], T],
        *,
        seconds: float | None = None,
        writes: int = 0,
    ) -> T:
        """Run a task in a worker and wait for its result; any thread may call it.

        Args:
            name: of the file, for errors.
            task: `partial` of a function of a module, with arguments that can be pickled.
            seconds: duration after which it is refused.
            writes: maximum number of bytes of the arrays in the result, which pass through a
                temporary file. Room is held for it while the task runs, and a task that writes a
                larger file is refused (on Linux). 0 if there are no arrays: no limit.

        Raises:
            InputError: the decoder crashed, took too long, or needed too much memory or too large a
                file.
            TooLargeError: there is no room for the file.
            StyleTransferError: the task raised it.
            WorkerError: the task raised any other error.
        """
        seconds = self._seconds if seconds is None else seconds
        # Held before there is a process: making room takes a while.
        with (
            self._storage.reserved(on_disk(writes) + BLOCK if writes else 0),
            self._process() as process,
        ):
            outcome, problem = self._outcome(process, task, seconds, writes)
            if outcome is not None and outcome.packed is not None:
                return cast(T, unpack(outcome, process.file))
        if outcome is not None and outcome.refusal is not None:
            raise outcome.refusal
        if outcome is not None and outcome.bug:
            raise WorkerError(outcome.bug)
        refusal = f"{name}: cannot be decoded: the decoder {problem}"
        logger.warning(refusal)
        raise InputError(refusal)

    def warm(self) -> None:
        """Start a process, so that the first file does not wait for the second that this takes."""
        with suppress(InputError):  # closed already
            self.run("nothing", os.getpid)

    def close(self) -> None:
        """End all processes; tasks that are running are refused."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: len(self._idle) == self._started)
        for process in self._idle:
            process.end()

    def _outcome(
        self, process: "_Process", task: Callable[[], object], seconds: float, writes: int
    ) -> tuple[Outcome | None, str]:
        """What a task led to, or else in words what the decoder did."""
        for _ in range(_TRIES):
            try:
                outcome = self._waited_for(process, task, seconds, writes)
                return outcome, f"needed {outcome.lacks}" if outcome.lacks else ""
            except TimeoutError:
                return None, f"took longer than {seconds:g} s"
            except ProcessExpired as error:
                if -error.exitcode not in END_SIGNALS:
                    return None, crashed(error.exitcode)
            except (BrokenProcessPool, RuntimeError):  # it ended before the task began
                if self._is_closed:
                    break
                process.restart()
        return None, "crashed"

    def _waited_for(
        self, process: "_Process", task: Callable[[], object], seconds: float, writes: int
    ) -> Outcome:
        given = (task, process.file, writes)
        future = process.pool.schedule(perform, args=given, timeout=seconds)
        while True:
            try:
                outcome: Outcome = future.result(_POLL_SECONDS)
                return outcome
            except TimeoutError:
                if future.done():  # by its own time limit, or just now
                    done: Outcome = future.result()
                    return done
                # A process that is still starting would be lost without what it is given.
                if self._is_closed and future.running():
                    raise InputError("the studio is closing") from None

    @contextmanager
    def _process(self) -> Iterator["_Process"]:
        """A process for one task, when one is free."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._idle or self._started < self._workers or self._is_closed
            )
            if self._is_closed:
                raise InputError("the studio is closing")
            if self._idle:
                process = self._idle.pop()
            else:
                process = _Process(self._folder, self._memory, self._tasks)
                self._started += 1
        try:
            yield process
        finally:
            process.file.unlink(missing_ok=True)
            with self._changed:
                self._idle.append(process)
                self._changed.notify_all()


class _Process:
    """A pool of one process: pools of several share locks, which a killed one may hold.

    Attributes:
        file: for the arrays of the result of its task.
    """

    def __init__(self, folder: Path, memory: int, tasks: int) -> None:
        self.file = folder / f"decoded-{secrets.token_hex(8)}"
        self._memory, self._tasks = memory, tasks
        self.pool = self._opened()

    def _opened(self) -> Any:  # its methods have no types
        return ProcessPool(
            1,
            max_tasks=self._tasks,
            initializer=begin_small,
            initargs=(self._memory,),
            context=CONTEXT,
        )

    def restart(self) -> None:
        self.end()
        self.pool = self._opened()

    def end(self) -> None:
        self.pool.stop()
        self.pool.join()
