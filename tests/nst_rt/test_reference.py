from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from nst_rt.errors import InputError, NotFiniteError, UnknownNameError, WeightsError
from nst_rt.images import load_image
from nst_rt.reference import OPTIMIZERS, Iterate, OptimizerName, optimize

SHALLOW = {"relu1_1": 1.0}


@pytest.fixture(scope="module")
def lbfgs(astronaut: Path, painting: Path) -> list[Iterate]:
    return list(optimize(astronaut, painting, steps=30, size=192))


def quick(
    content: Tensor | Path | str, style: Tensor | Path | str, **changes: Any
) -> list[Iterate]:
    """A few steps on shallow layers of a small image."""
    settings: dict[str, Any] = {
        "steps": 2,
        "size": 48,
        "content_layers": SHALLOW,
        "style_layers": SHALLOW,
        "dtype": torch.float32,
    }
    return list(optimize(content, style, **settings | changes))


def test_lbfgs_lowers_the_loss_fivefold_in_30_steps(lbfgs: list[Iterate]) -> None:
    assert lbfgs[-1].total < lbfgs[0].total / 5


def test_lbfgs_lowers_the_loss_fivefold_for_other_pictures(photos: Path, painting: Path) -> None:
    mosaic = painting.with_name("mosaic.jpg")
    *_, last = iterates = list(optimize(photos / "coffee.png", mosaic, steps=30, size=128))
    assert last.total < iterates[0].total / 5


def test_lbfgs_lowers_the_style_loss_fivefold_where_content_stands_against_it(
    photos: Path, painting: Path
) -> None:
    # A smooth photo has little content to measure against, so that a tenth of it is soon lost.
    *_, last = iterates = list(optimize(photos / "rocket.jpg", painting, steps=30, size=128))
    assert last.style < iterates[0].style / 5
    assert last.total < iterates[0].total / 2


def test_adam_lowers_the_loss_threefold_in_30_steps(astronaut: Path, painting: Path) -> None:
    *_, last = iterates = list(optimize(astronaut, painting, optimizer="adam", steps=30, size=128))
    assert last.total < iterates[0].total / 3


def test_style_comes_nearer_and_content_stays_near(lbfgs: list[Iterate]) -> None:
    assert lbfgs[-1].style < lbfgs[0].style / 5
    assert lbfgs[0].content < 0.01  # it starts from the content image
    assert lbfgs[-1].content < 1


def test_iterates_count_the_steps(lbfgs: list[Iterate]) -> None:
    assert [iterate.step for iterate in lbfgs] == list(range(1, 31))
    assert {iterate.steps for iterate in lbfgs} == {30}


def test_iterates_are_images_of_the_contents_shape(photos: Path, painting: Path) -> None:
    for iterate in quick(photos / "rocket.jpg", painting, size=64):
        assert iterate.image.shape == (1, 3, 43, 64)
        assert iterate.image.dtype == torch.float32
        assert not iterate.image.requires_grad


def test_pixels_stay_within_0_and_1(lbfgs: list[Iterate]) -> None:
    assert min(float(iterate.image.min()) for iterate in lbfgs) >= 0
    assert max(float(iterate.image.max()) for iterate in lbfgs) <= 1


def test_an_iterate_is_not_changed_by_the_steps_after_it(astronaut: Path, painting: Path) -> None:
    iterates = optimize(
        astronaut, painting, size=48, steps=3, content_layers=SHALLOW, style_layers=SHALLOW
    )
    first = next(iterates)
    kept = first.image.clone()
    *_, last = iterates
    assert torch.equal(first.image, kept)
    assert not torch.equal(first.image, last.image)


def test_total_is_the_weighted_sum_of_the_terms(astronaut: Path, painting: Path) -> None:
    for iterate in quick(astronaut, painting, content_weight=2, style_weight=3, tv_weight=5):
        total = 2 * iterate.content + 3 * iterate.style + 5 * iterate.tv
        assert iterate.total == pytest.approx(total, rel=1e-4)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_files_and_tensors_give_the_same(
    astronaut: Path, painting: Path, optimizer: OptimizerName
) -> None:
    from_files = quick(str(astronaut), painting, optimizer=optimizer)
    content, style = load_image(astronaut), load_image(painting)
    before = content.clone()
    from_tensors = quick(content, style, optimizer=optimizer)
    for one, other in zip(from_files, from_tensors, strict=True):
        assert torch.equal(one.image, other.image)
        assert one.total == other.total
    assert torch.equal(content, before)


def test_channels_last_tensors_work(photo: Tensor) -> None:
    style = photo.flip(1)
    plain = quick(photo, style, size=96)
    content = photo.contiguous(memory_format=torch.channels_last)
    for one, other in zip(plain, quick(content, style, size=96), strict=True):
        torch.testing.assert_close(one.image, other.image, atol=1e-3, rtol=0)


def test_a_larger_learning_rate_goes_further(photo: Tensor) -> None:
    def way(learning_rate: float) -> Tensor:
        (iterate,) = quick(
            photo, photo.flip(1), size=96, steps=1, optimizer="adam", learning_rate=learning_rate
        )
        return (iterate.image - photo).abs().max()

    assert way(0.01) == pytest.approx(0.01, rel=1e-2)
    assert way(0.1) == pytest.approx(0.1, rel=1e-2)


@pytest.mark.parametrize("steps", [0, -3])
def test_steps_must_be_positive(photo: Tensor, steps: int) -> None:
    with pytest.raises(InputError, match=f"steps must be positive, not {steps}"):
        optimize(photo, photo, steps=steps)


@pytest.mark.parametrize("size", [0, -3])
def test_size_must_be_positive(photo: Tensor, astronaut: Path, size: int) -> None:
    for content in (photo, astronaut):
        with pytest.raises(InputError, match=f"not {size}"):
            optimize(content, photo, size=size)


def test_size_must_leave_something_at_the_deepest_layer(photo: Tensor) -> None:
    with pytest.raises(InputError, match="too small for relu5_1"):
        optimize(photo, photo, size=15)


def test_unknown_optimizer_is_an_error_that_names_the_known(photo: Tensor) -> None:
    with pytest.raises(InputError, match=r"one of lbfgs, adam, not sgd"):
        optimize(photo, photo, optimizer=cast(OptimizerName, "sgd"))


@pytest.mark.parametrize("learning_rate", [0.0, -1.0, float("nan"), float("inf")])
def test_learning_rate_must_be_positive(photo: Tensor, learning_rate: float) -> None:
    with pytest.raises(InputError, match="learning rate must be positive"):
        optimize(photo, photo, learning_rate=learning_rate)


def test_unknown_layer_is_an_error(photo: Tensor) -> None:
    with pytest.raises(UnknownNameError, match="relu4_9"):
        optimize(photo, photo, content_layers={"relu4_9": 1.0})


def test_unusable_weights_are_an_error(photo: Tensor, astronaut: Path) -> None:
    with pytest.raises(WeightsError, match="astronaut"):
        optimize(photo, photo, vgg_weights=str(astronaut))


def test_missing_file_is_an_error_before_any_work(tmp_path: Path, photo: Tensor) -> None:
    with pytest.raises(InputError, match="no such file"):
        optimize(tmp_path / "missing.png", photo)
    with pytest.raises(InputError, match="no such file"):
        optimize(photo, tmp_path / "missing.png")


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_loss_that_is_not_finite_stops_the_work(photo: Tensor, optimizer: OptimizerName) -> None:
    content = photo.clone()
    content[0, 0, 5, 5] = torch.nan
    with pytest.raises(NotFiniteError, match="nan at step 1"):
        quick(content, photo, size=96, optimizer=optimizer)
