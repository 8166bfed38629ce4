"""What is to be learned: style images, prepared and checked, and the settings of the learning."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nst_rt.errors import InputError
from nst_rt.images.convert import resize
from nst_rt.images.inputs import ImageSource, as_image, is_file
from nst_rt.images.io import image_shape, load_image
from nst_rt.images.style_image import Vividness, check_style_sides, fitting_size
from nst_rt.models.style_model import Style, find_style, normalized_weights

StyleImages = ImageSource | Sequence[ImageSource] | Mapping[str, float]
"""A style image; a list of several of equal weight; image files with weights; or these as a text,
`a.jpg=0.7,b.jpg=0.3`."""

Image = npt.NDArray[np.uint8]

GALLERY = "gallery"  # stands for the style of the gallery whose style image is most similar
GALLERY_STYLE = "starry_night"  # one of those among which it is
STYLE_WEIGHT = 8.0  # as in train/configs/new_style.yaml
STYLE_SIZES = (128, 1024)  # range of `style_size`, pixels
_RATIO = 1.5  # of the size of coarse strokes to fitting ones, and of those to fine ones
_VERSION = 1  # of the recipe, see `nst_rt.train.learning`
_PLAIN = 2 / 255  # standard deviation of an image of one color


@dataclass(frozen=True, eq=False)
class LearningRequest:
    """A style to learn.

    Attributes:
        name: of the style.
        images: style images, each of shape (H, W, 3), uint8 RGB, at most 1024 px long.
        weights: of the images, with a sum of 1.
        style_size: long side of the style images for the loss, pixels; it sets the size of the
            strokes.
        start_from: what the learning starts from: `gallery` for the style of the gallery whose
            style image is most similar, a style, or a model file.
        style_weight: weight of the style loss; the content loss has 1.

    Raises:
        InputError: a name, a size or a weight that cannot be used.
    """

    name: str
    images: tuple[Image, ...]
    weights: tuple[float, ...]
    style_size: int
    start_from: str = GALLERY
    style_weight: float = STYLE_WEIGHT

    def __post_init__(self) -> None:
        Style(self.name)  # raises for a name that a style cannot have
        check_style_size(self.style_size)
        if not 0 < self.style_weight <= 1000:
            raise InputError(
                f"`style_weight` must be above 0 and at most 1000, not {self.style_weight:g}"
            )

    def __reduce__(self) -> tuple[Any, ...]:
        # Without the cached values, which another thread may add while this one sends it.
        return type(self), tuple(getattr(self, field.name) for field in fields(self))

    @classmethod
    def of(
        cls,
        style_image: StyleImages,
        *,
        start_from: str = GALLERY,
        style_size: int | None = None,
        style_weight: float = STYLE_WEIGHT,
    ) -> "LearningRequest":
        """Load and check style images.

        Args:
            style_image: see `StyleImages`.
            start_from, style_weight: see `LearningRequest`.
            style_size: likewise; None for the one at which their strokes are learned best, from
                384 to 768, see `nst_rt.images.style_image.fitting_size`.

        Raises:
            InputError: an image that cannot be read, is smaller than 64 px or has one color;
                weights that are negative or all 0; a name, a size or a weight out of range.
            UnknownNameError, StyleModelError: a `start_from` that is not a style.
        """
        weighted = _weighted(style_image)
        images = tuple(_loaded(image) for image, _ in weighted)
        if start_from != GALLERY:
            find_style(start_from)
        weights = _normalized(weighted)
        name = _name([image for image, _ in weighted], weights)
        if style_size is None:
            style_size = fitting_size([_tensor(image) for image in images], weights)
        return cls(name, images, weights, style_size, str(start_from), style_weight)

    @cached_property
    def key(self) -> str:
        """Digest of all that is learned from, other than the content: pixels, recipe and start."""
        known = hashlib.sha256()
        digests = [
            hashlib.sha256(f"{image.shape}".encode() + image.tobytes()).hexdigest()
            for image in self.images
        ]
        # Of the gallery, the style image decides which style it is.
        model, start = find_style(GALLERY_STYLE if self.start_from == GALLERY else self.start_from)
        for weights in model.network.state_dict().values():
            known.update(weights.numpy().tobytes())
        rest = {
            "version": _VERSION,
            "images": sorted(zip(digests, self.weights, strict=True)),
            "start": GALLERY if self.start_from == GALLERY else start,
            "style_size": self.style_size,
            "style_weight": self.style_weight,
        }
        known.update(json.dumps(rest, sort_keys=True).encode())
        return known.hexdigest()[:32]

    def tensors(self) -> list[Tensor]:
        """The style images, each of shape (1, 3, H, W), RGB in [0, 1]."""
        return [_tensor(image) for image in self.images]

    def style_sizes(self) -> tuple[int, int, int]:
        """Style sizes for fine, for fitting and for coarse strokes, see `fitting_size`."""
        fitting = fitting_size(self.tensors(), self.weights)
        return round(fitting / _RATIO), fitting, min(round(fitting * _RATIO), STYLE_SIZES[1])


def check_style_size(size: int) -> None:
    """Raise an InputError unless style images can be learned at a long side of `size` pixels."""
    least, most = STYLE_SIZES
    if not least <= size <= most:
        raise InputError(f"`style_size` must be from {least} to {most} pixels, not {size}")


def style_name(style_image: StyleImages) -> str:
    """The name that a style gets that is learned from style images, from the names of their files.

    Raises:
        InputError: a text of another form, or weights that are negative or all 0.
    """
    weighted = _weighted(style_image)
    return _name([image for image, _ in weighted], _normalized(weighted))


def _normalized(weighted: Sequence[tuple[ImageSource, float]]) -> tuple[float, ...]:
    weights = {f"{n}: {_shown(image)}": weight for n, (image, weight) in enumerate(weighted, 1)}
    return tuple(normalized_weights(weights).values())


def _weighted(style_image: StyleImages) -> list[tuple[ImageSource, float]]:
    """Style images in any form, each with its weight.

    Raises:
        InputError: a text of another form, or no image.
    """
    if isinstance(style_image, Mapping):
        weighted: list[tuple[ImageSource, float]] = list(style_image.items())
    elif isinstance(style_image, str) and is_list(style_image):
        weighted = [_parsed(part.strip()) for part in style_image.split(",")]
    elif isinstance(style_image, Sequence) and not isinstance(style_image, str):
        weighted = [(image, 1.0) for image in style_image]
    else:
        weighted = [(style_image, 1.0)]
    if not weighted:
        raise InputError("no style image: `style_image` is empty")
    return weighted


def is_list(text: str) -> bool:
    """Whether a text names several style images, or one with a weight."""
    return ("=" in text or "," in text) and not Path(text).is_file()


def _parsed(part: str) -> tuple[str, float]:
    if "=" not in part:
        return part, 1.0
    file, _, weight = part.rpartition("=")
    try:
        return file, float(weight)
    except ValueError as error:
        raise InputError(
            f"{part}: no such file; several style images are written a.jpg=0.7,b.jpg=0.3"
        ) from error


def _tensor(image: Image) -> Tensor:
    return as_image(image, "style_image")


def _shown(image: ImageSource) -> str:
    return str(image) if is_file(image) else "`style_image`"


def _loaded(image: ImageSource) -> Image:
    """A style image of at most 1024 px, as levels.

    Raises:
        InputError: it cannot be read, is too small, or has one color.
    """
    shown = _shown(image)
    if is_file(image):
        height, width = image_shape(image)
        check_style_sides(shown, height, width)
        tensor = load_image(image, size=min(max(height, width), STYLE_SIZES[1]))
    else:
        tensor = as_image(image, "style_image")
        check_style_sides(shown, tensor.shape[-2], tensor.shape[-1])
        tensor = resize(tensor, min(max(tensor.shape[-2:]), STYLE_SIZES[1]))
    if Vividness.of(tensor).deviation < _PLAIN:
        raise InputError(f"{shown}: has the same brightness everywhere, so there is no style in it")
    levels = tensor[0].permute(1, 2, 0).mul(255).round().to(torch.uint8)
    return np.ascontiguousarray(levels.numpy())


def _name(images: Sequence[ImageSource], weights: Sequence[float]) -> str:
    """Name of the style: stems of the files, with percentages if the weights differ."""
    stems = [Path(image).stem if is_file(image) else "image" for image in images]
    if len(stems) == 1:
        return stems[0]
    is_even = len(set(weights)) == 1
    return "_".join(
        stem if is_even else f"{stem}_{100 * weight:.0f}"
        for stem, weight in zip(stems, weights, strict=True)
    )
