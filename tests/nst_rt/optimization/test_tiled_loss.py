from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from nst_rt.images.io import load_image
from nst_rt.losses import (
    BatchTerms,
    Normalization,
    PerceptualLoss,
    absolute_variation,
    gram_errors,
    gram_matrix,
)
from nst_rt.models.vgg import Pooling
from nst_rt.optimization.inputs import StyleSource
from nst_rt.optimization.presets import CONTENT_LAYERS as DEEP_CONTENT
from nst_rt.optimization.presets import STYLE_LAYERS as DEEP_STYLE
from nst_rt.optimization.tiled_loss import TiledLoss, tiles

CONTENT_LAYERS = {"relu2_1": 1.0, "relu3_1": 3.0}
STYLE_LAYERS = {"relu1_1": 3.0, "relu2_1": 1.0}


def make_loss(**changes: object) -> PerceptualLoss:
    settings: dict[str, object] = {
        "content_layers": CONTENT_LAYERS,
        "style_layers": STYLE_LAYERS,
        "content_weight": 2.0,
        "style_weight": 3.0,
        "tv_weight": 5.0,
        "dtype": torch.float32,
    }
    return PerceptualLoss(**settings | changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def loss() -> PerceptualLoss:
    return make_loss()


@pytest.fixture(scope="module")
def content(photos: Path) -> Tensor:
    """A content image whose sides are no multiples of anything, shape (1, 3, 131, 180)."""
    return load_image(photos / "coffee.png", size=200)[..., :131, :180]


@pytest.fixture(scope="module")
def style(painting: Path) -> StyleSource:
    return StyleSource(load_image(painting, size=97))


@pytest.fixture(scope="module")
def image(content: Tensor) -> Tensor:
    """An intermediate image: far from the content image, inside of [0, 1]."""
    return content.flip(1) * 0.5 + 0.2


def halves(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Masks of a left third with a soft edge, and of the rest."""
    left = torch.linspace(2.0, -4.0, width).clamp(0, 1).expand(1, 1, height, width)
    return left, 1 - left


def relative_error(values: Tensor, target: Tensor) -> float:
    return float((values - target).abs().max() / target.abs().max())


def with_gradient(tiled: TiledLoss, image: Tensor) -> tuple[BatchTerms, Tensor]:
    pixels = image.clone().requires_grad_()
    terms = tiled.backward(pixels)
    assert pixels.grad is not None
    return terms, pixels.grad


def assert_tiled_equals_whole(
    loss: PerceptualLoss,
    tile: int,
    image: Tensor,
    content: Tensor,
    styles: Sequence[StyleSource],
    regions: Sequence[Tensor] = (),
) -> None:
    whole = TiledLoss(loss, content, styles, regions)
    tiled = TiledLoss(loss, content, styles, regions, tile=tile)
    assert len(tiled._tiles(content)) > 4
    assert len(tiled._tiles(styles[0].image)) > 1
    terms, grad = with_gradient(whole, image)
    tiled_terms, tiled_grad = with_gradient(tiled, image)
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
def test_tiles(height: int, width: int, side: int | None, margin: int, step: int) -> None:
    covered = torch.zeros(height, width)
    for tile in tiles(height, width, side, margin, step):
        (top, bottom, left, right), window = tile.core, tile.window
        covered[top:bottom, left:right] += 1
        assert max(bottom - top, right - left) <= (side or max(height, width))
        assert 0 <= window[0] <= max(top - margin, 0)
        assert 0 <= window[2] <= max(left - margin, 0)
        assert height >= window[1] >= min(bottom + margin, height)
        assert width >= window[3] >= min(right + margin, width)
        for top, bottom, left, right in (tile.core, tile.window):  # aligned to activations
            assert top % step == left % step == 0
            assert bottom % step == 0 or bottom == height
            assert right % step == 0 or right == width
    assert torch.equal(covered, torch.ones(height, width))


@pytest.mark.slow
def test_tiled_equals_whole_down_to_the_deepest_layer(photos: Path, style: StyleSource) -> None:
    loss = make_loss(content_layers=DEEP_CONTENT, style_layers=DEEP_STYLE)
    # A strip that is larger than a window, although relu5_1 sees 78 px to each side.
    strip = load_image(photos / "coffee.png", size=400)[..., 100:145, :331]
    image, regions = strip.flip(1) * 0.5 + 0.2, halves(45, 331)[:1]
    assert_tiled_equals_whole(loss, 48, image, strip, [style], regions)


@pytest.mark.parametrize(
    ("pooling", "normalization", "focus", "regions"),
    [
        ("max", "relative", 0.0, ()),
        ("max", "relative", 0.5, ()),
        ("max", "absolute", 0.0, halves(131, 180)[:1]),
        ("average", "absolute", 0.0, ()),
        ("l2", "relative", 0.0, halves(131, 180)[:1]),
    ],
    ids=["max", "focused", "absolute masked", "average absolute", "l2 masked"],
)
def test_tiled_equals_whole(
    content: Tensor,
    style: StyleSource,
    image: Tensor,
    pooling: Pooling,
    normalization: Normalization,
    focus: float,
    regions: Sequence[Tensor],
) -> None:
    loss = make_loss(pooling=pooling, normalization=normalization, content_focus=focus)
    assert_tiled_equals_whole(loss, 48, image, content, [style], regions)


def test_tile_smaller_than_an_activation_adds_nothing(content: Tensor, style: StyleSource) -> None:
    loss = make_loss(content_layers={"relu5_1": 1.0}, style_layers={"relu5_1": 1.0})
    thin = content[..., :33, :49]  # the last tiles have 1 px
    styles = [StyleSource(style.image[..., :32, :17])]
    assert_tiled_equals_whole(loss, 16, thin.flip(1), thin, styles)


@pytest.mark.parametrize("focus", [0.0, 0.5])
def test_one_region_is_the_perceptual_loss(
    content: Tensor, style: StyleSource, image: Tensor, focus: float
) -> None:
    loss = make_loss(content_focus=focus)
    expected = loss(image, loss.content_target(content), loss.style_target(style.image))
    terms = TiledLoss(loss, content, [style], tile=48)(image)
    for name, term in vars(expected).items():
        torch.testing.assert_close(getattr(terms, name), term)


@pytest.mark.parametrize("tile", [None, 48])
def test_backward_returns_the_loss_and_adds_its_gradient(
    content: Tensor, style: StyleSource, image: Tensor, loss: PerceptualLoss, tile: int | None
) -> None:
    tiled = TiledLoss(loss, content, [style], tile=tile)
    terms, grad = with_gradient(tiled, image)
    for name, term in vars(tiled(image)).items():
        assert not term.requires_grad
        torch.testing.assert_close(term, getattr(terms, name).detach())
    pixels = image.clone().requires_grad_()
    pixels.grad = torch.ones_like(pixels)
    tiled.backward(pixels)
    torch.testing.assert_close(pixels.grad, grad + 1)


def test_absolute_terms_are_means_of_squares_and_a_sum_of_differences(
    content: Tensor, style: StyleSource, image: Tensor
) -> None:
    loss = make_loss(normalization="absolute")
    terms = TiledLoss(loss, content, [style])(image)
    found, of_content, of_style = (loss.features(x) for x in (image, content, style.image))
    content_term, style_term = (
        sum(
            weight * (value(found[layer]) - value(target[layer])).square().mean()
            for layer, weight in layers.items()
        )
        for layers, value, target in (
            (CONTENT_LAYERS, torch.Tensor.float, of_content),
            (STYLE_LAYERS, gram_matrix, of_style),
        )
    )
    torch.testing.assert_close(terms.content, content_term)
    torch.testing.assert_close(terms.style, style_term)
    torch.testing.assert_close(terms.tv, absolute_variation(image))
    torch.testing.assert_close(terms.total, 2 * terms.content + 3 * terms.style + 5 * terms.tv)


def test_styles_count_by_their_weights(
    content: Tensor, style: StyleSource, image: Tensor, loss: PerceptualLoss
) -> None:
    other = StyleSource(style.image.flip(1))
    one, another, both = (
        TiledLoss(loss, content, styles)(image).style
        for styles in ([style], [other], [replace(style, weight=6.0), replace(other, weight=2.0)])
    )
    torch.testing.assert_close(both, 0.75 * one + 0.25 * another)


class TestMasks:
    def test_full_masks_change_nothing(
        self, content: Tensor, style: StyleSource, image: Tensor, loss: PerceptualLoss
    ) -> None:
        plain = TiledLoss(loss, content, [style])(image)
        full = replace(style, mask=torch.ones(1, 1, *style.image.shape[-2:]))
        masked = TiledLoss(loss, content, [full], [torch.ones(1, 1, 131, 180)])(image)
        torch.testing.assert_close(masked.total, plain.total)

    def test_gram_matrix_is_that_of_the_masked_area(
        self, content: Tensor, style: StyleSource, loss: PerceptualLoss
    ) -> None:
        tiled = TiledLoss(loss, content, [style])
        height, width = style.image.shape[-2:]
        mask = torch.zeros(1, 1, height, width)
        mask[..., : width // 2] = 1
        area = loss.features(style.image)["relu1_1"][..., : width // 2]
        guided = tiled._grams(replace(style, mask=mask))["relu1_1"]
        torch.testing.assert_close(guided, gram_matrix(area))

    @pytest.mark.parametrize("factor", [0.5, 2])
    def test_style_mask_may_have_another_size(
        self, content: Tensor, style: StyleSource, loss: PerceptualLoss, factor: float
    ) -> None:
        # Its file has any size, and the style image shrinks with the scale.
        tiled = TiledLoss(loss, content, [style])
        height, width = style.image.shape[-2:]
        left, _ = halves(height, width)
        other, _ = halves(round(height * factor), round(width * factor))
        expected = tiled._grams(replace(style, mask=left))
        for layer, gram in tiled._grams(replace(style, mask=other)).items():
            assert relative_error(gram, expected[layer]) < 0.05

    def test_regions_count_as_much_as_they_cover(
        self, content: Tensor, style: StyleSource, image: Tensor, loss: PerceptualLoss
    ) -> None:
        left, right = halves(131, 180)
        left_only, right_only, both = (
            TiledLoss(loss, content, styles, regions)(image).style
            for styles, regions in (
                ([style], [left]),
                ([style], [right]),
                ([style, replace(style, region=1)], [left, right]),
            )
        )
        torch.testing.assert_close(both, left_only + right_only)
        found, target = loss.features(image), loss.style_target(style.image)
        expected = torch.zeros(1)
        for layer, weight in STYLE_LAYERS.items():
            step = 2 if layer == "relu2_1" else 1
            mask = torch.nn.functional.adaptive_avg_pool2d(left, (131 // step, 180 // step))
            gram = gram_matrix(found[layer] * mask) / (mask.square().sum() / mask.numel())
            expected += weight / 4 * gram_errors(gram, target[layer])
        torch.testing.assert_close(left_only, float(left.mean()) * expected[0])
