"""Evaluation of a style model on photos: how bold, calm and fast it is, as in `nst_rt.metrics`."""

import logging
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, ImageOps
from torch import Tensor

from nst_rt.errors import InputError
from nst_rt.images.collection import Photo, find_photos, is_held_out
from nst_rt.images.convert import frame_to_tensor, resize, tensor_to_frame
from nst_rt.images.io import Frame, load_image
from nst_rt.infer.backends import BackendName, Precision, frames_per_second
from nst_rt.infer.packaged import packaged_photos
from nst_rt.infer.stylizer import Stylizer
from nst_rt.metrics.boldness import SIZE, Boldness, boldness, median_boldness
from nst_rt.metrics.quality import QualityObjective, quality_crop
from nst_rt.metrics.stability import PAN_FRAMES, WarpingError, pan_error
from nst_rt.models.style_model import StyleModel, find_style
from nst_rt.progress import Progress

logger = logging.getLogger(__name__)

Item = TypeVar("Item")

_TIMED_SIZES = ((640, 480), (1280, 720))


@dataclass(frozen=True)
class StyleEvaluation:
    """The figures of one style.

    Attributes:
        style_image: path of the style image that it was measured against.
        boldness: medians over the photos, see `nst_rt.metrics.boldness`.
        pan: see `pan_error`; None without the photos of scikit-image.
        objective: median over the photos, see `QualityObjective`.
    """

    style_image: str
    boldness: Boldness
    pan: WarpingError | None
    objective: float


@dataclass(frozen=True)
class Evaluation:
    """The figures of a model; `dataclasses.asdict` makes JSON values of them.

    Attributes:
        model: the model as it was given.
        backend: backend, precision and device that stylized.
        parameters: number of weights of the network.
        photos: number of photos that the medians are over.
        even: number of those that have even areas, where strokes are measured.
        skipped: photos that cannot be read -> reason.
        fps: frame size, such as `640x480` -> frames per second.
        styles: style name -> its figures.
    """

    model: str
    backend: str
    parameters: int
    photos: int
    even: int
    skipped: Mapping[str, str]
    fps: Mapping[str, float]
    styles: Mapping[str, StyleEvaluation]


def evaluate_model(
    model: Path | str,
    photos: Path | str | Sequence[Photo],
    style_image: Path | str | Mapping[str, Path | str],
    *,
    count: int = 50,
    held_out: bool = False,
    backend: BackendName = "auto",
    device: str | None = None,
    precision: Precision = "auto",
    progress: Progress | None = None,
) -> Evaluation:
    """Measure a style model as users run it, through `Stylizer`, at the size of the photos.

    Boldness is measured at 512 px on the long side. Without scikit-image, whose photos the pan
    error is defined on, everything else is measured.

    Args:
        model: a style of the gallery, a model file, or FILE:NAME.
        photos: a collection, see `find_photos`, or its photos; none should be from the training.
        style_image: the image that the style was trained on; for a file of several styles, style
            name -> style image of those to measure.
        count: number of photos, the first ones that can be read.
        held_out: use only photos that training on this collection holds out.
        backend, device, precision: see `Stylizer`. The objective is computed on a GPU where there
            is one.
        progress: called between measurements.

    Raises:
        InputError: a file or number that cannot be used, no photos, or a single style image for a
            file of several styles.
        UnknownNameError: no such style.
        StyleModelError: the file is not a style model.
        BackendError: the backend, device or precision is not available.
    """
    if count < 1:
        raise InputError(f"`count` must be 1 photo or more, not {count}")
    loaded, files = _load_model(model, style_image)
    style_images = {name: load_image(file, size=SIZE) for name, file in files.items()}
    contents, skipped = _load_photos(_candidates(photos, held_out), count)
    try:
        panned = pan_photos()
    except InputError as error:
        logger.warning("%s", error)
        panned = []
    stylizer = Stylizer(
        loaded,
        loaded.style_names[0],
        stroke_size="1:1",
        backend=backend,
        device=device,
        precision=precision,
    )

    work = len(style_images) * (2 * len(contents) + len(panned) * PAN_FRAMES)
    done = 0

    def steps(items: Iterable[Item], note: str, *, cost: int = 1) -> Iterator[Item]:
        """The items, with the progress reported before each and after the last one."""
        nonlocal done
        for item in items:
            if progress is not None:
                progress(done, work, note)
            yield item
            done += cost
        if progress is not None:
            progress(done, work, note)

    fps = {}
    for width, height in steps(_TIMED_SIZES, "speed", cost=0):
        frame = fitted_frame(next(iter(contents)).load(), width, height)
        fps[f"{width}x{height}"] = frames_per_second(stylizer, frame)
    styles = {}
    even = 0
    for name, image in style_images.items():
        stylizer.set_style(name)
        figures = [
            boldness(_stylized(stylizer, content), content, image)
            for content, _ in steps(contents.values(), f"{name}: boldness")
        ]
        even = sum(each.strokes is not None for each in figures)
        moving = steps(panned, f"{name}: pan error", cost=PAN_FRAMES)
        objective = QualityObjective(image)
        styles[name] = StyleEvaluation(
            style_image=str(files[name]),
            boldness=median_boldness(figures),
            pan=pan_error(stylizer, moving) if panned else None,
            objective=statistics.median(
                objective(_stylized(stylizer, crop), crop)
                for _, crop in steps(contents.values(), f"{name}: objective")
            ),
        )
    return Evaluation(
        model=str(model),
        backend=str(stylizer),
        parameters=loaded.parameters,
        photos=len(contents),
        even=even,
        skipped=skipped,
        fps=fps,
        styles=styles,
    )


def pan_photos() -> list[Frame]:
    """The photos that published pan errors are for.

    Raises:
        InputError: scikit-image is not installed.
    """
    files = packaged_photos("the pan error needs the photos of scikit-image")
    return [tensor_to_frame(load_image(file)) for file in files]


def fitted_frame(photo: Tensor, width: int, height: int) -> Frame:
    """The center of a photo, shape (1, 3, H, W), as a frame of that size."""
    return np.array(ImageOps.fit(Image.fromarray(tensor_to_frame(photo)), (width, height)))


def _load_model(
    model: Path | str, style_image: Path | str | Mapping[str, Path | str]
) -> tuple[StyleModel, Mapping[str, Path | str]]:
    """The model, and the style images of its styles to measure."""
    loaded, named = find_style(model)
    if isinstance(style_image, Mapping):
        for name in style_image:
            loaded.style_vector(name)  # raises for an unknown name
        if not style_image:
            raise InputError("give the style image of at least one style")
        return loaded, style_image
    if len(loaded.styles) > 1 and Path(model).is_file():
        raise InputError(
            f"{model} has {len(loaded.styles)} styles: give NAME=FILE for each to measure; "
            f"they are {', '.join(loaded.style_names)}"
        )
    return loaded, {named: style_image}


def _candidates(photos: Path | str | Sequence[Photo], held_out: bool) -> Sequence[Photo]:
    found = find_photos(photos) if isinstance(photos, Path | str) else photos
    if not held_out:
        return found
    kept = [photo for photo in found if is_held_out(photo)]
    if not kept:
        raise InputError(f"{photos}: training holds out none of its {len(found)} photos")
    return kept


def _load_photos(
    photos: Sequence[Photo], count: int
) -> tuple[dict[Photo, tuple[Tensor, Tensor]], dict[str, str]]:
    """The first photos that can be read, whole and cropped, and why others cannot be read."""
    loaded: dict[Photo, tuple[Tensor, Tensor]] = {}
    skipped = {}
    for photo in photos:
        if len(loaded) == count:
            break
        try:
            image = photo.load()
            loaded[photo] = resize(image, SIZE), quality_crop(image)
        except InputError as error:
            logger.warning("skipped a photo: %s", error)
            skipped[str(photo)] = str(error)
    if not loaded:
        raise InputError("none of the photos can be read")
    return loaded, skipped


def _stylized(stylizer: Stylizer, image: Tensor) -> Tensor:
    return frame_to_tensor(stylizer(tensor_to_frame(image)))
