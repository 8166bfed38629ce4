"""The style that visitors have the studio learn from a style image, one at a time."""

import logging
import re
import threading
import time
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np

from nst_rt.errors import InputError, StyleTransferError
from nst_rt.images.io import Frame
from nst_rt.infer.blend import StyleSet
from nst_rt.infer.learning.learn import Learning
from nst_rt.infer.learning.live import LiveLearning
from nst_rt.infer.style_sheet import preview
from nst_rt.infer.web.limits.visitors import TooManyError
from nst_rt.infer.web.uploads import visitor_message
from nst_rt.infer.web.work.content import Content
from nst_rt.learning.library import KEY, Library
from nst_rt.learning.request import STYLE_SIZE, STYLE_WEIGHT, Image, LearningRequest
from nst_rt.models.style_model import Style, StyleModel

logger = logging.getLogger(__name__)

ACTIONS = ("pause", "continue", "keep", "reset", "end")
_ATTENDED_SECONDS = 30.0  # after which a page that no longer asks is taken for closed
_FEED_SECONDS = 0.6  # between two images to learn on; more often, `LiveLearning` takes none
_CLOSE_SECONDS = 2.0
_END_SECONDS = 5.0
_MOST_KNOWN = 12  # styles of earlier studios that are offered
_MAX_NAME = 40  # characters


@dataclass
class _Session:
    """A style that is being learned, or was last.

    Attributes:
        owner: id of the visitor.
        request: what is learned.
        place: the style in the studio's set.
        learning: the process.
        content: what to learn on, beside the frames of the owner's camera.
        attended: time at which the owner's page asked for the state.
        feeding: set to end the thread that shows the content.
    """

    owner: str
    request: LearningRequest
    place: "_Place"
    learning: LiveLearning
    content: list[Content]
    attended: float
    feeding: threading.Event = field(default_factory=threading.Event)


class StudioLearning:
    """Learns one style at a time for the visitors of a studio, and adds it to the studio's styles.

    Only the visitor who has begun sees its state and can change it. The style is offered to
    everyone, as trained ones are; what was learned stays in the library, see `Library`.

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
        self._names: dict[str, str] = {}  # key of each learned style in the set -> its name there

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
            if len(known) == _MOST_KNOWN:
                break
        for name, (key, model) in known.items():
            place = _Place(self._styles, Style(_free(name, self._styles), model.styles[0].title))
            place.put(model)
            self._names[key] = place.name

    def begin(
        self,
        owner: str,
        title: str,
        image: Image,
        *,
        style_size: int = STYLE_SIZE,
        style_weight: float = STYLE_WEIGHT,
        content: Sequence[Content] = (),
    ) -> None:
        """Learn a style; what was learned before is kept.

        Args:
            owner: id of the visitor.
            title: of the style image, such as the name of its file without the suffix.
            image: style image, shape (H, W, 3), uint8 RGB.
            style_size, style_weight: see `LearningRequest`.
            content: what to learn on, beside frames of the owner's camera and packaged photos.

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
            name = self._names.get(request.key) or _free(_name(title), self._styles)
            style = Style(name, title, preview=preview(np.ascontiguousarray(image[..., ::-1])))
            self._start(owner, request, _Place(self._styles, style), content)

    def restart(self, owner: str, *, style_size: int, style_weight: float) -> None:
        """Learn the same style image with other settings; the style keeps its name.

        Raises:
            InputError: a number out of range, or nothing was begun.
        """
        with self._lock:
            session = self._of(owner)
            request = replace(session.request, style_size=style_size, style_weight=style_weight)
            session.place.is_open = False  # what the process before still sends
            self._start(owner, request, _Place(self._styles, session.place.style), session.content)

    def show(self, owner: str, content: Sequence[Content]) -> None:
        """Learn on these images, too.

        Raises:
            InputError: nothing was begun.
        """
        with self._lock:
            session = self._of(owner)
            session.content.extend(content)
            self._feed(session, content)

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
            if is_new:  # a process that has seen nothing yet
                self._feed(session, session.content, anew=True)

    def describe(self, owner: str) -> dict[str, Any] | None:
        """The state for the owner's page; None if there is none."""
        session = self._session
        if session is None or session.owner != owner:
            return None
        session.attended = self._clock()
        learning, place = session.learning, session.place
        problem = InputError(learning.problem)
        return {
            "style": place.name if place.name in self._styles.names else None,
            "title": place.style.title,
            "preview": place.style.preview,
            "state": learning.state,
            "text": visitor_message(InputError(str(learning))),
            "crops": learning.crops,
            "rate": round(learning.rate, 1),
            "problem": visitor_message(problem) if learning.problem else "",
            "figures": place.figures,
            "revision": place.revision,
            "style_size": session.request.style_size,
            "style_weight": session.request.style_weight,
        }

    def close(self) -> None:
        """End the learning within two seconds; what was learned is kept."""
        with self._lock:
            self._end()
            if self._ending is not None:
                self._ending.join(_CLOSE_SECONDS)  # its process ends with this one

    def _start(
        self, owner: str, request: LearningRequest, place: "_Place", content: Sequence[Content]
    ) -> None:
        if self._ending is not None:
            self._ending.join(_END_SECONDS)  # else any number of processes could be ending
        self._end()
        request = replace(request, name=place.name)
        # A name stands for one key: another size of the same image takes its place.
        self._names = {key: name for key, name in self._names.items() if name != place.name}
        self._names[request.key] = place.name
        library = _TitledLibrary(self._library, place)
        learning = LiveLearning(Learning(request), place, device=self._device, library=library)
        session = _Session(owner, request, place, learning, list(content), self._clock())
        self._session = session
        self._feed(session, session.content)

    def _end(self) -> None:
        """End what is being learned, in a thread: its figures take seconds."""
        session, self._session = self._session, None
        if session is not None:
            session.feeding.set()
            self._ending = threading.Thread(target=session.learning.close, daemon=True)
            self._ending.start()

    def _feed(self, session: _Session, content: Sequence[Content], *, anew: bool = False) -> None:
        """Show content in a thread; `anew` ends those that do already."""
        if anew:
            session.feeding.set()
            session.feeding = threading.Event()
        if content:
            given = (session.learning, list(content), session.feeding)
            threading.Thread(target=_show, args=given, name="content", daemon=True).start()

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


class _Place(StyleSet):
    """The place of one style in the studio's set, as the learning sees it.

    Attributes:
        style: its name there, its title and its preview, which each model gets.
        figures: those of the style when it was last kept, if it was measured.
        revision: version of the set since which it is there.
        is_open: whether it still takes models.
    """

    def __init__(self, styles: StyleSet, style: Style) -> None:
        super().__init__()
        self._all, self.style = styles, style
        self.figures: dict[str, float | None] | None = None
        self.revision = 0
        self.is_open = True

    @property
    def name(self) -> str:
        return self.style.name

    def add(self, model: StyleModel, *, skip_known: bool = False) -> dict[str, str]:
        """Put a model there."""
        self.put(model)
        return {model.style_names[0]: self.name}

    def replace(self, name: str, model: StyleModel) -> None:
        """Put a better one there."""
        self.put(model)

    def put(self, model: StyleModel) -> None:
        if not self.is_open:
            return
        model = self.titled(model)
        if self.name in self._all.names:
            self._all.replace(self.name, model)
        else:
            self._all.add(model)
        self.revision = self._all.version

    def titled(self, model: StyleModel) -> StyleModel:
        """The model with the name, the title and the preview of the style."""
        first = model.styles[0]
        changed = replace(
            first,
            name=self.name,
            title=self.style.title or first.title,
            preview=self.style.preview or first.preview,
        )
        return replace(model, styles=(changed, *model.styles[1:]))


class _TitledLibrary(Library):
    """The library, in which styles get the title and the preview that they have in the studio."""

    def __init__(self, library: Library, place: _Place) -> None:
        super().__init__(library.folder)
        self._place = place

    def keep(self, key: str, model: StyleModel) -> Path | None:
        self._place.figures = model.training.get("figures")
        return super().keep(key, self._place.titled(model))


def _show(learning: LiveLearning, content: Sequence[Content], ended: threading.Event) -> None:
    """Show images one by one to a learning, whenever it learns."""
    for give in content:
        try:
            for frame in give():
                while learning.state in ("starting", "paused") and not ended.wait(_FEED_SECONDS):
                    pass
                if ended.is_set() or learning.state != "learning":
                    return
                learning.offer(frame)
                ended.wait(_FEED_SECONDS)
        except StyleTransferError as error:  # a file that was removed, or that no decoder can read
            logger.info("not learned on: %s", error)


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
