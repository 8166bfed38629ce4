"""A style that is learned while live frames are stylized in it."""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from typing import Literal

from nst_rt.errors import InputError
from nst_rt.images.io import Frame
from nst_rt.infer.blend import StyleSet
from nst_rt.infer.learning.content import with_photos
from nst_rt.infer.learning.learn import COMPLETE, Learning
from nst_rt.infer.learning.process import LearningError, LearningProcess
from nst_rt.learning.library import Library, summary
from nst_rt.learning.messages import Begin, Command, Update
from nst_rt.models.style_model import StyleModel

logger = logging.getLogger(__name__)

State = Literal["starting", "learning", "paused", "learned", "failed"]

_NICENESS = 10
_EVERY_SECONDS = 0.5  # between two frames to learn on
_KEEP_SECONDS = 10.0


class LiveLearning:
    """Learns a style on live frames, and gives a style set better weights whenever there are some.

    A style that is known already is not learned further, unless `minutes` asks for it, or `resume`.

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
        self.learning, self.name = learning, learning.request.name
        self.state: State = "starting"
        self.ready: Future[StyleModel] = Future()
        self.crops, self.rate, self.problem = 0, 0.0, ""
        self._styles, self._device = styles, device
        self._library = library or Library()
        self._clock = clock
        self._lock = threading.RLock()
        self._process: LearningProcess | None = None
        self._model: StyleModel | None = None
        self._shown_at = self._kept_at = float("-inf")
        self._began_at: float | None = None
        known = learning.known(self._library)
        if known is not None:
            self.crops = known.training["crops"]
            self._take(known)
        if learning.needs_more(known):
            self._begin(known)
        else:
            self.state = "learned"

    @property
    def is_learning(self) -> bool:
        """Whether it takes time of the machine."""
        return self.state in ("starting", "learning")

    def offer(self, frame: Frame) -> None:
        """Show a live frame, shape (H, W, 3), uint8 BGR; some of them are learned on."""
        process, now = self._process, self._clock()
        if process is None or self.state != "learning" or now - self._shown_at < _EVERY_SECONDS:
            return
        self._shown_at = now
        process.show(frame)

    def pause(self) -> None:
        """Leave the machine to the frames."""
        with self._lock:
            if self.state == "learning" and self._process is not None:
                self._process.tell(Command.PAUSE)
                self.state = "paused"

    def resume(self) -> None:
        """Go on after a pause; or learn further what was learned."""
        with self._lock:
            if self.state == "paused" and self._process is not None:
                self._process.tell(Command.CONTINUE)
                self.state = "learning"
            elif self.state == "learned":
                self._begin(self._model)

    def reset(self) -> None:
        """Begin again from the style that it started from."""
        with self._lock:
            self._end()
            self._begin(None)

    def keep(self) -> None:
        """End the learning, and keep the style as it is now."""
        with self._lock:
            self._end()
            if self._model is not None:
                self._keep(self._model, complete=True)
                self.state = "learned"

    def close(self) -> None:
        """End the learning; what was learned is kept, with its figures."""
        with self._lock:
            process = self._process
            if process is None:
                return
            update = process.finish() if self.state in ("learning", "paused") else None
            self._end()
            if update is not None and update.model is not None and update.crops:
                self._model = update.model
            if self._model is not None and self.crops:
                # Not complete: the next session goes on.
                self._keep(self._model, complete=False)
                logger.info("learned %s: %s", self.name, summary(self._model))

    def __str__(self) -> str:
        """The state in a few words, for a status line."""
        if self.state == "failed":
            return f"learning failed: {self.problem}"
        if self.state == "starting":
            return "learning starts"
        words = f"{self.state} from {self.crops} crops" if self.crops else self.state
        return words + (f", {self.rate:.1f}/s" if self.state == "learning" and self.rate else "")

    def _begin(self, known: StyleModel | None) -> None:
        self.state = "learning" if self._model is not None else "starting"
        self._began_at = None
        begin = Begin(
            self.learning.request,
            known,
            self._device,
            settles=self.learning.minutes is None,
            niceness=_NICENESS,
        )
        process = self._process = LearningProcess(
            begin,
            lambda update: self._on_update(process, update),
            lambda failure: self._on_failure(process, failure),
        )
        threading.Thread(target=self._show_photos, args=(process,), daemon=True).start()

    def _show_photos(self, process: LearningProcess) -> None:
        """Photos beside the frames; packaged ones, too, as there are few frames at first."""
        with suppress(InputError):  # a collection that can no longer be read
            for frame in with_photos((), self.learning.photos):
                process.show(frame)

    def _on_update(self, process: LearningProcess, update: Update) -> None:
        if process is not self._process:  # it was ended
            return
        self.crops, self.rate = update.crops, update.rate
        if update.model is not None:
            self._take(update.model)
        if update.is_last:
            return
        if self.state == "starting":
            self.state = "learning"
        now = self._clock()
        self._began_at = now if self._began_at is None else self._began_at
        if update.model is not None and update.crops and now - self._kept_at >= _KEEP_SECONDS:
            self._kept_at = now
            self._keep(update.model, complete=False)
        limit = self.learning.minutes
        if update.is_settled or (limit and now - self._began_at >= 60 * limit):
            # Not in this thread, which reads the answers.
            threading.Thread(target=self._complete, args=(process,), daemon=True).start()

    def _complete(self, process: LearningProcess) -> None:
        with self._lock:
            if process is not self._process or self.state != "learning":
                return
            process.finish()
            self._end()
            if self._model is not None:
                self._keep(self._model, complete=True)
                logger.info("learned %s: %s", self.name, summary(self._model))
            self.state = "learned"

    def _take(self, model: StyleModel) -> None:
        if self._model is None:
            self.name = self._styles.add(model)[model.style_names[0]]
        else:
            self._styles.replace(self.name, model)
        self._model = model
        if not self.ready.done():
            self.ready.set_result(model)

    def _keep(self, model: StyleModel, *, complete: bool) -> None:
        model = replace(model, training={**model.training, COMPLETE: complete})
        self._library.keep(self.learning.request.key, model)
        if complete and self.learning.save_style is not None:
            model.save(self.learning.save_style, overwrite=True)

    def _on_failure(self, process: LearningProcess, failure: LearningError) -> None:
        if process is not self._process:  # it was ended
            return
        self.problem, self.state = str(failure), "failed"
        if not self.ready.done():
            self.ready.set_exception(failure)

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.close()
