"""Options that several verbs share."""

import argparse
import ast
from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from nst_rt.cli.mistakes import size_meant
from nst_rt.errors import InputError
from nst_rt.times import parse_time

MODEL_HELP = "name of a style (see nst-rt styles), model FILE, or FILE:NAME"
STYLE_HELP = f"{MODEL_HELP}; or a blend: starry_night=0.7,great_wave=0.3"


def add_style_arguments(parser: argparse.ArgumentParser, *, over_time: bool = False) -> None:
    """Add the options of style and post-processing, named as the keyword arguments of the library.

    Args:
        parser: parser of a verb.
        over_time: whether the style may change over time, as in a video.
    """
    add = parser.add_argument
    fraction = constant("nst_rt.infer.strokes:DEFAULT_FRACTION")
    change = "; or styles over time: starry_night@0,great_wave@12.5" if over_time else ""
    add("--style", metavar="S", help=STYLE_HELP + change)
    if over_time:
        add("--fade", type=float, metavar="SECONDS", help="duration of cross-fades, seconds")
    add("--strength", type=float, metavar="X", help="strength of the style, 0 (none) to 1 (full)")
    add("--preserve-colors", action="store_true", help="keep the colors of the input")
    add(
        "--compare",
        action="store_true",
        help="show the input on the left half, the result on the right",
    )
    add(
        "--stroke-size",
        metavar="S",
        help="distance between strokes: a percentage of the long side, such as 3%%; pixels, such "
        "as "
        f"40px; or 1:1 to stylize at full size (default: {fraction:.0%}%)",
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
    add("--device", metavar="D", help="device: cpu, cuda or cuda:1, ... (default: the fastest)")
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


def side_or_size(text: str) -> int | tuple[int, int]:
    """The value of an option such as 1280, the long side in pixels, or 640x480.

    Raises:
        ArgumentTypeError: neither.
    """
    if text.isdecimal():
        return int(text)
    try:
        return frame_size(text)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a long side such as 1280 nor a size such as 640x480"
            + size_meant(text, sides=1)
        ) from error


def time(text: str) -> float:
    """The value of an option such as 90 or 0:01:30, in seconds.

    Raises:
        ArgumentTypeError: not a time.
    """
    try:
        return parse_time(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 90 or 0:01:30") from error


def frame_rate(text: str) -> Fraction | float:
    """The value of an option such as 25 or 30000/1001, in frames per second.

    Raises:
        ArgumentTypeError: not a rate.
    """
    try:
        return Fraction(text) if "/" in text else float(text)
    except (ValueError, ZeroDivisionError) as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a rate such as 25 or 30000/1001"
        ) from error


def signature_defaults(function: str) -> dict[str, Any]:
    """Defaults of the keyword arguments of a function or class, for help texts.

    They are read from its source, since importing it may import torch, and help is to answer at
    once. Defaults that are neither literals nor constants of nst_rt are left out.

    Args:
        function: `package.module:name`; of a dataclass, the defaults of its fields.
    """
    module, _, name = function.partition(":")
    tree = _source(module)
    found = next(n for n in tree.body if isinstance(n, _DEFINITIONS) and n.name == name)
    fields = [n for n in found.body if isinstance(n, ast.AnnAssign) and n.value is not None]
    if isinstance(found, ast.ClassDef) and fields:
        pairs = [(ast.unparse(field.target), field.value) for field in fields]
    else:
        arguments = _signature(function)[1]
        named = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        pairs = [(argument.arg, default) for argument, default in named]
    values = {name: _value(tree, node) for name, node in pairs if node is not None}
    return {name: value for name, value in values.items() if value is not _UNKNOWN}


def constant(name: str) -> Any:
    """The value of a constant, `package.module:NAME`, read from the source for help texts."""
    module, _, name = name.partition(":")
    value = _value(_source(module), ast.Name(name))
    assert value is not _UNKNOWN
    return value


def _value(tree: ast.Module, node: ast.expr) -> Any:
    """The value of a literal, or of a name for one; `_UNKNOWN` for anything else."""
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "field":
        # field(default_factory=lambda: dict(NAME))
        node = [each for each in ast.walk(node) if isinstance(each, ast.Name)][-1]
    if isinstance(node, ast.Name):
        for each in tree.body:
            if isinstance(each, ast.ImportFrom) and str(each.module).startswith("nst_rt."):
                for alias in each.names:
                    if node.id == (alias.asname or alias.name):
                        return _value(_source(str(each.module)), ast.Name(alias.name))
        assigned = _assigned(tree, node.id)
        return _UNKNOWN if assigned is None else _value(tree, assigned)
    try:
        return ast.literal_eval(node)
    except ValueError:
        return _UNKNOWN


def shown(value: Any) -> str:
    """A default as one types it: 30 for 30.0, 150,100 for a tuple, relu1_1,relu2_1 for layers."""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, dict):
        return ",".join(
            name if weight == 1 else f"{name}={shown(weight)}" for name, weight in value.items()
        )
    return ",".join(map(shown, value)) if isinstance(value, tuple) else str(value)


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


_UNKNOWN = object()
_DEFINITIONS = (ast.FunctionDef, ast.ClassDef)


def _signature(function: str) -> tuple[ast.Module, ast.arguments]:
    module, _, name = function.partition(":")
    tree = _source(module)
    found = next(node for node in tree.body if isinstance(node, _DEFINITIONS) and node.name == name)
    if isinstance(found, ast.ClassDef):
        methods = (node for node in found.body if isinstance(node, ast.FunctionDef))
        found = next(node for node in methods if node.name == "__init__")
    return tree, found.args


def _assigned(tree: ast.Module, name: str) -> ast.expr | None:
    """The value that a module assigns to a name."""
    for node in tree.body:
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AnnAssign):
            targets = [node.target]
        else:
            continue
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            return node.value
    return None


@cache
def _source(module: str) -> ast.Module:
    package, *rest = module.split(".")[1:]
    spec = find_spec(f"nst_rt.{package}")
    assert spec is not None
    assert spec.origin is not None
    place = Path(spec.origin).parent.joinpath(*rest)
    if not rest:
        file = Path(spec.origin)
    else:
        file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    return ast.parse(file.read_text(encoding="utf-8"))
