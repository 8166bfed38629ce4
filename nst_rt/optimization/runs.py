"""The optimizer writing to a file: intermediate images, losses, interruption and resuming."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
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
from nst_rt.files import (
    atomic_output,
    check_not_input,
    check_room,
    partial_path,
    remove_output,
)
from nst_rt.images.convert import resize
from nst_rt.images.inputs import File, ImageSource, as_image, as_list, is_file
from nst_rt.images.io import Picture, check_image_output, load_picture, save_image
from nst_rt.optimization.optimizer import Iterate, Optimization
from nst_rt.optimization.plot import LossRecord, check_plot, plot_losses
from nst_rt.progress import Progress, interrupts_deferred
from nst_rt.resume import check_record, file_digest

OnIterate = Callable[[Iterate], None]
# Takes images of any size, shape (1, 3, H, W), RGB in [0, 1].
ImageSink = Callable[[Tensor], None]
# Opens a sink, given the result's (H, W) and the number of images that an interrupted run wrote.
OpenSink = Callable[[tuple[int, int], int], AbstractContextManager[ImageSink]]

# Arguments of `Optimization` that change how the result is computed, but not the result.
_NOT_RECORDED = ("device", "memory")
_IMAGES = ("content", "style", "content_mask", "style_masks", "init")


@dataclass(frozen=True)
class OptimizeResult:
    """An optimized image.

    Attributes:
        output: its file.
        iterate: the last iterate.
        schedule: long side in pixels and number of steps of each scale, coarsest first.
        style_size: see `OptimizerSettings`; None where style images were not prepared.
    """

    output: Path
    iterate: Iterate
    schedule: Sequence[tuple[int, int]]
    style_size: int | None = None


def optimize_to_file(
    content: ImageSource,
    style: ImageSource | Sequence[ImageSource],
    output: File,
    *,
    overwrite: bool = False,
    resume: bool = False,
    save_every: int = 0,
    timelapse: OpenSink | None = None,
    plot: File | None = None,
    progress: Progress | None = None,
    on_iterate: OnIterate | None = None,
    **settings: Any,
) -> OptimizeResult:
    """Optimize an image into a file, keeping the content image's alpha, and its 16 bits in PNGs.

    Ctrl-C stops after the current step, keeps the best image so far in `OUT.partial.EXT`, and
    writes the state to resume from to `OUT.partial.pt`.

    Args:
        content, style: see `nst_rt.optimize`.
        output: image file to write.
        overwrite: whether to replace existing files.
        resume: whether to continue an interrupted run of the same arguments. Its output may exist
            already if it is the same.
        save_every: number of steps between intermediate images `OUT-NNNN.EXT`; 0 for none.
        timelapse: opens a sink for the images of all steps, such as a video, see
            `nst_rt.infer.video.timelapse`.
        plot: chart of the losses to write.
        progress: called with the fraction of the work that is done, 1, and step and losses.
        on_iterate: called with each iterate.
        settings: further keyword arguments of `Optimization`.

    Raises:
        InputError: an input that cannot be used.
        OutputExistsError: an output exists already and `overwrite` is False.
        InterruptedWorkError: after Ctrl-C.
        PartialResultError: the loss became NaN or infinite; the best image so far is kept.
    """
    was_written = resume and not overwrite and _may_be_written(Path(output))
    target = check_image_output(output, overwrite=overwrite or was_written)
    inputs = input_files(content, style, settings)
    check_not_input([target, *leftovers(target)], inputs)
    if save_every < 0:
        raise InputError(f"`save_every` must be 0 or more, not {save_every}")
    chart = None if plot is None else check_plot(plot, overwrite=overwrite)
    if chart is not None and chart.absolute() == target.absolute():
        raise InputError(f"{plot}: `plot` and `output` are the same file")
    if chart is not None:
        check_not_input([chart], inputs)
    optimization = Optimization(content, style, **settings)
    style_size = optimization.settings.style_size  # also where it was not given
    record = _record(content, style, {**settings, "style_size": style_size})
    run = _Run(target, record, optimization)
    run.open(resume=resume, overwrite=overwrite)
    numbered = run.numbered(save_every)
    for path in numbered.values():
        # A killed run may have written images after its last state.
        check_image_output(path, overwrite=overwrite or resume)
    check_not_input(numbered.values(), inputs)
    # A full disk would cost the whole run; no image file is much larger than its pixels.
    check_room(target, 3 * optimization.shape[0] * optimization.shape[1])
    if is_file(content):
        # At the result's size first, as the scene does: sizes of coarse scales are rounded from it.
        original = load_picture(content, size=max(optimization.shape))
    else:
        original = Picture(as_image(content, "content"), None, 8)

    def save(image: Tensor, path: Path) -> None:
        size = max(image.shape[-2:])
        alpha = None if original.alpha is None else resize(original.alpha, size)
        save_image(image, path, overwrite=True, alpha=alpha, depth=original.depth)

    def keep_best() -> Path:
        assert optimization.best is not None
        save(optimization.best.image, partial_path(target))
        return partial_path(target)

    iterate: Iterate | None = None
    with ExitStack() as stack:
        interrupted = stack.enter_context(
            interrupts_deferred("stopping after this step; Ctrl-C again stops now")
        )
        write = None
        if timelapse is not None:
            write = stack.enter_context(timelapse(optimization.shape, len(run.losses)))
        try:
            for iterate in optimization:
                size = max(iterate.image.shape[-2:])
                losses = (iterate.content, iterate.style, iterate.tv, iterate.total)
                run.losses.append((iterate.step, size, *losses))
                if progress is not None:
                    progress(iterate.progress, 1, iterate.summary)
                if on_iterate is not None:
                    on_iterate(iterate)
                if write is not None:
                    write(iterate.image)
                if iterate.step in numbered:
                    save(iterate.image, numbered[iterate.step])
                    if iterate.step < iterate.steps:  # from the last one nothing could continue
                        run.save()
                if interrupted() and iterate.step < iterate.steps:
                    raise KeyboardInterrupt
        except KeyboardInterrupt as error:
            if iterate is None or optimization.best is None:
                raise
            kept, remedy = keep_best(), ""  # first: the state may be too large for the disk
            if interrupted():  # and not in the middle of a step
                run.save()
                remedy = "; `resume` continues from there"
            raise InterruptedWorkError(
                f"interrupted: the best image of {iterate.step} of {iterate.steps} steps is in "
                f"{kept}{remedy}"
            ) from error
        except NotFiniteError as error:
            if optimization.best is None:
                raise
            raise PartialResultError(
                f"{error}; the best image so far is in {keep_best()}"
            ) from error
        assert iterate is not None
        if was_written:
            save(iterate.image, partial_path(target))
            if partial_path(target).read_bytes() != target.read_bytes():
                raise OutputExistsError(
                    f"{target}: exists already, with another image than this run gives, which is "
                    f"in {partial_path(target)}; `overwrite` beside `resume` replaces it"
                )
        else:
            save(iterate.image, target)
        if chart is not None:
            plot_losses([LossRecord(*entry) for entry in run.losses], chart)
    run.remove()
    return OptimizeResult(target, iterate, optimization.schedule, style_size)


def input_files(
    content: ImageSource, style: ImageSource | Sequence[ImageSource], settings: Mapping[str, Any]
) -> list[File]:
    """All files that a run with these arguments of `Optimization` reads."""
    given = {"content": content, "style": style, **settings}
    images = [given[name] for name in _IMAGES if given.get(name) is not None]
    return [image for value in images for image in as_list(value) if is_file(image)]


def leftovers(target: Path) -> tuple[Path, Path]:
    """The image and the state that an interrupted run leaves for its output `target`."""
    return partial_path(target), partial_path(target).with_suffix(".pt")


def _may_be_written(target: Path) -> bool:
    """Whether a run may have been killed between writing its output and removing its state.

    An output that is older than the state is another one, which the run was to replace.
    """
    state = leftovers(target)[1]
    if not (target.is_file() and state.is_file()):
        return False
    return target.stat().st_mtime_ns >= state.stat().st_mtime_ns


def check_no_partial(target: Path, *, overwrite: bool) -> None:
    """Check that the image which an interrupted run kept would not be lost.

    Raises:
        OutputExistsError: there is one, and `overwrite` is False.
    """
    if partial_path(target).exists() and not overwrite:
        raise OutputExistsError(
            f"{partial_path(target)}: was kept by an interrupted run; `overwrite` starts over"
        )


class _Run:
    """State of a run in `OUT.partial.pt`, and its losses so far."""

    def __init__(self, target: Path, record: dict[str, str], optimization: Optimization) -> None:
        self.losses: list[tuple[int, int, float, float, float, float]] = []  # LossRecords
        self._target = target
        _, self._path = leftovers(target)
        self._record = record
        self._optimization = optimization

    def open(self, *, resume: bool, overwrite: bool) -> None:
        """Load the state to resume from, or check that no interrupted run would be lost."""
        if not resume:
            if self._path.exists() and not overwrite:
                raise OutputExistsError(
                    f"{self._path}: belongs to an interrupted run; `resume` continues it, "
                    "`overwrite` starts over"
                )
            check_no_partial(self._target, overwrite=overwrite)
            return
        if not self._path.exists():
            raise InputError(f"{self._path}: no such file, so there is nothing to resume")
        try:
            state = torch.load(self._path, weights_only=True)
            before, losses = state["record"], state["losses"]
        except Exception as error:  # unpickling any bytes may raise anything
            raise InputError(f"{self._path}: damaged; `overwrite` starts over") from error
        check_record(self._target, before, self._record)
        self.losses = losses
        self._optimization.load_state_dict(state["optimization"])

    def numbered(self, every: int) -> dict[int, Path]:
        """The intermediate images that remain to be saved: step -> file."""
        done = self.losses[-1][0] if self.losses else 0
        steps = range(every, self._optimization.steps + 1, every) if every else ()
        return {
            step: self._target.with_stem(f"{self._target.stem}-{step:04d}")
            for step in steps
            if step > done
        }

    def save(self) -> None:
        """Write the state after the last iterate."""
        state = {
            "record": self._record,
            "losses": self.losses,
            "optimization": self._optimization.state_dict(),
        }
        # Python's own file: PyTorch reports a full disk as a RuntimeError without a reason.
        with atomic_output(self._path) as temporary, temporary.open("wb") as file:
            torch.save(state, file)

    def remove(self) -> None:
        """Remove the leftovers of interrupted runs, once the result is written."""
        for path in leftovers(self._target):
            remove_output(path)


def _record(
    content: ImageSource, style: ImageSource | Sequence[ImageSource], settings: Mapping[str, Any]
) -> dict[str, str]:
    """All that the result depends on, as text; images by their content."""
    given = {"content": content, "style": as_list(style), **settings}
    return {
        name: ", ".join(map(_digest, as_list(value))) if name in _IMAGES else str(value)
        for name, value in sorted(given.items())
        if name not in _NOT_RECORDED and value is not None
    }


def _digest(image: ImageSource) -> str:
    """Digest of an image's content; words such as a mask's color are kept."""
    if not is_file(image):
        return hashlib.sha256(as_image(image, "image").numpy().tobytes()).hexdigest()
    return file_digest(image) if Path(image).is_file() else str(image)
