import io
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from optimizer_runs import QUICK, SHALLOW
from PIL import Image
from torch import Tensor

from nst_rt.errors import InputError, NotFiniteError, UnknownNameError, WeightsError
from nst_rt.images.convert import resize
from nst_rt.images.io import load_image
from nst_rt.images.style_image import load_style_image
from nst_rt.learning.request import LearningRequest
from nst_rt.losses import (
    TRAINING_CONTENT_FOCUS,
    TRAINING_CONTENT_LAYERS,
    TRAINING_STYLE_LAYERS,
    TRAINING_TV_WEIGHT,
    PerceptualLoss,
    gram_errors,
    gram_matrix,
)
from nst_rt.models.vgg import VGG19Features
from nst_rt.optimization.inputs import TensorOrFile
from nst_rt.optimization.optimizer import Iterate, Optimization, optimize
from nst_rt.optimization.presets import PRESETS, PresetName


def started(content: TensorOrFile, style: TensorOrFile | list[Any], **changes: Any) -> Optimization:
    """Shallow layers of a small image."""
    settings = QUICK | {"steps": 2, "dtype": torch.float32}
    return Optimization(content, style, **settings | changes)


def quick(content: TensorOrFile, style: TensorOrFile | list[Any], **changes: Any) -> list[Iterate]:
    return list(started(content, style, **changes))


def copied(iterates: Iterator[Iterate]) -> list[Iterate]:
    """The iterates as they were when they were handed out."""
    return [replace(iterate, image=iterate.image.clone()) for iterate in iterates]


def saved_and_loaded(optimization: Optimization) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(optimization.state_dict(), file)
    file.seek(0)
    state: dict[str, Any] = torch.load(file, weights_only=True)
    return state


@pytest.mark.slow
def test_lbfgs_lowers_the_loss_fivefold_in_30_steps(astronaut: Path, painting: Path) -> None:
    start, *_, last = iterates = list(Optimization(astronaut, painting, steps=30, size=96))
    assert torch.equal(start.image, load_image(astronaut, size=96))
    assert start.content == 0
    assert [iterate.step for iterate in iterates] == list(range(31))
    assert {iterate.steps for iterate in iterates} == {30}
    assert min(float(iterate.image.min()) for iterate in iterates) >= 0
    assert max(float(iterate.image.max()) for iterate in iterates) <= 1
    assert last.total < start.total / 5
    assert last.style < start.style / 5
    assert last.content < 1


@pytest.mark.slow
def test_adam_lowers_the_loss_threefold_in_30_steps(astronaut: Path, painting: Path) -> None:
    start, *_, last = Optimization(astronaut, painting, optimizer="adam", steps=30, size=64)
    assert last.total < start.total / 3


def test_optimize_returns_the_last_iterate(photo: Tensor) -> None:
    settings: dict[str, Any] = {"size": 48, "steps": 2, "content_layers": SHALLOW}
    settings |= {"style_layers": SHALLOW, "dtype": torch.float32}
    calls: list[tuple[float, float | None, str]] = []
    image = optimize(photo, photo.flip(1), progress=lambda *call: calls.append(call), **settings)
    *_, last = Optimization(photo, photo.flip(1), **settings)
    assert torch.equal(image, last.image)
    assert [done / total for done, total, _ in calls if total] == [0, 0.5, 1]
    assert "step 2/2" in calls[-1][2]


def test_progress_counts_pixels(photo: Tensor) -> None:
    progress = [i.progress for i in quick(photo, photo, steps=[2, 4], min_size=24)]
    # Two steps of a quarter of the pixels, and four of all: 18 quarters.
    assert progress == pytest.approx([part / 18 for part in (0, 1, 2, 6, 10, 14, 18)])


def test_losses_belong_to_their_iterate(photo: Tensor) -> None:
    style = photo.flip(1)
    features = VGG19Features(["relu1_1"])
    target = gram_matrix(features(style)["relu1_1"])
    for iterate in quick(photo, style, size=96, content_weight=2, style_weight=3, tv_weight=5):
        total = 2 * iterate.content + 3 * iterate.style + 5 * iterate.tv
        assert iterate.total == pytest.approx(total, rel=1e-4)
        gram = gram_matrix(features(iterate.image)["relu1_1"])
        assert iterate.style == pytest.approx(gram_errors(gram, target).item(), rel=1e-3)


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_files_and_tensors_give_equal_results(
    astronaut: Path, painting: Path, optimizer: str
) -> None:
    from_files = quick(str(astronaut), painting, optimizer=optimizer)
    content, style = load_image(astronaut), load_image(painting)
    before = content.clone()
    from_tensors = quick(content, style, optimizer=optimizer)
    for one, other in zip(from_files, from_tensors, strict=True):
        assert torch.equal(one.image, other.image)
        assert one.total == other.total
    assert torch.equal(content, before)


def test_channels_last_tensors(photo: Tensor) -> None:
    style = photo.flip(1)
    plain = quick(photo, style, size=96)
    content = photo.contiguous(memory_format=torch.channels_last)
    for one, other in zip(plain, quick(content, style, size=96), strict=True):
        torch.testing.assert_close(one.image, other.image, atol=1e-3, rtol=0)


def test_adam_steps_are_as_long_as_the_learning_rate(photo: Tensor) -> None:
    def way(learning_rate: float) -> Tensor:
        _, iterate, _ = quick(
            photo, photo.flip(1), size=96, optimizer="adam", learning_rate=learning_rate
        )
        return (iterate.image - photo).abs().max()

    assert way(0.01) == pytest.approx(0.01, rel=1e-2)
    assert way(0.1) == pytest.approx(0.1, rel=1e-2)


def test_attributes_before_the_first_step(photos: Path, painting: Path) -> None:
    optimization = started(
        photos / "rocket.jpg", painting, preset="keras", size=64, steps=[3, 2], min_size=16
    )
    assert optimization.settings == replace(
        PRESETS["keras"],
        steps=(3, 2),
        min_size=16,
        content_layers=SHALLOW,
        style_layers=SHALLOW,
    )
    assert optimization.shape == (43, 64)
    assert optimization.steps == 7
    assert optimization.plan.tile is None
    assert optimization.plan.peak > 0
    assert optimization.best is None


def test_scales_go_from_coarse_to_fine(photos: Path, painting: Path) -> None:
    iterates = quick(photos / "coffee.png", painting, size=60, steps=[3, 2], min_size=15)
    sizes = [iterate.image.shape[-2:] for iterate in iterates]
    assert sizes == [(10, 15)] * 3 + [(20, 30)] * 2 + [(40, 60)] * 3
    assert [iterate.step for iterate in iterates] == list(range(8))


@pytest.mark.parametrize("preset", ["balanced", "multiscale"])
def test_result_has_the_content_images_shape_despite_rounded_scales(
    photos: Path, painting: Path, preset: str
) -> None:
    # 43x64 px are 21.5 px high at half the size, 11 at a quarter.
    *_, last = quick(photos / "rocket.jpg", painting, size=64, preset=preset, min_size=16)
    assert last.image.shape == (1, 3, 43, 64)
    assert last.image.dtype == torch.float32
    assert not last.image.requires_grad


@pytest.mark.parametrize("min_size", [24, 48])
def test_result_is_the_best_iterate_of_the_last_scale(photo: Tensor, min_size: int) -> None:
    # Steps as long as the range of the pixels only do harm.
    optimization = started(
        photo, photo.flip(1), optimizer="adam", learning_rate=1.0, steps=3, min_size=min_size
    )
    *iterates, last = optimization
    finest = [iterate for iterate in iterates if iterate.image.shape[-1] == 48]
    lowest = min(finest, key=lambda iterate: iterate.total)
    assert lowest is finest[0]
    assert last.step == last.steps
    assert last.total == lowest.total
    assert torch.equal(last.image, lowest.image)
    assert optimization.best is not None
    assert torch.equal(optimization.best.image, last.image)


def test_scale_starts_from_the_best_of_the_previous_one(photo: Tensor) -> None:
    iterates = quick(
        photo, photo.flip(1), optimizer="adam", learning_rate=0.3, steps=6, min_size=24
    )
    coarse, first = iterates[:6], iterates[6]
    best = min(coarse, key=lambda iterate: iterate.total)
    shrunk = torch.nn.functional.avg_pool2d(first.image, 2)
    errors = [float((shrunk - iterate.image).square().mean()) for iterate in coarse]
    assert min(errors) == errors[best.step]


def test_first_averaged_iterate_is_the_mean_of_two(photo: Tensor) -> None:
    start, first, *_ = copied(started(photo, photo.flip(1), size=96, preset="multiscale"))
    # Adam's first step is 0.02 long, and its mean with the start half of that.
    assert (first.image - start.image).abs().max() == pytest.approx(0.01, rel=0.01)


def test_best_with_averaging_is_the_latest(photo: Tensor) -> None:
    optimization = started(photo, photo.flip(1), preset="multiscale", size=64, min_size=31)
    for iterate in optimization:
        assert optimization.best is not None
        assert torch.equal(optimization.best.image, iterate.image)


def test_adam_moments_carry_over_to_the_next_scale(photo: Tensor) -> None:
    optimization = started(
        photo, photo.flip(1), preset="multiscale", size=64, steps=[4, 3], min_size=31
    )
    next(optimization)
    moments = []
    for iterate, size in zip(optimization, [32] * 3 + [45] * 3 + [64] * 3, strict=False):
        assert iterate.image.shape[-1] == size
        state = saved_and_loaded(optimization)["stepper"]["state"][0]
        assert state["step"] == iterate.step
        # Gradients of means: where there are more pixels, there is less for each.
        moments.append(float(state["exp_avg"].abs().mean()) * size**2)
    for earlier, later in pairwise(moments[1:]):
        assert 1 < later / earlier < 1.5


@pytest.mark.parametrize("preset", ["balanced", "keras", "multiscale"])
def test_loaded_state_continues_bit_for_bit(photo: Tensor, preset: str) -> None:
    def start() -> Optimization:
        return started(
            photo, photo.flip(1), preset=preset, steps=[4, 3], min_size=24, learning_rate=0.1
        )

    optimization = start()
    uninterrupted, states = [], []
    for iterate in optimization:
        uninterrupted += copied(iter([iterate]))
        states.append(saved_and_loaded(optimization))
    scales = {"balanced": 2, "keras": 2, "multiscale": 3}[preset]
    assert len(uninterrupted) == 4 + 3 * (scales - 1) + 1
    # At the start, within a scale, at its last step, at the next one's first, and near the end.
    for step in (0, 2, 3, 4, len(uninterrupted) - 2):
        resumed = start()
        resumed.load_state_dict(states[step])
        assert resumed.best is not None
        if preset != "multiscale":  # which keeps an average
            done = uninterrupted[: step + 1]
            best = max(done, key=lambda i: (i.image.shape[-1], -i.total, i.step))
            assert resumed.best.step == best.step
        rest = copied(resumed)
        assert [iterate.step for iterate in rest] == list(range(step + 1, len(uninterrupted)))
        for one, other in zip(rest, uninterrupted[step + 1 :], strict=True):
            assert torch.equal(one.image, other.image)
            assert replace(one, image=other.image) == other


@pytest.mark.parametrize(
    "other",
    [
        {"size": 40},
        {"steps": [4, 2]},
        {"min_size": 48},
        {"content": (64, 96)},
    ],
)
def test_state_of_other_sizes_or_steps_is_an_error(photo: Tensor, other: dict[str, Any]) -> None:
    settings = {"steps": [4, 3], "min_size": 24}
    optimization = started(photo, photo.flip(1), **settings)
    next(optimization)
    state = saved_and_loaded(optimization)
    height, width = other.pop("content", (96, 96))
    changed = started(photo[..., :height, :width], photo.flip(1), **settings | other)
    with pytest.raises(InputError, match="sizes"):
        changed.load_state_dict(state)


def test_mask_confines_a_style_to_its_region(photo: Tensor, painting: Path, tmp_path: Path) -> None:
    picture = Image.new("RGB", (96, 96), "red")
    picture.paste("blue", (48, 0, 96, 96))
    picture.save(tmp_path / "regions.png")
    layers = {"relu1_1": 1.0, "relu2_1": 1.0}
    start, *_, last = quick(
        photo,
        painting,
        size=96,
        steps=20,
        style_layers=layers,
        content_mask=tmp_path / "regions.png",
        style_masks=["red"],
    )
    features = VGG19Features(list(layers))
    of_style = features(load_image(painting, size=96))

    def distance(iterate: Iterate) -> float:
        left = features(iterate.image[..., :48])
        return sum(
            gram_errors(gram_matrix(left[k]), gram_matrix(of_style[k])).item() for k in layers
        )

    assert distance(last) < distance(start) / 10
    change = (last.image - start.image).abs().mean((0, 1, 2))
    assert change[:46].mean() > 0.1
    # The edge is soft; beyond it the content image is unchanged.
    assert change[52:].max() == 0


@pytest.mark.slow
def test_loss_of_preset_training_is_that_of_trainings(astronaut: Path, painting: Path) -> None:
    settings = {"preset": "training", "size": 160, "style_size": 400, "style_weight": 3.0}
    start = next(Optimization(astronaut, painting, **settings, dtype=torch.float32))
    loss = PerceptualLoss(
        content_layers=TRAINING_CONTENT_LAYERS,
        style_layers=TRAINING_STYLE_LAYERS,
        content_weight=1.0,
        style_weight=3.0,
        tv_weight=TRAINING_TV_WEIGHT,
        content_focus=TRAINING_CONTENT_FOCUS,
        dtype=torch.float32,
    )
    content = load_image(astronaut, size=160)
    style = resize(load_style_image(painting, 400).image, 64)  # 400 px where the result has 1000
    terms = loss(start.image, loss.content_target(content), loss.style_target(style))
    for name in ("content", "style", "tv", "total"):
        assert getattr(start, name) == pytest.approx(getattr(terms, name).item(), rel=1e-3)


@pytest.mark.slow
def test_preview_has_the_style_size_of_what_is_learned(
    astronaut: Path, painting: Path, tmp_path: Path
) -> None:
    ink = Image.open(painting.with_name("ink.jpg")).resize((1500, 1200))
    ink.putalpha(Image.linear_gradient("L").resize(ink.size))
    ink.save(faded := tmp_path / "faded.png")
    mosaic = painting.with_name("mosaic.jpg")
    settings: dict[str, Any] = {"preset": "training", "size": 96, "steps": 1}
    for style in (faded, load_image(faded), mosaic, [faded, mosaic]):
        size = LearningRequest.of(style).style_size
        chosen, same = (
            Optimization(astronaut, style, **settings, **more)
            for more in ({}, {"style_size": size})
        )
        assert chosen.settings == same.settings
        assert next(chosen).style == next(same).style
    one, other = (
        Optimization(astronaut, [faded, mosaic], **settings, blend=blend).settings.style_size
        for blend in ([1, 9], [9, 1])
    )
    assert one > other


def test_noise_is_reproducible(photo: Tensor) -> None:
    one, same, other = (quick(photo, photo.flip(1), init="noise", seed=seed) for seed in (3, 3, 4))
    assert torch.equal(one[-1].image, same[-1].image)
    assert (one[0].image - other[0].image).abs().mean() == pytest.approx(1 / 3, rel=0.1)
    assert one[0].image.mean() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    ("settings", "error", "word"),
    [
        ({"steps": 0}, InputError, "steps"),
        ({"steps": []}, InputError, "steps"),
        ({"size": -3}, InputError, "-3"),
        ({"size": 15}, InputError, "15x15"),
        # Before VGG19's weights are read.
        ({"size": 20000, "memory": 4, "vgg_weights": "missing.bin"}, InputError, "20000x20000"),
        ({"content_layers": {"relu4_9": 1.0}}, UnknownNameError, "relu4_9"),
        ({"seed": 2**64}, InputError, "seed"),
        ({"init": "missing.png"}, InputError, "missing.png"),
        ({"style_size": 512}, InputError, "training"),
        ({"preset": "training", "style_scale": 2.0}, InputError, "style_scale"),
    ],
)
def test_bad_setting(
    photo: Tensor, settings: dict[str, Any], error: type[Exception], word: str
) -> None:
    with pytest.raises(error, match=word):
        Optimization(photo, photo, **settings)


@pytest.mark.parametrize("preset", ["balanced", "training"])
def test_no_style_image(photo: Tensor, preset: PresetName) -> None:
    with pytest.raises(InputError, match="style"):
        Optimization(photo, [], preset=preset)


def test_bad_files(photo: Tensor, astronaut: Path, tmp_path: Path) -> None:
    missing = tmp_path / "missing.png"
    for images in ((missing, photo), (photo, missing)):
        with pytest.raises(InputError, match=r"missing\.png"):
            Optimization(*images)
    with pytest.raises(InputError, match="-3"):
        Optimization(astronaut, photo, size=-3)
    with pytest.raises(WeightsError, match="astronaut"):
        Optimization(photo, photo, vgg_weights=str(astronaut))


def test_nan_loss_is_an_error(photo: Tensor) -> None:
    optimization = started(photo, photo, size=96)
    state = optimization.state_dict()
    state["pixels"][0, 0, 5, 5] = torch.nan
    optimization.load_state_dict(state)
    with pytest.raises(NotFiniteError, match="step 0"):
        next(optimization)
