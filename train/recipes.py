"""Recipes: the settings of a training by group (`model`, `data`, `trainer`), and their ranges.

The groups are the arguments of `StyleTraining`, `Photos` and Lightning's `Trainer`. The flags
`--config`, `--model...`, `--data...` and `--trainer...` are read by jsonargparse, as LightningCLI
does; nothing else needs it.
"""

from argparse import ArgumentError
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from importlib import resources
from io import StringIO
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

import yaml

from nst_rt.errors import InputError, UnknownNameError
from nst_rt.files import check_input
from nst_rt.images.style_image import SMALLEST
from nst_rt.losses import check_loss_weights, layer_weights
from nst_rt.models.transformer import MINIMUM_SIZE

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

DEFAULT_RECIPE = "bold"
RecipeValues = dict[str, dict[str, Any]]  # group -> name -> value
Recipe = str | Path | Mapping[str, Mapping[str, Any]]

_CONFIGS = Path(str(resources.files("nst_rt.train"))) / "configs"
_LARGEST_FILE = 10**6  # bytes
_DEEPEST = 30
# What jsonargparse raises for values that it cannot read.
_REFUSALS = (ArgumentError, TypeError, ValueError, OverflowError, RecursionError)
_RANGES = {
    "learning_rate": (1e-9, 1.0),
    "affine_factor": (1e-3, 1e3),
    "warm_up": (0, 1),
    "ema_decay": (0, 0.99999),
    "style_ramp": (0, 1),
    "max_zoom": (0, 0.5),
    "max_angle": (0, 180),
    "layer_probability": (0, 1),
    "noise": (0, 1),
    "style_size": (SMALLEST, 10_000),
    "seed": (0, 2**32 - 1),
}


def recipe_file(name: Path | str) -> Path:
    """The file of a recipe, given as a file or as the name of one that ships.

    Raises:
        UnknownNameError: neither.
        InputError: a file that does not exist, is not YAML, or that parsers would not come to an
            end with.
    """
    if Path(name).is_file():
        _check_yaml(Path(name))
        return Path(name)
    known = {path.stem: path for path in sorted(_CONFIGS.glob("*.yaml"))}
    if name not in known:
        if Path(name).suffix in (".yaml", ".yml"):
            check_input(name)
        raise UnknownNameError("recipe", str(name), known)
    return known[str(name)]


def _check_yaml(file: Path) -> None:
    """Check a file by its parts, before anything is built of them.

    A few nested references (`*name`) would make billions of values, and a value may contain itself.

    Raises:
        InputError: not YAML, too large, nested too deeply, or with references.
    """
    try:
        if file.stat().st_size > _LARGEST_FILE:
            raise InputError(f"{file}: not a recipe (larger than {_LARGEST_FILE} bytes)")
        depth = 0
        for event in yaml.parse(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                raise InputError(
                    f"{file}: refers to *{event.anchor}; a recipe must repeat values instead"
                )
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > _DEEPEST:
                raise InputError(f"{file}: not a recipe (nested more than {_DEEPEST} levels deep)")
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{file}: not a recipe ({one_line(error)})") from error


def recipe_values(*recipes: Recipe) -> RecipeValues:
    """The settings of several recipes, where later ones override earlier ones.

    Args:
        recipes: each a YAML file, the name of a recipe that ships, or its settings by group.

    Raises:
        UnknownNameError: no such recipe, or no such group.
        InputError: a file that is not YAML.
    """
    values: RecipeValues = {"model": {}, "data": {}, "trainer": {}}
    for recipe in recipes:
        for group, settings in (recipe if isinstance(recipe, Mapping) else _read(recipe)).items():
            if group not in values:
                raise UnknownNameError("group of settings", str(group), values)
            values[group].update(_settings(group, settings))
    return values


def _settings(group: str, settings: Any) -> Mapping[str, Any]:
    """The settings of a group, of which a recipe may have none.

    Raises:
        InputError: something else than settings by name.
    """
    if not isinstance(settings, Mapping | None):
        raise InputError(f"{group}: settings by name are needed, not {shorten(repr(settings), 60)}")
    return settings or {}


def _read(name: Path | str) -> Mapping[str, Mapping[str, Any]]:
    file = recipe_file(name)
    try:
        recipe = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: not a recipe ({one_line(error)})") from error
    if not isinstance(recipe, Mapping):
        raise InputError(f"{file}: not a recipe, which has settings under model, data or trainer")
    return recipe


def parsed_settings(arguments: Sequence[str]) -> RecipeValues:
    """The settings that flags give: `--trainer.devices 2`, `--model.size 256`, `--config FILE`.

    Loggers, callbacks and the like are created. Settings that are not given are not in the result.

    Raises:
        InputError: a setting that does not exist, or a value of a wrong type.
    """
    from nst_rt.train.refusals import refusals_in_one_line

    parser = _parser()
    # Both are required, and may come from elsewhere.
    placeholders = ["--model.style_images={}", "--data.photos="]
    try:
        given = parser.parse_args([*placeholders, *arguments], defaults=False)
    except _REFUSALS as error:
        raise InputError(one_line(error)) from error
    with refusals_in_one_line():
        groups = parser.instantiate(given).as_dict()
    return {
        group: {k: v for k, v in _settings(group, groups[group]).items() if v not in ("", {})}
        for group in ("model", "data", "trainer")
        if group in groups
    }


def recipe_settings(name: Path | str) -> RecipeValues:
    """The settings of a recipe, given as for `recipe_file`, read as `parsed_settings` reads them.

    Raises:
        UnknownNameError: no such recipe.
        InputError: a file that cannot be used; the message names it.
    """
    file = recipe_file(name)
    try:
        return parsed_settings([f"--config={file}"])
    except InputError as error:
        raise InputError(f"{file}: {error}") from error


def all_settings(*, recipes: Sequence[str] = (), arguments: Sequence[str] = ()) -> str:
    """Every setting that has a value, as the YAML of a recipe.

    Args:
        recipes: files, or names of recipes that ship, on top of the default one.
        arguments: further settings as flags, see `parsed_settings`.

    Raises:
        InputError: recipes or settings that do not exist, or values of a wrong type.
    """
    configs = [f"--config={recipe_file(recipe)}" for recipe in recipes]
    text = StringIO()
    try:
        with redirect_stdout(text):
            _parser().parse_args([*configs, *arguments, "--print_config=skip_unset"])
    except SystemExit:
        return text.getvalue()
    except _REFUSALS as error:
        for recipe in recipes:
            recipe_settings(recipe)  # whose error names the file
        raise InputError(one_line(error)) from error
    raise AssertionError("jsonargparse ends the program after --print_config")


def _parser() -> "ArgumentParser":
    from jsonargparse import ActionConfigFile, ArgumentParser  # type: ignore[attr-defined]
    from lightning import Trainer

    from nst_rt.train.data import Photos
    from nst_rt.train.task import StyleTraining

    parser = ArgumentParser(
        exit_on_error=False, default_config_files=[str(recipe_file(DEFAULT_RECIPE))]
    )
    parser.add_argument("--config", action=ActionConfigFile)
    # The crops' size and seed follow from the model's.
    for group, kind, skip in (
        ("trainer", Trainer, set()),
        ("data", Photos, {"size", "seed"}),
        ("model", StyleTraining, set()),
    ):
        parser.add_class_arguments(
            kind, group, skip=skip, instantiate=False, fail_untyped=False, sub_configs=True
        )
    return parser


def one_line(error: Exception) -> str:
    """An error message of a library, on one line and not too long."""
    return shorten(" ".join(str(error).split()), 400, placeholder=" ...")


def check_model_settings(settings: Mapping[str, Any]) -> None:
    """Check the settings of `StyleTraining`, all of which are given.

    Raises:
        InputError: a value out of range.
        UnknownNameError: a layer or a style that does not exist.
    """
    size, style_images = settings["size"], settings["style_images"]
    if size < MINIMUM_SIZE or size % 2:
        raise InputError(f"`size` must be even and at least {MINIMUM_SIZE} px, not {size}")
    if not style_images or "" in style_images:
        raise InputError("a training needs at least one style image, each with a name")
    layer_weights(settings["content_layers"])
    layer_weights(settings["style_layers"])
    factors = settings["style_factors"] or {}
    terms = ("content_weight", "style_weight", "tv_weight", "grid_weight", "motion_weight")
    check_loss_weights(*(settings[name] for name in (*terms, "content_focus")), *factors.values())
    for name in (*factors, *(settings["style_crops"] or {})):
        if name not in style_images:
            raise UnknownNameError("style", name, style_images)
    for name, (low, high) in {**_RANGES, "max_shift": (0, size)}.items():
        if not low <= settings[name] <= high:
            raise InputError(f"model.{name} must be from {low} to {high}, not {settings[name]}")
    begin, end = settings["motion_ramp"]
    if not 0 <= begin <= end <= 1:
        raise InputError(
            f"model.motion_ramp must be two rising fractions of the training, not {begin} and {end}"
        )
    if settings["affine_only"] and settings["start_from"] is None:
        raise InputError("`affine_only` needs a trained network to start from")
