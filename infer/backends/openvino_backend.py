"""OpenVINO as the engine: the fastest one on CPUs, by far where they multiply bfloat16."""

import numpy as np
import openvino as ov
import torch

from nst_rt.errors import BackendError
from nst_rt.infer.backends import Frames, Precision, StyleVector
from nst_rt.infer.frame_net import FrameNet
from nst_rt.transformer import TransformerNet

# Fastest first.
_CAPABILITIES: dict[Precision, str] = {"bf16": "BF16", "f16": "FP16", "f32": "FP32"}


class OpenVINOBackend:
    """See `Backend`.

    Raises:
        BackendError: a device or a precision that is not there.
    """

    name = "openvino"

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
        self._net = FrameNet(network)
        self._requests: dict[tuple[int, ...], ov.InferRequest] = {}

    @property
    def device(self) -> str:
        """Name of the device."""
        return str(self._core.get_property(self._device, "FULL_DEVICE_NAME")).strip()

    def __call__(self, frames: Frames, style: StyleVector) -> Frames:
        """See `Backend`."""
        if frames.shape not in self._requests:
            self._requests[frames.shape] = self._compile(frames, style)
        request = self._requests[frames.shape]
        # Shared with the caller for the time of the call; the result must outlive the next one.
        request.infer([np.ascontiguousarray(frames), style], share_inputs=True)
        return np.array(request.get_output_tensor(0).data)

    def _compile(self, frames: Frames, style: StyleVector) -> ov.InferRequest:
        """A static shape, since the engine plans memory and kernels for it."""
        example = torch.from_numpy(frames), torch.from_numpy(style)
        with torch.no_grad():  # tensors of inference_mode cannot be traced
            model = ov.convert_model(torch.export.export(self._net, example))
        settings = {"INFERENCE_PRECISION_HINT": self.precision, "PERFORMANCE_HINT": "LATENCY"}
        return self._core.compile_model(model, self._device, settings).create_infer_request()
