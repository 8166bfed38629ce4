"""PyTorch as the engine: CUDA devices, and the CPU where OpenVINO is not wanted."""

import numpy as np
import torch

from nst_rt.devices import fast_dtype, torch_device
from nst_rt.infer.backends import Frames, Precision, StyleVector
from nst_rt.infer.frame_net import FrameNet
from nst_rt.transformer import TransformerNet

_DTYPES: dict[Precision, torch.dtype] = {
    "f32": torch.float32,
    "bf16": torch.bfloat16,
    "f16": torch.float16,
}


class TorchBackend:
    """See `Backend`.

    Raises:
        BackendError: a device that is not there.
    """

    name = "torch"

    def __init__(
        self, network: TransformerNet, device: str | None = None, precision: Precision = "auto"
    ) -> None:
        self._device = torch_device(device)
        if precision == "auto":
            dtype = fast_dtype(self._device)
            if self._device.type == "cuda":
                dtype = torch.float16  # activations are normalized, so that nothing overflows
        else:
            dtype = _DTYPES[precision]
        self.precision = next(name for name, value in _DTYPES.items() if value == dtype)
        self._dtype = dtype
        self._net = FrameNet(network).to(self._device, dtype)
        self._net.to(memory_format=torch.channels_last)

    @property
    def device(self) -> str:
        """Name of the device."""
        if self._device.type == "cuda":
            return torch.cuda.get_device_name(self._device)
        return str(self._device)

    @torch.inference_mode()
    def __call__(self, frames: Frames, style: StyleVector) -> Frames:
        """See `Backend`."""
        device_frames = torch.from_numpy(frames).to(self._device)
        weights = torch.from_numpy(style).to(self._device, self._dtype)
        return np.ascontiguousarray(self._net(device_frames, weights).cpu().numpy())

    def prepare(self, shape: tuple[int, ...]) -> None:
        """Nothing is compiled for a shape."""
