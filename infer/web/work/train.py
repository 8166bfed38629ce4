"""Jobs that train a style, and the styles that they add to the studio."""

import logging
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

from nst_rt.errors import InputError, StyleTransferError
from nst_rt.images.convert import tensor_to_frame
from nst_rt.images.io import load_image
from nst_rt.infer.packaged import packaged_photos
from nst_rt.infer.style_sheet import preview
from nst_rt.infer.stylizer import Stylizer
from nst_rt.infer.web.decoding.pool import Decoders
from nst_rt.infer.web.jobs import Job
from nst_rt.infer.web.settings import Settings
from nst_rt.infer.web.stylizers import SharedStylizer
from nst_rt.infer.web.work.plan import Find, Plan, lower_priority, number
from nst_rt.models.style_model import StyleModel
from nst_rt.recipes import recipe_steps

logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.3
_PACKAGED = "packaged"  # instead of an upload: the photos that come in Python packages
# Eileen Collins by NASA, public domain: the photo of the gallery's previews, which scikit-image has
# under the name of astronaut, but which must be here without it.
_PREVIEW_PHOTO = Path(str(resources.files("nst_rt.infer.web"))) / "preview.jpg"
_LOSSES = ("loss/content", "loss/style")


def plan_train(
    asked: Mapping[str, Any],
    find: Find,
    shared: SharedStylizer,
    settings: Settings,
    decoders: Decoders,
) -> Plan:
    """Plan to train a style with the command line, and to add it to the studio's."""
    style_image = find(asked.get("style_image"), "image")
    inputs, photos = [style_image], settings.photos
    listed: list[Path] = []
    if asked.get("photos") == _PACKAGED:
        listed = packaged_photos("training on packaged photos needs scikit-image")
    elif asked.get("photos"):
        inputs.append(find(asked["photos"], "archive", "album"))
        photos = inputs[-1].path
    if photos is None and not listed:
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
        source = photos
        if listed:
            source = job.folder / "photos.txt"
            source.write_text("\n".join(map(str, listed)))
        # -P: the current folder, which has the files of a job, is no place to import from.
        command = [sys.executable, "-P", "-m", "nst_rt", "train", "--json"]
        command += ["--style-image", f"{name}={style_image.path}", "--photos", str(source)]
        command += ["--name", name, "--from", settings.start_from]
        command += ["--output", str(output), "--runs", str(job.folder / "runs")]
        command += [] if asked_steps is None else ["--steps", str(steps)]
        command += [] if asked.get("all_weights") else ["--affine-only"]
        # As often as a curve needs points, whatever the number of steps.
        command += ["--trainer.log_every_n_steps", str(max(steps // 50, 1))]
        run_training(job, [*command, *settings.train_arguments], job.folder / "runs" / name, steps)
        model = _with_preview(StyleModel.load(output), style_image.name)
        model.save(output, overwrite=True)
        job.offer(output)
        job.note = f"{model.record(name)['steps']} steps"
        _add_style(shared, job, model, name)

    check_name()
    return Plan(name, work, tuple(inputs), steps)


def count_packaged_photos() -> int:
    """Number of photos that come in Python packages, 0 if those are not installed."""
    try:
        return len(packaged_photos())
    except InputError:
        return 0


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
            lower_priority(training.pid)
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


def _with_preview(model: StyleModel, style_image: str) -> StyleModel:
    """The model with a title for its first style, the new one, and a preview as the gallery's."""
    first = model.styles[0]
    photo = tensor_to_frame(load_image(_PREVIEW_PHOTO))
    small = preview(Stylizer(model, first.name, stroke_size="1:1")(photo))
    first = replace(first, preview=small, title=Path(style_image).stem)
    return replace(model, styles=(first, *model.styles[1:]))
