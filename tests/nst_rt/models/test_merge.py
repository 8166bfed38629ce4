from pathlib import Path

import numpy as np
import pytest
import torch
from blends import blended_weights

from nst_rt.errors import InputError, StyleModelError, UnknownNameError
from nst_rt.infer.backends import create_backend
from nst_rt.infer.backends.frame_net import StyledFrameNet
from nst_rt.models.merge import (
    folded,
    merged_model,
    merged_network,
    single_style_model,
    with_styles,
)
from nst_rt.models.style_model import Style, StyleModel
from nst_rt.models.transformer import Architecture, TransformerNet

SMALL: dict[Architecture, dict[str, int]] = {
    "fast": {"trunk": 8, "decoder": 4, "blocks": 1},
    "classic": {"width": 4, "blocks": 1},
}
both = pytest.mark.parametrize("architecture", SMALL)
ONE = torch.ones(1, 1)
LEVEL = 1 / 255


def network(seed: int, architecture: Architecture = "fast", styles: int = 1) -> TransformerNet:
    generator = torch.Generator().manual_seed(seed)
    net = TransformerNet(architecture, styles, **SMALL[architecture]).eval().requires_grad_(False)
    for parameter in net.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator) / 3)
    return net


def interpolated(architecture: Architecture, *weights: float) -> TransformerNet:
    """The network whose weights are those of networks 0, 1, ... blended."""
    states = [network(seed, architecture).state_dict() for seed in range(len(weights))]
    blend = network(0, architecture)
    blend.load_state_dict(
        {k: sum(w * state[k] for w, state in zip(weights, states, strict=True)) for k in states[0]}
    )
    return blend


def image(seed: int = 0, height: int = 37, width: int = 50, count: int = 1) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


@both
def test_each_style_of_a_merged_network_equals_its_own_network(architecture: Architecture) -> None:
    networks = [network(seed, architecture) for seed in range(3)]
    merged = merged_network(networks)
    assert not merged.shared
    assert merged.styles == 3
    for alone, style in zip(networks, torch.eye(3).split(1), strict=True):
        torch.testing.assert_close(merged(image(), style), alone(image(), ONE), atol=1e-6, rtol=0)
    # Each image of a batch may have its own style.
    batch = merged(image(count=3), torch.eye(3))
    each = [alone(one, ONE) for alone, one in zip(networks, image(count=3).split(1), strict=True)]
    torch.testing.assert_close(batch, torch.cat(each), atol=1e-6, rtol=0)


@both
def test_blend_equals_the_network_of_blended_weights(architecture: Architecture) -> None:
    networks = [network(seed, architecture) for seed in range(2)]
    stylized = merged_network(networks)(image(), torch.tensor([[0.3, 0.7]]))
    expected = interpolated(architecture, 0.3, 0.7)(image(), ONE)
    torch.testing.assert_close(stylized, expected, atol=1e-6, rtol=0)
    assert (stylized - networks[0](image(), ONE)).abs().max() > 0.05


@both
def test_folded_network_gives_the_same_output(architecture: Architecture) -> None:
    merged = merged_network([network(seed, architecture) for seed in range(2)])
    style = torch.tensor([[0.4, 0.6]])
    expected = merged(image(), style)
    torch.testing.assert_close(folded(merged)(image(), style), expected, atol=1e-5, rtol=0)


def test_styles_are_extracted_copied_and_reordered() -> None:
    networks = [network(seed) for seed in range(3)]
    merged = merged_network(networks)
    alone = with_styles(merged, [2])
    assert alone.shared
    assert torch.equal(alone(image(), ONE), networks[2](image(), ONE))
    reordered = with_styles(merged, [1, 1, 0])
    style = torch.tensor([[0.0, 0.0, 1.0]])
    expected = networks[0](image(), ONE)
    torch.testing.assert_close(reordered(image(), style), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    "other", [network(1, "classic"), network(1, styles=2), merged_network([network(1)])]
)
def test_networks_that_cannot_be_merged(other: TransformerNet) -> None:
    with pytest.raises(InputError):
        merged_network([network(0), other])


def models() -> list[StyleModel]:
    return [
        StyleModel(network(seed), (Style(name),), {"steps": seed})
        for seed, name in enumerate(("a", "b"))
    ]


def test_merged_model_is_saved_loaded_and_taken_apart(tmp_path: Path) -> None:
    model = StyleModel.load(merged_model(models()).save(tmp_path / "both.safetensors"))
    assert model.style_names == ["a", "b"]
    assert not model.network.shared
    expected = network(1)(image(), ONE)
    stylized = model.network(image(), model.style_weights("b"))
    torch.testing.assert_close(stylized, expected, atol=LEVEL, rtol=0)
    alone = single_style_model(model, "b")
    assert alone.style_names == ["b"]
    assert alone.training == {"steps": 1}
    torch.testing.assert_close(alone.network(image(), ONE), expected, atol=LEVEL, rtol=0)
    with pytest.raises(UnknownNameError):
        single_style_model(model, "c")


def test_model_with_fewer_weights_than_styles_is_an_error(tmp_path: Path) -> None:
    model = merged_model(models())
    short = StyleModel(model.network, (*model.styles, Style("c")))
    with pytest.raises(StyleModelError, match=r"\(3, 8, 8, 3, 3\)"):
        StyleModel.load(short.save(tmp_path / "short.safetensors"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["openvino", "torch"])
def test_backends_run_styles_and_blends_of_a_merged_network(name: str) -> None:
    merged = merged_network([network(seed) for seed in range(2)])
    backend = create_backend(merged, name, precision="f32")  # type: ignore[arg-type]
    frames = np.random.default_rng(0).integers(0, 256, (1, 48, 64, 3), np.uint8)
    for style in ([1, 0], [0, 1], [0.5, 0.5]):
        stylized = backend(frames, blended_weights(merged, *style))
        expected = StyledFrameNet(interpolated("fast", *style))(torch.from_numpy(frames), ONE)
        assert np.abs(stylized.astype(int) - expected.numpy()).max() <= 1
