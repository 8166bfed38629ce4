"""Recipes, single settings, and what Lightning makes of them."""

import inspect
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning.fabric.plugins.environments import (
    LightningEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from lightning.pytorch.utilities import rank_zero_only
from tiny_training import Train

from nst_rt.errors import InputError, NotFiniteError, UnknownNameError
from nst_rt.models.style_model import StyleModel
from nst_rt.train import callbacks
from nst_rt.train.settings import all_settings, cluster_environment, is_further_process
from nst_rt.train.task import StyleTraining

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")

RECIPES = sorted(Path(str(resources.files("nst_rt.train") / "configs")).glob("*.yaml"))


def settings(**arguments: Any) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(all_settings(**arguments))
    return loaded


def test_default_recipe_has_the_defaults_of_the_task() -> None:
    [recipe] = [yaml.safe_load(r.read_text()) for r in RECIPES if r.stem == "bold"]
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


def test_later_settings_win() -> None:
    assert settings()["trainer"]["max_steps"] == 1300
    assert settings(recipes=["new_style"])["trainer"]["max_steps"] == 220
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


def test_what_lightning_raises_later_is_one_line_too(train: Train, tmp_path: Path) -> None:
    stopping = ["--trainer.callbacks", "EarlyStopping", "--trainer.callbacks.monitor", "nothing"]
    with pytest.raises(InputError, match="nothing"):
        train(tmp_path, size=32, arguments=stopping)


def test_a_grid_of_samples_is_made_once_a_step(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = []

    def sample_grid(task: StyleTraining, photos: object) -> torch.Tensor:
        steps.append(task.global_step)
        return torch.zeros(1, 3, 8, 8)

    monkeypatch.setattr(callbacks, "sample_grid", sample_grid)
    train(tmp_path, steps=3, size=32, settings={"trainer.accumulate_grad_batches": 2})
    assert steps == [1, 2, 3]


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"recipes": ["bald"]}, UnknownNameError, "did you mean 'bold'"),
        ({"arguments": ["--model.nothing", "3"]}, InputError, "model.nothing"),
        ({"settings": {"model.size": "abc"}}, InputError, "model.size.*abc"),
        ({"settings": {"trainer.devices": "many"}}, InputError, "trainer refuses.*devices"),
        ({"settings": {"model.style_layers": {"relu9_1": 1.0}}}, UnknownNameError, "relu9_1"),
        ({"settings": {"model.style_weight": -1}}, InputError, "0 or more, not -1"),
        ({"settings": {"model.style_factors": {"swrls": 1}}}, UnknownNameError, "mean 'swirls'"),
        ({"settings": {"model.style_factors": {"swirls": -1}}}, InputError, "0 or more, not -1"),
        ({"settings": {"trainer.check_val_every_n_epoch": 0}}, InputError, "must be 1 or more"),
        ({"settings": {"trainer.accelerator": "tpu"}}, InputError, "torch_xla"),
        ({"arguments": ["--trainer.logger", "MLFlowLogger"]}, InputError, "mlflow"),
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
    torch.testing.assert_close(halved, trained("weight", style_weight=2.0))
    assert not torch.allclose(
        halved["net.to_image.weight"], default["net.to_image.weight"], atol=1e-6
    )


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
    key = "net.to_image.weight"
    averaged, last = (
        StyleModel.load(train(tmp_path / str(decay), settings={"model.ema_decay": decay}))
        for decay in (0.9, 0.0)
    )
    begun = StyleTraining({"a": ""}, seed=3).network.state_dict()[key]
    way = [(m.network.state_dict()[key] - begun).norm() for m in (averaged, last)]
    # The average lags behind.
    assert 0 < way[0] < 0.9 * way[1]


SRUN = {"SLURM_NTASKS": "2", "SLURM_JOB_NAME": "train", "SLURM_PROCID": "1"}
TORCHRUN = {"TORCHELASTIC_RUN_ID": "7", "RANK": "1", "LOCAL_RANK": "1"}


@pytest.mark.parametrize("variables", [SRUN, TORCHRUN, {"RANK": "1"}])
def test_what_launchers_leave_in_the_environment_launches_nothing(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    """One process trains and reports, as without them."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(rank_zero_only, "rank", 1)  # as Lightning has it when it is imported so
    assert train(tmp_path, steps=1, size=32).exists()
    assert rank_zero_only.rank == 0  # type: ignore[attr-defined]
    assert [*(tmp_path / "runs" / "swirls" / "tensorboard").iterdir()]


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, LightningEnvironment),
        (SRUN, LightningEnvironment),
        (SRUN | {"SLURM_STEP_ID": "0", "SLURM_NTASKS_PER_NODE": "2"}, SLURMEnvironment),
        (TORCHRUN, LightningEnvironment),
        (TORCHRUN | {"WORLD_SIZE": "2", "MASTER_ADDR": "localhost"}, TorchElasticEnvironment),
    ],
)
def test_launchers_are_known_by_all_of_their_variables(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: type
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert type(cluster_environment()) is expected
    assert is_further_process() == bool(variables.get("LOCAL_RANK") or expected is SLURMEnvironment)


def test_tasks_that_lightning_does_not_take_are_an_error_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in (SRUN | {"SLURM_STEP_ID": "0"}).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match="ntasks"):
        cluster_environment()
