"""The process that learns a style, as seen from the one that stylizes."""

import logging
import os
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from nst_rt.errors import StyleTransferError
from nst_rt.images.convert import Frame
from nst_rt.infer.strokes import DEFAULT_FRACTION, STROKE, resized_frame
from nst_rt.learning.messages import Begin, Command, Content, Failure, Update, received, send

logger = logging.getLogger(__name__)

LONG_SIDE = round(STROKE / DEFAULT_FRACTION)  # pixels of images to learn on: the working size
_PATIENCE = 30.0  # seconds until a process that was told to finish is stopped
_EXIT_SECONDS = 5.0


class LearningError(StyleTransferError):
    """A style could not be learned."""


class LearningProcess:
    """A process that learns a style from the frames that it is shown.

    It runs with threads and memory of its own, so that frames are stylized meanwhile without a
    stall, and it ends with this process, however that ends.

    Args:
        begin: what to learn, and how.
        on_update: called with each update, in a thread.
        on_failure: called in that thread when it can no longer go on.

    Attributes:
        last: the last update; None before the first.
        failure: why it could not go on; None as long as it can.
    """

    def __init__(
        self,
        begin: Begin,
        on_update: Callable[[Update], None] | None = None,
        on_failure: Callable[[LearningError], None] | None = None,
    ) -> None:
        self.last: Update | None = None
        self.failure: LearningError | None = None
        self._on_update, self._on_failure = on_update, on_failure
        self._waiting: deque[Update] = deque()
        self._changed = threading.Condition()
        self._sending = threading.Lock()
        self._told = tempfile.TemporaryFile()  # noqa: SIM115 - standard error, closed by `close`
        # Waiting threads must not take the cores from the ones that stylize.
        environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
        # -P: the current folder, which may hold anything, is no place to import from.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "nst_rt.train.learning_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._told,
            env=environment,
            # Ctrl-C in a terminal and signals to the group are for this process to decide on.
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, name="learning", daemon=True)
        self._reader.start()
        # It reads once its libraries are loaded, seconds later. Whatever else is sent waits.
        self._sending.acquire()
        threading.Thread(target=self._introduce, args=(begin,), daemon=True).start()

    def show(self, frame: Frame, *, is_other: bool = False) -> None:
        """Give it a frame to learn on, shape (H, W, 3), uint8 BGR, of any size.

        Args:
            frame: the frame.
            is_other: see `nst_rt.train.learning.Images.add`.
        """
        height, width = frame.shape[:2]
        factor = min(LONG_SIDE / max(height, width), 1.0)
        size = max(round(height * factor), 1), max(round(width * factor), 1)
        small = resized_frame(frame, size)
        self._send(Content(np.ascontiguousarray(small[..., ::-1]), is_other))

    def lower(self, niceness: int) -> None:
        """Add to the niceness of all its threads, and so of those to come."""
        if not hasattr(os, "setpriority"):  # another system
            return
        pid, niceness = self._process.pid, os.getpriority(os.PRIO_PROCESS, 0) + niceness
        tasks = Path(f"/proc/{pid}/task")  # Linux has a niceness for each thread
        with suppress(OSError):  # it has ended, which `_read` notices
            threads = [int(task.name) for task in tasks.iterdir()] if tasks.is_dir() else [pid]
            for thread in threads:
                os.setpriority(os.PRIO_PROCESS, thread, niceness)

    def tell(self, command: Command) -> None:
        """Pause, continue, reset or finish it."""
        self._send(command)

    def wait(self, seconds: float) -> Update | None:
        """The next update within so many seconds; None if there is none.

        Without `on_update` only, which takes them all.

        Raises:
            LearningError: it could not go on.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self.failure is not None, seconds)
            if self._waiting:
                return self._waiting.popleft()
            if self.failure is not None:
                raise self.failure
            return None

    def finish(self, seconds: float | None = None) -> Update | None:
        """Let it measure and send what it has learned; None if it does not within 30 seconds.

        Args:
            seconds: another time to wait.
        """
        # In a thread, since one that is stuck takes no messages.
        threading.Thread(target=self.tell, args=(Command.FINISH,), daemon=True).start()
        with self._changed:
            self._changed.wait_for(
                lambda: self.failure is not None or (self.last is not None and self.last.is_last),
                _PATIENCE if seconds is None else seconds,
            )
            return self.last if self.last is not None and self.last.is_last else None

    def kill(self) -> None:
        """End it at once, without waiting for that; `close` is to follow."""
        # It has nothing to clean up. Closing its input instead would wait for whoever is writing.
        self._process.kill()

    def close(self) -> None:
        """End it at once."""
        self.kill()
        self._process.wait()
        with self._sending, suppress(OSError):
            if self._process.stdin:
                self._process.stdin.close()
        self._reader.join(_EXIT_SECONDS)
        if self._process.stdout and not self._reader.is_alive():
            self._process.stdout.close()
        self._told.close()

    def _introduce(self, begin: Begin) -> None:
        """Send the first message; `_sending` is held for it."""
        assert self._process.stdin is not None
        try:
            with suppress(OSError, ValueError):
                send(begin, self._process.stdin)
        finally:
            self._sending.release()

    def _send(self, message: object) -> None:
        assert self._process.stdin is not None
        with self._sending, suppress(OSError, ValueError):  # it has ended, which `_read` notices
            send(message, self._process.stdin)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for message in received(self._process.stdout):
            if isinstance(message, Failure):
                self._fail(message.reason)
                return
            with self._changed:
                self.last = message
                if self._on_update is None:
                    self._waiting.append(message)
                self._changed.notify_all()
            if self._on_update is not None:
                self._on_update(message)
        if self.last is None or not self.last.is_last:
            code = self._process.wait()
            self._fail(
                f"the process that learns the style has ended ({_reason(code, self._said())})"
            )

    def _fail(self, reason: str) -> None:
        failure = LearningError(reason)
        with self._changed:
            self.failure = failure
            self._changed.notify_all()
        if self._on_failure is not None:
            self._on_failure(failure)

    def _said(self) -> str:
        """The last line that it wrote to standard error."""
        with suppress(OSError, ValueError):
            self._told.seek(0)
            lines = self._told.read().decode(errors="replace").strip().splitlines()
            return lines[-1] if lines else ""
        return ""


def _reason(code: int, said: str) -> str:
    return said or (f"signal {-code}" if code < 0 else f"exit code {code}")
