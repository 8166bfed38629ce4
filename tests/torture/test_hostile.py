"""Malformed images, videos, style models and recipes: a result, or an error of one line.

`NST_RT_TORTURE=1` tries all of them, otherwise a sample.
"""

import os
import random
from collections.abc import Mapping
from pathlib import Path

import pytest
from torture.hostile_images import hostile_images
from torture.hostile_models import hostile_models
from torture.hostile_recipes import hostile_recipes
from torture.hostile_videos import hostile_videos
from torture.trials import Kind, Trial, faults, run_trials, table

ALL = bool(os.environ.get("NST_RT_TORTURE"))
_SAMPLE: dict[Kind, int] = {"image": 16, "photo": 4, "video": 8, "model": 10, "recipe": 2}


def tried(kind: Kind, files: Mapping[str, bytes], folder: Path) -> dict[str, Trial]:
    """Try the files, or a sample of them; the outcomes by their names."""
    names = sorted(files)
    if not ALL:
        names = random.Random(0).sample(names, _SAMPLE[kind])
    for name in names:
        (folder / name).write_bytes(files[name])
    # A training takes the cores for itself.
    workers = 1 if kind == "recipe" or not ALL else 2
    trials = run_trials([(kind, folder / name) for name in names], workers=workers)
    print("\n" + table(trials))
    assert not faults(trials)
    return {trial.path.name: trial for trial in trials}


@pytest.mark.parametrize("kind", ["image", "photo"])
def test_malformed_images(tmp_path: Path, kind: Kind) -> None:
    tried(kind, hostile_images(), tmp_path)


def test_malformed_videos(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    tried("video", hostile_videos(tmp_path / "whole"), tmp_path)


def test_malformed_style_models(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    trials = tried("model", hostile_models(trace), tmp_path)
    assert not trace.exists()  # no code of a pickle ran
    for name, trial in trials.items():
        # A changed byte may be one of a weight or of a title.
        assert trial.outcome == "refused" or name.startswith("changed_"), str(trial)


def test_malformed_recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tried("recipe", hostile_recipes(), tmp_path)
    assert not (tmp_path / "harmed").exists()  # no code of a recipe ran
