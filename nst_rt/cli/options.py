"""The options that say what the result looks like: styles, blends, styles over time, and how they
are shown.
"""

import argparse
import ast
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nst_rt.errors import InputError

if TYPE_CHECKING:
    from nst_rt.infer.frame_stylizer import FrameStylizer
    from nst_rt.infer.postprocess import PostProcessing
    from nst_rt.infer.stylizer import Stylizer

STYLE_HELP = "a name of nst-rt styles, a model FILE or FILE:NAME; default: starry_night"
MODEL_HELP = STYLE_HELP.partition(";")[0]
STROKE_SIZE_HELP = (
    "distance between strokes: of the picture's long side (2%%), in pixels (40px), or 1:1 to "
    "stylize at full size; default: 2%%"
)

_LOOK = ("strength", "preserve_colors", "compare")
_STYLIZER = ("stroke_size", "backend", "device", "precision")


def add_post_processing_arguments(
    parser: argparse.ArgumentParser, *, over_time: bool = False
) -> None:
    """Add the options of styles and looks; `over_time` for videos, whose styles may change."""
    style = parser.add_mutually_exclusive_group()
    change = "; or styles over time: S@SECONDS,S@SECONDS" if over_time else ""
    style.add_argument("--style", metavar="S", help=STYLE_HELP.replace(";", f"{change};", 1))
    style.add_argument("--blend", metavar="S=W,S=W", help="styles and how much there is of each")
    add = parser.add_argument
    if over_time:
        add("--fade", type=float, metavar="SECONDS", help="between styles over time; default: 1")
    add("--strength", type=float, metavar="X", help="0 to 1; default: 1")
    add(
        "--preserve-colors", dest="preserve_colors", action="store_true", help="those of the source"
    )
    add("--compare", action="store_true", help="split screen, the source on the left")
    add("--stroke-size", metavar="S", help=STROKE_SIZE_HELP)


def take_painter(options: dict[str, Any]) -> "FrameStylizer":
    """What paints a video as the options say; those that it uses are taken out of them.

    Raises:
        StyleTransferError: see `load_frame_stylizer`.
    """
    from nst_rt.infer.frame_stylizer import load_frame_stylizer

    settings = _taken(options, "fade", *_LOOK, *_STYLIZER)
    return load_frame_stylizer(**_style(options), **settings)


def take_stylizer(options: dict[str, Any]) -> "tuple[Stylizer, PostProcessing]":
    """What paints photos as the options say; those that it uses are taken out of them.

    Raises:
        StyleTransferError: see `load_style` and `PostProcessing`.
    """
    from nst_rt.infer.postprocess import PostProcessing
    from nst_rt.infer.stylizer import load_style
    from nst_rt.infer.timeline import parse_style

    post_processing = PostProcessing(**_taken(options, *_LOOK))
    style = _style(options)
    if isinstance(text := style.get("style"), str):
        moments = parse_style(text).moments
        if len(moments) > 1:
            raise InputError("styles over time are for videos; --blend mixes styles in a photo")
        [(_, style["style"])] = moments
    settings = _taken(options, "memory", *_STYLIZER)
    return load_style(*style.values(), **settings), post_processing


def _style(options: dict[str, Any]) -> dict[str, Any]:
    from nst_rt.infer.timeline import parse_blend

    style = _taken(options, "style")
    if "blend" in options:
        style["style"] = parse_blend(options.pop("blend"))
    return style


def _taken(options: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: options.pop(name) for name in names if name in options}


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


def add_vgg_weights(parser: argparse.ArgumentParser) -> None:
    """Add `--vgg-weights`."""
    parser.add_argument(
        "--vgg-weights", metavar="W", help="caffe, torchvision or a file; default: caffe"
    )


def add_backend_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose backend, device and precision."""
    parser.add_argument(
        "--backend", metavar="B", help="auto, openvino, torch or onnx; default: auto"
    )
    parser.add_argument("--device", metavar="D", help="cpu, cuda, ...; default: the fastest")
    parser.add_argument("--precision", metavar="P", help="auto, f32, bf16 or f16; default: auto")


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
