"""What verbs of the command line share: their report, their messages and the progress bar."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from nst_rt.errors import InputError, with_flags
from nst_rt.progress import Progress


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
def progress(title: str, *, counted: bool = True) -> Iterator[Progress]:
    """A bar with an ETA on stderr, on a terminal only.

    Args:
        title: before the bar.
        counted: show how many are done, and how many a second; else the bar shows a fraction.
    """
    from rich import progress as rich_progress
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        *([MofNCompleteColumn(), TextColumn("{task.fields[rate]}")] if counted else []),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    bar = rich_progress.Progress(*columns, console=console, disable=not console.is_terminal)
    task = bar.add_task(title, total=None, rate="", note="")

    def advance(done: float, total: float | None, note: str) -> None:
        bar.start()  # only now: messages on the way to the first step would tear the bar
        speed = bar.tasks[0].speed
        rate = f"{speed:.1f}/s" if speed else ""
        bar.update(task, completed=done, total=total, rate=rate, note=note)

    try:
        yield advance
    finally:
        bar.stop()
