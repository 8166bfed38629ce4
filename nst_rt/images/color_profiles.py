"""ICC profiles: from the colors that a file holds to sRGB, which all other code takes for granted.

LittleCMS, inside Pillow, does the conversion: relative colorimetric with black point compensation,
as photo editors do. Black point compensation only matters for print (CMYK) profiles.
"""

import logging
import struct
from functools import cache, lru_cache
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

logger = logging.getLogger(__name__)

# The profiles that pictures of a mode may have.
_SPACES = {"L": ("GRAY", "RGB"), "RGB": ("RGB",), "CMYK": ("CMYK",)}
_ROUNDINGS = 16


def srgb_transform(
    profile: bytes | None, mode: str, path: Path
) -> ImageCms.ImageCmsTransform | None:
    """How the colors of a file become sRGB.

    Args:
        profile: the ICC profile that the file embeds, if any. One that is broken or for other
            colors is ignored with a warning.
        mode: Pillow's mode of the file. A gray one may have an RGB profile; the transform then
            expects RGB, as its `input_mode` says.
        path: of the file, for the warning.

    Returns:
        A transform to 8-bit RGB; None where the colors are sRGB already or are taken for it.
    """
    if mode != "CMYK":
        mode = "L" if Image.getmodebase(mode) == "L" else "RGB"
    try:
        return _built_transform(profile, mode) if profile else None
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError) as error:
        logger.warning("%s: its color profile is ignored (%s)", path, error)
        return None


# Photos share few profiles, and a transform takes 5 ms to build, as a small JPEG does to decode.
@lru_cache(maxsize=8)
def _built_transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    source = ImageCms.ImageCmsProfile(BytesIO(profile))
    space = source.profile.xcolor_space.strip()
    if space not in _SPACES[mode]:
        raise ValueError(f"it is for {space} colors, which the file has not")
    transform = ImageCms.buildTransform(
        source,
        ImageCms.createProfile("sRGB"),
        "L" if space == "GRAY" else space,
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    return None if _changes_nothing(transform) else transform


def _changes_nothing(transform: ImageCms.ImageCmsTransform) -> bool:
    """Whether a grid of colors stays as it is, but for rounding.

    Profiles of sRGB have many names and sizes; what they do tells them best.
    """
    levels = np.arange(0, 256, 17, dtype=np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
    colors = Image.fromarray(grid).convert(transform.input_mode)
    before, after = (np.asarray(x, int) for x in (colors.convert("RGB"), transform.apply(colors)))
    return bool(np.abs(after - before).max() <= 1)


def deep_to_srgb(
    transform: ImageCms.ImageCmsTransform, levels: npt.NDArray[np.uint16]
) -> npt.NDArray[np.float32]:
    """Apply a transform to 16-bit colors; smooth, and within 1.5 / 255 of exact.

    Pillow gives LittleCMS 8 bits a channel at most, so this is the mean over roundings of the
    colors to 8 bits, from always down to almost always up: tetrahedral interpolation, which keeps
    gray as neutral and as monotonic as it is at 8 bits.

    Args:
        transform: from gray or RGB.
        levels: RGB, shape (H, W, 3).

    Returns:
        Shape (H, W, 3), RGB in [0, 1].
    """
    exact = levels.astype(np.float32) / np.float32(257)  # 65535 = 255 * 257
    if transform.input_mode == "L":
        exact = exact[:, :, 0]
    total = np.zeros(levels.shape, np.float32)
    for i in range(_ROUNDINGS):
        rounded = Image.fromarray((exact + (i + 0.5) / _ROUNDINGS).astype(np.uint8))
        total += np.asarray(transform.apply(rounded))
    return total / np.float32(255 * _ROUNDINGS)


@cache
def srgb_profile() -> bytes:
    """The profile to embed in what is written."""
    made = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    # Bytes 24 to 36 are the time of making; the same image is to give the same file every time.
    return made[:24] + struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + made[36:]
