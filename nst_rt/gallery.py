"""Names of the styles that ship, read without importing PyTorch: for messages and completion."""

import json
from functools import cache
from importlib import resources


@cache
def gallery_style_names() -> tuple[str, ...]:
    """Names of all styles in the model files that ship, in alphabetical order.

    A safetensors file begins with the length of its header (8 bytes, little-endian) and the header,
    in JSON, whose metadata lists the styles.
    """
    names: list[str] = []
    for file in resources.files("nst_rt.checkpoints").iterdir():
        if file.name.endswith(".safetensors"):
            with file.open("rb") as model:
                header = json.loads(model.read(int.from_bytes(model.read(8), "little")))
            names += [style["name"] for style in json.loads(header["__metadata__"]["styles"])]
    return tuple(sorted(names))
