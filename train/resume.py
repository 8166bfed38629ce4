"""What makes runs go on and start over safely: checkpoints found, compared and put aside."""

import hashlib
import pickle
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

from nst_rt.errors import InputError, OutputExistsError
from nst_rt.models.style_model import FORMAT_VERSION
from nst_rt.train.settings import Training

_PARTS = ("checkpoints", "samples", "tensorboard")
# Files may have moved (their content is compared), and facts about the artwork change no weight.
_NO_PART_OF_A_RUN = ("_instantiator", "paintings", "artworks", "start_from")


def checkpoints(run: Path) -> list[Path]:
    """Those of a run, oldest first; none if it has not got that far, or is not there."""
    return sorted((run / "checkpoints").glob("*.ckpt"))


def find_checkpoint(run: Path, *, resume: bool, overwrite: bool) -> Path | None:
    """The checkpoint to resume from; None for a new run.

    Raises:
        InputError: there is none.
        OutputExistsError: there is one, and neither `resume` nor `overwrite` is set.
    """
    found = checkpoints(run)
    if resume:
        if not found:
            raise InputError(f"{run}: no checkpoint to resume from; leave out --resume")
        return found[-1]
    if found and not overwrite:
        raise OutputExistsError(
            f"{run}: a run of this name exists; --resume continues it, --overwrite starts over"
        )
    return None


class RunIdentity(Callback):
    """Everything that decides a training's outcome, kept in its checkpoints.

    Args:
        training: before its first step.
    """

    def __init__(self, training: Training) -> None:
        task, trainer = training.model, training.trainer
        self.identity: dict[str, Any] = {
            "format_version": FORMAT_VERSION,
            "steps": trainer.max_steps,
            **{k: v for k, v in task.hparams.items() if k not in _NO_PART_OF_A_RUN},
            "precision": trainer.precision,
            "gradient_clip_val": trainer.gradient_clip_val,
            "gradient_clip_algorithm": str(trainer.gradient_clip_algorithm),
            "accumulate_grad_batches": trainer.accumulate_grad_batches,
            "devices": trainer.world_size,
            "styles": list(task.paintings),
            "the paintings": [_digest(Path(file)) for file in task.paintings.values()],
            "the network to start from": _network_digest(task),
        }

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep it."""
        checkpoint["identity"] = self.identity

    def check(self, checkpoint: Path, training: Training) -> int:
        """Check that a run can go on with these settings.

        Returns:
            The steps that it has done.

        Raises:
            InputError: the checkpoint is damaged, or of a run with other settings or photos.
        """
        try:
            state = torch.load(checkpoint, map_location="cpu", weights_only=True)
            begun: Mapping[str, Any] = state["identity"]
            photos = state[type(training.datamodule).__qualname__]
            step = int(state["global_step"])
        except (OSError, RuntimeError, EOFError, KeyError, pickle.UnpicklingError) as error:
            raise InputError(f"{checkpoint}: damaged; --overwrite starts over") from error
        if begun.get("format_version") != FORMAT_VERSION:
            raise InputError(
                f"{checkpoint}: begun by a version of nst-rt whose networks have other weights; "
                "--resume with that version, or start over with --overwrite"
            )
        for key, value in self.identity.items():
            then = begun.get(key)
            if then != value:
                # Nobody knows a file by its digest.
                what = f"{key} = {then}, not {value}" if " " not in key else f"others for {key}"
                raise InputError(
                    f"{checkpoint}: begun with {what}; give the same to resume, or leave out "
                    "--resume"
                )
        training.datamodule.check_resumed(photos)
        return step


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _network_digest(task: torch.nn.Module) -> str:
    digest = hashlib.sha256()
    for value in task.state_dict().values():
        digest.update(value.contiguous().numpy().tobytes())
    return digest.hexdigest()


@contextmanager
def earlier_run_aside(run: Path) -> Iterator[None]:
    """Put an earlier run of this name aside, until the new one has a checkpoint of its own.

    If it does not get that far, the earlier one is put back; else it is deleted.
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
