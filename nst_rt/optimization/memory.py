"""Memory of the per-image optimizer, predicted before the work starts.

Linux kills a process that runs out of memory: there is nothing to catch afterwards. The constants
were fitted to peaks measured by `benchmarks/memory.py`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from nst_rt.devices import available_memory
from nst_rt.errors import InputError
from nst_rt.images.convert import scaled_shape
from nst_rt.models.vgg import VGG19Features
from nst_rt.optimization.presets import OptimizerSettings

Shape = tuple[int, int]

_GB = 1e9
# The interpreter, PyTorch and its kernels, and VGG19's weights.
_BASE = 0.9 * _GB
# An image as the optimizer keeps it: three float32 channels.
_IMAGE = 12
# Copies of the image besides the optimizer's own: pixels, gradient, iterate, content, best one.
_IMAGES = 8
# Copies of each style image.
_STYLE_IMAGES = 2
# Values per pixel of a tile: the activations that are kept for the gradient, and the temporaries of
# the heaviest layer.
_ACTIVATIONS = 560
# Values per pixel of the whole image, however it is tiled: the content features.
_TARGET = 24
# Activations beyond this are tiled unless the user grants more: a step takes half as long again,
# but the machine stays usable.
_COMFORT = 4 * _GB
_SMALLEST_TILE = 512
# Copies of the image that the optimizers keep.
_OPTIMIZER_IMAGES = {"lbfgs": 25, "adam": 4}


@dataclass(frozen=True)
class Plan:
    """Tiling of an optimization, and the memory it needs.

    Attributes:
        tile: longest side of the tiles, pixels; None for the whole image at once.
        peak: predicted peak memory of the process, bytes.
    """

    tile: int | None
    peak: float


def plan(
    shapes: Sequence[Shape],
    settings: OptimizerSettings,
    features: VGG19Features,
    device: torch.device,
    memory: float | None = None,
) -> Plan:
    """Choose the largest tiles that fit into `memory` GB, or into a moderate share of free memory.

    Args:
        shapes: (H, W) of the content image and of each style image.

    Raises:
        InputError: it cannot fit; the message says which size would.
    """
    if memory is not None and not 0 < memory < math.inf:
        raise InputError(f"`memory` must be a positive number of GB, not {memory}")
    limit = available_memory(device) if memory is None else memory * _GB

    def peak(shapes: Sequence[Shape], tile: int | None = _SMALLEST_TILE) -> float:
        content, *styles = (height * width for height, width in shapes)
        images = (_IMAGES + _OPTIMIZER_IMAGES[settings.optimizer]) * content
        images += _STYLE_IMAGES * sum(styles)
        target = content * _TARGET * features.dtype.itemsize
        return _BASE + images * _IMAGE + target + _activations(shapes, features, tile)

    for tile in (None, 2048, 1024, _SMALLEST_TILE):
        moderate = memory is not None or device.type == "cuda" or tile == _SMALLEST_TILE
        if peak(shapes, tile) <= limit and (
            moderate or _activations(shapes, features, tile) <= _COMFORT
        ):
            return Plan(tile, peak(shapes, tile))
    height, width = shapes[0]
    long = max(height, width)
    sizes = range(long // 64 * 64, 0, -64)
    scaled = (
        [scaled_shape(shape, max(shape) * size // long) for shape in shapes] for size in sizes
    )
    fits = next((max(smaller[0]) for smaller in scaled if peak(smaller) <= limit), 0)
    remedy = f"`size` {fits} would fit" if fits else "no smaller size would fit"
    raise InputError(
        f"{width}x{height} px would take {peak(shapes) / _GB:.1f} GB of memory, but only "
        f"{limit / _GB:.1f} GB are available: {remedy}"
    )


def _activations(shapes: Sequence[Shape], features: VGG19Features, tile: int | None) -> float:
    """Activations of the largest tile of all images, bytes."""
    margin = 2 * features.reach
    windows = [
        math.prod(side if tile is None else min(side, tile + margin) for side in shape)
        for shape in shapes
    ]
    return float(max(windows) * _ACTIVATIONS * features.dtype.itemsize)
