"""What a style model tells of how it was trained."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nst_rt.train.task import StyleTraining

# Where a painting lay is nobody's business; what it is stands in the styles.
_NOT_IN_THE_RECORD = (
    "_instantiator",
    "paintings",
    "artworks",
    "start_from",
    "architecture",
    "hyper_parameters",
    "vgg_weights",
)


def training_record(
    task: StyleTraining,
    *,
    steps: int,
    batch_size: int,
    photos: Mapping[str, int],
    skipped: int,
    losses: Mapping[str, float],
) -> dict[str, Any]:
    """Recipe, photos by source and number, losses; JSON values only.

    Args:
        task: what was trained.
        steps: optimization steps.
        batch_size: crops in each.
        photos: number of photos by source.
        skipped: photos that could not be used.
        losses: the last ones.
    """
    start = task.hparams["start_from"]
    return {
        "steps": steps,
        "batch_size": batch_size,
        "recipe": {k: v for k, v in task.hparams.items() if k not in _NOT_IN_THE_RECORD},
        "style_images": task.preparations,
        **({"start_from": Path(start).name} if start else {}),
        "photos": dict(photos),
        "skipped": skipped,
        "vgg_weights": Path(task.hparams["vgg_weights"]).name,
        "losses": dict(losses),
    }
