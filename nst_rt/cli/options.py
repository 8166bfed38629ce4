"""Options that several verbs share."""

import argparse
import ast
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from nst_rt.cli.mistakes import size_meant
from nst_rt.errors import InputError

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
        add("--fade", type=float, metavar="SECONDS", help="duration of cross-fades (default: 1)")
    add("--strength", type=float, metavar="X", help="strength of the style, 0 to 1")
    add("--preserve-colors", action="store_true", help="keep the colors of the input")
    add("--compare", action="store_true", help="split screen with the input on the left")
    add(
        "--stroke-size",
        metavar="S",
        help="distance between strokes: a percentage of the long side (2%%), pixels (40px), or 1:1 "
        "to stylize at full size (default: 2%%)",
    )


def style_images_by_name(given: Sequence[str]) -> str | dict[str, str]:
    """One style image, or several by name: FILE, whose stem is the name, or NAME=FILE."""

    def is_named(text: str) -> bool:
        return "=" in text and not Path(text).is_file()

    if len(given) == 1 and not is_named(given[0]):
        return given[0]
    pairs = [
        text.partition("=") if is_named(text) else (Path(text).stem, "=", text) for text in given
    ]
    style_images = {name: file for name, _, file in pairs}
    if len(style_images) < len(given):
        raise InputError("several style images have the same name; give NAME=FILE for each")
    return style_images


def add_overwrite(parser: argparse.ArgumentParser) -> None:
    """Add `--overwrite`."""
    parser.add_argument("--overwrite", action="store_true", help="replace an existing output")


def add_backend_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose backend, device and precision."""
    add = parser.add_argument
    add("--backend", metavar="B", help="inference backend: auto, openvino, torch or onnx")
    add("--device", metavar="D", help="device: cpu, cuda, ... (default: the fastest)")
    add("--precision", metavar="P", help="precision: auto, f32, bf16 or f16")


def whole_number(text: str) -> int:
    """The value of an option with `type=int`.

    Raises:
        ArgumentTypeError: not a whole number.
    """
    try:
        return int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"must be a whole number, not {text!r}{size_meant(text, sides=1)}"
        ) from error


def number(text: str) -> float:
    """The value of an option with `type=float`.

    Raises:
        ArgumentTypeError: not a number.
    """
    try:
        return float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"must be a number, not {text!r}") from error


def frame_size(text: str) -> tuple[int, int]:
    """The value of an option such as 640x480: width and height.

    Raises:
        ArgumentTypeError: not a size.
    """
    width, x, height = text.lower().partition("x")
    if not (x and width.isdecimal() and height.isdecimal()):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a size such as 640x480{size_meant(text, sides=2)}"
        )
    return int(width), int(height)


def signature_defaults(function: str) -> dict[str, Any]:
    """Defaults of the keyword arguments of a function or class, for help texts.

    They are read from its source, since importing it may import torch, and help is to answer at
    once. Defaults that are neither literals nor constants of the same file are left out.

    Args:
        function: `package.module:name`.
    """
    tree, arguments = _signature(function)
    found = {}
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        if isinstance(default, ast.Name):
            default = _assigned(tree, default.id)
        if default is not None:
            try:
                found[argument.arg] = ast.literal_eval(default)
            except ValueError:
                continue
    return found


def signature_types(function: str) -> dict[str, str | tuple[str, ...]]:
    """Types of the keyword arguments of a function or class: the annotation, or a Literal's values.

    Args:
        function: `package.module:name`.

    Returns:
        Name -> annotation without `| None`, such as `Sequence[float]`; or the tuple of the values
        of a `Literal`, whose alias may be imported from another module of nst_rt.
    """
    tree, arguments = _signature(function)
    found: dict[str, str | tuple[str, ...]] = {}
    for argument in arguments.kwonlyargs:
        assert argument.annotation is not None
        text = ast.unparse(argument.annotation).removesuffix(" | None")
        found[argument.arg] = (text.isidentifier() and _literal(tree, text)) or text
    return found


def _literal(tree: ast.Module, alias: str) -> tuple[str, ...]:
    """Values of the alias of a Literal; empty if it is something else."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and alias in (name.name for name in node.names):
            return _literal(_source(str(node.module)), alias)
    value = _assigned(tree, alias)
    if isinstance(value, ast.Subscript) and ast.unparse(value.value) == "Literal":
        values = ast.literal_eval(value.slice)
        return values if isinstance(values, tuple) else (values,)
    return ()


def _signature(function: str) -> tuple[ast.Module, ast.arguments]:
    module, _, name = function.partition(":")
    tree = _source(module)
    kinds = (ast.FunctionDef, ast.ClassDef)
    found = next(node for node in tree.body if isinstance(node, kinds) and node.name == name)
    if isinstance(found, ast.ClassDef):
        methods = (node for node in found.body if isinstance(node, ast.FunctionDef))
        found = next(node for node in methods if node.name == "__init__")
    return tree, found.args


def _assigned(tree: ast.Module, name: str) -> ast.expr | None:
    """The value that a module assigns to a name."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == name for target in node.targets
        ):
            return node.value
    return None


@cache
def _source(module: str) -> ast.Module:
    package, *rest = module.split(".")[1:]
    spec = find_spec(f"nst_rt.{package}")
    assert spec is not None
    assert spec.origin is not None
    file = (
        Path(spec.origin).parent.joinpath(*rest).with_suffix(".py") if rest else Path(spec.origin)
    )
    return ast.parse(file.read_text(encoding="utf-8"))
