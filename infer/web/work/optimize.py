"""Jobs that optimize an image."""

import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nst_rt.errors import InputError
from nst_rt.images.convert import tensor_to_frame
from nst_rt.images.io import save_image
from nst_rt.infer.web.decoding.images import image_values
from nst_rt.infer.web.decoding.pool import Decoders
from nst_rt.infer.web.jobs import Job
from nst_rt.infer.web.settings import Settings
from nst_rt.infer.web.stylizers import SharedStylizer
from nst_rt.infer.web.uploads import Upload
from nst_rt.infer.web.work.plan import Find, Plan, at_low_priority, number, offer_preview
from nst_rt.optimization.inputs import PreserveColors
from nst_rt.optimization.optimizer import Iterate, Optimization

MAX_OPTIMIZED_SIZE = 2048  # pixels of the long side
_PREVIEW_SECONDS = 0.5  # between two previews


def plan_optimize(
    asked: Mapping[str, Any],
    find: Find,
    shared: SharedStylizer,
    settings: Settings,
    decoders: Decoders,
) -> Plan:
    """Plan to optimize an image; if it is stopped, the best image so far is the result."""
    content = find(asked.get("content"), "image")
    style_image = find(asked.get("style_image"), "image")
    size = number(asked.get("size", 512), int)
    if not 32 <= size <= MAX_OPTIMIZED_SIZE:
        raise InputError(f"the size must be between 32 and {MAX_OPTIMIZED_SIZE} pixels, not {size}")
    weight = asked.get("style_weight")
    style_weight = None if weight is None else number(weight, float)
    preserve_colors: PreserveColors | None = "luminance" if asked.get("preserve_colors") else None

    def decoded(image: Upload) -> Tensor:
        values = partial(image_values, image.path, size)
        return torch.from_numpy(decoders.run(image.path, values, writes=12 * size**2))

    def show(job: Job, iterate: Iterate) -> None:
        offer_preview(job, tensor_to_frame(iterate.image), size=MAX_OPTIMIZED_SIZE)

    def work(job: Job) -> None:
        job.report(0, "loading VGG19")
        iterates = Optimization(
            decoded(content),
            decoded(style_image),
            size=size,
            style_weight=style_weight,
            preserve_colors=preserve_colors,
        )
        shown = 0.0
        for iterate in iterates:
            job.curve.append((iterate.step, iterate.total, max(iterate.image.shape[-2:])))
            job.report(iterate.progress, f"step {iterate.step} of {iterate.steps}")
            if time.monotonic() - shown > _PREVIEW_SECONDS:
                show(job, iterate)
                shown = time.monotonic()
            if job.stopping:
                break
        best = iterates.best
        assert best is not None
        save_image(best.image, job.folder / "image.png")
        job.offer(job.folder / "image.png")
        job.facts["name"] = f"{Path(content.name).stem}_{Path(style_image.name).stem}.png"
        show(job, best)
        height, width = best.image.shape[-2:]
        job.note = f"{width}x{height} pixels after {iterate.step} of {iterate.steps} steps"

    title = f"{content.name} as {style_image.name}"
    return Plan(title, at_low_priority(work), (content, style_image), _pixels(content, size))


def _pixels(content: Upload, size: int) -> float:
    """Number of pixels of an image at a size of its long side."""
    width, height = content.facts["width"], content.facts["height"]
    return float(size**2 * min(width, height) / max(width, height))
