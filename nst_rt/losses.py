"""The perceptual loss: content, style and total variation, free of scale.

Each term is divided by the size of its own target, so that one style weight means the same at any
image size, batch, layer set and for any painting.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from nst_rt.devices import fast_dtype
from nst_rt.errors import InputError
from nst_rt.vgg import VGG19Features

Features = Mapping[str, Tensor]


def gram_matrix(features: Tensor) -> Tensor:
    """Correlations between feature channels (Gatys et al. 2016, eq. 3).

    Args:
        features: activations, shape (N, C, H, W), any float dtype; channels_last is fastest.

    Returns:
        Shape (N, C, C), float32, divided by H * W so that it does not depend on the image's size.
    """
    n, c, h, w = features.shape
    # (N, HW, C) is a view of channels_last features; multiplying in their own bfloat16, with sums
    # in float32 inside the product, is twice as fast as converting them first.
    pixels = features.permute(0, 2, 3, 1).reshape(n, h * w, c)
    return (pixels.transpose(1, 2) @ pixels).float() / (h * w)


def content_loss(features: Tensor, target: Tensor) -> Tensor:
    """Squared feature difference (Gatys et al. 2016, eq. 1) over the target's mean square.

    Args:
        features: activations of the image, shape (N, C, H, W).
        target: activations of the content image, same shape.

    Returns:
        Scalar, float32; 0 for equal features, 1 for features that are 0 everywhere.
    """
    return _relative_error(features.float(), target.float())


def style_loss(gram: Tensor, target: Tensor) -> Tensor:
    """Squared difference of Gram matrices (Gatys et al. 2016, eq. 4) over the target's mean square.

    Args:
        gram: Gram matrices of the images, shape (N, C, C).
        target: those of the styles, shape (N, C, C), or (1, C, C) for one style.

    Returns:
        Scalar, float32; 0 for equal matrices, 1 for matrices that are 0 everywhere.
    """
    return _relative_error(gram, target)


def total_variation(image: Tensor) -> Tensor:
    """Mean squared difference of vertical plus that of horizontal neighbours.

    Args:
        image: shape (N, C, H, W), H and W of at least 2.

    Returns:
        Scalar; exactly 2 for a checkerboard of zeros and ones.
    """
    vertical = (image[..., 1:, :] - image[..., :-1, :]).square().mean()
    horizontal = (image[..., :, 1:] - image[..., :, :-1]).square().mean()
    return vertical + horizontal


def _relative_error(values: Tensor, target: Tensor) -> Tensor:
    dims = tuple(range(1, values.ndim))
    return ((values - target).square().mean(dims) / target.square().mean(dims)).mean()


@dataclass(frozen=True)
class LossTerms:
    """The three terms before weighting, and their weighted sum; scalar tensors."""

    content: Tensor
    style: Tensor
    tv: Tensor
    total: Tensor


class PerceptualLoss:
    """Content + style + total variation on VGG19 features (Gatys et al. 2016; Johnson et al. 2016).

    Not a module on purpose: inside a LightningModule it would put VGG19 into every checkpoint.

    Args:
        content_layers: layer name -> weight; weights are normalized to a sum of 1.
        style_layers: likewise.
        content_weight, style_weight, tv_weight: factors of the three terms.
        weights: VGG19 weights, see `VGG19Features`.
        device: where the features are computed.
        dtype: precision of the features; by default the fast one of the device.

    Raises:
        UnknownNameError: a layer that VGG19 does not have.
        InputError: no layers, or weights that are negative, not finite or, of layers, all 0.
        WeightsError: VGG19 weights that cannot be used.
    """

    def __init__(
        self,
        *,
        content_layers: Mapping[str, float],
        style_layers: Mapping[str, float],
        content_weight: float,
        style_weight: float,
        tv_weight: float,
        weights: str = "caffe",
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
    ) -> None:
        self.content_layers = _normalized(content_layers)
        self.style_layers = _normalized(style_layers)
        for weight in (content_weight, style_weight, tv_weight):
            if not 0 <= weight < math.inf:
                raise InputError(f"the weight of a loss must be 0 or more, not {weight}")
        self.content_weight = content_weight
        self.style_weight = style_weight
        self.tv_weight = tv_weight
        layers = sorted(set(self.content_layers) | set(self.style_layers))
        self.features = VGG19Features(layers, weights=weights, dtype=dtype or fast_dtype(device))
        self.features.to(device)

    @torch.no_grad()
    def content_target(self, image: Tensor) -> dict[str, Tensor]:
        """Content features of `image` (N, 3, H, W), RGB in [0, 1]: layer -> (N, C, H', W')."""
        features = self.features(image)
        return {layer: features[layer] for layer in self.content_layers}

    @torch.no_grad()
    def style_target(self, image: Tensor) -> dict[str, Tensor]:
        """Gram matrices of `image` (N, 3, H, W), RGB in [0, 1]: layer -> (N, C, C)."""
        features = self.features(image)
        return {layer: gram_matrix(features[layer]) for layer in self.style_layers}

    def __call__(self, image: Tensor, content: Features, style: Features) -> LossTerms:
        """Loss of `image` against the two targets.

        Args:
            image: shape (N, 3, H, W), RGB in [0, 1]; gradients flow to it.
            content: from `content_target` of N images of the same size.
            style: from `style_target`, of N images or of one.
        """
        features = self.features(image)
        content_term = torch.stack(
            [w * content_loss(features[k], content[k]) for k, w in self.content_layers.items()]
        ).sum()
        style_term = torch.stack(
            [
                w * style_loss(gram_matrix(features[k]), style[k])
                for k, w in self.style_layers.items()
            ]
        ).sum()
        tv_term = total_variation(image.float())
        total = (
            self.content_weight * content_term
            + self.style_weight * style_term
            + self.tv_weight * tv_term
        )
        return LossTerms(content_term, style_term, tv_term, total)


def _normalized(weights: Mapping[str, float]) -> dict[str, float]:
    total = sum(weights.values())
    if not (total > 0 and min(weights.values()) >= 0):
        raise InputError(f"layer weights must be positive, not {dict(weights)}")
    return {layer: weight / total for layer, weight in weights.items()}
