import itertools
from typing import cast

import pytest
import torch
from blends import SMALL, small_network
from torch import Tensor
from torch.nn import functional as F

from nst_rt.errors import InputError, UnknownNameError
from nst_rt.models.layers import (
    BilinearConv2d,
    BlurredConv2d,
    ConditionalInstanceNorm,
    SubPixelConv2d,
)
from nst_rt.models.merge import folded
from nst_rt.models.transformer import Architecture, TransformerNet

ONE = torch.ones(1, 1)
both = pytest.mark.parametrize("architecture", SMALL)


@pytest.mark.parametrize(
    "net",
    [
        small_network("fast"),
        small_network("classic"),
        TransformerNet("fast", **SMALL["fast"], dilation=3),
    ],
)
@pytest.mark.parametrize("h", [16, 17, 18, 19, 333])
@pytest.mark.parametrize("w", [16, 21, 22, 23, 517])
def test_output_has_the_size_of_the_input(net: TransformerNet, h: int, w: int) -> None:
    stylized = net(torch.rand(1, 3, h, w), ONE)
    assert stylized.shape == (1, 3, h, w)
    assert stylized.isfinite().all()


@both
@pytest.mark.parametrize(("h", "w"), [(15, 64), (64, 15), (1, 1)])
def test_too_small_an_image_is_an_error(architecture: Architecture, h: int, w: int) -> None:
    with pytest.raises(InputError, match=f"{w}x{h}"):
        small_network(architecture)(torch.rand(1, 3, h, w), ONE)


@both
def test_multiples_of_4_are_not_padded(architecture: Architecture, photo: Tensor) -> None:
    net = small_network(architecture)
    assert torch.equal(net(photo, ONE), torch.sigmoid(net.net(photo, ONE)))


@both
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_output_is_in_range(architecture: Architecture, scale: float, photo: Tensor) -> None:
    stylized = small_network(architecture)(photo * scale, ONE)
    assert stylized.min() >= 0
    assert stylized.max() <= 1


@both
def test_blend_with_all_weight_on_one_style_equals_that_style(
    architecture: Architecture, photo: Tensor
) -> None:
    double = small_network(architecture, styles=2)
    single = TransformerNet(architecture, 1, **SMALL[architecture]).eval()
    for index, weights in enumerate([[1.0, 0.0], [0.0, 1.0]]):
        single.load_state_dict(
            {
                key: value[index : index + 1] if ".norm." in key else value
                for key, value in double.state_dict().items()
            }
        )
        assert torch.equal(double(photo, torch.tensor([weights])), single(photo, ONE))


@both
def test_styles_and_their_blend_differ_in_one_batch(
    architecture: Architecture, photo: Tensor
) -> None:
    net = small_network(architecture, styles=2)
    weights = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
    batch = net(photo.expand(3, -1, -1, -1), weights)
    for stylized, own in zip(batch.split(1), weights.split(1), strict=True):
        torch.testing.assert_close(stylized, net(photo, own), atol=1e-4, rtol=0)
    for one, other in itertools.combinations(batch, 2):
        assert not torch.allclose(one, other, atol=0.01)


@both
def test_all_weights_get_a_gradient(architecture: Architecture, photo: Tensor) -> None:
    net = TransformerNet(architecture, 2, **SMALL[architecture])
    net(photo, torch.tensor([[0.3, 0.7]])).square().mean().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@both
def test_all_weights_change_the_output(architecture: Architecture, photo: Tensor) -> None:
    net = TransformerNet(architecture, 1, **SMALL[architecture] | {"blocks": 2}).double()
    photo, one = photo.double(), ONE.double()
    with torch.no_grad():
        before = net(photo, one)
        for name, parameter in net.named_parameters():
            kept = parameter.clone()
            parameter += random(*parameter.shape)
            # A weight that a later norm cancels would only change rounding, by 1e-15.
            assert (net(photo, one) - before).abs().max() > 1e-6, name
            parameter.copy_(kept)


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def inside(x: Tensor) -> Tensor:
    return x[..., 4:-4, 4:-4]


def test_bilinear_convolution_by_hand() -> None:
    conv = BilinearConv2d(3, 2)
    x = random(1, 3, 8, 9)
    enlarged = F.interpolate(x, scale_factor=2, mode="bilinear")
    expected = F.conv2d(enlarged, conv.weight, conv.bias, padding=1)
    found = F.pixel_shuffle(conv(F.pad(x, (1, 1, 1, 1))), 2)
    torch.testing.assert_close(inside(found), inside(expected))


def test_blurred_convolution_by_hand() -> None:
    conv = BlurredConv2d(2, 12, phases=4)
    x = random(1, 8, 8, 9)
    stylized = F.conv2d(F.pixel_shuffle(x, 2), conv.weight, conv.bias, padding=1)
    row = torch.tensor([0.25, 0.5, 0.25])
    each = F.pixel_shuffle(stylized, 2).flatten(0, 1)[:, None]
    expected = F.conv2d(each, torch.outer(row, row)[None, None], padding=1).view(1, 3, 32, 36)
    found = F.pixel_shuffle(conv(F.pad(x, (1, 1, 1, 1))), 4)
    torch.testing.assert_close(inside(found), inside(expected))


@both
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_folded_network_gives_the_same_output(
    architecture: Architecture, dtype: torch.dtype, photo: Tensor
) -> None:
    net, style = small_network(architecture, 2).to(dtype), torch.tensor([[0.3, 0.7]], dtype=dtype)
    once = folded(net)
    assert not any(isinstance(m, SubPixelConv2d) for m in once.modules())
    stylized = once(photo.to(dtype), style)
    torch.testing.assert_close(stylized, net(photo.to(dtype), style), atol=1e-4, rtol=0)


def test_phases_of_a_channel_are_normalized_together() -> None:
    # The four pixels of a cell have different deviations but, as in images, the same mean.
    phases = random(2, 12, 3, 4) * torch.arange(1, 13).view(12, 1, 1)
    x = 3 + F.pixel_shuffle(phases - phases.mean((2, 3), keepdim=True), 2)
    alone, together = (ConditionalInstanceNorm(3, 1, phases=number) for number in (1, 4))
    for norm in (alone, together):
        norm.load_state_dict({"scale": random(1, 3), "shift": random(1, 3) + 1})
    expected = alone(x, ONE)
    found = F.pixel_shuffle(together(F.pixel_unshuffle(x, 2), ONE), 2)
    torch.testing.assert_close(found, expected)
    alone.moments = together.moments = (torch.ones(3), torch.full((3,), 4.0))
    given = F.pixel_shuffle(together(F.pixel_unshuffle(x, 2), ONE), 2)
    torch.testing.assert_close(given, alone(x, ONE))
    assert not torch.allclose(given, expected, atol=0.1)


def test_conditional_instance_norm_by_hand() -> None:
    norm = ConditionalInstanceNorm(channels=1, styles=2)
    norm.load_state_dict(
        {"scale": torch.tensor([[2.0], [4.0]]), "shift": torch.tensor([[1.0], [-1.0]])}
    )
    x = torch.tensor([[0.0, 2.0], [0.0, 2.0]]).view(1, 1, 2, 2)  # mean 1, deviation 1
    unit = torch.tensor([[-1.0, 1.0], [-1.0, 1.0]]).view(1, 1, 2, 2)
    for weights, scale, shift in [((1, 0), 2, 1), ((0, 1), 4, -1), ((0.25, 0.75), 3.5, -0.5)]:
        normalized = norm(x, torch.tensor([weights], dtype=torch.float32))
        torch.testing.assert_close(normalized, unit * scale + shift, atol=1e-4, rtol=0)


def test_initial_affine_pair_is_the_identity() -> None:
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    normalized = ConditionalInstanceNorm(3, 1)(x, ONE)
    torch.testing.assert_close(normalized.mean((2, 3)), torch.zeros(2, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        normalized.var((2, 3), correction=0), torch.ones(2, 3), atol=1e-3, rtol=0
    )


def test_unknown_architecture_is_an_error() -> None:
    with pytest.raises(UnknownNameError, match=r"'fats'.*'fast'"):
        TransformerNet(cast(Architecture, "fats"))


def test_default_networks_have_the_size_of_the_paper_or_less() -> None:
    def size(architecture: Architecture) -> int:
        return sum(p.numel() for p in TransformerNet(architecture).parameters())

    # Johnson et al. 2016 with its 9x9 output convolution: 1.68 million.
    assert 1_600_000 < size("classic") < 1_700_000
    assert size("fast") < size("classic") / 10
