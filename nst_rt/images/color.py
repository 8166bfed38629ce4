"""Preserving the content image's colors: luminance-only transfer, or a recolored style image.

Both methods are from Gatys, Bethge, Hertzmann & Shechtman 2016, "Preserving Color in Neural
Artistic Style Transfer". Images are tensors (1, 3, H, W), float32, sRGB values in [0, 1].
"""

import torch
from torch import Tensor

# Standard deviations below one 8-bit level are rounding and noise, which must not be amplified.
LEAST_DEVIATION = 1 / 255

_FLAT = 0.01  # standard deviation of an image of one color
_CHUNK = 2**20  # pixels


def luminance(image: Tensor) -> Tensor:
    """Luma, the Y of YIQ, the color space of the paper.

    Args:
        image: shape (N, 3, H, W), RGB in [0, 1].

    Returns:
        Shape (N, 1, H, W), in [0, 1] up to rounding.
    """
    red, green, blue = torch.split(image, 1, dim=1)
    return 0.299 * red + 0.587 * green + 0.114 * blue


def with_luminance(image: Tensor, luma: Tensor) -> Tensor:
    """The image with another luma; its chroma (I and Q of YIQ) stays.

    Where the result would leave [0, 1], the chroma is scaled down just enough. Clipping RGB, the
    common way, would change the luma and the hue.

    Args:
        image: shape (N, 3, H, W), RGB in [0, 1].
        luma: shape (N, 1, H, W), clamped to [0, 1].

    Returns:
        Shape (N, 3, H, W), RGB in [0, 1], whose luma is `luma`.
    """
    luma = luma.clamp(0, 1)
    # I and Q do not change when the same value is added to all three RGB channels.
    chroma = image - luminance(image)
    # The weighted sum of the chroma is 0, so it has both signs or is 0 everywhere. The minimum
    # divisor is below the resolution of an 8-bit image.
    room_above = (1 - luma) / chroma.amax(1, keepdim=True).clamp_min(1e-6)
    room_below = luma / chroma.amin(1, keepdim=True).neg().clamp_min(1e-6)
    scale = torch.minimum(room_above, room_below).clamp_max(1)
    return chroma.mul_(scale).add_(luma).clamp_(0, 1)  # for rounding errors


def match_luminance(style_luma: Tensor, content_luma: Tensor) -> Tensor:
    """Luma of the style image, with the mean and the deviation of the content image's luma.

    The style target of luminance-only transfer. A style image without contrast gets the mean.

    Args:
        style_luma: shape (1, 1, H, W).
        content_luma: shape (1, 1, H', W').

    Returns:
        Shape (1, 1, H, W). May leave [0, 1]: clamping would change both statistics.
    """
    style_mean, style_covariance = _statistics(style_luma)
    mean, covariance = _statistics(content_luma)
    scale = (covariance.sqrt() * _inverse_root(style_covariance.sqrt())).item()
    return (style_luma - style_mean.item()).mul_(scale).add_(mean.item())


def match_colors(style: Tensor, content: Tensor) -> Tensor:
    """The style image, recolored to the mean and the covariance of the content image's colors.

    The paper's linear transform x -> A x + b with A = C_content^(1/2) C_style^(-1/2): symmetric
    square roots as in image analogies, which, unlike Cholesky factors, do not depend on the order
    of the channels. Directions in which the style image does not vary (all but one of a gray
    image) are not amplified.

    Args:
        style: shape (1, 3, H, W), RGB in [0, 1].
        content: shape (1, 3, H', W'), RGB in [0, 1].

    Returns:
        Shape (1, 3, H, W), RGB, clamped to [0, 1]; the statistics are exact if nothing clips.
    """
    style_mean, style_covariance = _statistics(style)
    mean, covariance = _statistics(content)
    variances, axes = torch.linalg.eigh(covariance)
    root = axes * variances.clamp_min(0).sqrt() @ axes.T
    variances, axes = torch.linalg.eigh(style_covariance)
    inverse_root = axes * _inverse_root(variances.clamp_min(0).sqrt()) @ axes.T
    transform = root @ inverse_root
    shift = mean - transform @ style_mean
    pixels = torch.addmm(shift.to(style), transform.to(style), style[0].flatten(1))
    return pixels.clamp_(0, 1).view_as(style)


def _inverse_root(deviations: Tensor) -> Tensor:
    """1 / deviation, which falls to 0 below `LEAST_DEVIATION` instead of growing without limit."""
    return deviations / deviations.square().clamp_min(LEAST_DEVIATION**2)


def _statistics(image: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (C, 1) and covariance (C, C) of an image's pixels, float64 on the CPU."""
    # Two passes in chunks: float32 sums over a large image are off in the fourth digit, and a
    # float64 copy would take several times the image's memory.
    chunks = torch.split(image.detach()[0].flatten(1), _CHUNK, dim=1)
    count = image.shape[2] * image.shape[3]
    sums = [_float64(chunk).sum(1, keepdim=True) for chunk in chunks]
    mean = torch.stack(sums).sum(0) / count
    centered = (_float64(chunk) - mean for chunk in chunks)
    products = [chunk @ chunk.T for chunk in centered]
    return mean, torch.stack(products).sum(0) / count


def _float64(chunk: Tensor) -> Tensor:
    return chunk.to("cpu", torch.float64)  # Apple's GPUs have no float64


def is_flat(images: Tensor) -> Tensor:
    """Which of the images (N, 3, H, W) have a single color, shape (N,).

    Instance normalization would divide by almost zero there.
    """
    return images.std((2, 3)).amax(1) < _FLAT
