"""ONNX Runtime as the backend, and networks in ONNX, which other programs load."""

import logging
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import numpy as np
import torch

from nst_rt.errors import BackendError
from nst_rt.infer.backends.cache import Cache
from nst_rt.infer.backends.graph import TRACING, FrameNet, NetworkWeights, digest, exported
from nst_rt.infer.backends.protocol import Backend, Frames, Precision
from nst_rt.models.transformer import TransformerNet
from nst_rt.progress import stages

if TYPE_CHECKING:
    from onnx import ModelProto

_PACKAGES = ("onnx", "onnxruntime", "onnxscript")
_SUFFIX = "ExecutionProvider"


class ONNXBackend(Backend):
    """See `Backend`; one frame at a time keeps all cores busy.

    Raises:
        BackendError: ONNX Runtime is not installed, or lacks the device or precision.
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
        stages.debug("loading the network into ONNX Runtime")
        self._session = onnxruntime.InferenceSession(graph, providers=[providers[self.device]])
        if self._session.get_providers()[0] != providers[self.device]:
            raise BackendError(f"ONNX Runtime lists {device!r} here, but cannot use it")

    def __call__(self, frames: Frames, weights: NetworkWeights) -> Frames:
        inputs = {"frames": np.ascontiguousarray(frames), "weights": weights}
        stylized: Frames = self._session.run(None, inputs)[0]
        return stylized


def onnx_providers() -> dict[str, str]:
    """Devices of ONNX Runtime, which must be installed: name -> provider, fastest first."""
    import onnxruntime

    return {
        provider.removesuffix(_SUFFIX).lower(): provider
        for provider in onnxruntime.get_available_providers()
        if provider != f"Azure{_SUFFIX}"  # a service, not a device
    }


def onnx_versions() -> dict[str, str]:
    """Versions of the packages that ONNX needs.

    Raises:
        BackendError: one of them is not installed.
    """
    try:
        return {package: version(package) for package in _PACKAGES}
    except PackageNotFoundError as error:
        raise BackendError(f"{error.name} is missing: pip install 'nst-rt[onnx]'") from error


def onnx_graph(program: torch.export.ExportedProgram) -> "ModelProto":
    """An exported `FrameNet` or `StyledFrameNet` in ONNX.

    Inputs are named as in `forward`, the output `stylized`, and the dimensions of the frames
    `count`, `height` and `width`.

    Raises:
        BackendError: a package is not installed.
    """
    onnx_versions()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with TRACING:
        made = torch.onnx.export(
            program,
            input_names=program.graph_signature.user_inputs,
            output_names=["stylized"],
            dynamo=True,
            verbose=False,
        )
    assert made is not None
    model: ModelProto = made.model_proto
    for value in (model.graph.input[0], model.graph.output[0]):
        for dim, name in zip(
            value.type.tensor_type.shape.dim, ("count", "height", "width"), strict=False
        ):
            dim.dim_param = name  # torch names them s45 and the like
    return model
