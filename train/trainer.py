"""Lightning's Trainer with the settings of a training."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger

from nst_rt.devices import fast_dtype, torch_device
from nst_rt.errors import InputError
from nst_rt.images.collection import Photo
from nst_rt.train.callbacks import SampleGrid, Termination
from nst_rt.train.processes import cluster_environment
from nst_rt.train.refusals import refusals_in_one_line

_PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")  # others would change the optical flow, too
_NOT_SETTABLE = {
    "limit_train_batches": "trainer.max_steps is the length of the training",
    "default_root_dir": "`runs` is the folder of all runs",
}
_DEVICES = 8  # processes that every machine may be asked for


def make_trainer(
    settings: Mapping[str, Any],
    *,
    folder: Path,
    sample_photos: Sequence[Photo],
    callbacks: Sequence[Callback],
) -> L.Trainer:
    """A Trainer that writes logs, sample grids and checkpoints to a folder.

    Args:
        settings: arguments of Lightning's Trainer, `max_steps` among them.
        folder: of the run.
        sample_photos: photos of the sample grids.
        callbacks: in addition to those of the settings.

    Raises:
        InputError: settings that do not fit this training, or that Lightning refuses.
    """
    given = dict(settings)
    steps = 1 if given.get("fast_dev_run") else given["max_steps"]
    _check(given, steps)
    batches = steps * given.get("accumulate_grad_batches", 1)
    every = given.get("val_check_interval") or max(batches // 10, 1)
    logger = given.get("logger")
    if logger is None or logger is True:
        logger = TensorBoardLogger(folder, name="", version="tensorboard", default_hp_metric=False)
    own = [
        *_list(given.get("callbacks")),
        *callbacks,
        SampleGrid(sample_photos, folder / "samples", every=max(steps // 10, 1)),
        ModelCheckpoint(
            folder / "checkpoints",
            filename="{step:06d}",
            every_n_train_steps=checkpoint_interval(steps),
        ),
    ]
    plugins = _list(given.get("plugins"))
    with refusals_in_one_line():
        if not any(isinstance(plugin, ClusterEnvironment) for plugin in plugins):
            plugins.append(cluster_environment())
        # A SLURM environment of the caller's own may put the job back into the queue at a signal.
        if not any(isinstance(p, SLURMEnvironment) and p.auto_requeue for p in plugins):
            own.append(Termination())
        given |= {
            "default_root_dir": folder,
            "limit_train_batches": batches,  # the stream is endless; this ends the only epoch
            "val_check_interval": min(every, batches) if isinstance(every, int) else every,
            "precision": given.get("precision") or _precision(given.get("accelerator")),
            "use_distributed_sampler": False,  # each process takes its share of the stream
            "enable_model_summary": bool(given.get("enable_model_summary")),
            "enable_progress_bar": False,  # `ReportProgress` tells the caller instead
            "logger": logger,
            "callbacks": own,
            "plugins": plugins,
        }
        return L.Trainer(**given)


def checkpoint_interval(steps: int) -> int:
    """Number of steps between two checkpoints of a training."""
    return max(steps // 20, 1)


def _check(given: Mapping[str, Any], steps: int) -> None:
    if steps < 1:
        raise InputError(f"`steps` must be positive, not {steps}")
    for key in ("accumulate_grad_batches", "check_val_every_n_epoch"):
        if (value := given.get(key)) is not None and value < 1:
            raise InputError(f"trainer.{key} must be 1 or more, not {value}")
    devices = str(given.get("devices"))
    most = max(_DEVICES, os.cpu_count() or 1, torch.cuda.device_count())
    if devices.isdecimal() and int(devices) > most:  # each one is a process of its own
        raise InputError(f"trainer.devices must be {most} or less on this machine, not {devices}")
    if given.get("overfit_batches"):
        raise InputError("trainer.overfit_batches: the stream of photos is endless")
    for key, reason in _NOT_SETTABLE.items():
        if given.get(key) is not None:
            raise InputError(f"trainer.{key} cannot be set: {reason}")
    if (precision := given.get("precision") or "32-true") not in _PRECISIONS:
        raise InputError(
            f"trainer.precision must be one of {', '.join(_PRECISIONS)}, not {precision}"
        )


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _precision(accelerator: object) -> str:
    """bfloat16 for the network where the device multiplies it in hardware."""
    device = torch_device("cpu" if accelerator == "cpu" else None)
    return "bf16-mixed" if fast_dtype(device).itemsize == 2 else "32-true"
