"""List the styles that ship, or stylize a photo with all of them."""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nst_rt.cli.options import add_overwrite
from nst_rt.cli.report import Report, progress
from nst_rt.errors import InputError

if TYPE_CHECKING:
    from nst_rt.models.style_model import Style

_PREVIEW_WIDTH = 36  # characters


EXAMPLES = (
    "",
    "photo.jpg --sheet sheet.png",
)


def add_arguments(p: argparse.ArgumentParser) -> None:
    """The arguments of `styles`."""
    p.add_argument("photo", metavar="PHOTO", nargs="?", help="to paint in every style")
    p.add_argument("--sheet", metavar="OUT", help="image of all of them to write")
    p.add_argument("--size", type=int, metavar="N", help="pixels of each picture; default: 480")
    add_overwrite(p)


def run(
    *,
    photo: str | None = None,
    sheet: str | None = None,
    size: int | None = None,
    overwrite: bool = False,
) -> Report:
    """List the styles that ship with the toolkit, or paint a photo in all of them."""
    from nst_rt.models.style_model import list_styles

    if (photo is None) != (sheet is None):
        raise InputError("a sheet needs a photo and a file: nst-rt styles PHOTO --sheet OUT.png")
    if photo is not None and sheet is not None:
        return _style_sheet(photo, sheet, size=size, overwrite=overwrite)
    known = list_styles()
    facts = {
        name: {key: getattr(style, key) for key in ("name", "title", "artist", "year", "license")}
        for name, style in known.items()
    }
    if sys.stdout.isatty():
        return Report(_style_previews(list(known.values())), facts)
    lines = [
        f"{name}: {style.title}, {style.artist}, {style.year}" for name, style in known.items()
    ]
    return Report("\n".join(lines), facts)


def _style_sheet(photo: str, sheet: str, *, size: int | None, overwrite: bool) -> Report:
    from nst_rt.files import check_not_input
    from nst_rt.images.io import check_image_output, save_image
    from nst_rt.infer.previews import style_sheet

    target = check_image_output(sheet, overwrite=overwrite)
    check_not_input([target], [photo])
    with progress("painting") as advance:
        picture = style_sheet(
            photo, **({} if size is None else {"size": size}), on_progress=advance
        )
    save_image(picture, target, overwrite=overwrite)
    height, width = picture.shape[-2:]
    return Report(
        f"{target}: {width}x{height}", {"output": str(target), "width": width, "height": height}
    )


def _style_previews(styles: "Sequence[Style]") -> str:
    """The styles as a grid of small pictures, as wide as the terminal."""
    from rich.columns import Columns
    from rich.console import Console, Group
    from rich.text import Text

    from nst_rt.infer.previews import preview_text

    console = Console(emoji=False, markup=False)
    cells = [
        Group(
            preview_text(style, _PREVIEW_WIDTH),
            Text(style.name, "bold"),
            Text(f"{style.title}, {style.artist}, {style.year}\n"),
        )
        for style in styles
    ]
    with console.capture() as capture:
        console.print(Columns(cells, width=_PREVIEW_WIDTH, padding=(0, 1)))
    return capture.get().rstrip()
