"""Fingerprints of styles: a few numbers that tell which style images are alike."""

import math
import statistics
from collections.abc import Sequence

import torch
from torch import Tensor

from nst_rt.images.convert import resize
from nst_rt.losses import gram_matrix
from nst_rt.models.vgg import VGG19Features

_SIZE = 512
_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")
_DIRECTIONS = 8


@torch.no_grad()
def fingerprint(image: Tensor) -> tuple[float, ...]:
    """The Gram matrices of an image in 32 numbers: enough to tell styles apart without the image.

    For each of relu1_1, relu2_1, relu3_1 and relu4_1: the logarithms of v' G v for eight fixed
    random directions v, minus their mean. The mean is contrast, which stylized images have less of.

    Args:
        image: shape (1, 3, H, W), RGB in [0, 1]; resized to 512 px on its long side.
    """
    features = VGG19Features(_LAYERS)(resize(image, _SIZE))
    generator = torch.Generator().manual_seed(0)
    numbers: list[float] = []
    for layer in _LAYERS:
        gram = gram_matrix(features[layer])[0]
        directions = torch.randn(_DIRECTIONS, len(gram), generator=generator)
        logarithms = torch.einsum("kc,cd,kd->k", directions, gram, directions).log()
        numbers += (logarithms - logarithms.mean()).tolist()
    return tuple(numbers)


def fingerprint_distance(one: Sequence[float], other: Sequence[float]) -> float:
    """Root mean square difference of two fingerprints; 0.1 means that energies differ by 10 %."""
    return math.sqrt(statistics.fmean((a - b) ** 2 for a, b in zip(one, other, strict=True)))
