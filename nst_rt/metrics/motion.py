"""Motion whose optical flow and occlusions are known exactly, to train and measure stability with.

A photo is shifted, zoomed and turned against itself, and a second layer moves in front of it:
pairs of views to train with, and clips to measure with.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from nst_rt.images.io import Frame
from nst_rt.metrics.flow import Correspondence, Field, pixel_grid

Matrix = npt.NDArray[np.float64]

_CLIP_SIZE = (360, 640)  # height, width
# Of the photo, where the corners of the first frame lie, and how far they move a frame; in pixels,
# (x, y), clockwise from the top left. They do not move alike, so that it is a homography.
_CORNERS = ((20, 10), (660, 10), (660, 370), (20, 370))
_CORNERS_MOVE = ((3.5, 2.5), (2.0, 2.2), (2.3, 1.2), (3.2, 1.0))
_LAYER_MIDDLE = (440, 190)
_LAYER_MOVE = (-6.0, 1.5)
_LAYER_TURN = 0.6  # degrees a frame
_LAYER_RADII = (110.0, 80.0)
_LAYER_EDGE = 2  # pixels on both sides of it that belong to neither layer


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


def layered_clip(
    photo: Frame, frames: int = 12, *, camera_moves: bool = True
) -> tuple[list[Frame], list[Correspondence]]:
    """A clip whose motion and occlusions are known exactly, the same one for the same photo.

    The camera moves over the photo by a homography, by about 3 px a frame, and an ellipse out of
    the photo turned upside down moves in front of it, by 6 px a frame the other way, turning.

    Args:
        photo: shape (H, W, 3), uint8 BGR, at least 720 px a side.
        frames: how many, at most 15, or the camera leaves the photo.
        camera_moves: it stands otherwise, and only the ellipse moves.

    Returns:
        The frames, 640x360, and for each one but the first where its pixels were in the one before.
    """
    height, width = _CLIP_SIZE
    grid = pixel_grid(height, width)
    views = [_camera_view(number * camera_moves) for number in range(frames)]
    layers = [_layer_view(number) for number in range(frames)]
    textures = photo, np.ascontiguousarray(photo[::-1, ::-1])
    pictures = []
    for view, layer in zip(views, layers, strict=True):
        behind, front = (
            cv2.warpPerspective(
                texture,
                matrix,
                (width, height),
                flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_REFLECT_101,
            )
            for texture, matrix in zip(textures, (view, layer), strict=True)
        )
        share = np.clip(_layer_depth(_projected(layer, grid)) + 0.5, 0, 1)[..., None]
        pictures.append(np.rint(behind + share * (front.astype(np.float32) - behind)))
    found = []
    for number in range(1, frames):
        depth = _layer_depth(_projected(layers[number], grid))
        behind, before = (
            _projected(np.linalg.inv(pair[number - 1]) @ pair[number], grid)
            for pair in (views, layers)
        )
        was_covered = _layer_depth(_projected(layers[number - 1], behind)) > -_LAYER_EDGE
        in_front = depth > 0
        positions = np.where(in_front[..., None], before, behind)
        inside = ((positions >= 0) & (positions <= (width - 1, height - 1))).all(-1)
        visible = inside & (np.abs(depth) > _LAYER_EDGE) & (in_front | ~was_covered)
        found.append(Correspondence(positions.astype(np.float32), visible))
    return [picture.astype(np.uint8) for picture in pictures], found


def _camera_view(number: int) -> Matrix:
    """Homography (3, 3) from a frame's pixels to the photo's."""
    height, width = _CLIP_SIZE
    frame = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float32)
    corners = np.array(_CORNERS, np.float32) + number * np.array(_CORNERS_MOVE, np.float32)
    return np.asarray(cv2.getPerspectiveTransform(frame, corners), np.float64)


def _layer_view(number: int) -> Matrix:
    """Matrix (3, 3) from a frame's pixels to the layer's, which lie as in the first frame."""
    middle = np.add(_LAYER_MIDDLE, number * np.array(_LAYER_MOVE))
    matrix = np.eye(3)
    matrix[:2] = cv2.getRotationMatrix2D(middle.tolist(), number * _LAYER_TURN, 1)
    matrix[:2, 2] += _LAYER_MIDDLE - middle
    return matrix


def _layer_depth(positions: Field) -> Field:
    """Roughly how many pixels positions of the layer lie within its edge; outside it, below 0."""
    away = np.linalg.norm((positions - _LAYER_MIDDLE) / _LAYER_RADII, axis=-1)
    return np.asarray((1 - away) * min(_LAYER_RADII), np.float32)


def _projected(matrix: Matrix, positions: Field) -> Field:
    flat = positions.reshape(-1, 1, 2).astype(np.float64)
    return cv2.perspectiveTransform(flat, matrix).reshape(positions.shape).astype(np.float32)


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
    """Centers of the pixels, shape (size, size, 2), (x, y) in pixels from the image's middle."""
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
