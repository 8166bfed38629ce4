"""Train a style, or several, on a collection of photos."""

import argparse
import logging
from pathlib import Path
from typing import Any

from nst_rt.cli.options import add_overwrite, add_vgg_weights
from nst_rt.cli.report import Report
from nst_rt.errors import InputError, InterruptedWorkError
from nst_rt.recipes import recipe_steps

# What begins the flags that LightningCLI knows.
TRAINING_SETTINGS = ("--trainer", "--model", "--data")


EXAMPLES = (
    "--style painting.jpg --photos ~/photos --name mine",
    "--style painting.jpg --photos ~/photos --name mine --from gallery",
    "--style painting.jpg --photos ~/photos --name mine --trainer.devices 2 --data.workers 4",
)


def run(*, print_config: bool = False, **options: Any) -> Report:
    """Train a style, or several, on a collection of photos."""
    from lightning.pytorch.utilities import rank_zero_only

    from nst_rt.models.style_model import StyleModel
    from nst_rt.train.run import train_style
    from nst_rt.train.settings import all_settings, is_further_process

    if print_config:
        if others := options.keys() - {"recipes", "arguments"}:
            raise InputError(
                "--print-config goes with --config, --model..., --data... and --trainer... only, "
                f"not with --{min(others).replace('_', '-')}"
            )
        return Report(all_settings(**options).rstrip(), {})
    if is_further_process():  # which would say all twice
        logging.getLogger("nst_rt").setLevel(logging.ERROR)
    if "style" in options:
        options["style"] = paintings_by_name(options["style"])
    if "style_crop" in options:
        options["style_crop"] = crops_by_name(options["style_crop"])
    run = _run_folder(options)
    earlier = set() if options.get("resume") else _checkpoints(run)
    try:
        output = train_style(**options)
    except KeyboardInterrupt as error:
        if not _checkpoints(run) - earlier:
            raise
        raise InterruptedWorkError(
            f"interrupted: the last checkpoint is in {run}; the same command with --resume "
            "continues from it"
        ) from error
    if getattr(rank_zero_only, "rank", 0) > 0:
        return Report("", {})
    if options.get("fast_dev_run") or not output.exists():
        text = "a run of a few steps of training and of validation: all works; nothing is written"
        return Report(text, {"fast_dev_run": True})
    model = StyleModel.load(output)
    training = model.history(model.style_names[0])[-1]
    skipped = f", photos skipped: {training['skipped']}" if training["skipped"] else ""
    losses = ", ".join(f"{name} {value:.3g}" for name, value in training["losses"].items())
    return Report(
        f"{output}: {training['steps']} steps, {losses}{skipped}; samples in "
        f"{run / 'samples'}\ntry it: nst-rt image PHOTO --style {output} -o OUT.png",
        {"output": str(output), **training},
    )


def paintings_by_name(style: list[str]) -> str | dict[str, str]:
    """One painting, or several by name: FILE (its stem is the name) or NAME=FILE."""

    def is_named(text: str) -> bool:
        return "=" in text and not Path(text).is_file()

    if len(style) == 1 and not is_named(style[0]):
        return style[0]
    pairs = [
        text.partition("=") if is_named(text) else (Path(text).stem, "=", text) for text in style
    ]
    paintings = {name: file for name, _, file in pairs}
    if len(paintings) < len(style):
        raise InputError("several paintings have the same name; give NAME=FILE for each")
    return paintings


def crops_by_name(crops: list[str]) -> str | dict[str, str]:
    """The crop of one painting, or those of several by the names of their styles: NAME=CROP."""
    if len(crops) == 1 and "=" not in crops[0]:
        return crops[0]
    pairs = [text.rpartition("=") for text in crops]
    by_name = {name: crop for name, _, crop in pairs}
    if "" in by_name or len(by_name) < len(crops):
        raise InputError("--style-crop: give NAME=WxH+X+Y once for each of several paintings")
    return by_name


def _run_folder(options: dict[str, Any]) -> Path:
    from nst_rt.train.run import named_paintings

    _, name = named_paintings(options.get("style"), options.get("name"))
    return Path(options.get("runs", "runs"), name)


def _checkpoints(run: Path) -> set[tuple[Path, int]]:
    """Those of a run, with the time each was written."""
    from nst_rt.train.resume import checkpoints

    return {(file, file.stat().st_mtime_ns) for file in checkpoints(run)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb but those that it shares with others."""
    add = parser.add_argument
    add(
        "--style",
        nargs="+",
        action="extend",
        metavar="PAINTING",
        help="the painting; several (FILE or NAME=FILE) make a model of several styles",
    )
    add("--photos", metavar="P", help="a folder, a zip archive or a list of photos")
    add("--name", metavar="NAME", help="of the style; default: the painting's")
    add("-o", "--output", metavar="FILE", help="default: NAME.safetensors")
    add(
        "--from",
        dest="start_from",
        metavar="S",
        help="a new style in minutes, from a trained one: gallery, a style or a model FILE",
    )
    add(
        "--affine-only",
        action="store_true",
        help="with --from: train the affine pairs alone, and keep the styles that were there",
    )
    add(
        "--config",
        dest="recipes",
        action="append",
        metavar="R",
        help="a recipe: a YAML file, or the name of one that ships, such as gpu",
    )
    add("--print-config", action="store_true", help="print a recipe, and stop")
    add(
        "--steps",
        type=int,
        metavar="N",
        help=f"default: {recipe_steps('bold')}; {recipe_steps('new_style')} with --from, "
        f"{recipe_steps('classic')} with --architecture classic",
    )
    add("--batch-size", type=int, metavar="N", help="photos a step; default: 2")
    add("--validation", metavar="V", help="photos, or a fraction; default: 0.05")
    add("--architecture", choices=("fast", "classic"), help="default: fast")
    add("--size", type=int, metavar="PX", help="side of the crops; default: 224, classic 192")
    add("--style-weight", type=float, metavar="W", help="default: 4; 8 with --from")
    add(
        "--style-crop",
        nargs="+",
        action="extend",
        metavar="WxH+X+Y",
        help="the part of the painting to learn from, in pixels; NAME=WxH+X+Y for each of several",
    )
    add(
        "--no-prepare",
        dest="prepare",
        action="store_false",
        help="use the painting as it is, though dull or noisy",
    )
    for fact in ("title", "artist", "year", "license"):
        add(f"--{fact}", metavar="TEXT", help="of the painting, for the record")
    add("--runs", metavar="DIR", help="logs, samples, checkpoints; default: runs")
    add("--workers", type=int, metavar="N", help="processes that decode; default: 1")
    add("--seed", type=int, metavar="N", help="default: 0")
    add("--resume", action="store_true", help="continue the run of this name")
    add("--fast-dev-run", action="store_true", help="one step, to see that all works")
    add_vgg_weights(parser)
    add_overwrite(parser)
