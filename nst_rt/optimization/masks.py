"""Label images, whose regions have one flat color each, as masks for guided style transfer.

Gatys et al. 2017, "Controlling Perceptual Factors in Neural Style Transfer", section 4.
"""

import math
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageColor, ImageOps
from torch import Tensor
from torch.nn import functional as F

from nst_rt.errors import InputError
from nst_rt.files import check_input
from nst_rt.images.decoding import check_memory
from nst_rt.images.pillow import readable_image

Codes = npt.NDArray[np.uint32]  # 0xRRGGBB

MAX_LABELS = 16
# Smallest fraction of the pixels that makes a color a label; antialiased edges have many colors.
MIN_COVER = 0.005
# Colors this close in each channel are the same: JPEG turns red's 255 into 254, and makes ripples.
ALIKE = 24
# Smallest fraction of pixels with exactly a label's color: at least 0.35 in label images of 128 px
# and more, JPEGs of any quality included, at most 0.21 in photos (measured).
MIN_FLAT = 0.3
# Where all colors are alike, a second one of more than this fraction is not noise (which reaches
# 0.04) but a sign of regions numbered 0, 1, 2, which would silently become one.
NUMBERED = 0.1

_ADVICE = (
    f"fill each region with one flat color, at most {MAX_LABELS} clearly different ones, without "
    "shading, and save it as PNG"
)


def parse_color(text: str) -> str:
    """A color as `#rrggbb`, from any text that Pillow reads: `white`, `#fff`, `rgb(255,255,255)`.

    Raises:
        InputError: not a color.
    """
    try:
        return "#" + bytes(ImageColor.getrgb(text.strip())[:3]).hex()
    except ValueError as error:  # of `bytes` for rgb(999,0,0)
        raise InputError(
            f"{text!r}: neither a file nor a color such as white, #ff0000 or rgb(255,0,0)"
        ) from error


def load_labels(path: Path | str, *, like: tuple[int, int] | None = None) -> dict[str, Tensor]:
    """Read a label image: one mask for each of its colors.

    A label is a color that covers at least 0.5 % of the pixels; lines one pixel wide do not count,
    since they are antialiased edges. Colors that differ by at most 24 levels in each channel are
    one label. All other pixels go to the nearest label. Transparent areas become black, so that
    they are a region too.

    Args:
        path: any format that Pillow reads; PNG keeps the edges sharp.
        like: (H, W) of the image that the regions belong to. The mask may have another size, but
            must have the same aspect ratio, within 1 % or a pixel.

    Returns:
        Color (`#rrggbb`) -> mask of the file's own size, shape (1, 1, H, W), float32, 0 or 1, one
        of them 1 at each pixel. The largest region comes first. A JPEG may hold `#fe0000` for
        `#ff0000`.

    Raises:
        InputError: a file that cannot be read, that is not a label image (but a photo, say), or
            that does not fit `like`.
    """
    path = check_input(path)
    codes = _color_codes(path)
    if like is not None:
        _check_aspect(path, (codes.shape[0], codes.shape[1]), like)
    labels = _label_colors(path, codes)
    index = _nearest_labels(codes, labels)
    areas = np.bincount(index.ravel(), minlength=len(labels))
    return {
        f"#{labels[k]:06x}": torch.from_numpy(index == k).float()[None, None]
        for k in np.argsort(-areas, kind="stable")
    }


def resized_mask(mask: Tensor, shape: tuple[int, int], feather: float = 0.0) -> Tensor:
    """A mask at another size, with soft edges.

    Both steps are linear in the mask, so the masks of one label image still sum to 1 at each pixel.

    Args:
        mask: shape (1, 1, H, W), in [0, 1].
        shape: (h, w) to average areas down to; a larger one repeats pixels.
        feather: standard deviation of the Gaussian that softens the edges, in pixels of `shape`;
            borders are replicated.

    Returns:
        Shape (1, 1, h, w), float32, in [0, 1].
    """
    # On the CPU, since Apple's GPUs average areas of whole pixels only.
    averaged = F.interpolate(mask.float().cpu(), shape, mode="area")
    if feather == 0:
        return averaged.to(mask.device)
    # OpenCV is 4 to 12 times faster than two convolutions in PyTorch, on a ninth of the memory.
    radius = math.ceil(4 * feather)
    soft = cv2.GaussianBlur(
        averaged[0, 0].numpy(),
        (2 * radius + 1, 2 * radius + 1),
        sigmaX=feather,
        borderType=cv2.BORDER_REPLICATE,
    )
    return torch.from_numpy(soft).clamp_(0, 1)[None, None].to(mask.device)  # rounding


def _color_codes(path: Path) -> Codes:
    """The file's pixels as stored, shape (H, W), without color management or resizing."""
    with readable_image(path) as opened:
        check_memory(path, (opened.height, opened.width))
        levels = _rgb_levels(ImageOps.exif_transpose(opened))
    red, green, blue = (levels[:, :, k].astype(np.uint32) for k in range(3))
    red <<= 16
    green <<= 8
    return red | green | blue


def _rgb_levels(image: Image.Image) -> npt.NDArray[np.uint8]:
    if image.mode.startswith("I") or image.mode == "F":
        # 16-bit gray; Pillow's own conversion to RGB would clip it at 255.
        full = 1 if image.mode == "F" else 65535
        gray = np.array(image, dtype=np.float32).clip(0, full) * (255 / full)
        image = Image.fromarray(gray.round().astype(np.uint8))
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "black"), rgba)
    return np.asarray(image.convert("RGB"))


def _check_aspect(path: Path, shape: tuple[int, int], like: tuple[int, int]) -> None:
    (h, w), (height, width) = shape, like
    # Sizes are whole pixels: the smaller one is off by up to one pixel.
    slack = max(0.01, 1 / min(h, w, height, width))
    if abs(h * width - w * height) > slack * max(h * width, w * height):
        raise InputError(
            f"{path}: {w}x{h} px does not fit an image of {width}x{height} px; "
            "draw the mask over the image itself"
        )


def _label_colors(path: Path, codes: Codes) -> Codes:
    """Codes of the labels, the most frequent one first."""
    colors, counts = np.unique(codes[_flat_pixels(codes)], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    order = order[counts[order] >= MIN_COVER * codes.size]
    colors, counts = colors[order], counts[order]
    is_label = np.zeros(len(order), dtype=np.bool_)
    for k, color in enumerate(colors):
        distances = _differences(colors[is_label], color).max(axis=0)
        is_label[k] = (distances > ALIKE).all()
    labels, flat = colors[is_label], counts[is_label].sum() / codes.size
    if flat < MIN_FLAT or len(labels) > MAX_LABELS:
        found = f"{len(labels)} colors" if flat >= MIN_FLAT else f"{flat:.0%} of it is flat color"
        raise InputError(f"{path}: not a label image ({found}); {_ADVICE}")
    if len(labels) == 1 and counts[1:].max(initial=0) > NUMBERED * codes.size:
        raise InputError(
            f"{path}: its colors #{colors[0]:06x} and #{colors[1]:06x} are too alike; {_ADVICE}"
        )
    return labels


def _flat_pixels(codes: Codes) -> npt.NDArray[np.bool_]:
    """Which pixels are part of a 2x2 block of one color, shape (H, W)."""
    corner = codes[:-1, :-1]
    block = (corner == codes[1:, :-1]) & (corner == codes[:-1, 1:]) & (corner == codes[1:, 1:])
    flat = np.zeros(codes.shape, dtype=np.bool_)
    for corner_flat in (flat[:-1, :-1], flat[1:, :-1], flat[:-1, 1:], flat[1:, 1:]):
        corner_flat |= block
    return flat


def _nearest_labels(codes: Codes, labels: Codes) -> npt.NDArray[np.uint8]:
    """Index of the nearest label in RGB, shape (H, W)."""
    # A table of all colors, 16 MB, is 10 times faster than sorting or searching.
    table = np.zeros(1 << 24, dtype=np.uint8)
    table[codes] = 1
    colors = np.flatnonzero(table).astype(np.uint32)
    nearest = np.zeros(colors.shape, dtype=np.uint8)
    least = np.full(colors.shape, np.iinfo(np.int32).max, dtype=np.int32)
    for k, label in enumerate(labels):
        distances = np.square(_differences(colors, label)).sum(axis=0)
        closer = distances < least
        nearest[closer] = k
        least[closer] = distances[closer]
    table[colors] = nearest
    return table[codes]


def _differences(colors: Codes, color: np.uint32) -> npt.NDArray[np.int32]:
    """Absolute differences of colors (N,) from a color in each channel, shape (3, N)."""
    shifts = np.array([16, 8, 0], dtype=np.uint32)[:, None]
    levels = (colors >> shifts & 255).astype(np.int32)
    levels -= (color >> shifts & 255).astype(np.int32)
    return np.abs(levels, out=levels)


def matching_label(color: str, labels: Iterable[str]) -> str | None:
    """The nearest label within 24 levels of `color` in each channel, or None; all are `#rrggbb`."""
    codes = {label: np.array([int(label[1:], 16)], dtype=np.uint32) for label in labels}
    code = np.uint32(int(color[1:], 16))
    distances = {label: int(_differences(c, code).max()) for label, c in codes.items()}
    nearest = min(distances, key=distances.__getitem__, default=None)
    return nearest if nearest is not None and distances[nearest] <= ALIKE else None
