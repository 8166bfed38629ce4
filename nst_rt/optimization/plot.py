"""Chart of the losses of an optimization."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from nst_rt.errors import InputError
from nst_rt.files import atomic_output, check_format

PLOT_SUFFIXES = (".png", ".jpg", ".pdf", ".svg")


class LossRecord(NamedTuple):
    """Losses of an iterate; `size` is the long side of its image in pixels."""

    step: int
    size: int
    content: float
    style: float
    tv: float
    total: float


def check_plot(path: Path | str, *, overwrite: bool = False) -> Path:
    """`check_format` for a chart; an InputError, too, if there is no matplotlib."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise InputError("charts need matplotlib: pip install 'nst-rt[plot]'") from error
    return check_format(path, "plot", PLOT_SUFFIXES, overwrite=overwrite)


def plot_losses(records: Sequence[LossRecord], path: Path) -> None:
    """Draw the loss terms and their total over the steps; dotted lines separate image sizes."""
    from matplotlib.figure import Figure

    steps = [record.step for record in records]
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for term, width in (("total", 2.0), ("content", 1.2), ("style", 1.2), ("tv", 1.2)):
        axes.plot(steps, [getattr(record, term) for record in records], label=term, linewidth=width)
    for before, record in pairwise(records):
        if record.size != before.size:
            axes.axvline(record.step, color="gray", linestyle=":")
            top = ("data", "axes fraction")
            axes.annotate(f"{record.size} px", (record.step, 1), xycoords=top, fontsize=8)
    axes.set(xlabel="step", ylabel="loss, before weighting (total: weighted)", yscale="log")
    axes.legend()
    with atomic_output(path) as temporary:
        figure.savefig(temporary, dpi=120)
