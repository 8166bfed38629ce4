import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_training import (
    FROM,
    SIZE,
    STEPS,
    TWO,
    Train,
    files,
    same_weights,
    state,
)
from torch import Tensor

from nst_rt.errors import (
    InputError,
    NotFiniteError,
    StyleTransferError,
    UnknownNameError,
    WeightsError,
)
from nst_rt.images.io import load_image
from nst_rt.models.style_model import StyleModel
from nst_rt.train.data import Batch
from nst_rt.train.recipes import recipe_values
from nst_rt.train.task import StyleTraining

# Lightning's own warnings.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")


def test_model_has_the_weights_of_the_last_checkpoint(finished: Path, photo: Tensor) -> None:
    model = StyleModel.load(finished / "swirls.safetensors")
    trained = state(finished)["state_dict"]
    assert len(trained) == len(model.network.state_dict())  # no VGG19
    for key, value in model.network.state_dict().items():
        assert torch.equal(value, trained[f"network.{key}"].half().float()), key
    stylized = model.network(photo, model.style_vector("swirls"))
    assert stylized.shape == photo.shape
    assert stylized.isfinite().all()


def test_returned_model_is_the_written_one(train: Train, tmp_path: Path) -> None:
    model = train(tmp_path, steps=1, size=32)
    written = StyleModel.load(tmp_path / "swirls.safetensors")
    assert model.styles == written.styles
    assert model.training == written.training
    assert same_weights(model, written)


@pytest.mark.slow
def test_style_image_and_start_may_be_in_memory(
    train: Train, painting: Path, two_styles: StyleModel, tmp_path: Path
) -> None:
    image = np.asarray(Image.open(painting))
    settings: dict[str, Any] = {"steps": 1, "size": 32, "start_from": two_styles}
    from_array = train(tmp_path / "a", style_image=image, **settings)
    from_file = train(tmp_path / "b", **settings)
    assert same_weights(from_array, from_file)
    for wrong in (image[..., 0], torch.full((1, 3, 80, 80), 2.0)):
        with pytest.raises(InputError, match="style_image"):
            train(tmp_path / "c", style_image=wrong)
    with pytest.raises(InputError, match="name"):
        train(tmp_path / "c", style_image=image, name=None)


def test_record_contains_settings_photos_and_losses(
    finished: Path, album: Path, painting: Path
) -> None:
    model = StyleModel.load(finished / "swirls.safetensors")
    (style,) = model.styles
    assert (style.name, style.title, style.artist) == ("swirls", "Swirls", "nst-rt")
    assert (style.year, style.license) == ("2025", "CC0")
    training = model.training
    assert training["steps"] == STEPS
    assert training["batch_size"] == 2
    assert training["photos"] == {album.name: 3, "cats": 1}  # one is held out
    assert training["vgg_weights"] == "caffe"
    assert training["style_images"]["swirls"]["stretched"] is False  # a vivid image
    recipe = training["recipe"]
    assert recipe["prepare"] is True
    assert (recipe["size"], recipe["seed"], recipe["style_weight"]) == (SIZE, 3, 4)
    assert recipe["style_layers"].keys() == {"relu2_1", "relu3_1", "relu4_1"}
    # No folder and no photo is named.
    text = json.dumps(training)
    assert not any(part in text for part in (str(painting.parent), str(finished.parent), ".png"))
    losses = training["losses"]
    assert losses.keys() == {"content", "style", "tv", "grid", "motion", "total"}
    weights = {"content": 1, "style": 4, "tv": 0.02, "grid": 3000, "motion": 0}
    expected = sum(weight * losses[term] for term, weight in weights.items())
    assert losses["total"] == pytest.approx(expected, rel=0.01)


@pytest.mark.slow
def test_tensorboard_holds_falling_losses_and_samples(train: Train, tmp_path: Path) -> None:
    settings = {"style_ramp": 0, "ema_decay": 0}
    train(tmp_path, steps=20, model=settings, trainer={"log_every_n_steps": 1})
    (file,) = (tmp_path / "runs" / "swirls" / "tensorboard").glob("events.out.tfevents.*")
    events = EventAccumulator(str(file)).Reload()
    scalars = set(events.Tags()["scalars"])
    assert {f"loss/{term}" for term in ("content", "style", "tv", "motion", "total")} <= scalars
    assert events.Scalars("validation/total")
    losses = [event.value for event in events.Scalars("loss/total")]
    assert len(losses) == 20
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])
    assert [event.step for event in events.Images("samples")][-1] == 20


def test_sample_grids_show_content_and_stylized_image(finished: Path) -> None:
    grids = sorted((finished / "runs" / "swirls" / "samples").iterdir())
    assert [grid.name for grid in grids] == [f"{step:06d}.png" for step in range(1, STEPS + 1)]
    # One held-out photo: a row of two cells, with frames of 4 px.
    assert load_image(grids[-1]).shape == (1, 3, SIZE + 8, 2 * SIZE + 12)


@pytest.mark.slow
def test_seed_determines_the_model(train: Train, finished: Path, tmp_path: Path) -> None:
    def weights(model: StyleModel) -> Tensor:
        return model.network.state_dict()["net.to_image.weight"]

    expected = weights(StyleModel.load(finished / "swirls.safetensors"))
    torch.manual_seed(99)
    assert torch.equal(weights(train(tmp_path / "same")), expected)
    other = weights(train(tmp_path / "other", seed=4))
    assert not torch.allclose(other, expected, atol=1e-3)


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"seed": 2**70}, InputError, "seed must be"),
        ({"output": "a.png"}, InputError, "unknown style model format '.png'"),
        ({"photos": ""}, InputError, "give a folder"),
        ({"affine_only": True}, InputError, "affine_only"),
        ({"model": {"learning_rate": -1}}, InputError, "learning_rate must be"),
        ({"model": {"motion_ramp": [0.5, 0.2]}}, InputError, "rising fractions"),
        ({"model": {"hyper_parameters": {"foo": 3}}}, InputError, "foo"),
        ({"trainer": {"precision": "bf16-true"}}, InputError, "precision must be one of"),
        ({"trainer": {"overfit_batches": 2}}, InputError, "overfit_batches"),
        ({"trainer": {"limit_train_batches": 9}}, InputError, "max_steps"),
        ({"trainer": {"default_root_dir": "x"}}, InputError, "runs"),
        ({"trainer": {"accumulate_grad_batches": 0}}, InputError, "must be 1 or more"),
        ({"steps": 0}, InputError, "steps. must be positive, not 0"),
        ({"batch_size": -1}, InputError, "batch_size. must be positive, not -1"),
        ({"workers": -1}, InputError, "workers"),
        ({"size": 15}, InputError, "at least 16 px, not 15"),
        ({"name": ""}, InputError, "name"),
        ({"name": "a/b"}, InputError, "a/b"),
        ({"architecture": "slow"}, StyleTransferError, "slow"),
        ({"style_image": "missing.jpg"}, InputError, "no such file"),
        ({"style_crop": "80x80"}, InputError, "not a crop"),
        ({"style_crop": "80x80+9999+0"}, InputError, "not inside"),
        ({"style_crop": "80x9+0+0"}, InputError, "64 px"),
        ({"style_crop": {"swrls": "80x80+0+0"}}, UnknownNameError, "mean 'swirls'"),
        ({"style_image": __file__}, InputError, "not an image"),
        ({"photos": "missing"}, InputError, "no such folder"),
        ({"photos": __file__}, InputError, "line 1: .*no such file"),
        ({"vgg_weights": "missing.pth"}, WeightsError, "missing.pth"),
        ({"output": "missing/a.safetensors"}, InputError, "does not exist"),
        ({"recipes": ["bald"]}, UnknownNameError, "bold"),
        ({"model": {"nothing": 3}}, InputError, "nothing"),
        ({"model": {"size": "abc"}}, InputError, "model.*str"),
        ({"trainer": {"nothing": 3}}, InputError, "nothing"),
        ({"trainer": {"devices": "many"}}, InputError, "devices"),
        ({"trainer": {"accelerator": "tpu"}}, InputError, "torch_xla"),
        ({"model": {"style_layers": {"relu9_1": 1.0}}}, UnknownNameError, "relu9_1"),
        ({"style_weight": -1}, InputError, "-1"),
        ({"model": {"style_factors": {"swrls": 1}}}, UnknownNameError, "swirls"),
        ({"model": {"style_factors": {"swirls": -1}}}, InputError, "-1"),
        ({"style_image": None}, InputError, "style_image"),
        ({"photos": None}, InputError, "photos"),
        ({"style_image": {"a": "a.png", "b": "b.png"}, "name": None}, InputError, "name"),
        (TWO | {"style_crop": "80x80+0+0"}, InputError, r"NAME=80x80\+0\+0"),
        (FROM | {"name": "starry_night", "affine_only": True}, InputError, "starry_night"),
        ({"start_from": "stary_night"}, UnknownNameError, "starry_night"),
        (FROM | {"architecture": "classic"}, InputError, "architecture"),
    ],
)
def test_bad_input_raises_before_anything_is_written_or_removed(
    train: Train,
    finished: Path,
    changes: dict[str, Any],
    error: type[Exception],
    says: str,
) -> None:
    before = files(finished)
    with pytest.raises(error, match=says) as caught:
        train(finished, overwrite=True, **changes)
    assert "\n" not in str(caught.value)
    assert files(finished) == before


def test_loss_that_is_not_finite_keeps_last_checkpoint(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training_step = StyleTraining.training_step

    def poisoned(self: StyleTraining, batch: Batch, index: int) -> Tensor:
        poison = torch.nan if self.global_step == 2 else 1
        return training_step(self, batch._replace(images=batch.images * poison), index)

    monkeypatch.setattr(StyleTraining, "training_step", poisoned)
    with pytest.raises(NotFiniteError, match=r"nan at step 2.*\.png"):
        train(tmp_path)
    assert not (tmp_path / "swirls.safetensors").exists()
    assert state(tmp_path)["global_step"] == 2
    assert all(value.isfinite().all() for value in state(tmp_path)["state_dict"].values())


def test_classic_architecture_uses_its_recipe(train: Train, tmp_path: Path) -> None:
    model = train(tmp_path, architecture="classic", steps=1, batch_size=1, size=32)
    assert model.network.architecture == "classic"
    recipe = recipe_values("classic")["model"]
    assert model.training["recipe"]["learning_rate"] == recipe["learning_rate"]
