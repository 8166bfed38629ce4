"""Learn a style from a style image, then go on: for photos and videos, and on its own."""

import logging
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict, Unpack

from nst_rt.errors import InputError, InterruptedWorkError
from nst_rt.files import check_format, check_input
from nst_rt.images.collection import is_collection
from nst_rt.images.io import Frame, check_image_output, save_image
from nst_rt.infer.learning.content import frames_of_photos, with_photos
from nst_rt.infer.learning.process import LearningProcess
from nst_rt.infer.timeline import style_label
from nst_rt.learning.library import Library, summary
from nst_rt.learning.messages import Begin
from nst_rt.learning.request import (
    GALLERY,
    STYLE_SIZE,
    STYLE_WEIGHT,
    Image,
    LearningRequest,
    StyleImages,
)
from nst_rt.models.style_model import SUFFIX, StyleModel
from nst_rt.progress import Progress, interrupts_deferred

logger = logging.getLogger(__name__)

COMPLETE = "is_complete"  # of the training record: whether it was learned for as long as asked for
MOST_MINUTES = 5.0
_POLL = 0.3  # seconds
_KEEP_SECONDS = 10.0  # from one time that the library gets a style to the next


class LearningOptions(TypedDict, total=False):
    """How a style image is learned; see `learn_style`."""

    photos: Path | str | None
    minutes: float | None
    style_size: int
    style_weight: float
    start_from: str
    save_style: Path | str | None
    preview: Path | str | None


@dataclass(frozen=True)
class Learning:
    """A style image to learn, checked, and how; the attributes are those of `learn_style`.

    Raises:
        InputError: a value out of range, a collection without photos, a file that cannot be
            written.
    """

    request: LearningRequest
    photos: Path | str | None = None
    minutes: float | None = None
    save_style: Path | str | None = None
    preview: Path | str | None = None

    def __post_init__(self) -> None:
        if self.minutes is not None and not 0 < self.minutes < float("inf"):
            raise InputError(f"`minutes` must be a positive number, not {self.minutes:g}")
        if self.photos is not None and not is_collection(Path(self.photos)):
            check_input(self.photos)
            raise InputError(f"{self.photos}: `photos` must be a folder, a zip archive or a list")

    @classmethod
    def of(
        cls,
        style_image: StyleImages,
        *,
        photos: Path | str | None = None,
        minutes: float | None = None,
        style_size: int = STYLE_SIZE,
        style_weight: float = STYLE_WEIGHT,
        start_from: str = GALLERY,
        save_style: Path | str | None = None,
        preview: Path | str | None = None,
        overwrite: bool = False,
    ) -> "Learning":
        """Load the style image, and check everything.

        Raises:
            InputError: see `LearningRequest` and `Learning`.
            OutputExistsError: `save_style` or `preview` exists, and `overwrite` is False.
        """
        if preview is not None:
            check_image_output(preview, overwrite=overwrite)
        if save_style is not None:
            check_format(save_style, "style model", [SUFFIX], overwrite=overwrite)
        request = LearningRequest.of(
            style_image, style_size=style_size, style_weight=style_weight, start_from=start_from
        )
        return cls(request, photos, minutes, save_style, preview)

    def label(self, strength: float = 1.0) -> str:
        """A short name for file names, see `style_label`."""
        return style_label({self.request.name: 1.0}, strength=strength)

    def known(self, library: Library) -> StyleModel | None:
        """The style as it was learned before, None if it was not."""
        return library.find(self.request.key)

    def needs_more(self, known: StyleModel | None) -> bool:
        """Whether there is something left to learn."""
        return known is None or self.minutes is not None or not known.training.get(COMPLETE)


def learn_style(
    style_image: StyleImages,
    content: Path | str | Iterable[Path | str] = (),
    *,
    progress: Progress | None = None,
    device: str | None = None,
    **options: Unpack[LearningOptions],
) -> StyleModel:
    """Learn a style from a style image within minutes; the second time it is there at once.

    A network that has a style of the gallery goes on with the loss of `train_style`, on the images
    that the style is for, until it no longer gets better on some that are kept aside. What it
    learned stays in the user's data folder, see `Library`.

    Args:
        style_image: a style image as a file, NumPy array, Pillow image or tensor; several as a
            list, as files with weights, or as a text such as `a.jpg=0.7,b.jpg=0.3`.
        content: photos, folders, zip archives or lists of photos that the style is for; without
            any, the photos of scikit-image.
        progress: called with the fraction that is done, 1, and a note.
        device: PyTorch device; by default a GPU where there is one.
        photos: further photos to learn on: a folder, a zip archive or a list.
        minutes: time to learn, also where the style is known already; by default until it no longer
            gets better, at most 5 minutes, and none if it is known.
        style_size: long side of the style images, pixels, from 128 to 1024; larger ones make larger
            strokes.
        style_weight: weight of the style; the content has 1. The default is 8.
        start_from: a style of the gallery or a model file to start from; by default the style of
            the gallery whose style image is most similar.
        save_style: model file to write as well.
        preview: image file to write now and then: one of the images, stylized.

    Returns:
        The style, which `load_style` and all others take as `style`.

    Raises:
        InputError: an image, a file or a value that cannot be used, or nothing to learn on.
        UnknownNameError, StyleModelError: a `start_from` that cannot be used.
        LearningError: the process that learns has failed.
        InterruptedWorkError: Ctrl-C; what was learned is kept, and the same call goes on.
    """
    sources = [content] if isinstance(content, str | Path) else list(content)
    learning = Learning.of(style_image, **options)
    return learned(learning, frames_of_photos(sources), progress=progress, device=device)


def learned(
    learning: Learning,
    frames: Iterable[Frame],
    *,
    progress: Progress | None = None,
    device: str | None = None,
    library: Library | None = None,
) -> StyleModel:
    """Learn a style on frames, or take it from the library; see `learn_style`.

    Args:
        learning: what to learn, and how.
        frames: what the style is for; read only if there is something to learn.
        progress, device: see `learn_style`.
        library: where styles are kept.
    """
    library = library or Library()
    known = learning.known(library)
    if learning.needs_more(known):
        model = _learn(learning, frames, known, library, progress, device)
    else:
        assert known is not None
        model = known
        logger.info("%s: known already (%s)", model.style_names[0], summary(model))
    if learning.save_style is not None:
        model.save(learning.save_style, overwrite=True)
    return model


def learning_for(
    style: object,
    default: object,
    style_image: StyleImages | None,
    options: LearningOptions,
    *,
    overwrite: bool = False,
) -> Learning | None:
    """What is to be learned, None if no style image is given.

    Args:
        style: style in any form.
        default: what `style` is if none was given.
        style_image: style image in any form.
        options: how to learn it; None for defaults.
        overwrite: whether `save_style` may replace a file.

    Raises:
        InputError: a style and a style image, or options without a style image; see `Learning`.
        OutputExistsError: see `Learning.of`.
    """
    if style_image is None:
        given = [name for name, value in options.items() if value is not None]
        if given:
            raise InputError(f"`{given[0]}` needs `style_image`")
        return None
    if style is not default and style != default:
        raise InputError("give either `style` or `style_image`, not both")
    return Learning.of(style_image, overwrite=overwrite, **_given(options))


def _given(options: LearningOptions) -> Any:
    return {name: value for name, value in options.items() if value is not None}


def _learn(
    learning: Learning,
    frames: Iterable[Frame],
    known: StyleModel | None,
    library: Library,
    progress: Progress | None,
    device: str | None,
) -> StyleModel:
    request = learning.request
    begin = Begin(
        request,
        known,
        device,
        preview=learning.preview is not None,
        settles=learning.minutes is None,
    )
    limit = 60 * (learning.minutes or MOST_MINUTES)
    content = with_photos(frames, learning.photos)
    if progress:
        progress(0, 1, f"learning {request.name}")
    if learning.preview is not None:
        logger.info("%s: a preview of the style while it is learned", learning.preview)
    process = LearningProcess(begin)
    best = known
    with interrupts_deferred() as interrupted:
        feeder = _Feeder(process, content)
        try:
            started = kept = None
            while True:
                update, last = process.wait(_POLL), process.last
                feeder.check()
                now = time.monotonic()
                if update is not None:
                    started = now if started is None else started
                    kept = now if kept is None else kept
                    best = update.model or best
                    if update.model is not None and update.crops and now - kept >= _KEEP_SECONDS:
                        library.keep(request.key, update.model)
                        kept = now
                    _write_preview(learning.preview, update.preview)
                if last is not None and feeder.is_done and last.useless == feeder.shown:
                    raise InputError("there is nothing to learn on: all frames have a single color")
                elapsed = 0.0 if started is None else now - started
                if progress and last is not None:
                    progress(
                        min(elapsed / limit, 1),
                        1,
                        f"learning: {last.crops} crops, {last.rate:.1f}/s",
                    )
                settled = last is not None and last.is_settled and feeder.is_done
                if settled or elapsed >= limit or interrupted():
                    break
            final = process.finish()
        finally:
            feeder.stop()
            process.close()
        model = final.model if final is not None and final.model is not None else best
        assert model is not None
        complete = not interrupted()
        model = replace(model, training={**model.training, COMPLETE: complete})
        if final is not None and final.crops:
            library.keep(request.key, model)
    if learning.preview is not None:
        Path(learning.preview).unlink(missing_ok=True)
    if not complete:
        if learning.save_style is not None:
            model.save(learning.save_style, overwrite=True)
        raise InterruptedWorkError(
            f"interrupted: what was learned of {request.name} is kept; the same command goes on"
        )
    logger.info("learned %s: %s", request.name, summary(model))
    return model


class _Feeder:
    """Shows frames to the process, in a thread."""

    def __init__(self, process: LearningProcess, frames: Iterable[Frame]) -> None:
        self._process, self._frames = process, frames
        self._stopped = threading.Event()
        self._error: Exception | None = None
        self.is_done, self.shown = False, 0
        self._thread = threading.Thread(target=self._run, name="content", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            for frame in self._frames:
                if self._stopped.is_set():
                    return
                self._process.show(frame)
                self.shown += 1
            if not self.shown:
                self._error = InputError("there is nothing to learn on: give `photos`")
        except Exception as error:  # raised where the result is waited for
            self._error = error
        self.is_done = True

    def check(self) -> None:
        """Raise what went wrong."""
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        self._stopped.set()


def _write_preview(file: Path | str | None, image: Image | None) -> None:
    if file is not None and image is not None:
        save_image(image[..., ::-1], file, overwrite=True)
