"""ONNX Runtime as the engine: what other programs load; here mainly to compare with."""

import numpy as np
import torch

from nst_rt.errors import BackendError
from nst_rt.infer.backends import Frames, Pending, Precision
from nst_rt.infer.backends.cache import Cache
from nst_rt.infer.backends.frame_net import FrameNet, StyleWeights, digest, exported
from nst_rt.infer.backends.onnx_graph import onnx_graph, onnx_versions
from nst_rt.models.transformer import TransformerNet

_SUFFIX = "ExecutionProvider"


def onnx_providers() -> dict[str, str]:
    """What ONNX Runtime, which must be installed, can run on: name -> provider, fastest first."""
    import onnxruntime

    return {
        provider.removesuffix(_SUFFIX).lower(): provider
        for provider in onnxruntime.get_available_providers()
        if provider != f"Azure{_SUFFIX}"  # a service, not a device
    }


class ONNXBackend:
    """See `Backend`.

    Raises:
        BackendError: ONNX Runtime is not installed, or has no such device or precision.
    """

    name = "onnx"
    torch_device = torch.device("cpu")

    def __init__(
        self, network: TransformerNet, device: str | None = None, precision: Precision = "auto"
    ) -> None:
        versions = onnx_versions()
        import onnxruntime

        if precision not in ("auto", "f32"):
            raise BackendError(f"the backend onnx computes in f32, not in {precision}")
        self.precision: Precision = "f32"
        providers = onnx_providers()
        self.device = device.lower() if device else next(iter(providers))
        if self.device not in providers:
            raise BackendError(
                f"ONNX Runtime has no device {device!r} here; it has {', '.join(providers)}"
            )
        cache = Cache()
        key = {"network": digest(network), "onnx": versions}
        graph = cache.get(key)
        if graph is None:
            graph = onnx_graph(exported(FrameNet(network))).SerializeToString()
            cache.put(key, graph)
        self._session = onnxruntime.InferenceSession(graph, providers=[providers[self.device]])
        if self._session.get_providers()[0] != providers[self.device]:
            raise BackendError(f"ONNX Runtime cannot use {device!r} here, though it lists it")

    def __call__(self, frames: Frames, weights: StyleWeights) -> Frames:
        """See `Backend`."""
        inputs = {"frames": np.ascontiguousarray(frames), "weights": weights}
        stylized: Frames = self._session.run(None, inputs)[0]
        return stylized

    def start(self, frames: Frames, weights: StyleWeights) -> Pending:
        """See `Backend`; a frame alone keeps all cores busy."""
        stylized = self(frames, weights)
        return lambda: stylized

    def is_ready(self, shape: tuple[int, ...]) -> bool:
        """See `Backend`."""
        return True

    def prepare(self, shape: tuple[int, ...]) -> None:
        """Nothing is compiled for a shape."""
