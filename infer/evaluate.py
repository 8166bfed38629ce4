"""How good a style model is: what its users get, measured as `nst_rt.metrics` defines it."""

import logging
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
from nst_rt.images import Frame, frame_to_tensor, load_image, tensor_to_frame
from nst_rt.infer.backends import BackendName, Precision
from nst_rt.infer.demo import packaged_photos
from nst_rt.infer.stylizer import Stylizer
from nst_rt.infer.timing import frames_per_second
from nst_rt.metrics import (
    ITERATIONS,
    PAINTING_SIZE,
    PAN_FRAMES,
    PanError,
    Quality,
    QualityObjective,
    pan_error,
    quality,
    quality_photo,
)
from nst_rt.photos import Photo, find_photos, is_held_out
from nst_rt.style_model import StyleModel, find_style

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
OnProgress = Callable[[float, str], None]

_TIMED_SIZES = ((640, 480), (1280, 720))
_ITERATION_COST = 3  # times that of painting a frame or judging it, roughly


@dataclass(frozen=True)
class StyleEvaluation:
    """What was measured of one style.

    Attributes:
        painting: that it was measured against.
        quality: see `nst_rt.metrics.quality`.
        pan: see `nst_rt.metrics.pan_error`; None without the photos of scikit-image.
    """

    painting: str
    quality: Quality
    pan: PanError | None


@dataclass(frozen=True)
class Evaluation:
    """What was measured of a model; `dataclasses.asdict` makes JSON values of it.

    Attributes:
        model: as it was named.
        engine: engine, precision and device that painted.
        parameters: of the network.
        photos: how many the objectives are medians over.
        skipped: photos that cannot be read -> why.
        iterations: of the optimizer.
        fps: frame size, such as `640x480` -> frames per second.
        styles: style name -> its figures.
    """

    model: str
    engine: str
    parameters: int
    photos: int
    skipped: Mapping[str, str]
    iterations: int
    fps: Mapping[str, float]
    styles: Mapping[str, StyleEvaluation]


def evaluate_model(
    model: Path | str,
    photos: Path | str | Sequence[Photo],
    style: Path | str | Mapping[str, Path | str],
    *,
    count: int = 50,
    held_out: bool = False,
    optimizer_photos: int = 5,
    iterations: int = ITERATIONS,
    backend: BackendName = "auto",
    device: str | None = None,
    precision: Precision = "auto",
    on_progress: OnProgress | None = None,
) -> Evaluation:
    """Measure a style model, painting through `Stylizer`, as its users do.

    Where scikit-image, whose photos the pan error is of, is not installed, the rest is measured.

    Args:
        model: a style of the gallery, a model file, or FILE:NAME.
        photos: a collection, see `find_photos`, or its photos; none should be of the training.
        style: the painting that the style was trained on; of a file of several styles, style name
            -> painting for those to measure.
        count: how many photos, the first ones that can be read.
        held_out: take only photos that training on this collection holds out.
        optimizer_photos: how many of these the optimizer runs on, which takes most of the time.
        iterations: of the optimizer.
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
    if min(optimizer_photos, iterations) < 0:
        raise InputError(
            "the optimizer's photos and iterations must be 0 or more, not "
            f"{optimizer_photos} and {iterations}"
        )
    loaded, files = _load_model(model, style)
    paintings = {name: load_image(file, size=PAINTING_SIZE) for name, file in files.items()}
    chosen, skipped = _load_photos(_candidates(photos, held_out), count)
    judged = list(chosen.values())
    try:
        panned = pan_photos()
    except InputError as error:
        logger.warning("%s", error)
        panned = []
    stylizer = Stylizer(
        loaded, loaded.style_names[0], backend=backend, device=device, precision=precision
    )

    work = len(judged) + len(panned) * PAN_FRAMES
    work += len(judged[:optimizer_photos]) * (iterations + 1) * _ITERATION_COST
    progress = _Progress(len(paintings) * work, on_progress)
    fps = {}
    for width, height in progress.over(_TIMED_SIZES, "speed", cost=0):
        frame = fitted_frame(next(iter(chosen)).load(), width, height)
        fps[f"{width}x{height}"] = frames_per_second(stylizer.stylize, frame)
    styles = {}
    for name, painting in paintings.items():
        stylizer.set_style(name)
        objective = QualityObjective(painting)
        objectives = [
            objective(_painted(stylizer, photo), photo)
            for photo in progress.over(judged, f"{name}: objective")
        ]
        curves = [
            list(
                progress.over(
                    objective.descent(photo, iterations), f"{name}: optimizer", _ITERATION_COST
                )
            )
            for photo in judged[:optimizer_photos]
        ]
        moving = progress.over(panned, f"{name}: pan error", PAN_FRAMES)
        styles[name] = StyleEvaluation(
            painting=str(files[name]),
            quality=quality(objectives, curves),
            pan=pan_error(stylizer.stylize, moving) if panned else None,
        )
    return Evaluation(
        model=str(model),
        engine=str(stylizer),
        parameters=loaded.parameters,
        photos=len(judged),
        skipped=skipped,
        iterations=iterations,
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
    for title in ("objective", "L-BFGS iterations", "ratio", "pan error", "relative"):
        table.add_column(title, justify="right")
    for name, style in evaluation.styles.items():
        table.add_row(
            name,
            f"{style.quality.objective:.2f}",
            _iterations(style.quality, evaluation.iterations),
            "-" if style.quality.ratio is None else f"{style.quality.ratio:.2f}",
            *([f"{style.pan.error:.3f}", f"{style.pan.relative:.2f}"] if style.pan else "--"),
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
            f"photos: {evaluation.photos}",
            *([f"photos skipped: {len(skipped)} ({', '.join(skipped)})"] if skipped else []),
            "",
            *(line.rstrip() for line in capture.get().splitlines()),
        ]
    )


def _iterations(quality: Quality, limit: int) -> str:
    """Equivalent iterations as `14 (12 to >50)`."""
    if not quality.iterations:
        return "-"
    known = sorted(i for i in quality.iterations if i is not None)
    texts = [str(i) for i in known] + [f">{limit}"] * (len(quality.iterations) - len(known))
    median = f">{limit}" if quality.median_iterations is None else f"{quality.median_iterations:g}"
    return f"{median} ({texts[0]} to {texts[-1]})" if len(texts) > 1 else median


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


def _load_photos(photos: Sequence[Photo], count: int) -> tuple[dict[Photo, Tensor], dict[str, str]]:
    """The first photos that can be read, as the objective has them, and why others cannot."""
    loaded: dict[Photo, Tensor] = {}
    skipped = {}
    for photo in photos:
        if len(loaded) == count:
            break
        try:
            loaded[photo] = quality_photo(photo.load())
        except InputError as error:
            logger.warning("skipped a photo: %s", error)
            skipped[str(photo)] = str(error)
    if not loaded:
        raise InputError("none of the photos can be read")
    return loaded, skipped


def _painted(stylizer: Stylizer, photo: Tensor) -> Tensor:
    return frame_to_tensor(stylizer.stylize(tensor_to_frame(photo)))
