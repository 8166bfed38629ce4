"""The perceptual loss of one image as a function of its pixels, for images of any size.

Nothing but Gram matrices and squared content errors needs whole feature maps, and these are sums
over positions. So they are gathered tile by tile: once for their values, and once more to carry the
gradient of the loss back to the pixels. Tiles overlap by what VGG19 sees around them, which makes
loss and gradient those of the whole image: no seams can appear. Gradient checkpointing would
recompute as much, but still hold the first block's activations of the whole image at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nst_rt.losses import (
    LossTerms,
    absolute_variation,
    gram_sum,
    layer_weights,
    style_loss,
    total_variation,
)
from nst_rt.models.vgg import VGG19Features, stride
from nst_rt.optimization.inputs import StyleSource
from nst_rt.optimization.masks import resized_mask
from nst_rt.optimization.presets import Settings
from nst_rt.tiles import Tile, tiles


@dataclass(frozen=True)
class Guide:
    """Where the Gram matrices are taken of an image (Gatys et al. 2017, eq. 5 and 6).

    Attributes:
        masks: layer -> mask, shape (1, 1, h, w); none for the whole image.
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


class Objective:
    """Content + style + total variation of an image against fixed targets.

    Args:
        features: VGG19 with the layers of the settings.
        settings: layers, weights and normalization.
        content: the content image, shape (1, 3, H, W), RGB in [0, 1].
        styles: the paintings.
        regions: masks of the content image, shape (1, 1, H, W), in [0, 1], one per region; none for
            one region that is all of it. Each has at least one painting.
        tile: largest side of a tile, pixels; None for the whole image at once.

    Raises:
        InputError: an image too small for the deepest layer.
    """

    def __init__(
        self,
        features: VGG19Features,
        settings: Settings,
        content: Tensor,
        styles: Sequence[StyleSource],
        regions: Sequence[Tensor] = (),
        tile: int | None = None,
    ) -> None:
        self.features = features
        self.settings = settings
        self.tile = tile
        self.content_layers = layer_weights(settings.content_layers, settings.normalization)
        self.style_layers = layer_weights(settings.style_layers, settings.normalization)
        self._content = self._content_target(content)
        relative = settings.normalization == "relative"
        self._content_scale = {
            layer: float(target.float().square().sum()) if relative else float(target.numel())
            for layer, target in self._content.items()
        }
        self._regions = [self._guide(content, mask) for mask in regions or (None,)]
        # A region counts as much as it covers: the same pressure on every pixel.
        areas = [float(mask.mean()) for mask in regions] or [1.0]
        self._styles: list[list[tuple[float, dict[str, Tensor]]]] = [[] for _ in areas]
        totals = [sum(s.weight for s in styles if s.region == r) for r in range(len(areas))]
        for style in styles:
            share = areas[style.region] * style.weight / totals[style.region]
            self._styles[style.region].append((share, self._grams(style)))

    def __call__(self, image: Tensor) -> LossTerms:
        """Loss of an image of the content image's size, shape (1, 3, H, W), without a gradient."""
        with torch.no_grad():
            return self._terms(image, self._statistics(image))

    def backward(self, image: Tensor) -> LossTerms:
        """Loss of an image, whose gradient is added to `image.grad`."""
        parts = self._tiles(image)
        if len(parts) == 1:
            terms = self._terms(image, self._gathered(parts[0], parts[0].pixels(image)))
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
            gathered = self._gathered(part, window)
            torch.autograd.backward(
                list(gathered.values()), [statistics[key].grad for key in gathered]
            )
            assert window.grad is not None
            part.pixels(image.grad).add_(window.grad)
        return terms

    def _tiles(self, image: Tensor) -> list[Tile]:
        height, width = image.shape[-2:]
        step = self.features.minimum_size
        return tiles(height, width, self.tile, self.features.reach, step)

    def _statistics(self, image: Tensor) -> dict[tuple[str, int], Tensor]:
        """What the loss depends on, summed over the tiles."""
        total: dict[tuple[str, int], Tensor] = {}
        for part in self._tiles(image):
            for key, value in self._gathered(part, part.pixels(image)).items():
                total[key] = total[key] + value if key in total else value
        return total

    def _gathered(self, part: Tile, window: Tensor) -> dict[tuple[str, int], Tensor]:
        """A tile's share: (layer, -1) -> squared content error, (layer, region) -> Gram sum."""
        features = self.features(window)
        gathered = {}
        for layer in self.content_layers:
            values = part.trim(features[layer], stride(layer)).float()
            target = part.cut(self._content[layer], stride(layer)).float()
            gathered[layer, -1] = (values - target).square().sum()
        for region, guide in enumerate(self._regions):
            for layer in self.style_layers:
                gathered[layer, region] = guide.gram_sum(part, features[layer], layer)
        return gathered

    def _terms(self, image: Tensor, statistics: Mapping[tuple[str, int], Tensor]) -> LossTerms:
        settings = self.settings
        content = torch.stack(
            [
                weight * statistics[layer, -1] / self._content_scale[layer]
                for layer, weight in self.content_layers.items()
            ]
        ).sum()
        style = image.new_zeros(())
        for region, (guide, targets) in enumerate(zip(self._regions, self._styles, strict=True)):
            for layer, weight in self.style_layers.items():
                gram = statistics[layer, region] / guide.divisors[layer]
                for share, grams in targets:
                    error = style_loss(gram, grams[layer], settings.normalization)
                    style = style + weight * share * error
        relative = settings.normalization == "relative"
        tv = (total_variation if relative else absolute_variation)(image)
        total = (
            settings.content_weight * content
            + settings.style_weight * style
            + settings.tv_weight * tv
        )
        return LossTerms(content, style, tv, total)

    @torch.no_grad()
    def _content_target(self, image: Tensor) -> dict[str, Tensor]:
        """Content features of the whole image, put together from its tiles."""
        target: dict[str, Tensor] = {}
        for part in self._tiles(image):
            features = self.features(part.pixels(image))
            for layer in self.content_layers:
                values = part.trim(features[layer], stride(layer))
                if layer not in target:
                    shape = (*values.shape[:2], *layer_shape(image, layer))
                    target[layer] = torch.empty(
                        shape,
                        dtype=values.dtype,
                        device=values.device,
                        memory_format=torch.channels_last,
                    )
                part.cut(target[layer], stride(layer)).copy_(values)
        return target

    @torch.no_grad()
    def _grams(self, style: StyleSource) -> dict[str, Tensor]:
        """The painting's Gram matrices, guided by its mask."""
        guide = self._guide(style.image, style.mask)
        grams: dict[str, Tensor] = {}
        for part in self._tiles(style.image):
            features = self.features(part.pixels(style.image))
            for layer in self.style_layers:
                gram = guide.gram_sum(part, features[layer], layer) / guide.divisors[layer]
                grams[layer] = grams[layer] + gram if layer in grams else gram
        return grams

    def _guide(self, image: Tensor, mask: Tensor | None) -> Guide:
        shapes = {layer: layer_shape(image, layer) for layer in self.style_layers}
        if mask is None:
            return Guide({}, {layer: float(h * w) for layer, (h, w) in shapes.items()})
        masks = {layer: resized_mask(mask, shape) for layer, shape in shapes.items()}
        divisors = {layer: float(m.square().sum()) for layer, m in masks.items()}
        return Guide({k: m.to(self.features.dtype) for k, m in masks.items()}, divisors)


def layer_shape(image: Tensor, layer: str) -> tuple[int, int]:
    """Height and width of a layer's activations of an image."""
    step = stride(layer)
    return image.shape[-2] // step, image.shape[-1] // step
