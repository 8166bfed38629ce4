"""What a training starts from that does not start from scratch: a trained network."""

from collections.abc import Mapping

from nst_rt.errors import InputError
from nst_rt.images import load_image
from nst_rt.metrics.fingerprint import fingerprint, fingerprint_distance
from nst_rt.palette import with_styles
from nst_rt.style_model import Style, StyleModel, find_style
from nst_rt.transformer import TransformerNet

GALLERY = "gallery"  # what to start from when any trained network will do
_GALLERY_STYLE = "starry_night"


def extended(
    start_from: str, new: tuple[Style, ...], paintings: Mapping[str, str], *, affine_only: bool
) -> tuple[TransformerNet, tuple[Style, ...]]:
    """The network that is started from, with the new styles first.

    They start as the style that was named; for `gallery` as the one whose painting is most like
    theirs. Styles that the network has already go on from what they are.

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
        else _closest(model, paintings[style.name])
        if comparable
        else known.index(source)
        for style in new
    ]
    if affine_only:
        return with_styles(model.network, [*starts, *range(len(known))]), (*new, *model.styles)
    return with_styles(model.network, starts), new


def _closest(model: StyleModel, painting: str) -> int:
    """Which of the styles was learned from a painting most like this one."""
    wanted = fingerprint(load_image(painting))
    distances = [fingerprint_distance(style.fingerprint, wanted) for style in model.styles]
    return distances.index(min(distances))
