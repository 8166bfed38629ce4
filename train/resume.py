"""Checkpoints of a run: find them, compare their settings, put an earlier run aside."""

import hashlib
import logging
import pickle
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

from nst_rt.errors import InputError, OutputExistsError
from nst_rt.models.style_model import FORMAT_VERSION
from nst_rt.resume import check_record, file_digest
from nst_rt.train.data import Photos
from nst_rt.train.task import StyleTraining

logger = logging.getLogger(__name__)

_PARTS = ("checkpoints", "samples", "tensorboard")
_SETTLING = 60.0  # seconds for which other processes wait for process 0
# Files may have moved, so their content is compared; facts about the artworks change no weight.
_NOT_COMPARED = ("style_images", "artworks", "start_from")


class _DamagedError(InputError):
    """A checkpoint that cannot be read."""


def checkpoints(run: Path) -> list[Path]:
    """The checkpoints of a run, oldest first; none if there is no such run."""
    return sorted((run / "checkpoints").glob("*.ckpt"))


def find_checkpoints(run: Path, *, resume: bool, overwrite: bool) -> list[Path]:
    """The checkpoints to resume from, oldest first; none for a new run.

    Raises:
        InputError: `resume` is set, and there is no checkpoint.
        OutputExistsError: there is one, and neither `resume` nor `overwrite` is set.
    """
    found = checkpoints(run)
    if resume:
        if not found:
            raise InputError(f"{run}: no checkpoint to resume from; leave out `resume`")
        return found
    if found and not overwrite:
        raise OutputExistsError(
            f"{run}: a run of this name exists; `resume` continues it, `overwrite` starts over"
        )
    return []


class RunIdentity(Callback):
    """Everything that decides a training's outcome, kept in its checkpoints by name.

    Args:
        task, data, trainer: before the first step.
        replaces: existing model file that the run may replace, as `overwrite` was given.

    Attributes:
        replaces: the same; of a run that is resumed, what its checkpoint says.
    """

    def __init__(
        self, task: StyleTraining, data: Photos, trainer: L.Trainer, replaces: Path | None = None
    ) -> None:
        self.replaces = replaces
        self.values: dict[str, Any] = {
            "steps": trainer.max_steps,
            **{k: v for k, v in task.hparams.items() if k not in _NOT_COMPARED},
            "batch_size": data.batch_size,
            "photos": f"{len(data.training)}, digest {data.digest()}",
            "precision": trainer.precision,
            "gradient_clip_val": trainer.gradient_clip_val,
            "gradient_clip_algorithm": str(trainer.gradient_clip_algorithm),
            "accumulate_grad_batches": trainer.accumulate_grad_batches,
            "devices": trainer.world_size,
            "style_images": {k: file_digest(file) for k, file in task.style_images.items()},
            "initial weights": _weights_digest(task),
        }

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["identity"] = {"format_version": FORMAT_VERSION, **self.values}
        checkpoint["replaces"] = self.replaces and str(self.replaces)

    def check(self, found: Sequence[Path]) -> tuple[Path, int]:
        """Find the last checkpoint that is complete, and check it.

        A training that was killed while it wrote one still has the one before; what cannot be read
        is deleted, or the checkpoint of the same step would get another name.

        Args:
            found: all checkpoints of a run, oldest first.

        Returns:
            The checkpoint, and the number of steps that the run had done by then.

        Raises:
            InputError: all are damaged, or the run has other settings or photos.
        """
        *earlier, last = found
        try:
            return last, self._checked(last)
        except _DamagedError:
            if not earlier:
                raise
            checked = self.check(earlier)
            logger.warning("%s: damaged; the run continues from the checkpoint before it", last)
            last.unlink(missing_ok=True)
            return checked

    def _checked(self, checkpoint: Path) -> int:
        """Check that a run can be resumed with these settings.

        Returns:
            The number of steps that it has done.

        Raises:
            _DamagedError: the checkpoint cannot be read.
            InputError: it is of a run with other settings or photos.
        """
        try:
            state = torch.load(checkpoint, map_location="cpu", weights_only=True)
            then: dict[str, Any] = dict(state["identity"])
            step = int(state["global_step"])
        except (OSError, RuntimeError, EOFError, KeyError, pickle.UnpicklingError) as error:
            raise _DamagedError(f"{checkpoint}: damaged; `overwrite` starts over") from error
        if then.pop("format_version", None) != FORMAT_VERSION:
            raise InputError(
                f"{checkpoint}: begun by another version of nst-rt, whose networks have other "
                "weights; resume with that version, or start over with `overwrite`"
            )
        check_record(checkpoint, then, self.values)
        if self.replaces is None and (replaces := state.get("replaces")):
            self.replaces = Path(replaces)
        return step


def _weights_digest(task: StyleTraining) -> str:
    digest = hashlib.sha256()
    for weights in task.state_dict().values():
        digest.update(weights.contiguous().numpy().tobytes())
    return digest.hexdigest()


@contextmanager
def earlier_run_aside(run: Path) -> Iterator[None]:
    """Put an earlier run of this name aside until the new one has a checkpoint of its own.

    If the new run does not get that far, the earlier one is put back; else it is deleted.
    """
    for part in _PARTS:
        if (run / part).exists():
            (run / part).rename(_aside(run, part))
    try:
        yield
    finally:
        settle_earlier_run(run)


def settle_earlier_run(run: Path) -> None:
    """Put back or delete the run that was put aside, also by a training that was killed."""
    begun = bool(checkpoints(run))
    for part in reversed(_PARTS):  # checkpoints last: with them the run counts as put back
        if (earlier := _aside(run, part)).exists():
            shutil.rmtree(earlier if begun else run / part, ignore_errors=not begun)
            if not begun:
                earlier.rename(run / part)


def await_settled(run: Path) -> None:
    """Wait until process 0 has put back or deleted what was put aside, but not endlessly."""
    deadline = time.monotonic() + _SETTLING
    while any(_aside(run, part).exists() for part in _PARTS) and time.monotonic() < deadline:
        time.sleep(0.1)


def _aside(run: Path, part: str) -> Path:
    return run / f".{part}.earlier"
