"""Stylize photos: one, several, or whole folders and archives of them."""

import argparse
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nst_rt.cli.learning import (
    LEARNING,
    add_learning_arguments,
    check_style_image,
    preview_of,
)
from nst_rt.cli.mistakes import check_inputs, check_suffix, expanded, kind_of
from nst_rt.cli.options import (
    add_backend_arguments,
    add_overwrite,
    add_style_arguments,
)
from nst_rt.cli.report import (
    Report,
    loading,
    only_python_on_stderr,
    progress,
    quantity,
    tell,
)
from nst_rt.errors import PartialResultError

SHORT = "stylize photos"
EXAMPLES = (
    "photo.jpg --style starry_night",
    "photo.jpg -o out.png --style starry_night=0.7,great_wave=0.3",
    "*.jpg holiday/ -o stylized/",
    "photos/ -o stylized/ --ray auto --resume",
    "photo.jpg --style-image painting.jpg",
)
DEFAULTS_OF = "nst_rt.infer.photos:stylize_images"


def add_arguments(p: argparse.ArgumentParser) -> None:
    add = p.add_argument
    add(
        "paths",
        metavar="IN",
        nargs="+",
        help="photos, folders or zip archives of photos, or text files with a path a line",
    )
    add(
        "-o",
        "--output",
        metavar="OUT",
        help="image to write, or folder for several photos (default: IN_STYLE.EXT in the current "
        "folder)",
    )
    add_style_arguments(p)
    add(
        "--size",
        type=int,
        metavar="PX",
        help="long side of the output, pixels (default: the photo's)",
    )
    add(
        "--max-pixels",
        type=int,
        metavar="N",
        help="maximum number of pixels of a photo, width times height; larger ones are skipped "
        "(default: as many as fit into memory)",
    )
    add(
        "--memory",
        type=float,
        metavar="GB",
        help="memory to use, GB (default: half of what is free)",
    )
    add(
        "--ray",
        metavar="ADDRESS",
        help="share the photos among the machines of a Ray cluster, which share the folders: auto "
        "for the cluster that this machine belongs to, HOST:6379, or ray://HOST:10001 from "
        "outside; see docs/farm.md",
    )
    add(
        "--resume",
        action="store_true",
        help="keep existing outputs, and make those that are missing or older than their photos",
    )
    add_overwrite(p)
    add_backend_arguments(p)
    add_learning_arguments(p, "the photos")


def run(
    paths: list[str], *, output: str | None = None, ray: str | None = None, **options: Any
) -> Report:
    """Stylize photos: one, several, or whole folders and archives of them."""
    paths = expanded(paths)
    check_inputs(paths, "image")
    check_style_image(options)
    if len(paths) == 1 and kind_of(paths[0]) == "image":  # a collection goes to a folder
        check_suffix(output, ".png")
    if ray is not None:
        return _farmed(paths, output, ray=ray, **options)
    with loading():
        from nst_rt.infer.photos import stylize_images

    options |= preview_of(options, output)
    with progress("stylizing") as advance:
        done = stylize_images(paths, output, progress=advance, **options)
    for reason in done.skipped.values():
        tell(f"skipped a photo: {reason}")
    first = done.images[0] if len(done.images) == 1 else None
    folders = [image.output.parent for image in done.images]
    folder = output or (folders and os.path.commonpath(folders)) or Path.cwd()
    counts = [str(first.output) if first else f"{folder}: {quantity(len(folders), 'photo')}"]
    counts += [f"{first.width}x{first.height}"] if first else []
    counts += [f"{done.kept} kept"] if done.kept else []
    counts += [f"{len(done.skipped)} skipped"] if done.skipped else []
    facts = {
        "images": [asdict(image) | {"output": str(image.output)} for image in done.images],
        "kept": done.kept,
        "skipped": dict(done.skipped),
        "backend": done.backend,
    }
    exit_code = PartialResultError.exit_code if done.skipped else 0
    return Report(", ".join([*counts, done.backend]), facts, exit_code)


def _farmed(paths: list[str], output: str | None, *, ray: str, **options: Any) -> Report:
    """Stylize photos on the machines of a Ray cluster."""
    with loading():
        from nst_rt.infer.farm.images import stylize_images_on_farm

    options |= preview_of(options, output)
    learning: Any = {name: options.pop(name) for name in LEARNING if name in options}
    image = learning.pop("style_image", None)
    with only_python_on_stderr(), progress("stylizing") as advance:
        done = stylize_images_on_farm(
            paths,
            output,
            ray=ray,
            progress=advance,
            style_image=image,
            learning=learning,
            **options,
        )
    counts = [f"{output or done.folder}: {quantity(done.done, 'photo')}"]
    counts += [f"{done.kept} kept"] if done.kept else []
    counts += [f"{done.failed} failed, see {done.failures}"] if done.failed else []
    facts = asdict(done) | {"folder": str(done.folder)}
    facts["failures"] = done.failures and str(done.failures)
    exit_code = PartialResultError.exit_code if done.failed else 0
    return Report(", ".join([*counts, done.backend]), facts, exit_code)
