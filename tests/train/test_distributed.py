"""Two processes on gloo train like one process with twice the batch."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_training import SIZE, Train
from torch import Tensor

from nst_rt.models.style_model import StyleModel

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning"),
]

STEPS = 3
# In float32, so that the only difference is the order of sums; VGG19 stays in its own.
SETTINGS: dict[str, dict[str, Any]] = {
    "trainer": {"accelerator": "cpu", "precision": "32-true"},
    "model": {"ema_decay": 0.5},
}


def weights(model: StyleModel) -> Tensor:
    return torch.cat([value.flatten() for value in model.network.state_dict().values()])


def test_two_processes_match_one_with_twice_the_batch(
    train: Train, album: Path, painting: Path, tmp_path: Path
) -> None:
    settings = [
        f"--{group}.{key}={value}" for group, of in SETTINGS.items() for key, value in of.items()
    ]
    arguments = [
        *("--style-image", painting, "--photos", album, "--name", "swirls", "--seed", 3),
        *("--steps", STEPS, "--size", SIZE, "--batch-size", 2, "--workers", 0, "--overwrite"),
        *("--trainer.devices=2", "--trainer.strategy=ddp", *settings),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "nst_rt", "train", *map(str, arguments)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("saved swirls.safetensors") == 1  # not once per process
    assert done.stderr.count("style image swirls.jpg: ") == 1
    model = StyleModel.load(tmp_path / "swirls.safetensors")
    one = train(tmp_path / "one", batch_size=4, steps=STEPS, **SETTINGS)
    half = train(tmp_path / "half", batch_size=2, steps=STEPS, **SETTINGS)
    # Adam amplifies small differences: compare with the effect of half the batch.
    difference = (weights(model) - weights(one)).norm()
    assert difference < 0.05 * (weights(half) - weights(one)).norm()
    assert model.training["losses"] == pytest.approx(one.training["losses"], rel=1e-2)
