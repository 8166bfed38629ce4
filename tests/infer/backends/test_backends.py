"""All backends stylize alike, at any size and precision."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from blends import blended_weights
from torch import Tensor

from nst_rt.errors import BackendError
from nst_rt.images.convert import frame_to_tensor, tensor_to_frame
from nst_rt.images.io import Frame, load_image
from nst_rt.infer.backends import Backend, BackendName, Precision, create_backend
from nst_rt.infer.backends import openvino as openvino_backend
from nst_rt.infer.backends.graph import StyledFrameNet
from nst_rt.infer.stylizer import Stylizer
from nst_rt.models.merge import with_styles
from nst_rt.models.style_model import StyleModel, find_style
from nst_rt.models.transformer import TransformerNet

ALL: list[BackendName] = ["openvino", "torch", "onnx"]
SIZES = [(16, 16), (17, 31), (45, 64), (96, 128), (333, 517)]


@pytest.fixture(scope="module")
def trained() -> TransformerNet:
    return find_style("starry_night")[0].network


@pytest.fixture(scope="module")
def exaggerated(trained: TransformerNet) -> TransformerNet:
    """A network whose output leaves [0, 1] at both ends."""

    class Exaggerated(TransformerNet):
        def forward(self, image: Tensor, style: Tensor) -> Tensor:
            return super().forward(image, style) * 3 - 1

    network = with_styles(trained, [0]).eval()
    network.__class__ = Exaggerated
    return network


def frame_of(photo: Tensor, height: int, width: int) -> Frame:
    return tensor_to_frame(torch.nn.functional.interpolate(photo, (height, width), mode="bilinear"))


def cpu_backend(network: TransformerNet, name: BackendName, precision: Precision) -> Backend:
    """A backend, or a skipped test where the processor lacks the precision."""
    try:
        backend = create_backend(network, name, device="cpu", precision=precision)
    except BackendError as error:
        pytest.skip(str(error))
    assert (backend.name, backend.precision) == (name, precision)
    return backend


def levels(
    network: TransformerNet, name: BackendName, precision: Precision, frame: Frame, *blend: float
) -> np.ndarray:
    weights = blended_weights(network, *blend)
    return cpu_backend(network, name, precision)(frame[None], weights)[0].astype(int)


def network_output(network: TransformerNet, frame: Frame, style: Tensor | None = None) -> Tensor:
    style = torch.eye(1, network.styles) if style is None else style
    with torch.no_grad():
        return network(frame_to_tensor(frame), style)


@pytest.mark.parametrize("size", SIZES)
def test_torch_backend_matches_the_network(
    trained: TransformerNet, photo: Tensor, size: tuple[int, int]
) -> None:
    frame = frame_of(photo, *size)
    found = levels(trained, "torch", "f32", frame)
    assert found.shape == (*size, 3)
    assert np.abs(found - tensor_to_frame(network_output(trained, frame))).max() <= 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["openvino", "onnx"])
@pytest.mark.parametrize("size", SIZES)
def test_backends_agree_in_f32(
    trained: TransformerNet, photo: Tensor, size: tuple[int, int], name: BackendName
) -> None:
    frame = frame_of(photo, *size)
    found, expected = (levels(trained, each, "f32", frame) for each in (name, "torch"))
    assert found.shape == (*size, 3)
    assert np.abs(found - expected).max() <= 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["openvino", "onnx"])
def test_blends_agree_in_f32(two_styles: StyleModel, photo: Tensor, name: BackendName) -> None:
    network, frame = two_styles.network, frame_of(photo, 64, 80)
    found, expected = (levels(network, each, "f32", frame, 0.3, 0.7) for each in (name, "torch"))
    assert np.abs(found - expected).max() <= 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_out_of_range_output_is_clamped(
    exaggerated: TransformerNet, photo: Tensor, name: BackendName
) -> None:
    frame = frame_of(photo, 96, 128)
    raw = network_output(exaggerated, frame)
    assert raw.min() < -0.01
    assert raw.max() > 1.01
    assert np.abs(levels(exaggerated, name, "f32", frame) - tensor_to_frame(raw)).max() <= 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["openvino", "torch"])
@pytest.mark.parametrize("network", ["trained", "exaggerated"])
def test_bfloat16_differs_by_two_levels_on_average(
    request: pytest.FixtureRequest, photos: Path, name: BackendName, network: str
) -> None:
    net = request.getfixturevalue(network)
    frame = tensor_to_frame(load_image(photos / "coffee.png", size=320))
    reduced, exact = (levels(net, name, precision, frame) for precision in ("bf16", "f32"))
    # An exaggerated output exaggerates its rounding as well.
    assert np.abs(reduced - exact).mean() <= (2 if network == "trained" else 6)


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("name", "precision"), [("openvino", "bf16"), ("torch", "f16")])
def test_reduced_precision_blends_at_any_size(
    trained: TransformerNet,
    photo: Tensor,
    size: tuple[int, int],
    name: BackendName,
    precision: Precision,
) -> None:
    frame = frame_of(photo, *size)
    reduced = levels(trained, name, precision, frame, 0.4, 0.6)
    exact = levels(trained, "torch", "f32", frame, 0.4, 0.6)
    assert np.abs(reduced - exact).mean() <= 2


class Plugin:
    """OpenVINO on a device with the given capabilities."""

    available_devices = ("CPU", "GPU")

    def __init__(self, capabilities: str) -> None:
        self._capabilities = capabilities.split()

    def get_property(self, device: str, name: str) -> object:
        return self._capabilities if name == "OPTIMIZATION_CAPABILITIES" else device


@pytest.mark.parametrize(
    ("device", "capabilities", "dtype", "precision"),
    [
        ("cpu", "FP32 FP16 BF16", torch.bfloat16, "bf16"),
        ("cpu", "FP32 FP16 BF16", torch.float32, "f32"),  # bfloat16 is switched off
        ("cpu", "FP32 FP16", torch.float32, "f16"),  # ARM
        ("cpu", "FP32 INT8", torch.float32, "f32"),
        ("gpu", "FP32 FP16 BF16", torch.float32, "bf16"),
    ],
)
def test_openvino_uses_bfloat16_where_pytorch_does(
    two_styles: StyleModel,
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    capabilities: str,
    dtype: torch.dtype,
    precision: str,
) -> None:
    monkeypatch.setattr(openvino_backend, "core", lambda: Plugin(capabilities))
    monkeypatch.setattr(openvino_backend, "fast_dtype", lambda device: dtype)
    backend = create_backend(two_styles.network, "openvino", device=device)
    assert backend.precision == precision


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("level", [0, 128])
def test_uniform_frame_gets_no_pattern(
    trained: TransformerNet, name: BackendName, level: int
) -> None:
    # With nothing to normalize, rounding is all there is, above all in bfloat16.
    frame = np.full((1, 240, 320, 3), level, np.uint8)
    stylized = create_backend(trained, name, device="cpu")(frame, blended_weights(trained))
    assert stylized.std((1, 2)).max() < 1


@pytest.mark.parametrize("architecture", ["fast", "classic"])
def test_channel_order_is_reversed_in_the_weights(architecture: str) -> None:
    size = {"trunk": 8} if architecture == "fast" else {"width": 4}
    network = TransformerNet(architecture, 2, blocks=1, **size).eval()  # type: ignore[arg-type]
    frame = np.random.default_rng(0).integers(0, 256, (20, 28, 3), np.uint8)
    style = torch.tensor([[0.25, 0.75]])
    expected = tensor_to_frame(network_output(network, frame, style))
    with torch.no_grad():
        styled = StyledFrameNet(network)(torch.from_numpy(frame[None]), style)[0].numpy()
    assert np.abs(styled.astype(int) - expected).max() <= 1
    assert np.abs(levels(network, "torch", "f32", frame, 0.25, 0.75) - expected).max() <= 1


@pytest.mark.parametrize("name", ALL)
def test_non_contiguous_frame(two_styles: StyleModel, name: BackendName) -> None:
    stylizer = Stylizer(two_styles, "waves", backend=name, precision="f32", stroke_size="1:1")
    frame = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
    expected = stylizer(frame[:, ::-1].copy())
    np.testing.assert_array_equal(stylizer(frame[:, ::-1]), expected)


def test_abandoned_frames_do_no_harm(two_styles: StyleModel) -> None:
    stylizer = Stylizer(two_styles, "waves", backend="openvino", precision="f32", stroke_size="1:1")
    frames = np.random.default_rng(0).integers(0, 256, (8, 240, 320, 3), np.uint8)
    expected = [stylizer.start_shrunk(frame)() for frame in frames]
    for _ in range(20):
        stylizer.start_shrunk(frames[0].copy())
    for frame, stylized in zip(frames, expected, strict=True):
        np.testing.assert_array_equal(stylizer.start_shrunk(frame)(), stylized)


def python(script: str, *arguments: str, **environment: str) -> str:
    """Output of a script that succeeds."""
    run = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.slow
def test_interrupt_after_last_network_was_released_in_another_thread() -> None:
    script = """
import signal, threading
import numpy as np
from nst_rt.infer.stylizer import load_style

stylizers = [load_style(backend="openvino")]
stylizers[0](np.zeros((16, 16, 3), np.uint8))
thread = threading.Thread(target=stylizers.clear)
thread.start()
thread.join()
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""
    assert python(script) == "interrupted\n"


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_no_network_access_and_no_fork(name: BackendName, tmp_path: Path) -> None:
    script = """
import os, sys
import numpy as np

def audit(event, arguments):
    if event in ("os.fork", "socket.getaddrinfo", "socket.connect", "socket.sendto"):
        os.write(1, f"{event} {arguments}\\n".encode())

sys.addaudithook(audit)
from nst_rt.infer.stylizer import load_style
load_style(backend=sys.argv[1])(np.zeros((16, 16, 3), np.uint8))
"""
    assert python(script, name, NST_RT_CACHE=str(tmp_path)) == ""
