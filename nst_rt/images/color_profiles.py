"""ICC profiles: converting the colors of a file to sRGB, the color space of all other code.

LittleCMS (inside Pillow) converts, relative colorimetric with black point compensation as photo
editors do. Black point compensation only matters for print (CMYK) profiles.
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

# Pillow's mode of an image -> color spaces that its profile may have.
_SPACES = {"L": ("GRAY", "RGB"), "RGB": ("RGB",), "CMYK": ("CMYK",)}
_ROUNDINGS = 16


def srgb_transform(
    profile: bytes | None, mode: str, path: Path
) -> ImageCms.ImageCmsTransform | None:
    """Transform from the colors of a file to sRGB.

    Args:
        profile: embedded ICC profile, if any. A profile that is damaged, or for another color
            space than the file's, is ignored with a warning.
        mode: Pillow's mode of the image. A gray image may have an RGB profile; the transform then
            expects RGB, see its `input_mode`.
        path: path of the file, for the warning.

    Returns:
        Transform to 8-bit RGB; None if the colors are sRGB already, or no profile says otherwise.
    """
    if mode != "CMYK":
        mode = "L" if Image.getmodebase(mode) == "L" else "RGB"
    try:
        return _built_transform(profile, mode) if profile else None
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError) as error:
        logger.warning("%s: the embedded color profile is ignored (%s)", path, error)
        return None


# Photos share few profiles, and building a transform takes 5 ms, as long as decoding a small JPEG.
@lru_cache(maxsize=8)
def _built_transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    source = ImageCms.ImageCmsProfile(BytesIO(profile))
    space = source.profile.xcolor_space.strip()
    if space not in _SPACES[mode]:
        raise ValueError(f"a profile for {space}, but the image is {mode}")
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
    """Whether the transform maps a grid of colors to itself, up to rounding.

    sRGB profiles come with many names and sizes; only their effect identifies them.
    """
    levels = np.arange(0, 256, 17, dtype=np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
    colors = Image.fromarray(grid).convert(transform.input_mode)
    before, after = (np.asarray(x, int) for x in (colors.convert("RGB"), transform.apply(colors)))
    return bool(np.abs(after - before).max() <= 1)


def deep_to_srgb(
    transform: ImageCms.ImageCmsTransform, levels: npt.NDArray[np.uint16]
) -> npt.NDArray[np.float32]:
    """Apply a transform to 16-bit colors; smooth, and within 1.5 / 255 of the exact result.

    Pillow passes at most 8 bits per channel to LittleCMS. So this is the mean over dithered
    roundings to 8 bits (the same offset in all channels, from always down to almost always up):
    tetrahedral interpolation, which keeps gray as neutral and as monotonic as at 8 bits. It works
    for every kind of profile. A 3-D table of fewer than 256 levels per axis would be off by
    several levels in the darks of linear profiles, and Pillow does not expose tone curves.

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
    """The sRGB profile to embed in written files."""
    made = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    # Bytes 24 to 36 are the creation time; fixed, so that equal images give equal files.
    return made[:24] + struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + made[36:]
