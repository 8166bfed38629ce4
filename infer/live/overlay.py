"""What a live window draws over the image: status, help and messages."""

from collections.abc import Sequence

import cv2

from nst_rt.images.io import Frame

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_MIN_SCALE, _MAX_SCALE = 0.1, 0.6  # of the font, which is 22 px high at 1
_MARGIN = 8  # pixels
_LINE_HEIGHT = 36  # pixels at a font scale of 1
_DARKENING = 0.35  # brightness that is left of the image behind text

_WHITE = (255, 255, 255)
_RED = (60, 60, 255)


def draw_lines(image: Frame, lines: Sequence[str], *, place: str = "top") -> tuple[int, int, int]:
    """Draw lines of text on a dark panel, as large as fits.

    Args:
        image: shape (H, W, 3), uint8 BGR; drawn on in place.
        lines: ASCII.
        place: `top` (left), `middle`, `bottom` or `corner` (bottom right).

    Returns:
        Left edge, top edge and height of the panel, pixels.
    """
    height, width = image.shape[:2]
    widest = max(cv2.getTextSize(line, _FONT, 1, 1)[0][0] for line in lines)
    fits = (width - 4 * _MARGIN) / widest, (height - 4 * _MARGIN) / (_LINE_HEIGHT * len(lines))
    scale = max(min(_MAX_SCALE, *fits), _MIN_SCALE)
    step = _LINE_HEIGHT * scale
    box = round(widest * scale) + 2 * _MARGIN, round(step * len(lines)) + _MARGIN
    left = {"top": _MARGIN, "corner": width - box[0] - _MARGIN}.get(place, (width - box[0]) // 2)
    top = {"top": _MARGIN, "middle": (height - box[1]) // 2}.get(place, height - box[1] - _MARGIN)
    x, y = max(left, 0), max(top, 0)
    panel = image[y : y + box[1], x : x + box[0]]
    cv2.convertScaleAbs(panel, panel, _DARKENING)
    for number, line in enumerate(lines):
        origin = x + _MARGIN, round(y + _MARGIN / 2 + step * (number + 0.75))
        cv2.putText(image, line, origin, _FONT, scale, _WHITE, 1, cv2.LINE_AA)
    return x, y, box[1]


def draw_recording(image: Frame, seconds: float) -> None:
    """Draw a red dot and the time recorded so far in the lower right corner."""
    minutes, rest = divmod(int(seconds), 60)
    x, y, height = draw_lines(image, [f"     REC {minutes}:{rest:02}"], place="corner")
    middle = x + height // 2, y + height // 2
    cv2.circle(image, middle, height // 5, _RED, -1, cv2.LINE_AA)
