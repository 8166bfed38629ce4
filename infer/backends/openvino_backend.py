"""OpenVINO as the engine: the fastest one on CPUs, by far where they multiply bfloat16."""

import io
from collections import OrderedDict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import openvino as ov
import torch

from nst_rt.errors import BackendError
from nst_rt.infer.backends import Frames, Precision, StyleVector
from nst_rt.infer.cache import Cache
from nst_rt.infer.frame_net import FrameNet, digest, exported
from nst_rt.transformer import TransformerNet

# Fastest first.
_CAPABILITIES: dict[Precision, str] = {"bf16": "BF16", "f16": "FP16", "f32": "FP32"}
_MOST_SIZES = 4  # compiled and in memory at the same time


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
        self._core = ov.Core()
        self._device = (device or "cpu").upper()
        if self._device.split(".")[0] not in self._core.available_devices:
            raise BackendError(
                f"OpenVINO has no device {device!r} here; it has "
                f"{', '.join(self._core.available_devices).lower()}"
            )
        capabilities = self._core.get_property(self._device, "OPTIMIZATION_CAPABILITIES")
        there = [name for name, capability in _CAPABILITIES.items() if capability in capabilities]
        self.precision = there[0] if precision == "auto" else precision
        if self.precision not in there:
            raise BackendError(
                f"OpenVINO does not compute in {precision} on this {device or 'cpu'}; "
                f"it does in {', '.join(there)}"
            )
        self._network = network
        self._settings = {
            "INFERENCE_PRECISION_HINT": self.precision,
            "PERFORMANCE_HINT": "LATENCY",
        }
        self._cache = Cache()
        self._key: dict[str, Any] = {"network": digest(network), "openvino": ov.get_version()}
        self._engine_key = self._key | {
            "device": self.device,
            "capabilities": sorted(capabilities),
            "settings": self._settings,
        }
        self._requests: OrderedDict[tuple[int, ...], ov.InferRequest] = OrderedDict()

    @property
    def device(self) -> str:
        """Name of the device."""
        return str(self._core.get_property(self._device, "FULL_DEVICE_NAME")).strip()

    def __call__(self, frames: Frames, style: StyleVector) -> Frames:
        """See `Backend`."""
        self.prepare(frames.shape)
        self._requests.move_to_end(frames.shape)
        request = self._requests[frames.shape]
        # The engine reads and writes the frames where they are, so that they must outlive the call.
        source, painted = np.ascontiguousarray(frames), np.empty(frames.shape, np.uint8)
        request.set_input_tensor(0, ov.Tensor(source, shared_memory=True))
        request.set_input_tensor(1, ov.Tensor(style, shared_memory=True))
        request.set_output_tensor(0, ov.Tensor(painted, shared_memory=True))
        request.infer()
        return painted

    def prepare(self, shape: tuple[int, ...]) -> None:
        """See `Backend`."""
        if shape not in self._requests:
            self._requests[shape] = self._compiled(shape).create_infer_request()
            while len(self._requests) > _MOST_SIZES:
                self._requests.popitem(last=False)

    def _compiled(self, shape: tuple[int, ...]) -> ov.CompiledModel:
        """For a static shape, since the engine plans memory and kernels for it."""
        key = self._engine_key | {"shape": list(shape)}
        entry = self._cache.get(key)
        if entry is not None:
            return self._core.import_model(entry, self._device, self._settings)
        graph = self._graph()
        graph.reshape({0: list(shape), 1: [1, self._network.styles]})
        compiled = self._core.compile_model(graph, self._device, self._settings)
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
            model = ov.convert_model(exported(FrameNet(self._network)))
            with TemporaryDirectory() as folder:
                file = Path(folder, "graph.xml")
                ov.save_model(model, file, compress_to_fp16=False)
                graph, weights = file.read_bytes(), file.with_suffix(".bin").read_bytes()
            self._cache.put(key, graph)
            self._cache.put(weights_key, weights)
        return self._core.read_model(graph, weights)
