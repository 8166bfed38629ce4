"""Noise figure: the high frequencies of a stylized image relative to those of its style image."""

import torch
from torch import Tensor
from torchvision.transforms.v2.functional import gaussian_blur

from nst_rt.images.color import luminance


def noise_figure(image: Tensor, style: Tensor) -> float:
    """Ratio of two roughnesses: 1 for as rough as the style image, far above noise, far below blur.

    Args:
        image: shape (1, 3, H, W), RGB in [0, 1].
        style: likewise, scaled to the same long side, as both are looked at.

    Returns:
        The ratio; infinite for a style image without any detail.
    """
    wanted = roughness(style)
    return roughness(image) / wanted if wanted else torch.inf


def roughness(image: Tensor) -> float:
    """Root mean square of the luma's high frequencies: what a Gaussian of 1 px removes.

    Args:
        image: shape (1, 3, H, W), RGB in [0, 1].
    """
    luma = luminance(image)
    return float((luma - gaussian_blur(luma, [7, 7], [1.0, 1.0])).square().mean().sqrt())
