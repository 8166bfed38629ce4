"""Train a style, or several, on a collection of photos."""

import argparse
import logging
import os
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from nst_rt.cli.mistakes import check_inputs
from nst_rt.cli.options import add_overwrite, shown, signature_defaults, style_images_by_name
from nst_rt.cli.report import Report, loading, needs_extra, progress, quantity, tell
from nst_rt.errors import InputError, StyleTransferError
from nst_rt.recipes import recipe_number

# The flags of recipe settings, which jsonargparse reads, begin so.
TRAINING_SETTINGS = ("--trainer", "--model", "--data")
DEFAULTS_OF = "nst_rt.train.run:train_style"
SHORT = "make a style of your own"
EXAMPLES = (
    "--style-image art.jpg --photos photos",
    "--style-image art.jpg --photos photos --name mine --from gallery",
    "--style-image a.jpg b=other.jpg --photos photos --name both",
    "--style-image art.jpg --photos photos --trainer.devices 2 --data.workers 4",
)
# Variables of processes that torchrun, SLURM or Lightning started.
_NUMBERED = ("LOCAL_RANK", "NODE_RANK", "SLURM_LOCALID")
# With fewer steps, results cannot be good: from scratch, and from a trained network.
_FEW_STEPS, _FEW_FURTHER_STEPS = 500, 100


def run(*, print_config: bool = False, **options: Any) -> Report:
    """Train a style, or several, on a collection of photos."""
    try:
        with needs_extra("train", "training"):
            return _printed(options) if print_config else _trained(options)
    except StyleTransferError as error:
        # Only where launchers number the processes is it worth the import, which takes seconds.
        if any(variable in os.environ for variable in _NUMBERED):
            from nst_rt.train.processes import is_reported_by_another

            if is_reported_by_another(error):
                return Report("", {}, error.exit_code)
        raise


def _printed(options: dict[str, Any]) -> Report:
    from nst_rt.train.recipes import all_settings

    if others := options.keys() - {"recipes", "arguments"}:
        raise InputError(
            "`print_config` goes with `config`, --model..., --data... and --trainer... only, not "
            f"with `{min(others)}`"
        )
    return Report(all_settings(**options).rstrip(), {})


def _trained(options: dict[str, Any]) -> Report:
    if "style_image" in options:
        options["style_image"] = named = style_images_by_name(options["style_image"])
        check_inputs([*named.values()] if isinstance(named, dict) else [named], "image")
    if "photos" in options:
        check_inputs([options["photos"]], "image")
    with loading():
        from lightning.pytorch.utilities import rank_zero_only

        from nst_rt.train.processes import is_further_process
        from nst_rt.train.recipes import parsed_settings, recipe_settings
        from nst_rt.train.run import train_style

    if "style_crop" in options:
        options["style_crop"] = crops_by_name(options["style_crop"])
    if "recipes" in options:
        options["recipes"] = [recipe_settings(recipe) for recipe in options["recipes"]]
    options |= parsed_settings(options.pop("arguments")) if "arguments" in options else {}
    silent = is_further_process()  # which would repeat every message
    if silent:
        logging.getLogger("nst_rt").setLevel(logging.ERROR)
    with nullcontext() if silent else progress("training") as advance:
        model = train_style(**options, progress=advance)
    if getattr(rank_zero_only, "rank", 0) > 0:
        return Report("", {})
    if options.get("fast_dev_run"):
        text = "one step of training and of validation: everything works; nothing was written"
        return Report(text, {"fast_dev_run": True})
    name = options.get("name", model.style_names[0])
    output = options.get("output", f"{name}.safetensors")
    training = model.history(model.style_names[0])[-1]
    steps, losses = training["steps"], training["losses"]
    few = _FEW_FURTHER_STEPS if training.get("start_from") else _FEW_STEPS
    lines = [
        ", ".join([quantity(steps, "step"), *(f"{k} {value:.3g}" for k, value in losses.items())])
        + (f", photos skipped: {training['skipped']}" if training["skipped"] else "")
        + f"; sample images in {Path(options.get('runs', 'runs'), name, 'samples')}"
    ]
    if steps < few:
        tell(f"few steps ({steps}); a good style needs at least {few}")
    lines.append(f"saved {output}; try it: nst-rt image PHOTO --style {output}")
    return Report("\n".join(lines), {"output": str(output), **training})


def crops_by_name(crops: Sequence[str]) -> str | dict[str, str]:
    """The crop of one style image, or those of several: NAME=CROP."""
    if len(crops) == 1 and "=" not in crops[0]:
        return crops[0]
    pairs = [text.rpartition("=") for text in crops]
    by_name = {name: crop for name, _, crop in pairs}
    if "" in by_name or len(by_name) < len(crops):
        raise InputError("`style_crop`: give NAME=WxH+X+Y once for each of several style images")
    return by_name


def further_defaults() -> dict[str, Any]:
    """Those of the default recipe, and of the classes that it configures."""
    return {
        **signature_defaults("nst_rt.train.task:StyleTraining"),
        **signature_defaults("nst_rt.train.data:Photos"),
        "batch_size": recipe_number("bold", "batch_size"),
    }


def _by_recipe(setting: str, **others: str) -> str:
    """The default of a number, and that of other recipes, with the options that choose these."""
    of_others = (
        f"{shown(recipe_number(recipe, setting))} with {option}"
        for recipe, option in others.items()
    )
    return "; ".join([shown(recipe_number("bold", setting)), *of_others])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    add = parser.add_argument
    add(
        "--style-image",
        nargs="+",
        action="extend",
        metavar="FILE",
        help="image whose style is learned; several (FILE or NAME=FILE) make a model of several "
        "styles (required)",
    )
    add(
        "--photos", metavar="P", help="folder, zip archive or list of photos to train on (required)"
    )
    add("-o", "--output", metavar="FILE", help="model file (default: NAME.safetensors)")
    add("--name", metavar="NAME", help="name of the style (default: that of the style image)")
    add(
        "--from",
        dest="start_from",
        metavar="S",
        help="trained network to start from, for a training of minutes: gallery, a style or a "
        "model FILE",
    )
    add(
        "--affine-only",
        action="store_true",
        help="train only the scales and shifts that make a style, and keep the styles of the "
        "network of "
        "--from",
    )
    add(
        "--steps",
        type=int,
        metavar="N",
        help="number of training steps (default: "
        f"{_by_recipe('max_steps', new_style='--from', classic='--architecture classic')})",
    )
    add("--batch-size", type=int, metavar="N", help="number of photos per step and device")
    add(
        "--validation",
        metavar="V",
        help="folder, zip archive or list of photos to validate on, or fraction of --photos to "
        "hold "
        "out for it",
    )
    add(
        "--architecture",
        choices=("fast", "classic"),
        help="network to train: fast for live use, classic for stills (default: fast)",
    )
    add(
        "--size",
        type=int,
        metavar="PX",
        help="side of the crops of photos, pixels (default: "
        f"{_by_recipe('size', classic='--architecture classic')})",
    )
    add(
        "--style-weight",
        type=float,
        metavar="W",
        help="weight of the style against the content (default: "
        f"{_by_recipe('style_weight', new_style='--from')})",
    )
    add(
        "--style-crop",
        nargs="+",
        action="extend",
        metavar="WxH+X+Y",
        help="region of the style image to learn from, pixels; NAME=WxH+X+Y for each of several",
    )
    add(
        "--no-prepare",
        dest="prepare",
        action="store_false",
        help="use the style image as it is, even if it is dull or noisy",
    )
    for fact in ("title", "artist", "year", "license"):
        add(f"--{fact}", metavar="TEXT", help=f"{fact} of the style image, stored in the model")
    add("--runs", metavar="DIR", help="folder for logs, sample images and checkpoints")
    add("--workers", type=int, metavar="N", help="number of processes that decode photos")
    add("--seed", type=int, metavar="N", help="seed of all random numbers")
    add("--resume", action="store_true", help="continue the run of this name")
    add(
        "--fast-dev-run",
        action="store_true",
        help="check that everything works with one step, and write nothing",
    )
    add(
        "--config",
        dest="recipes",
        action="append",
        metavar="R",
        help="recipe: a YAML file, or the name of one that ships, such as gpu",
    )
    add(
        "--print-config",
        action="store_true",
        help="print all settings as a recipe, and stop; each of them is also a flag, such as "
        "--trainer.devices 2",
    )
    add(
        "--vgg-weights",
        metavar="W",
        help="VGG19 weights: caffe, torchvision or a file",
    )
    add_overwrite(parser)
