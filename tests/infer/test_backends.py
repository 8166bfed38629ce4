import copy

import numpy as np
import pytest
import torch
from torch import Tensor

from nst_rt.errors import BackendError
from nst_rt.images import Frame, frame_to_tensor, load_image, tensor_to_frame
from nst_rt.infer.backends import create_backend
from nst_rt.infer.frame_net import FrameNet
from nst_rt.style_model import StyleModel, find_style
from nst_rt.transformer import TransformerNet

SIZES = [(16, 16), (17, 31), (96, 128), (333, 517)]
ONE_STYLE = np.ones((1, 1), np.float32)


@pytest.fixture(scope="module")
def trained() -> TransformerNet:
    return find_style("starry_night")[0].network


@pytest.fixture(scope="module")
def exaggerated(trained: TransformerNet) -> TransformerNet:
    """A network whose output leaves [0, 1] at both ends."""

    class Exaggerated(TransformerNet):
        def forward(self, image: Tensor, style: Tensor) -> Tensor:
            return super().forward(image, style) * 3 - 1

    network = copy.deepcopy(trained)
    network.__class__ = Exaggerated
    return network


def frame_of(photo: Tensor, height: int, width: int) -> Frame:
    shape = torch.nn.functional.interpolate(photo, (height, width), mode="bilinear")
    return tensor_to_frame(shape)


def levels(network: TransformerNet, backend: str, precision: str, frame: Frame) -> np.ndarray:
    engine = create_backend(network, backend, device="cpu", precision=precision)  # type: ignore[arg-type]
    assert (engine.name, engine.precision) == (backend, precision)
    return engine(frame[None], ONE_STYLE)[0].astype(int)


@pytest.mark.parametrize("size", SIZES)
def test_torch_paints_what_the_network_paints(
    trained: TransformerNet, photo: Tensor, size: tuple[int, int]
) -> None:
    frame = frame_of(photo, *size)
    with torch.no_grad():
        expected = tensor_to_frame(trained(frame_to_tensor(frame), torch.ones(1, 1)))
    got = levels(trained, "torch", "f32", frame)
    assert got.shape == (*size, 3)
    assert np.abs(got - expected).max() <= 1


@pytest.mark.parametrize("size", SIZES)
def test_openvino_and_torch_agree_in_f32(
    trained: TransformerNet, photo: Tensor, size: tuple[int, int]
) -> None:
    frame = frame_of(photo, *size)
    ours, theirs = (levels(trained, name, "f32", frame) for name in ("openvino", "torch"))
    assert ours.shape == (*size, 3)
    assert np.abs(ours - theirs).max() <= 1


def test_they_agree_where_values_leave_the_range(
    exaggerated: TransformerNet, photo: Tensor
) -> None:
    frame = frame_of(photo, 96, 128)
    with torch.no_grad():
        raw = exaggerated(frame_to_tensor(frame), torch.ones(1, 1))
    assert raw.min() < -0.01
    assert raw.max() > 1.01
    ours, theirs = (levels(exaggerated, name, "f32", frame) for name in ("openvino", "torch"))
    assert np.abs(ours - theirs).max() <= 1
    assert np.abs(ours - tensor_to_frame(raw)).max() <= 1


@pytest.mark.parametrize("backend", ["openvino", "torch"])
@pytest.mark.parametrize("which", ["trained", "exaggerated"])
def test_bfloat16_is_within_two_levels_on_average(
    request: pytest.FixtureRequest, photos, backend: str, which: str
) -> None:
    network = request.getfixturevalue(which)
    frame = tensor_to_frame(load_image(photos / "coffee.png", size=320))
    try:
        reduced = levels(network, backend, "bf16", frame)
    except BackendError as error:
        pytest.skip(str(error))
    exact = levels(network, backend, "f32", frame)
    # An exaggerated output exaggerates its rounding too.
    assert np.abs(reduced - exact).mean() <= (2 if which == "trained" else 6)


@pytest.mark.parametrize("architecture", ["fast", "classic"])
def test_reversing_channels_is_exact(architecture: str) -> None:
    size = {"trunk": 8} if architecture == "fast" else {"width": 4}
    network = TransformerNet(architecture, 2, blocks=1, **size).eval()  # type: ignore[arg-type]
    frame = np.random.default_rng(0).integers(0, 256, (20, 28, 3), np.uint8)
    style = torch.tensor([[0.25, 0.75]])
    with torch.no_grad():
        expected = tensor_to_frame(network(frame_to_tensor(frame), style))
        got = FrameNet(network)(torch.from_numpy(frame[None]), style)[0].numpy()
    assert np.abs(got.astype(int) - expected).max() <= 1


def test_blends_agree(two_styles: StyleModel, photo: Tensor) -> None:
    frame = frame_of(photo, 64, 80)[None]
    style = np.array([[0.3, 0.7]], np.float32)
    ours, theirs = (
        create_backend(two_styles.network, name, device="cpu", precision="f32")(frame, style)
        for name in ("openvino", "torch")
    )
    assert np.abs(ours.astype(int) - theirs).max() <= 1


def test_auto_says_what_it_took(two_styles: StyleModel) -> None:
    engine = create_backend(two_styles.network)
    assert engine.name == ("torch" if torch.cuda.is_available() else "openvino")
    assert engine.precision in ("f32", "bf16", "f16")
    assert engine.device


@pytest.mark.parametrize(
    ("name", "device", "precision", "said"),
    [
        ("tensorrt", None, "auto", "known are auto, openvino, torch"),
        ("openvino", "tpu", "auto", "it has cpu"),
        ("torch", "nonsense", "auto", "no device 'nonsense'"),
        ("torch", "cpu", "int8", "unknown precision"),
    ],
)
def test_what_is_not_there_is_an_error(
    two_styles: StyleModel, name: str, device: str | None, precision: str, said: str
) -> None:
    with pytest.raises(BackendError, match=said):
        create_backend(two_styles.network, name, device=device, precision=precision)  # type: ignore[arg-type]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_is_never_replaced_by_the_cpu(two_styles: StyleModel) -> None:
    with pytest.raises(BackendError, match="no device 'cuda'"):
        create_backend(two_styles.network, "torch", device="cuda")
