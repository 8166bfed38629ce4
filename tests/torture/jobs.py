"""Jobs of every kind in processes of their own, to be killed at one of their events.

An event is a file operation of Python in the folder of the job, or a step that the job reports. The
same job has the same events each time, so that a number tells where it is killed.
"""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from conversions import Grainy
from optimizer_runs import TWO_SCALES

from nst_rt.errors import InputError, OutputExistsError
from nst_rt.infer.photos import stylize_images
from nst_rt.infer.video import stylize_video, work_path
from nst_rt.optimization.runs import optimize_to_file
from nst_rt.train.run import train_style

# What jobs import is imported once; modules of the tests are not found so early.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [f"nst_rt.{name}" for name in ("infer.video", "infer.photos", "optimization.runs", "train.run")]
)

Job = Callable[[Path, Path, bool, Callable[..., None]], None]
_EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir")
_SECONDS = 300  # after which a job hangs, on a machine that is busy as well


def image(inputs: Path, folder: Path, resume: bool, progress: Callable[..., None]) -> None:
    stylize_images(
        inputs / "photos", folder / "out", style=Grainy(), resume=resume, progress=progress
    )


def video(inputs: Path, folder: Path, resume: bool, progress: Callable[..., None]) -> None:
    output = folder / "out.mp4"
    settings: dict[str, Any] = {"stability": 0.9, "segment": 5, "progress": progress}
    try:
        stylize_video(inputs / "in.mp4", output, style=Grainy(), resume=resume, **settings)
    except OutputExistsError:
        # Killed when all but its empty work folder was removed.
        assert resume
        assert not any(work_path(output).glob("*"))


def optimize(inputs: Path, folder: Path, resume: bool, progress: Callable[..., None]) -> None:
    has_state = (folder / "out.partial.pt").exists()
    optimize_to_file(
        inputs / "content.png",
        inputs / "style.png",
        folder / "out.png",
        save_every=2,
        resume=resume and has_state,
        overwrite=resume and not has_state,  # then it starts over
        progress=progress,
        **TWO_SCALES,
    )


def train(inputs: Path, folder: Path, resume: bool, progress: Callable[..., None]) -> None:
    settings: dict[str, Any] = {
        "style_image": inputs / "style.png",
        "photos": inputs / "photos",
        "name": "swirls",
        "output": folder / "swirls.safetensors",
        "runs": folder / "runs",
        "steps": 4,
        "size": 64,
        "batch_size": 2,
        "workers": 0,
        "seed": 3,
        "progress": progress,
    }
    has_checkpoint = any(folder.rglob("*.ckpt"))
    try:
        train_style(**settings, resume=resume and has_checkpoint)
    except OutputExistsError:
        # Killed after the model was written, but before the earlier checkpoints were deleted.
        assert resume
        train_style(**settings, resume=True, overwrite=True)


JOBS: dict[str, Job] = {"image": image, "video": video, "optimize": optimize, "train": train}


def run_job(
    kind: str, inputs: Path, folder: Path, kill_at: int = 0, *, resume: bool = False
) -> int:
    """Run a job; returns the number of its events, or -1 if it was killed at event `kill_at`."""
    events = _CONTEXT.Value("i", 0)
    process = _CONTEXT.Process(target=_run, args=(kind, inputs, folder, kill_at, resume, events))
    process.start()
    process.join(_SECONDS)
    if process.is_alive():
        process.kill()
        process.join()
        raise AssertionError(f"{kind}: hangs")
    if kill_at and process.exitcode == -signal.SIGKILL:
        return -1
    assert process.exitcode == 0
    return int(events.value)


def _run(kind: str, inputs: Path, folder: Path, kill_at: int, resume: bool, events: Any) -> None:
    torch.set_num_threads(1)

    def event(*_: object) -> None:
        events.value += 1
        if events.value == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def hook(name: str, arguments: tuple[Any, ...]) -> None:
        # Reading is no event: tables of the system and modules are read at any time.
        if name in _EVENTS and (name != "open" or (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR)):
            path = arguments[0]
            if isinstance(path, (str, os.PathLike)) and str(path).startswith(str(folder)):
                event()

    sys.addaudithook(hook)
    try:
        JOBS[kind](inputs, folder, resume, event)
    except InputError as error:
        sys.exit(f"{kind}: {error}")
