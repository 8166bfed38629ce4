"""Looks: what becomes of a pastiche beside the frame it was made of.

All of them go pixel by pixel, without statistics of the picture, so that a video stays as calm as
its frames and its pastiche are.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from nst_rt.errors import InputError
from nst_rt.images.io import Frame

_ROWS = 32  # that are worked on together: their planes stay in the processor's cache
_LINE = 640  # pixels of width for each pixel of the dividing line
_WHITE = 255


@dataclass(frozen=True)
class PostProcessing:
    """How a pastiche is shown.

    Attributes:
        strength: from 0 (the frame as it is) to 1 (the full style).
        preserve_colors: see `with_original_colors`.
        compare: see `split`.

    Raises:
        InputError: a strength out of range.
    """

    strength: float = 1.0
    preserve_colors: bool = False
    compare: bool = False

    def __post_init__(self) -> None:
        check_strength(self.strength)

    def apply(self, frame: Frame, stylized: Frame) -> Frame:
        """Both frames of shape (H, W, 3), and so is the result, which may be one of them."""
        # Without the style there is nothing to take colors for, and rounding would show.
        if self.preserve_colors and self.strength > 0:
            stylized = with_original_colors(frame, stylized)
        stylized = with_strength(frame, stylized, self.strength)
        return split(frame, stylized) if self.compare else stylized


def with_original_colors(frame: Frame, stylized: Frame) -> Frame:
    """The pastiche in the frame's own colors: its luma, and the frame's chroma.

    What `nst_rt.images.color.with_luminance` does for images, in a few milliseconds and to within
    a few levels: where a color is too strong for its new luma, it becomes paler, never another hue.

    Args:
        frame: shape (H, W, 3), uint8 BGR.
        painted: what was made of it, same shape.

    Returns:
        Same shape.
    """
    result = np.empty(frame.shape, np.uint8)
    for top in range(0, len(frame), _ROWS):
        rows = slice(top, top + _ROWS)
        result[rows] = _recolored(frame[rows], stylized[rows])
    return result


def _recolored(frame: Frame, stylized: Frame) -> Frame:
    luma = cv2.cvtColor(stylized, cv2.COLOR_BGR2GRAY)
    own = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
    planes = cv2.split(frame)
    # How far the color reaches beyond its luma, both ways, and how far it may beyond the new one.
    above = cv2.subtract(cv2.max(cv2.max(planes[0], planes[1]), planes[2]), own)
    below = cv2.subtract(own, cv2.min(cv2.min(planes[0], planes[1]), planes[2]))
    room_above = cv2.divide(cv2.bitwise_not(luma), np.maximum(above, 1), dtype=cv2.CV_32F)
    room_below = cv2.divide(luma, np.maximum(below, 1), dtype=cv2.CV_32F)
    kept = np.minimum(cv2.min(room_above, room_below), 1)
    # luma + kept * (plane - own)
    level = cv2.subtract(luma, cv2.multiply(own, kept, dtype=cv2.CV_32F), dtype=cv2.CV_32F)
    chroma = [cv2.multiply(plane, kept, dtype=cv2.CV_32F) for plane in planes]
    merged = cv2.merge([cv2.add(part, level, dtype=cv2.CV_8U) for part in chroma])
    return np.asarray(merged, np.uint8)


def with_strength(frame: Frame, stylized: Frame, strength: float) -> Frame:
    """Frame and pastiche mixed: at 0 exactly the one, at 1 exactly the other.

    Args:
        frame: one frame or a batch, uint8.
        painted: what was made of it, same shape.
        strength: from 0 to 1.

    Returns:
        Same shape; one of the two themselves at 0 and 1.
    """
    if strength == 0:
        return frame
    if strength == 1:
        return stylized
    return np.asarray(cv2.addWeighted(stylized, strength, frame, 1 - strength, 0), np.uint8)


def mixed(frames: Sequence[tuple[Frame, float]]) -> Frame:
    """The mean of frames of one shape, weighted by shares that sum to 1."""
    result, share = frames[0]
    for frame, weight in frames[1:]:
        share += weight
        result = with_strength(result, frame, weight / share)
    return result


def split(frame: Frame, stylized: Frame, *, position: float = 0.5) -> Frame:
    """The frame on the left, its pastiche on the right, a thin white line between them.

    Args:
        frame: shape (H, W, 3), uint8 BGR.
        painted: what was made of it, same shape.
        position: of the line, from 0 (left) to 1 (right).

    Returns:
        Same shape.

    Raises:
        InputError: a position out of range.
    """
    if not 0 <= position <= 1:
        raise InputError(f"the position of the line must be between 0 and 1, not {position}")
    width = frame.shape[1]
    thickness = max(round(width / _LINE), 1)
    left = min(round(position * width), width - thickness)
    result = stylized.copy()
    result[:, :left] = frame[:, :left]
    result[:, left : left + thickness] = _WHITE
    return result


def check_strength(strength: float) -> None:
    """Raise an InputError for a strength out of range."""
    if not 0 <= strength <= 1:
        raise InputError(f"the strength must be between 0 and 1, not {strength}")


PLAIN = PostProcessing()
