"""What jobs do: stylize a video, optimize an image, train a style."""

import logging
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from nst_rt.errors import InputError, PartialResultError, StyleTransferError
from nst_rt.files import atomic_output
from nst_rt.images.convert import tensor_to_frame
from nst_rt.images.io import load_image, save_image
from nst_rt.infer.photos import preview
from nst_rt.infer.video import VideoResult, stylize_video
from nst_rt.infer.video.probe import probe
from nst_rt.infer.web.jobs import Job
from nst_rt.infer.web.settings import Settings
from nst_rt.infer.web.stylizers import SharedStylizer, encode_image, parse_choice
from nst_rt.infer.web.uploads import TooLargeError, Upload
from nst_rt.models.style_model import StyleModel
from nst_rt.optimization.inputs import PreserveColors
from nst_rt.optimization.optimizer import Iterate, Optimization
from nst_rt.recipes import recipe_steps

logger = logging.getLogger(__name__)

MAX_OPTIMIZED_SIZE = 2048  # pixels of the long side
_NICENESS = 10
_POLL_SECONDS = 0.3
_PREVIEW_SECONDS = 0.5  # between two previews of an optimization
_LOSSES = ("loss/content", "loss/style")

Work = Callable[[Job], None]
Find = Callable[..., Upload]
"""Returns the visitor's upload of an id and one of some kinds."""
Plan = tuple[str, Work, tuple[Upload, ...]]
"""The title, the work and the inputs of a job, see `Jobs.submit`. A plan whose uploads, names or
numbers cannot be used is refused by an InputError or UnknownNameError."""


def plan_video(
    asked: Mapping[str, Any], find: Find, shared: SharedStylizer, settings: Settings
) -> Plan:
    """Plan to stylize a video."""
    source = find(asked.get("video"), "video")
    choice = parse_choice(asked.get("choice"))
    stylizer = shared.in_style(choice)
    max_seconds = settings.limits.seconds

    def work(job: Job) -> None:
        begin = time.monotonic()
        max_frames = max_seconds * probe(source.path).rate + 1

        def progress(frames: float, total: float | None, note: str) -> None:
            if frames > max_frames:  # a file may not say how long it is
                raise TooLargeError(f"longer than the {max_seconds:g} seconds allowed here")
            total = max(total or 0, frames)
            rate = frames / (time.monotonic() - begin)
            job.report(frames / total, f"frame {frames:.0f} of {total:.0f}, {rate:.1f} per second")

        result: object = None
        try:
            result = stylize_video(
                source.path,
                job.folder / "video.mp4",  # of H.264, which browsers play
                style=stylizer,
                stability=choice.stability,
                preserve_colors=choice.post_processing.preserve_colors,
                progress=progress,
            )
        except PartialResultError as error:
            result = error.result
            raise
        finally:
            if isinstance(result, VideoResult):
                job.offer(result.output)
                job.note = f"{result.frames} frames, {result.fps:.1f} per second"

    names = " and ".join(name.replace("_", " ") for name in choice.blend)
    return f"{source.name}, {names}", work, (source,)


def plan_optimize(
    asked: Mapping[str, Any], find: Find, shared: SharedStylizer, settings: Settings
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

    def show(job: Job, iterate: Iterate) -> None:
        with atomic_output(job.folder / "preview.jpg") as file:
            file.write_bytes(encode_image(tensor_to_frame(iterate.image)))
        job.offer(job.folder / "preview.jpg")

    def work(job: Job) -> None:
        job.report(0, "loading VGG19")
        iterates = Optimization(
            content.path,
            style_image.path,
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
        show(job, best)
        height, width = best.image.shape[-2:]
        job.note = f"{width}x{height} pixels after {iterate.step} of {iterate.steps} steps"

    title = f"{content.name} as {style_image.name}"
    return title, _at_low_priority(work), (content, style_image)


def plan_train(
    asked: Mapping[str, Any], find: Find, shared: SharedStylizer, settings: Settings
) -> Plan:
    """Plan to train a style with the command line, and to add it to the studio's."""
    style_image = find(asked.get("style_image"), "image")
    inputs, photos = [style_image], settings.photos
    if asked.get("photos"):
        inputs.append(find(asked["photos"], "archive", "album"))
        photos = inputs[-1].path
    if photos is None:
        raise InputError("choose photos to train on")
    name = str(asked.get("name"))
    if not re.fullmatch(r"[a-z0-9][a-z0-9_]{0,39}", name):
        raise InputError("the name of a style may have lowercase letters, digits and _")
    asked_steps = asked.get("steps")
    steps = recipe_steps("new_style") if asked_steps is None else number(asked_steps, int)
    if not 1 <= steps <= 100_000:
        raise InputError(f"the number of steps must be between 1 and 100000, not {steps}")

    def check_name() -> None:
        if name in shared.style_set.styles:
            raise InputError(f"there is a style {name} already: choose another name")

    def work(job: Job) -> None:
        check_name()
        output = job.folder / f"{name}.safetensors"
        command = [sys.executable, "-m", "nst_rt", "train", "--json"]
        command += ["--style-image", f"{name}={style_image.path}", "--photos", str(photos)]
        command += ["--name", name, "--from", settings.start_from]
        command += ["--output", str(output), "--runs", str(job.folder / "runs")]
        command += [] if asked_steps is None else ["--steps", str(steps)]
        command += [] if asked.get("all_weights") else ["--affine-only"]
        # As often as a curve needs points, whatever the number of steps.
        command += ["--trainer.log_every_n_steps", str(max(steps // 50, 1))]
        run_training(job, [*command, *settings.train_arguments], job.folder / "runs" / name, steps)
        model = _with_preview(StyleModel.load(output), style_image)
        model.save(output, overwrite=True)
        job.offer(output)
        job.note = f"{model.record(name)['steps']} steps"
        _add_style(shared, job, model, name)

    check_name()
    return name, work, tuple(inputs)


PLANS: Mapping[str, Callable[..., Plan]] = {
    "video": plan_video,
    "optimize": plan_optimize,
    "train": plan_train,
}


def restore_style(shared: SharedStylizer, job: Job) -> None:
    """Add the style that a job of an earlier studio trained, if any, to the studio's.

    If it cannot be added, it can still be downloaded.
    """
    name = job.facts.pop("style", None)
    if name is None:
        return
    if name in shared.style_set.styles:
        job.error = f"Another style has the name {name}: start the studio without it to use this."
        return
    try:
        _add_style(shared, job, StyleModel.load(job.folder / f"{name}.safetensors"), name)
    except StyleTransferError as error:
        logger.warning("%s", error)
        job.error = "The model can no longer be read."


def number(value: Any, kind: Callable[[Any], Any]) -> Any:
    """Convert a value to int or float; an InputError if it is not a number."""
    try:
        return kind(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"not a number: {str(value)[:50]!r}") from error


def run_training(job: Job, command: Sequence[str], run: Path, steps: int) -> None:
    """Run a training process, and report what it writes into its folder.

    Raises:
        InputError: it ended with an error.
        CancelledJobError: the job was cancelled; the process has ended.
    """
    job.report(0, "starting: reading photos, loading VGG19")
    with (job.folder / "log.txt").open("w+") as log:
        training = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=job.folder
        )
        try:
            _lower_priority(training.pid)
            losses = _losses(run / "tensorboard")
            running = True
            shown: Path | None = None
            while running:
                time.sleep(_POLL_SECONDS)
                running = training.poll() is None
                job.check()
                newest = max((run / "samples").glob("*.png"), default=None)
                if newest is not None and newest != shown:
                    job.offer(newest, "samples.png")
                    shown = newest
                points = next(losses)
                if len(points) > len(job.curve):
                    job.curve = points
                    job.report(points[-1][0] / steps, f"step {points[-1][0]:.0f} of {steps}")
        finally:
            if training.poll() is None:
                training.terminate()
                with suppress(subprocess.TimeoutExpired):
                    training.wait(20)
                training.kill()
                training.wait()
        if training.returncode:
            log.seek(0)
            lines = [line for line in log.read().splitlines() if line.startswith("nst-rt: ")]
            # A signal (negative) or a bug (1) leaves no message; the lines are earlier remarks.
            if not lines or training.returncode < StyleTransferError.exit_code:
                raise InputError("the training ended unexpectedly")
            raise InputError(lines[-1].removeprefix("nst-rt: "))


def _losses(folder: Path) -> Iterator[list[tuple[float, ...]]]:
    """All points (step, content, style) that a training has logged for TensorBoard so far."""
    while not any(folder.glob("events.out.tfevents.*")):
        yield []
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    sizes = {"scalars": 0, "images": 1, "compressedHistograms": 1, "histograms": 1}
    accumulator: Any = EventAccumulator(str(folder), sizes)
    while True:
        accumulator.Reload()
        logged = accumulator.Tags()["scalars"]
        content, style = (accumulator.Scalars(name) if name in logged else [] for name in _LOSSES)
        yield [
            (float(one.step), float(one.value), float(other.value))
            for one, other in zip(content, style, strict=False)
        ]


def _add_style(shared: SharedStylizer, job: Job, model: StyleModel, name: str) -> None:
    shared.style_set.add(model, skip_known=True)
    job.on_remove = lambda: shared.style_set.remove(model)
    job.facts["style"] = name


def _with_preview(model: StyleModel, style_image: Upload) -> StyleModel:
    """The model with a preview and a title for its first style, the new one."""
    small = preview(tensor_to_frame(load_image(style_image.path, size=256)))
    first = replace(model.styles[0], preview=small, title=Path(style_image.name).stem)
    return replace(model, styles=(first, *model.styles[1:]))


def _at_low_priority(work: Work) -> Work:
    """Work in a thread of its own, since a thread cannot take its priority back."""

    def run(job: Job) -> None:
        with ThreadPoolExecutor(1, "job", initializer=_lower_priority) as thread:
            thread.submit(work, job).result()

    return run


def _lower_priority(process: int | None = None) -> None:
    """Let live viewers have the processor first: lower a process, or this thread (on Linux)."""
    if sys.platform == "linux":
        target = threading.get_native_id() if process is None else process
        os.setpriority(os.PRIO_PROCESS, target, max(_NICENESS, os.nice(0)))
