"""What a live window writes over its picture: a line about the session, the help, messages."""

from collections.abc import Sequence

import cv2

from nst_rt.images.io import Frame

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_LARGEST = 0.6  # of the font, which is 22 px high at 1
_MARGIN = 8  # pixels
_LINE = 36  # pixels from line to line at 1
_DARKENED = 0.35  # what is left of the picture behind text

_WHITE = (255, 255, 255)
_RED = (60, 60, 255)


def write_lines(picture: Frame, lines: Sequence[str], *, place: str = "top") -> None:
    """Write lines on a dark panel, as large as fits.

    Args:
        picture: shape (H, W, 3), uint8 BGR; is written on.
        lines: ASCII.
        place: `top`, `middle` or `bottom`.
    """
    height, width = picture.shape[:2]
    widest = max(cv2.getTextSize(line, _FONT, 1, 1)[0][0] for line in lines)
    scale = min(
        _LARGEST,
        (width - 4 * _MARGIN) / widest,
        (height - 4 * _MARGIN) / (_LINE * len(lines)),
    )
    step = _LINE * scale
    box = round(widest * scale) + 2 * _MARGIN, round(step * len(lines)) + _MARGIN
    left = _MARGIN if place == "top" else (width - box[0]) // 2
    top = {"top": _MARGIN, "middle": (height - box[1]) // 2, "bottom": height - box[1] - _MARGIN}
    x, y = max(left, 0), max(top[place], 0)
    panel = picture[y : y + box[1], x : x + box[0]]
    cv2.convertScaleAbs(panel, panel, _DARKENED)
    for number, line in enumerate(lines):
        at = x + _MARGIN, round(y + _MARGIN / 2 + step * (number + 0.75))
        cv2.putText(picture, line, at, _FONT, scale, _WHITE, 1, cv2.LINE_AA)


def write_recording(picture: Frame, seconds: float) -> None:
    """A red dot and how long it has been recording, in the lower right corner."""
    minutes, rest = divmod(int(seconds), 60)
    text = f"REC {minutes}:{rest:02}"
    scale = min(_LARGEST, picture.shape[1] / 500)
    (width, height), _ = cv2.getTextSize(text, _FONT, scale, 1)
    box = width + height + 3 * _MARGIN, height + 2 * _MARGIN
    x, y = (max(picture.shape[side] - box[1 - side] - _MARGIN, 0) for side in (1, 0))
    panel = picture[y : y + box[1], x : x + box[0]]
    cv2.convertScaleAbs(panel, panel, _DARKENED)
    middle = y + box[1] // 2
    cv2.circle(picture, (x + _MARGIN + height // 2, middle), height // 2, _RED, -1, cv2.LINE_AA)
    at = x + 2 * _MARGIN + height, middle + height // 2
    cv2.putText(picture, text, at, _FONT, scale, _WHITE, 1, cv2.LINE_AA)
