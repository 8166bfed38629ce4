"""How the style images of a training are given on the command line."""

from pathlib import Path
from typing import Any

import pytest

from nst_rt.cli import main

TRAIN = ["train", "--photos", "photos", "--style"]


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What reaches the training."""
    options: dict[str, Any] = {}

    def train_style(**given: Any) -> Path:
        options.update(given)
        return Path("missing.safetensors")

    monkeypatch.setattr("nst_rt.train.run.train_style", train_style)
    return options


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], {}),
        (["--no-prepare"], {"prepare": False}),
        (["--style-crop", "80x70+1+2"], {"style_crop": "80x70+1+2"}),
        (["--style-crop", "a=80x70+1+2"], {"style_crop": {"a": "80x70+1+2"}}),
        (
            ["--style-crop", "a=80x70+1+2", "b=90x90+0+0"],
            {"style_crop": {"a": "80x70+1+2", "b": "90x90+0+0"}},
        ),
    ],
)
def test_how_a_style_image_is_prepared_reaches_the_training(
    passed: dict[str, Any], given: list[str], expected: dict[str, Any]
) -> None:
    assert main([*TRAIN, "a.png", *given]) == 0
    assert passed == {"style": "a.png", "photos": "photos"} | expected


@pytest.mark.parametrize("crops", [["80x70+1+2", "b=80x70+1+2"], ["a=80x70+1+2"] * 2])
def test_crops_that_name_no_painting_or_one_twice_are_an_error(
    passed: dict[str, Any], capsys: pytest.CaptureFixture[str], crops: list[str]
) -> None:
    assert main([*TRAIN, "a.png", "b.png", "--name", "both", "--style-crop", *crops]) == 2
    assert not passed
    said = capsys.readouterr().err
    assert "--style-crop" in said
    assert said.count("\n") == 1
