"""The choice of a backend: by name, or for `auto` by measurement, once per machine."""

import json
import logging
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import torch

from nst_rt.devices import fast_dtype
from nst_rt.errors import BackendError
from nst_rt.images.io import Frame
from nst_rt.infer.backends.cache import Cache
from nst_rt.infer.backends.graph import network_weights
from nst_rt.infer.backends.protocol import BACKENDS, PRECISIONS, Backend, BackendName, Precision
from nst_rt.models.transformer import TransformerNet

logger = logging.getLogger(__name__)

_PACKAGES = {"openvino": "openvino", "torch": "torch", "onnx": "onnxruntime"}
_CLASSES = {"openvino": "OpenVINOBackend", "torch": "TorchBackend", "onnx": "ONNXBackend"}
_MIN_CALLS, _MIN_SECONDS = 5, 1.0
_TIMED_FRAME = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)


@dataclass(frozen=True)
class Choice:
    """A backend, and the reason for it."""

    name: BackendName
    why: str = "asked for"


def create_backend(
    network: TransformerNet,
    name: BackendName = "auto",
    *,
    device: str | None = None,
    precision: Precision = "auto",
) -> Backend:
    """Create the backend that was asked for; never another one.

    Args:
        network: any network of the architecture to run; its weights do not matter.
        name: `openvino`, `torch` or `onnx`; for `auto` see `choose`.
        device: `cpu`; for openvino also `gpu`; for torch `cuda`, `cuda:1`, `mps` and so on; for
            onnx whatever it has an execution provider for. By default the CPU for openvino, and
            for torch what `torch_device` finds.
        precision: by default the fastest that the device multiplies in hardware.

    Raises:
        BackendError: the backend, device or precision does not exist or is not available.
    """
    name = choose(network, name, device=device, precision=precision).name
    return _backend_class(name)(network, device, precision)


def choose(
    network: TransformerNet,
    name: BackendName = "auto",
    *,
    device: str | None = None,
    precision: Precision = "auto",
) -> Choice:
    """Decide on a backend; `auto` is the fastest one, measured once per machine and remembered.

    Raises:
        BackendError: no such backend or precision, or none is available.
    """
    if name not in BACKENDS:
        raise BackendError(f"unknown backend {name!r}: known are {', '.join(BACKENDS)}")
    if precision not in PRECISIONS:
        raise BackendError(f"unknown precision {precision!r}: known are {', '.join(PRECISIONS)}")
    if name != "auto":
        return Choice(name)
    cache = Cache()
    versions = {backend: installed_version(package) for backend, package in _PACKAGES.items()}
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    mps = torch.backends.mps.is_available()
    machine = [platform.node(), gpu, mps, str(fast_dtype("cpu"))]
    asked = [network.architecture, device, precision]
    key = {"choice": versions, "machine": machine, "for": asked}
    entry = cache.get(key)
    if entry is not None:
        return Choice(**json.loads(entry))
    choice, is_final = _fastest(network, device, precision)
    if is_final:
        cache.put(key, json.dumps(asdict(choice)).encode())
    return choice


def _fastest(
    network: TransformerNet, device: str | None, precision: Precision
) -> tuple[Choice, bool]:
    """The choice, and whether it will be the same next time."""
    rates: dict[BackendName, float] = {}
    missing: dict[str, str] = {}
    failed: dict[str, str] = {}  # perhaps only this time, as when a GPU's memory is full
    for name in BACKENDS[1:]:
        try:
            backend = _backend_class(name)(network, device, precision)
            if not rates:  # only now, since perhaps none has the device
                kind = network.architecture
                logger.info("timing the backends for %s networks, once on this machine", kind)
            rates[name] = _frame_rate(backend, network)
        except BackendError as error:
            missing[name] = str(error)
        except RuntimeError as error:
            failed[name] = str(error).splitlines()[0]
    if device and len(missing) == len(BACKENDS) - 1:
        asked = f"`device` {device}" + (f", {precision}" if precision != "auto" else "")
        raise BackendError(f"no {asked} here; nst-rt info lists the devices of this machine")
    if not rates:
        raise BackendError(f"no backend can do this here: {_listed(missing | failed)}")
    best = max(rates, key=rates.__getitem__)
    measured = ", ".join(f"{name} {rate:.1f}" for name, rate in rates.items())
    why = f"the fastest here, in frames per second at 640x480: {measured}"
    return Choice(best, f"{why}; {_listed(failed)}" if failed else why), not failed


def _listed(reasons: dict[str, str]) -> str:
    return "; ".join(f"{name}: {reason}" for name, reason in reasons.items())


def _frame_rate(backend: Backend, network: TransformerNet) -> float:
    weights = network_weights(network)
    return frames_per_second(lambda frame: backend(frame[None], weights), _TIMED_FRAME)


def frames_per_second(stylize: Callable[[Frame], object], frame: Frame) -> float:
    """Median rate of repeated calls, after a first one that may compile."""
    stylize(frame)
    seconds: list[float] = []
    while len(seconds) < _MIN_CALLS or sum(seconds) < _MIN_SECONDS:
        start = time.perf_counter()
        stylize(frame)
        seconds.append(time.perf_counter() - start)
    return 1 / statistics.median(seconds)


def installed_version(package: str) -> str | None:
    """Version of a package, None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _backend_class(name: BackendName) -> Callable[[TransformerNet, str | None, Precision], Backend]:
    # Imported on demand: each takes a second to load.
    module = import_module(f"nst_rt.infer.backends.{name}")
    found: Callable[[TransformerNet, str | None, Precision], Backend]
    found = getattr(module, _CLASSES[name])
    return found
