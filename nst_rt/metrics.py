"""Figures for what the eye sees."""

import torch
from torch import Tensor
from torchvision.transforms.v2.functional import gaussian_blur

from nst_rt.colour import luminance


def roughness(image: Tensor) -> float:
    """Root mean square of the luma's high frequencies: what a Gaussian of 1 px takes away.

    Args:
        image: shape (1, 3, H, W), RGB in [0, 1].
    """
    luma = luminance(image)
    return float((luma - gaussian_blur(luma, [7, 7], [1.0, 1.0])).square().mean().sqrt())


def noise_figure(image: Tensor, style: Tensor) -> float:
    """Roughness of a pastiche against its painting's, both at the size that they are looked at.

    1: as rough as the painting; far above, noise; far below, blur.

    Args:
        image: shape (1, 3, H, W), RGB in [0, 1].
        style: likewise, scaled to the same long side.

    Returns:
        The ratio; infinite for a style without any detail.
    """
    painting = roughness(style)
    return roughness(image) / painting if painting else torch.inf
