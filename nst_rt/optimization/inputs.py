"""The scene that the optimizer works on: content image, style images, and which of them goes where.

Files, sizes, masks and color preservation are handled here; the result is tensors.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torchvision.transforms.v2.functional import center_crop

from nst_rt.errors import InputError
from nst_rt.images.color import luminance, match_colors, match_luminance, with_luminance
from nst_rt.images.convert import resize, resize_to, scaled_shape
from nst_rt.images.inputs import ImageSource, as_image, is_file
from nst_rt.images.io import image_shape, load_image, load_picture
from nst_rt.images.style_image import (
    fitting_size,
    load_style_image,
    prepared_style_image,
)
from nst_rt.learning.request import STYLE_SIZES
from nst_rt.optimization.masks import load_labels, matching_label, parse_color, resized_mask

TensorOrFile = Tensor | Path | str
PreserveColors = Literal["luminance", "match"]

# Standard deviation of the softened edges of regions, as a fraction of the long side.
_FEATHER = 0.005


@dataclass(frozen=True)
class StyleSource:
    """A style image, its weight, and the region that takes it.

    Attributes:
        image: shape (1, 3, H, W), RGB in [0, 1].
        weight: relative to other styles of the same region.
        region: index of the content image's region that takes it.
        mask: area of the style image that counts, shape (1, 1, H', W'), in [0, 1]; None: all.
    """

    image: Tensor
    weight: float = 1.0
    region: int = 0
    mask: Tensor | None = None


@dataclass(frozen=True)
class Scene:
    """A content image and its style images.

    Attributes:
        content: shape (1, 3, H, W), RGB in [0, 1], as the losses see it.
        styles: the style images, likewise.
        regions: masks of the content image's regions that have a style, shape (1, 1, H', W'), in
            [0, 1]; none if the whole image is one region.
        cover: sum of the regions, shape (1, 1, H', W'), in [0, 1]; None if they cover everything.
        colors: image whose chroma the result takes, shape (1, 3, H, W); None to leave it as it is.
        init: image to start from, shape (1, 3, H, W); None for noise.
    """

    content: Tensor
    styles: tuple[StyleSource, ...]
    regions: tuple[Tensor, ...] = ()
    cover: Tensor | None = None
    colors: Tensor | None = None
    init: Tensor | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the content image, pixels."""
        return self.content.shape[-2], self.content.shape[-1]

    @property
    def size(self) -> int:
        """Long side of the content image, pixels."""
        return max(self.shape)

    def smallest_size(self, side: int) -> float:
        """Size of the scene at which the shortest side of all its images is `side` pixels."""
        images = [self.content, *(style.image for style in self.styles)]
        return side * self.size / min(min(image.shape[-2:]) for image in images)

    def at(self, size: int, device: torch.device | str = "cpu") -> "Scene":
        """What the losses see at a coarser scale, `size` pixels on the long side.

        The edges of the regions become soft.
        """
        content = resize(self.content, size).to(device)
        shape, factor = (content.shape[-2], content.shape[-1]), size / self.size
        return Scene(
            content,
            tuple(
                replace(
                    style,
                    image=resize(style.image, round(max(style.image.shape[-2:]) * factor)).to(
                        device
                    ),
                    mask=None if style.mask is None else style.mask.to(device),
                )
                for style in self.styles
            ),
            tuple(resized_mask(mask, shape, _FEATHER * size).to(device) for mask in self.regions),
        )

    def finished(self, image: Tensor) -> Tensor:
        """The result, of any scale, that optimized pixels become.

        It takes the original chroma if that is preserved, and the content image outside the
        regions: there the losses hold the pixels only near it, since VGG19 sees across the edges.
        """
        shape, size = (image.shape[-2], image.shape[-1]), max(image.shape[-2:])
        if self.cover is not None:
            cover = resized_mask(self.cover, shape, _FEATHER * size)
            image = resize(self.content, size).lerp(image, cover)
        if self.colors is not None:
            image = with_luminance(resize(self.colors, size), luminance(image))
        return image


def tensor_or_file(image: ImageSource, name: str) -> TensorOrFile:
    """An image as a checked tensor; files stay files, since their sizes are planned with first."""
    return image if is_file(image) else as_image(image, name)


def scene_shapes(
    content: TensorOrFile,
    styles: Sequence[TensorOrFile],
    *,
    size: int,
    style_scale: float,
    smallest: int,
) -> list[tuple[int, int]]:
    """Height and width of content and style images in the scene, from the files' headers.

    Args:
        smallest: shortest side that the deepest layer needs, pixels.

    Raises:
        InputError: a file that cannot be read, or a size that is too small.
    """
    if not 0 < style_scale < math.inf:
        raise InputError(f"`style_scale` must be positive, not {style_scale}")
    shapes = []
    for number, source in enumerate((content, *styles)):
        if isinstance(source, Tensor):
            name = "the style image" if number else "the content image"
            shape = (source.shape[-2], source.shape[-1])
        else:
            name, shape = str(source), image_shape(source)
        height, width = scaled_shape(shape, max(round(size * style_scale), 1) if number else size)
        if min(height, width) < smallest:
            raise InputError(
                f"{name}: at {width}x{height} px it is too small for the deepest layer, which "
                f"needs {smallest} px a side; take a larger size or shallower layers"
            )
        shapes.append((height, width))
    return shapes


def load_scene(
    content: TensorOrFile,
    styles: Sequence[TensorOrFile],
    *,
    size: int,
    blend: Sequence[float] | None = None,
    style_scale: float = 1.0,
    style_size: int | None = None,
    preserve_colors: PreserveColors | None = None,
    content_mask: Path | str | None = None,
    style_masks: Sequence[Path | str] | None = None,
    init: TensorOrFile = "content",
) -> Scene:
    """Read content image, style images and masks; the arguments are those of `Optimization`.

    With a `style_size`, style images are prepared at this size before they are scaled. Tensors
    are of shape (1, 3, H, W), float32, RGB in [0, 1].

    Raises:
        InputError: an input that cannot be used.
    """
    original = image = _image(content, size)
    scaled = max(round(size * style_scale), 1)
    style_images = [_style_image(style, scaled, style_size) for style in styles]
    if preserve_colors == "luminance":
        luma = luminance(image)
        image = luma.expand(-1, 3, -1, -1)
        style_images = [
            match_luminance(luminance(s), luma).clamp(0, 1).expand(-1, 3, -1, -1)
            for s in style_images
        ]
    elif preserve_colors == "match":
        style_images = [match_colors(s, image) for s in style_images]
    elif preserve_colors is not None:
        raise InputError(f"`preserve_colors` must be luminance or match, not {preserve_colors}")
    weights = _blend_weights(blend, len(style_images))
    sources = [StyleSource(s, w) for s, w in zip(style_images, weights, strict=True)]
    regions: tuple[Tensor, ...] = ()
    if content_mask is not None or style_masks is not None:
        sources, regions = _guided(sources, image, content_mask, style_masks)
    cover = torch.stack(regions).sum(0) if regions else None
    return Scene(
        image,
        tuple(sources),
        regions,
        None if cover is None or cover.min() == 1 else cover,
        original if preserve_colors == "luminance" else None,
        _init(init, image, style_images, weights),
    )


def fitting_style_size(styles: Sequence[TensorOrFile], blend: Sequence[float] | None) -> int:
    """The size at which a network would learn the style images.

    See `nst_rt.images.style_image.fitting_size`; the arguments are those of `Optimization`.
    """
    images = []
    for style in styles:
        if isinstance(style, Tensor):
            images.append(style)
        else:  # as in `LearningRequest.of`
            size = min(max(image_shape(style)), STYLE_SIZES[1])
            images.append(load_image(style, size=size))
    return fitting_size(images, _blend_weights(blend, len(images)))


def _image(source: TensorOrFile, size: int) -> Tensor:
    if isinstance(source, Tensor):
        return resize(source, size)
    return load_picture(source, size=size).image


def _style_image(source: TensorOrFile, size: int, prepared_at: int | None) -> Tensor:
    if prepared_at is None:
        return _image(source, size)
    if isinstance(source, Tensor):
        return resize(prepared_style_image(source, prepared_at).image, size)
    return resize(load_style_image(source, prepared_at).image, size)


def _blend_weights(blend: Sequence[float] | None, count: int) -> Sequence[float]:
    if blend is None:
        return [1.0] * count
    if len(blend) != count:
        raise InputError(f"`blend` has {len(blend)} weights for {count} style images")
    if not all(0 < weight < math.inf for weight in blend):
        raise InputError(f"the weights of `blend` must be positive, not {list(blend)}")
    return blend


def _init(
    init: TensorOrFile, content: Tensor, styles: Sequence[Tensor], weights: Sequence[float]
) -> Tensor | None:
    if isinstance(init, Tensor):
        return _covering(init, content.shape[-2:])
    if init == "noise":
        return None
    if init == "content":
        return content
    if init == "recolored":
        recolored = [
            match_colors(content, style) * (weight / sum(weights))
            for style, weight in zip(styles, weights, strict=True)
        ]
        return torch.stack(recolored).sum(0).clamp(0, 1)
    return _covering(styles[0] if init == "style" else load_picture(init).image, content.shape[-2:])


def _covering(image: Tensor, shape: torch.Size) -> Tensor:
    """An image scaled to cover `shape` (H, W), and cropped to it around its center."""
    factor = max(side / old for side, old in zip(shape, image.shape[-2:], strict=True))
    height, width = (
        max(round(old * factor), side) for side, old in zip(shape, image.shape[-2:], strict=True)
    )
    cropped: Tensor = center_crop(resize_to(image, (height, width)), list(shape))
    return cropped


def _guided(
    sources: Sequence[StyleSource],
    content: Tensor,
    content_mask: Path | str | None,
    style_masks: Sequence[Path | str] | None,
) -> tuple[list[StyleSource], tuple[Tensor, ...]]:
    """The sources, one per region of each style image, and the content image's regions."""
    if content_mask is None or style_masks is None:
        raise InputError("`content_mask` and `style_masks` are given together")
    if len(style_masks) != len(sources):
        raise InputError(
            f"`style_masks` has {len(style_masks)} masks for {len(sources)} style images"
        )
    labels = load_labels(content_mask, like=(content.shape[-2], content.shape[-1]))
    used: list[str] = []
    guided = []
    for source, mask in zip(sources, style_masks, strict=True):
        areas: dict[str, Tensor | None]
        if Path(mask).is_file():
            areas = dict(load_labels(mask, like=(source.image.shape[-2], source.image.shape[-1])))
        else:
            areas = {parse_color(str(mask)): None}
        for color, area in areas.items():
            label = matching_label(color, labels)
            if label is None:
                raise InputError(
                    f"{mask}: its color {color} is not in {content_mask}, which has "
                    f"{', '.join(labels)}"
                )
            if label not in used:
                used.append(label)
            guided.append(replace(source, region=used.index(label), mask=area))
    return guided, tuple(labels[label] for label in used)
