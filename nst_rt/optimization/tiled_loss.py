"""The perceptual loss of one image and its gradient, tile by tile, for images of any size.

The loss depends on whole feature maps only through sums over positions: squared content errors and
Gram matrices. These are gathered tile by tile, once for their values and once more to carry the
gradient of the loss back to the pixels. Tiles overlap by the reach of VGG19, so that loss and
gradient are those of the whole image: no seams can appear. Gradient checkpointing would recompute
as much, but still hold the first block's activations of the whole image at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nst_rt.losses import BatchTerms, PerceptualLoss, gram_sum, squared_error
from nst_rt.models.vgg import minimum_size, reach, stride
from nst_rt.optimization.inputs import StyleSource
from nst_rt.optimization.masks import resized_mask
from nst_rt.tiles import Tile, tiles

# (layer, -1) -> squared content error, shape (1,); (layer, region) -> Gram sum, shape (1, C, C).
_Statistics = dict[tuple[str, int], Tensor]
_CONTENT = -1


class TiledLoss:
    """A perceptual loss of an image against one content image and the styles of its regions.

    Args:
        loss: layers, weights, normalization and VGG19.
        content: the content image, shape (1, 3, H, W), RGB in [0, 1].
        styles: the style images, on the loss's device as all other tensors are.
        regions: masks of the content image, shape (1, 1, H, W), in [0, 1], one per region; none for
            one region that is the whole image. Each has at least one style.
        tile: longest side of a tile, pixels; None for the whole image at once.

    Raises:
        InputError: an image too small for the deepest layer.
    """

    def __init__(
        self,
        loss: PerceptualLoss,
        content: Tensor,
        styles: Sequence[StyleSource],
        regions: Sequence[Tensor] = (),
        tile: int | None = None,
    ) -> None:
        self.loss = loss
        self.tile = tile
        self._content = self._content_target(content)
        self._weights = {k: loss.position_weights(target) for k, target in self._content.items()}
        self._scales = {k: loss.content_scale(target) for k, target in self._content.items()}
        self._regions = [self._guide(content, mask) for mask in regions or (None,)]
        # A region counts as much as it covers: the same pressure on every pixel.
        areas = [float(mask.mean()) for mask in regions] or [1.0]
        self._styles: list[list[tuple[float, dict[str, Tensor]]]] = [[] for _ in areas]
        totals = [sum(s.weight for s in styles if s.region == r) for r in range(len(areas))]
        for style in styles:
            share = areas[style.region] * style.weight / totals[style.region]
            self._styles[style.region].append((share, self._grams(style)))

    def __call__(self, image: Tensor) -> BatchTerms:
        """Loss of an image of the content image's size, shape (1, 3, H, W), without a gradient."""
        with torch.no_grad():
            return self._terms(image, self._statistics(image))

    def backward(self, image: Tensor) -> BatchTerms:
        """Loss of an image, whose gradient is added to `image.grad`."""
        parts = self._tiles(image)
        if len(parts) == 1:
            terms = self._terms(image, self._tile_statistics(parts[0], image))
            terms.total.backward()  # type: ignore[no-untyped-call]
            return terms
        with torch.no_grad():
            statistics = self._statistics(image)
        statistics = {key: value.requires_grad_() for key, value in statistics.items()}
        terms = self._terms(image, statistics)
        terms.total.backward()  # type: ignore[no-untyped-call]
        assert image.grad is not None  # of the total variation
        for part in parts:
            window = part.pixels(image.detach()).clone().requires_grad_()
            of_tile = self._tile_statistics(part, window)
            torch.autograd.backward(
                list(of_tile.values()), [statistics[key].grad for key in of_tile]
            )
            assert window.grad is not None
            part.pixels(image.grad).add_(window.grad)
        return terms

    def _terms(self, image: Tensor, statistics: _Statistics) -> BatchTerms:
        errors = {layer: statistics[layer, _CONTENT] for layer in self._content}
        style = image.new_zeros(1)
        for region, (guide, styles) in enumerate(zip(self._regions, self._styles, strict=True)):
            grams = {k: statistics[k, region] / guide.divisors[k] for k in self.loss.style_layers}
            for share, targets in styles:
                style = style + share * self.loss.style_errors(grams, targets)
        return self.loss.terms(image, errors, self._scales, style)

    def _tiles(self, image: Tensor) -> list[Tile]:
        height, width = image.shape[-2:]
        layers = self.loss.features.layers
        return tiles(height, width, self.tile, reach(layers), minimum_size(layers))

    def _statistics(self, image: Tensor) -> _Statistics:
        """The statistics that the loss depends on, summed over the tiles."""
        total: _Statistics = {}
        for part in self._tiles(image):
            for key, value in self._tile_statistics(part, part.pixels(image)).items():
                total[key] = total[key] + value if key in total else value
        return total

    def _tile_statistics(self, part: Tile, window: Tensor) -> _Statistics:
        features = self.loss.features(window)
        statistics = {}
        for layer, target in self._content.items():
            step, weights = stride(layer), self._weights[layer]
            statistics[layer, _CONTENT] = squared_error(
                part.trim(features[layer], step),
                part.cut(target, step),
                None if weights is None else part.cut(weights, step),
            )
        for region, guide in enumerate(self._regions):
            for layer in self.loss.style_layers:
                statistics[layer, region] = guide.gram_sum(part, features[layer], layer)
        return statistics

    @torch.no_grad()
    def _content_target(self, image: Tensor) -> dict[str, Tensor]:
        """Content features of the whole image, assembled from its tiles."""
        target: dict[str, Tensor] = {}
        for part in self._tiles(image):
            features = self.loss.features(part.pixels(image))
            for layer in self.loss.content_layers:
                values = part.trim(features[layer], stride(layer))
                if layer not in target:
                    target[layer] = torch.empty(
                        (*values.shape[:2], *_layer_shape(image, layer)),
                        dtype=values.dtype,
                        device=values.device,
                        memory_format=torch.channels_last,
                    )
                part.cut(target[layer], stride(layer)).copy_(values)
        return target

    @torch.no_grad()
    def _grams(self, style: StyleSource) -> dict[str, Tensor]:
        """Gram matrices of a style image, guided by its mask."""
        guide = self._guide(style.image, style.mask)
        grams: dict[str, Tensor] = {}
        for part in self._tiles(style.image):
            features = self.loss.features(part.pixels(style.image))
            for layer in self.loss.style_layers:
                gram = guide.gram_sum(part, features[layer], layer) / guide.divisors[layer]
                grams[layer] = grams[layer] + gram if layer in grams else gram
        return grams

    def _guide(self, image: Tensor, mask: Tensor | None) -> "_Guide":
        shapes = {layer: _layer_shape(image, layer) for layer in self.loss.style_layers}
        if mask is None:
            return _Guide({}, {layer: float(h * w) for layer, (h, w) in shapes.items()})
        masks = {layer: resized_mask(mask, shape) for layer, shape in shapes.items()}
        divisors = {layer: float(m.square().sum()) for layer, m in masks.items()}
        dtype = self.loss.features.dtype
        return _Guide({layer: m.to(dtype) for layer, m in masks.items()}, divisors)


@dataclass(frozen=True)
class _Guide:
    """Where the Gram matrices of an image are taken (Gatys et al. 2017, eq. 5 and 6).

    Attributes:
        masks: layer -> mask, shape (1, 1, h, w); empty for the whole image.
        divisors: layer -> what a Gram sum is divided by: the squared mask's sum, or the number of
            positions.
    """

    masks: Mapping[str, Tensor]
    divisors: Mapping[str, float]

    def gram_sum(self, part: Tile, features: Tensor, layer: str) -> Tensor:
        """A tile's share of the Gram sum, from the activations of its window."""
        values = part.trim(features, stride(layer))
        if layer in self.masks:
            values = values * part.cut(self.masks[layer], stride(layer))
        return gram_sum(values)


def _layer_shape(image: Tensor, layer: str) -> tuple[int, int]:
    step = stride(layer)
    return image.shape[-2] // step, image.shape[-1] // step
