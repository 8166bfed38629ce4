"""How small the trainings of the tests are, and what they leave."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from nst_rt.devices import fast_dtype, torch_device
from nst_rt.models.style_model import StyleModel

STEPS, SIZE = 6, 64
Train = Callable[..., StyleModel]
INK = Path(__file__).parents[1] / "nst_rt/assets/styles/ink.jpg"
TWO, FROM = {"style_image": {"swirls": INK, "ink": INK}}, {"start_from": "starry_night"}
# Not the default on this machine.
OTHER_PRECISION = "bf16-mixed" if fast_dtype(torch_device()) == torch.float32 else "32-true"


def checkpoints(folder: Path) -> list[Path]:
    return sorted((folder / "runs" / "swirls" / "checkpoints").iterdir())


def state(folder: Path) -> dict[str, Any]:
    """Contents of the last checkpoint."""
    loaded: dict[str, Any] = torch.load(checkpoints(folder)[-1], weights_only=True)
    return loaded


def same_weights(model: StyleModel, other: StyleModel) -> bool:
    states = (each.network.state_dict().values() for each in (model, other))
    return all(torch.equal(*weights) for weights in zip(*states, strict=True))


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
