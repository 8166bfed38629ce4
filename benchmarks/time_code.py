"""A time code in large blocks along the upper edge of a frame, which survives stylization.

Each bit is a pair of blocks, light and dark for 1, dark and light for 0. Reading compares the two
and needs no threshold: a style may change colors and contrast, as long as light stays lighter than
dark. A checksum rejects codes that were read while the screen was changing.
"""

import cv2
import numpy as np

from nst_rt.images.io import Frame

BITS = 12
_CHECK = 4  # bits of the checksum
_ROWS = 2
_MIN_DIFFERENCE = 4.0  # levels between the blocks of a pair


def numbered(frame: Frame, number: int) -> Frame:
    """A copy of a frame with a number, modulo 4096, in two rows of blocks at the upper edge."""
    marked = frame.copy()
    code = number % 2**BITS
    word = code << _CHECK | _check(code)
    for index, (first, second) in enumerate(_blocks(frame.shape[1])):
        bit = word >> index & 1
        marked[first] = 255 * bit
        marked[second] = 255 * (1 - bit)
    return marked


def read_number(frame: np.ndarray) -> int | None:
    """The number in a frame or a screenshot of it; None where it cannot be read reliably.

    Args:
        frame: shape (H, W, 3), uint8, any channel order.
    """
    rows = _ROWS * _side(frame.shape[1])  # only these rows, for speed
    gray = cv2.cvtColor(np.ascontiguousarray(frame[:rows, :, :3]), cv2.COLOR_BGR2GRAY)
    word = 0
    for index, (first, second) in enumerate(_blocks(gray.shape[1])):
        difference = float(_core(gray[first]).mean() - _core(gray[second]).mean())
        if abs(difference) < _MIN_DIFFERENCE:
            return None
        word |= (difference > 0) << index
    code, check = word >> _CHECK, word & (2**_CHECK - 1)
    return code if check == _check(code) else None


def _check(code: int) -> int:
    return (code * 11 + 5) // 7 % 2**_CHECK


def _core(block: np.ndarray) -> np.ndarray:
    """A block without its edges, which strokes blur."""
    height, width = (side // 4 for side in block.shape)
    return block[height:-height, width:-width]


def _side(width: int) -> int:
    return width // (2 * (BITS + _CHECK) // _ROWS)


def _blocks(width: int) -> list[tuple[tuple[slice, slice], tuple[slice, slice]]]:
    pairs = (BITS + _CHECK) // _ROWS
    side = _side(width)

    def block(row: int, column: int) -> tuple[slice, slice]:
        top = row * side
        return slice(top, top + side), slice(column * side, (column + 1) * side)

    return [
        (block(index // pairs, 2 * (index % pairs)), block(index // pairs, 2 * (index % pairs) + 1))
        for index in range(pairs * _ROWS)
    ]
