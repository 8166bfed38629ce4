"""A network as the engines compile it: uint8 BGR frames in and out, everything between inside."""

import hashlib
import inspect

import torch
from torch import Tensor, nn

from nst_rt import layers, palette, transformer
from nst_rt.palette import folded
from nst_rt.transformer import MINIMUM_SIZE, MULTIPLE, TransformerNet


class FrameNet(nn.Module):
    """Frames in, stylized frames out; the style is an input too.

    The order of the colours is reversed in the weights, which costs nothing per frame. Clamping
    and rounding happen here, since what engines do with out-of-range values when they cast to
    uint8 differs: OpenVINO wraps around.

    Args:
        network: for RGB images; it is copied.
    """

    def __init__(self, network: TransformerNet) -> None:
        super().__init__()
        self.network = folded(network).eval().requires_grad_(False)
        self.network.net.reverse_channels()

    def forward(self, frames: Tensor, style: Tensor) -> Tensor:
        """Stylize frames.

        Args:
            frames: shape (N, H, W, 3), uint8, BGR; H and W of at least 16.
            style: convex weights over the S styles, shape (1, S), float32.

        Returns:
            Shape (N, H, W, 3), uint8, BGR.
        """
        height, width = frames.shape[1:3]
        # Up to the next multiple while they are bytes, which is cheapest, and by indices, which
        # torch.export can follow for any size.
        for dim, length in ((1, height), (2, width)):
            frames = frames.index_select(dim, _reflection(length, frames.device))
        # In the network's own precision, which is below float32 on some engines.
        image = frames.permute(0, 3, 1, 2).to(style.dtype) / 255
        levels = (self.network(image, style).float() * 255).clamp(0, 255).round()
        stylized: Tensor = levels.permute(0, 2, 3, 1).to(torch.uint8)
        return stylized[:, :height, :width]


def _reflection(length: int, device: torch.device) -> Tensor:
    """Indices that make `length` a multiple of `MULTIPLE` by reflecting the end."""
    indices = torch.arange((length + MULTIPLE - 1) // MULTIPLE * MULTIPLE, device=device)
    return torch.minimum(indices, 2 * (length - 1) - indices)


def exported(net: FrameNet) -> torch.export.ExportedProgram:
    """The graph of a float32 network for frames of any number and size."""
    frames = torch.zeros(2, 45, 67, 3, dtype=torch.uint8)
    style = torch.full((1, net.network.styles), 1 / net.network.styles)
    sides = {
        name: torch.export.Dim(name, min=MINIMUM_SIZE, max=2**15) for name in ("height", "width")
    }
    with torch.no_grad():  # tensors of inference_mode cannot be traced
        return torch.export.export(
            net,
            (frames, style),
            dynamic_shapes={
                "frames": {0: torch.export.Dim("count"), 1: sides["height"], 2: sides["width"]},
                "style": None,
            },
            # Sizes that are multiples already and those that are not are the same to this graph.
            prefer_deferred_runtime_asserts_over_guards=True,
        )


def digest(network: TransformerNet) -> str:
    """What tells networks apart for what is compiled of them: weights, sizes and this code."""
    known = hashlib.sha256()
    for part in (layers, transformer, palette, inspect.getmodule(FrameNet)):
        assert part is not None
        known.update(inspect.getsource(part).encode())
    kind = type(network).__qualname__, network.architecture, network.styles, network.shared
    known.update(repr((*kind, network.hyper_parameters)).encode())
    for name, weights in network.state_dict().items():
        known.update(name.encode())
        known.update(weights.contiguous().numpy().tobytes())
    return known.hexdigest()
