"""The network that a training starts from: a new one, or a trained one with other styles."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nst_rt.errors import InputError
from nst_rt.images.io import load_image
from nst_rt.images.style_image import Crop
from nst_rt.learning.request import GALLERY, GALLERY_STYLE
from nst_rt.metrics.fingerprint import fingerprint, fingerprint_distance
from nst_rt.models.merge import with_styles
from nst_rt.models.style_model import BY_STYLE, Style, StyleModel, find_style
from nst_rt.models.transformer import Architecture, TransformerNet, is_affine


@dataclass(frozen=True)
class Start:
    """What a training starts from.

    Attributes:
        network: with affine pairs for all `styles`.
        styles: the new styles, then those that are kept unchanged.
        earlier: new style -> records of the trainings that its starting point went through.
        kept: unchanged style -> record of its training.
    """

    network: TransformerNet
    styles: tuple[Style, ...]
    earlier: Mapping[str, list[dict[str, Any]]]
    kept: Mapping[str, Mapping[str, Any]]

    def freeze_all_but_new(self) -> None:
        """Let a training change only the affine pairs of the styles that are not kept."""
        new = len(self.styles) - len(self.kept)

        def keep_old(gradient: Tensor) -> Tensor:
            return torch.cat([gradient[:new], torch.zeros_like(gradient[new:])])

        for name, parameter in self.network.named_parameters():
            if is_affine(name):
                # Without weight decay, Adam does not move weights whose gradient was always 0.
                parameter.register_hook(keep_old)  # type: ignore[no-untyped-call]
            else:
                parameter.requires_grad_(False)

    def style_model(self, training: Mapping[str, Any]) -> StyleModel:
        """The network as it is now, with `training` as the record of how it was trained."""
        network = with_styles(self.network, range(len(self.styles)))
        records = {
            name: {**training, "earlier": earlier} if earlier else training
            for name, earlier in self.earlier.items()
        }
        if len(self.styles) == 1:
            [training] = records.values()
        elif any(self.earlier.values()):  # each style has a history of its own
            training = {BY_STYLE: records | dict(self.kept)}
        return StyleModel(network.eval().requires_grad_(False), self.styles, training)


def from_scratch(
    styles: tuple[Style, ...],
    architecture: Architecture,
    hyper_parameters: Mapping[str, int],
    *,
    seed: int,
) -> Start:
    """A new network, whose initial weights depend on the seed alone.

    Raises:
        InputError: a hyper-parameter out of range.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = TransformerNet(architecture, len(styles), shared=True, **hyper_parameters)
    return Start(network, styles, {style.name: [] for style in styles}, {})


def from_trained(
    start_from: str,
    new: tuple[Style, ...],
    style_images: Mapping[str, str],
    crops: Mapping[str, Crop],
    *,
    affine_only: bool,
) -> Start:
    """A trained network, with the new styles first.

    A new style starts as the style that was named, or for `gallery` as the one with the most
    similar style image. Styles that the network already has continue from their own weights.

    Args:
        start_from: a style, a model file, or `gallery`.
        new: the styles to train.
        style_images: style name -> image file.
        crops: style name -> region of the style image to learn from.
        affine_only: whether the styles of the network are kept.

    Raises:
        InputError: a new style has the name of one that is kept, or an image cannot be read.
    """
    closest = start_from == GALLERY
    model, source = find_style(GALLERY_STYLE if closest else start_from)
    known = model.style_names
    if affine_only and (taken := [style.name for style in new if style.name in known]):
        raise InputError(
            f"{start_from} already has a style {taken[0]!r}; choose another name, or leave "
            "`affine_only` out to train it further"
        )
    closest = closest and all(style.fingerprint for style in model.styles)
    starts = [
        known.index(style.name)
        if style.name in known
        else _closest(model, style_images[style.name], crops.get(style.name))
        if closest
        else known.index(source)
        for style in new
    ]
    kept = range(len(known)) if affine_only else ()
    return Start(
        with_styles(model.network, [*starts, *kept]),
        (*new, *(model.styles[index] for index in kept)),
        {s.name: model.history(known[index]) for s, index in zip(new, starts, strict=True)},
        {known[index]: model.record(known[index]) for index in kept},
    )


def _closest(model: StyleModel, file: str, crop: Crop | None) -> int:
    image = load_image(file)
    return closest_style(model, fingerprint(crop.of(image) if crop else image))


def closest_style(model: StyleModel, wanted: Sequence[float]) -> int:
    """Index of the style of a model whose style image has the most similar fingerprint."""
    distances = [fingerprint_distance(style.fingerprint, wanted) for style in model.styles]
    return distances.index(min(distances))
