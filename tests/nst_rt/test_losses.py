from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from nst_rt.errors import InputError, UnknownNameError
from nst_rt.losses import (
    PerceptualLoss,
    absolute_variation,
    detail_weights,
    gram_errors,
    gram_matrix,
    grid_pattern,
    squared_error,
    total_variation,
)
from nst_rt.models.vgg import VGG19Features


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def relu3_1(photo: Tensor) -> Tensor:
    return VGG19Features(["relu3_1"])(photo)["relu3_1"]


def make_loss(**changes: object) -> PerceptualLoss:
    settings: dict[str, object] = {
        "content_layers": {"relu3_1": 3.0},
        "style_layers": {"relu1_1": 1.0, "relu2_1": 3.0},
        "content_weight": 1.0,
        "style_weight": 10.0,
        "tv_weight": 100.0,
        "dtype": torch.float32,
    }
    return PerceptualLoss(**settings | changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def perceptual() -> PerceptualLoss:
    return make_loss()


class TestGramMatrix:
    def test_by_hand(self) -> None:
        # Two channels of 1 x 3 pixels: (1, 2, 3) and (0, -1, 1).
        features = torch.tensor([[1.0, 2.0, 3.0], [0.0, -1.0, 1.0]]).view(1, 2, 1, 3)
        expected = torch.tensor([[[14.0, 1.0], [1.0, 2.0]]]) / 3
        torch.testing.assert_close(gram_matrix(features), expected)

    def test_images_of_a_batch_are_independent(self) -> None:
        features = random(3, 4, 5, 6)
        expected = torch.cat([gram_matrix(image[None]) for image in features])
        torch.testing.assert_close(gram_matrix(features), expected)

    def test_ignores_positions_and_image_size(self, relu3_1: Tensor) -> None:
        gram = gram_matrix(relu3_1)
        torch.testing.assert_close(gram_matrix(relu3_1.flip(2).transpose(2, 3)), gram)
        torch.testing.assert_close(gram_matrix(relu3_1.repeat(1, 1, 2, 3)), gram)

    def test_memory_format_is_irrelevant(self) -> None:
        features = random(2, 3, 4, 5)
        channels_last = features.contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(gram_matrix(channels_last), gram_matrix(features))

    def test_bfloat16_is_close_to_float32(self, relu3_1: Tensor) -> None:
        exact, fast = gram_matrix(relu3_1), gram_matrix(relu3_1.bfloat16())
        assert fast.dtype == torch.float32
        assert (fast - exact).abs().max() / exact.abs().max() < 0.01
        assert gram_errors(fast, exact) < 1e-4

    def test_large_activations_stay_finite(self, relu3_1: Tensor) -> None:
        # Oxford's relu activations reach thousands, whose products overflow float16.
        assert gram_matrix((relu3_1 * 100).bfloat16()).isfinite().all()

    def test_gradient_by_hand(self) -> None:
        features = random(1, 3, 4, 5).requires_grad_()
        weights = random(3, 3, seed=1)
        (gram_matrix(features) * weights).sum().backward()
        # G = F F^T / n, so d<W, G>/dF = (W + W^T) F / n.
        expected = (weights + weights.T) @ features.detach().view(3, 20) / 20
        torch.testing.assert_close(features.grad, expected.view(1, 3, 4, 5))


def test_squared_error_by_hand() -> None:
    target = torch.tensor([[1.0, 2.0], [0.0, 0.0]]).view(2, 1, 1, 2)
    values = torch.tensor([[3.0, 5.0], [0.0, 1.0]]).view(2, 1, 1, 2)
    assert squared_error(values, target).tolist() == [4 + 9, 1]
    weights = torch.tensor([[0.5, 1.0], [1.0, 0.1]]).view(2, 1, 1, 2)
    assert squared_error(values, target, weights).tolist() == pytest.approx([2 + 9, 0.1])


@pytest.mark.parametrize(("normalization", "expected"), [("relative", 0.6), ("absolute", 1.5)])
def test_gram_errors_by_hand(normalization: str, expected: float) -> None:
    target = torch.tensor([[[2.0, 1.0], [1.0, 2.0]]])
    grams = torch.tensor([[[4.0, 0.0], [0.0, 2.0]], [[2.0, 1.0], [1.0, 2.0]]])
    found = gram_errors(grams, target, normalization)  # type: ignore[arg-type]
    torch.testing.assert_close(found, torch.tensor([expected, 0.0]))


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_relative_errors_do_not_depend_on_scale(
    perceptual: PerceptualLoss, relu3_1: Tensor, scale: float
) -> None:
    target, values = relu3_1 * scale, relu3_1.flip(3) * scale
    content = squared_error(values, target) / perceptual.content_scale(target)
    expected = (relu3_1.flip(3) - relu3_1).square().mean() / relu3_1.square().mean()
    torch.testing.assert_close(content, expected[None])
    zeros = squared_error(torch.zeros_like(target), target) / perceptual.content_scale(target)
    torch.testing.assert_close(zeros, torch.ones(1))
    gram = gram_matrix(target)
    torch.testing.assert_close(gram_errors(torch.zeros_like(gram), gram), torch.ones(1))


def half_even(size: int = 40) -> Tensor:
    """Activations that are even on the left and lively on the right, with a mean square of 1."""
    lively = 1 + torch.randn(1, 8, size, size // 2, generator=torch.Generator().manual_seed(0))
    values = torch.cat([torch.ones_like(lively), lively], -1)
    return values / values.square().mean().sqrt()


class TestDetailWeights:
    @pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
    def test_even_areas_count_for_a_tenth(self, scale: float) -> None:
        weights = detail_weights(scale * half_even(), 0.3)
        assert weights.shape == (1, 1, 40, 40)
        expected = torch.full((1, 1, 40, 19), 0.1)
        torch.testing.assert_close(weights[..., :19], expected, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(weights[..., 21:], torch.ones(1, 1, 40, 19))

    def test_weight_is_relative_variance_over_focus(self) -> None:
        # Mean 1, variance 8/3, mean square 11/3.
        bars = torch.tensor([1.0, 3.0, -1.0]).repeat(1, 1, 30, 10)
        inner = detail_weights(bars, 2.0)[..., 1:-1, 1:-1]
        torch.testing.assert_close(inner, torch.full_like(inner, 8 / 11 / 2))

    def test_focused_loss_lets_a_sky_change_but_not_detail(self, photo: Tensor) -> None:
        sky = torch.cat([torch.full_like(photo, 0.6), photo], -1)
        noise = 0.1 * torch.randn(photo.shape, generator=torch.Generator().manual_seed(0))
        zero = torch.zeros_like(noise)
        changed = [sky + torch.cat(parts, -1) for parts in ((noise, zero), (zero, noise))]
        plain, focused = (
            [
                float(loss(image, loss.content_target(sky), loss.style_target(photo)).content)
                for image in changed
            ]
            for loss in (make_loss(), make_loss(content_focus=0.3))
        )
        in_sky, in_detail = (some / whole for some, whole in zip(focused, plain, strict=True))
        assert 0.1 <= in_sky < 0.35
        assert in_detail > 0.6


class TestVariation:
    def test_checkerboard_has_exactly_2(self) -> None:
        y, x = torch.meshgrid(torch.arange(7), torch.arange(10), indexing="ij")
        checkerboard = ((y + x) % 2).float().expand(2, 3, 7, 10)
        assert total_variation(checkerboard) == 2

    def test_by_hand(self) -> None:
        # Vertical differences 2, 1, -1; horizontal ones 1, 2, 0, 0.
        image = torch.tensor([[0.0, 1.0, 3.0], [2.0, 2.0, 2.0]]).view(1, 1, 2, 3)
        torch.testing.assert_close(total_variation(image), torch.tensor(6 / 3 + 5 / 4))
        assert absolute_variation(image) == 4 + 3


class TestGridPattern:
    def test_pattern_on_a_ramp_has_its_mean_square(self) -> None:
        y, x = torch.meshgrid(torch.arange(84.0), torch.arange(100.0), indexing="ij")
        ramp = 0.003 * y - 0.002 * x
        cell = random(4, 4)
        cell -= cell.mean()
        image = (ramp + cell.repeat(21, 25))[None, None]
        torch.testing.assert_close(grid_pattern(image), cell.square().mean())
        assert grid_pattern(ramp[None, None]) < 1e-12

    def test_other_periods_do_not_count(self) -> None:
        assert grid_pattern(random(1, 3, 100, 100)) < 0.01
        dots = torch.zeros(1, 3, 100, 100)
        dots[..., ::5, ::5] = 1
        assert grid_pattern(dots) < 0.01 * dots.var()

    def test_image_of_few_cells(self) -> None:
        assert grid_pattern(torch.zeros(1, 3, 17, 20)) == 0


@pytest.mark.parametrize(
    ("function", "shape"),
    [
        (lambda x: gram_errors(x, random(1, 3, 3, seed=1).double()), (2, 3, 3)),
        (total_variation, (2, 3, 4, 5)),
        (grid_pattern, (1, 2, 16, 17)),
    ],
    ids=["gram_errors", "total_variation", "grid_pattern"],
)
def test_gradients(function: Callable[[Tensor], Tensor], shape: tuple[int, ...]) -> None:
    assert torch.autograd.gradcheck(function, (random(*shape).double().requires_grad_(),))


class TestPerceptualLoss:
    def test_terms_are_weighted_sums_over_the_layers(
        self, photo: Tensor, perceptual: PerceptualLoss
    ) -> None:
        image, style = photo * 0.5, photo.flip(1)
        terms = perceptual(image, perceptual.content_target(photo), perceptual.style_target(style))
        features = VGG19Features(["relu1_1", "relu2_1", "relu3_1"])
        found, of_content, of_style = features(image), features(photo), features(style)
        target = of_content["relu3_1"]
        content = (found["relu3_1"] - target).square().mean() / target.square().mean()
        torch.testing.assert_close(terms.content, content)
        relu1_1, relu2_1 = (
            gram_errors(gram_matrix(found[layer]), gram_matrix(of_style[layer]))[0]
            for layer in ("relu1_1", "relu2_1")
        )
        torch.testing.assert_close(terms.style, 0.25 * relu1_1 + 0.75 * relu2_1)
        torch.testing.assert_close(terms.tv, total_variation(image))
        torch.testing.assert_close(terms.total, terms.content + 10 * terms.style + 100 * terms.tv)

    def test_image_has_no_distance_from_its_own_targets(
        self, photo: Tensor, perceptual: PerceptualLoss
    ) -> None:
        terms = perceptual(photo, perceptual.content_target(photo), perceptual.style_target(photo))
        assert terms.content == terms.style == 0

    def test_gradient_is_the_slope(self, photo: Tensor, perceptual: PerceptualLoss) -> None:
        content, style = perceptual.content_target(photo), perceptual.style_target(photo.flip(1))
        image = (photo * 0.5 + 0.25).requires_grad_()
        perceptual(image, content, style).total.backward()
        assert image.grad is not None
        direction = image.grad / image.grad.norm()
        with torch.no_grad():
            ahead, behind = (
                perceptual(image + step * direction, content, style).total for step in (0.02, -0.02)
            )
        torch.testing.assert_close((ahead - behind) / 0.04, image.grad.norm(), rtol=0.02, atol=0)

    def test_batch_is_the_mean_of_its_images_times_their_factors(
        self, perceptual: PerceptualLoss, photo: Tensor
    ) -> None:
        images, contents = torch.cat([photo, photo.flip(1)]), torch.cat([photo.flip(2), photo])
        style = perceptual.style_target(photo.roll(9, 3) ** 2)  # one style for both
        batch = perceptual(images, perceptual.content_target(contents), style)
        singles = [
            perceptual(images[[i]], perceptual.content_target(contents[[i]]), style)
            for i in range(2)
        ]
        for name in ("content", "style", "tv", "total"):
            mean = sum(getattr(terms, name) for terms in singles) / 2
            torch.testing.assert_close(getattr(batch, name), mean)
        torch.testing.assert_close(batch.styles, torch.cat([terms.styles for terms in singles]))
        weighted = perceptual(
            images, perceptual.content_target(contents), style, torch.tensor([0.5, 3.0])
        )
        torch.testing.assert_close(
            weighted.style, (0.5 * batch.styles[0] + 3 * batch.styles[1]) / 2
        )
        torch.testing.assert_close(weighted.styles, batch.styles)
        torch.testing.assert_close(
            weighted.total - batch.total, 10 * (weighted.style - batch.style)
        )

    @pytest.mark.parametrize(
        ("changes", "error", "word"),
        [
            ({"content_layers": {"relu9_1": 1.0}}, UnknownNameError, "relu9_1"),
            ({"content_layers": {"relu4-2": 1.0}}, UnknownNameError, "did you mean 'relu4_2"),
            ({"content_layers": {}}, InputError, "layer"),
            ({"content_layers": {"relu4_2": 1.0, "block4_conv2": 1.0}}, InputError, "twice"),
            ({"style_layers": {"relu1_1": 0.0}}, InputError, "relu1_1"),
            ({"style_layers": {"relu1_1": -1.0, "relu2_1": 3.0}}, InputError, "-1"),
            ({"style_layers": {"relu1_1": torch.nan}}, InputError, "nan"),
            ({"style_weight": -1.0}, InputError, "-1"),
            ({"tv_weight": torch.inf}, InputError, "inf"),
            ({"pooling": "median"}, InputError, "median"),
        ],
    )
    def test_bad_settings(
        self, changes: dict[str, object], error: type[Exception], word: str
    ) -> None:
        with pytest.raises(error, match=word):
            make_loss(**changes)
