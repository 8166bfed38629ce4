"""Small untrained networks, and blends of styles as the backends take them."""

import numpy as np
import torch

from nst_rt.infer.backends.graph import NetworkWeights, network_weights
from nst_rt.models.merge import with_styles
from nst_rt.models.transformer import Architecture, TransformerNet

SMALL: dict[Architecture, dict[str, int]] = {
    "fast": {"trunk": 8, "decoder": 4, "blocks": 1},
    "classic": {"width": 4, "blocks": 1},
}


def small_network(
    architecture: Architecture = "fast", styles: int = 1, *, seed: int = 0
) -> TransformerNet:
    """A network with random weights; its styles differ."""
    generator = torch.Generator().manual_seed(seed)
    network = TransformerNet(architecture, styles, **SMALL[architecture]).eval()
    for parameter in network.requires_grad_(False).parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator) / 3)
    return network


def blended_weights(network: TransformerNet, *parts: float) -> NetworkWeights:
    """What a `FrameNet` takes for a blend of a network's styles; of the first one by default."""
    styles = [network_weights(with_styles(network, [i])) for i in range(len(parts) or 1)]
    weighted = [np.float32(p) * w for p, w in zip(parts or (1,), styles, strict=True)]
    return np.sum(weighted, axis=0, dtype=np.float32)
