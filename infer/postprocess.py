"""Post-processing: the frame's own colors, strength, and a split screen.

Each works pixel by pixel, without statistics over the frame, so that it adds no flicker to a video.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from nst_rt.errors import InputError
from nst_rt.images.io import Frame

_ROWS = 32  # rows that are processed together, so that their planes stay in the processor's cache
_LINE = 640  # width of the frame per pixel of the dividing line's width
_WHITE = 255


@dataclass(frozen=True)
class PostProcessing:
    """What is done to a stylized frame, in the order colors, strength, split screen.

    Attributes:
        preserve_colors: whether to keep the frame's colors, see `with_original_colors`.
        compare: whether to show the frame on the left half, see `split`.
    """

    preserve_colors: bool = False
    compare: bool = False

    def apply(self, frame: Frame, stylized: Frame, strength: float) -> Frame:
        """Post-process a frame.

        Args:
            frame: shape (H, W, 3), uint8 BGR.
            stylized: the stylized version, same shape.
            strength: from 0 (the frame as it is) to 1 (the full style).

        Returns:
            Same shape; possibly one of the two arrays itself.
        """
        # At strength 0 the frame must stay exact, and recoloring rounds.
        if self.preserve_colors and strength > 0:
            stylized = with_original_colors(frame, stylized)
        stylized = with_strength(frame, stylized, strength)
        return split(frame, stylized) if self.compare else stylized


def with_original_colors(frame: Frame, stylized: Frame) -> Frame:
    """The luma of the stylized frame with the chroma of the frame (Gatys et al. 2016).

    A faster `nst_rt.images.color.with_luminance`, to within a few levels: a color too strong for
    its new luma becomes paler, and keeps its hue.

    Args:
        frame: shape (H, W, 3), uint8 BGR.
        stylized: the stylized frame, same shape.

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
    # How far the channels go above and below the frame's luma, and how far they may from the new.
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
    """A mix of a frame and its stylized version.

    Args:
        frame: one frame or a batch, uint8.
        stylized: the stylized version, same shape.
        strength: from 0 (exactly the frame) to 1 (exactly the stylized version).

    Returns:
        Same shape; at 0 and 1 one of the two arrays itself.
    """
    if strength == 0:
        return frame
    if strength == 1:
        return stylized
    return np.asarray(cv2.addWeighted(stylized, strength, frame, 1 - strength, 0), np.uint8)


def mixed(frames: Sequence[tuple[Frame, float]]) -> Frame:
    """The weighted mean of frames of one shape, whose weights sum to 1."""
    result, total = frames[0]
    for frame, weight in frames[1:]:
        total += weight
        result = with_strength(result, frame, weight / total)
    return result


def split(frame: Frame, stylized: Frame) -> Frame:
    """The frame on the left, its stylized version on the right, a thin white line between them.

    Args:
        frame: shape (H, W, 3), uint8 BGR.
        stylized: the stylized version, same shape.

    Returns:
        Same shape.
    """
    width = frame.shape[1]
    thickness = max(round(width / _LINE), 1)
    left = min(round(width / 2), width - thickness)
    result = stylized.copy()
    result[:, :left] = frame[:, :left]
    result[:, left : left + thickness] = _WHITE
    return result


def check_strength(strength: float) -> None:
    """Raise an InputError unless a strength is from 0 to 1."""
    if not 0 <= strength <= 1:
        raise InputError(f"`strength` must be between 0 and 1, not {strength}")


PLAIN = PostProcessing()
