"""The engines that run a network on frames; each is asked for by name, `auto` picks one."""

from collections.abc import Callable
from typing import Literal, Protocol, get_args

import numpy as np
import numpy.typing as npt
import torch

from nst_rt.errors import BackendError
from nst_rt.transformer import TransformerNet

Frames = npt.NDArray[np.uint8]
StyleVector = npt.NDArray[np.float32]

BackendName = Literal["auto", "openvino", "torch"]
Precision = Literal["auto", "f32", "bf16", "f16"]
BACKENDS: tuple[BackendName, ...] = get_args(BackendName)
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


class Backend(Protocol):
    """A network on one device, compiled for each frame size that it meets.

    Attributes:
        name: of the engine.
        precision: that it really computes in: `f32`, `bf16` or `f16`.
    """

    name: str
    precision: Precision

    @property
    def device(self) -> str:
        """Name of the device that it really runs on."""

    def __call__(self, frames: Frames, style: StyleVector) -> Frames:
        """Stylize frames (N, H, W, 3), uint8 BGR, in the style weights (1, S), float32."""


def create_backend(
    network: TransformerNet,
    name: BackendName = "auto",
    *,
    device: str | None = None,
    precision: Precision = "auto",
) -> Backend:
    """Make the engine that was asked for; never another one.

    Args:
        network: what it runs.
        name: `openvino` or `torch`; `auto` takes torch where there is a CUDA device or where the
            device asked for is not the CPU, else openvino.
        device: `cpu`, or for torch `cuda`, `cuda:1` and so on; by default the fastest there is.
        precision: by default the fastest that the device multiplies in hardware.

    Raises:
        BackendError: an engine, a device or a precision that is not there.
    """
    if name not in BACKENDS:
        raise BackendError(f"unknown backend {name!r}: known are {', '.join(BACKENDS)}")
    if precision not in PRECISIONS:
        raise BackendError(f"unknown precision {precision!r}: known are {', '.join(PRECISIONS)}")
    if name == "auto":
        on_gpu = torch.cuda.is_available() if device is None else device.lower() != "cpu"
        name = "torch" if on_gpu else "openvino"
    return _engine(name)(network, device, precision)


def _engine(
    name: BackendName,
) -> Callable[[TransformerNet, str | None, Precision], Backend]:
    # Imported when used: each engine takes a second to load.
    if name == "torch":
        from nst_rt.infer.backends.torch_backend import TorchBackend

        return TorchBackend
    from nst_rt.infer.backends.openvino_backend import OpenVINOBackend

    return OpenVINOBackend
