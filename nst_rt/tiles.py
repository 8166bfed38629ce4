"""Tiles that cover an image once, with margins for what a network sees around them."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from nst_rt.errors import InputError

# Pixels, from the fastest to the one that takes the least memory.
TILE_SIDES = (2048, 1024, 512)


@dataclass(frozen=True)
class Tile:
    """A rectangle of an image, and a larger one around it that its activations depend on.

    Attributes:
        core: top, bottom, left and right edge of the rectangle, image pixels.
        window: the same of the larger one.
    """

    core: tuple[int, int, int, int]
    window: tuple[int, int, int, int]

    def pixels(self, image: Tensor) -> Tensor:
        """The window of an image, shape (..., H, W)."""
        top, bottom, left, right = self.window
        return image[..., top:bottom, left:right]

    def cut(self, whole: Tensor, step: int = 1) -> Tensor:
        """The core of activations of the whole image, `step` pixels apart."""
        top, bottom, left, right = (edge // step for edge in self.core)
        return whole[..., top:bottom, left:right]

    def trim(self, features: Tensor, step: int = 1) -> Tensor:
        """The core of activations of the window, `step` pixels apart."""
        top, bottom, left, right = (edge // step for edge in self.core)
        y, x = self.window[0] // step, self.window[2] // step
        return features[..., top - y : bottom - y, left - x : right - x]


def tiles(height: int, width: int, side: int | None, margin: int, step: int) -> list[Tile]:
    """Tiles whose cores cover an image once, in rows of about equal size.

    Args:
        height, width: size of the image, pixels.
        side: maximum side of a core, pixels; None for one tile.
        margin: how far an activation sees, pixels.
        step: stride of the deepest layer; cores and windows are aligned to it.
    """
    margin = -(-margin // step) * step
    rows = list(_intervals(height, side or height, margin, step))
    columns = list(_intervals(width, side or width, margin, step))
    return [
        Tile((*core_y, *core_x), (*window_y, *window_x))
        for core_y, window_y in rows
        for core_x, window_x in columns
    ]


def fitting_tile(
    shape: tuple[int, int],
    peak: Callable[[int, int | None], float],
    memory: float,
    sides: Sequence[int | None] = (None, *TILE_SIDES),
) -> int | None:
    """Choose the first side of tiles with which an image can be processed in `memory` bytes.

    Args:
        shape: height and width of the image, pixels.
        peak: predicts the memory, bytes, for the image scaled to a long side, pixels, and a side of
            tiles; None for no tiles.
        sides: sides to choose from, the one that takes the least memory last.

    Raises:
        InputError: it does not fit; the message says which size would.
    """
    long = max(shape)
    for side in sides:
        if peak(long, side) <= memory:
            return side
    sizes = range(long // 64 * 64, 0, -64)
    fits = next((size for size in sizes if peak(size, sides[-1]) <= memory), None)
    raise InputError(
        f"{shape[1]}x{shape[0]} px would take {peak(long, sides[-1]) / 1e9:.1f} GB of memory, but "
        f"only {memory / 1e9:.1f} GB may be used: "
        + ("no smaller size would fit" if fits is None else f"`size` {fits} would fit")
    )


def check_memory(memory: float | None) -> None:
    """Raise an InputError unless a memory limit is a positive number of GB, or None for none."""
    if memory is not None and not 0 < memory < math.inf:
        raise InputError(f"`memory` must be a positive number of GB, not {memory}")


def _intervals(
    length: int, side: int, margin: int, step: int
) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Core and window along an axis."""
    count = -(-length // side)
    side = -(-length // (count * step)) * step  # equal parts
    for start in range(0, length, side):
        end = min(start + side, length)
        yield (start, end), (max(start - margin, 0), min(end + margin, length))
