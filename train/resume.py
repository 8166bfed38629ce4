"""Checkpoints of a run: find them, compare their settings, put an earlier run aside."""

import hashlib
import pickle
import shutil
from collections.abc import Iterator
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

_PARTS = ("checkpoints", "samples", "tensorboard")
# Files may have moved, so their content is compared; facts about the artworks change no weight.
_NOT_COMPARED = ("style_images", "artworks", "start_from")


def checkpoints(run: Path) -> list[Path]:
    """The checkpoints of a run, oldest first; none if there is no such run."""
    return sorted((run / "checkpoints").glob("*.ckpt"))


def find_checkpoint(run: Path, *, resume: bool, overwrite: bool) -> Path | None:
    """The checkpoint to resume from; None for a new run.

    Raises:
        InputError: `resume` is set, and there is no checkpoint.
        OutputExistsError: there is one, and neither `resume` nor `overwrite` is set.
    """
    found = checkpoints(run)
    if resume:
        if not found:
            raise InputError(f"{run}: no checkpoint to resume from; leave out `resume`")
        return found[-1]
    if found and not overwrite:
        raise OutputExistsError(
            f"{run}: a run of this name exists; `resume` continues it, `overwrite` starts over"
        )
    return None


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

    def check(self, checkpoint: Path) -> int:
        """Check that a run can be resumed with these settings.

        Returns:
            The number of steps that it has done.

        Raises:
            InputError: the checkpoint is damaged, or of a run with other settings or photos.
        """
        try:
            state = torch.load(checkpoint, map_location="cpu", weights_only=True)
            then: dict[str, Any] = dict(state["identity"])
            step = int(state["global_step"])
        except (OSError, RuntimeError, EOFError, KeyError, pickle.UnpicklingError) as error:
            raise InputError(f"{checkpoint}: damaged; `overwrite` starts over") from error
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
    aside = {run / part: run / f".{part}.earlier" for part in _PARTS if (run / part).exists()}
    for part, earlier in aside.items():
        shutil.rmtree(earlier, ignore_errors=True)
        part.rename(earlier)
    try:
        yield
    finally:
        begun = bool(checkpoints(run))
        for part, earlier in aside.items():
            if begun:
                shutil.rmtree(earlier)
            else:
                shutil.rmtree(part, ignore_errors=True)
                earlier.rename(part)
