"""How good a style model is: bold, calm and fast, as `nst_rt.metrics` defines it."""

import logging
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, ImageOps
from rich.console import Console
from rich.table import Table
from torch import Tensor

from nst_rt.errors import InputError
from nst_rt.images.collection import Photo, find_photos, is_held_out
from nst_rt.images.io import Frame, frame_to_tensor, load_image, resize, tensor_to_frame
from nst_rt.infer.backends import BackendName, Precision
from nst_rt.infer.backends.timing import frames_per_second
from nst_rt.infer.demo import packaged_photos
from nst_rt.infer.stylizer import Stylizer
from nst_rt.metrics.boldness import SIZE, Boldness, boldness, median_boldness
from nst_rt.metrics.quality import QualityObjective, quality_photo
from nst_rt.metrics.stability import PAN_FRAMES, PanError, pan_error
from nst_rt.models.style_model import StyleModel, find_style

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
OnProgress = Callable[[float, str], None]

_TIMED_SIZES = ((640, 480), (1280, 720))
_LEGEND = (
    "strokes (in even areas), contrast, chroma: 1 is as much as the style image has",
    "pan error: how much the style swims when the camera moves; relative: over the deviation",
    "objective: style and content loss of VGG19, which does not tell how bold a style is",
)


@dataclass(frozen=True)
class StyleEvaluation:
    """What was measured of one style.

    Attributes:
        style_image: that it was measured against.
        boldness: medians, see `nst_rt.metrics.boldness`.
        pan: see `nst_rt.metrics.stability`; None without the photos of scikit-image.
        objective: median, see `QualityObjective`; how bold a style is, it does not tell.
    """

    style_image: str
    boldness: Boldness
    pan: PanError | None
    objective: float


@dataclass(frozen=True)
class Evaluation:
    """What was measured of a model; `dataclasses.asdict` makes JSON values of it.

    Attributes:
        model: as it was named.
        engine: engine, precision and device that painted.
        parameters: of the network.
        photos: how many the medians are over.
        even: how many of them have even areas, which the strokes are measured in.
        skipped: photos that cannot be read -> why.
        fps: frame size, such as `640x480` -> frames per second.
        styles: style name -> its figures.
    """

    model: str
    engine: str
    parameters: int
    photos: int
    even: int
    skipped: Mapping[str, str]
    fps: Mapping[str, float]
    styles: Mapping[str, StyleEvaluation]


def evaluate_model(
    model: Path | str,
    photos: Path | str | Sequence[Photo],
    style: Path | str | Mapping[str, Path | str],
    *,
    count: int = 50,
    held_out: bool = False,
    backend: BackendName = "auto",
    device: str | None = None,
    precision: Precision = "auto",
    on_progress: OnProgress | None = None,
) -> Evaluation:
    """Measure a style model, through `Stylizer`, at the size of the photos.

    Boldness is that of the photos at 512 px on the long side. Where scikit-image, whose photos the
    pan error is of, is not installed, the rest is measured.

    Args:
        model: a style of the gallery, a model file, or FILE:NAME.
        photos: a collection, see `find_photos`, or its photos; none should be of the training.
        style: the painting that the style was trained on; of a file of several styles, style name
            -> painting for those to measure.
        count: how many photos, the first ones that can be read.
        held_out: take only photos that training on this collection holds out.
        backend, device, precision: of the stylizer, see there. The objectives are computed on a GPU
            where there is one.
        on_progress: called with the part that is done, from 0 to 1, and what is being measured.

    Raises:
        InputError: a file or number that cannot be used, no photos, or one painting for a file of
            several styles.
        UnknownNameError: a style that is not there.
        StyleModelError: a file that is not a style model.
        BackendError: an engine, device or precision that is not there.
    """
    if count < 1:
        raise InputError(f"the number of photos must be positive, not {count}")
    loaded, files = _load_model(model, style)
    style_images = {name: load_image(file, size=SIZE) for name, file in files.items()}
    chosen, skipped = _load_photos(_candidates(photos, held_out), count)
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

    work = 2 * len(chosen) + len(panned) * PAN_FRAMES
    progress = _Progress(len(style_images) * work, on_progress)
    fps = {}
    for width, height in progress.over(_TIMED_SIZES, "speed", cost=0):
        frame = fitted_frame(next(iter(chosen)).load(), width, height)
        fps[f"{width}x{height}"] = frames_per_second(stylizer, frame)
    styles = {}
    even = 0
    for name, style_image in style_images.items():
        stylizer.set_style(name)
        figures = [
            boldness(_stylized(stylizer, content), content, style_image)
            for content, _ in progress.over(chosen.values(), f"{name}: boldness")
        ]
        even = sum(each.strokes is not None for each in figures)
        moving = progress.over(panned, f"{name}: pan error", PAN_FRAMES)
        objective = QualityObjective(style_image)
        styles[name] = StyleEvaluation(
            style_image=str(files[name]),
            boldness=median_boldness(figures),
            pan=pan_error(stylizer, moving) if panned else None,
            objective=statistics.median(
                objective(_stylized(stylizer, square), square)
                for _, square in progress.over(chosen.values(), f"{name}: objective")
            ),
        )
    return Evaluation(
        model=str(model),
        engine=str(stylizer),
        parameters=loaded.parameters,
        photos=len(chosen),
        even=even,
        skipped=skipped,
        fps=fps,
        styles=styles,
    )


def pan_photos() -> list[Frame]:
    """The photos that published pan errors are of.

    Raises:
        InputError: scikit-image is not installed.
    """
    files = packaged_photos("the pan error needs the photos of scikit-image")
    return [tensor_to_frame(load_image(file)) for file in files]


def fitted_frame(photo: Tensor, width: int, height: int) -> Frame:
    """The middle of a photo, shape (1, 3, H, W), as a frame of that size."""
    return np.array(ImageOps.fit(Image.fromarray(tensor_to_frame(photo)), (width, height)))


def summary(evaluation: Evaluation) -> str:
    """An evaluation as text: a few lines, and a table of the styles."""
    table = Table("style", box=None, pad_edge=False, header_style="")
    for title in ("strokes", "contrast", "chroma", "relative pan error", "pan error", "objective"):
        table.add_column(title, justify="right")
    for name, style in evaluation.styles.items():
        bold, pan = style.boldness, style.pan
        table.add_row(
            name,
            *(
                "-" if figure is None else f"{figure:.2f}"
                for figure in (bold.strokes, bold.contrast, bold.chroma)
            ),
            *([f"{pan.relative:.2f}", f"{pan.error:.3f}"] if pan else "--"),
            f"{style.objective:.2f}",
        )
    console = Console(width=120, color_system=None, markup=False, emoji=False)
    with console.capture() as capture:
        console.print(table)
    rates = ", ".join(f"{fps:.1f} at {size}" for size, fps in evaluation.fps.items())
    skipped = evaluation.skipped
    return "\n".join(
        [
            f"{evaluation.model}: {evaluation.parameters:,} parameters, {evaluation.engine}",
            f"frames per second: {rates}",
            f"photos: {evaluation.photos}, {evaluation.even} of them with even areas",
            *([f"photos skipped: {len(skipped)} ({', '.join(skipped)})"] if skipped else []),
            "",
            *(line.rstrip() for line in capture.get().splitlines()),
            "",
            *_LEGEND,
        ]
    )


class _Progress:
    """Tells how much of all work is done, while it is iterated over."""

    def __init__(self, total: int, on_progress: OnProgress | None) -> None:
        self._total = total
        self._done = 0
        self._tell = on_progress or (lambda part, note: None)

    def over(self, items: Iterable[Item], note: str, cost: int = 1) -> Iterator[Item]:
        """The items; each, when the next one is asked for, is `cost` more that is done."""
        for item in items:
            self._tell(self._done / self._total, note)
            yield item
            self._done += cost
            self._tell(self._done / self._total, note)


def _load_model(
    model: Path | str, style: Path | str | Mapping[str, Path | str]
) -> tuple[StyleModel, Mapping[str, Path | str]]:
    """The model, and the paintings of its styles to measure."""
    loaded, named = find_style(str(model))
    if isinstance(style, Mapping):
        for name in style:
            loaded.style_weights(name)
        if not style:
            raise InputError("give the painting of at least one style")
        return loaded, style
    if len(loaded.styles) > 1 and Path(model).is_file():
        raise InputError(
            f"{model} has {len(loaded.styles)} styles: give NAME=PAINTING for each to measure; "
            f"they are {', '.join(loaded.style_names)}"
        )
    return loaded, {named: style}


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
    """The first photos that can be read, whole and as a square, and why others cannot."""
    loaded: dict[Photo, tuple[Tensor, Tensor]] = {}
    skipped = {}
    for photo in photos:
        if len(loaded) == count:
            break
        try:
            image = photo.load()
            loaded[photo] = resize(image, SIZE), quality_photo(image)
        except InputError as error:
            logger.warning("skipped a photo: %s", error)
            skipped[str(photo)] = str(error)
    if not loaded:
        raise InputError("none of the photos can be read")
    return loaded, skipped


def _stylized(stylizer: Stylizer, image: Tensor) -> Tensor:
    return frame_to_tensor(stylizer(tensor_to_frame(image)))
