"""The optimizer at work on files: one picture, many pairs, or a sheet of settings to compare."""

import csv
import hashlib
import inspect
import itertools
import logging
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from nst_rt.errors import (
    InputError,
    InterruptedWorkError,
    NotFiniteError,
    OutputExistsError,
    PartialResultError,
    StyleTransferError,
    UnknownNameError,
)
from nst_rt.files import atomic_output, check_input, check_not_input, partial_path
from nst_rt.images import check_image_output, load_picture, resize, save_image
from nst_rt.reference import Iterate, Optimization, optimize
from nst_rt.sheets import LossRecord, check_plot, contact_sheet, plot_losses
from nst_rt.timelapse import Timelapse, check_timelapse

logger = logging.getLogger(__name__)

OnIterate = Callable[[Iterate], None]
File = Path | str

# Arguments of `optimize` that change how it is computed, but not what.
_NOT_THE_PICTURE = ("device", "memory")
_FILES = ("content", "style", "content_mask", "style_masks", "init")


@dataclass(frozen=True)
class Painting:
    """A finished picture: its file, and its last iterate."""

    output: Path
    iterate: Iterate


def paint(
    content: File,
    styles: Sequence[File],
    output: File,
    *,
    overwrite: bool = False,
    resume: bool = False,
    save_every: int = 0,
    timelapse: File | None = None,
    plot: File | None = None,
    on_iterate: OnIterate | None = None,
    **settings: Any,
) -> Painting:
    """Optimize a picture into a file, which has the photo's alpha, and its 16 bits if it is a PNG.

    Ctrl-C ends the work after the step at hand and keeps the best image so far in
    `OUT.partial.EXT`, and what it takes to go on in `OUT.partial.pt`.

    Args:
        content: the photo.
        styles: the paintings.
        output: image to write.
        overwrite: replace existing files.
        resume: go on with an interrupted run of the same arguments.
        save_every: also write `OUT-NNNN.EXT` every so many steps, 0 for never.
        timelapse: video of all steps to write.
        plot: picture of the losses to write.
        on_iterate: called with each iterate.
        settings: further arguments of `nst_rt.optimize`.

    Raises:
        InputError: what cannot be used.
        OutputExistsError: something to be written exists already and `overwrite` is False.
        InterruptedWorkError: after Ctrl-C.
        PartialResultError: the loss became NaN or infinite; the best image so far is kept.
    """
    target = check_image_output(output, overwrite=overwrite)
    check_not_input([target], [content, *styles])
    if save_every < 0:
        raise InputError(f"the number of steps between images must be 0 or more, not {save_every}")
    film = None if timelapse is None else check_timelapse(timelapse, overwrite=overwrite)
    chart = None if plot is None else check_plot(plot, overwrite=overwrite)
    if chart is not None and chart.absolute() == target.absolute():
        raise InputError(f"{plot}: the picture itself goes there; choose another name for the plot")
    optimization = optimize(content, list(styles), **settings)
    run = _Run(target, _identity(content, styles, settings), optimization)
    run.open(resume=resume, overwrite=overwrite)
    # At the result's size first, as the scene does: sizes of coarse scales are rounded from it.
    photo = load_picture(content, size=max(optimization.shape))
    numbered = run.numbered(save_every)
    for path in numbered.values():
        check_image_output(path, overwrite=overwrite)

    def save(image: Tensor, path: Path) -> None:
        size = max(image.shape[-2:])
        alpha = None if photo.alpha is None else resize(photo.alpha, size)
        save_image(image, path, overwrite=True, alpha=alpha, depth=photo.depth)

    def keep() -> Path:
        assert optimization.best is not None
        save(optimization.best.image, partial_path(target))
        return partial_path(target)

    iterate: Iterate | None = None
    with ExitStack() as stack:
        interrupted = stack.enter_context(_interrupts_deferred())
        video = None
        if film is not None:
            video = stack.enter_context(
                Timelapse(film, optimization.shape, earlier=len(run.records))
            )
        try:
            for iterate in optimization:
                run.records.append(_record(iterate))
                if on_iterate is not None:
                    on_iterate(iterate)
                if video is not None:
                    video.write(iterate.image)
                if iterate.step in numbered:
                    save(iterate.image, numbered[iterate.step])
                    run.save()
                if interrupted() and iterate.step < iterate.steps:
                    raise KeyboardInterrupt
        except KeyboardInterrupt as error:
            if iterate is None or optimization.best is None:
                raise
            remedy = ""
            if interrupted():  # and not in the middle of a step
                run.save()
                remedy = "; the same command with --resume goes on from there"
            raise InterruptedWorkError(
                f"interrupted: the best image of {iterate.step} of {iterate.steps} steps is in "
                f"{keep()}{remedy}"
            ) from error
        except NotFiniteError as error:
            if optimization.best is None:
                raise
            raise PartialResultError(f"{error}; the best image so far is in {keep()}") from error
        assert iterate is not None
        save(iterate.image, target)
        if chart is not None:
            plot_losses(run.records, chart)
    run.remove()
    return Painting(target, iterate)


class _Run:
    """What an interrupted run needs to go on, and the losses so far."""

    def __init__(
        self, target: Path, identity: Mapping[str, str], optimization: Optimization
    ) -> None:
        self.records: list[LossRecord] = []
        self._target = target
        self._path = partial_path(target).with_suffix(".pt")
        self._identity = dict(identity)
        self._optimization = optimization

    def open(self, *, resume: bool, overwrite: bool) -> None:
        """Load what there is to resume from, or see that nothing of it will be lost."""
        if not resume:
            if self._path.exists() and not overwrite:
                raise OutputExistsError(
                    f"{self._path}: an interrupted run is there; --resume goes on with it, "
                    "--overwrite starts anew"
                )
            return
        try:
            state = torch.load(check_input(self._path), weights_only=True)
            then, now = state["identity"], self._identity
            differing = [k for k in sorted({*then, *now}) if then.get(k) != now.get(k)]
            records = [LossRecord(*record) for record in state["records"]]
        except InputError as error:
            raise InputError(f"there is nothing to resume: {error}") from error
        except Exception as error:  # unpickling any bytes may raise anything
            raise InputError(f"{self._path}: damaged; --overwrite starts anew") from error
        if differing:
            raise InputError(
                f"{self._path}: the interrupted run had other settings ({', '.join(differing)}); "
                "give the same ones, or start anew with --overwrite"
            )
        self.records = records
        self._optimization.load_state_dict(state["optimization"])

    def numbered(self, every: int) -> dict[int, Path]:
        """The images still to be saved on the way: step -> file."""
        done = self.records[-1].step if self.records else 0
        steps = range(every, self._optimization.steps + 1, every) if every else ()
        return {
            step: self._target.with_stem(f"{self._target.stem}-{step:04d}")
            for step in steps
            if step > done
        }

    def save(self) -> None:
        """Write what it takes to go on after the last iterate."""
        with atomic_output(self._path) as temporary:
            torch.save(
                {
                    "identity": self._identity,
                    "records": [tuple(record) for record in self.records],
                    "optimization": self._optimization.state_dict(),
                },
                temporary,
            )

    def remove(self) -> None:
        """Remove what an interrupted run left, now that the work is done."""
        self._path.unlink(missing_ok=True)
        partial_path(self._target).unlink(missing_ok=True)


def _identity(content: File, styles: Sequence[File], settings: Mapping[str, Any]) -> dict[str, str]:
    """All that the picture depends on, in words: files by their content."""
    given = {"content": content, "style": list(styles), **settings}
    return {
        name: ", ".join(map(_digest, value if isinstance(value, list | tuple) else [value]))
        if name in _FILES
        else str(value)
        for name, value in sorted(given.items())
        if name not in _NOT_THE_PICTURE and value is not None
    }


def _digest(value: object) -> str:
    path = Path(str(value))
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else str(value)


def _record(iterate: Iterate) -> LossRecord:
    size = max(iterate.image.shape[-2:])
    return LossRecord(iterate.step, size, iterate.content, iterate.style, iterate.tv, iterate.total)


@contextmanager
def _interrupts_deferred() -> Iterator[Callable[[], bool]]:
    """Ctrl-C sets what is yielded; a second one interrupts at once."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False  # only the main thread may handle signals
        return
    requested = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal requested
        if requested:
            requested = False
            raise KeyboardInterrupt
        requested = True
        logger.warning("stopping after this step; Ctrl-C again stops now")

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield lambda: requested
    finally:
        signal.signal(signal.SIGINT, before)


def paint_batch(
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
    """A file beside `path`, if there is one of that name; else it may be a colour or a word."""
    file = path.parent / name
    return str(file) if file.is_file() else name


def paint_grid(
    content: File,
    styles: Sequence[File],
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
        content: the photo.
        styles: the paintings.
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
    check_not_input([target], [content, *styles])
    cells = []
    for values in itertools.product(*grid.values()):
        chosen = {name: value for name, (_, value) in zip(grid, values, strict=True)}
        caption = "  ".join(f"{name} {text}" for name, (text, _) in zip(grid, values, strict=True))
        optimize(content, list(styles), **settings | chosen)  # sees that it can be done
        cells.append((caption, chosen))
    columns = len(list(grid.values())[-1])
    images: list[Tensor] = []
    captions: list[str] = []
    try:
        for number, (caption, chosen) in enumerate(cells, 1):
            if on_cell is not None:
                on_cell(number, len(cells), caption)
            for iterate in optimize(content, list(styles), **settings | chosen):
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
