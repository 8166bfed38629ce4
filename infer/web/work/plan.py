"""What all plans share: types, numbers of visitors, names, previews, and a low priority."""

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from nst_rt.errors import InputError
from nst_rt.images.io import Frame
from nst_rt.infer.adaptive import LiveStyle
from nst_rt.infer.frame_stylizer import label_of
from nst_rt.infer.stylizer import Stylizer
from nst_rt.infer.web.jobs import Job
from nst_rt.infer.web.stylizers import write_preview
from nst_rt.infer.web.uploads import Upload

_NICENESS = 10
PREVIEW = "preview.jpg"

Work = Callable[[Job], None]
Find = Callable[..., Upload]
"""Returns the visitor's upload of an id and one of some kinds."""


class Plan(NamedTuple):
    """The title, the work, the inputs and the amount of work of a job, see `Jobs.submit`.

    A plan whose uploads, names or numbers cannot be used is refused by an InputError or
    UnknownNameError.
    """

    title: str
    work: Work
    inputs: tuple[Upload, ...]
    units: float = 0.0


def number(value: Any, kind: Callable[[Any], Any]) -> Any:
    """Convert a value to int or float; an InputError if it is not a number."""
    try:
        return kind(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"not a number: {str(value)[:50]!r}") from error


def output_name(source: Upload, stylizer: Stylizer, suffix: str) -> str:
    """Name of an output for people: input, style and suffix, as the command line names it."""
    return f"{Path(source.name).stem}_{label_of(stylizer)}{suffix}"


def style_title(choice: LiveStyle) -> str:
    """The styles of a choice, for people."""
    return " and ".join(name.replace("_", " ") for name in choice.blend)


def offer_preview(job: Job, frame: Frame, *, size: int) -> None:
    """Show the newest frame of a job on its card, at `size` pixels of the long side or less."""
    write_preview(frame, job.folder / PREVIEW, size=size)
    job.offer(job.folder / PREVIEW)


def at_low_priority(work: Work) -> Work:
    """Work in a thread of its own, since a thread cannot take its priority back."""

    def run(job: Job) -> None:
        with ThreadPoolExecutor(1, "job", initializer=lower_priority) as thread:
            thread.submit(work, job).result()

    return run


def lower_priority(process: int | None = None) -> None:
    """Let live viewers have the processor first: lower a process, or this thread (on Linux)."""
    if sys.platform == "linux":
        target = threading.get_native_id() if process is None else process
        os.setpriority(os.PRIO_PROCESS, target, max(_NICENESS, os.nice(0)))
