from pathlib import Path

import numpy as np
import pytest
import torch
from blends import SMALL, blended_weights, small_network

from nst_rt.errors import InputError, StyleModelError, UnknownNameError
from nst_rt.infer.backends import create_backend
from nst_rt.infer.backends.graph import StyledFrameNet
from nst_rt.models.merge import (
    folded,
    merged_model,
    merged_network,
    single_style_model,
    with_styles,
)
from nst_rt.models.style_model import Style, StyleModel
from nst_rt.models.transformer import Architecture, TransformerNet

both = pytest.mark.parametrize("architecture", SMALL)
ONE = torch.ones(1, 1)
LEVEL = 1 / 255


def image(seed: int = 0, height: int = 37, width: int = 50, count: int = 1) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


@both
def test_each_style_stylizes_as_its_own_network(architecture: Architecture) -> None:
    networks = [small_network(architecture, seed=seed) for seed in range(3)]
    together = merged_network(networks)
    assert not together.shared
    assert together.styles == 3
    for alone, style in zip(networks, torch.eye(3).split(1), strict=True):
        assert torch.allclose(together(image(), style), alone(image(), ONE), atol=1e-6)
    # Any image may have its own.
    batch = together(image(count=3), torch.eye(3))
    each = [alone(one, ONE) for alone, one in zip(networks, image(count=3).split(1), strict=True)]
    assert torch.allclose(batch, torch.cat(each), atol=1e-6)


@both
def test_a_blend_is_the_network_of_blended_weights(architecture: Architecture) -> None:
    networks = [small_network(architecture, seed=seed) for seed in range(2)]
    states = [each.state_dict() for each in networks]
    blended = small_network(architecture, seed=0)
    blended.load_state_dict({k: 0.3 * states[0][k] + 0.7 * states[1][k] for k in states[0]})
    stylized = merged_network(networks)(image(), torch.tensor([[0.3, 0.7]]))
    assert torch.allclose(stylized, blended(image(), ONE), atol=1e-6)
    assert (stylized - networks[0](image(), ONE)).abs().max() > 0.05


@both
def test_a_folded_network_gives_the_same_output(architecture: Architecture) -> None:
    together = merged_network([small_network(architecture, seed=seed) for seed in range(2)])
    style = torch.tensor([[0.4, 0.6]])
    assert torch.allclose(folded(together)(image(), style), together(image(), style), atol=1e-5)


def test_styles_are_taken_out_copied_and_ordered_anew() -> None:
    networks = [small_network(seed=seed) for seed in range(3)]
    together = merged_network(networks)
    alone = with_styles(together, [2])
    assert alone.shared
    assert torch.equal(alone(image(), ONE), networks[2](image(), ONE))
    reordered = with_styles(together, [1, 1, 0])
    style = torch.tensor([[0.0, 0.0, 1.0]])
    assert torch.allclose(reordered(image(), style), networks[0](image(), ONE), atol=1e-6)


@pytest.mark.parametrize(
    "others",
    [
        small_network("classic", seed=1),
        small_network(styles=2, seed=1),
        merged_network([small_network(seed=1)]),
    ],
)
def test_networks_that_do_not_go_together(others: TransformerNet) -> None:
    with pytest.raises(InputError):
        merged_network([small_network(seed=0), others])


def models() -> list[StyleModel]:
    return [
        StyleModel(small_network(seed=seed), (Style(name),), {"steps": seed})
        for seed, name in enumerate(("a", "b"))
    ]


def test_a_model_of_several_is_written_read_and_taken_apart(tmp_path: Path) -> None:
    file = merged_model(models()).save(tmp_path / "both.safetensors")
    read = StyleModel.load(file)
    assert read.style_names == ["a", "b"]
    assert not read.network.shared
    style = read.style_vector("b")
    assert torch.allclose(
        read.network(image(), style), small_network(seed=1)(image(), ONE), atol=LEVEL
    )
    alone = single_style_model(read, "b")
    assert alone.style_names == ["b"]
    assert alone.training == {"steps": 1}
    assert torch.allclose(
        alone.network(image(), ONE), small_network(seed=1)(image(), ONE), atol=LEVEL
    )
    with pytest.raises(UnknownNameError):
        single_style_model(read, "c")


def test_weights_of_one_style_too_few_are_an_error(tmp_path: Path) -> None:
    model = merged_model(models())
    short = StyleModel(model.network, (*model.styles, Style("c")))
    with pytest.raises(StyleModelError, match=r"\(3, 8, 8, 3, 3\)"):
        StyleModel.load(short.save(tmp_path / "short.safetensors"))


@pytest.mark.parametrize("backend", ["openvino", "torch"])
def test_backends_run_styles_and_blends_of_it(backend: str) -> None:
    networks = [small_network(seed=seed) for seed in range(2)]
    run = create_backend(merged_network(networks), backend, precision="f32")  # type: ignore[arg-type]
    frames = np.random.default_rng(0).integers(0, 256, (1, 48, 64, 3), np.uint8)
    for style in ([1, 0], [0, 1], [0.5, 0.5]):
        weights = blended_weights(merged_network(networks), *style)
        states = [each.state_dict() for each in networks]
        blended = small_network(seed=0)
        blended.load_state_dict(
            {k: style[0] * states[0][k] + style[1] * states[1][k] for k in states[0]}
        )
        wanted = StyledFrameNet(blended)(torch.from_numpy(frames), ONE).numpy()
        assert np.abs(run(frames, weights).astype(int) - wanted).max() <= 1
