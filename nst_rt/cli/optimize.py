"""Stylize one image with the per-image optimizer."""

import argparse
import math
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from nst_rt.cli.options import add_overwrite, add_vgg_weights
from nst_rt.cli.report import Report, progress
from nst_rt.errors import InputError, UnknownNameError

if TYPE_CHECKING:
    from nst_rt.optimization.optimizer import Iterate
    from nst_rt.optimization.runs import Painting


EXAMPLES = ("photo.jpg painting.jpg -o out.png --style-weight 20",)


def run(
    content: str | None = None,
    style: list[str] | None = None,
    output: str | None = None,
    *,
    batch: str | None = None,
    grid: list[tuple[str, list[str]]] | None = None,
    save_every: int = 0,
    **options: Any,
) -> Report:
    """Paint one picture with the per-image optimizer."""
    from nst_rt.optimization.batches import optimize_grid, optimize_list
    from nst_rt.optimization.runs import paint

    alone = {"timelapse", "plot"} & set(options) or ({"save-every"} if save_every else set())
    if (batch or grid) and alone:
        raise InputError(f"--{min(alone)} is for one picture, not for --batch or --grid")
    with progress("optimizing", counted=False) as advance:
        title = ""

        def on_iterate(iterate: "Iterate") -> None:
            advance(
                iterate.progress,
                1,
                f"{title}step {iterate.step}/{iterate.steps}  "
                f"{max(iterate.image.shape)} px  content {iterate.content:.4g}  "
                f"style {iterate.style:.4g}  tv {iterate.tv:.4g}",
            )

        def on_next(number: int, count: int, name: object) -> None:
            nonlocal title
            title = f"{number}/{count} {name}  "

        if batch is not None:
            if content or style or output or grid:
                raise InputError("--batch takes all files from its list; give nothing else")
            done = optimize_list(
                batch, parse=parse_setting, on_pair=on_next, on_iterate=on_iterate, **options
            )
            return _batch_report(done)
        if not (content and style and output):
            raise InputError("give a photo, one painting or more, and -o OUT; or --batch FILE")
        if grid is not None:
            if options.pop("resume", False):
                raise InputError("--resume is not for --grid")
            twice = {name for name, _ in grid if [n for n, _ in grid].count(name) > 1}
            if twice:
                raise InputError(f"--grid {min(twice)}: given twice; put all values into one")
            cells = {
                name: [(text, parse_setting(name, text.replace("+", ","))) for text in texts]
                for name, texts in grid
            }
            sheet = optimize_grid(
                content, style, output, cells, on_cell=on_next, on_iterate=on_iterate, **options
            )
            count = math.prod(len(values) for values in cells.values())
            return Report(f"{sheet}: {count} pictures", {"output": str(sheet), "pictures": count})
        start = time.perf_counter()
        painting = paint(
            content, style, output, save_every=save_every, on_iterate=on_iterate, **options
        )
    return _report(painting, time.perf_counter() - start)


def _report(painting: "Painting", seconds: float) -> Report:
    facts = _facts(painting) | {"seconds": round(seconds, 1)}
    return Report(
        "{output}: {steps} steps in {seconds} s, content {content:.4g}, style {style:.4g}, "
        "total {total:.4g}".format(**facts),
        facts,
    )


def _batch_report(done: "list[Painting]") -> Report:
    lines = [f"{p.output}: total {p.iterate.total:.4g}" for p in done]
    text = "\n".join([*lines, f"{len(done)} pictures"])
    return Report(text, {"pictures": [_facts(painting) for painting in done]})


def _facts(painting: "Painting") -> dict[str, Any]:
    names = ("steps", "content", "style", "tv", "total")
    losses = {name: getattr(painting.iterate, name) for name in names}
    return {"output": str(painting.output), **losses}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb; those that are named in `_SETTINGS` go to the library."""
    add = parser.add_argument
    add("content", metavar="CONTENT", nargs="?", help="the photo")
    add("style", metavar="STYLE", nargs="*", help="the painting, or several")
    add("-o", "--output", metavar="OUT", help="image to write")
    for name, (reader, metavar, text) in _SETTINGS.items():
        flag = "--" + name.replace("_", "-")
        spellings = [flag, flag.replace("colors", "colors")] if "colors" in flag else [flag]
        add(*spellings, dest=name, type=reader, metavar=metavar, help=text)
    add("--save-every", type=int, metavar="N", help="also write OUT-NNNN every N steps")
    add("--timelapse", metavar="FILE", help="video of all steps: .mp4, .mkv or .mov")
    add("--plot", metavar="FILE", help="picture of the losses: .png, .jpg, .pdf or .svg")
    add("--resume", action="store_true", help="go on with what Ctrl-C interrupted")
    add("--batch", metavar="CSV", help="many pairs; columns content, style, output, and options")
    add(
        "--grid",
        action="append",
        type=_grid,
        metavar="NAME=A,B,...",
        help="a contact sheet over values of an option, such as style_weight=1,3,10 or "
        "content_layers=relu3_1,relu4_2 (+ joins layers); twice for rows and columns",
    )
    add_overwrite(parser)
    add_vgg_weights(parser)


def parse_setting(name: str, text: str) -> Any:
    """The value of an option of `optimize` that is written as `text`.

    Raises:
        InputError: an option that is not there, or a text that it cannot have.
    """
    name = name.replace("-", "_")
    if name not in _SETTINGS:
        raise UnknownNameError("option", name, _SETTINGS)
    reader = _SETTINGS[name][0]
    try:
        return reader(text)
    except (ValueError, argparse.ArgumentTypeError) as error:
        raise InputError(f"{name}: {text!r} cannot be read ({error})") from error


def _numbers(text: str) -> list[float]:
    return [float(number) for number in text.split(",")]


def _steps(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def _names(text: str) -> list[str]:
    return text.split(",")


def _layers(text: str) -> dict[str, float]:
    """`relu4_2` or `relu3_1=0.3,relu4_2=0.7`."""
    layers = {}
    for part in text.split(","):
        name, _, weight = part.partition("=")
        if name.strip() in layers:
            raise argparse.ArgumentTypeError(f"the layer {name.strip()} is named twice")
        layers[name.strip()] = float(weight or 1)
    return layers


def _grid(text: str) -> tuple[str, list[str]]:
    name, equals, values = text.partition("=")
    if not equals or not values:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE,VALUE,...")
    return name.strip().replace("-", "_"), [value.strip() for value in values.split(",")]


# argparse names these in its messages.
for _reader, _name in ((_numbers, "numbers"), (_steps, "whole numbers"), (_layers, "layers")):
    _reader.__name__ = _name

_SETTINGS: Mapping[str, tuple[Callable[[str], Any], str, str]] = {
    "preset": (str, "P", "balanced, gatys, keras or multiscale; default: balanced"),
    "size": (int, "PX", "long side; default: 512"),
    "steps": (_steps, "N[,N...]", "per scale, coarsest first; default: the preset's"),
    "optimizer": (str, "O", "lbfgs or adam; default: the preset's"),
    "learning_rate": (float, "R", "default: the preset's"),
    "min_size": (int, "PX", "long side of the coarsest scale; default: the preset's"),
    "content_weight": (float, "W", "default: the preset's"),
    "style_weight": (float, "W", "the number to play with; default: the preset's"),
    "tv_weight": (float, "W", "smoothness; default: the preset's"),
    "content_layers": (_layers, "L[=W],...", "of VGG19, with weights; default: the preset's"),
    "style_layers": (_layers, "L[=W],...", "likewise; Keras' names are known too"),
    "pooling": (str, "P", "max, average or l2; default: the preset's"),
    "init": (str, "I", "start from content, style, noise or an image file"),
    "seed": (int, "N", "of noise; default: 0"),
    "mix": (_numbers, "W,W,...", "how much of each painting; default: equal parts"),
    "style_scale": (float, "X", "size of the strokes; default: 1"),
    "preserve_colors": (str, "HOW", "of the photo: luminance or match"),
    "content_mask": (str, "FILE", "regions of the photo, in flat colors"),
    "style_masks": (_names, "M,M,...", "of each painting: such a file, or the color it is for"),
    "memory": (float, "GB", "that the work may take; default: what is free, with moderation"),
    "device": (str, "D", "cpu, cuda, ...; default: a GPU if there is one"),
}
