"""The process that learns a style: `python -m nst_rt.train.learning_process`.

It reads `nst_rt.learning.messages` from standard input, images among them, and writes its own to
standard output. It ends when its input does, so that it never outlives who started it.
"""

import os
import queue
import signal
import sys
import threading
import time
from typing import IO

from nst_rt.errors import StyleTransferError
from nst_rt.learning.messages import Begin, Command, Content, Failure, Update, received, send
from nst_rt.train.learning import Learner

# Seconds between two times at which the style is judged: soon at first, to show something.
_FIRST, _LONGEST, _GROWTH = 3.0, 10.0, 1.3


def main() -> None:
    """Learn until told to finish."""
    # Ctrl-C of a terminal reaches all processes of its group; who started this one decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What libraries print must not get between the messages.
    output = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    messages: queue.SimpleQueue[object] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(messages,), daemon=True).start()
    begin = messages.get()
    if not isinstance(begin, Begin):
        return
    try:
        _Process(begin, messages, output).run()
    except BrokenPipeError:
        return
    except StyleTransferError as error:
        send(Failure(str(error)), output)
    except MemoryError:
        send(Failure("the memory does not suffice to learn a style"), output)


def _read(messages: "queue.SimpleQueue[object]") -> None:
    try:
        for message in received(sys.stdin.buffer):
            messages.put(message)
    finally:
        os._exit(0)  # at once, even in the middle of a step: nobody is there any more


class _Process:
    """The learner, and what it was told."""

    def __init__(
        self, begin: Begin, messages: "queue.SimpleQueue[object]", output: IO[bytes]
    ) -> None:
        self._begin, self._messages, self._output = begin, messages, output
        self._learner = Learner(begin.request, begin.known, begin.device)
        self._paused = self._finishing = self._waiting = False
        self._interval = _FIRST
        self._judged_at = time.monotonic()

    def run(self) -> None:
        """Learn until told to finish."""
        learner = self._learner
        self._send(learner.model())
        while not self._finishing:
            self._obey(block=self._paused or self._waiting)
            if self._paused or self._finishing:
                continue
            self._waiting = not learner.step()
            if self._waiting:
                self._send(useless=learner.images.seen)
                continue
            now = time.monotonic()
            if now - self._judged_at >= self._interval:
                self._report()
                self._interval = min(self._interval * _GROWTH, _LONGEST)
                self._judged_at = time.monotonic()
        learner.judge()
        figures = learner.figures()
        self._send(learner.model(figures), figures=figures, is_last=True)

    def _report(self) -> None:
        learner = self._learner
        is_better = learner.judge()
        settled = self._begin.settles and learner.is_settled
        self._send(
            learner.model() if is_better else None,
            preview=learner.preview() if is_better and self._begin.preview else None,
            is_settled=settled,
        )
        self._waiting = settled

    def _obey(self, *, block: bool) -> None:
        """Take all messages that are there; if `block`, wait for one."""
        while block or not self._messages.empty():
            block = False
            message = self._messages.get()
            if isinstance(message, Content):
                if self._learner.images.add(message.image, is_other=message.is_other):
                    self._learner.forget_judgement()
                self._waiting = False
            elif message is Command.PAUSE:
                self._paused = True
            elif message is Command.CONTINUE:
                self._paused = self._waiting = False
                self._learner.go_on()
            elif message is Command.RESET:
                self._learner.restart()
                self._interval = _FIRST
                self._waiting = False
                self._send(self._learner.model())
            elif message is Command.FINISH:
                self._finishing = True

    def _send(self, model: object = None, **facts: object) -> None:
        learner = self._learner
        update = Update(learner.crops, learner.seconds, learner.rate, model, **facts)  # type: ignore[arg-type]
        send(update, self._output)


if __name__ == "__main__":
    main()
