"""What verbs share that can learn a style from a style image."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nst_rt.cli.mistakes import check_inputs
from nst_rt.cli.options import constant
from nst_rt.cli.report import progress
from nst_rt.errors import InputError, StyleTransferError

if TYPE_CHECKING:
    from nst_rt.infer.learning.learn import Learning
    from nst_rt.models.style_model import StyleModel

# The options of `add_learning_arguments`.
LEARNING = (
    "style_image",
    "minutes",
    "photos",
    "style_size",
    "style_weight",
    "start_from",
    "save_style",
)


def preview_of(options: Mapping[str, Any], output: str | None) -> dict[str, Any]:
    """The option `preview` of a style that is learned: an image beside the output, on a terminal.

    Without a terminal, nobody would be told of it. An existing file is never replaced.
    """
    if "style_image" not in options or not sys.stderr.isatty():
        return {}
    from nst_rt.learning.request import style_name

    beside = Path(output or ".")
    folder = beside if beside.is_dir() else beside.parent
    preview = folder / f"{style_name(options['style_image'])}_learning.jpg"
    return {"preview": str(preview)} if folder.is_dir() and not preview.exists() else {}


def add_learning_arguments(parser: argparse.ArgumentParser, content: str) -> None:
    """Add the options of a style that is learned from a style image.

    Args:
        parser: parser of a verb.
        content: what it is learned on.
    """
    request = "nst_rt.learning.request"
    group = parser.add_argument_group("a style image instead of a style")
    add = group.add_argument
    add(
        "--style-image",
        metavar="FILE",
        help=f"image whose style to learn, within minutes, on {content}; several: "
        "a.jpg=0.7,b.jpg=0.3; what was learned is kept for the next time",
    )
    add(
        "--minutes",
        type=float,
        metavar="M",
        help="minutes to learn, also if the style is known already (default: until it gets no "
        f"better, at most {constant('nst_rt.infer.learning.learn:MOST_MINUTES'):g})",
    )
    add(
        "--photos",
        metavar="P",
        help="further photos to learn on: a folder, a zip archive or a list",
    )
    add(
        "--style-size",
        type=int,
        metavar="PX",
        help="long side of the style image, pixels; more makes larger strokes (default: 384 to "
        "768, the larger the finer its details are)",
    )
    add(
        "--style-weight",
        type=float,
        metavar="W",
        help="weight of the style against the content (default: "
        f"{constant(f'{request}:STYLE_WEIGHT'):g})",
    )
    add(
        "--from",
        dest="start_from",
        metavar="S",
        help="style or model file to start from (default: the gallery's most similar style)",
    )
    add("--save-style", metavar="FILE", help="write what was learned as a model file, too")


def check_style_image(options: Mapping[str, Any]) -> None:
    """Notice mistakes in `--style-image`, such as the name of a style, before PyTorch is imported.

    Raises:
        InputError: a missing file, a file of another kind, or a style as well.
    """
    text = options.get("style_image")
    if text is None:
        return
    if Path(text).is_file() or not {"=", ","} & set(text):
        check_inputs([text], "image")
    if "style" in options:
        raise InputError("give either `style` or `style_image`, not both")


def take_learning(
    options: dict[str, Any], output: str | None, *, overwrite: bool, resumes: bool
) -> "Learning | None":
    """The style image to learn, if there is one; its options are removed from `options`.

    Raises:
        InputError: it cannot be used.
    """
    from nst_rt.infer.learning.learn import learning_for

    given: Any = {name: options.pop(name) for name in LEARNING if name in options}
    given |= preview_of(given, output)
    image = given.pop("style_image", None)
    return learning_for(None, None, image, given, overwrite=overwrite, resumes=resumes)


def learned_style(learning: "Learning", videos: Sequence[str], folder: Path | None) -> "StyleModel":
    """Learn a style on frames of videos for a folder of outputs, with a progress bar."""
    from nst_rt.infer.learning.learn import learned_for_folder
    from nst_rt.infer.video.learned import frames_of_videos

    with progress("learning") as advance:
        frames = frames_of_videos(videos)
        return learned_for_folder(learning, frames, folder, progress=advance, are_alike=True)


def possible_conversions(targets: Mapping[str, Path], options: Mapping[str, Any]) -> list[str]:
    """The videos that can be converted with these options, as far as can be seen beforehand."""
    from nst_rt.infer.video import ConversionSettings, check_conversion

    known = {field.name for field in fields(ConversionSettings)} & options.keys()
    settings = ConversionSettings(**{name: options[name] for name in known})
    videos = []
    for source, output in targets.items():
        with suppress(StyleTransferError):  # told when its turn comes
            check_conversion(source, output, settings)
            videos.append(source)
    return videos
