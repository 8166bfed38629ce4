"""What a backend is: one network architecture on one device, taking and giving frames."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import torch

from nst_rt.infer.backends.graph import NetworkWeights

Frames = npt.NDArray[np.uint8]
"""Frames, shape (N, H, W, 3), uint8 BGR."""
Pending = Callable[[], Frames]
"""Waits for frames that are in progress, and returns them."""

BackendName = Literal["auto", "openvino", "torch", "onnx"]
Precision = Literal["auto", "f32", "bf16", "f16"]
BACKENDS: tuple[BackendName, ...] = get_args(BackendName)
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

DTYPES: dict[Precision, torch.dtype] = {
    "f32": torch.float32,
    "bf16": torch.bfloat16,
    "f16": torch.float16,
}
IN_FLIGHT = 2  # frames that `Backend.start` is made for


class Backend(ABC):
    """An architecture on one device; the weights of the style come with each call.

    Attributes:
        name: `openvino`, `torch` or `onnx`.
        device: name of the device that it really runs on.
        precision: what it really computes in: `f32`, `bf16` or `f16`.
        torch_device: where PyTorch runs the tiles of images that are too large for one call.
    """

    name: BackendName
    device: str
    precision: Precision
    torch_device: torch.device

    @abstractmethod
    def __call__(self, frames: Frames, weights: NetworkWeights) -> Frames:
        """Stylize frames.

        Args:
            frames: shape (N, H, W, 3), uint8 BGR.
            weights: see `network_weights`; must not be written to after its first use.
        """

    def start(self, frames: Frames, weights: NetworkWeights) -> Pending:
        """Begin to stylize: with `IN_FLIGHT` calls at a time, the device is never idle."""
        stylized = self(frames, weights)
        return lambda: stylized

    def is_ready(self, shape: tuple[int, ...]) -> bool:
        """Whether frames of a shape need no compilation."""
        return True

    def prepare(self, shape: tuple[int, ...]) -> None:  # noqa: B027
        """Compile for frames of a shape (N, H, W, 3); any thread may do so."""
