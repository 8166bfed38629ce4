"""Facts about the training recipes that are needed without importing Lightning or PyTorch."""

import re
from functools import cache
from importlib import resources


def recipe_steps(name: str) -> int:
    """Number of training steps of a recipe that ships, such as `bold`."""
    return int(recipe_number(name, "max_steps"))


@cache
def recipe_number(name: str, setting: str) -> float:
    """A number of a recipe that ships, such as the `batch_size` of `bold`.

    The file is read as text: the command line's help must not wait for a YAML parser.
    """
    file = resources.files("nst_rt.train") / "configs" / f"{name}.yaml"
    found = re.search(rf"^  {setting}: ([\d.e-]+)", file.read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None
    return float(found[1])
