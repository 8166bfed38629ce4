"""From recipes and settings to the objects of a training: LightningCLI without its command line.

A setting has the name that it has in the recipes (`train/configs/*.yaml`): `trainer.max_steps`,
`model.style_weight`, `data.batch_size`. Later ones win: the default recipe, recipes that are given,
then single settings.
"""

import json
import logging
import os
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from textwrap import shorten
from typing import Any

import lightning as L
from jsonargparse import ArgumentError
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.lsf import LSFEnvironment
from lightning.fabric.plugins.environments.mpi import MPIEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import TensorBoardLogger

from nst_rt.devices import fast_dtype, torch_device
from nst_rt.errors import InputError
from nst_rt.train.callbacks import (
    ProgressBar,
    RecentLosses,
    SampleGrid,
    SkippedPhotos,
    Termination,
)
from nst_rt.train.data import Photos
from nst_rt.train.recipes import DEFAULT_RECIPE, recipe_file
from nst_rt.train.task import StyleTraining


class Training(LightningCLI):
    """A training's objects: `model`, `datamodule` and `trainer`, and the callbacks that it reads.

    Args:
        recipes: files, or names of recipes that ship.
        settings: name -> value, or its text.
        arguments: more settings as on a command line: `--trainer.devices 2`, `--config FILE`.
        folder: where logs, samples and checkpoints go.
        progress: show a progress bar.

    Raises:
        InputError: recipes or settings that do not exist or have values of a wrong type.
        StyleTransferError: whatever the model and the data find wrong with theirs.
    """

    model: StyleTraining
    datamodule: Photos
    trainer: L.Trainer

    def __init__(
        self,
        *,
        recipes: Sequence[str] = (),
        settings: Mapping[str, object] | None = None,
        arguments: Sequence[str] = (),
        folder: Path,
        progress: bool = False,
    ) -> None:
        self.folder = folder
        self.progress = progress
        self.losses = RecentLosses()
        self.skipped = SkippedPhotos()
        try:
            with quiet_lightning(), refusals_in_one_line():
                super().__init__(
                    StyleTraining,
                    Photos,
                    save_config_callback=None,
                    seed_everything_default=False,
                    parser_kwargs=_PARSER,
                    args=_arguments(recipes, settings or {}, arguments),
                    run=False,
                    auto_configure_optimizers=False,
                )
        except (ArgumentError, UnicodeDecodeError) as error:
            raise InputError(_one_line(error)) from error

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """What follows from other settings is no setting."""
        parser.link_arguments("model.seed", "data.seed")
        parser.link_arguments("model.crop_size", "data.size", apply_on="instantiate")

    def instantiate_trainer(self, **changes: Any) -> L.Trainer:
        """The trainer, with what depends on other settings, and with our callbacks."""
        given = self.config_init["trainer"]
        steps = 1 if given["fast_dev_run"] else given["max_steps"]
        if steps < 1:
            raise InputError(f"the number of steps must be positive, not {steps}")
        for key in ("accumulate_grad_batches", "check_val_every_n_epoch"):
            if given[key] is not None and given[key] < 1:
                raise InputError(f"trainer.{key} must be 1 or more, not {given[key]}")
        if given["overfit_batches"]:
            raise InputError("trainer.overfit_batches: the stream of photos has no end to overfit")
        for key, instead in _TAKEN.items():
            if given[key] is not None:
                raise InputError(f"trainer.{key} is set by the training itself; {instead}")
        if (given["precision"] or "32-true") not in _PRECISIONS:
            raise InputError(
                f"trainer.precision must be one of {', '.join(_PRECISIONS)}, not "
                f"{given['precision']}"
            )
        batches = steps * given["accumulate_grad_batches"]
        changes["default_root_dir"] = self.folder
        changes["limit_train_batches"] = batches  # the stream is endless; this gives it an end
        every = given["val_check_interval"] or max(batches // 10, 1)
        changes["val_check_interval"] = min(every, batches) if isinstance(every, int) else every
        changes["precision"] = given["precision"] or _precision(given["accelerator"])
        changes["use_distributed_sampler"] = False  # the stream shares itself out
        changes["enable_model_summary"] = bool(given["enable_model_summary"])
        changes["enable_progress_bar"] = False  # ours is a callback
        if given["logger"] in (None, True):
            changes["logger"] = TensorBoardLogger(
                self.folder, name="", version="tensorboard", default_hp_metric=False
            )
        photos = (self.datamodule.held_out or self.datamodule.training)[:4]
        more = given["callbacks"] or []
        shown = self.progress and given["enable_progress_bar"] is not False
        changes["callbacks"] = [
            *(more if isinstance(more, list) else [more]),
            self.losses,
            self.skipped,
            SampleGrid(photos, self.folder / "samples", every=max(steps // 10, 1)),
            ModelCheckpoint(
                self.folder / "checkpoints",
                filename="{step:06d}",
                every_n_train_steps=max(steps // 20, 1),
            ),
            *([ProgressBar()] if shown else []),
        ]
        plugins = given["plugins"] or []
        plugins = list(plugins) if isinstance(plugins, list | tuple) else [plugins]
        with refusals_in_one_line():
            if not any(isinstance(plugin, ClusterEnvironment) for plugin in plugins):
                plugins.append(cluster_environment())
            if not any(isinstance(plugin, SLURMEnvironment) for plugin in plugins):
                changes["callbacks"].append(Termination())
            return super().instantiate_trainer(**changes | {"plugins": plugins})


_PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")  # others would change the optical flow, too
_TAKEN = {
    "limit_train_batches": "trainer.max_steps says how long it trains",
    "default_root_dir": "--runs says where its folder goes",
}
_PARSER = {
    "exit_on_error": False,
    "default_config_files": [str(recipe_file(DEFAULT_RECIPE))],
}


@contextmanager
def refusals_in_one_line() -> Iterator[None]:
    """What Lightning's own lines or its parser's raise, settings cause: an InputError."""
    try:
        yield
    except Exception as error:
        *_, (innermost, _) = traceback.walk_tb(error.__traceback__)
        owner = str(innermost.f_globals.get("__name__")).partition(".")[0]
        if owner not in ("lightning", "jsonargparse") or isinstance(error, ArgumentError):
            raise
        raise InputError(f"the trainer refuses its settings: {_one_line(error)}") from error


# Who starts several processes of one training, and the variables that each of them then has.
_LAUNCHERS: tuple[tuple[type[ClusterEnvironment], frozenset[str]], ...] = (
    (TorchElasticEnvironment, frozenset({"RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR"})),
    (SLURMEnvironment, frozenset({"SLURM_STEP_ID", "SLURM_PROCID"})),
    (LSFEnvironment, frozenset()),
    (MPIEnvironment, frozenset()),
)


@refusals_in_one_line()
def cluster_environment() -> ClusterEnvironment:
    """That of the launcher which started this process, else Lightning's own.

    Lightning by itself takes a single variable for a launcher: SLURM_NTASKS, which every shell of a
    job has, though only `srun` starts tasks, or what is left over of torchrun.
    """
    for launcher, variables in _LAUNCHERS:
        if variables <= os.environ.keys() and launcher.detect():
            return launcher()
    own = LightningEnvironment()
    own.set_global_rank(0)  # RANK may be left over, too
    return own


def is_further_process() -> bool:
    """Whether another process of the same training speaks for this one, too."""
    environment = cluster_environment()
    return environment.global_rank() > 0 or environment.local_rank() > 0


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Without Lightning's remarks and advertisements; what users must know, we say ourselves."""
    loggers = [logging.getLogger(f"lightning.{part}") for part in ("pytorch", "fabric")]
    levels = [remarks.level for remarks in loggers]
    for remarks in loggers:
        remarks.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            yield
    finally:
        for remarks, level in zip(loggers, levels, strict=True):
            remarks.setLevel(level)


def all_settings(
    *,
    recipes: Sequence[str] = (),
    settings: Mapping[str, object] | None = None,
    arguments: Sequence[str] = (),
) -> str:
    """Every setting with its value, as the YAML of a recipe; arguments as of `Training`.

    Raises:
        InputError: recipes or settings that do not exist or have values of a wrong type.
    """
    text = StringIO()
    try:
        with redirect_stdout(text):
            Training(
                recipes=recipes,
                settings=settings,
                arguments=[*arguments, "--print_config=skip_unset"],
                folder=Path(),
            )
    except SystemExit:
        pass
    return text.getvalue()


def _arguments(
    recipes: Sequence[str], settings: Mapping[str, object], arguments: Sequence[str]
) -> list[str]:
    return [
        *(f"--config={recipe_file(recipe)}" for recipe in recipes),
        *(
            f"--{key}={value if isinstance(value, str) else json.dumps(value)}"
            for key, value in settings.items()
        ),
        *arguments,
    ]


def _precision(accelerator: object) -> str:
    """bfloat16 for the network too, where the device multiplies it."""
    device = torch_device("cpu" if accelerator == "cpu" else None)
    return "bf16-mixed" if fast_dtype(device).itemsize == 2 else "32-true"


def _one_line(error: Exception) -> str:
    """What the parser says; where a value could have been meant in many ways, it goes on and on."""
    text = " ".join(str(error).split())
    for missing, option in {"model.paintings": "--style", "data.photos": "--photos"}.items():
        if "required" in text and missing in text:
            return f"give {option}, or a recipe that has {missing}"
    return shorten(text, 400, placeholder=" ...")
