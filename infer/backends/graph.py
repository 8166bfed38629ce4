"""The graph that backends compile: uint8 BGR frames in and out, with all processing inside."""

import hashlib
import inspect
import sys
import threading
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.func import functional_call

from nst_rt.models import layers, merge, transformer
from nst_rt.models.merge import folded, with_styles
from nst_rt.models.transformer import MINIMUM_SIZE, MULTIPLE, TransformerNet

NetworkWeights = npt.NDArray[np.float32]

# Held while a graph is exported or converted: torch's tracer keeps its state in the process.
TRACING = threading.RLock()


class FrameNet(nn.Module):
    """Frames in, stylized frames out; the weights of the style are an input as well.

    So all styles of an architecture, and blends of them, run on one compiled network, whichever
    files they come from.

    Args:
        network: any network of the architecture; its weights do not matter.
    """

    def __init__(self, network: TransformerNet) -> None:
        super().__init__()
        self.network = _for_frames(_of_first_style(network))
        self._shapes = {name: p.shape for name, p in self.network.named_parameters()}

    @property
    def size(self) -> int:
        """Number of weights."""
        return sum(shape.numel() for shape in self._shapes.values())

    def forward(self, frames: Tensor, weights: Tensor) -> Tensor:
        """Stylize frames.

        Args:
            frames: shape (N, H, W, 3), uint8, BGR; H and W of at least 16.
            weights: see `network_weights`, shape (P,), float32.

        Returns:
            Shape (N, H, W, 3), uint8, BGR.
        """
        named = self._named(weights)
        style = weights.new_ones(1, 1)
        return _framed(
            frames, lambda image: functional_call(self.network, named, (image, style)), style.dtype
        )

    def load(self, weights: Tensor) -> None:
        """Load the weights of a style, for `stylize`."""
        named = self._named(weights)
        with torch.no_grad():
            for name, parameter in self.network.named_parameters():
                parameter.copy_(named[name])

    def stylize(self, frames: Tensor) -> Tensor:
        """Stylize frames with the loaded weights; see `forward`."""
        style = next(self.network.parameters()).new_ones(1, 1)
        return _framed(frames, lambda image: self.network(image, style), style.dtype)

    def _named(self, weights: Tensor) -> dict[str, Tensor]:
        flat = torch.split(weights, [shape.numel() for shape in self._shapes.values()])
        named = zip(self._shapes.items(), flat, strict=True)
        return {name: values.view(shape) for (name, shape), values in named}


class StyledFrameNet(nn.Module):
    """Frames in, stylized frames out, for one model: the choice among its styles is an input.

    Args:
        network: for RGB images; it is copied.
    """

    def __init__(self, network: TransformerNet) -> None:
        super().__init__()
        self.network = _for_frames(network)

    def forward(self, frames: Tensor, style: Tensor) -> Tensor:
        """Stylize frames; see `FrameNet.forward`, and `style` of `TransformerNet.forward`."""
        return _framed(frames, lambda image: self.network(image, style), style.dtype)


def network_weights(network: TransformerNet) -> NetworkWeights:
    """The weights of a network's first style, shape (P,), as a `FrameNet` takes them.

    The weights of a blend of networks are the blend of their weights.
    """
    parameters = _for_frames(_of_first_style(network)).parameters()
    return torch.cat([each.detach().float().flatten() for each in parameters]).numpy()


def exported(net: FrameNet | StyledFrameNet) -> torch.export.ExportedProgram:
    """The graph of a float32 network, for any number and any size of frames."""
    frames = torch.zeros(2, 45, 67, 3, dtype=torch.uint8)
    if isinstance(net, FrameNet):
        name, second = "weights", torch.zeros(net.size)
    else:
        styles = net.network.styles
        name, second = "style", torch.full((1, styles), 1 / styles)
    sides = {
        side: torch.export.Dim(side, min=MINIMUM_SIZE, max=2**15) for side in ("height", "width")
    }
    with TRACING, torch.no_grad():  # tensors of inference_mode cannot be traced
        return torch.export.export(
            net,
            (frames, second),
            dynamic_shapes={
                "frames": {0: torch.export.Dim("count"), 1: sides["height"], 2: sides["width"]},
                name: None,
            },
            # Else the graph is specialized to sizes that are multiples, or to those that are not.
            prefer_deferred_runtime_asserts_over_guards=True,
        )


def digest(network: TransformerNet) -> str:
    """Identifies the compiled graph of an architecture: hyper-parameters and source code."""
    known = hashlib.sha256()
    for module in (layers, transformer, merge, sys.modules[__name__]):
        known.update(inspect.getsource(module).encode())
    known.update(repr(network.kind).encode())
    return known.hexdigest()


def _of_first_style(network: TransformerNet) -> TransformerNet:
    return with_styles(network, [0]) if network.styles > 1 else network


def _for_frames(network: TransformerNet) -> TransformerNet:
    """A copy for BGR images, with everything that is constant after training computed once.

    The order of the channels is reversed in the weights, which costs nothing per frame.
    """
    copied = folded(network).eval().requires_grad_(False)
    copied.net.reverse_channels()
    return copied


def _framed(frames: Tensor, network: Callable[[Tensor], Tensor], dtype: torch.dtype) -> Tensor:
    """Apply a network for images in [0, 1] to uint8 frames.

    Clamping and rounding happen here, since backends differ in how they cast out-of-range values
    to uint8: OpenVINO wraps around.
    """
    height, width = frames.shape[1:3]
    # Padded to the next multiple as bytes, which is cheapest, and through indices, which
    # torch.export can follow for any size.
    for dim, length in ((1, height), (2, width)):
        frames = frames.index_select(dim, _reflection(length, frames.device))
    # In the network's own precision, which is below float32 on some devices.
    image = frames.permute(0, 3, 1, 2).to(dtype) / 255
    levels = (network(image).float() * 255).clamp(0, 255).round()
    stylized: Tensor = levels.permute(0, 2, 3, 1).to(torch.uint8)
    return stylized[:, :height, :width]


def _reflection(length: int, device: torch.device) -> Tensor:
    """Indices that extend `length` to a multiple of `MULTIPLE` by reflection at the end."""
    indices = torch.arange((length + MULTIPLE - 1) // MULTIPLE * MULTIPLE, device=device)
    return torch.minimum(indices, 2 * (length - 1) - indices)
