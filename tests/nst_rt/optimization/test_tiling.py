from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nst_rt.images.io import load_image
from nst_rt.losses import (
    LossTerms,
    absolute_variation,
    content_loss,
    gram_matrix,
    style_loss,
    total_variation,
)
from nst_rt.models.vgg import Pooling, VGG19Features
from nst_rt.optimization.inputs import StyleSource
from nst_rt.optimization.presets import Settings
from nst_rt.optimization.tiling import Objective, tiles

CONTENT_LAYERS = {"relu2_1": 1.0, "relu3_1": 3.0}
STYLE_LAYERS = {"relu1_1": 3.0, "relu2_1": 1.0}
SHALLOW = Settings(
    content_layers=CONTENT_LAYERS,
    style_layers=STYLE_LAYERS,
    content_weight=2.0,
    style_weight=3.0,
    tv_weight=5.0,
)


@pytest.fixture(scope="module")
def content(photos: Path) -> Tensor:
    """A photo whose sides are no multiples of anything, shape (1, 3, 131, 180)."""
    return load_image(photos / "coffee.png", size=200)[..., :131, :180]


@pytest.fixture(scope="module")
def style(painting: Path) -> StyleSource:
    return StyleSource(load_image(painting, size=97))


@pytest.fixture(scope="module")
def pastiche(content: Tensor) -> Tensor:
    """An image on the way: far from the content image, inside of [0, 1]."""
    return content.flip(1) * 0.5 + 0.2


@pytest.fixture(scope="module")
def features() -> VGG19Features:
    return VGG19Features([*CONTENT_LAYERS, *STYLE_LAYERS])


def halves(height: int, width: int) -> tuple[Tensor, Tensor]:
    """A soft left third, and the rest."""
    left = torch.linspace(2.0, -4.0, width).clamp(0, 1).expand(1, 1, height, width)
    return left, 1 - left


def relative_error(values: Tensor, target: Tensor) -> float:
    return float((values - target).abs().max() / target.abs().max())


def with_gradient(objective: Objective, image: Tensor) -> tuple[LossTerms, Tensor]:
    pixels = image.clone().requires_grad_()
    terms = objective.backward(pixels)
    assert pixels.grad is not None
    return terms, pixels.grad


def assert_tiled_equals_whole(
    tile: int,
    pastiche: Tensor,
    features: VGG19Features,
    settings: Settings,
    content: Tensor,
    styles: Sequence[StyleSource],
    regions: Sequence[Tensor],
) -> None:
    whole = Objective(features, settings, content, styles, regions)
    tiled = Objective(features, settings, content, styles, regions, tile=tile)
    assert len(tiled._tiles(content)) > 4
    assert len(tiled._tiles(styles[0].image)) > 1
    for ((_, grams),), ((_, tiled_grams),) in zip(whole._styles, tiled._styles, strict=True):
        for layer, gram in grams.items():
            assert relative_error(tiled_grams[layer], gram) < 1e-4
    terms, grad = with_gradient(whole, pastiche)
    tiled_terms, tiled_grad = with_gradient(tiled, pastiche)
    for name, term in vars(terms).items():
        assert getattr(tiled_terms, name).item() == pytest.approx(term.item(), rel=1e-4)
    assert relative_error(tiled_grad, grad) < 1e-4


@pytest.mark.parametrize(
    ("height", "width", "side", "margin", "step"),
    [
        (131, 180, 64, 78, 16),
        (131, 180, 48, 12, 4),
        (33, 49, 16, 78, 16),
        (17, 1000, 100, 1, 1),
        (16, 16, 512, 78, 16),
        (131, 180, None, 78, 16),
    ],
)
class TestTiles:
    def test_cores_cover_the_image_once(
        self, height: int, width: int, side: int | None, margin: int, step: int
    ) -> None:
        covered = torch.zeros(height, width)
        for tile in tiles(height, width, side, margin, step):
            top, bottom, left, right = tile.core
            covered[top:bottom, left:right] += 1
        assert torch.equal(covered, torch.ones(height, width))

    def test_windows_reach_beyond_their_cores_by_the_margin(
        self, height: int, width: int, side: int | None, margin: int, step: int
    ) -> None:
        for tile in tiles(height, width, side, margin, step):
            (top, bottom, left, right), window = tile.core, tile.window
            assert 0 <= window[0] <= max(top - margin, 0)
            assert 0 <= window[2] <= max(left - margin, 0)
            assert height >= window[1] >= min(bottom + margin, height)
            assert width >= window[3] >= min(right + margin, width)

    def test_edges_fall_between_the_deepest_activations(
        self, height: int, width: int, side: int | None, margin: int, step: int
    ) -> None:
        for tile in tiles(height, width, side, margin, step):
            for top, bottom, left, right in (tile.core, tile.window):
                assert top % step == left % step == 0
                assert bottom % step == 0 or bottom == height
                assert right % step == 0 or right == width

    def test_cores_are_no_larger_than_asked_for(
        self, height: int, width: int, side: int | None, margin: int, step: int
    ) -> None:
        for tile in tiles(height, width, side, margin, step):
            top, bottom, left, right = tile.core
            assert max(bottom - top, right - left) <= (side or max(height, width))


def test_tiled_equals_whole_down_to_the_deepest_layer(photos: Path, style: StyleSource) -> None:
    settings = Settings()
    features = VGG19Features([*settings.content_layers, *settings.style_layers])
    # A strip, of which a window is only a part, although relu5_1 sees 78 px to each side.
    strip = load_image(photos / "coffee.png", size=400)[..., 100:145, :331]
    pastiche, regions = strip.flip(1) * 0.5 + 0.2, halves(45, 331)[:1]
    assert_tiled_equals_whole(48, pastiche, features, settings, strip, [style], regions)


@pytest.mark.parametrize(
    ("pooling", "normalization", "regions"),
    [
        pytest.param("max", "relative", (), id="max"),
        pytest.param("max", "absolute", halves(131, 180)[:1], id="absolute, masked"),
        pytest.param("average", "absolute", (), id="average, absolute"),
        pytest.param("l2", "relative", halves(131, 180)[:1], id="l2, masked"),
    ],
)
def test_tiled_equals_whole(
    content: Tensor,
    style: StyleSource,
    pastiche: Tensor,
    pooling: Pooling,
    normalization: Any,
    regions: Sequence[Tensor],
) -> None:
    features = VGG19Features([*CONTENT_LAYERS, *STYLE_LAYERS], pooling=pooling)
    settings = replace(SHALLOW, normalization=normalization)
    assert_tiled_equals_whole(48, pastiche, features, settings, content, [style], regions)


def test_a_tile_too_thin_for_an_activation_adds_nothing(
    content: Tensor, style: StyleSource
) -> None:
    settings = Settings(content_layers={"relu5_1": 1.0}, style_layers={"relu5_1": 1.0})
    thin = content[..., :33, :49]  # the last tiles have 1 px
    styles = [StyleSource(style.image[..., :32, :17])]
    features = VGG19Features(["relu5_1"])
    assert_tiled_equals_whole(16, thin.flip(1), features, settings, thin, styles, [])


@pytest.mark.parametrize("tile", [None, 48])
def test_loss_is_the_same_with_and_without_a_gradient(
    content: Tensor, style: StyleSource, pastiche: Tensor, features: VGG19Features, tile: int | None
) -> None:
    objective = Objective(features, SHALLOW, content, [style], tile=tile)
    terms, _ = with_gradient(objective, pastiche)
    for name, term in vars(objective(pastiche)).items():
        assert not term.requires_grad
        torch.testing.assert_close(term, getattr(terms, name).detach())


@pytest.mark.parametrize("tile", [None, 48])
def test_gradient_is_added_to_what_is_there(
    content: Tensor, style: StyleSource, pastiche: Tensor, features: VGG19Features, tile: int | None
) -> None:
    objective = Objective(features, SHALLOW, content, [style], tile=tile)
    _, grad = with_gradient(objective, pastiche)
    pixels = pastiche.clone().requires_grad_()
    pixels.grad = torch.ones_like(pixels)
    objective.backward(pixels)
    torch.testing.assert_close(pixels.grad, grad + 1)


@pytest.mark.parametrize("normalization", ["relative", "absolute"])
def test_gradient_is_the_slope_of_the_loss(
    content: Tensor,
    style: StyleSource,
    pastiche: Tensor,
    features: VGG19Features,
    normalization: Any,
) -> None:
    # The absolute variation has kinks, which a finite step straddles.
    tv_weight = 5.0 if normalization == "relative" else 0.0
    settings = replace(SHALLOW, normalization=normalization, tv_weight=tv_weight)
    objective = Objective(features, settings, content, [style], halves(131, 180)[1:])
    _, grad = with_gradient(objective, pastiche)
    direction = grad / grad.norm()
    ahead, behind = (objective(pastiche + step * direction).total for step in (0.02, -0.02))
    torch.testing.assert_close((ahead - behind) / 0.04, grad.norm(), rtol=0.02, atol=0)


def test_terms_are_the_losses_of_their_layers(
    content: Tensor, style: StyleSource, pastiche: Tensor, features: VGG19Features
) -> None:
    terms = Objective(features, SHALLOW, content, [style])(pastiche)
    of_image, of_content, of_style = (features(x) for x in (pastiche, content, style.image))
    torch.testing.assert_close(
        terms.content,
        sum(w / 4 * content_loss(of_image[k], of_content[k]) for k, w in CONTENT_LAYERS.items()),
    )
    torch.testing.assert_close(
        terms.style,
        sum(
            w / 4 * style_loss(gram_matrix(of_image[k]), gram_matrix(of_style[k]))
            for k, w in STYLE_LAYERS.items()
        ),
    )
    torch.testing.assert_close(terms.tv, total_variation(pastiche))
    torch.testing.assert_close(terms.total, 2 * terms.content + 3 * terms.style + 5 * terms.tv)


def test_absolute_terms_are_mean_squares_and_a_sum_of_differences(
    content: Tensor, style: StyleSource, pastiche: Tensor, features: VGG19Features
) -> None:
    settings = replace(SHALLOW, normalization="absolute")
    terms = Objective(features, settings, content, [style])(pastiche)
    of_image, of_content, of_style = (features(x) for x in (pastiche, content, style.image))
    torch.testing.assert_close(
        terms.content,
        sum(w * (of_image[k] - of_content[k]).square().mean() for k, w in CONTENT_LAYERS.items()),
    )
    torch.testing.assert_close(
        terms.style,
        sum(
            w * (gram_matrix(of_image[k]) - gram_matrix(of_style[k])).square().mean()
            for k, w in STYLE_LAYERS.items()
        ),
    )
    torch.testing.assert_close(terms.tv, absolute_variation(pastiche))


def test_content_image_is_at_no_distance_from_itself(
    content: Tensor, features: VGG19Features
) -> None:
    terms = Objective(features, SHALLOW, content, [StyleSource(content)])(content)
    assert terms.content == 0
    assert terms.style < 1e-10


def test_styles_count_by_their_weights(
    content: Tensor, style: StyleSource, pastiche: Tensor, features: VGG19Features
) -> None:
    other = StyleSource(style.image.flip(1))
    one, another, both = (
        Objective(features, SHALLOW, content, styles)(pastiche).style
        for styles in ([style], [other], [replace(style, weight=6.0), replace(other, weight=2.0)])
    )
    torch.testing.assert_close(both, 0.75 * one + 0.25 * another)


def test_guided_gram_matrix_of_a_full_mask_is_the_plain_one(
    content: Tensor, style: StyleSource, features: VGG19Features
) -> None:
    objective = Objective(features, SHALLOW, content, [style])
    full = replace(style, mask=torch.ones(1, 1, *style.image.shape[-2:]))
    for layer, gram in objective._grams(style).items():
        torch.testing.assert_close(objective._grams(full)[layer], gram)


def test_region_that_is_everything_is_as_none(
    content: Tensor, style: StyleSource, pastiche: Tensor, features: VGG19Features
) -> None:
    plain = Objective(features, SHALLOW, content, [style])(pastiche)
    full = Objective(features, SHALLOW, content, [style], [torch.ones(1, 1, 131, 180)])(pastiche)
    torch.testing.assert_close(full.total, plain.total)


def test_guided_gram_matrix_is_that_of_the_masked_part(
    content: Tensor, style: StyleSource, features: VGG19Features
) -> None:
    objective = Objective(features, SHALLOW, content, [style])
    height, width = style.image.shape[-2:]
    mask = torch.zeros(1, 1, height, width)
    mask[..., : width // 2] = 1
    part = features(style.image)["relu1_1"][..., : width // 2]
    guided = objective._grams(replace(style, mask=mask))["relu1_1"]
    torch.testing.assert_close(guided, gram_matrix(part))


@pytest.mark.parametrize("factor", [0.5, 2])
def test_mask_of_a_painting_may_have_another_size(
    content: Tensor, style: StyleSource, features: VGG19Features, factor: float
) -> None:
    # Its file has any size, and the painting shrinks with the scale that is optimized.
    objective = Objective(features, SHALLOW, content, [style])
    height, width = style.image.shape[-2:]
    left, _ = halves(height, width)
    other, _ = halves(round(height * factor), round(width * factor))
    expected = objective._grams(replace(style, mask=left))
    for layer, gram in objective._grams(replace(style, mask=other)).items():
        assert relative_error(gram, expected[layer]) < 0.05


def test_regions_count_as_much_as_they_cover(
    content: Tensor, style: StyleSource, pastiche: Tensor, features: VGG19Features
) -> None:
    left, right = halves(131, 180)
    left_only, right_only, both = (
        Objective(features, SHALLOW, content, styles, regions)(pastiche).style
        for styles, regions in (
            ([style], [left]),
            ([style], [right]),
            ([style, replace(style, region=1)], [left, right]),
        )
    )
    torch.testing.assert_close(both, left_only + right_only)
    of_region = features(pastiche)
    expected = torch.zeros(())
    for layer, weight in STYLE_LAYERS.items():
        step = 2 if layer == "relu2_1" else 1
        mask = torch.nn.functional.adaptive_avg_pool2d(left, (131 // step, 180 // step))
        positions = mask.square().sum() / mask.numel()
        gram = gram_matrix(of_region[layer] * mask) / positions
        expected += weight / 4 * style_loss(gram, gram_matrix(features(style.image)[layer]))
    torch.testing.assert_close(left_only, float(left.mean()) * expected)
