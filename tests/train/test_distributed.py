"""Two processes on gloo do what one does with twice the batch."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_training import SIZE, Train
from torch import Tensor

from nst_rt.models.style_model import StyleModel

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")

STEPS = 3
# In float32, so that the only difference is the order of sums; VGG19 stays in its own.
SETTINGS = {"trainer.accelerator": "cpu", "trainer.precision": "32-true", "model.ema_decay": 0.5}


def weights(path: Path) -> Tensor:
    state = StyleModel.load(path).network.state_dict()
    return torch.cat([value.flatten() for value in state.values()])


def test_two_processes_train_as_one_with_twice_the_batch(
    train: Train, album: Path, painting: Path, tmp_path: Path
) -> None:
    settings = [f"--{key}={value}" for key, value in SETTINGS.items()]
    arguments = [
        *("--style", painting, "--photos", album, "--name", "swirls", "--seed", 3),
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
    assert done.stdout.count("swirls.safetensors:") == 1  # one report, not one a process
    assert done.stderr.count("style image swirls.jpg: ") == 1
    two = weights(tmp_path / "swirls.safetensors")
    options = {"steps": STEPS, "settings": SETTINGS}
    one = weights(train(tmp_path / "one", batch_size=4, **options))
    half = weights(train(tmp_path / "half", batch_size=2, **options))
    # Adam makes much of small differences: measured against the way that half the batch differs.
    assert (two - one).norm() < 0.05 * (half - one).norm()
    record = StyleModel.load(tmp_path / "swirls.safetensors").training
    losses = StyleModel.load(tmp_path / "one" / "swirls.safetensors").training["losses"]
    assert record["losses"] == pytest.approx(losses, rel=1e-2)
