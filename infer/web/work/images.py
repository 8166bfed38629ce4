"""Jobs that stylize several images, one after the other, into one archive."""

import zipfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nst_rt.errors import InputError, PartialResultError, StyleTransferError
from nst_rt.images.io import Frame, save_image
from nst_rt.infer.frame_stylizer import FrameStylizer, label_of
from nst_rt.infer.web.decoding.images import whole_image
from nst_rt.infer.web.decoding.pool import Decoders
from nst_rt.infer.web.jobs import Job
from nst_rt.infer.web.settings import Settings, TooLargeError
from nst_rt.infer.web.stylizers import SharedStylizer, parse_choice
from nst_rt.infer.web.uploads import Upload, visitor_message
from nst_rt.infer.web.work.plan import (
    Find,
    Plan,
    at_low_priority,
    offer_preview,
    output_name,
    style_title,
)

_MAX_IMAGES = 1000  # of one job
_PREVIEW_SIZE = 640  # pixels of the long side


def plan_images(
    asked: Mapping[str, Any],
    find: Find,
    shared: SharedStylizer,
    settings: Settings,
    decoders: Decoders,
) -> Plan:
    """Plan to stylize images at full size; one that cannot be stylized does not stop the others.

    If it is stopped, the images so far are the result.
    """
    ids = asked.get("images")
    if not isinstance(ids, list) or not 1 <= len(ids) <= _MAX_IMAGES:
        raise InputError(f"choose between 1 and {_MAX_IMAGES} images")
    images = [find(id, "image") for id in dict.fromkeys(map(str, ids))]
    choice = parse_choice(asked.get("choice"))
    stylizer = shared.in_style(choice)
    frame_stylizer = FrameStylizer(stylizer, post_processing=choice.post_processing)
    suffix = ".jpg" if asked.get("format") == "jpg" else ".png"
    count = len(images)

    def work(job: Job) -> None:
        names: set[str] = set()
        failed: list[str] = []
        archived = job.folder / "images.zip"
        with zipfile.ZipFile(archived, "w") as archive:  # images are compressed already
            for done, image in enumerate(images):
                try:
                    job.report(done / count, f"stylized {len(names)} of {count}")
                except TooLargeError as error:  # what there is room for can be kept
                    failed.append(str(error))
                    break
                if job.stopping:
                    break
                file = job.folder / f"image{suffix}"
                try:
                    stylized = write_stylized(image, frame_stylizer, file, decoders)
                except (StyleTransferError, MemoryError) as error:
                    too_large = isinstance(error, MemoryError)
                    reason = (
                        "too large for the memory" if too_large else visitor_message(error, image)
                    )
                    failed.append(reason if image.name in reason else f"{image.name}: {reason}")
                    continue
                name = _unused(output_name(image, stylizer, suffix), names)
                names.add(name)
                archive.write(file, name)
                file.unlink()
                offer_preview(job, stylized, size=_PREVIEW_SIZE)
        job.note = f"stylized {len(names)} of {count}"
        if not names:
            first = failed[0] if failed else "stopped before an image was stylized"
            raise InputError(first if count == 1 else f"{first}; none of {count} images is done")
        job.offer(archived)
        job.facts["name"] = f"images_{label_of(stylizer)}.zip"
        if failed:
            more = f", and {len(failed) - 1} more" if len(failed) > 1 else ""
            raise PartialResultError(f"left out: {failed[0]}{more}")

    names = style_title(choice)
    title = f"{count} images, {names}" if count > 1 else f"{images[0].name}, {names}"
    pixels = float(sum(image.pixels() for image in images))
    return Plan(title, at_low_priority(work), tuple(images), pixels)


def write_stylized(
    image: Upload, frame_stylizer: FrameStylizer, file: Path, decoders: Decoders
) -> Frame:
    """Stylize an image at full size into a file, with its transparency; returns the frame.

    Raises:
        InputError: it is too small or cannot be decoded.
        TooLargeError: there is no room for it while it is decoded.
    """
    room = image.pixels() * 5  # three bytes of colors, two of alpha
    frame, levels = decoders.run(image.path, partial(whole_image, image.path), writes=room)
    stylized = frame_stylizer.stylize(frame, 0)
    alpha = None
    if levels is not None:
        alpha = torch.from_numpy(levels.astype(np.float32) / np.float32(65535))[None, None]
    save_image(stylized, file, alpha=alpha, overwrite=True)
    return stylized


def _unused(name: str, names: set[str]) -> str:
    """The name, or the first numbered one that no other image has."""
    path, number, unused = Path(name), 2, name
    while unused in names:
        unused = f"{path.stem}_{number}{path.suffix}"
        number += 1
    return unused
