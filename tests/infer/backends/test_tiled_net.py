from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from blends import blended_weights

from nst_rt.errors import InputError
from nst_rt.images.convert import frame_to_tensor, tensor_to_frame
from nst_rt.images.io import Frame, load_image
from nst_rt.infer import stylizer as stylizer_module
from nst_rt.infer.backends.tiled_net import TiledNet, tile_side
from nst_rt.infer.stylizer import Stylizer
from nst_rt.models.style_model import StyleModel, find_style
from nst_rt.models.transformer import TransformerNet


@pytest.fixture(scope="module")
def frame(astronaut: Path) -> Frame:
    return tensor_to_frame(load_image(astronaut))[:205, :263]


def whole(network: TransformerNet, frame: Frame, style: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        return tensor_to_frame(network(frame_to_tensor(frame), style)).astype(int)


@pytest.mark.slow
@pytest.mark.parametrize("tile", [64, 127, 1000])
def test_tiles_match_the_whole(frame: Frame, tile: int) -> None:
    network = find_style("starry_night")[0].network
    style = torch.full((1, network.styles), 1 / network.styles)
    stylized = TiledNet(network, blended_weights(network, *style[0]), tile=tile)(frame)
    assert stylized.shape == frame.shape
    assert np.abs(stylized - whole(network, frame, style)).max() <= 1


@pytest.mark.slow
def test_tiles_of_the_classic_network_match_the_whole(frame: Frame) -> None:
    network = TransformerNet("classic", 2, width=8, blocks=2).eval()
    style = torch.tensor([[0.3, 0.7]])
    stylized = TiledNet(network, blended_weights(network, 0.3, 0.7), tile=96)(frame)
    assert np.abs(stylized - whole(network, frame, style)).max() <= 1


def test_tiling_leaves_the_network_alone(two_styles: StyleModel, frame: Frame) -> None:
    style = two_styles.style_vector("waves")
    before = whole(two_styles.network, frame, style)
    TiledNet(two_styles.network, blended_weights(two_styles.network), tile=128)(frame)
    np.testing.assert_array_equal(whole(two_styles.network, frame, style), before)


def test_tile_side_depends_on_the_memory() -> None:
    network = TransformerNet("fast", 1)
    assert tile_side(network, 4320, 7680, 2, 8e9) is None
    assert tile_side(network, 4320, 7680, 2, 3e9) == 2048
    assert tile_side(network, 4320, 7680, 2, 2.05e9) == 512
    assert tile_side(TransformerNet("classic", 1), 4320, 7680, 2, 8e9) == 2048


@pytest.mark.parametrize("memory", [1e9, 1e8])
def test_too_large_frames_are_told_a_size_that_fits(memory: float) -> None:
    network = TransformerNet("fast", 1)
    with pytest.raises(InputError, match="7680x4320") as caught:
        tile_side(network, 4320, 7680, 2, memory)
    size = int(str(caught.value).split("`size` ")[1].split()[0])
    assert tile_side(network, size * 4320 // 7680, size, 2, memory) == 512
    with pytest.raises(InputError, match="no smaller size"):
        tile_side(network, 4320, 7680, 2, 1e5)


@pytest.mark.slow
def test_stylizer_uses_tiles_when_memory_is_short(
    two_styles: StyleModel, frame: Frame, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = np.asarray(cv2.resize(frame, (1300, 900)), np.uint8)
    expected = Stylizer(
        two_styles, "waves", backend="openvino", precision="f32", stroke_size="1:1"
    )(large)
    tiled = Stylizer(
        two_styles, "waves", backend="openvino", precision="f32", memory=0.11, stroke_size="1:1"
    )
    refusing = Refusing(tiled._backend)
    monkeypatch.setattr(tiled._backends, "of", lambda network: refusing)
    stylized = tiled(large)
    assert np.abs(stylized.astype(int) - expected).max() <= 1
    with pytest.raises(InputError, match="`size`"):
        Stylizer(two_styles, "waves", backend="openvino", memory=0.05, stroke_size="1:1")(large)
    monkeypatch.setattr(stylizer_module, "_SURELY_FITS", 1000)
    monkeypatch.setattr(stylizer_module, "available_memory", lambda _: 1e5)
    with pytest.raises(InputError, match="no smaller"):
        Stylizer(two_styles, "waves", backend="openvino", stroke_size="1:1")(large)


class Refusing:
    """A backend that must not run."""

    def __init__(self, backend: object) -> None:
        self._backend = backend

    def __getattr__(self, name: str) -> object:
        return getattr(self._backend, name)

    def __call__(self, *_: object) -> None:
        pytest.fail("stylized as a whole")


@pytest.mark.parametrize("memory", [0.0, -1.0, float("nan")])
def test_bad_memory_is_an_error(two_styles: StyleModel, memory: float) -> None:
    with pytest.raises(InputError, match="`memory`"):
        Stylizer(two_styles, "waves", backend="openvino", memory=memory, stroke_size="1:1")
