"""Blends of styles, as the backends take them."""

import numpy as np

from nst_rt.infer.backends.graph import StyleWeights, style_weights
from nst_rt.models.merge import with_styles
from nst_rt.models.transformer import TransformerNet


def blended_weights(network: TransformerNet, *parts: float) -> StyleWeights:
    """What a `FrameNet` takes for a blend of a network's styles; of the first one by default."""
    styles = [style_weights(with_styles(network, [i])) for i in range(len(parts) or 1)]
    weighted = [np.float32(p) * w for p, w in zip(parts or (1,), styles, strict=True)]
    return np.sum(weighted, axis=0, dtype=np.float32)
