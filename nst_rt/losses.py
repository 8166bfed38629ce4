"""The perceptual loss: content, style and total variation of images against fixed targets.

`PerceptualLoss` is the only definition of it: training minimizes it over the weights of a network,
the per-image optimizer over pixels (`nst_rt.optimization.tiled_loss`, tile by tile).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from nst_rt.devices import fast_dtype
from nst_rt.errors import InputError
from nst_rt.models.vgg import Pooling, VGG19Features, layer_name

Features = Mapping[str, Tensor]

# "relative": each term is divided by the size of its target, so that one style weight means the
# same for any image size, batch, layer set and style image. "absolute": as the papers write them;
# weights then depend on the layers, the network's weights and the image.
Normalization = Literal["relative", "absolute"]

# The loss of trainings. Most of the style comes from one middle layer, as in published recipes:
# strokes, not hatching. The shallow layer of the content keeps faces and outlines.
TRAINING_STYLE_LAYERS = {"relu2_1": 0.07, "relu3_1": 0.18, "relu4_1": 0.75}
TRAINING_CONTENT_LAYERS = {"relu3_1": 0.5, "relu4_2": 0.5}
TRAINING_TV_WEIGHT = 0.02
TRAINING_GRID_WEIGHT = 3000.0
TRAINING_CONTENT_FOCUS = 1.0

_LEAST_WEIGHT = 0.1  # of even areas: more than 0, since their tone must be preserved
_NEIGHBORS = 3  # side of the window, positions; a larger one leaves a halo around towers


@dataclass(frozen=True)
class BatchTerms:
    """The terms of the loss of a batch of N images; all but `styles` are scalars.

    Attributes:
        content, style, tv: means over the batch, before weighting.
        total: their weighted sum.
        styles: style term of each image, without its factor, shape (N,); detached.
    """

    content: Tensor
    style: Tensor
    tv: Tensor
    total: Tensor
    styles: Tensor


class PerceptualLoss:
    """Content + style + total variation on VGG19 features (Gatys et al. 2016; Johnson et al. 2016).

    Not a module on purpose: inside a LightningModule it would put VGG19 into every checkpoint.

    Args:
        content_layers: layer name -> weight; relative weights are normalized to a sum of 1.
        style_layers: likewise.
        content_weight, style_weight, tv_weight: factors of the three terms.
        content_focus: see `detail_weights`; 0 for a content loss that counts all positions alike.
        normalization: `relative` or `absolute`. The total variation is a mean of squares, or a sum
            of absolute differences.
        weights: VGG19 weights, see `VGG19Features`.
        pooling: see `VGG19Features`.
        device: where the features are computed.
        dtype: precision of the features; by default the fast one of the device.

    Raises:
        UnknownNameError: a layer that VGG19 does not have.
        InputError: no layers, weights that are negative, not finite or, of layers, all 0, or an
            unknown pooling.
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
        content_focus: float = 0.0,
        normalization: Normalization = "relative",
        weights: str = "caffe",
        pooling: Pooling = "max",
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
    ) -> None:
        self.content_layers = layer_weights(content_layers, normalization)
        self.style_layers = layer_weights(style_layers, normalization)
        check_loss_weights(content_weight, style_weight, tv_weight, content_focus)
        self.content_weight = content_weight
        self.style_weight = style_weight
        self.tv_weight = tv_weight
        self.content_focus = content_focus
        self.normalization = normalization
        self.features = VGG19Features(
            sorted({*self.content_layers, *self.style_layers}),
            weights=weights,
            pooling=pooling,
            dtype=dtype or fast_dtype(device),
        ).to(device)

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

    def __call__(
        self, image: Tensor, content: Features, style: Features, factors: Tensor | None = None
    ) -> BatchTerms:
        """Loss of `image` against the two targets.

        Args:
            image: shape (N, 3, H, W), RGB in [0, 1]; gradients flow to it.
            content: from `content_target` of N images of the same size.
            style: from `style_target`, of N images or of one.
            factors: of the style term of each image, shape (N,); 1 by default.
        """
        features = self.features(image)
        errors = {
            layer: squared_error(features[layer], target, self.position_weights(target))
            for layer, target in content.items()
        }
        grams = {layer: gram_matrix(features[layer]) for layer in self.style_layers}
        scales = {layer: self.content_scale(target) for layer, target in content.items()}
        return self.terms(image, errors, scales, self.style_errors(grams, style), factors)

    def position_weights(self, content: Tensor) -> Tensor | None:
        """Weight of each position of a content target, shape (N, 1, H, W); None for 1."""
        return detail_weights(content, self.content_focus) if self.content_focus else None

    def content_scale(self, target: Tensor) -> Tensor:
        """What squared errors against a content target (N, C, H, W) are divided by, shape (N,)."""
        if self.normalization == "absolute":
            return target.new_full(target.shape[:1], target[0].numel(), dtype=torch.float32)
        return target.float().square().sum((1, 2, 3))

    def style_errors(self, grams: Features, targets: Features) -> Tensor:
        """Style term of each image, from Gram matrices of all style layers, shape (N,)."""
        errors = [
            weight * gram_errors(grams[layer], targets[layer], self.normalization)
            for layer, weight in self.style_layers.items()
        ]
        return torch.stack(errors).sum(0)

    def terms(
        self,
        image: Tensor,
        content_errors: Features,
        content_scales: Features,
        style_errors: Tensor,
        factors: Tensor | None = None,
    ) -> BatchTerms:
        """The loss, from statistics of the features.

        Args:
            image: shape (N, 3, H, W), RGB in [0, 1], for its total variation.
            content_errors: layer -> `squared_error` of the features, shape (N,).
            content_scales: layer -> `content_scale` of the target, shape (N,).
            style_errors: from `style_errors`, shape (N,).
            factors: of the style term of each image, shape (N,); 1 by default.
        """
        content = torch.stack(
            [
                weight * (content_errors[layer] / content_scales[layer]).mean()
                for layer, weight in self.content_layers.items()
            ]
        ).sum()
        style = (style_errors if factors is None else factors * style_errors).mean()
        absolute = self.normalization == "absolute"
        tv = (absolute_variation if absolute else total_variation)(image.float())
        total = self.content_weight * content + self.style_weight * style + self.tv_weight * tv
        return BatchTerms(content, style, tv, total, style_errors.detach())


def gram_matrix(features: Tensor) -> Tensor:
    """Correlations between feature channels (Gatys et al. 2016, eq. 3).

    Args:
        features: activations, shape (N, C, H, W), any float dtype; channels_last is fastest.

    Returns:
        Shape (N, C, C), float32, divided by H * W so that it does not depend on the image's size.
    """
    return gram_sum(features) / features[0, 0].numel()


def gram_sum(features: Tensor) -> Tensor:
    """`gram_matrix` before the division: a sum over positions, so that tiles can be added up.

    Args:
        features: activations, shape (N, C, H, W).

    Returns:
        Shape (N, C, C), float32.
    """
    # (N, HW, C) is a view of channels_last features; multiplying in their own bfloat16, with sums
    # in float32 inside the product, is twice as fast as converting them first.
    gram: Tensor = _Gram.apply(features.permute(0, 2, 3, 1).flatten(1, 2))
    return gram.float()


class _Gram(torch.autograd.Function):
    """X^T X of (N, P, C); autograd alone would compute its gradient with two products, not one."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        if x.is_cuda:
            return x.transpose(1, 2) @ x
        # One by one: a CPU's batched product copies its transposed operand (7 times slower).
        return torch.stack([matrix.T @ matrix for matrix in x])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        x: Tensor = ctx.saved_tensors[0]
        return x @ (grad + grad.transpose(1, 2))


def squared_error(features: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """Squared feature difference (Gatys et al. 2016, eq. 1, times 2), summed over each image.

    Args:
        features: activations of the images, shape (N, C, H, W).
        target: activations of the content images, same shape.
        weights: of the positions, shape (N, 1, H, W); 1 by default.

    Returns:
        Shape (N,), float32.
    """
    errors = (features.float() - target.float()).square()
    return (errors if weights is None else errors * weights).sum((1, 2, 3))


def gram_errors(gram: Tensor, target: Tensor, normalization: Normalization = "relative") -> Tensor:
    """Mean squared difference of Gram matrices (Gatys et al. 2016, eq. 4) of each image.

    Args:
        gram: Gram matrices of the images, shape (N, C, C).
        target: those of the styles, shape (N, C, C), or (1, C, C) for one style.
        normalization: `relative` divides by the target's mean square.

    Returns:
        Shape (N,), float32; 0 for equal matrices; if relative, 1 for matrices of zeros.
    """
    errors = (gram - target).square().mean((1, 2))
    return errors if normalization == "absolute" else errors / target.square().mean((1, 2))


def detail_weights(target: Tensor, focus: float) -> Tensor:
    """Weights of a content image's positions: high where it has detail, low on an even sky or wall.

    A network that must keep even areas even puts no strokes there, so the content loss counts them
    for a tenth. The weight of a position is the variance of the activations over it and its
    neighbors, relative to their mean square in the image, divided by `focus` and clamped to
    [0.1, 1].

    Args:
        target: activations of the content images, shape (N, C, H, W).
        focus: relative variance from which on a position counts in full; skies have 0.02 to 0.1,
            buildings and trees 0.2 to 1.5.

    Returns:
        Shape (N, 1, H, W), float32.
    """

    def local_mean(values: Tensor) -> Tensor:
        return F.avg_pool2d(values, _NEIGHBORS, 1, _NEIGHBORS // 2, count_include_pad=False)

    target = target.float()
    variance = (local_mean(target.square()) - local_mean(target).square()).mean(1, keepdim=True)
    scale = target.square().mean((1, 2, 3), keepdim=True)
    return (variance / (focus * scale)).clamp(_LEAST_WEIGHT, 1)


def total_variation(image: Tensor) -> Tensor:
    """Mean squared difference of vertical plus that of horizontal neighbors.

    Args:
        image: shape (N, C, H, W), H and W of at least 2.

    Returns:
        Scalar; exactly 2 for a checkerboard of zeros and ones.
    """
    vertical = (image[..., 1:, :] - image[..., :-1, :]).square().mean()
    horizontal = (image[..., :, 1:] - image[..., :, :-1]).square().mean()
    return vertical + horizontal


def absolute_variation(image: Tensor) -> Tensor:
    """Sum of the absolute differences of neighbors, as in `tf.image.total_variation`.

    Args:
        image: shape (N, C, H, W).
    """
    vertical = (image[..., 1:, :] - image[..., :-1, :]).abs().sum()
    return vertical + (image[..., :, 1:] - image[..., :, :-1]).abs().sum()


def grid_pattern(image: Tensor, cell: int = 4, around: int = 15) -> Tensor:
    """Mean square of the pattern that repeats from cell to cell of the pixel grid.

    A network that computes at a fraction of the resolution treats the pixels of a cell differently
    (Odena et al. 2016), which shows as rows of fine dots in even areas. The difference of each
    pixel from its surroundings is averaged over the same place of many cells, where strokes cancel
    out.

    Args:
        image: shape (N, C, H, W).
        cell: side of the cells, pixels, even.
        around: number of cells to average over, along each axis.

    Returns:
        Scalar; 0 for a ramp, the mean square of a pattern of that period with a mean of 0.
    """
    smooth = F.avg_pool2d(F.avg_pool2d(image, cell, 1), 2, 1)
    margin = cell // 2
    fine = image[..., margin:-margin, margin:-margin] - smooth
    height, width = (side - side % cell for side in fine.shape[-2:])
    cells = F.pixel_unshuffle(fine[..., :height, :width], cell)
    window = [min(around, side) for side in cells.shape[-2:]]
    return F.avg_pool2d(cells, window, 1).square().mean()


def layer_weights(
    layers: Mapping[str, float], normalization: Normalization = "relative"
) -> dict[str, float]:
    """Layers by our names, and their weights; relative ones are scaled to a sum of 1.

    Raises:
        UnknownNameError: a layer that VGG19 does not have.
        InputError: no layers, a layer twice, or weights that are negative, not finite or all 0.
    """
    weights = {layer_name(layer): float(weight) for layer, weight in layers.items()}
    if len(weights) < len(layers):
        raise InputError(f"a layer is named twice: {', '.join(layers)}")
    total = sum(weights.values())
    if not (0 < total < math.inf and min(weights.values()) >= 0):
        raise InputError(f"layer weights must be 0 or more, and one of them more: {dict(layers)}")
    if normalization == "absolute":
        return weights
    return {layer: weight / total for layer, weight in weights.items()}


def check_loss_weights(*weights: float) -> None:
    """Refuse weights of loss terms that are negative or not finite.

    Raises:
        InputError: such a weight.
    """
    for weight in weights:
        if not 0 <= weight < math.inf:
            raise InputError(f"the weight of a loss must be 0 or more, not {weight}")
