"""The options that say what the result looks like: styles, blends, styles over time, and how they
are shown.
"""

import argparse
from typing import TYPE_CHECKING, Any

from nst_rt.errors import InputError

if TYPE_CHECKING:
    from nst_rt.infer.frame_stylizer import FrameStylizer
    from nst_rt.infer.postprocess import PostProcessing
    from nst_rt.infer.stylizer import Stylizer

STYLE_HELP = "a name of nst-rt styles, a model FILE or FILE:NAME; default: starry_night"
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
