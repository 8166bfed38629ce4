"""Stylize images with the per-image optimizer: any style image, no training."""

import argparse
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nst_rt.cli.mistakes import check_inputs, check_suffix, expanded
from nst_rt.cli.options import (
    add_overwrite,
    constant,
    number,
    shown,
    signature_defaults,
    signature_types,
    whole_number,
)
from nst_rt.cli.report import Report, loading, progress, quantity
from nst_rt.errors import InputError, UnknownNameError
from nst_rt.files import check_not_input, partial_path

if TYPE_CHECKING:
    from nst_rt.optimization.runs import OptimizeResult

SHORT = "any image as the style"
EXAMPLES = (
    "photo.jpg --style-image art.jpg",
    "photo.jpg --style-image art.jpg -o out.png --size 768 --style-weight 20",
    "photo.jpg --style-image art.jpg --size 256 --grid style_weight=3,10,30",
    "photo.jpg --style-image art.jpg --like-training --grid style_weight=4,8,16",
    "*.jpg --style-image night.jpg wave.jpg --blend 0.7,0.3 -o stylized",
    "--list pairs.csv",
)
DEFAULTS_OF = "nst_rt.optimization.optimizer:Optimization"

_FOR_ONE_IMAGE = ("save_every", "timelapse", "plot")


def run(
    content: Sequence[str] = (),
    style_image: Sequence[str] = (),
    output: str | None = None,
    *,
    pairs: str | None = None,
    grid: list[tuple[str, list[str]]] | None = None,
    **options: Any,
) -> Report:
    """Optimize one image or several, the lines of a list, or the cells of a contact sheet."""
    if pairs is not None and (content or style_image or output or grid):
        raise InputError("`list` already names all files; give no other file, and no `grid`")
    if pairs is None and not content and len(style_image) > 1:
        *style_images, last = style_image
        raise InputError(
            f"no content image, as `style_image` takes all files that follow; give it first: "
            f"nst-rt optimize {last} --style-image {' '.join(style_images)}"
        )
    if pairs is None and not (content and style_image):
        missing = "`style_image`" if content else "a content image and then `style_image`"
        raise InputError(f"give {missing}, or `list`")
    several = pairs is not None or grid is not None or len(content) > 1
    if several and (unfit := [name for name in _FOR_ONE_IMAGE if name in options]):
        raise InputError(f"`{unfit[0]}` is for one image")
    if grid is not None and (len(content) > 1 or "resume" in options):
        raise InputError("`grid` is for one image, and without `resume`")
    content = expanded(content)
    # Both in one list, so that the answer to the name of a style names the content image.
    check_inputs([*content, *style_image], "image")
    if len(content) == 1:
        check_suffix(output, ".png")
    with loading():
        from nst_rt.optimization.batches import (
            OptimizeJob,
            optimize_grid,
            optimize_jobs,
            optimize_list,
        )
        from nst_rt.optimization.runs import input_files, optimize_to_file
    with progress("optimizing", counted=False) as advance:
        options["progress"] = advance
        if pairs is not None:
            return _report_of_several(optimize_list(pairs, parse=parse_setting, **options))
        outputs = _outputs(content, style_image, output, "_grid" if grid else "")
        if grid is not None:
            cells = _cells(grid)
            sheet = optimize_grid(content[0], style_image, outputs[0], cells, **options)
            count = math.prod(len(values) for values in cells.values())
            facts = {"output": str(sheet), "images": count}
            return Report(f"{sheet}: {quantity(count, 'image')}", facts)
        if len(content) > 1:
            styles = [Path(path) for path in style_image]
            jobs = [
                OptimizeJob(Path(path), styles, target, path)
                for path, target in zip(content, outputs, strict=True)
            ]
            return _report_of_several(optimize_jobs(jobs, **options))
        if "timelapse" in options:
            from nst_rt.infer.video.timelapse import timelapse

            video = Path(options["timelapse"])
            inputs = input_files(content[0], style_image, options)
            check_not_input([video, partial_path(video)], inputs)
            overwrite = options.get("overwrite", False)
            options["timelapse"] = timelapse(options["timelapse"], overwrite=overwrite)
        start = time.perf_counter()
        result = optimize_to_file(content[0], style_image, outputs[0], **options)
    facts = _facts(result) | {"seconds": round(time.perf_counter() - start, 1)}
    losses = ", ".join(f"{name} {facts[name]:.4g}" for name in ("content", "style", "total"))
    steps = " + ".join(f"{count} at {size} px" for size, count in result.schedule)
    steps = quantity(result.iterate.steps, "step") + (f" ({steps})" if "+" in steps else "")
    size = f", style size {result.style_size}" if result.style_size is not None else ""
    return Report(f"{result.output}: {steps} in {facts['seconds']} s, {losses}{size}", facts)


def _outputs(
    content: Sequence[str], style: Sequence[str], output: str | None, suffix: str
) -> list[Path]:
    """Output of each content image: `output`, or CONTENT_STYLE.png in a folder."""
    folder = Path(output or "")
    is_folder = folder.is_dir() or (output or "").endswith("/")
    if output is not None and len(content) == 1 and not is_folder:
        return [folder]
    if not folder.is_dir():
        if folder.suffix:
            raise InputError(f"{folder}: not a folder; several images need one, such as out/")
        folder.mkdir()
    styles = "_".join(Path(path).stem for path in style)
    return [folder / f"{Path(path).stem}_{styles}{suffix}.png" for path in content]


def _cells(grid: Sequence[tuple[str, Sequence[str]]]) -> dict[str, list[tuple[str, Any]]]:
    cells: dict[str, list[tuple[str, Any]]] = {}
    for name, texts in grid:
        if name in cells:
            raise InputError(f"`grid` {name}: given twice; put all values into one")
        cells[name] = [(text, parse_setting(name, text.replace("+", ","))) for text in texts]
    return cells


def _report_of_several(done: "Sequence[OptimizeResult]") -> Report:
    lines = [f"{result.output}: total {result.iterate.total:.4g}" for result in done]
    text = "\n".join([*lines, quantity(len(done), "image")])
    return Report(text, {"images": [_facts(result) for result in done]})


def _facts(result: "OptimizeResult") -> dict[str, Any]:
    names = ("steps", "content", "style", "tv", "total")
    facts = {name: getattr(result.iterate, name) for name in names}
    if result.style_size is not None:
        facts["style_size"] = result.style_size
    return {"output": str(result.output), **facts}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb; those in `_SETTINGS` are arguments of `Optimization`."""
    add = parser.add_argument
    add("content", metavar="CONTENT", nargs="*", help="content image, or several")
    add(
        "--style-image",
        metavar="FILE",
        nargs="+",
        help="style image, or several to blend (required, unless --list is given)",
    )
    add(
        "-o",
        "--output",
        metavar="OUT",
        help="image to write, or folder for several (default: CONTENT_STYLE.png in the current "
        "folder)",
    )
    types = signature_types(DEFAULTS_OF)
    preset = parser.add_mutually_exclusive_group()
    for name, (metavar, text) in _SETTINGS.items():
        kind = types[name]
        to = preset if name == "preset" else parser
        optional: Any = {"nargs": "?", "const": "luminance"} if name == "preserve_colors" else {}
        to.add_argument(
            f"--{name.replace('_', '-')}",
            type=_READERS.get(kind, str),
            metavar=metavar or None,
            choices=None if isinstance(kind, str) else kind,
            help=text,
            **optional,
        )
    weight = shown(constant("nst_rt.learning.request:STYLE_WEIGHT"))
    preset.add_argument(
        "--like-training",
        dest="preset",
        action="store_const",
        const="training",
        help="short for --preset training: a preview of what a network would learn from the style "
        f"image with --style-weight (default: {weight}) and --style-size",
    )
    add(
        "--save-every",
        type=int,
        metavar="N",
        help="also write OUT-NNNN.EXT every N steps (default: 0, never)",
    )
    add("--timelapse", metavar="FILE", help="write a video of all steps: .mp4, .mkv or .mov")
    add("--plot", metavar="FILE", help="write a chart of the losses: .png, .jpg, .pdf or .svg")
    add("--resume", action="store_true", help="continue an interrupted run of the same options")
    add(
        "--list",
        dest="pairs",
        metavar="CSV",
        help="optimize the lines of a list with the columns content, style_image, output, and "
        "names of options",
    )
    add(
        "--grid",
        action="append",
        type=_grid,
        metavar="NAME=A,B,...",
        help="make a contact sheet over values of an option, such as style_weight=1,3,10 or "
        "content_layers=relu3_1,relu4_2 (+ joins layers); give it twice for rows and columns",
    )
    add_overwrite(parser)


def further_defaults() -> dict[str, Any]:
    """Those of the default preset."""
    rates = constant("nst_rt.optimization.presets:_LEARNING_RATES")
    return {
        **signature_defaults("nst_rt.optimization.presets:OptimizerSettings"),
        "learning_rate": ", ".join(f"{shown(rate)} for {name}" for name, rate in rates.items()),
    }


def parse_setting(name: str, text: str) -> Any:
    """The value of an argument of `Optimization` that is written as `text`.

    Raises:
        InputError: a text that cannot be read.
        UnknownNameError: an unknown argument.
    """
    name = name.replace("-", "_")
    if name not in _SETTINGS:
        raise UnknownNameError("option", name, _SETTINGS)
    try:
        return _READERS.get(signature_types(DEFAULTS_OF)[name], str)(text)
    except argparse.ArgumentTypeError as error:
        raise InputError(f"{name}: {error}") from error


def _list_of(kind: Callable[[str], Any]) -> Callable[[str], list[Any]]:
    """Reads values with commas between them."""
    return lambda text: [kind(value) for value in text.split(",")]


def layers(text: str) -> dict[str, float]:
    """`relu4_2` or `relu3_1=0.3,relu4_2=0.7`."""
    found = {}
    for layer in text.split(","):
        name, _, weight = layer.partition("=")
        if name.strip() in found:
            raise argparse.ArgumentTypeError(f"the layer {name.strip()} is named twice")
        found[name.strip()] = number(weight or "1")
    return found


def _grid(text: str) -> tuple[str, list[str]]:
    name, equals, values = text.partition("=")
    if not equals or not values:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE,VALUE,...")
    return name.strip().replace("-", "_"), [value.strip() for value in values.split(",")]


# By type from `signature_types`; all others are texts.
_READERS: Mapping[str | tuple[str, ...], Callable[[str], Any]] = {
    "int": whole_number,
    "float": number,
    "int | Sequence[int]": _list_of(whole_number),
    "Sequence[float]": _list_of(number),
    "Sequence[Path | str]": _list_of(str),
    "Mapping[str, float]": layers,
}

# Name -> metavar, unless the argument has choices, and help.
_SETTINGS: Mapping[str, tuple[str, str]] = {
    "preset": (
        "",
        "settings to start from, of which the options below replace some; their defaults are "
        "those of "
        "balanced",
    ),
    "size": ("PX", "long side of the result, pixels"),
    "steps": (
        "N[,N...]",
        "number of steps at each size: images are optimized small first, then at twice the size, "
        "up "
        "to --size; the last number is for all further sizes",
    ),
    "optimizer": ("", "lbfgs takes the fewest steps, adam the least memory"),
    "learning_rate": ("R", "learning rate for pixels in [0, 1]"),
    "min_size": ("PX", "long side of the first, smallest size, pixels"),
    "content_weight": ("W", "weight of the content loss; more keeps more of the content image"),
    "style_weight": ("W", "weight of the style loss; more is a stronger style"),
    "tv_weight": ("W", "weight of the total variation loss, for smoothness"),
    "content_layers": ("L[=W],...", "VGG19 layers of the content loss, with weights (1 without)"),
    "style_layers": (
        "L[=W],...",
        "VGG19 layers of the style loss, with weights (1 without); Keras' names are also accepted",
    ),
    "pooling": ("", "how VGG19 reduces its feature maps"),
    "init": (
        "I",
        "start from content, recolored (content in the style image's colors), style, noise or an "
        "image file",
    ),
    "seed": ("N", "seed of the noise that --init noise starts from"),
    "blend": ("W,W,...", "weight of each style image (default: equal)"),
    "style_scale": ("X", "size of the strokes, 1 for that of the style image at the result's size"),
    "style_size": (
        "PX",
        "with --like-training: long side of the style image as it would be learned, pixels; more "
        "makes larger strokes (default: 384 to 768, the larger the finer its details are, as in "
        "nst-rt image)",
    ),
    "preserve_colors": (
        "",
        "keep the colors of the content image (luminance, also without a value), or give them to "
        "the "
        "style images first (match)",
    ),
    "content_mask": ("FILE", "image in which each region of the content image has one flat color"),
    "style_masks": (
        "M,M,...",
        "mask of each style image: such a file, or the color of the region that takes it",
    ),
    "memory": ("GB", "memory limit, GB (default: what is free; on a CPU tiles of a few GB)"),
    "device": ("D", "device such as cpu or cuda (default: a GPU if there is one)"),
    "vgg_weights": ("W", "VGG19 weights: caffe, torchvision or a file"),
}
