"""Motion whose optical flow is known exactly, to train and measure stability with."""

import torch
from torch import Tensor


def shifted_pair(
    photos: Tensor, size: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, tuple[int, int]]:
    """Cut two windows out of each photo, shifted against each other.

    Args:
        photos: shape (N, 3, H, W) with H and W of at least `size`; what is over is the room that
            the windows move in.
        size: side of the windows, pixels.
        generator: source of the shift; one shift serves the whole batch.

    Returns:
        Two windows, shape (N, 3, size, size), and the position (x, y) of the second in the first,
        in pixels.
    """
    room_y, room_x = (side - size + 1 for side in photos.shape[-2:])
    (x1, x2), (y1, y2) = (
        torch.randint(room, (2,), generator=generator).tolist() for room in (room_x, room_y)
    )
    first = photos[..., y1 : y1 + size, x1 : x1 + size]
    second = photos[..., y2 : y2 + size, x2 : x2 + size]
    return first, second, (x2 - x1, y2 - y1)


def aligned_error(first: Tensor, second: Tensor, shift: tuple[int, int]) -> Tensor:
    """Mean squared difference of two windows where they show the same place.

    Args:
        first: shape (N, C, H, W).
        second: same shape.
        shift: position (x, y) of the second window in the first, pixels, less than a side.

    Returns:
        Scalar, float32.
    """
    x, y = shift
    h, w = first.shape[-2:]
    ours = first[..., max(y, 0) : h + min(y, 0), max(x, 0) : w + min(x, 0)]
    theirs = second[..., max(-y, 0) : h + min(-y, 0), max(-x, 0) : w + min(-x, 0)]
    return (ours.float() - theirs.float()).square().mean()
