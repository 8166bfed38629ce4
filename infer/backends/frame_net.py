"""A network as the backends compile it: uint8 BGR frames in and out, everything between inside."""

import hashlib
import inspect
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.func import functional_call

from nst_rt.models import layers, merge, transformer
from nst_rt.models.merge import folded, with_styles
from nst_rt.models.transformer import MINIMUM_SIZE, MULTIPLE, TransformerNet

StyleWeights = npt.NDArray[np.float32]


class FrameNet(nn.Module):
    """Frames in, stylized frames out; the weights of the style are an input too.

    So all styles of an architecture, and blends of them, run on one compiled network, whichever
    files they come from.

    Args:
        network: of any style; its architecture counts, its weights do not.
    """

    def __init__(self, network: TransformerNet) -> None:
        super().__init__()
        self.network = _for_frames(_of_first_style(network))
        self._shapes = {name: p.shape for name, p in self.network.named_parameters()}

    @property
    def size(self) -> int:
        """How many weights it takes."""
        return sum(shape.numel() for shape in self._shapes.values())

    def forward(self, frames: Tensor, weights: Tensor) -> Tensor:
        """Stylize frames.

        Args:
            frames: shape (N, H, W, 3), uint8, BGR; H and W of at least 16.
            weights: see `style_weights`, shape (P,), float32.

        Returns:
            Shape (N, H, W, 3), uint8, BGR.
        """
        named = self._named(weights)
        style = weights.new_ones(1, 1)
        return _framed(
            frames, lambda image: functional_call(self.network, named, (image, style)), style.dtype
        )

    def load(self, weights: Tensor) -> None:
        """Take the weights of a style in, for `stylize`."""
        named = self._named(weights)
        with torch.no_grad():
            for name, parameter in self.network.named_parameters():
                parameter.copy_(named[name])

    def stylize(self, frames: Tensor) -> Tensor:
        """Stylize frames by the weights that were loaded; see `forward`."""
        style = next(self.network.parameters()).new_ones(1, 1)
        return _framed(frames, lambda image: self.network(image, style), style.dtype)

    def _named(self, weights: Tensor) -> dict[str, Tensor]:
        parts = torch.split(weights, [shape.numel() for shape in self._shapes.values()])
        named = zip(self._shapes.items(), parts, strict=True)
        return {name: part.view(shape) for (name, shape), part in named}


class StyledFrameNet(nn.Module):
    """Frames in, stylized frames out, for one model: which of its styles is an input too.

    Args:
        network: for RGB images; it is copied.
    """

    def __init__(self, network: TransformerNet) -> None:
        super().__init__()
        self.network = _for_frames(network)

    def forward(self, frames: Tensor, style: Tensor) -> Tensor:
        """Stylize frames; see `FrameNet.forward`, and `style` of `TransformerNet.forward`."""
        return _framed(frames, lambda image: self.network(image, style), style.dtype)


def style_weights(network: TransformerNet) -> StyleWeights:
    """The weights of a network's first style, shape (P,), as a `FrameNet` takes them.

    A blend of networks is computed by the blend of these.
    """
    parameters = _for_frames(_of_first_style(network)).parameters()
    return torch.cat([each.detach().float().flatten() for each in parameters]).numpy()


def _of_first_style(network: TransformerNet) -> TransformerNet:
    return with_styles(network, [0]) if network.styles > 1 else network


def _for_frames(network: TransformerNet) -> TransformerNet:
    """A copy for BGR images, with what does not change once it is trained computed once.

    The order of the colors is reversed in the weights, which costs nothing per frame.
    """
    copied = folded(network).eval().requires_grad_(False)
    copied.net.reverse_channels()
    return copied


def _framed(frames: Tensor, network: Callable[[Tensor], Tensor], dtype: torch.dtype) -> Tensor:
    """What a network for images in [0, 1] makes of frames.

    Clamping and rounding happen here, since what backends do with out-of-range values when they
    cast to uint8 differs: OpenVINO wraps around.
    """
    height, width = frames.shape[1:3]
    # Up to the next multiple while they are bytes, which is cheapest, and by indices, which
    # torch.export can follow for any size.
    for dim, length in ((1, height), (2, width)):
        frames = frames.index_select(dim, _reflection(length, frames.device))
    # In the network's own precision, which is below float32 on some devices.
    image = frames.permute(0, 3, 1, 2).to(dtype) / 255
    levels = (network(image).float() * 255).clamp(0, 255).round()
    stylized: Tensor = levels.permute(0, 2, 3, 1).to(torch.uint8)
    return stylized[:, :height, :width]


def _reflection(length: int, device: torch.device) -> Tensor:
    """Indices that make `length` a multiple of `MULTIPLE` by reflecting the end."""
    indices = torch.arange((length + MULTIPLE - 1) // MULTIPLE * MULTIPLE, device=device)
    return torch.minimum(indices, 2 * (length - 1) - indices)


def exported(net: FrameNet | StyledFrameNet) -> torch.export.ExportedProgram:
    """The graph of a float32 network for frames of any number and size."""
    frames = torch.zeros(2, 45, 67, 3, dtype=torch.uint8)
    if isinstance(net, FrameNet):
        name, second = "weights", torch.zeros(net.size)
    else:
        styles = net.network.styles
        name, second = "style", torch.full((1, styles), 1 / styles)
    sides = {
        side: torch.export.Dim(side, min=MINIMUM_SIZE, max=2**15) for side in ("height", "width")
    }
    with torch.no_grad():  # tensors of inference_mode cannot be traced
        return torch.export.export(
            net,
            (frames, second),
            dynamic_shapes={
                "frames": {0: torch.export.Dim("count"), 1: sides["height"], 2: sides["width"]},
                name: None,
            },
            # Sizes that are multiples already and those that are not are the same to this graph.
            prefer_deferred_runtime_asserts_over_guards=True,
        )


def digest(network: TransformerNet) -> str:
    """What tells architectures apart for what is compiled of them: sizes and this code."""
    known = hashlib.sha256()
    for part in (layers, transformer, merge, inspect.getmodule(FrameNet)):
        assert part is not None
        known.update(inspect.getsource(part).encode())
    kind = type(network).__qualname__, network.architecture, network.hyper_parameters
    known.update(repr(kind).encode())
    return known.hexdigest()
