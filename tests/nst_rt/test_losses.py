import pytest
import torch
from torch import Tensor

from nst_rt.errors import UnknownNameError
from nst_rt.losses import (
    PerceptualLoss,
    content_loss,
    detail_weights,
    gram_matrix,
    grid_pattern,
    style_loss,
    total_variation,
)
from nst_rt.models.vgg import VGG19Features


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def relu3_1(photo: Tensor) -> Tensor:
    return VGG19Features(["relu3_1"])(photo)["relu3_1"]


def loss(content_focus: float = 0.0) -> PerceptualLoss:
    return PerceptualLoss(
        content_layers={"relu3_1": 3.0},
        style_layers={"relu1_1": 1.0, "relu2_1": 3.0},
        content_weight=1.0,
        style_weight=10.0,
        tv_weight=100.0,
        content_focus=content_focus,
        dtype=torch.float32,
    )


@pytest.fixture(scope="module")
def perceptual() -> PerceptualLoss:
    return loss()


def test_gram_matrix_by_hand() -> None:
    # Two channels of 1 x 3 pixels: (1, 2, 3) and (0, -1, 1).
    features = torch.tensor([[1.0, 2.0, 3.0], [0.0, -1.0, 1.0]]).view(1, 2, 1, 3)
    expected = torch.tensor([[[14.0, 1.0], [1.0, 2.0]]]) / 3
    torch.testing.assert_close(gram_matrix(features), expected)


def test_gram_matrix_of_each_image_of_a_batch_is_its_own() -> None:
    features = random(3, 4, 5, 6)
    batch = gram_matrix(features)
    assert batch.shape == (3, 4, 4)
    for index in range(3):
        torch.testing.assert_close(batch[index : index + 1], gram_matrix(features[index][None]))


def test_gram_matrix_forgets_where_things_are(relu3_1: Tensor) -> None:
    gram = gram_matrix(relu3_1)
    torch.testing.assert_close(gram_matrix(relu3_1.flip(2).transpose(2, 3)), gram)


def test_gram_matrix_does_not_depend_on_the_size(relu3_1: Tensor) -> None:
    torch.testing.assert_close(gram_matrix(relu3_1.repeat(1, 1, 2, 3)), gram_matrix(relu3_1))


def test_gram_matrix_does_not_depend_on_the_memory_format() -> None:
    features = random(2, 3, 4, 5)
    channels_last = features.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(gram_matrix(channels_last), gram_matrix(features))


def test_gram_matrix_in_bfloat16_is_close_to_that_in_float32(relu3_1: Tensor) -> None:
    exact, fast = gram_matrix(relu3_1), gram_matrix(relu3_1.bfloat16())
    assert fast.dtype == torch.float32
    assert (fast - exact).abs().max() / exact.abs().max() < 0.01
    assert style_loss(fast, exact) < 1e-4


def test_gram_matrix_of_large_activations_is_finite(relu3_1: Tensor) -> None:
    # Oxford's relu activations reach thousands, whose products float16 does not hold.
    assert gram_matrix((relu3_1 * 100).bfloat16()).isfinite().all()


def test_gradient_of_the_gram_matrix_by_hand() -> None:
    features = random(1, 3, 4, 5).requires_grad_()
    weights = random(3, 3, seed=1)
    (gram_matrix(features) * weights).sum().backward()
    # G = F F^T / n, so d<W, G>/dF = (W + W^T) F / n.
    expected = (weights + weights.T) @ features.detach().view(3, 20) / 20
    torch.testing.assert_close(features.grad, expected.view(1, 3, 4, 5))


def test_content_loss_by_hand() -> None:
    target = torch.tensor([1.0, 2.0, 2.0, 4.0]).view(1, 1, 2, 2)
    values = torch.tensor([1.0, 2.0, 4.0, 1.0]).view(1, 1, 2, 2)
    torch.testing.assert_close(content_loss(values, target), torch.tensor(13 / 25))


def test_style_loss_by_hand() -> None:
    target = torch.tensor([[[2.0, 1.0], [1.0, 2.0]]])
    values = torch.tensor([[[4.0, 0.0], [0.0, 2.0]]])
    torch.testing.assert_close(style_loss(values, target), torch.tensor(6 / 10))


def test_losses_are_means_over_the_batch() -> None:
    values, target = random(2, 3, 4, 5), random(2, 3, 4, 5, seed=1)
    halves = [content_loss(values[i : i + 1], target[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(content_loss(values, target), sum(halves) / 2)
    grams, target = gram_matrix(values), gram_matrix(target)
    halves = [style_loss(grams[i : i + 1], target[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(style_loss(grams, target), sum(halves) / 2)


def test_one_style_serves_a_whole_batch() -> None:
    grams, target = gram_matrix(random(2, 3, 4, 5)), gram_matrix(random(1, 3, 4, 5, seed=1))
    expected = style_loss(grams, target.expand(2, -1, -1))
    torch.testing.assert_close(style_loss(grams, target), expected)


@pytest.mark.parametrize("loss", [content_loss, style_loss])
def test_loss_is_0_for_the_target_and_1_for_nothing(loss: object, relu3_1: Tensor) -> None:
    assert callable(loss)
    target = relu3_1 if loss is content_loss else gram_matrix(relu3_1)
    assert loss(target, target) == 0
    assert loss(torch.zeros_like(target), target) == pytest.approx(1)


@pytest.mark.parametrize("scale", [1e-3, 7.0, 1e3])
def test_losses_do_not_depend_on_the_scale_of_the_features(scale: float) -> None:
    values, target = random(1, 3, 8, 8), random(1, 3, 8, 8, seed=1)
    torch.testing.assert_close(
        content_loss(values * scale, target * scale), content_loss(values, target)
    )
    torch.testing.assert_close(
        style_loss(gram_matrix(values * scale), gram_matrix(target * scale)),
        style_loss(gram_matrix(values), gram_matrix(target)),
    )


def half_and_half(size: int = 40) -> Tensor:
    """Activations that are even on the left and lively on the right, of a mean square of 1."""
    lively = 1 + torch.randn(1, 8, size, size // 2, generator=torch.Generator().manual_seed(0))
    values = torch.cat([torch.ones_like(lively), lively], -1)
    return values / values.square().mean().sqrt()


def test_what_is_even_counts_for_a_tenth() -> None:
    weights = detail_weights(half_and_half(), 0.3)
    assert weights.shape == (1, 1, 40, 40)
    torch.testing.assert_close(weights[..., :19], torch.full((1, 1, 40, 19), 0.1))
    torch.testing.assert_close(weights[..., 21:], torch.ones(1, 1, 40, 19))


@pytest.mark.parametrize("scale", [0.1, 30.0])
def test_what_is_even_does_not_depend_on_the_scale(scale: float) -> None:
    target = half_and_half()
    found = detail_weights(scale * target, 2.0)
    torch.testing.assert_close(found, detail_weights(target, 2.0), rtol=1e-3, atol=1e-4)


def test_a_weight_is_the_relative_variance_over_the_focus() -> None:
    bars = torch.tensor([1.0, 3.0, -1.0]).repeat(1, 1, 30, 10)  # mean 1, variance 8/3, square 11/3
    inner = detail_weights(bars, 2.0)[..., 1:-1, 1:-1]
    torch.testing.assert_close(inner, torch.full_like(inner, 8 / 11 / 2))


def test_a_weighted_content_loss_by_hand() -> None:
    values, target = torch.tensor([[[[1.0, 5.0]]]]), torch.tensor([[[[3.0, 4.0]]]])
    weights = torch.tensor([[[[0.5, 1.0]]]])
    torch.testing.assert_close(content_loss(values, target, weights), torch.tensor(3 / 25))


def test_a_focused_loss_lets_a_sky_change_but_no_detail(photo: Tensor) -> None:
    sky = torch.cat([torch.full_like(photo, 0.6), photo], -1)
    changed = [sky.clone() for _ in range(2)]
    noise = 0.1 * torch.randn(photo.shape, generator=torch.Generator().manual_seed(0))
    width = photo.shape[-1]
    changed[0][..., :width] += noise
    changed[1][..., width:] += noise

    plain, focused = (
        [
            float(of(image, of.content_target(sky), of.style_target(photo)).content)
            for image in changed
        ]
        for of in (loss(), loss(0.3))
    )
    in_sky, in_detail = (part / whole for part, whole in zip(focused, plain, strict=True))
    assert 0.1 <= in_sky < 0.35
    assert in_detail > 0.6


def test_gradient_of_the_content_loss_by_hand() -> None:
    values, target = random(2, 3, 4, 5).requires_grad_(), random(2, 3, 4, 5, seed=1)
    content_loss(values, target).backward()
    squares = target.square().sum((1, 2, 3), keepdim=True)
    torch.testing.assert_close(values.grad, (values.detach() - target) * 2 / squares / 2)


def test_gradient_of_the_style_loss() -> None:
    values, target = random(2, 3, 3).double().requires_grad_(), random(1, 3, 3, seed=1).double()
    assert torch.autograd.gradcheck(style_loss, (values, target))


def test_total_variation_of_a_checkerboard_is_exactly_2() -> None:
    y, x = torch.meshgrid(torch.arange(7), torch.arange(10), indexing="ij")
    checkerboard = ((y + x) % 2).float().expand(2, 3, 7, 10)
    assert total_variation(checkerboard) == 2


def test_total_variation_by_hand() -> None:
    image = torch.tensor([[0.0, 1.0, 3.0], [2.0, 2.0, 2.0]]).view(1, 1, 2, 3)
    # Vertical differences 2, 1, -1; horizontal ones 1, 2, 0, 0.
    torch.testing.assert_close(total_variation(image), torch.tensor(6 / 3 + 5 / 4))


def test_total_variation_of_a_plain_image_is_0() -> None:
    assert total_variation(torch.full((1, 3, 5, 5), 0.3)) == 0


def test_gradient_of_the_total_variation() -> None:
    image = random(2, 3, 4, 5).double().requires_grad_()
    assert torch.autograd.gradcheck(total_variation, (image,))


def test_grid_pattern_of_a_pattern_on_a_ramp_is_the_pattern_s_mean_square() -> None:
    y, x = torch.meshgrid(torch.arange(84.0), torch.arange(100.0), indexing="ij")
    ramp = 0.003 * y - 0.002 * x
    cell = random(4, 4)
    cell -= cell.mean()
    pattern = cell.repeat(21, 25)
    torch.testing.assert_close(grid_pattern((ramp + pattern)[None, None]), cell.square().mean())
    assert grid_pattern(ramp[None, None]) < 1e-12


def test_grid_pattern_is_blind_to_what_does_not_repeat() -> None:
    noise = random(1, 3, 100, 100)
    assert grid_pattern(noise) < 0.01
    dots = torch.zeros(1, 3, 100, 100)
    dots[..., ::5, ::5] = 1  # which repeats, but not with the grid
    assert grid_pattern(dots) < 0.01 * dots.var()


def test_grid_pattern_of_an_image_of_few_cells() -> None:
    assert grid_pattern(torch.zeros(1, 3, 17, 20)) == 0


def test_gradient_of_the_grid_pattern() -> None:
    image = random(1, 2, 16, 17).double().requires_grad_()
    assert torch.autograd.gradcheck(grid_pattern, (image,))


def test_total_is_the_weighted_sum_of_the_terms(photo: Tensor, perceptual: PerceptualLoss) -> None:
    content, style = perceptual.content_target(photo), perceptual.style_target(photo.flip(1))
    terms = perceptual(photo * 0.5, content, style)
    torch.testing.assert_close(terms.total, terms.content + 10 * terms.style + 100 * terms.tv)


def test_terms_are_the_losses_of_their_layers(photo: Tensor, perceptual: PerceptualLoss) -> None:
    image, painting = photo * 0.5, photo.flip(1)
    terms = perceptual(image, perceptual.content_target(photo), perceptual.style_target(painting))
    features = VGG19Features(["relu1_1", "relu2_1", "relu3_1"])
    of_image, of_photo, of_painting = features(image), features(photo), features(painting)
    torch.testing.assert_close(
        terms.content, content_loss(of_image["relu3_1"], of_photo["relu3_1"])
    )
    relu1_1, relu2_1 = (
        style_loss(gram_matrix(of_image[layer]), gram_matrix(of_painting[layer]))
        for layer in ("relu1_1", "relu2_1")
    )
    torch.testing.assert_close(terms.style, 0.25 * relu1_1 + 0.75 * relu2_1)
    torch.testing.assert_close(terms.tv, total_variation(image))


def test_an_image_is_at_no_distance_from_its_own_targets(
    photo: Tensor, perceptual: PerceptualLoss
) -> None:
    terms = perceptual(photo, perceptual.content_target(photo), perceptual.style_target(photo))
    assert terms.content == 0
    assert terms.style == 0


def test_gradient_of_the_perceptual_loss_is_its_slope(
    photo: Tensor, perceptual: PerceptualLoss
) -> None:
    content, style = perceptual.content_target(photo), perceptual.style_target(photo.flip(1))
    image = (photo * 0.5 + 0.25).requires_grad_()
    perceptual(image, content, style).total.backward()
    assert image.grad is not None
    direction = image.grad / image.grad.norm()
    with torch.no_grad():
        ahead, behind = (
            perceptual(image + step * direction, content, style).total for step in (0.02, -0.02)
        )
    slope = (ahead - behind) / 0.04
    torch.testing.assert_close(slope, image.grad.norm(), rtol=0.02, atol=0)


def test_the_style_of_each_image_counts_by_its_factor(
    perceptual: PerceptualLoss, photo: Tensor
) -> None:
    images = torch.cat([photo, photo.flip(1)])
    content = perceptual.content_target(images)
    style = perceptual.style_target(photo.flip(2).roll(9, 3) ** 2)
    plain = perceptual(images, content, style)
    other = perceptual(images, content, style, torch.tensor([0.5, 3.0]))
    torch.testing.assert_close(other.style, (0.5 * plain.styles[0] + 3 * plain.styles[1]) / 2)
    torch.testing.assert_close(other.styles, plain.styles)
    torch.testing.assert_close(other.total - plain.total, 10 * (other.style - plain.style))


def test_unknown_layer_is_an_error() -> None:
    with pytest.raises(UnknownNameError, match="relu9_1"):
        PerceptualLoss(
            content_layers={"relu9_1": 1.0},
            style_layers={"relu1_1": 1.0},
            content_weight=1.0,
            style_weight=1.0,
            tv_weight=1.0,
        )
