"""The perceptual loss: content, style and total variation, free of scale.

Each term is divided by the size of its own target, so that one style weight means the same at any
image size, batch, layer set and for any painting.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from nst_rt.devices import fast_dtype
from nst_rt.errors import InputError
from nst_rt.models.vgg import VGG19Features, layer_name

Features = Mapping[str, Tensor]

_LEAST_WEIGHT = 0.1  # of what is even: its tone shall stay
_NEIGHBORS = 3  # side of the window, positions; a larger one leaves a halo around towers

# "relative": each term over the size of its target. "absolute": as the papers write them, so that
# weights depend on the layers, the network's weights and the image.
Normalization = Literal["relative", "absolute"]
NORMALIZATIONS: tuple[Normalization, ...] = get_args(Normalization)


def gram_matrix(features: Tensor) -> Tensor:
    """Correlations between feature channels (Gatys et al. 2016, eq. 3).

    Args:
        features: activations, shape (N, C, H, W), any float dtype; channels_last is fastest.

    Returns:
        Shape (N, C, C), float32, divided by H * W so that it does not depend on the image's size.
    """
    return gram_sum(features) / features[0, 0].numel()


def gram_sum(features: Tensor) -> Tensor:
    """`gram_matrix` before the division: a sum over positions, so that it can be had in parts.

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
    """X^T X of (N, P, C), whose gradient autograd itself would get by two products, not one."""

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


def content_loss(features: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """Squared feature difference (Gatys et al. 2016, eq. 1) over the target's mean square.

    Args:
        features: activations of the image, shape (N, C, H, W).
        target: activations of the content image, same shape.
        weights: of the positions, shape (N, 1, H, W); 1 by default.

    Returns:
        Scalar, float32; 0 for equal features, 1 for features that are 0 everywhere.
    """
    return _relative_errors(features.float(), target.float(), weights).mean()


def detail_weights(target: Tensor, focus: float) -> Tensor:
    """Where a content image has detail that is to be kept, rather than an even sky or wall.

    A network that must keep even areas even paints no strokes there. So the content loss counts
    them for a tenth: the weight of a position is the variance of the activations over it and its
    neighbors, over their mean square in the image, divided by `focus`, from 0.1 to 1.

    Args:
        target: activations of the content images, shape (N, C, H, W).
        focus: relative variance from which on a position counts in full; 0.02 to 0.1 is usual for
            skies, 0.2 to 1.5 for buildings and trees.

    Returns:
        Shape (N, 1, H, W), float32.
    """

    def around(values: Tensor) -> Tensor:
        return F.avg_pool2d(values, _NEIGHBORS, 1, _NEIGHBORS // 2, count_include_pad=False)

    target = target.float()
    variance = (around(target.square()) - around(target).square()).mean(1, keepdim=True)
    scale = target.square().mean((1, 2, 3), keepdim=True)
    return (variance / (focus * scale)).clamp(_LEAST_WEIGHT, 1)


def style_loss(gram: Tensor, target: Tensor, normalization: Normalization = "relative") -> Tensor:
    """Squared difference of Gram matrices (Gatys et al. 2016, eq. 4) over the target's mean square.

    Args:
        gram: Gram matrices of the images, shape (N, C, C).
        target: those of the styles, shape (N, C, C), or (1, C, C) for one style.
        normalization: `absolute` leaves the division by the target's mean square out.

    Returns:
        Scalar, float32; 0 for equal matrices; if relative, 1 for matrices that are 0 everywhere.
    """
    if normalization == "absolute":
        return (gram - target).square().mean()
    return _relative_errors(gram, target).mean()


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


def grid_pattern(image: Tensor, cell: int = 4, around: int = 15) -> Tensor:
    """Mean square of what repeats from cell to cell of the pixel grid.

    A network that paints at a fraction of the resolution treats the pixels of a cell differently
    (Odena et al. 2016), which shows as rows of fine dots where nothing else is. So what differs
    from its surroundings is averaged over the same places of many cells, where strokes cancel out.

    Args:
        image: shape (N, C, H, W).
        cell: side of the cells, even, pixels.
        around: cells that are averaged over, along an axis.

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


def absolute_variation(image: Tensor) -> Tensor:
    """Sum of the absolute differences of neighbors, as `tf.image.total_variation` has it.

    Args:
        image: shape (N, C, H, W).
    """
    vertical = (image[..., 1:, :] - image[..., :-1, :]).abs().sum()
    return vertical + (image[..., :, 1:] - image[..., :, :-1]).abs().sum()


def _relative_errors(values: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """Of each image, shape (N,)."""
    dims = tuple(range(1, values.ndim))
    errors = (values - target).square()
    if weights is not None:
        errors = errors * weights
    return errors.mean(dims) / target.square().mean(dims)


@dataclass(frozen=True)
class LossTerms:
    """The three terms before weighting, and their weighted sum; scalar tensors."""

    content: Tensor
    style: Tensor
    tv: Tensor
    total: Tensor


@dataclass(frozen=True)
class BatchTerms(LossTerms):
    """Those of a batch, their means, and the style term of each image without its factor, (N,)."""

    styles: Tensor


class PerceptualLoss:
    """Content + style + total variation on VGG19 features (Gatys et al. 2016; Johnson et al. 2016).

    Not a module on purpose: inside a LightningModule it would put VGG19 into every checkpoint.

    Args:
        content_layers: layer name -> weight; weights are normalized to a sum of 1.
        style_layers: likewise.
        content_weight, style_weight, tv_weight: factors of the three terms.
        content_focus: see `detail_weights`; 0 for a content loss that counts all positions alike.
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
        content_focus: float = 0.0,
        weights: str = "caffe",
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
    ) -> None:
        self.content_layers = layer_weights(content_layers)
        self.style_layers = layer_weights(style_layers)
        check_loss_weights(content_weight, style_weight, tv_weight, content_focus)
        self.content_weight = content_weight
        self.style_weight = style_weight
        self.tv_weight = tv_weight
        self.content_focus = content_focus
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
        content_term = torch.stack(
            [
                w * content_loss(features[k], content[k], self._weights(content[k]))
                for k, w in self.content_layers.items()
            ]
        ).sum()
        style_terms = torch.stack(
            [
                w * _relative_errors(gram_matrix(features[k]), style[k])
                for k, w in self.style_layers.items()
            ]
        ).sum(0)
        style_term = (style_terms if factors is None else factors * style_terms).mean()
        tv_term = total_variation(image.float())
        total = (
            self.content_weight * content_term
            + self.style_weight * style_term
            + self.tv_weight * tv_term
        )
        return BatchTerms(content_term, style_term, tv_term, total, style_terms.detach())

    def _weights(self, content: Tensor) -> Tensor | None:
        return detail_weights(content, self.content_focus) if self.content_focus else None


def layer_weights(
    layers: Mapping[str, float], normalization: Normalization = "relative"
) -> dict[str, float]:
    """Layers by our names, and their weights; if relative, these are scaled to a sum of 1.

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
