"""Several styles in one network, and new styles from a trained one."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_training import STEPS, Train
from torch import Tensor

from nst_rt.errors import InputError, UnknownNameError
from nst_rt.images.io import load_image, resize, save_image
from nst_rt.images.style_image import Crop
from nst_rt.metrics.fingerprint import fingerprint
from nst_rt.models.style_model import Style, StyleModel, find_style
from nst_rt.models.transformer import is_affine
from nst_rt.train.start import extended as started

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module")
def paintings(painting: Path) -> dict[str, Path]:
    return {name: painting.parent / f"{name}.jpg" for name in ("swirls", "ink")}


@pytest.fixture(scope="module")
def two(train: Train, paintings: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run of two styles."""
    folder = tmp_path_factory.mktemp("two")
    settings = {
        "trainer.log_every_n_steps": 1,
        "model.learning_rate": 0.02,
        "model.ema_decay": 0,
        "model.grid_weight": 1000,
    }
    output = folder / "both.safetensors"
    train(folder, style=paintings, name="both", output=output, settings=settings)
    return folder


@pytest.fixture(scope="module")
def extended(train: Train, tmp_path_factory: pytest.TempPathFactory) -> StyleModel:
    """The gallery, and a new style of which only the affine pairs were trained."""
    folder = tmp_path_factory.mktemp("extended")
    return StyleModel.load(train(folder, start_from="starry_night", affine_only=True))


def paint(model: StyleModel, photo: Tensor, styles: str | dict[str, float]) -> Tensor:
    painted: Tensor = model.network(photo, model.style_weights(styles))
    return painted


def test_a_model_of_two_styles_paints_each(two: Path, photo: Tensor) -> None:
    model = StyleModel.load(two / "both.safetensors")
    assert model.style_names == ["swirls", "ink"]
    assert (paint(model, photo, "swirls") - paint(model, photo, "ink")).abs().mean() > 1e-5


def test_a_blend_of_one_and_nothing_is_the_single_style(two: Path, photo: Tensor) -> None:
    model = StyleModel.load(two / "both.safetensors")
    blend = paint(model, photo, {"swirls": 1.0, "ink": 0.0})
    assert torch.equal(blend, paint(model, photo, "swirls"))
    between = paint(model, photo, {"swirls": 0.5, "ink": 0.5})
    assert not torch.equal(between, blend)


def test_dull_paintings_are_prepared_by_default_and_said_once(
    train: Train,
    paintings: dict[str, Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    dull = tmp_path / "dull.png"
    save_image(0.4 * load_image(paintings["swirls"], size=128) + 0.3, dull)
    given = {"style": {"dull": dull, "ink": paintings["ink"]}, "name": "both", "steps": 1}
    crops = {"ink": "200x100+10+20"}
    caplog.set_level("INFO", "nst_rt")
    first, second = (
        StyleModel.load(train(tmp_path / folder, style_crop=crops, **given, **more))
        for folder, more in {"prepared": {}, "as_it_is": {"prepare": False}}.items()
    )
    said = [r.getMessage() for r in caplog.records if r.getMessage().startswith("style image")]
    assert ["stretched" in line for line in said] == [True, True, False, False]
    assert ["200x100+10+20" in line for line in said] == [False, True, False, True]
    done = first.training["style_images"]
    assert (done["dull"]["stretched"], done["ink"]["crop"]) == (True, crops["ink"])
    assert done["dull"]["luma_deviation"][1] > 2 * done["dull"]["luma_deviation"][0]
    assert second.training["style_images"]["dull"]["stretched"] is False
    assert second.training["recipe"]["prepare"] is False
    assert first.training["losses"]["style"] != second.training["losses"]["style"]


def test_one_crop_for_several_paintings_is_an_error(
    train: Train, paintings: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"NAME=80x80\+0\+0"):
        train(tmp_path, style=paintings, name="both", style_crop="80x80+0+0")
    assert not any(tmp_path.iterdir())


def test_styles_are_trained_on_evenly_and_logged_by_name(two: Path) -> None:
    [file] = (two / "runs" / "both" / "tensorboard").glob("events.out.tfevents.*")
    events = EventAccumulator(str(file)).Reload()
    for name in ("swirls", "ink"):
        assert [event.step for event in events.Scalars(f"style/{name}")] == list(range(6))


def test_shares_of_the_total_are_logged_and_add_up(two: Path) -> None:
    [file] = (two / "runs" / "both" / "tensorboard").glob("events.out.tfevents.*")
    events = EventAccumulator(str(file)).Reload()
    terms = ("content", "style", "tv", "grid", "motion")
    shares = {term: [event.value for event in events.Scalars(f"share/{term}")] for term in terms}
    for step in zip(*shares.values(), strict=True):
        assert sum(step) == pytest.approx(1, abs=1e-4)
    assert all(0 < share < 1 for share in shares["grid"])


def test_sample_grids_have_a_column_for_each_style(two: Path) -> None:
    grid = sorted((two / "runs" / "both" / "samples").iterdir())[-1]
    assert load_image(grid).shape[-1] == 3 * 64 + 4 * 4


def test_a_new_style_leaves_the_others_bit_by_bit(extended: StyleModel) -> None:
    base, _ = find_style("starry_night")
    assert extended.style_names == ["swirls", *base.style_names]
    before, after = base.network.state_dict(), extended.network.state_dict()
    for key, value in after.items():
        assert torch.equal(value[1:], before[key]), key
        assert torch.equal(value[0], before[key][0]) != is_affine(key), key


def test_the_other_styles_paint_as_before(extended: StyleModel, photo: Tensor) -> None:
    base, _ = find_style("starry_night")
    old = paint(base, photo, "starry_night")
    torch.testing.assert_close(paint(extended, photo, "starry_night"), old, atol=1e-6, rtol=0)
    assert (paint(extended, photo, "swirls") - old).abs().mean() > 1e-3


def test_the_record_names_what_it_was_started_from(extended: StyleModel) -> None:
    base, _ = find_style("starry_night")
    record = extended.record("swirls")
    assert record["start_from"] == "starry_night"
    assert record["recipe"]["ema_decay"] == 0.95  # of the recipe for new styles
    assert extended.history("swirls")[:-1] == base.history("starry_night")
    for name in base.style_names:
        assert extended.record(name) == base.record(name)


def test_training_the_whole_network_keeps_the_new_style_only(train: Train, tmp_path: Path) -> None:
    model = StyleModel.load(train(tmp_path, start_from="gallery"))
    assert model.style_names == ["swirls"]
    assert model.network.shared
    base, _ = find_style("starry_night")
    key = "net.encode.conv.weight"
    for weights in base.network.state_dict()[key]:
        assert not torch.equal(model.network.state_dict()[key], weights)


def test_a_model_file_can_be_started_from(train: Train, two: Path, tmp_path: Path) -> None:
    start = f"{two / 'both.safetensors'}:ink"
    model = StyleModel.load(
        train(tmp_path, start_from=start, name="third", steps=1, affine_only=True)
    )
    assert model.style_names == ["third", "swirls", "ink"]
    assert model.record("third")["start_from"] == "both.safetensors:ink"
    assert len(model.history("third")) == 2


@pytest.fixture
def base(
    two: Path, paintings: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> StyleModel:
    """A gallery of two styles that tell what their paintings are like."""
    model = StyleModel.load(two / "both.safetensors")
    styles = tuple(
        replace(style, fingerprint=fingerprint(load_image(paintings[style.name])))
        for style in model.styles
    )
    model = replace(model, styles=styles)
    file = model.save(tmp_path / "gallery.safetensors")
    monkeypatch.setattr("nst_rt.train.start._GALLERY_STYLE", str(file))
    return model


def test_a_new_style_starts_as_the_one_whose_painting_is_most_like_its_own(
    base: StyleModel, paintings: dict[str, Path], train: Train, tmp_path: Path
) -> None:
    for name, painting in paintings.items():
        settings = {"model.learning_rate": 1e-9, "model.ema_decay": 0.0}
        output = train(
            tmp_path,
            style=painting,
            name="new",
            start_from="gallery",
            steps=1,
            settings=settings,
            overwrite=True,
        )
        row = base.style_names.index(name)
        for key, value in StyleModel.load(output).network.state_dict().items():
            if is_affine(key):
                start = base.network.state_dict()[key][row]
                torch.testing.assert_close(value[0], start, atol=1e-3, rtol=0)


def test_what_is_cut_off_a_painting_does_not_choose_the_start(
    base: StyleModel, paintings: dict[str, Path], tmp_path: Path
) -> None:
    """One painting beside more of another, of which the first is used."""
    swirls, ink = (resize(load_image(paintings[name]), 320) for name in ("swirls", "ink"))
    height = min(swirls.shape[-2], ink.shape[-2])
    parts = [each[..., :height, :] for each in (swirls[..., :160], ink, ink)]
    save_image(torch.cat(parts, -1), tmp_path / "both.png")
    for crop, closest in ((None, "ink"), (Crop(160, height, 0, 0), "swirls")):
        crops = {"new": crop} if crop else {}
        painting = {"new": str(tmp_path / "both.png")}
        start = started("gallery", (Style("new"),), painting, crops, affine_only=False)
        row = base.style_names.index(closest)
        for key, value in start.network.state_dict().items():
            if is_affine(key):
                assert torch.equal(value[0], base.network.state_dict()[key][row])


def test_the_whole_network_goes_on_with_styles_that_it_has(
    train: Train, two: Path, paintings: dict[str, Path], tmp_path: Path
) -> None:
    start = StyleModel.load(two / "both.safetensors")
    file = train(
        tmp_path,
        style={"new": paintings["ink"], "ink": paintings["ink"]},
        name="on",
        start_from=two / "both.safetensors",
        steps=1,
        settings={"model.learning_rate": 1e-9, "model.ema_decay": 0.0},
    )
    model = StyleModel.load(file)
    assert model.style_names == ["new", "ink"]
    ink, first = start.style_names.index("ink"), 0
    for key, value in model.network.state_dict().items():
        if is_affine(key):
            before = start.network.state_dict()[key]
            torch.testing.assert_close(value, before[[first, ink]], atol=1e-3, rtol=0)


def test_affine_pairs_have_a_learning_rate_of_their_own(train: Train, tmp_path: Path) -> None:
    slow = {"model.learning_rate": 1e-6, "model.ema_decay": 0}
    before = StyleModel.load(train(tmp_path / "slow", settings=slow)).network.state_dict()
    fast = slow | {"model.affine_factor": 1000}
    after = StyleModel.load(train(tmp_path / "fast", settings=fast)).network.state_dict()
    for key, value in after.items():
        difference = (value - before[key]).abs().max()
        assert difference > 1e-3 if is_affine(key) else difference < 1e-4, key


@pytest.mark.parametrize("warm_up", [0, 1 / STEPS, 1])
def test_the_learning_rate_may_rise_for_any_part_of_the_training(
    train: Train, tmp_path: Path, warm_up: float
) -> None:
    assert train(tmp_path, settings={"model.warm_up": warm_up}).is_file()


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        (
            {"name": "starry_night", "affine_only": True},
            InputError,
            "has a style 'starry_night' already",
        ),
        ({"start_from": "stary_night"}, UnknownNameError, "did you mean 'starry_night'"),
        ({"architecture": "classic"}, InputError, "its own architecture"),
    ],
)
def test_a_start_that_cannot_be_is_an_error(
    train: Train, tmp_path: Path, changes: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        train(tmp_path, **{"start_from": "starry_night"} | changes)
    assert not any(tmp_path.iterdir())


def test_several_styles_need_a_name(
    train: Train, paintings: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="give --name"):
        train(tmp_path, style=paintings, name=None)
