"""How much memory the per-image optimizer takes, predicted before the work starts.

Linux kills a process that runs out of memory: there is nothing to catch afterwards. The constants
were fitted to peaks measured by `benchmarks/memory.py`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from nst_rt.errors import InputError
from nst_rt.presets import Settings
from nst_rt.vgg import VGG19Features

_GB = 1e9
# The interpreter, PyTorch and its kernels, and VGG19's weights.
_BASE = 0.9 * _GB
# An image as the optimizer keeps it: three float32 channels.
_IMAGE = 12
# Images kept besides the optimizer's own: pixels, gradient, iterate, photo, painting, best one.
_IMAGES = 10
# Values per pixel of a tile: the activations that are kept for the gradient, and what the heaviest
# layer needs for the moment.
_ACTIVATIONS = 560
# Values per pixel kept of the whole image, however it is tiled: the content features.
_TARGET = 24
# Beyond this, tiles are the better bargain unless the user grants more: half as long again a step,
# but the machine stays usable.
_COMFORT = 4 * _GB
_SMALLEST_TILE = 512
# Images that the optimizers keep.
_OPTIMIZER_IMAGES = {"lbfgs": 25, "adam": 4}


@dataclass(frozen=True)
class Plan:
    """How an image is optimized within the memory.

    Attributes:
        tile: side of the tiles, pixels; None for the whole image at once.
        peak: predicted memory of the process, bytes.
    """

    tile: int | None
    peak: float


def available_memory(device: torch.device) -> float:
    """Bytes that are free on a device, for this process."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    free = float(psutil.virtual_memory().available)
    # A container may get less than the machine has: control groups, version 2 and 1.
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            total = Path("/sys/fs/cgroup", limit).read_text().strip()
            taken = Path("/sys/fs/cgroup", used).read_text().strip()
        except OSError:
            continue
        if total != "max":
            free = min(free, float(total) - float(taken))
    return free


def plan(
    shape: tuple[int, int],
    settings: Settings,
    features: VGG19Features,
    device: torch.device,
    memory: float | None = None,
) -> Plan:
    """How to optimize an image of (H, W) pixels within `memory` GB, or within what is free.

    Raises:
        InputError: it cannot fit; the message says which size would.
    """
    if memory is not None and not 0 < memory < math.inf:
        raise InputError(f"the memory must be a positive number of GB, not {memory}")
    limit = available_memory(device) if memory is None else memory * _GB
    for tile in (None, 2048, 1024, _SMALLEST_TILE):
        planned = _planned(shape, settings, features, tile)
        comfort = memory is not None or device.type == "cuda" or tile == _SMALLEST_TILE
        activations = _activations(shape, features, tile)
        if planned.peak <= limit and (comfort or activations <= _COMFORT):
            return planned
    needed = _planned(shape, settings, features, _SMALLEST_TILE).peak
    fits = _largest(shape, lambda s: _planned(s, settings, features, _SMALLEST_TILE).peak <= limit)
    remedy = f"--size {fits} would fit" if fits else "nor would any smaller size"
    raise InputError(
        f"{shape[1]}x{shape[0]} px would take {needed / _GB:.1f} GB of memory, and there are "
        f"{limit / _GB:.1f} GB: {remedy}"
    )


def _planned(
    shape: tuple[int, int], settings: Settings, features: VGG19Features, tile: int | None
) -> Plan:
    pixels = shape[0] * shape[1]
    images = (_IMAGES + _OPTIMIZER_IMAGES[settings.optimizer]) * pixels * _IMAGE
    target = pixels * _TARGET * features.dtype.itemsize
    return Plan(tile, _BASE + images + target + _activations(shape, features, tile))


def _activations(shape: tuple[int, int], features: VGG19Features, tile: int | None) -> float:
    margin = 2 * features.reach
    window = [side if tile is None else min(side, tile + margin) for side in shape]
    return float(math.prod(window) * _ACTIVATIONS * features.dtype.itemsize)


def _largest(shape: tuple[int, int], fits: Callable[[tuple[int, int]], bool]) -> int:
    """Long side, a multiple of 64, of the largest image of this aspect that fits; 0 for none."""
    long = max(shape)
    for size in range(long // 64 * 64, 0, -64):
        if fits((shape[0] * size // long, shape[1] * size // long)):
            return size
    return 0
