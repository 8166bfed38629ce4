"""Clips whose optical flow and occlusions are known exactly, to measure stability with."""

import cv2
import numpy as np
import numpy.typing as npt

from nst_rt.images.io import Frame
from nst_rt.metrics.flow import Correspondence, Field, pixel_grid

Matrix = npt.NDArray[np.float64]

_CLIP_SIZE = (360, 640)  # height, width
# Corners of the first frame in the photo, and their motion per frame, which differs so that it is a
# homography; pixels, (x, y), clockwise from the top left.
_CORNERS = ((20, 10), (660, 10), (660, 370), (20, 370))
_CORNERS_MOVE = ((3.5, 2.5), (2.0, 2.2), (2.3, 1.2), (3.2, 1.0))
_LAYER_MIDDLE = (440, 190)
_LAYER_MOVE = (-6.0, 1.5)
_LAYER_TURN = 0.6  # degrees per frame
_LAYER_RADII = (110.0, 80.0)
_LAYER_EDGE = 2  # pixels on both sides of its edge that belong to neither layer


def layered_clip(
    photo: Frame, frames: int = 12, *, camera_moves: bool = True
) -> tuple[list[Frame], list[Correspondence]]:
    """A clip whose motion and occlusions are known exactly, and depend only on the photo.

    The camera moves over the photo by a homography, about 3 px per frame. An ellipse, filled with
    the photo upside down, moves in front of it by 6 px per frame in the other direction and turns.

    Args:
        photo: shape (H, W, 3), uint8 BGR, at least 720 px per side.
        frames: number of frames, at most 15: then the camera leaves the photo.
        camera_moves: whether the camera moves; if not, only the ellipse does.

    Returns:
        The frames, 640x360, and for each frame but the first the correspondence to the one before.
    """
    height, width = _CLIP_SIZE
    grid = pixel_grid(height, width)
    views = [_camera_view(number * camera_moves) for number in range(frames)]
    layers = [_layer_view(number) for number in range(frames)]
    textures = photo, np.ascontiguousarray(photo[::-1, ::-1])
    clip = []
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
        opacity = np.clip(_layer_depth(_projected(layer, grid)) + 0.5, 0, 1)[..., None]
        clip.append(np.rint(behind + opacity * (front.astype(np.float32) - behind)))
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
    return [frame.astype(np.uint8) for frame in clip], found


def _camera_view(number: int) -> Matrix:
    """Homography (3, 3) from pixels of a frame to pixels of the photo."""
    height, width = _CLIP_SIZE
    frame = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float32)
    corners = np.array(_CORNERS, np.float32) + number * np.array(_CORNERS_MOVE, np.float32)
    return np.asarray(cv2.getPerspectiveTransform(frame, corners), np.float64)


def _layer_view(number: int) -> Matrix:
    """Matrix (3, 3) from pixels of a frame to those of the layer, placed as in the first frame."""
    middle = np.add(_LAYER_MIDDLE, number * np.array(_LAYER_MOVE))
    matrix = np.eye(3)
    matrix[:2] = cv2.getRotationMatrix2D(middle.tolist(), number * _LAYER_TURN, 1)
    matrix[:2, 2] += _LAYER_MIDDLE - middle
    return matrix


def _layer_depth(positions: Field) -> Field:
    """Approximate distance of positions from the edge of the layer, pixels; below 0 outside it."""
    away = np.linalg.norm((positions - _LAYER_MIDDLE) / _LAYER_RADII, axis=-1)
    return np.asarray((1 - away) * min(_LAYER_RADII), np.float32)


def _projected(matrix: Matrix, positions: Field) -> Field:
    flat = positions.reshape(-1, 1, 2).astype(np.float64)
    return cv2.perspectiveTransform(flat, matrix).reshape(positions.shape).astype(np.float32)
