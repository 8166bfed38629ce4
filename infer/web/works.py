"""What jobs do: convert a video, optimize a picture, train a style."""

import contextlib
import logging
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from nst_rt.errors import InputError, PartialResultError, StyleTransferError
from nst_rt.files import atomic_output
from nst_rt.images.io import load_image, save_image, tensor_to_frame
from nst_rt.infer.previews import preview
from nst_rt.infer.video import VideoInfo, VideoResult, stylize_video
from nst_rt.infer.web.checks import Limits, TooLargeError
from nst_rt.infer.web.engine import Engine, Mix, encoded
from nst_rt.infer.web.jobs import Job
from nst_rt.infer.web.settings import usual_steps
from nst_rt.infer.web.uploads import Upload
from nst_rt.models.style_model import StyleModel
from nst_rt.optimization.optimizer import Iterate, optimize

logger = logging.getLogger(__name__)

_NICENESS = 10
_POLL_SECONDS = 0.3
_WATCH_SECONDS = 0.5  # between two pictures of an optimization
_LOSSES = ("loss/content", "loss/style")

LARGEST_OPTIMIZED = 2048  # pixels, long side


def video_work(engine: Engine, source: Upload, mix: Mix, limits: Limits) -> Callable[[Job], None]:
    """Stylize a video."""
    stylizer = engine.stylizer(mix)

    def work(job: Job) -> None:
        begin = time.monotonic()

        def on_frame(frames: int, info: VideoInfo) -> None:
            if frames > limits.seconds * info.rate + 1:  # files may not say how long they are
                raise TooLargeError(f"longer than the {limits.seconds:g} seconds allowed here")
            total = max(info.frames, frames)
            rate = frames / (time.monotonic() - begin)
            job.report(frames / total, f"frame {frames} of {total}, {rate:.1f} a second")

        def offer(done: VideoResult) -> None:
            job.offer(done.output.name, done.output)
            job.note = f"{done.frames} frames, {done.fps:.1f} a second"

        try:
            # Browsers play MP4 of H.264.
            offer(
                stylize_video(
                    source.path,
                    job.folder / "video.mp4",
                    style=stylizer,
                    stability=mix.stability,
                    on_frame=on_frame,
                )
            )
        except PartialResultError as error:
            if isinstance(error.result, VideoResult):
                offer(error.result)
            raise

    return work


def optimize_work(
    content: Upload, style: Upload, *, size: int, style_weight: float | None, preserve_colors: bool
) -> Callable[[Job], None]:
    """Optimize a picture; what there is when it is stopped is the result.

    Raises:
        InputError: a size that is too large.
    """
    if not 32 <= size <= LARGEST_OPTIMIZED:
        raise InputError(f"the size must be between 32 and {LARGEST_OPTIMIZED} pixels, not {size}")

    def work(job: Job) -> None:
        _step_back()
        job.report(0, "loading VGG19")
        iterates = optimize(
            content.path,
            style.path,
            size=size,
            style_weight=style_weight,
            preserve_colors="luminance" if preserve_colors else None,
        )
        shown = 0.0
        for iterate in iterates:
            job.curve.append((iterate.step, iterate.total, max(iterate.image.shape[-2:])))
            job.report(iterate.progress, f"step {iterate.step} of {iterate.steps}")
            if time.monotonic() - shown > _WATCH_SECONDS:
                _show(job, iterate)
                shown = time.monotonic()
            if job.stopping:
                break
        best = iterates.best
        assert best is not None
        save_image(best.image, job.folder / "picture.png")
        job.offer("picture.png", job.folder / "picture.png")
        _show(job, best)
        height, width = best.image.shape[-2:]
        job.note = f"{width}x{height} pixels after {iterate.step} of {iterate.steps} steps"

    return work


def _show(job: Job, iterate: Iterate) -> None:
    with atomic_output(job.folder / "preview.jpg") as file:
        file.write_bytes(encoded(tensor_to_frame(iterate.image)))
    job.offer("preview.jpg", job.folder / "preview.jpg")


def train_work(
    engine: Engine,
    painting: Upload,
    photos: Path,
    *,
    name: str,
    steps: int | None,
    whole: bool,
    start_from: str,
    arguments: Sequence[str] = (),
) -> Callable[[Job], None]:
    """Train a style with the command line, and take it into the engine.

    Args:
        engine: that gets the style.
        painting: to learn from.
        photos: to learn on.
        name: of the style.
        steps: of training; None leaves them to the recipe.
        whole: all weights, see `nst_rt.train.run.train_style`.
        start_from: likewise.
        arguments: further ones of `nst-rt train`.

    Raises:
        InputError: a name or steps that cannot be used.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9_]{0,39}", name):
        raise InputError("a style's name is made of small letters, digits and _")
    if name in engine.styles:
        raise InputError(f"there is a style {name} already: choose another name")
    if steps is not None and not 1 <= steps <= 100_000:
        raise InputError(f"the number of steps must be between 1 and 100000, not {steps}")

    def work(job: Job) -> None:
        if name in engine.styles:
            raise InputError(f"there is a style {name} already: choose another name")
        output = job.folder / f"{name}.safetensors"
        command = [sys.executable, "-m", "nst_rt", "train", "--json"]
        command += ["--style-image", f"{name}={painting.path}", "--photos", str(photos)]
        command += ["--name", name, "--from", start_from]
        command += [] if steps is None else ["--steps", str(steps)]
        command += ["--output", str(output), "--runs", str(job.folder / "runs")]
        command += [*([] if whole else ["--affine-only"]), *arguments]
        # As often as a curve needs points, whatever the number of steps.
        expected = steps or usual_steps()
        command += ["--trainer.log_every_n_steps", str(max(expected // 50, 1))]
        _train(job, command, job.folder / "runs" / name, expected)
        model = _with_preview(StyleModel.load(output), painting)
        model.save(output, overwrite=True)
        job.offer(output.name, output)
        job.note = f"{model.record(name)['steps']} steps"
        _take_in(engine, job, model, name)

    return work


def bring_back(engine: Engine, job: Job) -> None:
    """Take the style of a job of an earlier studio, if it trained one, into the engine.

    One that cannot be taken can still be fetched.
    """
    name = job.facts.pop("style", None)
    if name is None:
        return
    if name in engine.styles:
        job.error = f"There is another style {name}: start the studio without that one to use this."
        return
    try:
        _take_in(engine, job, StyleModel.load(job.folder / f"{name}.safetensors"), name)
    except StyleTransferError as error:
        logger.warning("%s", error)
        job.error = "The model can no longer be read."


def _take_in(engine: Engine, job: Job, model: StyleModel, name: str) -> None:
    engine.add(model)
    job.on_remove = lambda: engine.remove(model)
    job.facts["style"] = name


def _train(job: Job, command: Sequence[str], run: Path, steps: int) -> None:
    """Run a training, and watch what it leaves in its folder.

    Raises:
        InputError: it ended with an error.
        CancelledJobError: the job was cancelled; the training has ended then.
    """
    job.report(0, "starting: reading photos, loading VGG19")
    with (job.folder / "log.txt").open("w+") as log:
        training = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=job.folder
        )
        try:
            _step_back(training.pid)
            losses = _Losses(run / "tensorboard")
            samples: set[Path] = set()
            while training.poll() is None:
                time.sleep(_POLL_SECONDS)
                job.check()
                found = set((run / "samples").glob("*.png"))
                if found - samples:
                    samples = found
                    job.offer("samples.png", max(found))
                if points := losses.new():
                    job.curve += points
                    job.report(points[-1][0] / steps, f"step {points[-1][0]:.0f} of {steps}")
        finally:
            if training.poll() is None:
                training.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    training.wait(20)
                training.kill()
                training.wait()
        if training.returncode:
            log.seek(0)
            said = [line for line in log.read().splitlines() if line.startswith("nst-rt: ")]
            # A signal (negative) or a bug (1) says nothing after the remarks on the way.
            told = said and training.returncode >= StyleTransferError.exit_code
            reason = said[-1].removeprefix("nst-rt: ") if told else "it ended without a word"
            raise InputError(reason)
        if found := set((run / "samples").glob("*.png")):
            job.offer("samples.png", max(found))
        job.curve += losses.new()


class _Losses:
    """The losses that a training logs for TensorBoard, as they come."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._accumulator: Any = None
        self._known = 0

    def new(self) -> list[tuple[float, ...]]:
        """Points (step, content, style) since the last call."""
        if self._accumulator is None:
            if not any(self._folder.glob("events.out.tfevents.*")):
                return []
            from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

            sizes = {"scalars": 0, "images": 1, "compressedHistograms": 1, "histograms": 1}
            self._accumulator = EventAccumulator(str(self._folder), sizes)
        self._accumulator.Reload()
        if not set(_LOSSES) <= set(self._accumulator.Tags()["scalars"]):
            return []
        series = [self._accumulator.Scalars(name) for name in _LOSSES]
        points = [
            (float(events[0].step), *(float(event.value) for event in events))
            for events in zip(*series, strict=False)
        ]
        points, self._known = points[self._known :], len(points)
        return points


def _with_preview(model: StyleModel, painting: Upload) -> StyleModel:
    """The model with the painting as the picture of its new style, which is the first one."""
    from dataclasses import replace

    small = preview(tensor_to_frame(load_image(painting.path, size=256)))
    first = replace(model.styles[0], preview=small, title=Path(painting.name).stem)
    return replace(model, styles=(first, *model.styles[1:]))


def _step_back(process: int | None = None) -> None:
    """Let live pictures have the processor first: lower a process, or this thread (on Linux)."""
    if sys.platform == "linux":
        target = threading.get_native_id() if process is None else process
        os.setpriority(os.PRIO_PROCESS, target, max(_NICENESS, os.nice(0)))
