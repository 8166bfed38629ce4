"""Which backend runs, and the reason for it."""

from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import torch

from nst_rt.errors import BackendError
from nst_rt.infer.backends import Choice, choice, choose, create_backend, onnx
from nst_rt.infer.stylizer import Stylizer
from nst_rt.models.style_model import StyleModel

Rates = dict[str, float | Exception]  # frames per second, or what is raised instead


@pytest.fixture
def new_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NST_RT_CACHE", str(tmp_path))


def timed_backends(monkeypatch: pytest.MonkeyPatch, rates: Rates) -> list[str]:
    """Replace the backends by given rates; returns the names of those that are created."""
    created: list[str] = []

    def backend_class(name: str) -> object:
        def create(*_: object) -> str:
            created.append(name)
            if isinstance(rates[name], Exception):
                raise rates[name]
            return name

        return create

    monkeypatch.setattr(choice, "_backend_class", backend_class)
    monkeypatch.setattr(choice, "_frame_rate", lambda name, _: rates[name])
    return created


@pytest.mark.usefixtures("new_machine")
def test_auto_measures_once_per_machine(
    two_styles: StyleModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = {"openvino": 20.0, "torch": 31.25, "onnx": BackendError("missing")}
    created = timed_backends(monkeypatch, rates)
    for _ in range(2):
        found = choose(two_styles.network)
        assert found.name == "torch"
        assert found.why.endswith("640x480: openvino 20.0, torch 31.2")
    assert created == ["openvino", "torch", "onnx"]
    choose(two_styles.network, device="cpu")  # another question
    assert len(created) == 6
    for dtype in (torch.bfloat16, torch.float32):  # one of which is another machine's
        monkeypatch.setattr(choice, "fast_dtype", lambda device, dtype=dtype: dtype)
        choose(two_styles.network)
    assert len(created) == 9


@pytest.mark.usefixtures("new_machine")
def test_backend_that_failed_is_measured_again(
    two_styles: StyleModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = {"openvino": 20.0, "torch": RuntimeError("full"), "onnx": BackendError("missing")}
    created = timed_backends(monkeypatch, rates)
    for _ in range(2):
        found = choose(two_styles.network)
        assert found.name == "openvino"
        assert found.why.endswith("openvino 20.0; torch: full")
    assert len(created) == 6


@pytest.mark.usefixtures("new_machine")
def test_auto_without_any_backend_says_why(
    two_styles: StyleModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed_backends(monkeypatch, {n: BackendError(f"no {n}") for n in ("openvino", "torch", "onnx")})
    with pytest.raises(BackendError, match="openvino: no openvino; torch: no torch"):
        choose(two_styles.network)


@pytest.mark.usefixtures("new_machine")
def test_device_that_no_backend_has_is_refused_before_timing(
    two_styles: StyleModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    timed_backends(monkeypatch, {n: BackendError(f"no {n}") for n in ("openvino", "torch", "onnx")})
    with caplog.at_level("INFO"), pytest.raises(BackendError, match="`device` tpu, f16"):
        choose(two_styles.network, device="tpu", precision="f16")
    assert not caplog.messages


def test_named_backend_is_not_measured(
    two_styles: StyleModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    created = timed_backends(monkeypatch, {})
    assert choose(two_styles.network, "torch") == Choice("torch", "asked for")
    assert not created


@pytest.mark.slow
def test_stylizer_reports_the_automatic_choice(
    two_styles: StyleModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "_MIN_SECONDS", 0.0)
    for _ in range(2):  # the second time with the modules of all backends imported
        stylizer = Stylizer(two_styles, "waves", stroke_size="1:1")
    assert stylizer.backend == stylizer.choice.name
    assert f"{stylizer.backend} " in stylizer.choice.why
    assert stylizer.precision in ("f32", "bf16", "f16")
    assert stylizer.device


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_missing_onnx_package_is_named(
    two_styles: StyleModel, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    def version(name: str) -> str:
        if name == package:
            raise PackageNotFoundError(name)
        return "1"

    monkeypatch.setattr(onnx, "version", version)
    with pytest.raises(BackendError, match=f"{package} .*pip install 'nst-rt.onnx.'"):
        create_backend(two_styles.network, "onnx")


@pytest.mark.parametrize(
    ("name", "device", "precision", "match"),
    [
        ("tensorrt", None, "auto", "auto, openvino, torch, onnx"),
        ("openvino", "tpu", "auto", "'tpu'.* cpu"),
        ("torch", "nonsense", "auto", "'nonsense'"),
        ("torch", "cpu", "int8", "'int8'.* f32, bf16, f16"),
        ("onnx", "cpu", "bf16", "bf16"),
        ("onnx", "cuda:7", "f32", "'cuda:7'.* cpu"),
    ],
)
def test_unavailable_backend_device_or_precision_is_refused(
    two_styles: StyleModel, name: str, device: str | None, precision: str, match: str
) -> None:
    with pytest.raises(BackendError, match=match):
        create_backend(two_styles.network, name, device=device, precision=precision)  # type: ignore[arg-type]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_is_never_replaced_by_the_cpu(two_styles: StyleModel) -> None:
    with pytest.raises(BackendError, match="'cuda'"):
        create_backend(two_styles.network, "torch", device="cuda")
