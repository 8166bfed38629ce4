"""One training run from a painting and a folder of photos to a style model file."""

import logging
import pickle
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger

from nst_rt.devices import fast_dtype, torch_device
from nst_rt.errors import InputError, OutputExistsError
from nst_rt.files import check_output
from nst_rt.images import load_image
from nst_rt.style_model import SUFFIX
from nst_rt.train.callbacks import ProgressBar, RecentLosses, SampleGrid
from nst_rt.train.photos import Photos
from nst_rt.train.task import StyleTraining
from nst_rt.transformer import MINIMUM_SIZE, Architecture
from nst_rt.vgg import load_weights


def train_style(
    style: Path | str,
    photos: Path | str,
    name: str,
    *,
    output: Path | str | None = None,
    steps: int = 1500,
    batch_size: int = 4,
    architecture: Architecture = "fast",
    size: int = 256,
    style_weight: float = 10.0,
    title: str = "",
    artist: str = "",
    year: str = "",
    licence: str = "",
    vgg_weights: str = "caffe",
    runs: Path | str = "runs",
    resume: bool = False,
    overwrite: bool = False,
    workers: int = 1,
    seed: int = 0,
    progress: bool = True,
) -> Path:
    """Train a network to paint in the style of a painting.

    TensorBoard logs, sample grids and checkpoints go to the folder `runs`/`name`.

    Args:
        style: file of the painting.
        photos: folder of photos to train on, nested or flat; at least 500 are advised. One in 20,
            chosen by name, is held out for the sample grids.
        name: the style's name.
        output: the style model to write; by default `name`.safetensors.
        steps: optimization steps.
        batch_size: photos per step.
        architecture: `fast` (real time) or `classic` (the network of Johnson et al. 2016).
        size: side of the crops, pixels.
        style_weight: weight of the style against the content, which has 1.
        title, artist, year, licence: of the painting, for the model's record.
        vgg_weights: `caffe`, `torchvision` or a path.
        runs: folder of all runs.
        resume: continue the run of this name from its last checkpoint.
        overwrite: replace an existing style model or start over an existing run.
        workers: processes that decode photos.
        seed: of everything random.
        progress: show a progress bar.

    Returns:
        The path of the style model.

    Raises:
        InputError: files, folders or values that cannot be used.
        OutputExistsError: the style model exists and `overwrite` is False.
        NotFiniteError: the loss became NaN or infinite.
    """
    for label, value in {"number of steps": steps, "batch size": batch_size}.items():
        if value < 1:
            raise InputError(f"the {label} must be positive, not {value}")
    for label, value in {"number of workers": workers, "seed": seed}.items():
        if value < 0:
            raise InputError(f"the {label} must be 0 or more, not {value}")
    if size < MINIMUM_SIZE:
        raise InputError(f"the size must be at least {MINIMUM_SIZE} px, not {size}")
    if not name or name == ".." or Path(name).name != name:
        raise InputError(f"the name of a style must do as the name of a file, unlike {name!r}")
    # Nothing is written, and no earlier run is cleared, before the inputs are known to be good.
    load_image(style)
    load_weights(vgg_weights)
    target = check_output(output or f"{name}{SUFFIX}", overwrite=overwrite)
    run = Path(runs) / name
    checkpoint = _checkpoint(run, resume=resume, overwrite=overwrite)

    task = StyleTraining(
        {name: str(style)},
        artworks={name: {"title": title, "artist": artist, "year": year, "licence": licence}},
        architecture=architecture,
        size=size,
        style_weight=style_weight,
        vgg_weights=vgg_weights,
        seed=seed,
    )
    data = Photos(
        str(photos), size=task.crop_size, batch_size=batch_size, workers=workers, seed=seed
    )
    data.check()
    if checkpoint:
        _check_resumed(checkpoint, task, data, steps)
    elif overwrite:
        for part in ("checkpoints", "samples", "tensorboard"):
            shutil.rmtree(run / part, ignore_errors=True)
    with _quiet_lightning():
        losses = RecentLosses()
        trainer = L.Trainer(
            max_steps=steps,
            max_epochs=-1,
            limit_train_batches=steps,  # the stream is endless; this gives the bar its end
            precision=_precision(),
            gradient_clip_val=5.0,
            logger=TensorBoardLogger(run, name="", version="tensorboard"),
            log_every_n_steps=10,
            enable_progress_bar=progress,
            enable_model_summary=False,
            use_distributed_sampler=False,
            callbacks=[
                losses,
                SampleGrid(
                    (data.held_out or data.training)[:4], run / "samples", every=max(steps // 10, 1)
                ),
                ModelCheckpoint(
                    run / "checkpoints",
                    filename="{step:06d}",
                    every_n_train_steps=max(steps // 20, 1),
                ),
                *([ProgressBar()] if progress else []),
            ],
        )
        try:
            trainer.fit(task, data, ckpt_path=checkpoint)
        except SystemExit as error:  # what Lightning makes of Ctrl-C
            raise KeyboardInterrupt from error
    record = training_record(task, data, trainer.global_step, losses.means())
    return task.style_model(record).save(target, overwrite=overwrite)


def training_record(
    task: StyleTraining, data: Photos, steps: int, losses: Mapping[str, float]
) -> dict[str, Any]:
    """What a style model tells of its training: recipe, photos by source and number, losses."""
    recipe = {
        key: value
        for key, value in task.hparams.items()
        # Where the painting lay is nobody's business; what it is stands in the styles.
        if key not in ("paintings", "artworks", "architecture", "hyper_parameters", "vgg_weights")
    }
    return {
        "steps": steps,
        "batch_size": data.batch_size,
        "recipe": recipe,
        "photos": data.sources,
        "vgg_weights": Path(task.hparams["vgg_weights"]).name,
        "losses": dict(losses),
    }


def _checkpoint(run: Path, *, resume: bool, overwrite: bool) -> Path | None:
    """The checkpoint to resume from; None for a new run."""
    checkpoints = sorted((run / "checkpoints").glob("*.ckpt"))
    if resume:
        if not checkpoints:
            raise InputError(f"{run}: no checkpoint to resume from; leave out --resume")
        return checkpoints[-1]
    if checkpoints and not overwrite:
        raise OutputExistsError(
            f"{run}: a run of this name exists; --resume continues it, --overwrite starts over"
        )
    return None


def _check_resumed(checkpoint: Path, task: StyleTraining, data: Photos, steps: int) -> None:
    """Raise an error unless the run began with the settings that it is to go on with."""
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise InputError(f"{checkpoint}: damaged; --overwrite starts over") from error
    begun = {
        "steps": state["lr_schedulers"][0]["total_steps"],
        **state["hyper_parameters"],
        **state["datamodule_hyper_parameters"],
    }
    for key, value in {"steps": steps, **task.hparams, **data.hparams}.items():
        # The painting may have moved.
        if key != "paintings" and begun.get(key) != value:
            raise InputError(
                f"{checkpoint}: begun with {key} = {begun.get(key)}, not {value}; give the same "
                "to resume, or leave out --resume"
            )


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Without Lightning's remarks and advertisements; what users must know, we say ourselves."""
    remarks = logging.getLogger("lightning.pytorch")
    level = remarks.level
    remarks.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            yield
    finally:
        remarks.setLevel(level)


def _precision() -> Literal["bf16-mixed", "32-true"]:
    return "bf16-mixed" if fast_dtype(torch_device()) == torch.bfloat16 else "32-true"
