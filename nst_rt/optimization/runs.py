"""The optimizer at work on one file, which may be interrupted and gone on with."""

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nst_rt.errors import (
    InputError,
    InterruptedWorkError,
    NotFiniteError,
    OutputExistsError,
    PartialResultError,
)
from nst_rt.files import atomic_output, check_input, check_not_input, partial_path
from nst_rt.images.inputs import File, ImageSource, as_image, as_list, is_file
from nst_rt.images.io import Picture, check_image_output, load_picture, resize, save_image
from nst_rt.optimization.optimizer import Iterate, Optimization, optimize
from nst_rt.optimization.plot import LossRecord, check_plot, plot_losses
from nst_rt.optimization.timelapse import Timelapse, check_timelapse
from nst_rt.progress import interrupts_deferred

logger = logging.getLogger(__name__)

OnIterate = Callable[[Iterate], None]

# Arguments of `optimize` that change how it is computed, but not what.
_NOT_THE_PICTURE = ("device", "memory")
_IMAGES = ("content", "style", "content_mask", "style_masks", "init")


@dataclass(frozen=True)
class Painting:
    """A finished picture: its file, and its last iterate."""

    output: Path
    iterate: Iterate


def paint(
    content: ImageSource,
    styles: ImageSource | Sequence[ImageSource],
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
        content: the photo: a file, or an image as `nst_rt.optimize` takes it.
        styles: the painting, or a list of several.
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
    check_not_input([target], filter(is_file, [content, *as_list(styles)]))
    if save_every < 0:
        raise InputError(f"the number of steps between images must be 0 or more, not {save_every}")
    film = None if timelapse is None else check_timelapse(timelapse, overwrite=overwrite)
    chart = None if plot is None else check_plot(plot, overwrite=overwrite)
    if chart is not None and chart.absolute() == target.absolute():
        raise InputError(f"{plot}: the picture itself goes there; choose another name for the plot")
    optimization = optimize(content, styles, **settings)
    run = _Run(target, _identity(content, styles, settings), optimization)
    run.open(resume=resume, overwrite=overwrite)
    # At the result's size first, as the scene does: sizes of coarse scales are rounded from it.
    photo = _picture(content, max(optimization.shape))
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
        interrupted = stack.enter_context(
            interrupts_deferred("stopping after this step; Ctrl-C again stops now")
        )
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


def _picture(content: ImageSource, size: int) -> Picture:
    if is_file(content):
        return load_picture(content, size=size)
    return Picture(as_image(content, "content"), None, 8)


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


def _identity(
    content: ImageSource,
    styles: ImageSource | Sequence[ImageSource],
    settings: Mapping[str, Any],
) -> dict[str, str]:
    """All that the picture depends on, in words: images by their content."""
    given = {"content": content, "style": as_list(styles), **settings}
    return {
        name: ", ".join(map(_digest, value if isinstance(value, list | tuple) else [value]))
        if name in _IMAGES
        else str(value)
        for name, value in sorted(given.items())
        if name not in _NOT_THE_PICTURE and value is not None
    }


def _digest(value: ImageSource) -> str:
    """Of an image's content; colors and the like stay the words that they are."""
    if not is_file(value):
        return hashlib.sha256(as_image(value, "image").numpy().tobytes()).hexdigest()
    path = Path(value)
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else str(value)


def _record(iterate: Iterate) -> LossRecord:
    size = max(iterate.image.shape[-2:])
    return LossRecord(iterate.step, size, iterate.content, iterate.style, iterate.tv, iterate.total)
