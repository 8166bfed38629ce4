"""Keeping the photo's colors in style transfer (Gatys, Bethge, Hertzmann & Shechtman 2016,
"Preserving Color in Neural Artistic Style Transfer"): by luminance only, or by recoloring the
style.

Images are tensors (1, 3, H, W), float32, sRGB values in [0, 1]; large ones are read in chunks.
"""

import torch
from torch import Tensor

# Deviations below one level of an 8-bit image are rounding and noise, nothing to be scaled up.
LEAST_DEVIATION = 1 / 255

_CHUNK = 2**20  # pixels


def luminance(image: Tensor) -> Tensor:
    """Luma: the Y of YIQ, in which the paper works.

    Args:
        image: shape (N, 3, H, W), RGB in [0, 1].

    Returns:
        Shape (N, 1, H, W), in [0, 1] up to rounding.
    """
    red, green, blue = torch.split(image, 1, dim=1)
    return 0.299 * red + 0.587 * green + 0.114 * blue


def with_luminance(image: Tensor, luma: Tensor) -> Tensor:
    """An image with another luma and its own chroma, the I and Q of YIQ.

    Where that leaves [0, 1], the chroma is reduced just as far as it takes: clipping RGB instead,
    as is common, would change the luma and the hue.

    Args:
        image: shape (N, 3, H, W), RGB in [0, 1].
        luma: shape (N, 1, H, W), clamped to [0, 1].

    Returns:
        Shape (N, 3, H, W), RGB in [0, 1], whose luma is `luma`.
    """
    luma = luma.clamp(0, 1)
    # The same I and Q as the image's: in RGB, Y is added to all three channels alike.
    chroma = image - luminance(image)
    # The weighted sum of the chroma is 0, so that it has both signs or is 0; the least divisor is
    # below what an 8-bit image can hold.
    room_above = (1 - luma) / chroma.amax(1, keepdim=True).clamp_min(1e-6)
    room_below = luma / chroma.amin(1, keepdim=True).neg().clamp_min(1e-6)
    kept = torch.minimum(room_above, room_below).clamp_max(1)
    return chroma.mul_(kept).add_(luma).clamp_(0, 1)  # rounding


def match_luminance(style_luma: Tensor, content_luma: Tensor) -> Tensor:
    """The style's luma with the mean and the deviation of the content's.

    What the style is to be for luminance-only transfer. One without contrast gets the mean alone.

    Args:
        style_luma: shape (1, 1, H, W).
        content_luma: shape (1, 1, H', W').

    Returns:
        Shape (1, 1, H, W). Not clamped, which would change both statistics; it may leave [0, 1].
    """
    style_mean, style_covariance = _statistics(style_luma)
    mean, covariance = _statistics(content_luma)
    scale = (covariance.sqrt() * _inverse_root(style_covariance.sqrt())).item()
    return (style_luma - style_mean.item()).mul_(scale).add_(mean.item())


def match_colors(style: Tensor, content: Tensor) -> Tensor:
    """The style recolored to the mean and the covariance of the content's colors.

    The paper's linear transform x -> A x + b with A = C_content^(1/2) C_style^(-1/2), the symmetric
    square roots of image analogies; unlike Cholesky factors they do not depend on the order of the
    channels. Directions in which the style has no variation (all but one of a gray painting) stay
    without.

    Args:
        style: shape (1, 3, H, W), RGB in [0, 1].
        content: shape (1, 3, H', W'), RGB in [0, 1].

    Returns:
        Shape (1, 3, H, W), RGB, clamped to [0, 1]; the statistics are exact where nothing clips.
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
    """1 / deviation, falling to 0 below the least one instead of rising without bounds."""
    return deviations / deviations.square().clamp_min(LEAST_DEVIATION**2)


def _statistics(image: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (C, 1) and covariance (C, C) of an image's pixels, float64 on the CPU."""
    # Two passes in chunks: in float32 the sums over a large image would be off in the fourth
    # digit, in float64 all of it at once would take several times the image's memory.
    chunks = torch.split(image.detach()[0].flatten(1), _CHUNK, dim=1)
    count = image.shape[2] * image.shape[3]
    sums = [_float64(chunk).sum(1, keepdim=True) for chunk in chunks]
    mean = torch.stack(sums).sum(0) / count
    centered = (_float64(chunk) - mean for chunk in chunks)
    products = [chunk @ chunk.T for chunk in centered]
    return mean, torch.stack(products).sum(0) / count


def _float64(chunk: Tensor) -> Tensor:
    return chunk.to("cpu", torch.float64)  # Apple's GPUs have no float64
