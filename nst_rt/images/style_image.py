"""The style image as a training uses it: cut, denoised, its levels stretched.

A network is no more vivid than the file that it learned from, and learns the noise of a scan as if
it were brush strokes.
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
from nst_rt.images.io import image_shape, load_image, resize

SMALLEST = 64  # pixels a side of a style image or a crop of one

_VIVID_DEVIATION, _VIVID_CHROMA = 0.25, 0.27  # of files that gave vivid networks
_NEARLY_VIVID = 0.9  # of either: no need to touch the file
_FULL_RANGE = 0.8  # of white - black; less is the veil of a bad reproduction, not the painting's
_LEAST_RANGE = 0.1  # below it there is nothing but noise to stretch
_CLIPPED = 0.005  # fraction of the pixels, at either end
_LARGEST_GAIN = 1.5
# Of the range, about 9 of 255 levels: clean files of rough paintings come to 0.027 at 320 px.
_VISIBLE_NOISE = 0.035
_BLOCK = 16  # details a side


@dataclass(frozen=True)
class Crop:
    """A rectangle of an image, in pixels from its top left corner."""

    width: int
    height: int
    left: int
    top: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """A crop written as ImageMagick writes it: WIDTHxHEIGHT+LEFT+TOP.

        Raises:
            InputError: not a crop.
        """
        found = re.fullmatch(r"(\d+)x(\d+)\+(\d+)\+(\d+)", text, re.ASCII)
        if found is None:
            raise InputError(
                f"{text!r} is not a crop such as 400x300+20+10: width, height, and the left and "
                "top edge, in pixels"
            )
        return cls(*map(int, found.groups()))

    def __str__(self) -> str:
        return f"{self.width}x{self.height}+{self.left}+{self.top}"

    def of(self, image: Tensor) -> Tensor:
        """The part of an image (1, 3, H, W).

        Raises:
            InputError: it is not inside the image, or too small to be a style image.
        """
        height, width = image.shape[-2:]
        if self.left + self.width > width or self.top + self.height > height:
            raise InputError(f"the crop {self} is not inside the image of {width}x{height} px")
        if min(self.width, self.height) < SMALLEST:
            raise InputError(
                f"the crop {self} has too few strokes; {SMALLEST} px a side are the least"
            )
        rows = slice(self.top, self.top + self.height)
        return image[..., rows, self.left : self.left + self.width]


@dataclass(frozen=True)
class Vividness:
    """How vivid an image is, both in [0, 1].

    Attributes:
        deviation: standard deviation of the luma.
        chroma: mean of the largest less the smallest of a pixel's RGB.
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
        """Of what is vivid, in deviation or chroma, whichever is nearer.

        A painting may be gray (Udnie) or even in its light (The Scream); a bad reproduction takes
        from both alike.
        """
        return max(self.deviation / _VIVID_DEVIATION, self.chroma / _VIVID_CHROMA)


@dataclass(frozen=True)
class StyleImage:
    """A style image as it is trained on, and what was done to it; as text, a line that tells it.

    Attributes:
        image: shape (1, 3, H, W), float32, RGB in [0, 1].
        crop: what was cut out of the file; None for all of it.
        noise: standard deviation of the noise that was removed; None if it was left alone.
        stretched: whether the levels were.
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
        done = [f"cut to {self.crop}"] if self.crop else []
        if self.stretched:
            done.append(
                f"levels stretched (luma deviation {before.deviation:.2f} -> "
                f"{after.deviation:.2f}, chroma {before.chroma:.2f} -> {after.chroma:.2f})"
            )
        if self.noise is not None:
            done.append(f"denoised (noise {self.noise:.3f})")
        kept = f"luma deviation {before.deviation:.2f}, chroma {before.chroma:.2f}"
        return ", ".join(done) or f"used as it is ({kept})"

    def facts(self) -> dict[str, Any]:
        """The same as JSON values; figures before and after."""
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
    """Read a style image for a training.

    Args:
        path: image file.
        size: long side, pixels.
        crop: the part of the file to use.
        prepare: denoise it where it is noisy, stretch its levels where they are dull.

    Raises:
        InputError: not an image, or a crop that cannot be used.
    """
    # Noise is judged at the size of use, since reducing averages it away, but before enlarging.
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
    """Raise an InputError unless a style image can be read and is large enough."""
    if crop is not None:
        _cropped(path, crop)
        return
    height, width = load_image(path).shape[-2:]
    if min(height, width) < SMALLEST:
        raise InputError(
            f"{path}: a painting of {width}x{height} px has too few strokes; {SMALLEST} px a side "
            "are the least"
        )


def _cropped(path: Path | str, crop: Crop) -> Tensor:
    try:
        return crop.of(load_image(path))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def with_full_levels(image: Tensor) -> Tensor:
    """An image whose levels fill their range; a vivid one, and one of a single color, as it is.

    A bad reproduction lies under a veil, x -> a x + b in all channels, which takes from contrast
    and colors alike. So black is where the channels' least begins, white where their largest ends
    (He et al. 2009, "Single Image Haze Removal Using Dark Channel Prior"), and what then is still
    dull gets a gain. The channels have one curve, with no white balance: hues stay, and so does the
    tint of a paper, which is no white.

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
    # On toned paper the darkest is no black: stretched like contrast, cream would become amber.
    kept = 1 - one_hue(image) * (1 - span)
    stretched = torch.lerp(luminance(stretched), stretched, kept)
    gain = min(1 / Vividness.of(stretched).fraction, _LARGEST_GAIN)
    return steeper(stretched, gain) if gain > 1 else stretched


def one_hue(image: Tensor) -> float:
    """1 for an image of a single hue, such as a drawing on toned paper, 0 for paintings in color.

    That is how far the pixels' chromas point the same way; those of paintings come to 0.06 to 0.88.
    """
    chroma = image - luminance(image)
    mean_length = chroma.norm(dim=1).mean().clamp_min(1e-6)
    aligned = chroma.mean((2, 3)).norm() / mean_length
    return float(((aligned - 0.9) / 0.1).clamp(0, 1))


def steeper(image: Tensor, gain: float) -> Tensor:
    """An image under an S-curve, which has this slope at the mean of the luma and clips nothing."""
    middle = torch.logit(luminance(image).mean())
    return torch.sigmoid(gain * torch.logit(image, 1e-6) + (1 - gain) * middle)


def visible_noise(image: Tensor) -> float | None:
    """`noise_level`, or None where there is too little to be removed."""
    noise = noise_level(image)
    black, white = _ends(image)
    return noise if noise > _VISIBLE_NOISE * (white - black) else None


def noise_level(image: Tensor) -> float:
    """Standard deviation of the noise in an image (1, 3, H, W), RGB in [0, 1].

    The median absolute deviation of the finest diagonal details of a Haar wavelet (Donoho &
    Johnstone 1994, "Ideal spatial adaptation by wavelet shrinkage"), in blocks, of which a quiet
    one counts: noise is everywhere, while strokes and the relief of a canvas differ.
    """
    if min(image.shape[-2:]) < 2:
        return 0.0
    diagonal = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).view(1, 1, 2, 2) / 2
    details = F.conv2d(image.transpose(0, 1), diagonal, stride=2)
    side = (min(_BLOCK, details.shape[-2]), min(_BLOCK, details.shape[-1]))
    levels = F.unfold(details, side, stride=side).abs().median(dim=1).values / 0.6745
    levels = levels[levels > 0]  # not the margins, nor what is clipped
    return levels.quantile(0.25).item() if len(levels) else 0.0


def denoised(image: Tensor, noise: float) -> Tensor:
    """An image (1, 3, H, W) without most of its noise; strokes stay, by a bilateral filter."""
    pixels = np.ascontiguousarray(image[0].permute(1, 2, 0).numpy())
    # OpenCV adds up the differences of three channels.
    smooth = cv2.bilateralFilter(pixels, 5, 4 * noise, 1.5)
    return torch.from_numpy(smooth).permute(2, 0, 1)[None].contiguous()


def _ends(image: Tensor) -> tuple[float, float]:
    """Black and white of an image: nearly all of its pixels lie between, in all channels."""
    # torch.quantile takes 16 million values at most.
    black = np.quantile(image.amin(1).numpy(), _CLIPPED)
    white = np.quantile(image.amax(1).numpy(), 1 - _CLIPPED)
    return float(black), float(white)
