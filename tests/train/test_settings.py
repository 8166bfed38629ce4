"""Recipes, single settings, and what Lightning makes of them."""

import inspect
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tiny_training import Train

from nst_rt.errors import InputError, NotFiniteError, UnknownNameError
from nst_rt.style_model import StyleModel
from nst_rt.train.settings import all_settings
from nst_rt.train.task import StyleTraining

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")

RECIPES = sorted(Path(str(resources.files("nst_rt.train") / "configs")).glob("*.yaml"))


def settings(**arguments: Any) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(all_settings(**arguments))
    return loaded


def test_default_recipe_has_the_defaults_of_the_task() -> None:
    [recipe] = [yaml.safe_load(r.read_text()) for r in RECIPES if r.stem == "painterly"]
    signature = inspect.signature(StyleTraining.__init__).parameters
    for key, value in recipe["model"].items():
        default = signature[key].default
        assert (list(default) if isinstance(default, tuple) else default) == value, key


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_is_read_by_name(recipe: Path) -> None:
    found = settings(recipes=[recipe.stem])
    for group, values in yaml.safe_load(recipe.read_text()).items():
        given = {key: value for key, value in values.items() if value is not None}
        assert found[group].items() >= given.items()


def test_a_second_phase_keeps_the_network_that_it_goes_on_from() -> None:
    assert "hyper_parameters" in settings(recipes=["gallery"])["model"]
    assert "hyper_parameters" not in settings(recipes=["gallery", "calm"])["model"]


def test_later_settings_win() -> None:
    assert settings()["trainer"]["max_steps"] == 1100
    assert settings(recipes=["new_style"])["trainer"]["max_steps"] == 155
    found = settings(recipes=["new_style"], settings={"trainer.max_steps": 7})
    assert found["trainer"]["max_steps"] == 7
    found = settings(settings={"trainer.max_steps": 7}, arguments=["--trainer.max_steps", "9"])
    assert found["trainer"]["max_steps"] == 9


def test_printed_settings_are_a_recipe(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(all_settings(settings={"model.motion_weight": 80}))
    assert settings(recipes=[str(tmp_path / "mine.yaml")])["model"]["motion_weight"] == 80


def test_a_recipe_may_hold_paintings_and_photos(
    train: Train, painting: Path, album: Path, tmp_path: Path
) -> None:
    recipe = {"model": {"paintings": {"ink": str(painting)}}, "data": {"photos": str(album)}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(recipe))
    recipes = [str(tmp_path / "mine.yaml")]
    output = train(tmp_path, style=None, photos=None, recipes=recipes, steps=1, name="mine")
    assert StyleModel.load(output).style_names == ["ink"]


def test_trainer_flags_reach_the_trainer(train: Train, tmp_path: Path) -> None:
    # Two batches to a step: as many photos are seen as with a batch of twice the size.
    output = train(tmp_path, steps=2, arguments=["--trainer.accumulate_grad_batches", "2"])
    assert StyleModel.load(output).training["steps"] == 2


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"recipes": ["pointerly"]}, UnknownNameError, "did you mean 'painterly'"),
        ({"arguments": ["--model.nothing", "3"]}, InputError, "model.nothing"),
        ({"settings": {"model.size": "abc"}}, InputError, "model.size.*abc"),
        ({"settings": {"trainer.devices": "many"}}, InputError, "trainer refuses.*devices"),
        ({"settings": {"model.style_layers": {"relu9_1": 1.0}}}, UnknownNameError, "relu9_1"),
        ({"settings": {"model.style_weight": -1}}, InputError, "0 or more, not -1"),
        ({"settings": {"model.style_factors": {"swrls": 1}}}, UnknownNameError, "mean 'swirls'"),
        ({"settings": {"model.style_factors": {"swirls": -1}}}, InputError, "0 or more, not -1"),
        ({"style": None}, InputError, "paintings"),
        ({"photos": None}, InputError, "photos"),
    ],
)
def test_bad_settings_are_an_error_in_one_line(
    train: Train, tmp_path: Path, changes: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says) as caught:
        train(tmp_path, **changes)
    assert "\n" not in str(caught.value)
    assert not any(tmp_path.iterdir())


def test_a_style_s_factor_is_one_of_its_weight(train: Train, tmp_path: Path) -> None:
    def trained(folder: str, **given: Any) -> dict[str, torch.Tensor]:
        return StyleModel.load(train(tmp_path / folder, steps=2, **given)).network.state_dict()

    default = trained("default")
    halved = trained("halved", settings={"model.style_factors": {"swirls": 0.5}})
    torch.testing.assert_close(halved, trained("weight", style_weight=5.0))
    assert not torch.allclose(halved["net.paint.weight"], default["net.paint.weight"], atol=1e-6)


def test_a_fast_dev_run_writes_nothing(train: Train, tmp_path: Path) -> None:
    train(tmp_path, fast_dev_run=True)
    assert not any(tmp_path.iterdir())


def test_a_gradient_that_is_not_finite_stops_before_the_weights_are_touched(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = StyleTraining.on_before_optimizer_step

    def poisoned(self: StyleTraining, optimizer: Any) -> None:
        if self.global_step == 2:
            next(p for p in self.network.parameters() if p.grad is not None).grad.fill_(torch.inf)
        step(self, optimizer)

    monkeypatch.setattr(StyleTraining, "on_before_optimizer_step", poisoned)
    with pytest.raises(NotFiniteError, match=r"gradient's norm became inf at step 2.*\.png"):
        train(tmp_path)


def test_kept_weights_are_an_average(train: Train, tmp_path: Path) -> None:
    key = "net.paint.weight"
    averaged, last = (
        StyleModel.load(train(tmp_path / str(decay), settings={"model.ema_decay": decay}))
        for decay in (0.9, 0.0)
    )
    begun = StyleTraining({"a": ""}, seed=3).network.state_dict()[key]
    way = [(m.network.state_dict()[key] - begun).norm() for m in (averaged, last)]
    # The average lags behind.
    assert 0 < way[0] < 0.9 * way[1]
