"""An image taken apart into octaves: details of one size each."""

from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from nst_rt.images.color import luminance


def octaves(image: Tensor, sigmas: Sequence[float]) -> list[NDArray[np.float32]]:
    """Differences of Gaussians of the luma, the finest one first.

    Args:
        image: shape (1, 3, H, W), RGB in [0, 1].
        sigmas: standard deviations of the Gaussians, ascending, pixels.

    Returns:
        One plane fewer than there are sigmas, each of shape (H, W).
    """
    luma = luminance(image)[0, 0].numpy().astype(np.float32)
    blurred = [cv2.GaussianBlur(luma, (0, 0), sigma) for sigma in sigmas]
    return [np.asarray(fine - coarse, np.float32) for fine, coarse in pairwise(blurred)]
