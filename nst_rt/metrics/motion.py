"""Motion whose optical flow and occlusions are known exactly, to train stability with.

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
    """Maximum motion between two views, in either direction.

    Attributes:
        shift: shift along each axis, pixels.
        zoom: change of scale, as a fraction of the size.
        angle: rotation, degrees.
        layer: probability of a second layer in front, which moves independently.
    """

    shift: float = 8.0
    zoom: float = 0.05
    angle: float = 4.0
    layer: float = 0.5


@dataclass(frozen=True)
class MovingPair:
    """Two views of the same scenes, and their correspondence.

    Attributes:
        first, second: shape (N, 3, S, S), RGB in [0, 1].
        positions: of each pixel of the second view in the first, shape (N, S, S, 2), as (x, y)
            in the coordinates of `grid_sample`: -1 and 1 are the outer edges of the image.
        visible: whether that position is visible in the first view, shape (N, 1, S, S), boolean.
    """

    first: Tensor
    second: Tensor
    positions: Tensor
    visible: Tensor


def moving_pair(
    photos: Tensor, size: int, generators: Sequence[torch.Generator], motion: MotionRange
) -> MovingPair:
    """Two views of each photo, as seen by a moving camera with a moving object in front.

    Half of the photos are shifted by whole pixels only, which needs no interpolation.

    Args:
        photos: shape (N, 3, H, W) with H and W of at least `size`; the margin becomes visible as
            the camera moves, and beyond it the photo's reflection, which counts as not visible.
        size: side S of the views, pixels.
        generators: one random generator per photo, so that results do not depend on the batch.
        motion: range of the motion.
    """
    draws = torch.stack([torch.rand(16, generator=g) for g in generators]).to(photos.device)
    whole = draws[:, 0] < 0.5
    camera = _affine(draws[:, 1:5], motion, whole)
    front = _affine(draws[:, 5:9], motion, whole)
    # An ellipse in front; outside the view where there is no second layer.
    middle = (draws[:, 9:11] - 0.5) * size
    radii = size * (0.1 + 0.2 * draws[:, 11:13])
    middle = middle.where((draws[:, 13] < motion.layer)[:, None], 2.0 * size)

    pixels = _pixel_grid(size, photos.device).expand(len(photos), -1, -1, -1)
    behind, before = _transform(camera, pixels), _transform(front, pixels)
    layer = photos.flip(2, 3)  # another scene, made of the same photo
    first_mask, second_mask = (_ellipse(p, middle, radii) for p in (pixels, before))
    first = _sample(photos, pixels).lerp(_sample(layer, pixels), first_mask)
    second = _sample(photos, behind).lerp(_sample(layer, before), second_mask)

    in_front = second_mask > 0.5
    positions = before.where(in_front[:, 0, ..., None], behind)
    covered = ~in_front & (_ellipse(behind, middle, radii + 2) > 0)
    inside = (positions.abs() <= (size - 1) / 2).all(-1)[:, None]
    return MovingPair(first, second, positions * (2 / size), inside & ~covered)


def aligned_error(first: Tensor, second: Tensor, pair: MovingPair) -> Tensor:
    """Mean squared difference of two images where both views show the same place.

    Args:
        first: image computed from `pair.first`, shape (N, C, S, S).
        second: image computed from `pair.second`, same shape.
        pair: correspondence of the views.

    Returns:
        Scalar, float32: the mean over the photos of each photo's mean.
    """
    moved = F.grid_sample(first.float(), pair.positions, mode="bicubic", align_corners=False)
    squares = (moved - second.float()).square().mean(1, keepdim=True) * pair.visible
    seen = pair.visible.sum((1, 2, 3)).clamp(min=1)
    return (squares.sum((1, 2, 3)) / seen).mean()


def _affine(draws: Tensor, motion: MotionRange, whole: Tensor) -> Tensor:
    """Matrices (N, 2, 3) from four numbers in [0, 1) each; shifts of whole pixels where `whole`."""
    x, y, zoom, angle = (2 * draws - 1).unbind(1)
    scale = torch.where(whole, 1.0, 1 + motion.zoom * zoom)
    turn = torch.where(whole, 0.0, math.radians(motion.angle) * angle)
    shift = motion.shift * torch.stack([x, y], 1)
    shift = shift.round().where(whole[:, None], shift)
    cos, sin = scale * turn.cos(), scale * turn.sin()
    rotation = torch.stack([torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], 1)
    return torch.cat([rotation, shift[:, :, None]], 2)


def _pixel_grid(size: int, device: torch.device) -> Tensor:
    """Pixel centers, shape (size, size, 2), (x, y) in pixels from the center of the image."""
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
    """Sample photos at positions (N, H, W, 2), in pixels from their centers."""
    sides = torch.tensor([photos.shape[-1], photos.shape[-2]], device=photos.device)
    sampled = F.grid_sample(
        photos.float(),
        positions * (2 / sides),
        mode="bicubic",
        padding_mode="reflection",
        align_corners=False,
    )
    return sampled.clamp(0, 1)
