"""Motion whose optical flow and occlusions are known exactly, to train and measure stability with.

A photo is shifted, zoomed and turned against itself, and a second layer moves in front of it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class MotionRange:
    """How far the second view may move from the first, either way.

    Attributes:
        shift: pixels, along each axis.
        zoom: fraction of the size.
        angle: degrees.
        layer: probability of a second layer in front, which moves on its own.
    """

    shift: float = 8.0
    zoom: float = 0.05
    angle: float = 4.0
    layer: float = 0.5


@dataclass(frozen=True)
class MovingPair:
    """Two views of the same scenes, and where they show the same places.

    Attributes:
        first, second: shape (N, 3, S, S), RGB in [0, 1].
        positions: where each pixel of the second view lies in the first, shape (N, S, S, 2), (x, y)
            in the coordinates of `grid_sample`: -1 and 1 are the outer edges of the image.
        visible: where that place can be seen in the first view, shape (N, 1, S, S), boolean.
    """

    first: Tensor
    second: Tensor
    positions: Tensor
    visible: Tensor


def moving_pair(
    photos: Tensor, size: int, generators: Sequence[torch.Generator], motion: MotionRange
) -> MovingPair:
    """Two views of each photo, as a camera that moves and something in front of it would see them.

    Half of the photos move by whole pixels without turning, which interpolates nothing.

    Args:
        photos: shape (N, 3, H, W) with H and W of at least `size`; what is over is seen as the
            camera moves, and beyond it the photo's mirror image, which counts as not visible.
        size: side S of the views, pixels.
        generators: a source of chance for each photo, so that it does not depend on the batch.
        motion: how far.
    """
    draws = torch.stack([torch.rand(16, generator=g) for g in generators]).to(photos.device)
    whole = draws[:, 0] < 0.5
    camera = _affine(draws[:, 1:5], motion, whole)
    front = _affine(draws[:, 5:9], motion, whole)
    # An ellipse in front; beyond the corners, and so nowhere, where there is to be none.
    middle = (draws[:, 9:11] - 0.5) * size
    radii = size * (0.1 + 0.2 * draws[:, 11:13])
    middle = middle.where((draws[:, 13] < motion.layer)[:, None], 2.0 * size)

    pixels = _pixel_grid(size, photos.device).expand(len(photos), -1, -1, -1)
    behind, before = _transform(camera, pixels), _transform(front, pixels)
    layer = photos.flip(2, 3)  # another scene, out of the same photo
    first_mask, second_mask = (_ellipse(p, middle, radii) for p in (pixels, before))
    first = _sample(photos, pixels).lerp(_sample(layer, pixels), first_mask)
    second = _sample(photos, behind).lerp(_sample(layer, before), second_mask)

    in_front = second_mask > 0.5
    positions = before.where(in_front[:, 0, ..., None], behind)
    covered = ~in_front & (_ellipse(behind, middle, radii + 2) > 0)
    inside = (positions.abs() <= (size - 1) / 2).all(-1)[:, None]
    return MovingPair(first, second, positions * (2 / size), inside & ~covered)


def aligned_error(first: Tensor, second: Tensor, pair: MovingPair) -> Tensor:
    """Mean squared difference of two images, over what both views show.

    Args:
        first: what was made of `pair.first`, shape (N, C, S, S).
        second: what was made of `pair.second`, same shape.
        pair: where they correspond.

    Returns:
        Scalar, float32: the mean over the photos of each one's mean.
    """
    moved = F.grid_sample(first.float(), pair.positions, mode="bicubic", align_corners=False)
    squares = (moved - second.float()).square().mean(1, keepdim=True) * pair.visible
    seen = pair.visible.sum((1, 2, 3)).clamp(min=1)
    return (squares.sum((1, 2, 3)) / seen).mean()


def _affine(draws: Tensor, motion: MotionRange, whole: Tensor) -> Tensor:
    """Matrices (N, 2, 3) out of four numbers in [0, 1) each; whole shifts where `whole`."""
    x, y, zoom, angle = (2 * draws - 1).unbind(1)
    scale = torch.where(whole, 1.0, 1 + motion.zoom * zoom)
    turn = torch.where(whole, 0.0, math.radians(motion.angle) * angle)
    shift = motion.shift * torch.stack([x, y], 1)
    shift = shift.round().where(whole[:, None], shift)
    cos, sin = scale * turn.cos(), scale * turn.sin()
    rotation = torch.stack([torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], 1)
    return torch.cat([rotation, shift[:, :, None]], 2)


def _pixel_grid(size: int, device: torch.device) -> Tensor:
    """Centres of the pixels, shape (size, size, 2), (x, y) in pixels from the image's middle."""
    axis = torch.arange(size, device=device) - (size - 1) / 2
    return torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1)


def _transform(matrices: Tensor, positions: Tensor) -> Tensor:
    turned = torch.einsum("nij,nhwj->nhwi", matrices[:, :, :2], positions)
    return turned + matrices[:, None, None, :, 2]


def _ellipse(positions: Tensor, middle: Tensor, radii: Tensor) -> Tensor:
    """1 inside, 0 outside, with a soft edge of about a pixel; shape (N, 1, H, W)."""
    away = (positions - middle[:, None, None]) / radii[:, None, None]
    distance: Tensor = (1 - away.norm(dim=-1)) * radii.mean(1)[:, None, None]
    return (distance + 0.5).clamp(0, 1)[:, None]


def _sample(photos: Tensor, positions: Tensor) -> Tensor:
    """Photos at positions (N, H, W, 2) in pixels from their middle."""
    sides = torch.tensor([photos.shape[-1], photos.shape[-2]], device=photos.device)
    sampled = F.grid_sample(
        photos.float(),
        positions * (2 / sides),
        mode="bicubic",
        padding_mode="reflection",
        align_corners=False,
    )
    return sampled.clamp(0, 1)
