"""The recipes that ship: where they lie, and what they say without the parser of Lightning."""

from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from nst_rt.errors import UnknownNameError

DEFAULT_RECIPE = "bold"
_CONFIGS = Path(str(resources.files("nst_rt.train"))) / "configs"


def recipe_file(name: str) -> Path:
    """The file of a recipe, given as a file or as the name of one that ships.

    Raises:
        UnknownNameError: neither.
    """
    if Path(name).is_file():
        return Path(name)
    known = {path.stem: path for path in sorted(_CONFIGS.glob("*.yaml"))}
    if name not in known:
        raise UnknownNameError("recipe", name, known)
    return known[name]


def recipe_values(*names: str) -> dict[str, dict[str, Any]]:
    """What recipes say of `trainer`, `data` and `model`, the later ones over the earlier ones."""
    values: dict[str, dict[str, Any]] = {}
    for name in names:
        recipe = yaml.safe_load(recipe_file(name).read_text(encoding="utf-8"))
        for part, settings in recipe.items():
            values.setdefault(part, {}).update(settings)
    return values
