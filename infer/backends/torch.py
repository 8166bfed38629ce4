"""PyTorch as the engine: CUDA devices, and the CPU where OpenVINO is not wanted."""

import numpy as np
import torch

from nst_rt.devices import fast_dtype, torch_device
from nst_rt.infer.backends import DTYPES, Frames, Pending, Precision
from nst_rt.infer.backends.frame_net import FrameNet, StyleWeights
from nst_rt.models.transformer import TransformerNet


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
        self._net = FrameNet(network).to(self.torch_device, dtype)
        self._net.network.use_channels_last()
        self._loaded: StyleWeights | None = None

    @property
    def device(self) -> str:
        """Name of the device."""
        if self.torch_device.type == "cuda":
            return torch.cuda.get_device_name(self.torch_device)
        return str(self.torch_device)

    def __call__(self, frames: Frames, weights: StyleWeights) -> Frames:
        """See `Backend`."""
        return self.start(frames, weights)()

    @torch.inference_mode()
    def start(self, frames: Frames, weights: StyleWeights) -> Pending:
        """See `Backend`; devices work on while the next frame is prepared."""
        if weights is not self._loaded:
            self._net.load(torch.from_numpy(weights).to(self.torch_device))
            self._loaded = weights
        device_frames = torch.from_numpy(np.ascontiguousarray(frames)).to(self.torch_device)
        stylized = self._net.stylize(device_frames)
        return lambda: np.ascontiguousarray(stylized.cpu().numpy())

    def is_ready(self, shape: tuple[int, ...]) -> bool:
        """See `Backend`."""
        return True

    def prepare(self, shape: tuple[int, ...]) -> None:
        """Nothing is compiled for a shape."""
