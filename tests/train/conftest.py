"""A tiny training on real photos, shared by the tests of this folder."""

import signal
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tiny_training import SIZE, STEPS, Train
from torch import Tensor

from nst_rt.models.style_model import StyleModel
from nst_rt.train.data import Batch
from nst_rt.train.run import train_style
from nst_rt.train.task import StyleTraining


@pytest.fixture(scope="session")
def album(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of small photos, also in a subfolder, one of which is held out."""
    folder = tmp_path_factory.mktemp("album")
    names = ["astronaut.png", "coffee.png", "chelsea.png", "rocket.jpg", "retina.jpg"]
    held_out = next(f"{i}.png" for i in range(100) if zlib.crc32(f"{i}.png".encode()) % 20 == 0)
    for name, source in zip(
        ["a.png", "b.png", "cats/c.png", "d.png", held_out], names, strict=True
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.open(photos / source).convert("RGB").resize((120, 100)).save(folder / name)
    return folder


@pytest.fixture(scope="session")
def train(album: Path, painting: Path) -> Train:
    """Run a tiny training in a folder; keyword arguments change its settings."""

    def run(folder: Path, **changes: Any) -> StyleModel:
        folder.mkdir(exist_ok=True)
        settings: dict[str, Any] = {
            "style_image": painting,
            "photos": album,
            "name": "swirls",
            "output": folder / "swirls.safetensors",
            "runs": folder / "runs",
            "steps": STEPS,
            "size": SIZE,
            "batch_size": 2,
            "workers": 0,
            "seed": 3,
            "title": "Swirls",
            "artist": "nst-rt",
            "year": "2025",
            "license": "CC0",
        }
        return train_style(**settings | changes)

    return run


@pytest.fixture(scope="module")
def finished(train: Train, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a complete run, with a worker."""
    folder = tmp_path_factory.mktemp("finished")
    train(folder, workers=1)
    return folder


@pytest.fixture
def interrupt(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have Ctrl-C, or another signal, come in the middle of a step."""
    training_step = StyleTraining.training_step

    def at(step: int, number: signal.Signals = signal.SIGINT) -> None:
        def interrupted(self: StyleTraining, batch: Batch, index: int) -> Tensor:
            if self.global_step == step:
                monkeypatch.setattr(StyleTraining, "training_step", training_step)
                signal.raise_signal(number)
            return training_step(self, batch, index)

        monkeypatch.setattr(StyleTraining, "training_step", interrupted)

    return at
