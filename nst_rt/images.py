"""Images: from files to tensors to frames and back; nothing else converts between them.

An image is a float32 tensor (1, 3, H, W), RGB (sRGB) in [0, 1]; a frame is a uint8 array (H, W, 3),
BGR, as OpenCV has them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
import torch
from cv2.typing import MatLike
from PIL import ExifTags, Image, UnidentifiedImageError
from torch import Tensor
from torch.nn import functional as F

from nst_rt.colour_profiles import deep_to_srgb, srgb_profile, srgb_transform
from nst_rt.errors import InputError
from nst_rt.files import atomic_output, check_format, check_input

Frame = npt.NDArray[np.uint8]
Depth = Literal[8, 16]
_Levels = npt.NDArray[np.uint16]
_Values = npt.NDArray[np.float32]

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
_ALPHA_SUFFIXES = (".png", ".webp", ".tif", ".tiff")

_TURNS = {  # what makes an image upright, by its EXIF orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Picture:
    """What an image file holds.

    Attributes:
        image: shape (1, 3, H, W), float32, RGB (sRGB) in [0, 1]; straight colours, that is, not
            premultiplied; white where alpha is 0.
        alpha: shape (1, 1, H, W), float32 in [0, 1]; None where nothing is transparent.
        depth: bits per channel that were read.
    """

    image: Tensor
    alpha: Tensor | None
    depth: Depth


def load_image(
    path: Path | str,
    *,
    size: int | None = None,
    content: bytes | None = None,
    at_least: int | None = None,
) -> Tensor:
    """`load_picture`, transparency laid over white.

    Returns:
        Shape (1, 3, H, W), float32, RGB in [0, 1].
    """
    picture = load_picture(path, size=size, content=content, at_least=at_least)
    return _over_white(picture.image, picture.alpha)


def load_picture(
    path: Path | str,
    *,
    size: int | None = None,
    content: bytes | None = None,
    at_least: int | None = None,
) -> Picture:
    """Read an image file.

    EXIF orientation is applied, colours of an ICC profile become sRGB (a profile that cannot be
    used is ignored with a warning), grey and palette become RGB, and 16-bit values are scaled.

    Args:
        path: any format that Pillow reads. 16 bits per channel are kept of PNGs and of grey TIFFs;
            other files are read at 8.
        size: long side in pixels to resize to; None keeps the size.
        content: of the file, where `path` is only its name: in an archive, say.
        at_least: pixels that the short side needs; a larger JPEG is then decoded at 1/2, 1/4 or 1/8
            of its size, in less time.

    Raises:
        InputError: no such file, not an image, a damaged one, or a size that is not positive.
    """
    path = check_input(path) if content is None else Path(path)
    with readable_image(path):
        pixels, depth = _rgba_pixels(
            path, path.read_bytes() if content is None else content, at_least
        )
    rgba = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    image, alpha = rgba[:, :3].contiguous(), rgba[:, 3:].contiguous()
    if alpha.min() == 1:
        return Picture(image if size is None else resize(image, size), None, depth)
    image = image.where(alpha > 0, 1)
    if size is not None:
        image, alpha = _resize_with_alpha(image, alpha, size)
    return Picture(image, alpha, depth)


def image_shape(path: Path | str) -> tuple[int, int]:
    """Height and width of an image file as `load_picture` reads it, from its header alone.

    Raises:
        InputError: no such file, or not an image.
    """
    path = check_input(path)
    with readable_image(path), Image.open(path) as opened:
        width, height = opened.size
        turned = opened.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
    return (width, height) if turned else (height, width)


@contextmanager
def readable_image(path: Path) -> Iterator[None]:
    """What Pillow raises, as one line."""
    try:
        yield
    except UnidentifiedImageError as error:
        raise InputError(f"{path}: not an image that can be read") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: damaged or unreadable image ({error})") from error


def _rgba_pixels(path: Path, content: bytes, at_least: int | None) -> tuple[_Values, Depth]:
    """Colours (sRGB) and alpha, shape (H, W, 4), in [0, 1], and the bits per channel."""
    # Not from the path: Pillow 13 maps TIFFs into memory and then scrambles those that EXIF turns.
    with Image.open(BytesIO(content)) as opened:
        if at_least:
            opened.draft(None, (at_least, at_least))
        opened.load()  # which turns a TIFF already
        orientation = opened.getexif().get(ExifTags.Base.Orientation, 1)
        # Not by ImageOps.exif_transpose, which writes all tags anew and fails on malformed ones.
        turn = _TURNS.get(orientation)
        picture = opened.copy() if turn is None else opened.transpose(turn)
    if picture.mode == "F":
        grey = np.asarray(picture).clip(0, 1)
        return np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGBA), np.float32), 16
    transform = srgb_transform(opened.info.get("icc_profile"), picture.mode, path)
    if opened.format == "PNG" and content[24] == 16:  # the header's bit depth
        levels = _deep_png(content, orientation)
    elif picture.mode.startswith("I"):  # Pillow's own conversion to RGB would clip it at 255.
        levels = _rgba_levels(np.asarray(picture).clip(0, 65535).astype(np.uint16))
    else:
        rgb = transform.apply(picture.convert(transform.input_mode)) if transform else picture
        rgba = rgb.convert("RGB").convert("RGBA")
        if picture.has_transparency_data:
            rgba.putalpha(picture.convert("RGBA").getchannel("A"))
        return np.asarray(rgba, np.float32) / np.float32(255), 8
    values = levels.astype(np.float32) / np.float32(65535)
    if transform:
        values[:, :, :3] = deep_to_srgb(transform, levels[:, :, :3])
    return values, 16


def _deep_png(content: bytes, orientation: int) -> _Levels:
    """RGBA levels, upright, of a PNG with 16 bits, whose colours Pillow reads at 8."""
    stored = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if stored is None:
        raise ValueError("OpenCV cannot decode it")
    levels = _rgba_levels(stored)
    if orientation in (5, 6, 7, 8):  # as EXIF numbers them
        levels = levels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        levels = levels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        levels = levels[::-1]
    return levels


def _rgba_levels(stored: MatLike) -> _Levels:
    """From grey (H, W), BGR or BGRA, as OpenCV decodes it, to RGBA (H, W, 4)."""
    to_rgba = {(): cv2.COLOR_GRAY2RGBA, (3,): cv2.COLOR_BGR2RGBA, (4,): cv2.COLOR_BGRA2RGBA}
    return np.asarray(cv2.cvtColor(stored, to_rgba[stored.shape[2:]]), np.uint16)


def _over_white(image: Tensor, alpha: Tensor | None) -> Tensor:
    return image if alpha is None else image * alpha + (1 - alpha)


def resize(image: Tensor, size: int) -> Tensor:
    """Resize so that the long side has `size` pixels, antialiased.

    Args:
        image: shape (N, 3, H, W), RGB in [0, 1].
        size: pixels.

    Raises:
        InputError: a size that is not positive.
    """
    return resize_to(image, scaled_shape((image.shape[-2], image.shape[-1]), size))


def resize_to(image: Tensor, shape: tuple[int, int]) -> Tensor:
    """Resize to (H, W), antialiased.

    Args:
        image: shape (N, C, H', W'), in [0, 1].
        shape: pixels.
    """
    if shape == image.shape[-2:]:
        return image
    # Bicubic overshoots at edges.
    return F.interpolate(image, shape, mode="bicubic", antialias=True).clamp(0, 1)


def scaled_shape(shape: tuple[int, int], size: int) -> tuple[int, int]:
    """(H, W) scaled so that the longer one is `size`, both at least 1.

    Raises:
        InputError: a size that is not positive.
    """
    if size < 1:
        raise InputError(f"the size must be a positive number of pixels, not {size}")
    h, w = shape
    scale = size / max(h, w)
    return max(round(h * scale), 1), max(round(w * scale), 1)


def _resize_with_alpha(image: Tensor, alpha: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Resize colours weighted by alpha, so that what is transparent does not bleed in."""
    if size == max(image.shape[-2:]):
        return image, alpha
    shape = scaled_shape((image.shape[-2], image.shape[-1]), size)
    both = torch.cat([image * alpha, alpha], dim=1)
    # Not clamped before the division: colours and alpha overshoot alike.
    both = F.interpolate(both, shape, mode="bicubic", antialias=True)
    alpha = both[:, 3:]
    visible = alpha > 0.5 / 65535
    image = (both[:, :3] / alpha).clamp(0, 1).where(visible, 1)
    return image, alpha.clamp(max=1).where(visible, 0)


def check_image_output(path: Path | str, *, overwrite: bool = False) -> Path:
    """`check_output` for an image file, whose suffix must name a format.

    Raises:
        InputError: an unknown suffix.
        OutputExistsError: it exists and `overwrite` is False.
    """
    return check_format(path, "image", IMAGE_SUFFIXES, overwrite=overwrite)


def save_image(
    image: Tensor | Frame,
    path: Path | str,
    *,
    overwrite: bool = False,
    alpha: Tensor | None = None,
    depth: Depth = 8,
) -> Path:
    """Write an image file, tagged as sRGB; it appears only when it is complete.

    Args:
        image: tensor (1, 3, H, W), RGB in [0, 1], or a uint8 BGR frame (H, W, 3).
        path: its suffix chooses the format.
        overwrite: replace an existing file.
        alpha: shape (1, 1, H, W), in [0, 1]; formats without it get the image over white.
        depth: bits per channel; 16 in a .png, which then has no profile: that means sRGB as well.
            Other formats get 8.

    Raises:
        InputError: an unknown suffix, a folder that does not exist or an alpha of another size.
        OutputExistsError: it exists and `overwrite` is False.
    """
    path = check_image_output(path, overwrite=overwrite)
    suffix = path.suffix.lower()
    image = image if isinstance(image, Tensor) else frame_to_tensor(image)
    if alpha is not None:
        expected = (1, 1, *image.shape[-2:])
        if alpha.shape != expected:
            raise InputError(f"alpha must have the shape {expected}, not {tuple(alpha.shape)}")
        image, alpha = image.float(), alpha.to(image.device).float()
        keeps_alpha = suffix in _ALPHA_SUFFIXES
        image = torch.cat([image, alpha], dim=1) if keeps_alpha else _over_white(image, alpha)
    with atomic_output(path) as temporary:
        if depth == 16 and suffix == ".png":  # Pillow cannot write it.
            levels = _levels(image, 65535).astype(np.uint16)
            bgr = levels[:, :, [2, 1, 0, 3][: levels.shape[2]]]
            temporary.write_bytes(cv2.imencode(".png", bgr)[1].tobytes())
            return path
        picture = Image.fromarray(_levels(image, 255).astype(np.uint8))
        try:
            picture.save(temporary, quality=95, icc_profile=srgb_profile())
        except ValueError as error:  # formats have their own largest sizes
            size = f"{picture.width}x{picture.height}"
            raise InputError(f"{path}: cannot hold {size} px ({error}); try .png") from error
    return path


def _levels(image: Tensor, full: int) -> _Values:
    """Image (1, C, H, W) in [0, 1] as whole numbers up to `full`, (H, W, C)."""
    values = image.detach()[0].float().clamp(0, 1).mul(full).round()
    array: _Values = values.permute(1, 2, 0).cpu().numpy()
    return array


def tensor_to_frame(image: Tensor) -> Frame:
    """Image (1, 3, H, W), RGB in [0, 1] to frame (H, W, 3), uint8 BGR; clamped and rounded."""
    levels = image.detach()[0].float().clamp(0, 1).mul(255).round().byte()
    return np.ascontiguousarray(levels.flip(0).permute(1, 2, 0).cpu().numpy())


def frame_to_tensor(frame: Frame) -> Tensor:
    """Frame (H, W, 3), uint8 BGR to image (1, 3, H, W), float32 RGB in [0, 1]."""
    # torch takes no negative strides, which mirrored and RGB-to-BGR views have.
    levels = torch.from_numpy(np.ascontiguousarray(frame))
    return levels.permute(2, 0, 1).flip(0)[None].float() / 255
