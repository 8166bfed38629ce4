"""`train_style`: one training, from style images and a collection of photos to a style model."""

import re
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import lightning as L
from lightning.pytorch.callbacks import Callback

from nst_rt.errors import InputError, InterruptedWorkError, OutputExistsError, StyleTransferError
from nst_rt.files import check_format
from nst_rt.images.inputs import ImageSource, as_image, is_file
from nst_rt.images.io import save_image
from nst_rt.models.style_model import SUFFIX, StyleModel
from nst_rt.models.vgg import load_weights
from nst_rt.progress import Progress
from nst_rt.train.callbacks import AverageWeights, RecentLosses, ReportProgress, SkippedPhotos
from nst_rt.train.data import FEW_PHOTOS, Photos
from nst_rt.train.processes import lost_process
from nst_rt.train.recipes import DEFAULT_RECIPE, Recipe, RecipeValues, recipe_values
from nst_rt.train.refusals import quiet_lightning, refusals_in_one_line
from nst_rt.train.resume import (
    RunIdentity,
    await_settled,
    checkpoints,
    earlier_run_aside,
    find_checkpoints,
    settle_earlier_run,
)
from nst_rt.train.task import StyleTraining
from nst_rt.train.trainer import checkpoint_interval, make_trainer

T = TypeVar("T")


def train_style(
    style_image: ImageSource | Mapping[str, ImageSource] | None = None,
    photos: Path | str | None = None,
    name: str | None = None,
    *,
    output: Path | str | None = None,
    start_from: Path | str | StyleModel | None = None,
    affine_only: bool | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    validation: Path | str | float | None = None,
    architecture: str | None = None,
    size: int | None = None,
    style_weight: float | None = None,
    style_crop: str | Mapping[str, str] | None = None,
    prepare: bool | None = None,
    title: str | None = None,
    artist: str | None = None,
    year: str | None = None,
    license: str | None = None,
    vgg_weights: str | None = None,
    recipes: Sequence[Recipe] | None = None,
    model: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
    trainer: Mapping[str, Any] | None = None,
    runs: Path | str = "runs",
    resume: bool = False,
    overwrite: bool = False,
    fast_dev_run: bool = False,
    workers: int | None = None,
    seed: int | None = None,
    progress: Progress | None = None,
) -> StyleModel:
    """Train a network to stylize like one style image, or like several, and write its model file.

    TensorBoard logs, sample grids and checkpoints go to the folder `runs`/`name`. Settings that are
    None have the values of the recipes; the default recipe is train/configs/bold.yaml.

    Args:
        style_image: image as a file, NumPy array, Pillow image or tensor, see `as_image`; or style
            name -> image for several styles. Not needed if a recipe has image files.
        photos: photos to train on: a folder, nested or flat, a zip archive, or a text file with one
            path per line; at least 500 are advised. Not needed if a recipe has them.
        name: of the style or, with several, of the model; default: the stem of the only image file.
        output: model file to write; default: `name`.safetensors.
        start_from: trained network to start from, which takes minutes instead of half an hour: a
            style of the gallery, `gallery` for the one whose style image is most similar, or a
            model or its file. The new model holds the new styles only.
        affine_only: train only the affine pairs of the new styles; the model then holds the new
            styles and, unchanged, those of `start_from`.
        steps: number of optimization steps.
        batch_size: number of photos per step and device.
        validation: photos to validate on: a collection as `photos`, or the fraction of `photos`,
            chosen by name, that is held out for validation and sample grids.
        architecture: `fast` (real time) or `classic` (the network of Johnson et al. 2016).
        size: side of the crops, pixels.
        style_weight: weight of the style loss; the content loss has 1.
        style_crop: region of the style image to learn from, in pixels of the file, such as
            400x300+20+10 (width, height, left, top); for several styles, style name -> region.
        prepare: stretch the levels of a dull style image and denoise a noisy one; if False, images
            are used as they are.
        title, artist, year, license: facts about the style image, stored in the model.
        vgg_weights: `caffe`, `torchvision` or a file.
        recipes: further recipes on top of the default one, each the name of one that ships, a YAML
            file, or settings by group: `{"model": {"motion_weight": 80}}`.
        model, data, trainer: settings of `StyleTraining`, `Photos` and Lightning's `Trainer` by
            name, which override all others: `trainer={"devices": 2}`.
        runs: folder of all runs.
        resume: continue the run of this name from its last checkpoint; if the run was begun with
            `overwrite`, it still replaces its model file.
        overwrite: replace an existing model file, or start over an existing run.
        fast_dev_run: check that everything works with one step of training and of validation;
            nothing is written.
        workers: number of processes that decode photos.
        seed: of everything random.
        progress: called after each step with the step, the number of steps and the losses.

    Returns:
        The trained model, which `load_style` takes as a style.

    Raises:
        InputError: files, folders or values that cannot be used.
        OutputExistsError: the model file or the run exists, and neither `resume` nor `overwrite` is
            set.
        NotFiniteError: the loss became NaN or infinite.
        LostProcessError: another process of a training over several devices has ended.
        InterruptedWorkError: Ctrl-C; the message says what was saved.
    """
    if style_image is not None and not isinstance(style_image, Mapping):
        name = Path(style_image).stem if name is None and is_file(style_image) else name
        style_image = {_given_name(name): style_image}
    given: RecipeValues = {
        "model": {
            "style_images": style_image,
            "start_from": start_from,
            "affine_only": affine_only,
            "architecture": architecture,
            "size": size,
            "style_weight": style_weight,
            "prepare": prepare,
            "vgg_weights": vgg_weights,
            "seed": seed,
        },
        "data": {
            "photos": photos and str(photos),
            "validation": str(validation) if isinstance(validation, Path) else validation,
            "batch_size": batch_size,
            "workers": workers,
        },
        "trainer": {"max_steps": steps, "fast_dev_run": fast_dev_run or None},
    }
    settings = recipe_values(
        DEFAULT_RECIPE,
        *(["classic"] if architecture == "classic" and not start_from else []),
        *(["new_style"] if start_from else []),
        *(["affine_only"] if start_from and affine_only else []),
        *(recipes or ()),
        {group: {k: v for k, v in of.items() if v is not None} for group, of in given.items()},
        {"model": model or {}, "data": data or {}, "trainer": trainer or {}},
    )
    styles = list(settings["model"].get("style_images") or [])
    if not styles:
        raise InputError("no style image: give `style_image` (in a recipe: model.style_images)")
    if not settings["data"].get("photos") and photos is None:
        raise InputError(
            f"no photos to train on: give `photos`, such as a folder of at least {FEW_PHOTOS} "
            "photos (in a recipe: data.photos)"
        )
    name = _given_name(styles[0] if name is None and len(styles) == 1 else name)
    if isinstance(style_crop, str):
        if len(styles) > 1:
            raise InputError(
                f"`style_crop` needs a name for each of several styles: NAME={style_crop}"
            )
        style_crop = {styles[0]: style_crop}
    if style_crop is not None:
        settings["model"]["style_crops"] = dict(style_crop)
    facts = {"title": title, "artist": artist, "year": year, "license": license}
    if artwork := {fact: text for fact, text in facts.items() if text}:
        settings["model"]["artworks"] = dict.fromkeys(styles, artwork)
    with TemporaryDirectory() as temporary:
        settings["model"] |= _as_files(settings["model"], Path(temporary))
        return _train(
            settings,
            Path(runs) / name,
            Path(output or f"{name}{SUFFIX}"),
            resume=resume,
            overwrite=overwrite,
            progress=progress,
        )


def _as_files(settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Style images and the model to start from as names of files, written to a folder if needed."""
    files = {}
    for number, (style, image) in enumerate(settings["style_images"].items()):
        if not is_file(image):
            image = save_image(as_image(image, "style_image"), folder / f"{number}.png")
        files[style] = str(image)
    start = settings.get("start_from")
    if isinstance(start, StyleModel):
        start = start.save(folder / f"model{SUFFIX}")
    return {"style_images": files, "start_from": start and str(start)}


def _given_name(name: str | None) -> str:
    """Return the name of a run if it can be the name of a file.

    Raises:
        InputError: there is none, or it cannot.
    """
    if name is None:
        raise InputError("no name: give `name` for several styles, or for an image without a file")
    if name in ("", "..") or Path(name).name != name:
        raise InputError(f"`name` must be a valid file name, unlike {name!r}")
    return name


def _train(
    settings: RecipeValues,
    folder: Path,
    output: Path,
    *,
    resume: bool,
    overwrite: bool,
    progress: Progress | None,
) -> StyleModel:
    """Check everything, train, and write the model."""
    losses, skipped = RecentLosses(), SkippedPhotos()
    callbacks: list[Callback] = [losses, skipped]
    with quiet_lightning():
        task = _made(StyleTraining, "model", settings["model"])
        own = {"size": task.crop_size, "seed": task.seed}
        data = _made(Photos, "data", settings["data"] | own)
        if decay := task.hparams["ema_decay"]:
            callbacks.insert(0, AverageWeights(decay))
        if progress and settings["trainer"].get("enable_progress_bar") is not False:
            callbacks.append(ReportProgress(progress))
        trainer = make_trainer(
            settings["trainer"],
            folder=folder,
            sample_photos=(data.held_out or data.training)[:4],
            callbacks=callbacks,
        )
    # Nothing is written, and no earlier run is moved, before the inputs are known to be good.
    task.check_style_images()
    load_weights(task.hparams["vgg_weights"])
    data.check()
    writes = trainer.is_global_zero and not trainer.fast_dev_run  # type: ignore[attr-defined]
    if writes:
        settle_earlier_run(folder)
    elif resume and not (trainer.is_global_zero or trainer.fast_dev_run):  # type: ignore[attr-defined]
        await_settled(folder)
    found = find_checkpoints(folder, resume=resume, overwrite=overwrite)
    identity = RunIdentity(task, data, trainer, output.resolve() if overwrite else None)
    checkpoint, done = identity.check(found) if found else (None, 0)
    if done == trainer.max_steps and output.exists() and not overwrite:
        raise OutputExistsError(
            f"{folder}: already complete with {done} steps, and {output} is its model; give "
            "another `output` to write it again"
        )
    # Permission to replace the file holds until the run that got it is complete.
    overwrite = overwrite or identity.replaces == output.resolve()
    if checkpoint and output.is_file() and not overwrite:
        raise OutputExistsError(
            f"{output}: exists already; add `overwrite` beside `resume` to replace it with the "
            "result of the resumed run"
        )
    check_format(output, "style model", [SUFFIX], overwrite=overwrite)
    trainer.callbacks.append(identity)  # type: ignore[attr-defined]
    with earlier_run_aside(folder) if writes and not checkpoint else nullcontext():
        _fit(trainer, task, data, folder, checkpoint)
    model = task.start.style_model(
        task.record(
            steps=trainer.global_step,
            batch_size=data.batch_size * trainer.world_size * trainer.accumulate_grad_batches,
            photos=data.sources,
            skipped=len(skipped.skipped),
            losses=losses.means(),
        )
    )
    if writes:
        if not trainer.global_step:
            raise InputError("the settings of the trainer leave no step to train")
        model = StyleModel.load(model.save(output, overwrite=overwrite))
        for earlier in checkpoints(folder)[:-1]:
            earlier.unlink()
    return model


def _fit(
    trainer: L.Trainer, task: StyleTraining, data: Photos, folder: Path, checkpoint: Path | None
) -> None:
    """Train; errors of Lightning and of workers that users cause become ours."""
    with quiet_lightning(), refusals_in_one_line():
        try:
            trainer.fit(task, data, ckpt_path=checkpoint, weights_only=True)
        except (KeyboardInterrupt, SystemExit) as error:  # Lightning makes one of the other
            first = checkpoint_interval(trainer.max_steps)
            raise InterruptedWorkError(
                f"interrupted: the last checkpoint is in {folder}; `resume` continues from it"
                if checkpoints(folder)
                else f"interrupted: nothing was saved before the first checkpoint at step {first} "
                "(a twentieth of `steps`); the same command starts again"
            ) from error
        except Exception as error:
            if ours := _error_of_worker(error) or lost_process(error):
                raise ours from error
            raise


def _made(kind: type[T], group: str, settings: Mapping[str, Any]) -> T:
    """An object made from the settings of a recipe."""
    try:
        return kind(**settings)
    except TypeError as error:  # an unknown name, or a value of a wrong type
        raise InputError(f"the settings of {group} cannot be used: {error}") from error


def _error_of_worker(error: Exception) -> StyleTransferError | None:
    """The reason why a process that decodes photos ended, in one line; None for other errors."""
    for each in (error.__cause__, error):  # only the cause may name the signal
        if died := re.match(r"DataLoader worker \(pid.*\) ([^.]*)", str(each)):
            # Launchers send SIGTERM to all processes of a training when one of them fails.
            again = "" if "Terminated" in died[1] else ", and with `workers` 0 if it happens again"
            return StyleTransferError(
                f"a process that decodes photos {died[1]}; continue with `resume`{again}"
            )
    text = str(error).strip()
    if "in DataLoader worker process" not in text:
        return None
    # PyTorch puts the traceback into the message, and the error itself at its end.
    cause = " ".join(text[text.rfind("\n  ") :].split("\n")[2:])
    if isinstance(error, StyleTransferError):
        return type(error)(cause.partition(": ")[2])
    return StyleTransferError(f"a process that decodes photos failed: {cause}")
