"""Stylize a photo, or a collection of photos into a folder."""

import argparse
import sys
from typing import Any

from nst_rt.cli.options import (
    add_backend_arguments,
    add_overwrite,
    add_post_processing_arguments,
    take_stylizer,
)
from nst_rt.cli.report import Report, progress
from nst_rt.errors import InputError, PartialResultError

EXAMPLES = (
    "photo.jpg --style starry_night -o out.png",
    "holiday/ --blend starry_night=0.7,great_wave=0.3 -o stylized/",
)


def add_arguments(p: argparse.ArgumentParser) -> None:
    """The arguments of `image`, those of looks and engines excepted."""
    p.add_argument(
        "photo", metavar="PHOTO", help="the photo, or a folder, a zip archive or a list of photos"
    )
    p.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="OUT",
        help="image or, for several, folder to write",
    )
    p.add_argument("--resume", action="store_true", help="several: paint those that are missing")
    p.add_argument("--size", type=int, metavar="PX", help="long side; default: as it is")
    p.add_argument(
        "--max-pixels",
        type=int,
        metavar="N",
        help="maximum number of pixels of a photo; default: as many as the memory holds",
    )
    p.add_argument(
        "--memory", type=float, metavar="GB", help="to use at most; default: half of what is free"
    )
    add_overwrite(p)
    add_post_processing_arguments(p)
    add_backend_arguments(p)


def run(photo: str, output: str, **options: Any) -> Report:
    """Stylize a photo, or a collection of photos into a folder."""
    from nst_rt.files import check_input, check_not_input
    from nst_rt.images.collection import Photo, is_collection
    from nst_rt.images.io import check_image_output
    from nst_rt.infer.photos import stylize_image

    names = ("size", "max_pixels", "overwrite", "resume")
    painting = {name: options.pop(name) for name in names if name in options}
    if is_collection(photo):
        return _collection(photo, output, options, **painting)
    if painting.pop("resume", False):
        raise InputError("--resume goes with a folder, an archive or a list of photos")
    target = check_image_output(output, overwrite=painting.get("overwrite", False))
    source = Photo(check_input(photo))
    check_not_input([target], [source.path])
    stylizer, post_processing = take_stylizer(options)
    height, width = stylize_image(
        stylizer, source, target, post_processing=post_processing, **painting
    )
    return Report(
        f"{target}: {width}x{height}, {stylizer}",
        {"output": str(target), "width": width, "height": height, **_engine(stylizer)},
    )


def _collection(source: str, folder: str, style: dict[str, Any], **painting: Any) -> Report:
    from nst_rt.infer.photos import stylize_images

    stylizer, post_processing = take_stylizer(style)
    with progress("painting") as advance:
        batch = stylize_images(
            stylizer, source, folder, post_processing=post_processing, on_photo=advance, **painting
        )
    for reason in batch.skipped.values():
        print(f"nst-rt: skipped a photo: {reason}", file=sys.stderr)
    counts = [f"{len(batch.outputs)} photos"]
    counts += [f"{batch.kept} were there"] if batch.kept else []
    counts += [f"skipped: {len(batch.skipped)}"] if batch.skipped else []
    if not batch.outputs and not batch.kept:
        reason = next(iter(batch.skipped.values()))
        raise InputError(f"{source}: none of its photos became anything: {reason}")
    return Report(
        f"{batch.folder}: {', '.join(counts)}, {stylizer}",
        {
            "folder": str(batch.folder),
            "outputs": [str(output) for output in batch.outputs],
            "kept": batch.kept,
            "skipped": batch.skipped,
            **_engine(stylizer),
        },
        PartialResultError.exit_code if batch.skipped else 0,
    )


def _engine(stylizer: Any) -> dict[str, str]:
    return {name: getattr(stylizer, name) for name in ("backend", "device", "precision")}
