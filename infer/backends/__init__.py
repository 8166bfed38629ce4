"""The engines that run a network on frames; each is asked for by name, `auto` measures them."""

import json
import logging
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Literal, Protocol, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import backends as torch_backends  # `torch` here becomes the module of that name
from torch import cuda

from nst_rt.devices import fast_dtype
from nst_rt.errors import BackendError
from nst_rt.infer.backends.cache import Cache
from nst_rt.infer.backends.frame_net import StyleWeights, style_weights
from nst_rt.infer.backends.timing import frames_per_second
from nst_rt.models.transformer import TransformerNet

logger = logging.getLogger(__name__)

Frames = npt.NDArray[np.uint8]
Pending = Callable[[], Frames]  # waits for frames that are being painted

BackendName = Literal["auto", "openvino", "torch", "onnx"]
Precision = Literal["auto", "f32", "bf16", "f16"]
BACKENDS: tuple[BackendName, ...] = get_args(BackendName)
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

DTYPES: dict[Precision, torch.dtype] = {
    "f32": torch.float32,
    "bf16": torch.bfloat16,
    "f16": torch.float16,
}
IN_FLIGHT = 2
_PACKAGES = {"openvino": "openvino", "torch": "torch", "onnx": "onnxruntime"}
_TIMED_FRAME = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)


class Backend(Protocol):
    """An architecture on one device, compiled for each frame size that it meets.

    Attributes:
        name: of the engine.
        precision: that it really computes in: `f32`, `bf16` or `f16`.
        torch_device: where PyTorch paints what is too large for the engine.
    """

    name: str
    precision: Precision
    torch_device: torch.device

    @property
    def device(self) -> str:
        """Name of the device that it really runs on."""

    def __call__(self, frames: Frames, weights: StyleWeights) -> Frames:
        """Stylize frames (N, H, W, 3), uint8 BGR, by the weights of a style, see `style_weights`.

        An array of weights must not be written to once it was used.
        """

    def start(self, frames: Frames, weights: StyleWeights) -> Pending:
        """Begin to stylize, for throughput: with `IN_FLIGHT` at a time the device is never idle."""

    def is_ready(self, shape: tuple[int, ...]) -> bool:
        """Whether frames of a shape are stylized without compiling anything."""

    def prepare(self, shape: tuple[int, ...]) -> None:
        """Compile for frames of a shape (N, H, W, 3), in any thread."""


@dataclass(frozen=True)
class Choice:
    """An engine, and why it is this one."""

    name: BackendName
    why: str = "asked for"


def create_backend(
    network: TransformerNet,
    name: BackendName = "auto",
    *,
    device: str | None = None,
    precision: Precision = "auto",
) -> Backend:
    """Make the engine that was asked for; never another one.

    Args:
        network: of any style of the architecture that it runs.
        name: `openvino`, `torch` or `onnx`; for `auto` see `choose`.
        device: `cpu`; for openvino also `gpu`, for torch `cuda`, `cuda:1`, `mps` and so on, for
            onnx what it has a provider for; by default the CPU for openvino, and for torch see
            `torch_device`.
        precision: by default the fastest that the device multiplies in hardware.

    Raises:
        BackendError: an engine, a device or a precision that is not there.
    """
    name = choose(network, name, device=device, precision=precision).name
    return _engine(name)(network, device, precision)


def choose(
    network: TransformerNet,
    name: BackendName = "auto",
    *,
    device: str | None = None,
    precision: Precision = "auto",
) -> Choice:
    """Decide on an engine; `auto` is the fastest one, measured once on each machine.

    Raises:
        BackendError: an engine or a precision that does not exist, or none that is there.
    """
    if name not in BACKENDS:
        raise BackendError(f"unknown backend {name!r}: known are {', '.join(BACKENDS)}")
    if precision not in PRECISIONS:
        raise BackendError(f"unknown precision {precision!r}: known are {', '.join(PRECISIONS)}")
    if name != "auto":
        return Choice(name)
    cache = Cache()
    versions = {engine: installed_version(package) for engine, package in _PACKAGES.items()}
    gpu = cuda.get_device_name() if cuda.is_available() else ""
    mps = torch_backends.mps.is_available()
    machine = [platform.node(), gpu, mps, str(fast_dtype("cpu"))]
    known = [network.architecture, device, precision]
    key = {"choice": versions, "machine": machine, "for": known}
    entry = cache.get(key)
    if entry is not None:
        return Choice(**json.loads(entry))
    choice, lasts = _fastest(network, device, precision)
    if lasts:
        cache.put(key, json.dumps(asdict(choice)).encode())
    return choice


def _fastest(
    network: TransformerNet, device: str | None, precision: Precision
) -> tuple[Choice, bool]:
    """The choice, and whether it will be the same the next time."""
    kind = network.architecture
    logger.info("measuring which engine is the fastest for %s networks here, once", kind)
    rates: dict[BackendName, float] = {}
    missing: dict[str, str] = {}
    failed: dict[str, str] = {}  # perhaps only now, as when a GPU's memory is full
    for name in BACKENDS[1:]:
        try:
            rates[name] = _frame_rate(_engine(name)(network, device, precision), network)
        except BackendError as error:
            missing[name] = str(error)
        except RuntimeError as error:
            failed[name] = str(error).splitlines()[0]
    if not rates:
        raise BackendError(f"no engine can do this here: {_listed(missing | failed)}")
    best = max(rates, key=rates.__getitem__)
    measured = ", ".join(f"{name} {rate:.1f}" for name, rate in rates.items())
    why = f"the fastest here, in frames per second at 640x480: {measured}"
    return Choice(best, f"{why}; {_listed(failed)}" if failed else why), not failed


def _listed(reasons: dict[str, str]) -> str:
    return "; ".join(f"{name}: {reason}" for name, reason in reasons.items())


def _frame_rate(engine: Backend, network: TransformerNet) -> float:
    weights = style_weights(network)
    return frames_per_second(lambda frame: engine(frame[None], weights), _TIMED_FRAME)


def installed_version(package: str) -> str | None:
    """Of a package; None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _engine(
    name: BackendName,
) -> Callable[[TransformerNet, str | None, Precision], Backend]:
    # Imported when used: each engine takes a second to load.
    if name == "torch":
        from nst_rt.infer.backends.torch import TorchBackend

        return TorchBackend
    if name == "onnx":
        from nst_rt.infer.backends.onnx import ONNXBackend

        return ONNXBackend
    from nst_rt.infer.backends.openvino import OpenVINOBackend

    return OpenVINOBackend
