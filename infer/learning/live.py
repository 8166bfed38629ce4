"""A style that is learned while live frames are stylized in it."""

import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

from nst_rt.errors import InputError, StyleTransferError
from nst_rt.images.io import Frame
from nst_rt.infer.blend import StyleSet
from nst_rt.infer.learning.content import other_photos
from nst_rt.infer.learning.learn import COMPLETE, KEEP_SECONDS, Learning, torch_name
from nst_rt.infer.learning.process import LearningError, LearningProcess
from nst_rt.learning.library import Library, summary
from nst_rt.learning.messages import Begin, Command, Update
from nst_rt.models.style_model import StyleModel

logger = logging.getLogger(__name__)

State = Literal["starting", "learning", "paused", "learned", "failed"]

_NICENESS = 10
_EVERY_SECONDS = 0.5  # between two frames to learn on


class LiveLearning:
    """Learns a style on live frames, and gives a style set better weights whenever there are some.

    A style that is known already is not learned further, unless `minutes` asks for it, or `resume`.
    Without `minutes` it is learned until it no longer gets better, for at most 5 minutes.

    Any thread may call the methods. None of them waits for the process that learns, but for
    `close`.

    Args:
        learning: what to learn, and how.
        styles: set that gets the style.
        device: PyTorch device of the learning.
        library: where styles are kept.
        clock: gives the time in seconds.

    Attributes:
        name: of the style in the set.
        state: `starting` until the style can be used; `learning`; `paused`; `learned` when it is
            complete; `failed`.
        ready: done when frames can be stylized in the style; raises why that failed.
        crops, rate: number of crops so far, and crops per second lately.
        problem: why it failed.
    """

    def __init__(
        self,
        learning: Learning,
        styles: StyleSet,
        *,
        device: str | None = None,
        library: Library | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.learning = learning
        self.name = styles.free_name(learning.request.name)
        self.state: State = "starting"
        self.ready: Future[StyleModel] = Future()
        self.crops, self.rate, self.problem = 0, 0.0, ""
        self._styles, self._device = styles, torch_name(device)
        self._library = library or Library()
        self._clock = clock
        # Held for moments only, and never while the process is waited for: the thread that reads
        # the updates takes it, too.
        self._lock = threading.RLock()
        self._writing = threading.Lock()  # files, in the order of what they hold
        self._feed: _Feed | None = None
        self._number = 0  # of the process; the updates of those before are ignored
        self._ending: tuple[threading.Thread, _Feed] | None = None  # measures what was learned
        self._model: StyleModel | None = None
        self._is_complete = self._is_closed = self._begins_again = False
        self._shown_at = self._written_at = float("-inf")
        self._written = 0  # crops of the style in the library
        self._since = float("inf")  # seconds of learning before this process
        known = learning.known(self._library)
        if known is not None:
            self.crops = self._written = known.training["crops"]
            self._is_complete = bool(known.training.get(COMPLETE))
            self._take(known)
        if learning.needs_more(known):
            with self._lock:
                self._begin(known)
        else:
            self.state = "learned"

    @property
    def is_learning(self) -> bool:
        """Whether it takes time of the machine."""
        return self.state in ("starting", "learning")

    def offer(self, frame: Frame) -> None:
        """Show a live frame, shape (H, W, 3), uint8 BGR; some of them are learned on."""
        feed, now = self._feed, self._clock()
        if feed is None or not self.is_learning or now - self._shown_at < _EVERY_SECONDS:
            return
        self._shown_at = now
        feed.offer(frame)

    def pause(self) -> None:
        """Leave the machine to the frames."""
        with self._lock:
            if self.state == "learning" and self._feed is not None:
                self._feed.tell(Command.PAUSE)
                self.state = "paused"

    def resume(self) -> None:
        """Go on after a pause or a failure; or learn further what was learned."""
        with self._lock:
            if self.state == "paused" and self._feed is not None:
                self._feed.tell(Command.CONTINUE)
                self.state = "learning"
            elif self.state in ("learned", "failed") and self._model is not None:
                self._begin(self._model)

    def reset(self) -> None:
        """Begin again from the style that it started from."""
        with self._lock:
            if self.state == "starting" or self._model is None or self._is_closed:
                return
            self._is_complete = False
            if self._feed is None:
                self._begin(None)
            else:
                self._begins_again = True
                self._feed.tell(Command.RESET)
                if self.state == "paused":
                    self._feed.tell(Command.CONTINUE)
                self.state = "learning"

    def keep(self) -> None:
        """End the learning, and keep the style as it is now; its figures follow."""
        with self._lock:
            feed = self._feed
            if feed is None or self._model is None:
                return
            self._is_complete = True
            number = self._detach("learned")
            thread = threading.Thread(target=self._end, args=(feed, number), daemon=True)
            self._ending = thread, feed
            thread.start()

    def close(self) -> None:
        """End the learning; what was learned is kept, with its figures.

        Raises:
            StyleTransferError, OSError: `save_style` cannot be written.
        """
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            ending = self._ending
            feed, number = self._feed, self._number
            if feed is not None:  # else one may be measured still, whose figures are wanted
                number = self._detach("learned")
            if not self.ready.done():
                self._fail(LearningError("it was ended before it began"))
        try:
            if feed is not None:
                self._end(feed, number)
            elif ending is not None:
                ending[0].join()
        except KeyboardInterrupt:  # again: the figures are not waited for
            logger.info("%s is kept without its figures", self.name)
        if self._model is not None and self._model.training["crops"]:
            self.learning.save(self._model)

    def __str__(self) -> str:
        """The state in a few words, for a status line."""
        if self.state == "failed":
            return f"learning failed: {self.problem}"
        if self.state == "starting":
            return "learning starts"
        words = f"{self.state} from {self.crops} crops" if self.crops else self.state
        return words + (f", {self.rate:.1f}/s" if self.state == "learning" and self.rate else "")

    def _begin(self, known: StyleModel | None) -> None:
        """Start a process; `_lock` is held."""
        if self._is_closed:
            return
        self.state = "learning" if self._model is not None else "starting"
        self.problem, self.rate, self._since = "", 0.0, float("inf")
        self._begins_again = known is None
        self._number += 1
        if self._ending is not None:  # nobody wants its figures any more
            self._ending[1].process.kill()
        begin = Begin(
            self.learning.request,
            known,
            self._device,
            settles=self.learning.minutes is None,
        )
        updated = partial(self._on_update, self._number)
        failed = partial(self._on_failure, self._number)
        try:
            process = LearningProcess(begin, updated, failed)
        except OSError as error:  # too many processes, or no memory
            self._fail(LearningError(f"a process cannot be started ({error.strerror or error})"))
            return
        if self._model is not None:  # else there are no frames yet that it would delay
            process.lower(_NICENESS)
        self._feed = _Feed(process, self.learning.photos)

    def _detach(self, state: State) -> int:
        """Ignore the updates of the process from now on; the next number. `_lock` is held."""
        self._feed, self.state = None, state
        self._number += 1
        return self._number

    def _end(self, feed: "_Feed", number: int) -> None:
        """Let a process that was detached measure what it learned, end it, and keep the style."""
        with self._lock:
            model = self._model
        if model is not None:
            self._write(model, number)  # at once: measuring takes seconds
        try:
            has_begun = feed.process.last is not None
            update = feed.process.finish() if has_begun else None
        finally:
            feed.close()
        if not has_begun:
            return
        with self._lock:
            if number != self._number:  # another process has begun
                return
            if update is not None and update.model is not None and self._is_wanted(update):
                self.crops = update.crops
                self._take(update.model)
            model = self._model
        if model is None or not model.training["crops"]:
            return
        self._write(model, number)
        logger.info("learned %s: %s", self.name, summary(model))
        if self._is_complete:
            self._save(model)

    def _on_update(self, number: int, update: Update) -> None:
        with self._lock:
            if number != self._number or not self._is_wanted(update):
                return
            self.crops, self.rate = update.crops, update.rate
            if update.model is not None:
                self._take(update.model)
            if self.state == "starting":
                self.state = "learning"
                if self._feed is not None:
                    self._feed.process.lower(_NICENESS)
            self._since = min(self._since, update.seconds)
            is_over = update.is_settled or update.seconds - self._since >= self.learning.limit
            if is_over and self.state == "learning":
                self.keep()
                return
            now, model = self._clock(), update.model
            is_due = model is not None and self._is_new(model)
            if not is_due or now - self._written_at < KEEP_SECONDS:
                return
            self._written_at = now
        if model is not None:
            self._write(model, number)

    def _is_wanted(self, update: Update) -> bool:
        """Whether it is an update of this beginning, which has no crops, or comes after that."""
        if self._begins_again and update.crops == 0:
            self._begins_again, self._written = False, 0
        return not self._begins_again

    def _is_new(self, model: StyleModel) -> bool:
        """Whether a style has learned more than the one in the library."""
        return model.training["crops"] not in (0, self._written)

    def _take(self, model: StyleModel) -> None:
        if self._model is None:
            self.name = self._styles.add(model)[model.style_names[0]]
        else:
            self._styles.replace(self.name, model)
        self._model = model
        if not self.ready.done():
            self.ready.set_result(model)

    def _write(self, model: StyleModel, number: int) -> None:
        """Keep a style in the library, unless another process has begun meanwhile."""
        crops = model.training["crops"]
        with self._writing:
            if number != self._number or not crops:
                return
            model = replace(model, training={**model.training, COMPLETE: self._is_complete})
            if self._library.keep(self.learning.request.key, model) is not None:
                self._written = crops

    def _save(self, model: StyleModel) -> None:
        try:
            self.learning.save(model)
        except (StyleTransferError, OSError) as error:  # raised by `close`, if it still holds
            logger.warning("%s: cannot be written (%s)", self.learning.save_style, error)

    def _on_failure(self, number: int, failure: LearningError) -> None:
        with self._lock:
            if number != self._number:  # it was ended
                return
            feed, model = self._feed, self._model
            number = self._detach("failed")
            self._fail(failure)
        if model is not None and self._is_new(model):
            self._write(model, number)
        if feed is not None:  # not in this thread, which reads its answers
            threading.Thread(target=feed.close, daemon=True).start()

    def _fail(self, failure: LearningError) -> None:
        self.problem, self.state = str(failure), "failed"
        if not self.ready.done():
            self.ready.set_exception(failure)
        else:
            logger.warning("%s: %s", self.name, self)


class _Feed:
    """A process that learns, and the threads that send to it.

    Nobody else waits until it listens, which takes seconds while it starts.

    Args:
        process: the process.
        photos: what it is shown beside the frames, see `other_photos`.
    """

    def __init__(self, process: LearningProcess, photos: Path | str | None) -> None:
        self.process = process
        self._photos = photos
        self._waiting: queue.SimpleQueue[Command | Frame | None] = queue.SimpleQueue()
        self._ended = threading.Event()
        for work in (self._send, self._show_photos):
            threading.Thread(target=work, name="learning", daemon=True).start()

    def offer(self, frame: Frame) -> None:
        """Show a frame, unless another one waits still."""
        if self._waiting.empty():
            self._waiting.put(frame)

    def tell(self, command: Command) -> None:
        """Tell the process something as soon as it listens."""
        self._waiting.put(command)

    def close(self) -> None:
        """End the process at once."""
        self._ended.set()
        self._waiting.put(None)
        self.process.close()

    def _send(self) -> None:
        while (message := self._waiting.get()) is not None and not self._ended.is_set():
            if isinstance(message, Command):
                self.process.tell(message)
            else:
                self.process.show(message)

    def _show_photos(self) -> None:
        with suppress(InputError):  # a collection that can no longer be read
            for frame in other_photos(self._photos):
                if self._ended.is_set():
                    return
                self.process.show(frame, is_other=True)
