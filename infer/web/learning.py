"""The style that visitors have the studio learn from a style image, one at a time."""

import logging
import re
import threading
import time
import unicodedata
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, count
from typing import Any, cast

import numpy as np

from nst_rt.errors import InputError
from nst_rt.images.io import Frame
from nst_rt.infer.blend import StyleSet
from nst_rt.infer.learning.learn import Learning
from nst_rt.infer.learning.live import LiveLearning
from nst_rt.infer.style_sheet import preview
from nst_rt.infer.web.limits.visitors import TooManyError
from nst_rt.infer.web.style_place import StylePlace, TitledLibrary
from nst_rt.infer.web.work.content import Content, Feeding
from nst_rt.learning.library import KEY, Library
from nst_rt.learning.request import STYLE_WEIGHT, Image, LearningRequest
from nst_rt.models.style_model import Style, StyleModel

logger = logging.getLogger(__name__)

ACTIONS = ("pause", "continue", "keep", "reset", "end")
_ATTENDED_SECONDS = 30.0  # after which a page that no longer asks is taken for closed
_CLOSE_SECONDS = 2.0
_END_SECONDS = 5.0
_MOST_STYLES = 12  # learned ones in the set, those of earlier studios included
_MAX_NAME = 40  # characters
_FAILED = "the style could not be learned"


@dataclass
class _Session:
    """A style that is being learned, or was last.

    Attributes:
        owner: id of the visitor.
        request: what is learned.
        style_sizes: see `LearningRequest.style_sizes`.
        place: the style in the studio's set.
        learning: the process.
        feeding: what is shown to it, beside the frames of the owner's camera.
        attended: time at which the owner's page asked for the state.
    """

    owner: str
    request: LearningRequest
    style_sizes: tuple[int, int, int]
    place: StylePlace
    learning: LiveLearning
    feeding: Feeding
    attended: float


class StudioLearning:
    """Learns one style at a time for the visitors of a studio, and adds it to the studio's styles.

    Only the visitor who has begun sees its state and can change it. The style is offered to
    everyone, as trained ones are, until there are too many newer ones; what was learned stays in
    the library, see `Library`.

    Args:
        styles: the styles of the studio.
        library: where styles are kept.
        device: PyTorch device of the learning.
        clock: gives the time in seconds.
    """

    def __init__(
        self,
        styles: StyleSet,
        *,
        library: Library | None = None,
        device: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._styles, self._device, self._clock = styles, device, clock
        self._library = library or Library()
        self._lock = threading.RLock()
        self._session: _Session | None = None
        self._ending: threading.Thread | None = None
        self._places: dict[str, StylePlace] = {}  # of each key, the oldest first

    @property
    def is_learning(self) -> bool:
        """Whether it takes time of the machine."""
        session = self._session
        return session is not None and session.learning.is_learning

    def offer_known(self) -> None:
        """Add the styles that were learned lately, by an earlier studio or elsewhere."""
        known: dict[str, tuple[str, StyleModel]] = {}
        for style in self._library:
            key = style.record.get(KEY)
            if isinstance(key, str):
                known.setdefault(style.name, (key, style.model))  # the last one of each name
            if len(known) == _MOST_STYLES:
                break
        places = {}
        for name, (key, model) in known.items():
            offered = Style(_free(_name(name), self._styles), model.styles[0].title or name)
            places[key] = place = StylePlace(self._styles, offered)
            place.put(model)
        self._places = dict(reversed(places.items()))

    def begin(
        self,
        owner: str,
        title: str,
        image: Image,
        *,
        style_size: int | None = None,
        style_weight: float = STYLE_WEIGHT,
        content: Mapping[str, Content] | None = None,
    ) -> None:
        """Learn a style; what was learned before is kept. What is being learned already goes on.

        Args:
            owner: id of the visitor.
            title: of the style image, such as the name of its file without the suffix.
            image: style image, shape (H, W, 3), uint8 RGB.
            style_size, style_weight: see `LearningRequest.of`.
            content: what to learn on, by id, beside frames of the owner's camera and packaged
                photos.

        Raises:
            InputError: an image or a number that cannot be used.
            TooManyError: a style of another visitor is being learned.
        """
        try:
            request = LearningRequest.of(image, style_size=style_size, style_weight=style_weight)
        except InputError as error:
            raise InputError(str(error).replace("`style_image`", title)) from error
        with self._lock:
            self._check_free(owner)
            if self._goes_on(owner, request):
                self.show(owner, content or {})
                return
            known = self._places.get(request.key)
            name = known.name if known else _free(_name(title), self._styles)
            style = Style(name, title, preview=preview(np.ascontiguousarray(image[..., ::-1])))
            self._start(owner, request, style, content or {})

    def restart(self, owner: str, *, style_size: int | None, style_weight: float) -> None:
        """Learn the same style image with other settings; the style keeps its name.

        Raises:
            InputError: a number out of range, or nothing was begun.
        """
        with self._lock:
            session = self._of(owner)
            if style_size is None:
                _, style_size, _ = session.style_sizes
            request = replace(session.request, style_size=style_size, style_weight=style_weight)
            if not self._goes_on(owner, request):
                self._start(owner, request, session.place.style, session.feeding.content)

    def show(self, owner: str, content: Mapping[str, Content]) -> None:
        """Learn on these images, too.

        Raises:
            InputError: nothing was begun.
        """
        with self._lock:
            self._of(owner).feeding.add(content)

    def offer(self, owner: str, frame: Frame) -> None:
        """Show a frame of a visitor's camera, shape (H, W, 3), uint8 BGR."""
        session = self._session
        if session is not None and session.owner == owner:
            session.learning.offer(frame)

    def act(self, owner: str, action: str) -> None:
        """One of `ACTIONS`: `keep` ends the learning, `end` also forgets that there was one.

        Raises:
            InputError: nothing was begun, or nothing was learned yet that could be kept.
        """
        with self._lock:
            session = self._of(owner)
            learning = session.learning
            if action == "keep" and learning.state == "starting":
                raise InputError("nothing is learned yet: wait for the first result")
            has_ended = learning.state in ("learned", "failed")
            is_new = action == "reset" or (action == "continue" and has_ended)
            match action:
                case "pause":
                    learning.pause()
                case "continue":
                    learning.resume()
                case "reset":
                    learning.reset()
                case "keep":
                    learning.keep()
                case "end":
                    self._end()
            if is_new:
                session.feeding.again()

    def describe(self, owner: str) -> dict[str, Any] | None:
        """The state for the owner's page; None if there is none."""
        session = self._session
        if session is None or session.owner != owner:
            return None
        session.attended = self._clock()
        learning, place = session.learning, session.place
        text, state = str(learning), learning.state  # in this order: it may fail in between
        return {
            "style": place.name if place.name in self._styles.names else None,
            "title": place.style.title,
            "preview": place.style.preview,
            "state": state,
            # What a process says about its end may name files of the machine; the log has it.
            "text": _FAILED if state == "failed" else text,
            "crops": learning.crops,
            "rate": round(learning.rate, 1),
            "figures": place.figures,
            "revision": place.revision,
            "style_size": session.request.style_size,
            "style_sizes": session.style_sizes,
            "style_weight": session.request.style_weight,
        }

    def close(self) -> None:
        """End the learning within two seconds; what was learned is kept."""
        with self._lock:
            self._end()
            if self._ending is not None:
                self._ending.join(_CLOSE_SECONDS)  # its process ends with this one

    def _goes_on(self, owner: str, request: LearningRequest) -> bool:
        """Whether this is what is being learned for the visitor already, or was last."""
        session = self._session
        if session is None or session.owner != owner or session.learning.state == "failed":
            return False
        return session.request.key == request.key

    def _start(
        self, owner: str, request: LearningRequest, style: Style, content: Mapping[str, Content]
    ) -> None:
        """Learn a style, which takes the place of another one of its name."""
        if self._ending is not None:
            self._ending.join(_END_SECONDS)  # else any number of processes could be ending
        self._end()
        request = replace(request, name=style.name)
        place = self._new_place(request.key, style)
        library = TitledLibrary(self._library, place)
        learning = LiveLearning(  # which uses no more of a set and a library than these two have
            Learning(request),
            cast("StyleSet", place),
            device=self._device,
            library=cast("Library", library),
        )
        feeding = Feeding(learning, content)
        sizes = request.style_sizes()
        self._session = _Session(owner, request, sizes, place, learning, feeding, self._clock())
        learning.ready.add_done_callback(partial(_log_failure, self._session))

    def _new_place(self, key: str, style: Style) -> StylePlace:
        """A place for a style; the oldest of too many learned styles is removed from the set."""
        names = self._styles.names
        for other, place in list(self._places.items()):
            # Another size of the same image, or a style that failed before there was a model.
            if place.name == style.name or place.name not in names:
                place.close()
                del self._places[other]
        while len(self._places) >= _MOST_STYLES:
            self._places.pop(next(iter(self._places))).remove()
        self._places[key] = place = StylePlace(self._styles, style)
        return place

    def _end(self) -> None:
        """End what is being learned, in a thread: its figures take seconds."""
        session, self._session = self._session, None
        if session is not None:
            session.feeding.end()
            self._ending = threading.Thread(target=session.learning.close, daemon=True)
            self._ending.start()

    def _of(self, owner: str) -> _Session:
        if self._session is None or self._session.owner != owner:
            raise InputError("there is nothing to learn: choose a style image first")
        return self._session

    def _check_free(self, owner: str) -> None:
        session = self._session
        if session is None or session.owner == owner:
            return
        is_attended = self._clock() - session.attended < _ATTENDED_SECONDS
        if is_attended and session.learning.state in ("starting", "learning", "paused"):
            raise TooManyError("a style of another visitor is being learned: try again later")


def _log_failure(session: _Session, ready: Future[StyleModel]) -> None:
    """Log why there will be no model; `LiveLearning` logs what fails after the first one."""
    error = ready.exception()
    if error is not None and not session.feeding.has_ended:
        logger.warning("%s: learning failed: %s", session.place.name, error)


def _name(title: str) -> str:
    """A name that addresses can have: lowercase letters, digits and _."""
    plain = unicodedata.normalize("NFKD", title).lower()
    name = re.sub(r"[^a-z0-9]+", "_", plain.encode("ascii", "ignore").decode()).strip("_")
    return name[:_MAX_NAME] or "style"


def _free(name: str, styles: StyleSet) -> str:
    """The name, or the first numbered one that no style has.

    Not the numbers of `StyleSet.add`: a video is stylized in a process of its own, where the
    style has the name that is in its file.
    """
    names = set(styles.names)
    numbered = (f"{name}_{number}" for number in count(2))
    return next(each for each in chain([name], numbered) if each not in names)
