"""What the optimizer paints: the photo, the paintings, and which of them goes where.

Files, sizes, masks and colors are dealt with here; what comes out is tensors.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor

from nst_rt.errors import InputError
from nst_rt.images.color import luminance, match_colors, match_luminance, with_luminance
from nst_rt.images.io import image_shape, load_picture, resize, resize_to, scaled_shape
from nst_rt.optimization.masks import load_labels, matching_label, parse_color, resized_mask

Source = Tensor | Path | str
PreserveColors = Literal["luminance", "match"]
PRESERVE_COLORS: tuple[PreserveColors, ...] = get_args(PreserveColors)

# Standard deviation of the softened edges of regions, as a part of the long side.
_FEATHER = 0.005


@dataclass(frozen=True)
class StyleSource:
    """A painting, how much of it, and where.

    Attributes:
        image: shape (1, 3, H, W), RGB in [0, 1].
        weight: its part in its region, relative to other paintings there.
        region: index of the content image's region that takes it.
        mask: shape (1, 1, H', W'), in [0, 1], of the part of the painting that counts; None: all.
    """

    image: Tensor
    weight: float = 1.0
    region: int = 0
    mask: Tensor | None = None


@dataclass(frozen=True)
class Scene:
    """A photo and paintings.

    Attributes:
        content: shape (1, 3, H, W), RGB in [0, 1], as the losses are to see it.
        styles: the paintings, likewise.
        regions: masks of the parts of the content image that are painted, shape (1, 1, H', W'), in
            [0, 1]; none if all of it is one.
        cover: the part of the photo that is painted, shape (1, 1, H', W'), in [0, 1]; None: all.
        photo: whose chroma the result takes, shape (1, 3, H, W); None if it has its own.
        init: what to start from, shape (1, 3, H, W); None for noise.
    """

    content: Tensor
    styles: tuple[StyleSource, ...]
    regions: tuple[Tensor, ...] = ()
    cover: Tensor | None = None
    photo: Tensor | None = None
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

    def at(self, size: int) -> "Scene":
        """The scene at a coarser scale, `size` pixels on the long side; region edges are soft."""
        factor = size / self.size
        content = resize(self.content, size)
        shape = (content.shape[-2], content.shape[-1])
        return Scene(
            content,
            tuple(
                replace(s, image=resize(s.image, round(max(s.image.shape[-2:]) * factor)))
                for s in self.styles
            ),
            tuple(resized_mask(mask, shape, _FEATHER * size) for mask in self.regions),
            self.cover,
            self.photo if self.photo is None else resize(self.photo, size),
            self.init if self.init is None else resize(self.init, size),
        )

    def to(self, device: torch.device) -> "Scene":
        """The scene on another device."""

        def moved(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.to(device)

        return Scene(
            self.content.to(device),
            tuple(replace(s, image=s.image.to(device), mask=moved(s.mask)) for s in self.styles),
            tuple(mask.to(device) for mask in self.regions),
            moved(self.cover),
            moved(self.photo),
            moved(self.init),
        )

    def finished(self, image: Tensor) -> Tensor:
        """The picture that optimized pixels make.

        It has the photo's chroma, if that is kept, and is the photo where nothing is painted: the
        losses hold the pixels there near it only, since what VGG19 sees reaches across the edges.
        """
        size = max(image.shape[-2:])
        if self.cover is not None:
            shape = (image.shape[-2], image.shape[-1])
            cover = resized_mask(self.cover, shape, _FEATHER * size)
            image = resize(self.content, size).lerp(image, cover)
        if self.photo is not None:
            image = with_luminance(resize(self.photo, size), luminance(image))
        return image


def scene_shapes(
    content: Source, styles: Sequence[Source], *, size: int, style_scale: float, smallest: int
) -> list[tuple[int, int]]:
    """Height and width of photo and paintings in the scene, before anything of it is loaded.

    Args:
        smallest: pixels that each side needs at least.

    Raises:
        InputError: a file that cannot be read, or a size that is too small.
    """
    if not 0 < style_scale < math.inf:
        raise InputError(f"the style scale must be positive, not {style_scale}")
    if not styles:
        raise InputError("there must be at least one style image")
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
    content: Source,
    styles: Sequence[Source],
    *,
    size: int,
    mix: Sequence[float] | None = None,
    style_scale: float = 1.0,
    preserve_colors: PreserveColors | None = None,
    content_mask: Path | str | None = None,
    style_masks: Sequence[Path | str] | None = None,
    init: str | Tensor = "content",
) -> Scene:
    """Read content image, style images and masks; the arguments are those of `optimize`.

    Tensors are of shape (1, 3, H, W), float32, RGB in [0, 1].

    Raises:
        InputError: what of it cannot be used.
    """
    original = photo = _image(content, size)
    paintings = [_image(style, max(round(size * style_scale), 1)) for style in styles]
    gray = preserve_colors == "luminance"
    if gray:
        luma = luminance(photo)
        photo = luma.expand(-1, 3, -1, -1)
        paintings = [
            match_luminance(luminance(p), luma).clamp(0, 1).expand(-1, 3, -1, -1) for p in paintings
        ]
    elif preserve_colors == "match":
        paintings = [match_colors(p, photo) for p in paintings]
    elif preserve_colors is not None:
        raise InputError(
            f"colors are kept by {' or '.join(PRESERVE_COLORS)}, not by {preserve_colors}"
        )
    weights = _mix(mix, len(paintings))
    sources = [StyleSource(p, w) for p, w in zip(paintings, weights, strict=True)]
    regions: tuple[Tensor, ...] = ()
    if content_mask is not None or style_masks is not None:
        sources, regions = _guided(sources, photo, content_mask, style_masks)
    cover = torch.stack(regions).sum(0) if regions else None
    return Scene(
        photo,
        tuple(sources),
        regions,
        None if cover is None or cover.min() == 1 else cover,
        original if gray else None,
        _init(init, photo, paintings[0]),
    )


def _image(source: Source, size: int) -> Tensor:
    if isinstance(source, Tensor):
        return resize(source, size)
    return load_picture(source, size=size).image


def _mix(mix: Sequence[float] | None, count: int) -> Sequence[float]:
    if mix is None:
        return [1.0] * count
    if len(mix) != count:
        raise InputError(f"the mix has {len(mix)} weights for {count} style images")
    if not all(0 < weight < math.inf for weight in mix):
        raise InputError(f"the weights of the mix must be positive, not {list(mix)}")
    return mix


def _init(init: str | Tensor, photo: Tensor, painting: Tensor) -> Tensor | None:
    shape = photo.shape[-2:]
    if isinstance(init, Tensor):
        return _covering(init, shape)
    if init == "noise":
        return None
    if init == "content":
        return photo
    if init == "style":
        return _covering(painting, shape)
    return _covering(load_picture(init).image, shape)


def _covering(image: Tensor, shape: tuple[int, int] | torch.Size) -> Tensor:
    """An image scaled to cover `shape` (H, W), and cut to it around its center."""
    factor = max(side / old for side, old in zip(shape, image.shape[-2:], strict=True))
    height, width = (
        max(round(old * factor), side) for side, old in zip(shape, image.shape[-2:], strict=True)
    )
    scaled = resize_to(image, (height, width))
    top, left = (height - shape[0]) // 2, (width - shape[1]) // 2
    return scaled[..., top : top + shape[0], left : left + shape[1]]


def _guided(
    sources: Sequence[StyleSource],
    photo: Tensor,
    content_mask: Path | str | None,
    style_masks: Sequence[Path | str] | None,
) -> tuple[list[StyleSource], tuple[Tensor, ...]]:
    """One source for each painting's region that the photo has too, and the photo's regions."""
    if content_mask is None or style_masks is None:
        given, missing = ("style", "content") if content_mask is None else ("content", "style")
        raise InputError(f"a {given} mask needs a {missing} mask too")
    if len(style_masks) != len(sources):
        raise InputError(f"there are {len(style_masks)} style masks for {len(sources)} styles")
    labels = load_labels(content_mask, like=(photo.shape[-2], photo.shape[-1]))
    painted: list[str] = []
    guided = []
    for source, mask in zip(sources, style_masks, strict=True):
        parts: dict[str, Tensor | None]
        if Path(mask).is_file():
            shape = (source.image.shape[-2], source.image.shape[-1])
            parts = dict(load_labels(mask, like=shape))
        else:
            parts = {_color(mask): None}
        for color, part in parts.items():
            label = matching_label(color, labels)
            if label is None:
                raise InputError(
                    f"{mask}: its color {color} is not in {content_mask}, which has "
                    f"{', '.join(labels)}"
                )
            if label not in painted:
                painted.append(label)
            guided.append(replace(source, region=painted.index(label), mask=part))
    return guided, tuple(labels[label] for label in painted)


def _color(mask: Path | str) -> str:
    try:
        return parse_color(str(mask))
    except InputError as error:
        raise InputError(f"{mask}: neither a file nor a color such as white or #ff0000") from error
