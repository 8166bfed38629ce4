"""What a live window draws: the image on black, and text at the resolution of the window.

Text has the font that Pillow bundles (Aileron, which has the letters of Latin-1). A panel that was
rendered is kept, so that a text that stays costs two operations on its area per frame.
"""

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from nst_rt.images.io import Frame
from nst_rt.infer.live.camera import Size

_DARKENING = 0.35  # brightness that is left of the image behind text
_LINE = 1.35  # distance of lines, in font sizes
_MINIMUM = 7  # font size, pixels
_SEPARATOR = "   "  # between the parts of the status line

_WHITE, _KEY, _RED = (255, 255, 255), (255, 216, 115), (255, 60, 60)  # RGB
Color = tuple[int, int, int]

Place = Literal["status", "note", "middle", "list", "corner"]
# Position of a panel as fractions of the room that it leaves in the window: left, top.
_PLACES: dict[Place, tuple[float, float]] = {
    "status": (0, 1),
    "note": (0.5, 0.88),
    "middle": (0.5, 0.5),
    "list": (0, 0),
    "corner": (1, 0),
}


@dataclass(frozen=True)
class Panel:
    """Text on a dark background.

    Attributes:
        rows: rows of one cell, which may be wrapped, or of two cells: a key and its meaning.
        place: where it lies in the window.
        dot: whether a red dot precedes the text, as of a recording.
    """

    rows: tuple[tuple[str, ...], ...]
    place: Place = "note"
    dot: bool = False


def letterboxed(image: Frame, size: Size) -> Frame:
    """A copy of an image, shape (H, W, 3), as large as fits into a width and height, on black."""
    width, height = size
    scale = min(width / image.shape[1], height / image.shape[0])
    fitted = max(round(image.shape[0] * scale), 1), max(round(image.shape[1] * scale), 1)
    boxed = np.zeros((height, width, 3), np.uint8)
    top, left = (height - fitted[0]) // 2, (width - fitted[1]) // 2
    area = boxed[top : top + fitted[0], left : left + fitted[1]]
    # Cubic interpolation would take twice as long for little.
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    cv2.resize(image, fitted[::-1], area, interpolation=interpolation)
    return boxed


def draw(image: Frame, panels: Iterable[Panel]) -> None:
    """Draw panels on an image, shape (H, W, 3), uint8 BGR, in place."""
    height, width = image.shape[:2]
    for panel in panels:
        keep, add = _rendered(panel, (width, height))
        margin = _font_size(height) // 2
        across, down = _PLACES[panel.place]
        x = max(round(across * (width - keep.shape[1] - 2 * margin)) + margin, 0)
        y = max(round(down * (height - keep.shape[0] - 2 * margin)) + margin, 0)
        area = image[y : y + keep.shape[0], x : x + keep.shape[1]]
        cv2.multiply(area, keep[: area.shape[0], : area.shape[1]], area, 1 / 255)
        cv2.add(area, add[: area.shape[0], : area.shape[1]], area)


def status_line(parts: Sequence[str], size: Size) -> str:
    """The first part, and as many of the others as fit into a window of a width and height."""
    font_size = _font_size(size[1])
    line = parts[0]
    for part in parts[1:]:
        longer = line + _SEPARATOR + part
        if _font(font_size).getlength(longer) > size[0] - 3 * font_size:
            break
        line = longer
    return line


def _font_size(height: int) -> int:
    """The size of text in a window of a height, where there is room, pixels."""
    return round(8 + height / 72)


@lru_cache(8)
def _font(size: int) -> Any:
    return ImageFont.load_default(size)


@lru_cache(16)
def _rendered(panel: Panel, size: Size) -> tuple[Frame, Frame]:
    """What to multiply the area of a panel by, in 255ths, and what to add to it then.

    The text is as large as usual in a window of that width and height, or smaller, to fit.
    """
    usual = _font_size(size[1])
    layouts = (_Layout(panel, font_size, size) for font_size in range(usual, _MINIMUM - 1, -1))
    layout = next(layout for layout in layouts if layout.fits)
    opacity = Image.new("L", layout.size)
    color = Image.new("RGB", layout.size)
    for tint, texts in layout.texts.items():
        shape = Image.new("L", layout.size)
        pen = ImageDraw.Draw(shape)
        for x, y, words in texts:
            pen.text((x, y), words, 255, layout.font, anchor="ls")
        opacity.paste(255, mask=shape)
        color.paste(tint, mask=shape)
    if panel.dot:
        ImageDraw.Draw(opacity).ellipse(layout.dot, 255)
        ImageDraw.Draw(color).ellipse(layout.dot, _RED)
    keep = _DARKENING * (255 - np.asarray(opacity, np.float32))[..., None].repeat(3, axis=2)
    return keep.round().astype(np.uint8), np.asarray(color)[..., ::-1].copy()


class _Layout:
    """Positions of the texts of a panel at a font size.

    Attributes:
        size: width and height of the panel, pixels.
        fits: whether it fits into the window, or can be made no smaller.
        texts: left end of the base line, and words, of the texts of each color.
        dot: bounding box of the dot.
    """

    def __init__(self, panel: Panel, font_size: int, window: Size) -> None:
        self.font = _font(font_size)
        margin = font_size * 0.6
        room = window[0] - 2 * margin - font_size
        keys = max((self._width(row[0]) for row in panel.rows if len(row) > 1), default=0)
        indent = keys + font_size if keys else font_size if panel.dot else 0
        self.texts: dict[Color, list[tuple[float, float, str]]] = {_WHITE: [], _KEY: []}
        right, y = 0.0, margin
        for number, row in enumerate(panel.rows):
            if keys and len(row) == 1 and number:
                y += font_size * 0.4  # before a heading
            key, words = row if len(row) > 1 else ("", row[0])
            left = 0 if keys and not key else indent
            lines = self._wrapped(words, room) if not keys else [words]
            if key:
                self.texts[_KEY].append((margin, y + font_size, key))
            for line in lines:
                self.texts[_WHITE].append((margin + left, y + font_size, line))
                right = max(right, left + self._width(line))
                y += font_size * _LINE
        self.size = round(right + 2 * margin), round(y + margin * 0.6)
        is_inside = right <= room and self.size[1] <= window[1]
        self.fits = is_inside or font_size == _MINIMUM
        middle, radius = (margin + font_size * 0.3, self.size[1] / 2), font_size * 0.3
        self.dot = (
            *(middle[0] - radius, middle[1] - radius),
            *(middle[0] + radius, middle[1] + radius),
        )

    def _width(self, words: str) -> float:
        return float(self.font.getlength(words))

    def _wrapped(self, words: str, room: float) -> list[str]:
        fitting = int(0.95 * len(words) * room / max(self._width(words), 1))  # letters per line
        return [words] if self._width(words) <= room else textwrap.wrap(words, max(fitting, 1))
