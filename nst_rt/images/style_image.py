"""The style image as a training uses it: cropped, denoised, its levels stretched, and resized.

A network is no more vivid than the file that it learned from, and it learns the noise of a scan as
if it were brush strokes.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
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
from nst_rt.images.octaves import octaves

SMALLEST = 64  # minimum side of a style image or of its crop, pixels

_VIVID_DEVIATION, _VIVID_CHROMA = 0.25, 0.27  # measured on files that gave vivid networks
_NEARLY_VIVID = 0.9  # fraction of either from which a file is left alone
_FULL_RANGE = 0.8  # white - black; less is the veil of a bad reproduction, not of the artwork
_MIN_RANGE = 0.1  # below it there is nothing but noise to stretch
_CLIPPED = 0.005  # fraction of the pixels at either end
_MAX_GAIN = 1.5
# Fraction of the range, about 9 of 255 levels; clean files of rough paintings have 0.027 at 320 px.
_VISIBLE_NOISE = 0.035
_BLOCK = 16  # side of a block of wavelet details
_DETAIL_SIZE = 512  # pixels of the long side, at which details are measured
_DETAIL_SIGMAS = (0.7, 1.4, 2.8, 5.6, 11.2, 22.4)  # pixels
_NO_DETAIL = (1 / 255) ** 2  # variance
# An image whose details have this size, in pixels, is learned best at 512 px, and others in inverse
# proportion: see benchmarks/README.md, as for the limits.
_FITTING_DETAIL = 5.2
_SMALLEST_FITTING, _LARGEST_FITTING = 384, 768
_FITTING_STEP = 16  # pixels, so that rounding errors of other processors do not change the size


@dataclass(frozen=True)
class Crop:
    """A rectangle of an image, in pixels from the top left corner."""

    width: int
    height: int
    left: int
    top: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a crop in ImageMagick's notation: WIDTHxHEIGHT+LEFT+TOP.

        Raises:
            InputError: not a crop.
        """
        found = re.fullmatch(r"(\d+)x(\d+)\+(\d+)\+(\d+)", text, re.ASCII)
        if found is None:
            raise InputError(
                f"{text!r} is not a crop such as 400x300+20+10 (width, height, left and top edge "
                "in pixels)"
            )
        return cls(*map(int, found.groups()))

    def __str__(self) -> str:
        return f"{self.width}x{self.height}+{self.left}+{self.top}"

    def of(self, image: Tensor) -> Tensor:
        """Cut the crop out of an image (1, 3, H, W).

        Raises:
            InputError: the crop is not inside the image, or too small for a style image.
        """
        height, width = image.shape[-2:]
        if self.left + self.width > width or self.top + self.height > height:
            raise InputError(f"the crop {self} is not inside the image of {width}x{height} px")
        if min(self.width, self.height) < SMALLEST:
            raise InputError(f"the crop {self} is too small; the minimum is {SMALLEST} px per side")
        rows = slice(self.top, self.top + self.height)
        return image[..., rows, self.left : self.left + self.width]


@dataclass(frozen=True)
class Vividness:
    """How vivid an image is.

    Attributes:
        deviation: standard deviation of the luma, in [0, 1].
        chroma: mean difference of the largest and the smallest channel of a pixel, in [0, 1].
    """

    deviation: float
    chroma: float

    @classmethod
    def of(cls, image: Tensor) -> Self:
        """Measure an image (1, 3, H, W), RGB in [0, 1]."""
        chroma = image.amax(1) - image.amin(1)
        return cls(luminance(image).std(correction=0).item(), chroma.mean().item())

    @property
    def fraction(self) -> float:
        """Fraction of what counts as vivid, in deviation or chroma, whichever is larger.

        An artwork may be gray (Udnie) or evenly lit (The Scream); a bad reproduction reduces both.
        """
        return max(self.deviation / _VIVID_DEVIATION, self.chroma / _VIVID_CHROMA)


@dataclass(frozen=True)
class StyleImage:
    """A style image ready for training; `str` describes how it was prepared.

    Attributes:
        image: shape (1, 3, H, W), float32, RGB in [0, 1].
        crop: region of the file; None for all of it.
        noise: standard deviation of the noise that was removed; None if the image was not denoised.
        stretched: whether the levels were stretched.
        before: how vivid the file is.
        after: how vivid the image is.
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
                f"dull, so its levels were stretched (contrast {before.deviation:.2f} -> "
                f"{after.deviation:.2f}, saturation {before.chroma:.2f} -> {after.chroma:.2f})"
            )
        if self.noise is not None:
            done.append(f"noisy, so it was denoised (noise {self.noise:.3f} of 1)")
        return ", ".join(done) or "vivid and clean enough to learn from as it is"

    def facts(self) -> dict[str, Any]:
        """The preparation as JSON values, with figures before and after."""
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
    """Load a style image for a training.

    Args:
        path: image file.
        size: long side, pixels.
        crop: region of the file to use.
        prepare: denoise the image if it is noisy, and stretch its levels if it is dull.

    Raises:
        InputError: not an image, or a crop that cannot be used.
    """
    if crop is None:
        image = load_image(path, size=min(size, max(image_shape(path))))
    else:
        image = _cropped(path, crop)
    return replace(prepared_style_image(image, size, prepare=prepare), crop=crop)


def prepared_style_image(image: Tensor, size: int, *, prepare: bool = True) -> StyleImage:
    """A style image as `load_style_image` prepares it.

    Args:
        image: shape (1, 3, H, W), RGB in [0, 1].
        size, prepare: see `load_style_image`.
    """
    # Noise is measured at the final size, since reducing averages it away, but before enlarging.
    image = resize(image, min(size, max(image.shape[-2:])))
    before = Vividness.of(image)
    noise = visible_noise(image) if prepare else None
    clean = image if noise is None else denoised(image, noise)
    image = with_full_levels(clean) if prepare else clean
    stretched = image is not clean
    return StyleImage(resize(image, size), None, noise, stretched, before, Vividness.of(image))


def check_style_image(path: Path | str, crop: Crop | None = None) -> None:
    """Raise an InputError unless a style image, or its crop, can be read and is large enough."""
    if crop is not None:
        _cropped(path, crop)
        return
    height, width = load_image(path).shape[-2:]
    check_style_sides(str(path), height, width)


def check_style_sides(shown: str, height: int, width: int) -> None:
    """Raise an InputError, which begins with `shown`, unless a style image is large enough."""
    if min(height, width) < SMALLEST:
        raise InputError(
            f"{shown}: a style image of {width}x{height} px is too small; the minimum is "
            f"{SMALLEST} px per side"
        )


def fitting_size(images: Sequence[Tensor], weights: Sequence[float]) -> int:
    """The long side at which networks learn the strokes of style images best, pixels.

    The finer the details of an image, the larger it must be: at 512 px the tiles of a mosaic are
    too small to be learned, and the planes of a cubist painting larger than what the style loss
    sees.

    Args:
        images: style images, each of shape (1, 3, H, W), RGB in [0, 1].
        weights: of the images, 0 or more each; the size is that of their mean.

    Returns:
        A multiple of 16 from 384 to 768.
    """
    clean = [prepared_style_image(image, _DETAIL_SIZE).image for image in images]
    mean = np.average([math.log(detail_size(image)) for image in clean], weights=weights)
    size = _DETAIL_SIZE * _FITTING_DETAIL / math.exp(mean)
    size = min(max(size, _SMALLEST_FITTING), _LARGEST_FITTING)
    return round(size / _FITTING_STEP) * _FITTING_STEP


def detail_size(image: Tensor) -> float:
    """Size of the details of an image (1, 3, H, W) whose long side has 512 px, pixels.

    It is the mean standard deviation of the Gaussians of five octaves of the luma, weighted by the
    octaves' energy; waves have a period of about nine times that.
    """
    planes = octaves(resize(image, _DETAIL_SIZE), _DETAIL_SIGMAS)
    energies = [float(np.square(plane).mean()) for plane in planes]
    if sum(energies) < _NO_DETAIL:
        return _FITTING_DETAIL
    sizes = [math.sqrt(fine * coarse) for fine, coarse in pairwise(_DETAIL_SIGMAS)]
    return math.exp(float(np.average(np.log(sizes), weights=energies)))


def _cropped(path: Path | str, crop: Crop) -> Tensor:
    try:
        return crop.of(load_image(path))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def with_full_levels(image: Tensor) -> Tensor:
    """Stretch the levels of an image to the full range; vivid or plain images are returned as is.

    A bad reproduction adds a veil, x -> a x + b in all channels, which reduces contrast and colors
    alike. So black is the low end of the pixels' smallest channel and white the high end of their
    largest (He et al. 2009, "Single Image Haze Removal Using Dark Channel Prior"); if the result is
    still dull, contrast is increased. All channels have the same curve, without a white balance:
    hues are kept, and so is the tint of paper, which is not white.

    Args:
        image: shape (1, 3, H, W), RGB in [0, 1].

    Returns:
        Same shape; half a percent of the pixels are clipped at either end.
    """
    black, white = _ends(image)
    span = white - black
    vivid = Vividness.of(image).fraction >= _NEARLY_VIVID and span >= _FULL_RANGE
    if vivid or span < _MIN_RANGE:
        return image
    stretched = ((image - black) / span).clamp(0, 1)
    # On toned paper the darkest tone is not black: chroma stretched like contrast would turn cream
    # into amber.
    chroma_factor = 1 - _one_hue(image) * (1 - span)
    stretched = torch.lerp(luminance(stretched), stretched, chroma_factor)
    gain = min(1 / Vividness.of(stretched).fraction, _MAX_GAIN)
    if gain <= 1:
        return stretched
    # An S-curve with the slope `gain` at the mean of the luma, which clips nothing.
    middle = torch.logit(luminance(stretched).mean())
    return torch.sigmoid(gain * torch.logit(stretched, 1e-6) + (1 - gain) * middle)


def _one_hue(image: Tensor) -> float:
    """1 for an image of a single hue, such as a drawing on toned paper; 0 for paintings in color.

    It measures how well the pixels' chromas are aligned; those of paintings reach 0.06 to 0.88.
    """
    chroma = image - luminance(image)
    mean_length = chroma.norm(dim=1).mean().clamp_min(1e-6)
    aligned = chroma.mean((2, 3)).norm() / mean_length
    return float(((aligned - 0.9) / 0.1).clamp(0, 1))


def visible_noise(image: Tensor) -> float | None:
    """The noise level of an image, or None if it is too low to be removed."""
    noise = noise_level(image)
    black, white = _ends(image)
    return noise if noise > _VISIBLE_NOISE * (white - black) else None


def noise_level(image: Tensor) -> float:
    """Standard deviation of the noise in an image (1, 3, H, W), RGB in [0, 1].

    Median absolute deviation of the finest diagonal details of a Haar wavelet (Donoho & Johnstone
    1994, "Ideal spatial adaptation by wavelet shrinkage"), computed per block. The lower quartile
    of the blocks counts: noise is everywhere, while strokes and the relief of a canvas are not.
    """
    if min(image.shape[-2:]) < 2:
        return 0.0
    diagonal = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).view(1, 1, 2, 2) / 2
    details = F.conv2d(image.transpose(0, 1), diagonal, stride=2)
    side = (min(_BLOCK, details.shape[-2]), min(_BLOCK, details.shape[-1]))
    levels = F.unfold(details, side, stride=side).abs().median(dim=1).values / 0.6745
    levels = levels[levels > 0]  # without white margins and clipped areas
    return levels.quantile(0.25).item() if len(levels) else 0.0


def denoised(image: Tensor, noise: float) -> Tensor:
    """Denoise an image (1, 3, H, W) with a bilateral filter, which keeps strokes."""
    pixels = np.ascontiguousarray(image[0].permute(1, 2, 0).numpy())
    # OpenCV sums the differences of three channels.
    smooth = cv2.bilateralFilter(pixels, 5, 4 * noise, 1.5)
    return torch.from_numpy(smooth).permute(2, 0, 1)[None].contiguous()


def _ends(image: Tensor) -> tuple[float, float]:
    """Black and white point of an image, which nearly all pixels lie between in all channels."""
    # torch.quantile is limited to 16 million values.
    black = np.quantile(image.amin(1).numpy(), _CLIPPED)
    white = np.quantile(image.amax(1).numpy(), 1 - _CLIPPED)
    return float(black), float(white)
