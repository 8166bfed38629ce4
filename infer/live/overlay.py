"""What a live window draws over the image: status, help and messages."""

from collections.abc import Sequence

import cv2

from nst_rt.images.io import Frame

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_MAX_SCALE = 0.6  # of the font, which is 22 px high at 1
_MARGIN = 8  # pixels
_LINE_HEIGHT = 36  # pixels at a font scale of 1
_DARKENING = 0.35  # brightness that is left of the image behind text

_WHITE = (255, 255, 255)
_RED = (60, 60, 255)


def draw_lines(image: Frame, lines: Sequence[str], *, place: str = "top") -> None:
    """Draw lines of text on a dark panel, as large as fits.

    Args:
        image: shape (H, W, 3), uint8 BGR; drawn on in place.
        lines: ASCII.
        place: `top` (left), `middle` or `bottom`.
    """
    height, width = image.shape[:2]
    widest = max(cv2.getTextSize(line, _FONT, 1, 1)[0][0] for line in lines)
    scale = min(
        _MAX_SCALE,
        (width - 4 * _MARGIN) / widest,
        (height - 4 * _MARGIN) / (_LINE_HEIGHT * len(lines)),
    )
    step = _LINE_HEIGHT * scale
    box = round(widest * scale) + 2 * _MARGIN, round(step * len(lines)) + _MARGIN
    left = _MARGIN if place == "top" else (width - box[0]) // 2
    top = {"top": _MARGIN, "middle": (height - box[1]) // 2, "bottom": height - box[1] - _MARGIN}
    x, y = max(left, 0), max(top[place], 0)
    _darken(image[y : y + box[1], x : x + box[0]])
    for number, line in enumerate(lines):
        origin = x + _MARGIN, round(y + _MARGIN / 2 + step * (number + 0.75))
        cv2.putText(image, line, origin, _FONT, scale, _WHITE, 1, cv2.LINE_AA)


def draw_recording(image: Frame, seconds: float) -> None:
    """Draw a red dot and the time recorded so far in the lower right corner."""
    minutes, rest = divmod(int(seconds), 60)
    text = f"REC {minutes}:{rest:02}"
    scale = min(_MAX_SCALE, image.shape[1] / 500)
    (width, height), _ = cv2.getTextSize(text, _FONT, scale, 1)
    box = width + height + 3 * _MARGIN, height + 2 * _MARGIN
    x, y = (max(image.shape[side] - box[1 - side] - _MARGIN, 0) for side in (1, 0))
    _darken(image[y : y + box[1], x : x + box[0]])
    middle = y + box[1] // 2
    cv2.circle(image, (x + _MARGIN + height // 2, middle), height // 2, _RED, -1, cv2.LINE_AA)
    origin = x + 2 * _MARGIN + height, middle + height // 2
    cv2.putText(image, text, origin, _FONT, scale, _WHITE, 1, cv2.LINE_AA)


def _darken(panel: Frame) -> None:
    cv2.convertScaleAbs(panel, panel, _DARKENING)
