"""Recipes, single settings, and the Trainer that is made from them."""

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
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.utilities import rank_zero_only
from tiny_training import Train

from nst_rt.errors import InputError, NotFiniteError, StyleTransferError, UnknownNameError
from nst_rt.train import callbacks
from nst_rt.train.processes import cluster_environment, is_further_process
from nst_rt.train.recipes import all_settings, parsed_settings, recipe_settings, recipe_values
from nst_rt.train.task import StyleTraining, style_ramp_factor

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")

RECIPES = sorted(Path(str(resources.files("nst_rt.train") / "configs")).glob("*.yaml"))


def settings(*arguments: str, recipes: list[str] | None = None) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(
        all_settings(recipes=recipes or [], arguments=arguments)
    )
    return loaded


def test_default_recipe_has_the_defaults_of_the_signature() -> None:
    [recipe] = [yaml.safe_load(r.read_text()) for r in RECIPES if r.stem == "bold"]
    signature = inspect.signature(StyleTraining.__init__).parameters
    for key, value in recipe["model"].items():
        default = signature[key].default
        assert (list(default) if isinstance(default, tuple) else default) == value, key


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_is_found_by_name(recipe: Path) -> None:
    found, plain = settings(recipes=[recipe.stem]), recipe_values(recipe.stem)
    for group, values in yaml.safe_load(recipe.read_text()).items():
        assert found[group].items() >= values.items()
        assert plain[group] == values


def test_later_settings_win() -> None:
    assert settings()["trainer"]["max_steps"] == 1300
    assert settings(recipes=["new_style"])["trainer"]["max_steps"] == 220
    found = settings("--trainer.max_steps=9", recipes=["new_style"])
    assert found["trainer"]["max_steps"] == 9
    found = recipe_values("bold", "new_style", {"model": {"size": 64}})
    assert (found["trainer"]["max_steps"], found["model"]["size"]) == (220, 64)


def test_flags_become_typed_values_of_what_is_given(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(settings_text := all_settings())
    found = parsed_settings([f"--config={tmp_path / 'mine.yaml'}", "--model.learning_rate", "1e-3"])
    assert found["model"]["learning_rate"] == 1e-3
    assert found["trainer"]["max_steps"] == yaml.safe_load(settings_text)["trainer"]["max_steps"]
    assert parsed_settings(["--trainer.max_steps", "2"])["trainer"] == {"max_steps": 2}
    found = parsed_settings(["--trainer.callbacks=EarlyStopping", "--trainer.callbacks.monitor=x"])
    [callback] = found["trainer"]["callbacks"]
    assert isinstance(callback, EarlyStopping)


@pytest.mark.parametrize(
    "content",
    [
        "a: [",
        "3",
        "\xff",
        "modell: {size: 3}",
        "3: {size: 3}",
        "model: 3",
        "trainer: true",
        "model: " + 900 * "[" + 900 * "]",
        "model: &m {again: *m}",
        "model: {seed: &s 1, size: *s}",
        "# " + 10**6 * "-",
    ],
    ids=lambda content: content[:20],
)
def test_files_that_are_no_recipe_are_an_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "bad.yaml").write_bytes(content.encode("latin-1"))
    with pytest.raises(StyleTransferError):
        recipe_values(tmp_path / "bad.yaml")


@pytest.mark.parametrize("content", ["trainer: true", f"model: {{style_weight: {'9' * 400}}}"])
def test_values_that_cannot_be_read_are_an_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "bad.yaml").write_text(content)
    with pytest.raises(InputError, match=r"bad\.yaml"):
        recipe_settings(tmp_path / "bad.yaml")


@pytest.mark.parametrize(
    ("name", "error"), [("missing.yaml", InputError), ("missing", UnknownNameError)]
)
def test_missing_recipes_are_an_error(name: str, error: type[StyleTransferError]) -> None:
    with pytest.raises(error, match=name):
        recipe_settings(name)


def test_recipe_may_contain_style_images_and_photos(
    train: Train, painting: Path, album: Path, tmp_path: Path
) -> None:
    recipe = {"model": {"style_images": {"ink": str(painting)}}, "data": {"photos": str(album)}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(recipe))
    recipes = [tmp_path / "mine.yaml"]
    model = train(tmp_path, style_image=None, photos=None, recipes=recipes, steps=1, name=None)
    assert model.style_names == ["ink"]
    assert (tmp_path / "runs" / "ink").is_dir()


def test_errors_of_lightning_while_training_are_one_line(train: Train, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing"):
        train(tmp_path, size=32, trainer={"callbacks": EarlyStopping("nothing")})


def test_sample_grid_is_written_once_per_step(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = []

    def sample_grid(task: StyleTraining, photos: object) -> torch.Tensor:
        steps.append(task.global_step)
        return torch.zeros(1, 3, 8, 8)

    monkeypatch.setattr(callbacks, "sample_grid", sample_grid)
    train(tmp_path, steps=3, size=32, trainer={"accumulate_grad_batches": 2})
    assert steps == [1, 2, 3]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--model.nothing", "3"], "model.nothing"),
        (["--model.size", "abc"], "model.size.*abc"),
        (["--trainer.logger", "MLFlowLogger"], "mlflow"),
        (["--config", "missing.yaml"], "missing.yaml"),
    ],
)
def test_bad_flags_are_an_error_in_one_line(arguments: list[str], says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        parsed_settings(arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("step", "ramp", "factor"),
    [(0, 0.5, 0.1), (25, 0.5, 0.55), (50, 0.5, 1.0), (99, 0.5, 1.0), (99, 1.0, 0.991), (0, 0, 1.0)],
)
def test_style_weight_rises_from_a_tenth(step: int, ramp: float, factor: float) -> None:
    assert style_ramp_factor(step, 100, ramp) == pytest.approx(factor)


def test_progress_reports_every_step(train: Train, tmp_path: Path) -> None:
    calls: list[tuple[float, float | None]] = []
    train(
        tmp_path, steps=2, size=32, progress=lambda done, total, note: calls.append((done, total))
    )
    assert calls == [(1, 2), (2, 2)]


@pytest.mark.slow
def test_style_factor_multiplies_the_style_weight(train: Train, tmp_path: Path) -> None:
    def trained(folder: str, **given: Any) -> dict[str, torch.Tensor]:
        return train(tmp_path / folder, steps=2, **given).network.state_dict()

    default = trained("default")
    halved = trained("halved", model={"style_factors": {"swirls": 0.5}})
    torch.testing.assert_close(halved, trained("weight", style_weight=2.0))
    assert not torch.allclose(
        halved["net.to_image.weight"], default["net.to_image.weight"], atol=1e-6
    )


def test_fast_dev_run_writes_nothing(train: Train, tmp_path: Path) -> None:
    train(tmp_path, fast_dev_run=True)
    assert not any(tmp_path.iterdir())


def test_gradient_that_is_not_finite_stops_the_training(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = StyleTraining.on_before_optimizer_step

    def poisoned(self: StyleTraining, optimizer: Any) -> None:
        if self.global_step == 2:
            next(p for p in self.network.parameters() if p.grad is not None).grad.fill_(torch.inf)
        step(self, optimizer)

    monkeypatch.setattr(StyleTraining, "on_before_optimizer_step", poisoned)
    with pytest.raises(NotFiniteError, match=r"inf at step 2.*\.png"):
        train(tmp_path)


@pytest.mark.slow
def test_saved_weights_are_an_average(train: Train, tmp_path: Path) -> None:
    key = "net.to_image.weight"
    averaged, last = (
        train(tmp_path / str(decay), model={"ema_decay": decay}) for decay in (0.9, 0.0)
    )
    begun = StyleTraining({"a": ""}, seed=3).network.state_dict()[key]
    moved = [(m.network.state_dict()[key] - begun).norm() for m in (averaged, last)]
    assert 0 < moved[0] < 0.9 * moved[1]


SRUN = {"SLURM_NTASKS": "2", "SLURM_JOB_NAME": "train", "SLURM_PROCID": "1"}
TORCHRUN = {"TORCHELASTIC_RUN_ID": "7", "RANK": "1", "LOCAL_RANK": "1"}


def test_more_processes_than_a_machine_bears_are_refused(train: Train, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="devices"):
        train(tmp_path, steps=1, size=32, trainer={"accelerator": "cpu", "devices": 10**6})


@pytest.mark.parametrize("variables", [SRUN, TORCHRUN, {"RANK": "1"}])
def test_leftover_launcher_variables_are_ignored(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(rank_zero_only, "rank", 1)  # as Lightning has it when it is imported so
    train(tmp_path, steps=1, size=32)
    assert (tmp_path / "swirls.safetensors").exists()
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
def test_launchers_are_detected_by_all_of_their_variables(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: type
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert type(cluster_environment()) is expected
    assert is_further_process() == bool(variables.get("LOCAL_RANK") or expected is SLURMEnvironment)


def test_slurm_tasks_that_lightning_refuses_are_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in (SRUN | {"SLURM_STEP_ID": "0"}).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match="ntasks"):
        cluster_environment()


@pytest.mark.parametrize("job", ["bash", "interactive"])
def test_further_task_of_a_job_that_lightning_takes_for_a_shell_is_an_error(
    monkeypatch: pytest.MonkeyPatch, job: str
) -> None:
    for name, value in (SRUN | {"SLURM_STEP_ID": "0", "SLURM_JOB_NAME": job}).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match="shell"):
        cluster_environment()
    monkeypatch.setenv("SLURM_PROCID", "0")  # the person's shell
    assert type(cluster_environment()) is LightningEnvironment
