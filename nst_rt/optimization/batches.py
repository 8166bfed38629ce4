"""The optimizer on many images: content images that share a style, pairs of a list, or a contact
sheet of settings to compare.
"""

import csv
import inspect
import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from nst_rt.errors import (
    InputError,
    InterruptedWorkError,
    NotFiniteError,
    PartialResultError,
    StyleTransferError,
    UnknownNameError,
)
from nst_rt.files import check_input, check_not_input, partial_path
from nst_rt.images.contact_sheet import contact_sheet
from nst_rt.images.inputs import File, ImageSource
from nst_rt.images.io import check_image_output, save_image
from nst_rt.optimization.optimizer import Optimization
from nst_rt.optimization.runs import (
    OnIterate,
    OptimizeResult,
    check_no_partial,
    input_files,
    leftovers,
    optimize_to_file,
)
from nst_rt.progress import Progress

logger = logging.getLogger(__name__)

_COLUMNS = ("content", "style_image", "output")


@dataclass(frozen=True)
class OptimizeJob:
    """An image to optimize.

    Attributes:
        content: content image.
        style: style images.
        output: image file to write.
        origin: where the job comes from, such as a line of a list, for messages.
        settings: keyword arguments of `Optimization` for this job alone.
    """

    content: Path
    style: Sequence[Path]
    output: Path
    origin: str
    settings: Mapping[str, Any] = field(default_factory=dict)


def optimize_jobs(
    jobs: Sequence[OptimizeJob],
    *,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
    on_iterate: OnIterate | None = None,
    **settings: Any,
) -> list[OptimizeResult]:
    """Optimize several images into files; one that fails does not stop the others.

    Args:
        jobs: what to make of what.
        overwrite: whether to replace existing files.
        resume: whether to skip jobs whose output exists, and to continue interrupted ones.
        progress: called with the number of jobs that are done, their number, and a note.
        on_iterate: called with each iterate.
        settings: keyword arguments of `Optimization` for all jobs.

    Raises:
        InputError: a file that cannot be used; nothing was optimized then.
        OutputExistsError: an output exists and neither `overwrite` nor `resume` is set.
        InterruptedWorkError: after Ctrl-C.
        PartialResultError: some jobs failed; the others are done.
    """
    for job in jobs:
        try:
            for path in (job.content, *job.style):
                check_input(path)
            check_image_output(job.output, overwrite=overwrite or resume)
        except StyleTransferError as error:
            raise type(error)(f"{job.origin}: {error}") from error
    outputs = [job.output for job in jobs]
    if twice := {str(path) for path in outputs if outputs.count(path) > 1}:
        raise InputError(f"{jobs[0].origin}: outputs that occur twice: {', '.join(sorted(twice))}")
    inputs = [
        file
        for job in jobs
        for file in input_files(job.content, job.style, {**settings, **job.settings})
    ]
    check_not_input([file for out in outputs for file in (out, *leftovers(out))], inputs)
    done, failed = [], []
    for number, job in enumerate(jobs):
        interrupted = partial_path(job.output).with_suffix(".pt").exists()
        if resume and job.output.exists() and not interrupted:
            continue
        try:
            result = optimize_to_file(
                job.content,
                job.style,
                job.output,
                # An interrupted run was allowed to replace its output; one that cannot be
                # continued starts over.
                overwrite=overwrite or resume,
                resume=resume and interrupted,
                progress=_shifted(progress, number, len(jobs), job.output.name),
                on_iterate=on_iterate,
                **{**settings, **job.settings},
            )
        except InterruptedWorkError:
            raise
        except StyleTransferError as error:
            logger.warning("%s: %s", job.origin, error)
            failed.append(job.origin)
        else:
            done.append(result)
    if failed:
        raise PartialResultError(
            f"{len(failed)} of {len(jobs)} images failed: {', '.join(failed)}", done
        )
    return done


def _shifted(progress: Progress | None, number: int, count: int, name: str) -> Progress | None:
    """Progress of one of several jobs, as progress of all."""
    if progress is None:
        return None
    return lambda done, total, note: progress(
        number + done, count, f"{number + 1}/{count} {name}  {note}"
    )


def optimize_list(
    path: File, *, parse: Callable[[str, str], Any], **settings: Any
) -> list[OptimizeResult]:
    """Optimize all lines of a CSV file.

    Its columns are `content`, `style_image` (several with `;` between them), `output`, and any
    keyword arguments of `Optimization`, which replace `settings` where they are not empty. Files
    are relative to the list's folder.

    Args:
        path: the CSV file, with a header.
        parse: turns the name and the text of an argument into its value.
        settings: keyword arguments of `optimize_jobs`.

    Raises:
        InputError: the list, or a file or text in it, cannot be used; nothing was optimized then.
        UnknownNameError: a column that is not an argument; likewise.
        StyleTransferError: see `optimize_jobs`.
    """
    path = check_input(path)
    known = set(inspect.signature(Optimization).parameters) - {"style", "dtype"} | {*_COLUMNS}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            rows = [(reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a CSV file ({error})") from error
    header = list(reader.fieldnames or []) if rows else []
    if missing := [name for name in _COLUMNS if name not in header]:
        raise InputError(
            f"{path}: no column {', '.join(missing)}; the first line must name "
            f"{', '.join(_COLUMNS)}, and a line for each image must follow"
        )
    for name in header:
        if name not in known:
            raise UnknownNameError(f"column of {path}", name, sorted(known))
    jobs = []
    for number, row in rows:
        origin = f"{path}, line {number}"
        if None in row or None in row.values():
            few_or_many = "many" if None in row else "few"
            raise InputError(f"{origin}: too {few_or_many} columns")
        content, style, output = (row.pop(name) for name in _COLUMNS)
        try:
            changes = {name: parse(name, text) for name, text in row.items() if text}
        except (ValueError, StyleTransferError) as error:
            raise InputError(f"{origin}: {error}") from error
        for name in {"content_mask", "init"} & set(changes):
            changes[name] = _beside(path, changes[name])
        if "style_masks" in changes:
            changes["style_masks"] = [_beside(path, mask) for mask in changes["style_masks"]]
        styles = [path.parent / name for name in style.split(";")]
        jobs.append(
            OptimizeJob(path.parent / content, styles, path.parent / output, origin, changes)
        )
    return optimize_jobs(jobs, **settings)


def _beside(path: Path, name: str) -> str:
    """The file of that name beside `path`; if there is none, the name, which may be a color."""
    file = path.parent / name
    return str(file) if file.is_file() else name


def optimize_grid(
    content: ImageSource,
    style: ImageSource | Sequence[ImageSource],
    output: File,
    grid: Mapping[str, Sequence[tuple[str, object]]],
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
    **settings: Any,
) -> Path:
    """Make a contact sheet: the image optimized with each combination of some settings.

    After Ctrl-C the sheet of the finished cells is in `OUT.partial.EXT`.

    Args:
        content, style: see `nst_rt.optimize`.
        output: image file to write.
        grid: keyword argument of `Optimization` -> its values, each with its text in the caption;
            the last argument varies along the rows.
        overwrite: whether to replace an existing file.
        progress: called with the number of cells that are done, their number, and a note.
        settings: the other keyword arguments of `Optimization`.

    Raises:
        InputError: an input that cannot be used in some cell; nothing was optimized then.
        OutputExistsError: the output exists already and `overwrite` is False.
        InterruptedWorkError: after Ctrl-C.
        PartialResultError: the loss of a cell became NaN or infinite; those before it are kept.
    """
    target = check_image_output(output, overwrite=overwrite)
    check_no_partial(target, overwrite=overwrite)
    cells = []
    for values in itertools.product(*grid.values()):
        chosen = {name: value for name, (_, value) in zip(grid, values, strict=True)}
        inputs = input_files(content, style, {**settings, **chosen})
        check_not_input([target, partial_path(target)], inputs)
        caption = "  ".join(f"{name} {text}" for name, (text, _) in zip(grid, values, strict=True))
        Optimization(content, style, **{**settings, **chosen})  # checks the arguments
        cells.append((caption, chosen))
    captions, columns = [caption for caption, _ in cells], len(list(grid.values())[-1])
    images: list[Tensor] = []
    try:
        for caption, chosen in cells:
            of_cell = _shifted(progress, len(images), len(cells), caption)
            for iterate in Optimization(content, style, **{**settings, **chosen}):
                if of_cell is not None:
                    of_cell(iterate.progress, 1, iterate.summary)
            images.append(iterate.image)
            if len(images) < len(cells):
                sheet = contact_sheet(images, captions[: len(images)], columns=columns)
                save_image(sheet, partial_path(target), overwrite=True)
    except (KeyboardInterrupt, NotFiniteError) as error:
        if not images:
            raise
        kept = f"{len(images)} of {len(cells)} images are in {partial_path(target)}"
        if isinstance(error, KeyboardInterrupt):
            raise InterruptedWorkError(f"interrupted: {kept}") from error
        raise PartialResultError(f"{caption}: {error}; {kept}") from error
    save_image(contact_sheet(images, captions, columns=columns), target, overwrite=overwrite)
    partial_path(target).unlink(missing_ok=True)
    return target
