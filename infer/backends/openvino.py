"""OpenVINO as the engine: the fastest one on CPUs, by far where they multiply bfloat16."""

import functools
import io
import threading
from collections import OrderedDict, deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import openvino as ov
import torch

from nst_rt.devices import fast_dtype
from nst_rt.errors import BackendError
from nst_rt.infer.backends import IN_FLIGHT, Frames, Pending, Precision
from nst_rt.infer.backends.cache import Cache
from nst_rt.infer.backends.frame_net import FrameNet, StyleWeights, digest, exported
from nst_rt.models.transformer import TransformerNet

# Fastest first.
_CAPABILITIES: dict[Precision, str] = {"bf16": "BF16", "f16": "FP16", "f32": "FP32"}
_MOST_SIZES = 6  # compiled and in memory at the same time
# One frame as soon as can be, or as many as can be: two streams of half the threads each wait less
# for each other than two halves of a frame.
_LATENCY: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
_THROUGHPUT: dict[str, Any] = {"PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": IN_FLIGHT}


@functools.cache
def core() -> ov.Core:
    """OpenVINO itself, of which a process has one, for as long as it lives.

    Its CPU plugin gives the thread that first uses it another stack for signals, and takes that
    stack from the process when the plugin goes. When the last network goes in another thread, the
    next Ctrl-C would crash the process, if nothing held the plugin.
    """
    return ov.Core()


@dataclass
class _Request:
    """A request of the engine, and the arrays that it reads and writes, which it does not hold.

    They must be there for as long as it runs, also when nobody waits for it any more.
    """

    engine: ov.InferRequest
    arrays: tuple[np.ndarray[Any, Any], ...] = ()


class OpenVINOBackend:
    """See `Backend`.

    A network becomes OpenVINO's graph once, for any size, and is compiled for each size; both stay
    in the cache.

    Raises:
        BackendError: a device or a precision that is not there.
    """

    name = "openvino"
    torch_device = torch.device("cpu")

    def __init__(
        self, network: TransformerNet, device: str | None = None, precision: Precision = "auto"
    ) -> None:
        self._core = core()
        self._device = (device or "cpu").upper()
        if self._device.split(".")[0] not in self._core.available_devices:
            raise BackendError(
                f"OpenVINO has no device {device!r} here; it has "
                f"{', '.join(self._core.available_devices).lower()}"
            )
        capabilities = self._core.get_property(self._device, "OPTIMIZATION_CAPABILITIES")
        there = [name for name, capability in _CAPABILITIES.items() if capability in capabilities]
        self.precision = self._fastest(there) if precision == "auto" else precision
        if self.precision not in there:
            raise BackendError(
                f"OpenVINO does not compute in {precision} on this {device or 'cpu'}; "
                f"it does in {', '.join(there)}"
            )
        self._network = network
        self._cache = Cache()
        self._key: dict[str, Any] = {"network": digest(network), "openvino": ov.get_version()}
        self._engine_key = self._key | {
            "device": self.device,
            "capabilities": sorted(capabilities),
        }
        # By shape, and whether for throughput.
        self._requests: OrderedDict[tuple[object, ...], deque[_Request]] = OrderedDict()
        self._lock = threading.Lock()  # of the dictionary: sizes are prepared by any thread

    def _fastest(self, there: list[Precision]) -> Precision:
        """Of a device's precisions; a processor's bfloat16 is on or off as it is in PyTorch."""
        is_off = "bf16" in there and fast_dtype("cpu") is not torch.bfloat16
        return "f32" if is_off and self._device.startswith("CPU") else there[0]

    @property
    def device(self) -> str:
        """Name of the device."""
        return str(self._core.get_property(self._device, "FULL_DEVICE_NAME")).strip()

    def __call__(self, frames: Frames, weights: StyleWeights) -> Frames:
        """See `Backend`."""
        return self._run(frames, weights, several=False)()

    def start(self, frames: Frames, weights: StyleWeights) -> Pending:
        """See `Backend`."""
        return self._run(frames, weights, several=True)

    def is_ready(self, shape: tuple[int, ...]) -> bool:
        """See `Backend`."""
        return (*shape, False) in self._requests

    def prepare(self, shape: tuple[int, ...]) -> None:
        """See `Backend`."""
        self._ready(shape, several=False)

    def _run(self, frames: Frames, weights: StyleWeights, *, several: bool) -> Pending:
        requests = self._ready(frames.shape, several=several)
        requests.rotate()
        request = requests[0]
        engine = request.engine
        engine.wait()  # for what it painted before, if that was not waited for
        # The engine reads and writes the frames where they are.
        source, stylized = np.ascontiguousarray(frames), np.empty(frames.shape, np.uint8)
        request.arrays = source, weights, stylized
        engine.set_input_tensor(0, ov.Tensor(source, shared_memory=True))
        engine.set_input_tensor(1, ov.Tensor(weights, shared_memory=True))
        engine.set_output_tensor(0, ov.Tensor(stylized, shared_memory=True))
        engine.start_async()

        def finished() -> Frames:
            request.engine.wait()
            return stylized

        return finished

    def _ready(self, shape: tuple[int, ...], *, several: bool) -> deque[_Request]:
        """Requests for frames of a shape, the least recently used one last."""
        key = (*shape, several)
        with self._lock:
            if key in self._requests:
                self._requests.move_to_end(key)
                return self._requests[key]
        # Others paint meanwhile.
        compiled = self._compiled(shape, _THROUGHPUT if several else _LATENCY)
        count = IN_FLIGHT if several else 1
        made = deque(_Request(compiled.create_infer_request()) for _ in range(count))
        with self._lock:
            requests = self._requests.setdefault(key, made)
            while len(self._requests) > _MOST_SIZES:
                self._requests.popitem(last=False)
        return requests

    def _compiled(self, shape: tuple[int, ...], hints: dict[str, Any]) -> ov.CompiledModel:
        """For a static shape, since the engine plans memory and kernels for it."""
        settings = {"INFERENCE_PRECISION_HINT": self.precision, **hints}
        key = self._engine_key | {"shape": list(shape), "settings": settings}
        entry = self._cache.get(key)
        if entry is not None:
            # What another build of OpenVINO of the same version left may be of no use to this one.
            with suppress(RuntimeError):
                return self._core.import_model(entry, self._device, settings)
        graph = self._graph()
        graph.reshape({0: list(shape)})
        compiled = self._core.compile_model(graph, self._device, settings)
        stream = io.BytesIO()
        compiled.export_model(stream)
        self._cache.put(key, stream.getvalue())
        return compiled

    def _graph(self) -> ov.Model:
        """OpenVINO's graph of the network, for any shape."""
        key = self._key | {"part": "graph"}
        weights_key = self._key | {"part": "weights"}
        graph, weights = self._cache.get(key), self._cache.get(weights_key)
        if graph is None or weights is None:
            net = FrameNet(self._network)
            model = ov.convert_model(exported(net))
            model.reshape({1: [net.size]})  # which it takes to be unknown
            with TemporaryDirectory() as folder:
                file = Path(folder, "graph.xml")
                ov.save_model(model, file, compress_to_fp16=False)
                graph, weights = file.read_bytes(), file.with_suffix(".bin").read_bytes()
            self._cache.put(key, graph)
            self._cache.put(weights_key, weights)
        return self._core.read_model(graph, weights)
