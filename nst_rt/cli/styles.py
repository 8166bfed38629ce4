"""List the styles that ship and those that were learned, or show a photo in those that ship."""

import argparse
from pathlib import Path
from typing import Any

from nst_rt.cli.mistakes import check_inputs
from nst_rt.cli.options import add_overwrite
from nst_rt.cli.report import Report, loading, progress, table_text
from nst_rt.errors import InputError

SHORT = "list the styles"
EXAMPLES = ("", "photo.jpg -o sheet.png")
DEFAULTS_OF = "nst_rt.infer.style_sheet:style_sheet"


def add_arguments(p: argparse.ArgumentParser) -> None:
    add = p.add_argument
    add("photo", metavar="PHOTO", nargs="?", help="photo to stylize in every style")
    add("-o", "--output", metavar="SHEET", help="image to write (default: PHOTO_styles.png)")
    add("--size", type=int, metavar="PX", help="long side of each image on the sheet, pixels")
    add_overwrite(p)


def run(*, photo: str | None = None, **options: Any) -> Report:
    """List the styles that ship and those that were learned, or show a photo in those that ship."""
    if photo is not None:
        return _sheet(photo, **options)
    if options:
        raise InputError(f"`{next(iter(options))}` needs a photo: nst-rt styles PHOTO -o SHEET")
    from nst_rt.learning.library import Library
    from nst_rt.models.style_model import StyleModel, gallery_files

    columns = ("name", "title", "artist", "year", "license")
    facts = {
        style.name: {column: getattr(style, column) for column in columns}
        for file in dict.fromkeys(gallery_files().values())
        for style in StyleModel.load(file).styles
    }
    rows = [list(fact.values())[:-1] for fact in facts.values()]
    text = table_text(columns[:-1], rows)
    library = Library()
    if learned := list(library):
        cells = [[style.name, style.summary, style.file.name] for style in learned]
        text += f"\n\nlearned, for --style-image or --style FILE, in {library.folder}:\n"
        text += table_text(("name", "how", "file"), cells)
    facts |= {str(s.file): {"name": s.name, "learned": dict(s.record)} for s in learned}
    return Report(text, facts)


def _sheet(
    photo: str, *, output: str | None = None, overwrite: bool = False, **options: Any
) -> Report:
    check_inputs([photo], "image")
    with loading():
        from nst_rt.files import check_not_input
        from nst_rt.images.io import check_image_output, save_image
        from nst_rt.infer.style_sheet import style_sheet
    target = check_image_output(output or f"{Path(photo).stem}_styles.png", overwrite=overwrite)
    check_not_input([target], [photo])
    with progress("stylizing") as advance:
        sheet = style_sheet(photo, progress=advance, **options)
    save_image(sheet, target, overwrite=overwrite)
    height, width = sheet.shape[-2:]
    return Report(
        f"{target}: {width}x{height}", {"output": str(target), "width": width, "height": height}
    )
