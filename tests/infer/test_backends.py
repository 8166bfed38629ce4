import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest
import torch
from blends import blended_weights
from torch import Tensor

from nst_rt.errors import BackendError
from nst_rt.images.io import Frame, frame_to_tensor, load_image, tensor_to_frame
from nst_rt.infer import backends
from nst_rt.infer.backends import (
    BackendName,
    Choice,
    choose,
    create_backend,
    onnx_graph,
    openvino_backend,
)
from nst_rt.infer.backends.frame_net import StyledFrameNet
from nst_rt.infer.stylizer import Stylizer
from nst_rt.models.merge import with_styles
from nst_rt.models.style_model import StyleModel, find_style
from nst_rt.models.transformer import TransformerNet

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


def first_style(network: TransformerNet) -> Tensor:
    return torch.eye(1, network.styles)


def frame_of(photo: Tensor, height: int, width: int) -> Frame:
    shape = torch.nn.functional.interpolate(photo, (height, width), mode="bilinear")
    return tensor_to_frame(shape)


def levels(network: TransformerNet, backend: str, precision: str, frame: Frame) -> np.ndarray:
    engine = create_backend(network, backend, device="cpu", precision=precision)  # type: ignore[arg-type]
    assert (engine.name, engine.precision) == (backend, precision)
    return engine(frame[None], blended_weights(network))[0].astype(int)


@pytest.mark.parametrize("size", SIZES)
def test_torch_paints_what_the_network_paints(
    trained: TransformerNet, photo: Tensor, size: tuple[int, int]
) -> None:
    frame = frame_of(photo, *size)
    with torch.no_grad():
        expected = tensor_to_frame(trained(frame_to_tensor(frame), first_style(trained)))
    got = levels(trained, "torch", "f32", frame)
    assert got.shape == (*size, 3)
    assert np.abs(got - expected).max() <= 1


@pytest.mark.parametrize("backend", ["openvino", "onnx"])
@pytest.mark.parametrize("size", SIZES)
def test_engines_agree_with_torch_in_f32(
    trained: TransformerNet, photo: Tensor, size: tuple[int, int], backend: str
) -> None:
    frame = frame_of(photo, *size)
    ours, theirs = (levels(trained, name, "f32", frame) for name in (backend, "torch"))
    assert ours.shape == (*size, 3)
    assert np.abs(ours - theirs).max() <= 1


def test_they_agree_where_values_leave_the_range(
    exaggerated: TransformerNet, photo: Tensor
) -> None:
    frame = frame_of(photo, 96, 128)
    with torch.no_grad():
        raw = exaggerated(frame_to_tensor(frame), first_style(exaggerated))
    assert raw.min() < -0.01
    assert raw.max() > 1.01
    for name in ("openvino", "torch", "onnx"):
        stylized = levels(exaggerated, name, "f32", frame)
        assert np.abs(stylized - tensor_to_frame(raw)).max() <= 1


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


class Plugin:
    """OpenVINO on a device that has such capabilities."""

    available_devices = ("CPU", "GPU")

    def __init__(self, capabilities: str) -> None:
        self._capabilities = capabilities.split()

    def get_property(self, device: str, name: str) -> object:
        return self._capabilities if name == "OPTIMIZATION_CAPABILITIES" else device


@pytest.mark.parametrize(
    ("device", "capabilities", "dtype", "precision"),
    [
        ("cpu", "FP32 FP16 BF16", torch.bfloat16, "bf16"),
        ("cpu", "FP32 FP16 BF16", torch.float32, "f32"),  # switched off
        ("cpu", "FP32 FP16", torch.float32, "f16"),  # one of ARM
        ("cpu", "FP32 INT8", torch.float32, "f32"),
        ("gpu", "FP32 FP16 BF16", torch.float32, "bf16"),
    ],
)
def test_openvino_and_pytorch_agree_on_bfloat16(
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


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("backend", "precision"), [("openvino", "bf16"), ("torch", "f16")])
def test_reduced_precision_paints_blends_of_any_size(
    trained: TransformerNet, photo: Tensor, size: tuple[int, int], backend: str, precision: str
) -> None:
    frame = frame_of(photo, *size)[None]
    style = blended_weights(trained, 0.4, 0.6)
    try:
        reduced = create_backend(trained, backend, device="cpu", precision=precision)
    except BackendError as error:
        pytest.skip(str(error))
    exact = create_backend(trained, "torch", device="cpu", precision="f32")(frame, style)
    assert np.abs(reduced(frame, style).astype(int) - exact).mean() <= 2


@pytest.mark.parametrize("backend", ["openvino", "torch", "onnx"])
@pytest.mark.parametrize("level", [0, 128])
def test_a_frame_of_one_color_gets_no_pattern(
    trained: TransformerNet, backend: str, level: int
) -> None:
    # Where there is nothing to normalize, rounding is all that there is, above all in bfloat16.
    frame = np.full((1, 240, 320, 3), level, np.uint8)
    stylized = create_backend(trained, backend, device="cpu")(frame, blended_weights(trained))
    assert stylized.std((1, 2)).max() < 1


@pytest.mark.parametrize("architecture", ["fast", "classic"])
def test_reversing_channels_is_exact(architecture: str) -> None:
    size = {"trunk": 8} if architecture == "fast" else {"width": 4}
    network = TransformerNet(architecture, 2, blocks=1, **size).eval()  # type: ignore[arg-type]
    frame = np.random.default_rng(0).integers(0, 256, (20, 28, 3), np.uint8)
    style = torch.tensor([[0.25, 0.75]])
    with torch.no_grad():
        expected = tensor_to_frame(network(frame_to_tensor(frame), style))
        got = StyledFrameNet(network)(torch.from_numpy(frame[None]), style)[0].numpy()
    assert np.abs(got.astype(int) - expected).max() <= 1
    weights = blended_weights(network, 0.25, 0.75)
    engine = create_backend(network, "torch", device="cpu", precision="f32")
    assert np.abs(engine(frame[None], weights)[0].astype(int) - expected).max() <= 1


def test_blends_agree(two_styles: StyleModel, photo: Tensor) -> None:
    frame = frame_of(photo, 64, 80)[None]
    style = blended_weights(two_styles.network, 0.3, 0.7)
    ours, theirs, others = (
        create_backend(two_styles.network, name, device="cpu", precision="f32")(frame, style)
        for name in ("openvino", "torch", "onnx")
    )
    assert np.abs(ours.astype(int) - theirs).max() <= 1
    assert np.abs(others.astype(int) - theirs).max() <= 1


Rates = dict[str, float | RuntimeError | None]


class Timed:
    """An engine whose speed is given, in frames per second, None for one that is not there; or what
    goes wrong with it.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, rates: Rates) -> None:
        self.asked: list[str] = []

        def engine(name: str) -> object:
            def create(*_: object) -> object:
                self.asked.append(name)
                if rates[name] is None:
                    raise BackendError(f"{name} is missing")
                if isinstance(rates[name], RuntimeError):
                    raise rates[name]
                return name

            return create

        monkeypatch.setattr(backends, "_engine", engine)
        monkeypatch.setattr(backends, "_frame_rate", lambda engine, _: rates[engine])


@pytest.fixture
def new_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NST_RT_CACHE", str(tmp_path))


@pytest.mark.usefixtures("new_machine")
def test_auto_takes_the_fastest_and_remembers(
    two_styles: StyleModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed = Timed(monkeypatch, {"openvino": 20.0, "torch": 31.25, "onnx": None})
    for _ in range(2):
        choice = choose(two_styles.network)
        assert choice.name == "torch"
        assert choice.why.endswith("640x480: openvino 20.0, torch 31.2")
    assert timed.asked == ["openvino", "torch", "onnx"]
    choose(two_styles.network, device="cpu")  # another question
    assert len(timed.asked) == 6
    for dtype in (torch.bfloat16, torch.float32):  # another machine, as it were
        monkeypatch.setattr(backends, "fast_dtype", lambda device, dtype=dtype: dtype)
        choose(two_styles.network)
    assert len(timed.asked) == 9


@pytest.mark.usefixtures("new_machine")
def test_what_only_fails_now_is_tried_again(
    two_styles: StyleModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed = Timed(monkeypatch, {"openvino": 20.0, "torch": RuntimeError("full"), "onnx": None})
    assert choose(two_styles.network).why.endswith("openvino 20.0; torch: full")
    assert choose(two_styles.network).name == "openvino"
    assert len(timed.asked) == 6


@pytest.mark.usefixtures("new_machine")
def test_auto_without_any_engine_says_why(
    two_styles: StyleModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    Timed(monkeypatch, dict.fromkeys(("openvino", "torch", "onnx")))
    with pytest.raises(BackendError, match="openvino: openvino is missing; torch: torch is"):
        choose(two_styles.network)


def test_an_engine_that_was_asked_for_is_not_measured(
    two_styles: StyleModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed = Timed(monkeypatch, {})
    assert choose(two_styles.network, "torch") == Choice("torch", "asked for")
    assert not timed.asked


def test_auto_says_what_it_took_and_why(two_styles: StyleModel) -> None:
    stylizer = Stylizer(two_styles, "waves", stroke_size="1:1")
    assert stylizer.backend == stylizer.choice.name
    assert f"{stylizer.backend} " in stylizer.choice.why
    assert stylizer.precision in ("f32", "bf16", "f16")
    assert stylizer.device


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_what_onnx_needs_is_named(
    two_styles: StyleModel, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    def version(name: str) -> str:
        if name == package:
            raise PackageNotFoundError(name)
        return "1"

    monkeypatch.setattr(onnx_graph, "version", version)
    with pytest.raises(BackendError, match=f"{package} is missing: pip install 'nst-rt.onnx.'"):
        create_backend(two_styles.network, "onnx")


@pytest.mark.parametrize(
    ("name", "device", "precision", "said"),
    [
        ("tensorrt", None, "auto", "known are auto, openvino, torch, onnx"),
        ("openvino", "tpu", "auto", "it has cpu"),
        ("torch", "nonsense", "auto", "no device 'nonsense'"),
        ("torch", "cpu", "int8", "unknown precision"),
        ("onnx", "cpu", "bf16", "computes in f32"),
        ("onnx", "cuda:7", "f32", "it has cpu"),
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


def test_ctrl_c_works_after_the_last_network_went_in_another_thread() -> None:
    script = """
import signal, threading
import numpy as np
from nst_rt.infer.backends.openvino import OpenVINOBackend
from nst_rt.infer.stylizer import load_style

backends = [load_style(backend="openvino")]
backends[0].stylize(np.zeros((16, 16, 3), np.uint8))
thread = threading.Thread(target=backends.clear)
thread.start()
thread.join()
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (0, "interrupted\n"), run.stderr


@pytest.mark.parametrize("name", ["openvino", "torch", "onnx"])
def test_nothing_is_sent_or_forked(name: BackendName, tmp_path: Path) -> None:
    script = """
import os, sys
import numpy as np

def audit(event, arguments):
    if event in ("os.fork", "socket.getaddrinfo", "socket.connect", "socket.sendto"):
        os.write(1, f"{event} {arguments}\\n".encode())

sys.addaudithook(audit)
from nst_rt.infer.stylizer import load_style
load_style(backend=sys.argv[1]).stylize(np.zeros((16, 16, 3), np.uint8))
"""
    run = subprocess.run(
        [sys.executable, "-c", script, name],
        env={**os.environ, "NST_RT_CACHE": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (run.returncode, run.stdout) == (0, ""), run.stderr


@pytest.mark.parametrize("name", ["openvino", "torch", "onnx"])
def test_any_view_of_a_frame_is_painted(two_styles: StyleModel, name: BackendName) -> None:
    stylizer = Stylizer(two_styles, "waves", backend=name, precision="f32", stroke_size="1:1")
    frame = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
    expected = stylizer.stylize(frame[:, ::-1].copy())
    np.testing.assert_array_equal(stylizer.stylize(frame[:, ::-1]), expected)


def test_what_nobody_waits_for_does_no_harm(two_styles: StyleModel) -> None:
    stylizer = Stylizer(two_styles, "waves", backend="openvino", precision="f32", stroke_size="1:1")
    frames = np.random.default_rng(0).integers(0, 256, (8, 240, 320, 3), np.uint8)
    expected = [stylizer.start_shrunk(frame)() for frame in frames]
    for _ in range(20):
        stylizer.start_shrunk(frames[0].copy())
    for frame, stylized in zip(frames, expected, strict=True):
        np.testing.assert_array_equal(stylizer.start_shrunk(frame)(), stylized)
