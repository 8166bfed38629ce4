"""A network as the engines compile it: uint8 BGR frames in and out, everything between inside."""

import copy

import torch
from torch import Tensor, nn

from nst_rt.transformer import TransformerNet


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
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.network.net.reverse_channels()

    def forward(self, frames: Tensor, style: Tensor) -> Tensor:
        """Stylize frames.

        Args:
            frames: shape (N, H, W, 3), uint8, BGR.
            style: convex weights over the S styles, shape (1, S), float32.

        Returns:
            Shape (N, H, W, 3), uint8, BGR.
        """
        # In the network's own precision, which is below float32 on some engines.
        image = frames.permute(0, 3, 1, 2).to(style.dtype) / 255
        levels = (self.network(image, style).float() * 255).clamp(0, 255).round()
        stylized: Tensor = levels.permute(0, 2, 3, 1).to(torch.uint8)
        return stylized
