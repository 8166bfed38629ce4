"""What is made of a frame and its pastiche together."""

import cv2
import numpy as np

from nst_rt.images import Frame


def with_original_colours(frame: Frame, painted: Frame) -> Frame:
    """The pastiche's luma with the frame's colours (Gatys et al. 2016, luminance only).

    Args:
        frame, painted: shape (H, W, 3), uint8 BGR.

    Returns:
        Shape (H, W, 3), uint8 BGR.
    """
    colours = cv2.cvtColor(frame, cv2.COLOR_BGR2YCrCb)
    cv2.mixChannels([cv2.cvtColor(painted, cv2.COLOR_BGR2YCrCb)], [colours], [0, 0])
    return np.asarray(cv2.cvtColor(colours, cv2.COLOR_YCrCb2BGR), np.uint8)


def split(frame: Frame, painted: Frame) -> Frame:
    """The frame on the left of a line, its pastiche on the right.

    Args:
        frame, painted: shape (H, W, 3), uint8 BGR.

    Returns:
        Shape (H, W, 3), uint8 BGR.
    """
    middle = frame.shape[1] // 2
    both = np.concatenate([frame[:, :middle], painted[:, middle:]], axis=1)
    both[:, middle - 1 : middle + 1] = 255
    return both
