"""One training run from paintings and a collection of photos to a style model file."""

import re
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

from nst_rt.errors import InputError, OutputExistsError, StyleTransferError
from nst_rt.files import check_format
from nst_rt.models.style_model import SUFFIX
from nst_rt.models.vgg import load_weights
from nst_rt.train.record import training_record
from nst_rt.train.resume import RunIdentity, checkpoints, earlier_run_aside, find_checkpoint
from nst_rt.train.settings import Training, quiet_lightning, refusals_in_one_line


def train_style(
    style: Path | str | Mapping[str, Path | str] | None = None,
    photos: Path | str | None = None,
    name: str | None = None,
    *,
    output: Path | str | None = None,
    start_from: Path | str | None = None,
    affine_only: bool | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    validation: Path | str | float | None = None,
    architecture: str | None = None,
    size: int | None = None,
    style_weight: float | None = None,
    style_crop: str | Mapping[str, str] | None = None,
    prepare: bool | None = None,
    title: str = "",
    artist: str = "",
    year: str = "",
    license: str = "",
    vgg_weights: str | None = None,
    recipes: Sequence[str] = (),
    settings: Mapping[str, object] | None = None,
    arguments: Sequence[str] = (),
    runs: Path | str = "runs",
    resume: bool = False,
    overwrite: bool = False,
    fast_dev_run: bool = False,
    workers: int | None = None,
    seed: int | None = None,
    progress: bool = True,
) -> Path:
    """Train a network to paint in the style of one painting, or of several.

    TensorBoard logs, sample grids and checkpoints go to the folder `runs`/`name`. What is None is
    as in the recipes.

    Args:
        style: file of the painting, or the files of several by their styles' names; None if a
            recipe has them.
        photos: what to train on: a folder of photos, nested or flat, a zip archive, or a text file
            with a path a line; at least 500 are advised. None if a recipe has it.
        name: of the style or, with several, of the model; by default that of the one painting.
        output: the style model to write; by default `name`.safetensors.
        start_from: train a new style in minutes, from a trained network: `gallery`, a style of the
            gallery, or a model file. The model holds the new styles only.
        affine_only: train nothing but the affine pairs of the new styles; the model then holds
            the new styles and, unchanged, those that `start_from` had.
        steps: optimization steps.
        batch_size: photos per step, on each device.
        validation: photos to validate on: a collection as `photos`, or the fraction of `photos`,
            chosen by name, that is held out for it and for the sample grids.
        architecture: `fast` (real time) or `classic` (the network of Johnson et al. 2016).
        size: side of the crops, pixels.
        style_weight: weight of the style against the content, which has 1.
        style_crop: the part of the painting to learn from, in pixels of the file, such as
            400x300+20+10: width, height, left, top; of several, by their styles' names.
        prepare: stretch the levels of a dull painting and denoise a noisy one; else paintings are
            used as they are.
        title, artist, year, license: of the painting, for the model's record.
        vgg_weights: `caffe`, `torchvision` or a path.
        recipes: YAML files, or names of recipes that ship: settings over those of the default one.
        settings: single ones over the recipes', by name: `{"trainer.devices": 2}`.
        arguments: the same as on a command line: `["--trainer.devices", "2"]`.
        runs: folder of all runs.
        resume: continue the run of this name from its last checkpoint.
        overwrite: replace an existing style model or start over an existing run.
        fast_dev_run: one step of training and of validation, to see that all works; nothing is
            written.
        workers: processes that decode photos.
        seed: of everything random.
        progress: show a progress bar, on a terminal.

    Returns:
        The path of the style model.

    Raises:
        InputError: files, folders or values that cannot be used.
        OutputExistsError: the style model exists and `overwrite` is False.
        NotFiniteError: the loss became NaN or infinite.
    """
    paintings, name = named_paintings(style, name)
    artwork = {"title": title, "artist": artist, "year": year, "license": license}
    given = {
        "model.paintings": paintings or None,
        "model.artworks": dict.fromkeys(paintings, artwork) if any(artwork.values()) else None,
        "model.start_from": start_from and str(start_from),
        "model.affine_only": affine_only,
        "model.architecture": architecture,
        "model.size": size,
        "model.style_weight": style_weight,
        "model.style_crops": _crops_by_name(style_crop, paintings),
        "model.prepare": prepare,
        "model.vgg_weights": vgg_weights,
        "model.seed": seed,
        "data.photos": photos and str(photos),
        "data.validation": str(validation) if isinstance(validation, Path) else validation,
        "data.batch_size": batch_size,
        "data.workers": workers,
        "trainer.max_steps": steps,
        "trainer.fast_dev_run": fast_dev_run or None,
    }
    run = Path(runs) / name
    training = Training(
        recipes=[
            *(["classic"] if architecture == "classic" and not start_from else []),
            *(["new_style"] if start_from else []),
            *(["affine_only"] if start_from and affine_only else []),
            *recipes,
        ],
        settings={k: v for k, v in given.items() if v is not None} | dict(settings or {}),
        arguments=arguments,
        folder=run,
        progress=progress,
    )
    # Nothing is written, and no earlier run is put aside, before the inputs are known to be good.
    task, data, trainer = training.model, training.datamodule, training.trainer
    task.check_paintings()
    load_weights(task.hparams["vgg_weights"])
    data.check()
    checkpoint = find_checkpoint(run, resume=resume, overwrite=overwrite)
    identity = RunIdentity(training)
    target = Path(output or f"{name}{SUFFIX}")
    done = identity.check(checkpoint, training) if checkpoint else 0
    if done == trainer.max_steps and target.exists() and not overwrite:
        raise OutputExistsError(
            f"{run}: complete, all {done} steps, and its model is {target}; -o writes another"
        )
    check_format(target, "style model", [SUFFIX], overwrite=overwrite)
    trainer.callbacks.append(identity)  # type: ignore[attr-defined]
    writes = trainer.is_global_zero and not trainer.fast_dev_run  # type: ignore[attr-defined]
    with earlier_run_aside(run) if writes and not checkpoint else nullcontext():
        _fit(training, checkpoint)
    if writes:
        if not trainer.global_step:
            raise InputError("nothing was trained: the settings of the trainer leave no step")
        record = training_record(
            task,
            steps=trainer.global_step,
            batch_size=data.batch_size,
            photos=data.sources,
            skipped=len(training.skipped.skipped),
            losses=training.losses.means(),
        )
        task.style_model(record).save(target, overwrite=overwrite)
        for earlier in checkpoints(run)[:-1]:
            earlier.unlink()
    return target


def _fit(training: Training, checkpoint: Path | None) -> None:
    """Train; Lightning's errors that users cause become ours.

    Raises:
        InputError: settings that do not go together.
        StyleTransferError: a worker was killed or failed.
        KeyboardInterrupt: Ctrl-C or SIGTERM.
    """
    with quiet_lightning(), refusals_in_one_line():
        try:
            training.trainer.fit(
                training.model, training.datamodule, ckpt_path=checkpoint, weights_only=True
            )
        except SystemExit as error:  # what Lightning makes of Ctrl-C
            raise KeyboardInterrupt from error
        except Exception as error:
            if of_worker := _error_of_worker(error):
                raise of_worker from error
            raise


def _error_of_worker(error: Exception) -> StyleTransferError | None:
    """What a process that decodes photos died of, in one line; None for other errors."""
    for each in (error.__cause__, error):  # the signal may be known to the cause alone
        if died := re.match(r"DataLoader worker \(pid.*\) ([^.]*)", str(each)):
            return StyleTransferError(
                f"a process that decodes photos {died[1]}; go on with --resume, and --workers 0 if "
                "it happens again"
            )
    text = str(error).strip()
    if "in DataLoader worker process" not in text:
        return None
    # PyTorch puts the traceback into the message, at its end the error itself.
    cause = " ".join(text[text.rfind("\n  ") :].split("\n")[2:])
    if isinstance(error, StyleTransferError):
        return type(error)(cause.partition(": ")[2])
    return StyleTransferError(f"a process that decodes photos failed: {cause}")


def _crops_by_name(
    crop: str | Mapping[str, str] | None, paintings: Mapping[str, str]
) -> dict[str, str] | None:
    """The crops by the names of their styles.

    Raises:
        InputError: one crop, and not just one painting that it could be of.
    """
    if crop is None or isinstance(crop, Mapping):
        return dict(crop) if crop else None
    if len(paintings) != 1:
        raise InputError(
            f"style_crop: name the style whose painting is to be cut: NAME={crop} for each"
        )
    return dict.fromkeys(paintings, crop)


def named_paintings(
    style: Path | str | Mapping[str, Path | str] | None, name: str | None
) -> tuple[dict[str, str], str]:
    """The files of the paintings by the names of their styles, and the name of the run.

    Raises:
        InputError: there is no name, or one that cannot be that of a file.
    """
    if isinstance(style, Mapping):
        paintings = {key: str(file) for key, file in style.items()}
        name = next(iter(paintings)) if name is None and len(paintings) == 1 else name
    else:
        name = Path(style).stem if name is None and style is not None else name
        paintings = {name or "": str(style)} if style is not None else {}
    if name is None:
        raise InputError(
            "give --name: a training of several styles, or from a recipe alone, needs one"
            if style is not None
            else "give --style PAINTING, or a recipe that has model.paintings, and a --name"
        )
    if name in ("", "..") or Path(name).name != name:
        raise InputError(f"the name of a style must do as the name of a file, unlike {name!r}")
    return paintings, name
