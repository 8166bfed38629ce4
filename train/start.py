"""What a training starts from that does not start from scratch: a trained network."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nst_rt.errors import InputError
from nst_rt.images.io import load_image
from nst_rt.images.style_image import Crop
from nst_rt.metrics.fingerprint import fingerprint, fingerprint_distance
from nst_rt.models.merge import with_styles
from nst_rt.models.style_model import Style, StyleModel, find_style
from nst_rt.models.transformer import TransformerNet

GALLERY = "gallery"  # what to start from when any trained network will do
_GALLERY_STYLE = "starry_night"


@dataclass(frozen=True)
class Start:
    """What a training starts from.

    Attributes:
        network: of all styles.
        styles: the new ones first, then those that stay as they are.
        earlier: by new style, the trainings that led to what it starts as.
        kept: by style that stays, the record of its training.
    """

    network: TransformerNet
    styles: tuple[Style, ...]
    earlier: Mapping[str, list[dict[str, Any]]]
    kept: Mapping[str, Mapping[str, Any]]


def extended(
    start_from: str,
    new: tuple[Style, ...],
    paintings: Mapping[str, str],
    crops: Mapping[str, Crop],
    *,
    affine_only: bool,
) -> Start:
    """The network that is started from, with the new styles first.

    They start as the style that was named; for `gallery` as the one whose painting is most like
    theirs. Styles that the network has already go on from what they are.

    Args:
        start_from: a style, a model file, or `gallery`.
        new: the styles that are trained.
        paintings: file of each one's painting, by the style's name.
        crops: by the style's name, the part of the painting that is learned from.
        affine_only: the styles that the network has stay.

    Raises:
        InputError: a style of that name is in it already, and stays; no such painting.
    """
    anything = start_from == GALLERY
    model, source = find_style(_GALLERY_STYLE if anything else start_from)
    known = model.style_names
    if affine_only:
        for style in new:
            if style.name in known:
                raise InputError(
                    f"{start_from} has a style {style.name!r} already; give the new one another "
                    "name, or leave --affine-only out to go on with it"
                )
    comparable = anything and all(style.fingerprint for style in model.styles)
    starts = [
        known.index(style.name)
        if style.name in known
        else _closest(model, paintings[style.name], crops.get(style.name))
        if comparable
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


def _closest(model: StyleModel, painting: str, crop: Crop | None) -> int:
    """Which of the styles was learned from a painting most like this one."""
    image = load_image(painting)
    wanted = fingerprint(crop.of(image) if crop else image)
    distances = [fingerprint_distance(style.fingerprint, wanted) for style in model.styles]
    return distances.index(min(distances))
