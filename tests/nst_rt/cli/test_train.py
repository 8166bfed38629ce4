"""How `nst-rt train` passes its options on, and what it reports."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from nst_rt.cli import main
from nst_rt.errors import InterruptedWorkError
from nst_rt.models.style_model import StyleModel

TRAIN = ["train", "--photos", "photos", "--style-image"]


@pytest.fixture
def passed(
    monkeypatch: pytest.MonkeyPatch, two_styles: StyleModel, tmp_path: Path
) -> dict[str, Any]:
    """The options that reach the training, in a folder with what the command names."""
    monkeypatch.chdir(tmp_path)
    for folder in ("b", "photos"):
        Path(folder).mkdir()
    for name in ("a.png", "a.jpg", "b.png", "b/c.png"):
        Path(name).touch()
    options: dict[str, Any] = {}
    record = {"steps": 12, "losses": {"style": 0.25}, "skipped": 3}

    def train_style(**given: Any) -> StyleModel:
        assert callable(given.pop("progress"))
        options.update(given)
        return StyleModel(two_styles.network, two_styles.styles, record)

    monkeypatch.setattr("nst_rt.train.run.train_style", train_style)
    return options


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], {}),
        (["x=b/c.png"], {"style_image": {"a": "a.png", "x": "b/c.png"}}),
        (["--no-prepare"], {"prepare": False}),
        (["--style-crop", "80x70+1+2"], {"style_crop": "80x70+1+2"}),
        (
            ["--style-crop", "a=80x70+1+2", "b=90x90+0+0"],
            {"style_crop": {"a": "80x70+1+2", "b": "90x90+0+0"}},
        ),
        (["--from", "gallery", "--affine-only"], {"start_from": "gallery", "affine_only": True}),
        (["--model.size", "64"], {"model": {"size": 64}}),
        (
            ["--trainer.max_steps", "3", "--data.workers=2"],
            {"trainer": {"max_steps": 3}, "data": {"workers": 2}},
        ),
    ],
)
def test_options_reach_the_training(
    passed: dict[str, Any], given: list[str], expected: dict[str, Any]
) -> None:
    assert main([*TRAIN, "a.png", *given]) == 0
    passed = {key: value for key, value in passed.items() if value != {}}
    assert passed == {"style_image": "a.png", "photos": "photos"} | expected


def test_recipes_are_read_with_their_types(passed: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("model: {learning_rate: 1e-3}")
    assert main([*TRAIN, "a.png", "--config", str(tmp_path / "mine.yaml"), "--config", "gpu"]) == 0
    mine, gpu = passed["recipes"]
    assert mine["model"] == {"learning_rate": 1e-3}
    assert gpu["data"] == {"batch_size": 16, "workers": 8}


@pytest.mark.parametrize(
    "given",
    [
        ["--style-crop", "80x70+1+2", "b=80x70+1+2"],
        ["--style-crop", "a=80x70+1+2", "a=80x70+1+2"],
        ["a.jpg"],
        ["--model.nothing", "3"],
        ["--print-config"],
    ],
)
def test_bad_options_are_an_error_in_one_line(
    passed: dict[str, Any], capsys: pytest.CaptureFixture[str], given: list[str]
) -> None:
    assert main([*TRAIN, "a.png", "b.png", *given]) == 2
    assert not passed
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(("steps", "warns"), [(12, True), (500, False)])
def test_report_names_file_and_next_command(
    passed: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    two_styles: StyleModel,
    steps: int,
    warns: bool,
) -> None:
    record = {"steps": steps, "losses": {"style": 0.25}, "skipped": 3}
    model = StyleModel(two_styles.network, two_styles.styles, record)
    monkeypatch.setattr("nst_rt.train.run.train_style", lambda **_: model)
    assert main([*TRAIN, "a.png", "--name", "mine"]) == 0
    out, err = capsys.readouterr()
    assert "nst-rt image PHOTO --style mine.safetensors" in out.splitlines()[-1]
    assert ("few steps" in err) == warns
    assert main([*TRAIN, "a.png", "--output", "b.safetensors", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == {"output": "b.safetensors", **record}
    assert ("few steps" in err) == warns


def test_interrupted_training_names_the_flag_that_resumes(
    passed: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def train_style(**_: object) -> None:
        raise InterruptedWorkError("`resume` continues")

    monkeypatch.setattr("nst_rt.train.run.train_style", train_style)
    assert main([*TRAIN, "a.png"]) == 130
    assert "--resume" in capsys.readouterr().err


@pytest.mark.usefixtures("passed")
@pytest.mark.parametrize("package", ["lightning", "jsonargparse", "tensorboard"])
def test_missing_packages_are_an_error_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], package: str
) -> None:
    def train_style(**_: object) -> None:
        # Lightning raises its own error for TensorBoard, without a name.
        raise ModuleNotFoundError(name=None if package == "tensorboard" else package)

    monkeypatch.setattr("nst_rt.train.run.train_style", train_style)
    if package == "jsonargparse":
        monkeypatch.setitem(sys.modules, package, None)
    assert main([*TRAIN, "a.png", "--model.size", "64"]) == 2
    said = capsys.readouterr().err
    assert package in said
    assert "nst-rt[train]" in said
    assert said.count("\n") == 1
