"""What is said of the training recipes without importing what trains."""

import re
from functools import cache
from importlib import resources


@cache
def recipe_steps(name: str) -> int:
    """Number of optimization steps of a recipe that ships, such as `bold`.

    Read as text: the help of the command line must not wait for a YAML parser, let alone Lightning.
    """
    file = resources.files("nst_rt.train") / "configs" / f"{name}.yaml"
    found = re.search(r"^  max_steps: (\d+)", file.read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None
    return int(found[1])
