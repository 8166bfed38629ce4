"""Pictures about pictures: loss curves and contact sheets."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from nst_rt.files import atomic_output, check_format
from nst_rt.images.io import frame_to_tensor, tensor_to_frame


class LossRecord(NamedTuple):
    """The losses of an iterate, and its long side in pixels."""

    step: int
    size: int
    content: float
    style: float
    tv: float
    total: float


PLOT_SUFFIXES = (".png", ".jpg", ".pdf", ".svg")


def check_plot(path: Path | str, *, overwrite: bool = False) -> Path:
    """`check_output` for a plot, whose suffix must name a format.

    Raises:
        InputError: an unknown suffix.
        OutputExistsError: it exists and `overwrite` is False.
    """
    return check_format(path, "plot", PLOT_SUFFIXES, overwrite=overwrite)


def plot_losses(records: Sequence[LossRecord], path: Path) -> None:
    """Draw the terms and the total over the steps; dotted lines part the scales."""
    steps = [record.step for record in records]
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for term, line in (("total", 2.0), ("content", 1.2), ("style", 1.2), ("tv", 1.2)):
        values = [getattr(record, term) for record in records]
        axes.plot(steps, values, label=term, linewidth=line)
    sizes = [record.size for record in records]
    for step, old, new in zip(steps[1:], sizes, sizes[1:], strict=False):
        if new != old:
            axes.axvline(step, color="gray", linestyle=":")
            axes.annotate(f"{new} px", (step, 1), xycoords=("data", "axes fraction"), fontsize=8)
    axes.set(xlabel="step", ylabel="loss, before weighting (total: weighted)", yscale="log")
    axes.legend()
    with atomic_output(path) as temporary:
        figure.savefig(temporary, dpi=120)


def contact_sheet(images: Sequence[Tensor], captions: Sequence[str], *, columns: int) -> Tensor:
    """Images in rows, in cells of the largest one's size, a caption under each.

    Args:
        images: shape (1, 3, H, W) each, RGB in [0, 1].
        captions: as many.
        columns: images per row.

    Returns:
        Shape (1, 3, H', W').
    """
    height, width = (max(image.shape[side] for image in images) for side in (-2, -1))
    letter = max(width / 24, 10)
    line = round(letter * 1.6)
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * width, rows * (height + line)), "white")
    draw = ImageDraw.Draw(sheet)
    for index, (image, caption) in enumerate(zip(images, captions, strict=True)):
        x, y = index % columns * width, index // columns * (height + line)
        sheet.paste(Image.fromarray(tensor_to_frame(image)[:, :, ::-1]), (x, y))
        size = letter
        font = ImageFont.load_default(size)
        while (length := font.getlength(caption)) > width and size > 1:
            size = max(size * min(width / length, 0.95), 1)
            font = ImageFont.load_default(size)
        draw.text((x + width / 2, y + height + line / 2), caption, "black", font, "mm")
    return frame_to_tensor(np.array(sheet)[:, :, ::-1])
