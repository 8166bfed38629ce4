"""Preparing a style image for training: crop, denoising, stretched levels.

A network is no more vivid than the file that it is trained on, and it learns the noise of a scan as
if it were brush strokes.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from nst_rt.errors import InputError
from nst_rt.images.color import luminance
from nst_rt.images.convert import resize
from nst_rt.images.io import image_shape, load_image

SMALLEST = 64  # minimum side of a style image or of a crop, pixels

_VIVID_DEVIATION, _VIVID_CHROMA = 0.25, 0.27  # measured on files that gave vivid networks
_NEARLY_VIVID = 0.9  # fraction of either from which a file is left alone
_FULL_RANGE = 0.8  # of white - black; a smaller range is the veil of a bad reproduction
_LEAST_RANGE = 0.1  # below it a stretch would only amplify noise
_CLIPPED = 0.005  # fraction of the pixels clipped at either end
_LARGEST_GAIN = 1.5
# Fraction of the range, about 9 of 255 levels. Clean files of rough paintings have up to 0.027 at
# 320 px.
_VISIBLE_NOISE = 0.035
_BLOCK = 16  # side of the blocks that noise is measured in, wavelet coefficients


@dataclass(frozen=True)
class Crop:
    """A rectangle of an image, in pixels from the top left corner."""

    width: int
    height: int
    left: int
    top: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """The crop in ImageMagick's notation: WIDTHxHEIGHT+LEFT+TOP.

        Raises:
            InputError: the text is not a crop.
        """
        found = re.fullmatch(r"(\d+)x(\d+)\+(\d+)\+(\d+)", text, re.ASCII)
        if found is None:
            raise InputError(
                f"{text!r} is not a crop such as 400x300+20+10 (width x height + left + top, in "
                "pixels)"
            )
        return cls(*map(int, found.groups()))

    def __str__(self) -> str:
        return f"{self.width}x{self.height}+{self.left}+{self.top}"

    def of(self, image: Tensor) -> Tensor:
        """The cropped image, from an image (1, 3, H, W).

        Raises:
            InputError: the crop is not inside the image, or too small for a style image.
        """
        height, width = image.shape[-2:]
        if self.left + self.width > width or self.top + self.height > height:
            raise InputError(f"the crop {self} is not inside the image of {width}x{height} px")
        if min(self.width, self.height) < SMALLEST:
            raise InputError(
                f"the crop {self} is too small for a style image: at least {SMALLEST} px a side"
            )
        rows = slice(self.top, self.top + self.height)
        return image[..., rows, self.left : self.left + self.width]


@dataclass(frozen=True)
class Vividness:
    """How vivid an image is.

    Attributes:
        deviation: standard deviation of the luma, in [0, 1].
        chroma: mean over the pixels of max(R, G, B) - min(R, G, B), in [0, 1].
    """

    deviation: float
    chroma: float

    @classmethod
    def of(cls, image: Tensor) -> Self:
        """The vividness of an image (1, 3, H, W), RGB in [0, 1]."""
        chroma = image.amax(1) - image.amin(1)
        return cls(luminance(image).std(correction=0).item(), chroma.mean().item())

    @property
    def fraction(self) -> float:
        """Deviation or chroma over that of a vivid image, whichever ratio is larger.

        A painting may be nearly gray (Udnie) or low in contrast (The Scream); a bad reproduction
        reduces both.
        """
        return max(self.deviation / _VIVID_DEVIATION, self.chroma / _VIVID_CHROMA)


@dataclass(frozen=True)
class StyleImage:
    """A style image prepared for training; `str` says in one line what was done to it.

    Attributes:
        image: shape (1, 3, H, W), float32, RGB in [0, 1].
        crop: crop of the file that was used; None for all of it.
        noise: standard deviation of the noise that was removed; None if it was not denoised.
        stretched: whether the levels were stretched.
        before: vividness of the file.
        after: vividness of the image.
    """

    image: Tensor
    crop: Crop | None
    noise: float | None
    stretched: bool
    before: Vividness
    after: Vividness

    def __str__(self) -> str:
        before, after = self.before, self.after
        done = [f"cropped to {self.crop}"] if self.crop else []
        if self.stretched:
            done.append(
                f"levels stretched (luma deviation {before.deviation:.2f} -> "
                f"{after.deviation:.2f}, chroma {before.chroma:.2f} -> {after.chroma:.2f})"
            )
        if self.noise is not None:
            done.append(f"denoised (noise {self.noise:.3f})")
        figures = f"luma deviation {before.deviation:.2f}, chroma {before.chroma:.2f}"
        return ", ".join(done) or f"used unchanged ({figures})"

    def facts(self) -> dict[str, Any]:
        """What was done as JSON values; pairs are values before and after."""
        before, after = self.before, self.after
        return {
            "crop": str(self.crop) if self.crop else None,
            "noise": None if self.noise is None else round(self.noise, 4),
            "stretched": self.stretched,
            "luma_deviation": [round(before.deviation, 4), round(after.deviation, 4)],
            "chroma": [round(before.chroma, 4), round(after.chroma, 4)],
        }


def load_style_image(
    path: Path | str, size: int, *, crop: Crop | None = None, prepare: bool = True
) -> StyleImage:
    """Read and prepare a style image for training.

    Args:
        path: image file.
        size: length of the long side, pixels.
        crop: region of the file to use; None for all of it.
        prepare: whether to denoise a noisy image and to stretch the levels of a dull one.

    Raises:
        InputError: not an image, or a crop that does not fit.
    """
    # Noise is measured at the size of use, since shrinking averages it away, but before enlarging.
    if crop is None:
        image = load_image(path, size=min(size, max(image_shape(path))))
    else:
        image = _cropped(path, crop)
        image = resize(image, min(size, max(image.shape[-2:])))
    before = Vividness.of(image)
    noise = visible_noise(image) if prepare else None
    clean = image if noise is None else denoised(image, noise)
    image = with_full_levels(clean) if prepare else clean
    stretched = image is not clean
    return StyleImage(resize(image, size), crop, noise, stretched, before, Vividness.of(image))


def check_style_image(path: Path | str, crop: Crop | None = None) -> None:
    """Raise an InputError if a style image cannot be read or is too small."""
    if crop is not None:
        _cropped(path, crop)
        return
    height, width = load_image(path).shape[-2:]
    if min(height, width) < SMALLEST:
        raise InputError(
            f"{path}: a style image of {width}x{height} px is too small: at least {SMALLEST} px a "
            "side"
        )


def _cropped(path: Path | str, crop: Crop) -> Tensor:
    try:
        return crop.of(load_image(path))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def with_full_levels(image: Tensor) -> Tensor:
    """The image with levels that fill [0, 1]; a vivid image or a single color is unchanged.

    A bad reproduction lies under a veil, x -> a x + b in all channels, which reduces contrast and
    colors alike. So black is where the minimum of the channels begins and white where their maximum
    ends (He et al. 2009, "Single Image Haze Removal Using Dark Channel Prior"); an image that is
    still dull then gets a gain. All channels share one curve, without white balance: hues stay, and
    so does the tint of paper.

    Args:
        image: shape (1, 3, H, W), RGB in [0, 1].

    Returns:
        Same shape; half a percent of the pixels are clipped at either end.
    """
    black, white = _ends(image)
    span = white - black
    vivid = Vividness.of(image).fraction >= _NEARLY_VIVID and span >= _FULL_RANGE
    if vivid or span < _LEAST_RANGE:
        return image
    stretched = ((image - black) / span).clamp(0, 1)
    # Toned paper has no black: with its chroma stretched like its contrast, cream becomes amber.
    saturation = 1 - one_hue(image) * (1 - span)
    stretched = torch.lerp(luminance(stretched), stretched, saturation)
    gain = min(1 / Vividness.of(stretched).fraction, _LARGEST_GAIN)
    return steeper(stretched, gain) if gain > 1 else stretched


def one_hue(image: Tensor) -> float:
    """1 for an image of a single hue, such as a drawing on toned paper; 0 for a colorful one.

    Measured by how well the chromas of the pixels align: 0.06 to 0.88 for paintings.
    """
    chroma = image - luminance(image)
    mean_length = chroma.norm(dim=1).mean().clamp_min(1e-6)
    aligned = chroma.mean((2, 3)).norm() / mean_length
    return float(((aligned - 0.9) / 0.1).clamp(0, 1))


def steeper(image: Tensor, gain: float) -> Tensor:
    """The image under an S-curve with slope `gain` at the mean luma; it clips nothing."""
    middle = torch.logit(luminance(image).mean())
    return torch.sigmoid(gain * torch.logit(image, 1e-6) + (1 - gain) * middle)


def visible_noise(image: Tensor) -> float | None:
    """`noise_level` of an image; None if it is too low to be removed."""
    noise = noise_level(image)
    black, white = _ends(image)
    return noise if noise > _VISIBLE_NOISE * (white - black) else None


def noise_level(image: Tensor) -> float:
    """Standard deviation of the noise in an image (1, 3, H, W), RGB in [0, 1].

    The median absolute deviation of the finest diagonal Haar coefficients (Donoho & Johnstone 1994,
    "Ideal spatial adaptation by wavelet shrinkage"), measured in blocks. The first quartile of the
    blocks counts: noise is everywhere, strokes and the relief of a canvas are not.
    """
    if min(image.shape[-2:]) < 2:
        return 0.0
    diagonal = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).view(1, 1, 2, 2) / 2
    details = F.conv2d(image.transpose(0, 1), diagonal, stride=2)
    side = (min(_BLOCK, details.shape[-2]), min(_BLOCK, details.shape[-1]))
    levels = F.unfold(details, side, stride=side).abs().median(dim=1).values / 0.6745
    levels = levels[levels > 0]  # without plain margins and clipped areas
    return levels.quantile(0.25).item() if len(levels) else 0.0


def denoised(image: Tensor, noise: float) -> Tensor:
    """An image (1, 3, H, W) after a bilateral filter, which removes noise but keeps strokes."""
    pixels = np.ascontiguousarray(image[0].permute(1, 2, 0).numpy())
    # OpenCV sums the differences of the three channels, hence 4 times the noise.
    smooth = cv2.bilateralFilter(pixels, 5, 4 * noise, 1.5)
    return torch.from_numpy(smooth).permute(2, 0, 1)[None].contiguous()


def _ends(image: Tensor) -> tuple[float, float]:
    """Black and white point of an image: nearly all values of all channels lie between."""
    # Not torch.quantile, which is limited to 16 million values.
    black = np.quantile(image.amin(1).numpy(), _CLIPPED)
    white = np.quantile(image.amax(1).numpy(), 1 - _CLIPPED)
    return float(black), float(white)
