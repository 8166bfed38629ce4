"""Memory of the per-image optimizer, predicted before the work starts.

Linux kills a process that runs out of memory: there is nothing to catch afterwards. The constants
were fitted to peaks measured by `benchmarks/memory.py`.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch

from nst_rt.devices import available_memory
from nst_rt.images.convert import scaled_shape
from nst_rt.models.vgg import reach
from nst_rt.optimization.presets import OptimizerName
from nst_rt.tiles import TILE_SIDES, check_memory, fitting_tile

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
# Copies of the image that the optimizers keep.
_OPTIMIZER_IMAGES: dict[OptimizerName, int] = {"lbfgs": 25, "adam": 4}


@dataclass(frozen=True)
class MemoryPlan:
    """Tiling of an optimization, and the memory it needs.

    Attributes:
        tile: longest side of the tiles, pixels; None for the whole image at once.
        peak: predicted peak memory of the process, bytes.
    """

    tile: int | None
    peak: float


def plan_memory(
    shapes: Sequence[tuple[int, int]],
    *,
    optimizer: OptimizerName,
    layers: Collection[str],
    dtype: torch.dtype,
    device: torch.device,
    memory: float | None = None,
) -> MemoryPlan:
    """Choose the largest tiles that fit into `memory` GB, or into a moderate share of free memory.

    Args:
        shapes: (H, W) of the content image and of each style image.
        optimizer: name of the optimizer.
        layers: VGG19 layers of the losses.
        dtype: of VGG19.
        device: where the optimization runs.
        memory: limit, GB; None for a moderate share of what is free on the device.

    Raises:
        InputError: it cannot fit; the message says which size would.
    """
    check_memory(memory)
    limit = available_memory(device) if memory is None else memory * _GB
    margin = 2 * reach(layers)
    long = max(shapes[0])

    def scaled(size: int) -> list[tuple[int, int]]:
        return [scaled_shape(shape, max(max(shape) * size // long, 1)) for shape in shapes]

    def activations(size: int, tile: int | None) -> float:
        """Bytes of the largest tile of all images."""
        windows = [
            math.prod(side if tile is None else min(side, tile + margin) for side in shape)
            for shape in scaled(size)
        ]
        return float(max(windows) * _ACTIVATIONS * dtype.itemsize)

    def peak(size: int, tile: int | None) -> float:
        content, *styles = map(math.prod, scaled(size))
        images = (_IMAGES + _OPTIMIZER_IMAGES[optimizer]) * content + _STYLE_IMAGES * sum(styles)
        target = content * _TARGET * dtype.itemsize
        return _BASE + images * _IMAGE + target + activations(size, tile)

    sides: list[int | None] = [None, *TILE_SIDES]
    if memory is None and device.type != "cuda":
        sides = [side for side in sides[:-1] if activations(long, side) <= _COMFORT] + sides[-1:]
    tile = fitting_tile(shapes[0], peak, limit, sides)
    return MemoryPlan(tile, peak(long, tile))
