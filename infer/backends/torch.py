"""PyTorch as the backend: for CUDA and other devices that OpenVINO does not drive."""

import numpy as np
import torch

from nst_rt.devices import fast_dtype, torch_device
from nst_rt.infer.backends.graph import FrameNet, NetworkWeights
from nst_rt.infer.backends.protocol import DTYPES, Backend, Frames, Pending, Precision
from nst_rt.models.transformer import TransformerNet


class TorchBackend(Backend):
    """See `Backend`.

    Raises:
        BackendError: the device is not available.
    """

    name = "torch"

    def __init__(
        self, network: TransformerNet, device: str | None = None, precision: Precision = "auto"
    ) -> None:
        self.torch_device = torch_device(device)
        is_cuda = self.torch_device.type == "cuda"
        if precision != "auto":
            dtype = DTYPES[precision]
        elif is_cuda:
            dtype = torch.float16  # activations are normalized, so nothing overflows
        else:
            dtype = fast_dtype(self.torch_device)
        self.precision = next(name for name, value in DTYPES.items() if value == dtype)
        self.device = (
            torch.cuda.get_device_name(self.torch_device) if is_cuda else str(self.torch_device)
        )
        self._net = FrameNet(network).to(self.torch_device, dtype)
        self._net.network.use_channels_last()
        self._loaded: NetworkWeights | None = None

    def __call__(self, frames: Frames, weights: NetworkWeights) -> Frames:
        return self.start(frames, weights)()

    @torch.inference_mode()
    def start(self, frames: Frames, weights: NetworkWeights) -> Pending:
        """See `Backend`; a GPU works on while the next frame is prepared."""
        if weights is not self._loaded:
            self._net.load(torch.from_numpy(weights).to(self.torch_device))
            self._loaded = weights
        on_device = torch.from_numpy(np.ascontiguousarray(frames)).to(self.torch_device)
        stylized = self._net.stylize(on_device)
        return lambda: np.ascontiguousarray(stylized.cpu().numpy())
