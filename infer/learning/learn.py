"""Learn a style from a style image, then go on: for photos and videos, and on its own."""

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypedDict, Unpack

import torch

from nst_rt.errors import InputError, InterruptedWorkError, StyleTransferError
from nst_rt.files import check_format, check_input
from nst_rt.images.collection import is_collection
from nst_rt.images.io import Frame, check_image_output
from nst_rt.infer.learning.content import frames_of_photos, other_photos, with_photos
from nst_rt.infer.learning.feeder import Feeder, Preview
from nst_rt.infer.learning.process import LearningProcess
from nst_rt.infer.timeline import style_label
from nst_rt.learning.library import KEY, Library, summary
from nst_rt.learning.messages import Begin
from nst_rt.learning.request import (
    GALLERY,
    STYLE_WEIGHT,
    LearningRequest,
    StyleImages,
)
from nst_rt.models.style_model import SUFFIX, StyleModel
from nst_rt.progress import Progress, interrupts_deferred

logger = logging.getLogger(__name__)

COMPLETE = "is_complete"  # of the training record: whether it was learned for as long as asked for
MOST_MINUTES = 5.0
_POLL = 0.3  # seconds
KEEP_SECONDS = 10.0  # from one time that the library gets a style to the next
_OF_FOLDER = f".nst-rt{SUFFIX}"  # beside the record of the settings, see `record_folder`
_FINISH_SECONDS = 300.0  # for the figures, on a slow machine


class LearningOptions(TypedDict, total=False):
    """How a style image is learned; see `learn_style`."""

    photos: Path | str | None
    minutes: float | None
    style_size: int | None
    style_weight: float
    start_from: str
    save_style: Path | str | None
    preview: Path | str | None


@dataclass(frozen=True)
class Learning:
    """A style image to learn, checked, and how; the attributes are those of `learn_style`.

    Attributes:
        resumes: whether work goes on that was begun in this style: if it is complete, it is learned
            no further.

    Raises:
        InputError: a value out of range, or a collection without photos.
    """

    request: LearningRequest
    photos: Path | str | None = None
    minutes: float | None = None
    save_style: Path | str | None = None
    preview: Path | str | None = None
    resumes: bool = False

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
        style_size: int | None = None,
        style_weight: float = STYLE_WEIGHT,
        start_from: str = GALLERY,
        save_style: Path | str | None = None,
        preview: Path | str | None = None,
        overwrite: bool = False,
        resumes: bool = False,
    ) -> "Learning":
        """Load the style image, and check everything.

        Raises:
            InputError: see `LearningRequest` and `Learning`; a file that cannot be written.
            OutputExistsError: `preview` exists; or `save_style` does, is not of the same style
                image, and `overwrite` is False.
        """
        if preview is not None:
            check_image_output(preview)
        request = LearningRequest.of(
            style_image, style_size=style_size, style_weight=style_weight, start_from=start_from
        )
        if save_style is not None:
            replaces = overwrite or _holds(save_style, request.key)
            check_format(save_style, "style model", [SUFFIX], overwrite=replaces)
        return cls(request, photos, minutes, save_style, preview, resumes)

    def label(self, strength: float = 1.0) -> str:
        """A short name for file names, see `style_label`."""
        return style_label({self.request.name: 1.0}, strength=strength)

    @property
    def limit(self) -> float:
        """The most seconds to learn."""
        return 60 * (self.minutes or MOST_MINUTES)

    def known(self, library: Library) -> StyleModel | None:
        """The style as it was learned before, perhaps under another name; None if it was not."""
        model = library.find(self.request.key)
        if model is None:
            return None
        first = replace(model.styles[0], name=self.request.name)
        return replace(model, styles=(first, *model.styles[1:]))

    def needs_more(self, known: StyleModel | None) -> bool:
        """Whether there is something left to learn."""
        if known is None or not known.training.get(COMPLETE):
            return True
        return self.minutes is not None and not self.resumes

    def save(self, model: StyleModel) -> None:
        """Write the model file that was asked for, if any."""
        if self.save_style is not None:
            model.save(self.save_style, overwrite=True)


def _holds(file: Path | str, key: str) -> bool:
    """Whether a file is a style that was learned for a key, and so may be replaced."""
    try:
        return StyleModel.load(file).training.get(KEY) == key
    except StyleTransferError:
        return False


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
            strokes. By default from 384 to 768, the larger the finer their details are.
        style_weight: weight of the style; the content has 1. The default is 8.
        start_from: a style of the gallery or a model file to start from; by default the style of
            the gallery whose style image is most similar.
        save_style: model file to write as well; it may exist only if it is of this style image.
        preview: image file to write now and then: one of the images, stylized. It is removed at
            the end.

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
    are_alike: bool = False,
) -> StyleModel:
    """Learn a style on frames, or take it from the library; see `learn_style`.

    Args:
        learning: what to learn, and how.
        frames: what the style is for; read only if there is something to learn.
        progress: see `learn_style`.
        device: PyTorch device; one that PyTorch does not know, such as OpenVINO's, stands for the
            fastest.
        library: where styles are kept.
        are_alike: whether the frames are those of a video: every second crop is then of photos.
    """
    library = library or Library()
    known = learning.known(library)
    if known is None or learning.needs_more(known):
        known = _learn(
            learning, frames, known, library, progress, torch_name(device), are_alike=are_alike
        )
    else:
        more = "" if known.training.get("is_settled") else "; more minutes make it better"
        logger.info("%s: known already (%s)%s", learning.request.name, summary(known), more)
    learning.save(known)
    return known


def learned_for_folder(
    learning: Learning,
    frames: Iterable[Frame],
    folder: Path | None,
    *,
    progress: Progress | None = None,
    device: str | None = None,
    are_alike: bool = False,
) -> StyleModel:
    """`learned` for several outputs: a resumed folder goes on in the style that it was begun in.

    Args:
        folder: folder of the outputs, where the style is kept in a hidden file; None for none.
        learning, frames, progress, device, are_alike: see `learned`.
    """
    learn = partial(
        learned, learning, frames, progress=progress, device=device, are_alike=are_alike
    )
    if folder is None:
        return learn()
    file = folder / _OF_FOLDER
    if learning.resumes and _holds(file, learning.request.key):
        model = StyleModel.load(file)
        learning.save(model)
        return model
    model = learn()
    folder.mkdir(parents=True, exist_ok=True)
    model.save(file, overwrite=True)
    return model


def torch_name(device: str | None) -> str | None:
    """The name of a device if PyTorch has one of that kind, else None."""
    try:
        return None if device is None else str(torch.device(device))
    except RuntimeError:
        return None


def learning_for(
    style: object,
    default: object,
    style_image: StyleImages | None,
    options: LearningOptions,
    *,
    overwrite: bool = False,
    resumes: bool = False,
) -> Learning | None:
    """What is to be learned, None if no style image is given.

    Args:
        style: style in any form.
        default: what `style` is if none was given.
        style_image: style image in any form.
        options: how to learn it; None for defaults.
        overwrite: whether `save_style` may replace any file.
        resumes: see `Learning`.

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
    known: Any = {name: value for name, value in options.items() if value is not None}
    return Learning.of(style_image, overwrite=overwrite, resumes=resumes, **known)


def _learn(
    learning: Learning,
    frames: Iterable[Frame],
    known: StyleModel | None,
    library: Library,
    progress: Progress | None,
    device: str | None,
    *,
    are_alike: bool,
) -> StyleModel:
    request, preview = learning.request, Preview(learning.preview)
    settles = learning.minutes is None
    begin = Begin(request, known, device, preview=learning.preview is not None, settles=settles)
    minutes = learning.limit / 60
    logger.info(
        "learning %s (style size %d), for at most %g minutes; Ctrl-C keeps what was learned",
        request.name,
        request.style_size,
        minutes,
    )
    library.check()
    if progress:
        progress(0, 1, f"learning {request.name}")
    best, complete = known, False
    with interrupts_deferred() as interrupted:
        process = LearningProcess(begin)
        if are_alike:
            feeder = Feeder(process, frames, other_photos(learning.photos))
        else:
            feeder = Feeder(process, with_photos(frames, learning.photos))
        started, kept = None, time.monotonic()
        try:
            while not interrupted():
                update, last = process.wait(_POLL), process.last
                feeder.check()
                now = time.monotonic()
                if update is not None:
                    started = now if started is None else started
                    preview.show(update.preview)
                    if update.model is not None:
                        best = update.model
                        if now - kept >= KEEP_SECONDS:
                            _keep(library, best, complete=False)
                            kept = now
                if last is not None and feeder.is_done and last.useless == feeder.shown:
                    raise InputError("there is nothing to learn on: all frames have a single color")
                elapsed = 0.0 if started is None else now - started
                if progress and last is not None:
                    note = f"learning: {last.crops} crops, {last.rate:.1f}/s"
                    progress(min(elapsed / learning.limit, 1), 1, note)
                is_settled = last is not None and last.is_settled and feeder.is_done
                if is_settled or elapsed >= learning.limit:
                    break
            final = process.finish(_FINISH_SECONDS) if process.last is not None else None
            best = final.model if final is not None and final.model is not None else best
            complete = not interrupted()
        finally:
            feeder.stop()
            process.close()
            preview.remove()
            if best is not None and best is not known:  # also after an error
                best = _keep(library, best, complete=complete)
    if interrupted():
        done = "nothing was learned yet"
        if best is not None and best.training["crops"]:
            done = f"what was learned of {request.name} is kept"
        if not library.works:
            done = "what was learned could not be kept"
        raise InterruptedWorkError(f"interrupted: {done}; the same command goes on")
    assert best is not None
    logger.info("learned %s: %s", request.name, summary(best))
    return best


def _keep(library: Library, model: StyleModel, *, complete: bool) -> StyleModel:
    """Keep a style, if it was learned at all; the model with its record."""
    model = replace(model, training={**model.training, COMPLETE: complete})
    if model.training["crops"]:
        library.keep(model.training[KEY], model)
    return model
