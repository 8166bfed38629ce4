"""The optimizer at work on many pictures: pairs of a list, or a sheet of settings to compare."""

import csv
import inspect
import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
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
from nst_rt.images.inputs import File, ImageSource, as_list, is_file
from nst_rt.images.io import check_image_output, save_image
from nst_rt.optimization.optimizer import optimize
from nst_rt.optimization.runs import OnIterate, Painting, paint

logger = logging.getLogger(__name__)


def optimize_list(
    pairs: File,
    *,
    overwrite: bool = False,
    resume: bool = False,
    parse: Callable[[str, str], Any],
    on_pair: Callable[[int, int, Path], None] | None = None,
    on_iterate: OnIterate | None = None,
    **settings: Any,
) -> list[Painting]:
    """Paint all pairs of a CSV file.

    Its columns are `content`, `style` (several with `;` between them) and `output`, and any
    arguments of `nst_rt.optimize`, which replace `settings` where they are not empty. Files are
    relative to the list's folder. A pair that fails does not stop the others.

    Args:
        pairs: the CSV file, with a header.
        overwrite: replace existing files.
        resume: leave out pairs whose output exists, and go on with interrupted ones.
        parse: turns an argument's name and text into its value.
        on_pair: called before each pair: its number from 1, how many there are, its output.
        on_iterate: called with each iterate.
        settings: arguments of `nst_rt.optimize` for all pairs.

    Raises:
        InputError: the list, or a file or text in it, cannot be used; nothing was painted then.
        UnknownNameError: a column that is no argument; likewise.
        OutputExistsError: an output exists and neither `overwrite` nor `resume` is set.
        PartialResultError: pairs that failed; the others are done.
    """
    jobs = _jobs(check_input(pairs), parse)
    for number, job in jobs:
        try:
            for path in (job["content"], *job["styles"]):
                check_input(path)
            check_image_output(job["output"], overwrite=overwrite or resume)
        except StyleTransferError as error:
            raise type(error)(f"{pairs}, line {number}: {error}") from error
    outputs = [job["output"] for _, job in jobs]
    if twice := {str(path) for path in outputs if outputs.count(path) > 1}:
        raise InputError(f"{pairs}: outputs that occur twice: {', '.join(sorted(twice))}")
    check_not_input(outputs, (file for _, job in jobs for file in (job["content"], *job["styles"])))
    done, failed = [], []
    for number, (line, job) in enumerate(jobs, 1):
        interrupted = partial_path(job["output"]).with_suffix(".pt").exists()
        if resume and job["output"].exists() and not interrupted:
            continue
        if on_pair is not None:
            on_pair(number, len(jobs), job["output"])
        try:
            done.append(
                paint(
                    **settings | job,
                    # What an interrupted run was to replace, it was allowed to.
                    overwrite=overwrite or (resume and interrupted),
                    resume=resume and interrupted,
                    on_iterate=on_iterate,
                )
            )
        except InterruptedWorkError:
            raise
        except StyleTransferError as error:
            logger.warning("%s, line %d: %s", pairs, line, error)
            failed.append(line)
    if failed:
        raise PartialResultError(
            f"{len(failed)} of {len(jobs)} pairs failed: lines {', '.join(map(str, failed))}"
        )
    return done


def _jobs(path: Path, parse: Callable[[str, str], Any]) -> list[tuple[int, dict[str, Any]]]:
    """The lines of a CSV file: their numbers, and arguments of `paint`."""
    known = set(inspect.signature(optimize).parameters) - {"dtype"}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            rows = [(reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a CSV file ({error})") from error
    header = list(reader.fieldnames or []) if rows else []
    missing = [name for name in ("content", "style", "output") if name not in header]
    if missing:
        raise InputError(
            f"{path}: no column {', '.join(missing)}; the first line must name content, style, "
            "output, and there must be a line for each pair"
        )
    for name in header:
        if name not in known | {"output"}:
            raise UnknownNameError(f"column of {path}", name, sorted(known | {"output"}))
    jobs = []
    for number, row in rows:
        if None in row or None in row.values():
            few_or_many = "many" if None in row else "few"
            raise InputError(f"{path}, line {number}: too {few_or_many} columns")
        job: dict[str, Any] = {
            "content": path.parent / row.pop("content"),
            "styles": [path.parent / style for style in row.pop("style").split(";")],
            "output": path.parent / row.pop("output"),
        }
        try:
            job |= {name: parse(name, text) for name, text in row.items() if text}
        except (ValueError, StyleTransferError) as error:
            raise InputError(f"{path}, line {number}: {error}") from error
        for name in {"content_mask", "init"} & set(job):
            job[name] = _beside(path, job[name])
        if "style_masks" in job:
            job["style_masks"] = [_beside(path, mask) for mask in job["style_masks"]]
        jobs.append((number, job))
    return jobs


def _beside(path: Path, name: str) -> str:
    """A file beside `path`, if there is one of that name; else it may be a color or a word."""
    file = path.parent / name
    return str(file) if file.is_file() else name


def optimize_grid(
    content: ImageSource,
    styles: ImageSource | Sequence[ImageSource],
    output: File,
    grid: Mapping[str, Sequence[tuple[str, object]]],
    *,
    overwrite: bool = False,
    on_cell: Callable[[int, int, str], None] | None = None,
    on_iterate: OnIterate | None = None,
    **settings: Any,
) -> Path:
    """Paint a contact sheet: the picture with each combination of some settings.

    After Ctrl-C the sheet of the finished cells is in `OUT.partial.EXT`.

    Args:
        content, styles: see `paint`.
        output: image to write.
        grid: argument of `nst_rt.optimize` -> its values, each with its name in the caption; the
            last argument varies along the rows.
        overwrite: replace an existing file.
        on_cell: called before each cell: its number from 1, how many there are, its caption.
        on_iterate: called with each iterate.
        settings: the other arguments of `nst_rt.optimize`.

    Raises:
        InputError: what cannot be used, in any cell; nothing was painted then.
        OutputExistsError: it exists already and `overwrite` is False.
        InterruptedWorkError: after Ctrl-C.
        PartialResultError: the loss of a cell became NaN or infinite; those before it are kept.
    """
    target = check_image_output(output, overwrite=overwrite)
    check_not_input([target], filter(is_file, [content, *as_list(styles)]))
    cells = []
    for values in itertools.product(*grid.values()):
        chosen = {name: value for name, (_, value) in zip(grid, values, strict=True)}
        caption = "  ".join(f"{name} {text}" for name, (text, _) in zip(grid, values, strict=True))
        optimize(content, styles, **settings | chosen)  # sees that it can be done
        cells.append((caption, chosen))
    columns = len(list(grid.values())[-1])
    images: list[Tensor] = []
    captions: list[str] = []
    try:
        for number, (caption, chosen) in enumerate(cells, 1):
            if on_cell is not None:
                on_cell(number, len(cells), caption)
            for iterate in optimize(content, styles, **settings | chosen):
                if on_iterate is not None:
                    on_iterate(iterate)
            images.append(iterate.image)
            captions.append(caption)
            if number < len(cells):
                sheet = contact_sheet(images, captions, columns=columns)
                save_image(sheet, partial_path(target), overwrite=True)
    except (KeyboardInterrupt, NotFiniteError) as error:
        if not images:
            raise
        kept = f"{len(images)} of {len(cells)} pictures are in {partial_path(target)}"
        if isinstance(error, KeyboardInterrupt):
            raise InterruptedWorkError(f"interrupted: {kept}") from error
        raise PartialResultError(f"{caption}: {error}; {kept}") from error
    save_image(contact_sheet(images, captions, columns=columns), target, overwrite=overwrite)
    partial_path(target).unlink(missing_ok=True)
    return target
