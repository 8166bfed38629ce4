from pathlib import Path

import numpy as np
import pytest
import torch

from nst_rt.images import Frame, frame_to_tensor, load_image, tensor_to_frame
from nst_rt.infer.tiles import TiledNet
from nst_rt.style_model import StyleModel, find_style
from nst_rt.transformer import TransformerNet


@pytest.fixture(scope="module")
def frame(astronaut: Path) -> Frame:
    return tensor_to_frame(load_image(astronaut))[:309, :407]


def whole(network: TransformerNet, frame: Frame, style: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        return tensor_to_frame(network(frame_to_tensor(frame), style)).astype(int)


@pytest.mark.parametrize("tile", [64, 127, 1000])
def test_tiles_make_the_whole(frame: Frame, tile: int) -> None:
    network = find_style("starry_night")[0].network
    style = torch.full((1, network.styles), 1 / network.styles)
    painted = TiledNet(network, tile=tile).stylize(frame, style)
    assert painted.shape == frame.shape
    assert np.abs(painted - whole(network, frame, style)).max() <= 1


def test_tiles_of_the_classic_network_make_the_whole(frame: Frame) -> None:
    network = TransformerNet("classic", 2, width=8, blocks=2).eval()
    style = torch.tensor([[0.3, 0.7]])
    painted = TiledNet(network, tile=96).stylize(frame, style)
    assert np.abs(painted - whole(network, frame, style)).max() <= 1


def test_styles_may_change_between_pictures(two_styles: StyleModel, frame: Frame) -> None:
    net = TiledNet(two_styles.network, tile=128)
    for name in ("waves", "night", "waves"):
        style = two_styles.style_weights(name)
        painted = net.stylize(frame, style)
        assert np.abs(painted - whole(two_styles.network, frame, style)).max() <= 1


def test_the_network_stays_as_it_is(two_styles: StyleModel, frame: Frame) -> None:
    style = two_styles.style_weights("waves")
    before = whole(two_styles.network, frame, style)
    TiledNet(two_styles.network, tile=128).stylize(frame, style)
    np.testing.assert_array_equal(whole(two_styles.network, frame, style), before)
