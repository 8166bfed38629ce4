"""PyTorch as the engine: CUDA devices, and the CPU where OpenVINO is not wanted."""

import numpy as np
import torch

from nst_rt.devices import fast_dtype, torch_device
from nst_rt.infer.backends import DTYPES, Frames, Pending, Precision, StyleVector
from nst_rt.infer.frame_net import FrameNet
from nst_rt.transformer import TransformerNet


class TorchBackend:
    """See `Backend`.

    Raises:
        BackendError: a device that is not there.
    """

    name = "torch"

    def __init__(
        self, network: TransformerNet, device: str | None = None, precision: Precision = "auto"
    ) -> None:
        self.torch_device = torch_device(device)
        if precision == "auto":
            dtype = fast_dtype(self.torch_device)
            if self.torch_device.type == "cuda":
                dtype = torch.float16  # activations are normalized, so that nothing overflows
        else:
            dtype = DTYPES[precision]
        self.precision = next(name for name, value in DTYPES.items() if value == dtype)
        self._dtype = dtype
        self._net = FrameNet(network).to(self.torch_device, dtype)
        self._net.network.use_channels_last()

    @property
    def device(self) -> str:
        """Name of the device."""
        if self.torch_device.type == "cuda":
            return torch.cuda.get_device_name(self.torch_device)
        return str(self.torch_device)

    def __call__(self, frames: Frames, style: StyleVector) -> Frames:
        """See `Backend`."""
        return self.start(frames, style)()

    @torch.inference_mode()
    def start(self, frames: Frames, style: StyleVector) -> Pending:
        """See `Backend`; devices work on while the next frame is prepared."""
        device_frames = torch.from_numpy(np.ascontiguousarray(frames)).to(self.torch_device)
        weights = torch.from_numpy(style).to(self.torch_device, self._dtype)
        painted = self._net(device_frames, weights)
        return lambda: np.ascontiguousarray(painted.cpu().numpy())

    def prepare(self, shape: tuple[int, ...]) -> None:
        """Nothing is compiled for a shape."""
