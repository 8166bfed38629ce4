"""Several styles in one network, and new styles from a trained network."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_training import STEPS, Train
from torch import Tensor

from nst_rt.images.convert import resize
from nst_rt.images.io import load_image, save_image
from nst_rt.images.style_image import Crop
from nst_rt.metrics.fingerprint import fingerprint
from nst_rt.models.style_model import Style, StyleModel, find_style
from nst_rt.models.transformer import is_affine
from nst_rt.train.start import from_trained

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module")
def style_images(painting: Path) -> dict[str, Path]:
    return {name: painting.parent / f"{name}.jpg" for name in ("swirls", "ink")}


@pytest.fixture(scope="module")
def two(
    train: Train, style_images: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Folder of a run of two styles."""
    folder = tmp_path_factory.mktemp("two")
    train(
        folder,
        style_image=style_images,
        name="both",
        output=folder / "both.safetensors",
        model={"learning_rate": 0.02, "ema_decay": 0, "grid_weight": 1000},
        trainer={"log_every_n_steps": 1},
    )
    return folder


@pytest.fixture(scope="module")
def extended(train: Train, tmp_path_factory: pytest.TempPathFactory) -> StyleModel:
    """The style `starry_night` and a new one whose affine pairs alone were trained."""
    folder = tmp_path_factory.mktemp("extended")
    return train(folder, start_from="starry_night", affine_only=True)


def stylize(model: StyleModel, content: Tensor, styles: str | dict[str, float]) -> Tensor:
    stylized: Tensor = model.network(content, model.style_vector(styles))
    return stylized


def test_styles_of_one_model_differ_and_blend(two: Path, photo: Tensor) -> None:
    model = StyleModel.load(two / "both.safetensors")
    assert model.style_names == ["swirls", "ink"]
    assert (stylize(model, photo, "swirls") - stylize(model, photo, "ink")).abs().mean() > 1e-5
    blend = stylize(model, photo, {"swirls": 1.0, "ink": 0.0})
    assert torch.equal(blend, stylize(model, photo, "swirls"))
    between = stylize(model, photo, {"swirls": 0.5, "ink": 0.5})
    assert not torch.equal(between, blend)


@pytest.mark.slow
def test_dull_style_images_are_prepared_and_logged(
    train: Train,
    style_images: dict[str, Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    dull = tmp_path / "dull.png"
    save_image(0.4 * load_image(style_images["swirls"], size=128) + 0.3, dull)
    given: dict[str, Any] = {
        "style_image": {"dull": dull, "ink": style_images["ink"]},
        "name": "both",
        "steps": 1,
    }
    crops = {"ink": "200x100+10+20"}
    caplog.set_level("INFO", "nst_rt")
    first, second = (
        (train(tmp_path / folder, style_crop=crops, **given, **more))
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


def test_losses_are_logged_by_style_and_shares_add_up(two: Path) -> None:
    [file] = (two / "runs" / "both" / "tensorboard").glob("events.out.tfevents.*")
    events = EventAccumulator(str(file)).Reload()
    for name in ("swirls", "ink"):
        assert [event.step for event in events.Scalars(f"style/{name}")] == list(range(6))
    terms = ("content", "style", "tv", "grid", "motion")
    shares = {term: [event.value for event in events.Scalars(f"share/{term}")] for term in terms}
    for step in zip(*shares.values(), strict=True):
        assert sum(step) == pytest.approx(1, abs=1e-4)
    assert all(0 < share < 1 for share in shares["grid"])


def test_sample_grids_have_a_column_per_style(two: Path) -> None:
    grid = sorted((two / "runs" / "both" / "samples").iterdir())[-1]
    assert load_image(grid).shape[-1] == 3 * 64 + 4 * 4


def test_affine_only_keeps_other_styles_bit_for_bit(extended: StyleModel) -> None:
    base, _ = find_style("starry_night")
    assert extended.style_names == ["swirls", *base.style_names]
    before, after = base.network.state_dict(), extended.network.state_dict()
    for key, value in after.items():
        assert torch.equal(value[1:], before[key]), key
        assert torch.equal(value[0], before[key][0]) != is_affine(key), key


def test_record_names_the_trained_network(extended: StyleModel) -> None:
    base, _ = find_style("starry_night")
    record = extended.record("swirls")
    assert record["start_from"] == "starry_night"
    assert record["recipe"]["ema_decay"] == 0.95  # of the recipe for new styles
    assert extended.history("swirls")[:-1] == base.history("starry_night")
    for name in base.style_names:
        assert extended.record(name) == base.record(name)


@pytest.mark.slow
def test_training_all_weights_keeps_new_style_only(train: Train, tmp_path: Path) -> None:
    model = train(tmp_path, start_from="gallery")
    assert model.style_names == ["swirls"]
    assert model.network.shared
    base, _ = find_style("starry_night")
    key = "net.encode.conv.weight"
    for weights in base.network.state_dict()[key]:
        assert not torch.equal(model.network.state_dict()[key], weights)


def test_training_starts_from_a_model_file(train: Train, two: Path, tmp_path: Path) -> None:
    start = f"{two / 'both.safetensors'}:ink"
    model = train(tmp_path, start_from=start, name="third", steps=1, affine_only=True)
    assert model.style_names == ["third", "swirls", "ink"]
    assert model.record("third")["start_from"] == "both.safetensors:ink"
    assert len(model.history("third")) == 2


@pytest.mark.slow
def test_gallery_starts_from_style_with_most_similar_image_or_crop(
    two: Path, style_images: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The image shows one style image beside two copies of another."""
    base = StyleModel.load(two / "both.safetensors")
    images = {name: load_image(file) for name, file in style_images.items()}
    styles = tuple(replace(s, fingerprint=fingerprint(images[s.name])) for s in base.styles)
    gallery = replace(base, styles=styles).save(tmp_path / "gallery.safetensors")
    monkeypatch.setattr("nst_rt.train.start.GALLERY_STYLE", str(gallery))
    swirls, ink = (resize(images[name], 320) for name in ("swirls", "ink"))
    height = min(swirls.shape[-2], ink.shape[-2])
    parts = [each[..., :height, :] for each in (swirls[..., :160], ink, ink)]
    save_image(torch.cat(parts, -1), tmp_path / "both.png")
    for crop, closest in ((None, "ink"), (Crop(160, height, 0, 0), "swirls")):
        crops = {"new": crop} if crop else {}
        image = {"new": str(tmp_path / "both.png")}
        start = from_trained("gallery", (Style("new"),), image, crops, affine_only=False)
        row = base.style_names.index(closest)
        for key, value in start.network.state_dict().items():
            if is_affine(key):
                assert torch.equal(value[0], base.network.state_dict()[key][row])


def test_known_styles_continue_from_their_own_weights(
    train: Train, two: Path, style_images: dict[str, Path], tmp_path: Path
) -> None:
    start = StyleModel.load(two / "both.safetensors")
    model = train(
        tmp_path,
        style_image={"new": style_images["ink"], "ink": style_images["ink"]},
        name="on",
        start_from=two / "both.safetensors",
        steps=1,
        model={"learning_rate": 1e-9, "ema_decay": 0.0},
    )
    assert model.style_names == ["new", "ink"]
    ink, first = start.style_names.index("ink"), 0
    for key, value in model.network.state_dict().items():
        if is_affine(key):
            before = start.network.state_dict()[key]
            torch.testing.assert_close(value, before[[first, ink]], atol=1e-3, rtol=0)


@pytest.mark.slow
def test_affine_factor_scales_learning_rate_of_affine_pairs(train: Train, tmp_path: Path) -> None:
    slow = {"learning_rate": 1e-6, "ema_decay": 0}
    before = train(tmp_path / "slow", model=slow).network.state_dict()
    after = train(tmp_path / "fast", model=slow | {"affine_factor": 1000}).network.state_dict()
    for key, value in after.items():
        difference = (value - before[key]).abs().max()
        assert difference > 1e-3 if is_affine(key) else difference < 1e-4, key


@pytest.mark.slow
@pytest.mark.parametrize("warm_up", [0, 1 / STEPS, 1])
def test_warm_up_may_be_any_fraction(train: Train, tmp_path: Path, warm_up: float) -> None:
    assert train(tmp_path, model={"warm_up": warm_up}).training["steps"] == STEPS
