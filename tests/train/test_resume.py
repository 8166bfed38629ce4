"""Trainings that end early or are begun again: what is resumed, refused, kept and replaced."""

import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_training import (
    FROM,
    INK,
    OTHER_PRECISION,
    STEPS,
    TWO,
    Train,
    checkpoints,
    files,
    same_weights,
    state,
)

from nst_rt.errors import (
    InputError,
    InterruptedWorkError,
    OutputExistsError,
)
from nst_rt.models.style_model import StyleModel

# Lightning's own warnings.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_resume_after_interrupt_matches_uninterrupted_run(
    train: Train,
    finished: Path,
    tmp_path: Path,
    interrupt: Callable[[int], None],
    workers: int,
) -> None:
    interrupt(3)
    with pytest.raises(InterruptedWorkError):
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


def test_resuming_a_finished_run_returns_its_model(
    train: Train, finished: Path, tmp_path: Path
) -> None:
    again = train(finished, resume=True, output=tmp_path / "again.safetensors")
    before = StyleModel.load(finished / "swirls.safetensors")
    assert again.training == before.training
    assert same_weights(again, before)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"steps": STEPS + 2}, rf"steps .*{STEPS}.*{STEPS + 2}"),
        ({"style_image": INK}, "style_images"),
        (TWO, "style_images"),
        ({"photos": INK.parent}, "photos"),
        ({"trainer": {"precision": OTHER_PRECISION}}, f"precision .*{OTHER_PRECISION}"),
        ({"trainer": {"accumulate_grad_batches": 2}}, "accumulate_grad_batches .*1.*2"),
        (FROM, "initial weights"),
        ({"architecture": "classic"}, "architecture .*fast.*classic"),
        ({"style_weight": 3.0}, r"style_weight .*4\.0.*3\.0"),
        ({"batch_size": 3, "seed": 4}, "seed .*3.*4.*batch_size .*2.*3"),
        ({"prepare": False}, "prepare .*True.*False"),
        ({"style_crop": "80x80+0+0"}, "style_crops"),
    ],
)
def test_resuming_with_other_settings_names_the_difference(
    train: Train, finished: Path, tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    before = files(finished)
    with pytest.raises(InputError, match=says):
        train(finished, resume=True, output=tmp_path / "a.safetensors", **changes)
    assert files(finished) == before


def test_existing_model_and_run_are_kept(train: Train, finished: Path, tmp_path: Path) -> None:
    (tmp_path / "swirls.safetensors").write_text("precious")
    with pytest.raises(OutputExistsError, match="overwrite"):
        train(tmp_path)
    assert list(files(tmp_path).values()) == [b"precious"]
    with pytest.raises(InputError, match="resume"):  # no checkpoint
        train(tmp_path, resume=True)
    before = files(finished)
    with pytest.raises(OutputExistsError, match="resume"):
        train(finished, output=tmp_path / "a.safetensors")
    with pytest.raises(OutputExistsError, match=f"complete with {STEPS} steps"):
        train(finished, resume=True)
    assert files(finished) == before


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_end_a_training_as_ctrl_c_does(
    train: Train, tmp_path: Path, interrupt: Callable[..., None], number: signal.Signals
) -> None:
    before = signal.getsignal(number)
    interrupt(3, number)
    with pytest.raises(InterruptedWorkError):
        train(tmp_path)
    assert state(tmp_path)["global_step"] == 3
    assert signal.getsignal(number) is before


@pytest.mark.slow
def test_overwrite_starts_over_and_keeps_foreign_files(
    train: Train, tmp_path: Path, interrupt: Callable[[int], None]
) -> None:
    interrupt(2)
    with pytest.raises(InterruptedWorkError, match="swirls"):
        train(tmp_path)
    (tmp_path / "runs" / "swirls" / "notes.txt").write_text("mine")
    train(tmp_path, overwrite=True, steps=1)
    assert [path.name for path in checkpoints(tmp_path)] == ["step=000001.ckpt"]
    assert StyleModel.load(tmp_path / "swirls.safetensors").training["steps"] == 1
    assert (tmp_path / "runs" / "swirls" / "notes.txt").exists()


@pytest.mark.slow
@pytest.mark.parametrize("is_permitted", [True, False])
def test_resumed_run_may_replace_the_model_that_it_was_begun_to_replace(
    train: Train, tmp_path: Path, interrupt: Callable[[int], None], is_permitted: bool
) -> None:
    model = tmp_path / "swirls.safetensors"
    if is_permitted:
        model.write_text("earlier")
    interrupt(2)
    with pytest.raises(InterruptedWorkError):
        train(tmp_path, overwrite=is_permitted)
    if is_permitted:
        train(tmp_path, resume=True)
        assert StyleModel.load(model).training["steps"] == STEPS
        return
    model.write_text("precious")
    with pytest.raises(OutputExistsError, match=r"overwrite.*beside.*resume"):
        train(tmp_path, resume=True)
    assert model.read_text() == "precious"


def test_damaged_or_foreign_checkpoint_is_an_error(
    train: Train, finished: Path, tmp_path: Path
) -> None:
    shutil.copytree(finished, tmp_path / "copy")
    [checkpoint] = (tmp_path / "copy").rglob("*.ckpt")
    content = checkpoint.read_bytes()
    of_other_format = torch.load(checkpoint, weights_only=True)
    of_other_format["identity"]["format_version"] = 1

    def damage() -> None:
        checkpoint.write_bytes(content[:1000])

    for change, says in (
        (damage, "damaged"),
        (lambda: torch.save({"a": 1}, checkpoint), "damaged"),
        (lambda: torch.save(of_other_format, checkpoint), "version"),
    ):
        change()
        with pytest.raises(InputError, match=says):
            train(tmp_path / "copy", resume=True, output=tmp_path / "a.safetensors")


def test_earlier_run_is_restored_if_new_one_writes_no_checkpoint(
    train: Train, finished: Path, tmp_path: Path, interrupt: Callable[[int], None]
) -> None:
    shutil.copytree(finished, tmp_path / "copy")
    before = files(tmp_path / "copy")
    interrupt(0)
    with pytest.raises(InterruptedWorkError, match="nothing was saved"):
        train(tmp_path / "copy", overwrite=True)
    assert files(tmp_path / "copy") == before
