import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from signal import SIGKILL
from typing import Any

import lightning as L
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_training import SIZE, STEPS, Train
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from nst_rt.devices import fast_dtype, torch_device
from nst_rt.errors import (
    InputError,
    NotFiniteError,
    OutputExistsError,
    StyleTransferError,
    UnknownNameError,
    WeightsError,
)
from nst_rt.images.io import load_image
from nst_rt.models.style_model import StyleModel
from nst_rt.train.data import Batch
from nst_rt.train.recipes import recipe_values
from nst_rt.train.task import StyleTraining

# Lightning's own, and of no consequence here.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")


# Not what a training here has by itself.
INK = Path(__file__).parents[2] / "nst_rt/assets/styles/ink.jpg"
OTHER_PRECISION = "bf16-mixed" if fast_dtype(torch_device()) == torch.float32 else "32-true"


@pytest.fixture(scope="module")
def finished(train: Train, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run from start to end, with a worker."""
    folder = tmp_path_factory.mktemp("finished")
    train(folder, workers=1)
    return folder


@pytest.fixture
def interrupt(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Arrange for Ctrl-C to come in the middle of a step."""
    training_step = StyleTraining.training_step

    def at(step: int) -> None:
        def interrupted(self: StyleTraining, batch: Batch, index: int) -> Tensor:
            if self.global_step == step:
                monkeypatch.setattr(StyleTraining, "training_step", training_step)
                raise KeyboardInterrupt
            return training_step(self, batch, index)

        monkeypatch.setattr(StyleTraining, "training_step", interrupted)

    return at


class Dying(Dataset[int]):
    """Does something else than giving what is asked for."""

    def __init__(self, end: Callable[[], None]) -> None:
        self.end = end

    def __getitem__(self, index: int) -> int:
        self.end()
        return index

    def __len__(self) -> int:
        return 1


def dying(end: Callable[[], None]) -> Callable[[object], Iterator[int]]:
    """For `DataLoader.__iter__`: that of a process which does `end`."""
    iterate = DataLoader.__iter__
    loader = DataLoader(Dying(end), num_workers=1, multiprocessing_context="fork")
    return lambda _: iterate(loader)


def checkpoints(folder: Path) -> list[Path]:
    return sorted((folder / "runs" / "swirls" / "checkpoints").iterdir())


def state(folder: Path) -> dict[str, Any]:
    """The last checkpoint."""
    loaded: dict[str, Any] = torch.load(checkpoints(folder)[-1], weights_only=True)
    return loaded


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_20_steps_on_one_batch_lower_its_loss(astronaut: Path, painting: Path) -> None:
    photos = torch.cat([load_image(astronaut, size=SIZE), load_image(astronaut, size=SIZE).flip(3)])
    task = StyleTraining({"swirls": str(painting)}, size=SIZE, style_ramp=0, seed=1, ema_decay=0)
    losses: list[float] = []

    class Record(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, *_: object) -> None:
            losses.append(float(trainer.callback_metrics["loss/total"]))

    trainer = L.Trainer(
        max_steps=20,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
        callbacks=[Record()],
    )
    batch = Batch(photos, torch.arange(2), ["a", "b"], {})
    trainer.fit(task, DataLoader([batch] * 20, batch_size=None))  # type: ignore[arg-type]
    assert len(losses) == 20
    assert losses[-1] < 0.9 * losses[0]
    assert losses[-1] < 1.01 * min(losses)  # but for what bfloat16 rounds


def test_model_can_be_loaded_and_paints(finished: Path, photo: Tensor) -> None:
    model = StyleModel.load(finished / "swirls.safetensors")
    pastiche = model.network(photo, model.style_weights("swirls"))
    assert pastiche.shape == photo.shape
    assert pastiche.isfinite().all()


def test_model_holds_the_trained_weights(finished: Path) -> None:
    model = StyleModel.load(finished / "swirls.safetensors")
    trained = state(finished)["state_dict"]
    for key, value in model.network.state_dict().items():
        assert torch.equal(value, trained[f"network.{key}"].half().float()), key


def test_record_tells_what_was_done(finished: Path, album: Path) -> None:
    model = StyleModel.load(finished / "swirls.safetensors")
    (style,) = model.styles
    assert (style.name, style.title, style.artist) == ("swirls", "Swirls", "nst-rt")
    assert (style.year, style.license) == ("2025", "CC0")
    training = model.training
    assert training["steps"] == STEPS
    assert training["batch_size"] == 2
    assert training["photos"] == {album.name: 3, "cats": 1}  # one is held out
    assert training["vgg_weights"] == "caffe"
    assert training["style_images"]["swirls"]["stretched"] is False  # a vivid painting
    recipe = training["recipe"]
    assert recipe["prepare"] is True
    assert (recipe["size"], recipe["seed"], recipe["style_weight"]) == (SIZE, 3, 4)
    assert recipe["style_layers"].keys() == {"relu2_1", "relu3_1", "relu4_1"}


def test_record_names_no_folder_and_no_photo(finished: Path, painting: Path) -> None:
    text = json.dumps(StyleModel.load(finished / "swirls.safetensors").training)
    assert str(painting.parent) not in text
    assert str(finished.parent) not in text
    assert ".png" not in text


def test_recorded_losses_add_up_to_the_total(finished: Path) -> None:
    losses = StyleModel.load(finished / "swirls.safetensors").training["losses"]
    assert losses.keys() == {"content", "style", "tv", "grid", "motion", "total"}
    weights = {"content": 1, "style": 4, "tv": 0.02, "grid": 3000, "motion": 0}
    expected = sum(weight * losses[term] for term, weight in weights.items())
    assert losses["total"] == pytest.approx(expected, rel=0.01)


def test_tensorboard_holds_losses_and_samples(train: Train, tmp_path: Path) -> None:
    train(tmp_path, steps=10)
    (file,) = (tmp_path / "runs" / "swirls" / "tensorboard").glob("events.out.tfevents.*")
    events = EventAccumulator(str(file)).Reload()
    scalars = set(events.Tags()["scalars"])
    assert {f"loss/{term}" for term in ("content", "style", "tv", "motion", "total")} <= scalars
    assert [event.step for event in events.Images("samples")][-1] == 10


def test_sample_grids_show_photo_and_pastiche_side_by_side(finished: Path) -> None:
    grids = sorted((finished / "runs" / "swirls" / "samples").iterdir())
    assert [grid.name for grid in grids] == [f"{step:06d}.png" for step in range(1, STEPS + 1)]
    # One held-out photo: a row of two cells, with frames of 4 px.
    assert load_image(grids[-1]).shape == (1, 3, SIZE + 8, 2 * SIZE + 12)


def test_checkpoints_hold_the_network_without_vgg19(finished: Path) -> None:
    assert state(finished)["global_step"] == STEPS
    assert all(key.startswith("network.") for key in state(finished)["state_dict"])
    assert checkpoints(finished)[-1].stat().st_size < 5_000_000


@pytest.mark.parametrize("workers", [0, 1])
def test_resumed_run_ends_with_the_very_weights_of_an_undisturbed_one(
    train: Train,
    finished: Path,
    tmp_path: Path,
    interrupt: Callable[[int], None],
    workers: int,
) -> None:
    interrupt(3)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, workers=workers)
    assert state(tmp_path)["global_step"] == 3
    assert not (tmp_path / "swirls.safetensors").exists()

    train(tmp_path, workers=workers, resume=True)
    resumed, undisturbed = state(tmp_path), state(finished)
    assert resumed["global_step"] == undisturbed["global_step"] == STEPS
    for key, value in undisturbed["state_dict"].items():
        assert torch.equal(resumed["state_dict"][key], value), key
    moments = (x["optimizer_states"][0]["state"] for x in (resumed, undisturbed))
    for one, other in zip(*(m.values() for m in moments), strict=True):
        assert torch.equal(one["exp_avg_sq"], other["exp_avg_sq"])
    assert resumed["lr_schedulers"] == undisturbed["lr_schedulers"]
    models = (StyleModel.load(x / "swirls.safetensors") for x in (tmp_path, finished))
    one, other = (model.training for model in models)
    assert one == other


def test_same_seed_gives_the_same_model_and_another_seed_another(
    train: Train, finished: Path, tmp_path: Path
) -> None:
    def weights(path: Path) -> Tensor:
        return StyleModel.load(path).network.state_dict()["net.to_image.weight"]

    expected = weights(finished / "swirls.safetensors")
    torch.manual_seed(99)
    assert torch.equal(weights(train(tmp_path / "same")), expected)
    other = weights(train(tmp_path / "other", seed=4))
    assert not torch.allclose(other, expected, atol=1e-3)


def test_resuming_a_finished_run_gives_its_model_again(
    train: Train, finished: Path, tmp_path: Path
) -> None:
    output = train(finished, resume=True, output=tmp_path / "again.safetensors")
    again, before = StyleModel.load(output), StyleModel.load(finished / "swirls.safetensors")
    assert again.training == before.training
    for key, value in again.network.state_dict().items():
        assert torch.equal(value, before.network.state_dict()[key]), key


def test_a_damaged_checkpoint_is_an_error(train: Train, finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "copy")
    [checkpoint] = (tmp_path / "copy").rglob("*.ckpt")
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"damaged; --overwrite starts over"):
        train(tmp_path / "copy", resume=True, output=tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"steps": STEPS + 2}, f"steps = {STEPS}, not {STEPS + 2}"),
        ({"style": INK}, "for the paintings"),
        ({"settings": {"trainer.precision": OTHER_PRECISION}}, f"precision .* {OTHER_PRECISION}"),
        ({"settings": {"trainer.accumulate_grad_batches": 2}}, "batches = 1, not 2"),
        ({"start_from": "starry_night"}, "begun with"),
        ({"architecture": "classic"}, "architecture = fast, not classic"),
        ({"style_weight": 3.0}, r"style_weight = 4\.0, not 3\.0"),
        ({"batch_size": 3}, r"batch_size = \d, not 3"),
        ({"prepare": False}, "prepare = True, not False"),
        ({"style_crop": "80x80+0+0"}, "style_crops"),
    ],
)
def test_resuming_with_other_settings_is_an_error(
    train: Train, finished: Path, tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    before = files(finished)
    with pytest.raises(InputError, match=says):
        train(finished, resume=True, output=tmp_path / "a.safetensors", **changes)
    assert files(finished) == before


def test_resuming_without_a_checkpoint_is_an_error(train: Train, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no checkpoint to resume from"):
        train(tmp_path, resume=True)
    assert not files(tmp_path)


def test_an_existing_model_is_kept(train: Train, tmp_path: Path) -> None:
    (tmp_path / "swirls.safetensors").write_text("precious")
    with pytest.raises(OutputExistsError, match="overwrite"):
        train(tmp_path)
    assert list(files(tmp_path).values()) == [b"precious"]


def test_an_existing_run_is_kept(train: Train, finished: Path, tmp_path: Path) -> None:
    before = files(finished)
    with pytest.raises(OutputExistsError, match=r"--resume continues it, --overwrite starts over"):
        train(finished, output=tmp_path / "a.safetensors")
    assert files(finished) == before


def test_overwriting_starts_over(
    train: Train, tmp_path: Path, interrupt: Callable[[int], None]
) -> None:
    interrupt(2)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path)
    (tmp_path / "runs" / "swirls" / "notes.txt").write_text("mine")
    train(tmp_path, overwrite=True, steps=1)
    assert [path.name for path in checkpoints(tmp_path)] == ["step=000001.ckpt"]
    assert StyleModel.load(tmp_path / "swirls.safetensors").training["steps"] == 1
    # What training did not write it does not remove.
    assert (tmp_path / "runs" / "swirls" / "notes.txt").exists()


def test_resuming_with_other_styles_is_an_error(
    train: Train, finished: Path, painting: Path, tmp_path: Path
) -> None:
    styles = {name: painting.parent / f"{name}.jpg" for name in ("swirls", "ink")}
    with pytest.raises(
        InputError, match=r"begun with styles = \['swirls'\], not \['swirls', 'ink'\]"
    ):
        train(finished, style=styles, resume=True, output=tmp_path / "a.safetensors")


def test_resuming_a_complete_run_says_so(train: Train, finished: Path) -> None:
    with pytest.raises(OutputExistsError, match=f"complete, all {STEPS} steps"):
        train(finished, resume=True)


def test_a_checkpoint_that_is_something_else_is_an_error(
    train: Train, finished: Path, tmp_path: Path
) -> None:
    shutil.copytree(finished, tmp_path / "copy")
    [checkpoint] = (tmp_path / "copy").rglob("*.ckpt")
    torch.save({"a": 1}, checkpoint)
    with pytest.raises(InputError, match="damaged"):
        train(tmp_path / "copy", resume=True, output=tmp_path / "a.safetensors")


def test_a_checkpoint_of_another_format_is_an_error_that_says_so(
    train: Train, finished: Path, tmp_path: Path
) -> None:
    shutil.copytree(finished, tmp_path / "copy")
    [checkpoint] = (tmp_path / "copy").rglob("*.ckpt")
    earlier = torch.load(checkpoint, weights_only=True)
    del earlier["identity"]["format_version"]  # as before the second one
    torch.save(earlier, checkpoint)
    with pytest.raises(InputError, match="version"):
        train(tmp_path / "copy", resume=True, output=tmp_path / "a.safetensors")


def test_an_earlier_run_comes_back_if_the_new_one_does_not_start(
    train: Train, finished: Path, tmp_path: Path, interrupt: Callable[[int], None]
) -> None:
    shutil.copytree(finished, tmp_path / "copy")
    before = files(tmp_path / "copy")
    interrupt(0)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "copy", overwrite=True)
    assert files(tmp_path / "copy") == before


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"seed": 2**70}, InputError, "seed must be"),
        ({"output": "a.png"}, InputError, "unknown style model format '.png'"),
        ({"photos": ""}, InputError, "give a folder"),
        ({"affine_only": True}, InputError, "trained whole"),
        ({"settings": {"model.learning_rate": -1}}, InputError, "learning_rate must be"),
        ({"settings": {"model.ema_decay": 1}}, InputError, "ema_decay must be"),
        ({"settings": {"model.warm_up": 1.5}}, InputError, "warm_up must be"),
        ({"settings": {"model.affine_factor": 0}}, InputError, "affine_factor must be"),
        ({"settings": {"model.motion_ramp": [0.5, 0.2]}}, InputError, "rising fractions"),
        ({"settings": {"model.hyper_parameters": {"foo": 3}}}, InputError, "hyper_parameters.*foo"),
        ({"settings": {"trainer.precision": "bf16-true"}}, InputError, "precision must be one of"),
        ({"settings": {"trainer.overfit_batches": 2}}, InputError, "overfit_batches"),
        ({"settings": {"trainer.limit_train_batches": 9}}, InputError, "max_steps says"),
        ({"settings": {"trainer.default_root_dir": "x"}}, InputError, "--runs says"),
        ({"settings": {"trainer.accumulate_grad_batches": 0}}, InputError, "must be 1 or more"),
        ({"steps": 0}, InputError, "steps must be positive, not 0"),
        ({"batch_size": -1}, InputError, "batch size must be positive, not -1"),
        ({"size": 0}, InputError, "at least 16 px, not 0"),
        ({"size": 15}, InputError, "at least 16 px, not 15"),
        ({"name": ""}, InputError, "name of a style"),
        ({"name": ".."}, InputError, "name of a style"),
        ({"name": "a/b"}, InputError, "name of a style"),
        ({"architecture": "slow"}, InputError, "fast.*classic"),
        ({"style": "missing.jpg"}, InputError, "no such file"),
        ({"style_crop": "80x80"}, InputError, "not a crop"),
        ({"style_crop": "80x80+9999+0"}, InputError, "not inside"),
        ({"style_crop": "80x9+0+0"}, InputError, "64 px"),
        ({"style_crop": {"swrls": "80x80+0+0"}}, UnknownNameError, "mean 'swirls'"),
        ({"style": __file__}, InputError, "not an image"),
        ({"photos": "missing"}, InputError, "no such folder"),
        ({"photos": __file__}, InputError, "line 1: .*no such file"),
        ({"vgg_weights": "missing.pth"}, WeightsError, "missing.pth"),
        ({"output": "missing/a.safetensors"}, InputError, "does not exist"),
    ],
)
def test_bad_input_is_an_error_before_anything_is_written_or_cleared(
    train: Train,
    finished: Path,
    changes: dict[str, Any],
    error: type[Exception],
    says: str,
) -> None:
    before = files(finished)
    with pytest.raises(error, match=says):
        train(finished, overwrite=True, **changes)
    assert files(finished) == before


def test_an_empty_folder_of_photos_is_an_error(train: Train, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no photos"):
        train(tmp_path, photos=tmp_path / "empty")
    assert not files(tmp_path)


def test_loss_that_is_not_finite_stops_and_the_last_checkpoint_stays(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training_step = StyleTraining.training_step

    def poisoned(self: StyleTraining, batch: Batch, index: int) -> Tensor:
        poison = torch.nan if self.global_step == 2 else 1
        return training_step(self, batch._replace(images=batch.images * poison), index)

    monkeypatch.setattr(StyleTraining, "training_step", poisoned)
    with pytest.raises(NotFiniteError, match=r"loss became nan at step 2, with the photos .*\.png"):
        train(tmp_path)
    assert not (tmp_path / "swirls.safetensors").exists()
    assert state(tmp_path)["global_step"] == 2
    assert all(value.isfinite().all() for value in state(tmp_path)["state_dict"].values())


def test_a_tiny_painting_is_an_error(train: Train, tmp_path: Path) -> None:
    Image.new("RGB", (8, 9)).save(tmp_path / "dot.png")
    with pytest.raises(InputError, match="8x9 px"):
        train(tmp_path / "run", style=tmp_path / "dot.png")


def test_classic_network_trains_too(train: Train, tmp_path: Path) -> None:
    path = train(tmp_path, architecture="classic", steps=1, batch_size=1, size=32)
    model = StyleModel.load(path)
    assert model.network.architecture == "classic"
    recipe = recipe_values("classic")["model"]
    assert model.training["recipe"]["learning_rate"] == recipe["learning_rate"]


def test_a_corrupt_photo_does_not_stop_the_training(
    train: Train, tmp_path: Path, album: Path
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "good.png").write_bytes((album / "a.png").read_bytes())
    (folder / "corrupt.png").write_bytes((album / "b.png").read_bytes()[:2000])
    assert train(tmp_path, photos=folder, steps=2).exists()


def test_a_process_that_decodes_is_killed(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DataLoader, "__iter__", dying(lambda: os.kill(os.getpid(), SIGKILL)))
    # Which signal it was PyTorch sees in a process's first training only.
    with pytest.raises(StyleTransferError, match=r"(: Killed|exited unexpectedly);.*--resume"):
        train(tmp_path)


@pytest.mark.parametrize(
    ("raised", "error", "says"),
    [
        (RuntimeError("a\nb"), StyleTransferError, "RuntimeError: a b"),
        (NotImplementedError("what DDS has"), StyleTransferError, "what DDS has"),
        (OSError(5, "Input/output error"), StyleTransferError, "Input/output error"),
        (
            InputError("none can be used: all damaged"),
            InputError,
            "^none can be used: all damaged$",
        ),
    ],
)
def test_an_error_in_a_process_that_decodes_is_told_as_what_it_is(
    train: Train,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    raised: Exception,
    error: type[StyleTransferError],
    says: str,
) -> None:
    def fail() -> None:
        raise raised

    monkeypatch.setattr(DataLoader, "__iter__", dying(fail))
    with pytest.raises(error, match=says) as caught:
        train(tmp_path)
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)
    assert "killed" not in str(caught.value)


def test_an_error_of_ours_stays_one(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a mistake in training_step")

    monkeypatch.setattr(StyleTraining, "training_step", broken)
    with pytest.raises(RuntimeError, match="a mistake"):
        train(tmp_path)
