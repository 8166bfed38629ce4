"""OpenVINO as the backend: the fastest one on CPUs, by far where they multiply bfloat16."""

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
from nst_rt.infer.backends.cache import Cache
from nst_rt.infer.backends.graph import TRACING, FrameNet, NetworkWeights, digest, exported
from nst_rt.infer.backends.protocol import IN_FLIGHT, Backend, Frames, Pending, Precision
from nst_rt.models.transformer import TransformerNet
from nst_rt.progress import stages

# Fastest first.
_CAPABILITIES: dict[Precision, str] = {"bf16": "BF16", "f16": "FP16", "f32": "FP32"}
_MAX_COMPILED = 6  # compiled networks in memory, one per frame size and hint
# One frame as soon as possible, or as many frames as possible: two streams on half of the threads
# each wait less for each other than two halves of one frame.
_LATENCY: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
_THROUGHPUT: dict[str, Any] = {"PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": IN_FLIGHT}


@functools.cache
def core() -> ov.Core:
    """The one `ov.Core` of the process, which lives as long as the process.

    OpenVINO's CPU plugin gives the thread that first uses it another signal stack, and takes that
    stack away from the process when the plugin is released. If the last network were released in
    another thread, the next Ctrl-C would crash the process, so the plugin is never released.
    """
    return ov.Core()


@dataclass
class _Slot:
    """An inference request, and the arrays that it reads and writes.

    OpenVINO does not hold the arrays; they must live as long as the request runs, even if nobody
    waits for it any more.
    """

    request: ov.InferRequest
    arrays: tuple[np.ndarray[Any, Any], ...] = ()


class OpenVINOBackend(Backend):
    """See `Backend`.

    A network is converted to OpenVINO's graph once, for any frame size, and compiled for each
    size. Both are kept in the cache.

    Raises:
        BackendError: the device or precision is not available.
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
        self.device = str(self._core.get_property(self._device, "FULL_DEVICE_NAME")).strip()
        capabilities = self._core.get_property(self._device, "OPTIMIZATION_CAPABILITIES")
        supported = [name for name, feature in _CAPABILITIES.items() if feature in capabilities]
        self.precision = self._fastest(supported) if precision == "auto" else precision
        if self.precision not in supported:
            raise BackendError(
                f"OpenVINO does not compute in {precision} on this {device or 'cpu'}; "
                f"it does in {', '.join(supported)}"
            )
        self._network = network
        self._cache = Cache()
        self._key: dict[str, Any] = {"network": digest(network), "openvino": ov.get_version()}
        self._device_key = {"device": self.device, "capabilities": sorted(capabilities)}
        # By frame shape and whether for throughput; the least recently used one first.
        self._slots: OrderedDict[tuple[object, ...], deque[_Slot]] = OrderedDict()
        self._lock = threading.Lock()  # for the dictionary, as any thread may prepare a size

    def _fastest(self, supported: list[Precision]) -> Precision:
        """The fastest precision of the device; a CPU uses bfloat16 only where PyTorch does, too."""
        is_off = "bf16" in supported and fast_dtype("cpu") is not torch.bfloat16
        return "f32" if is_off and self._device.startswith("CPU") else supported[0]

    def __call__(self, frames: Frames, weights: NetworkWeights) -> Frames:
        return self._run(frames, weights, throughput=False)()

    def start(self, frames: Frames, weights: NetworkWeights) -> Pending:
        return self._run(frames, weights, throughput=True)

    def is_ready(self, shape: tuple[int, ...]) -> bool:
        return (*shape, False) in self._slots

    def prepare(self, shape: tuple[int, ...]) -> None:
        self._slots_for(shape, throughput=False)

    def _run(self, frames: Frames, weights: NetworkWeights, *, throughput: bool) -> Pending:
        slots = self._slots_for(frames.shape, throughput=throughput)
        slots.rotate()
        slot = slots[0]
        request = slot.request
        request.wait()  # for its previous frames, in case nobody did
        # OpenVINO reads and writes the frames in place.
        source, stylized = np.ascontiguousarray(frames), np.empty(frames.shape, np.uint8)
        slot.arrays = source, weights, stylized
        request.set_input_tensor(0, ov.Tensor(source, shared_memory=True))
        request.set_input_tensor(1, ov.Tensor(weights, shared_memory=True))
        request.set_output_tensor(0, ov.Tensor(stylized, shared_memory=True))
        request.start_async()

        def finished() -> Frames:
            slot.request.wait()  # the slot, which holds the arrays, lives as long as this function
            return stylized

        return finished

    def _slots_for(self, shape: tuple[int, ...], *, throughput: bool) -> deque[_Slot]:
        """Requests for frames of a shape, compiled if need be."""
        key = (*shape, throughput)
        with self._lock:
            if key in self._slots:
                self._slots.move_to_end(key)
                return self._slots[key]
        # Without the lock: other threads stylize meanwhile.
        compiled = self._compiled(shape, _THROUGHPUT if throughput else _LATENCY)
        count = IN_FLIGHT if throughput else 1
        made = deque(_Slot(compiled.create_infer_request()) for _ in range(count))
        with self._lock:
            slots = self._slots.setdefault(key, made)
            while len(self._slots) > _MAX_COMPILED:
                self._slots.popitem(last=False)
        return slots

    def _compiled(self, shape: tuple[int, ...], hints: dict[str, Any]) -> ov.CompiledModel:
        """The network for a static shape, as OpenVINO plans memory and kernels for it."""
        settings = {"INFERENCE_PRECISION_HINT": self.precision, **hints}
        key = self._key | self._device_key | {"shape": list(shape), "settings": settings}
        entry = self._cache.get(key)
        if entry is not None:
            # A different build of the same OpenVINO version may have left what this one rejects.
            with suppress(RuntimeError):
                return self._core.import_model(entry, self._device, settings)
        stages.debug("compiling for %dx%d", shape[2], shape[1])
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
            with TRACING:
                model = ov.convert_model(exported(net))
            model.reshape({1: [net.size]})  # conversion leaves it unknown
            with TemporaryDirectory() as folder:
                file = Path(folder, "graph.xml")
                ov.save_model(model, file, compress_to_fp16=False)
                graph, weights = file.read_bytes(), file.with_suffix(".bin").read_bytes()
            self._cache.put(key, graph)
            self._cache.put(weights_key, weights)
        return self._core.read_model(graph, weights)
