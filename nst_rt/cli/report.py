"""What verbs of the command line share: their report, their messages and the progress bar."""

import logging
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from nst_rt.errors import InputError, with_flags
from nst_rt.progress import Progress, stages

# Characters of a bar, and of a terminal in which the long one leaves room for the notes.
_BAR, _SMALL_BAR, _WIDE = 40, 14, 110


@dataclass(frozen=True)
class Report:
    """What a verb did: a text for people, and the facts for `--json`.

    The exit code is not 0 if part of what was asked for is missing. A report goes to standard
    output; with `beside` to standard error, since standard output carries the result itself.
    """

    text: str
    facts: dict[str, Any]
    exit_code: int = 0
    beside: bool = False


def tell(message: str) -> None:
    """Print a message of the library, such as an error, on stderr."""
    with suppress(OSError):  # the terminal was closed
        print(f"nst-rt: {with_flags(message)}", file=sys.stderr, flush=True)


def quantity(count: int, noun: str) -> str:
    """`1 video` or `2 videos`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def table_text(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: bool = False
) -> str:
    """A table as plain text; `right` aligns all columns but the first one."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if right and number else "left")
    for row in rows:
        table.add_row(*row)
    console = Console(width=120, color_system=None, markup=False, emoji=False)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


@contextmanager
def needs_extra(extra: str, what: str) -> Iterator[None]:
    """Say which package `what` lacks, and which extra of nst-rt installs it."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("nst_rt"):
            raise
        missing = error.name or "tensorboard"  # of which Lightning says so without a name
        raise InputError(f"{what} needs {missing}: pip install 'nst-rt[{extra}]'") from error


@contextmanager
def loading() -> Iterator[None]:
    """On a terminal, say that PyTorch is being imported, which takes seconds; then remove it."""
    if "torch" in sys.modules or not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status("loading PyTorch"):
        yield


@contextmanager
def only_python_on_stderr() -> Iterator[None]:
    """Discard what libraries in C++ write to stderr, such as the log of Ray, for its developers."""
    stderr = sys.stderr
    try:
        number = stderr.fileno()
    except (OSError, ValueError):  # not a file, as in tests
        yield
        return
    stderr.flush()
    ours = os.dup(number)
    with open(ours, "w", buffering=1, errors="backslashreplace") as sys.stderr:  # noqa: PTH123
        with open(os.devnull, "w") as nothing:  # noqa: PTH123
            os.dup2(nothing.fileno(), number)
        try:
            yield
        finally:
            os.dup2(ours, number)
            sys.stderr = stderr


@contextmanager
def progress(title: str, *, counted: bool = True) -> Iterator[Progress]:
    """A bar with the time left on stderr, on a terminal only; beside it what is being loaded.

    Args:
        title: before the bar.
        counted: show how many are done, and how many a second; else the bar shows a fraction.
    """
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar
    from rich.table import Column

    console = Console(stderr=True)
    # Only notes are cut where the terminal is narrow, and not the times.
    whole, cut = Column(no_wrap=True), Column(no_wrap=True, overflow="ellipsis", ratio=1)
    columns = (
        TextColumn("{task.description}", table_column=whole),
        BarColumn(bar_width=_BAR if console.width >= _WIDE else _SMALL_BAR),
        TextColumn("{task.fields[count]}", table_column=whole),
        TextColumn("{task.fields[times]}", table_column=whole),
        TextColumn("{task.fields[note]}", table_column=cut, markup=False),
    )
    bar = Bar(*columns, console=console, disable=not console.is_terminal, expand=True)
    task = bar.add_task(title, total=None, count="", times="", note="")

    def advance(done: float, total: float | None, note: str) -> None:
        bar.start()
        of_bar = bar.tasks[0]
        bar.update(task, completed=done, total=total, note=note)
        times = f"elapsed {_clock(of_bar.elapsed)}"
        if of_bar.time_remaining is not None and not of_bar.finished:
            times += f", {_clock(of_bar.time_remaining)} left"
        # A total of 1 is a fraction, or a single photo.
        is_counted = counted and total != 1
        count = f"{done:.0f}" + (f"/{total:.0f}" if total else "") if is_counted else ""
        if is_counted and of_bar.speed:
            count += f" {of_bar.speed:.1f}/s"
        bar.update(task, count=count, times=times)

    class Stage(logging.Handler):
        """Shows what is being loaded."""

        def emit(self, record: logging.LogRecord) -> None:
            bar.start()
            bar.update(task, note=record.getMessage())

    stage = Stage(logging.DEBUG)
    if not bar.disable:
        stages.addHandler(stage)
        stages.setLevel(logging.DEBUG)
        stages.propagate = False
    try:
        yield advance
    finally:
        stages.removeHandler(stage)
        # Of work that failed before any progress, nothing is to be seen but the error.
        bar.live.transient = not bar.tasks[0].completed
        with suppress(OSError):  # the terminal was closed; what was kept is still to be reported
            bar.stop()


def _clock(seconds: float | None) -> str:
    """`0:12` or `1:02:03`."""
    minutes, seconds = divmod(round(seconds or 0), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
