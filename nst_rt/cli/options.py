"""Options that several verbs share."""

import argparse
import ast
from importlib.util import find_spec
from pathlib import Path
from typing import Any

MODEL_HELP = "name of a style (see nst-rt styles), model FILE, or FILE:NAME"
STYLE_HELP = f"{MODEL_HELP}; or a blend: starry_night=0.7,great_wave=0.3"


def add_style_arguments(parser: argparse.ArgumentParser, *, over_time: bool = False) -> None:
    """Add the options of style and post-processing, named as the keyword arguments of the library.

    Args:
        parser: parser of a verb.
        over_time: whether the style may change over time, as in a video.
    """
    add = parser.add_argument
    change = "; or styles over time: starry_night@0,great_wave@12.5" if over_time else ""
    add("--style", metavar="S", help=STYLE_HELP + change)
    if over_time:
        add("--fade", type=float, metavar="SECONDS", help="duration of cross-fades; by default 1")
    add("--strength", type=float, metavar="X", help="strength of the style, 0 to 1")
    add("--preserve-colors", action="store_true", help="keep the colors of the input")
    add("--compare", action="store_true", help="split screen with the input on the left")
    add(
        "--stroke-size",
        metavar="S",
        help="distance between strokes: a percentage of the long side (2%%), pixels (40px), or 1:1 "
        "to stylize at full size; by default 2%%",
    )


_STYLE_SETTINGS = ("style", "fade", "strength", "preserve_colors", "compare", "stroke_size")
_BACKEND_SETTINGS = ("backend", "device", "precision")


def take_style_settings(options: dict[str, Any]) -> dict[str, Any]:
    """Take the keyword arguments of `load_frame_stylizer` out of the options of a verb."""
    names = (*_STYLE_SETTINGS, *_BACKEND_SETTINGS)
    return {name: options.pop(name) for name in names if name in options}


def add_overwrite(parser: argparse.ArgumentParser) -> None:
    """Add `--overwrite`."""
    parser.add_argument("--overwrite", action="store_true", help="replace an existing output")


def add_vgg_weights(parser: argparse.ArgumentParser) -> None:
    """Add `--vgg-weights`."""
    parser.add_argument(
        "--vgg-weights", metavar="W", help="caffe, torchvision or a file; default: caffe"
    )


def add_backend_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose backend, device and precision."""
    add = parser.add_argument
    add("--backend", metavar="B", help="inference backend: auto, openvino, torch or onnx")
    add("--device", metavar="D", help="device: cpu, cuda, ...; by default the fastest")
    add("--precision", metavar="P", help="precision: auto, f32, bf16 or f16")


def signature_defaults(function: str) -> dict[str, Any]:
    """Defaults of a function's keyword arguments, for help texts.

    They are read from its source, since importing it may import torch, and help is to answer at
    once. Defaults that are neither literals nor constants of the same file are left out.

    Args:
        function: `package.module:name`.
    """
    module, _, name = function.partition(":")
    package, *rest = module.split(".")[1:]
    spec = find_spec(f"nst_rt.{package}")
    assert spec is not None
    assert spec.origin is not None
    file = Path(spec.origin).parent.joinpath(*rest).with_suffix(".py") if rest else spec.origin
    tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    constants = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    signature = next(
        node.args for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name
    )
    found = {}
    for argument, default in zip(signature.kwonlyargs, signature.kw_defaults, strict=True):
        if isinstance(default, ast.Name):
            default = constants.get(default.id)
        if default is not None:
            try:
                found[argument.arg] = ast.literal_eval(default)
            except ValueError:
                continue
    return found
