"""Styles in every form in which they are given: names, files, blends, styles over time, and the
texts that these are written as.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from nst_rt.errors import InputError
from nst_rt.infer.blend import StyleSet, weights_of
from nst_rt.models.style_model import (
    SUFFIX,
    OneStyle,
    StyleModel,
    find_styles,
    gallery_files,
    normalized_weights,
)
from nst_rt.times import parse_time

AnyStyle = OneStyle | Sequence[OneStyle] | Mapping[str, float]
"""A style; or a blend as a text (`starry_night=0.7,great_wave=0.3`), as styles with weights, or as
a list of styles of equal weight."""

DEFAULT_STYLE = "starry_night"
DEFAULT_FADE = 1.0  # seconds


@dataclass(frozen=True)
class Timeline:
    """Styles or blends, each from a time on, with cross-fades between them.

    A cross-fade is centered: at its time the new style has half of the weight. Where styles follow
    each other faster than a cross-fade takes, it is shortened, so that each is seen in full.

    Attributes:
        moments: seconds, ascending from 0, and the style that begins there: its name as
            `find_style` takes it, or names with weights for a blend.
        fade: duration of a cross-fade, seconds; 0 for cuts.

    Raises:
        InputError: times that do not ascend from 0; weights that are negative or all zero; a fade
            that is negative.
    """

    moments: tuple[tuple[float, str | Mapping[str, float]], ...]
    fade: float = DEFAULT_FADE

    def __post_init__(self) -> None:
        if not 0 <= self.fade < float("inf"):
            raise InputError(f"`fade` must be 0 seconds or more, not {self.fade:g}")
        times = [seconds for seconds, _ in self.moments]
        if not times or times[0] != 0:
            begin = f", not at {times[0]:g}" if times else ""
            raise InputError(f"the first style must begin at 0 seconds{begin}: {_TIMELINE_FORM}")
        for before, after in pairwise(times):
            if not before < after < float("inf"):
                raise InputError(
                    f"the times of the styles must ascend, and {after:g} comes after {before:g}"
                )
        _ = self.blends  # checks the weights

    @cached_property
    def blends(self) -> list[dict[str, float]]:
        """The blend of each moment: names with weights that sum to 1."""
        return [weights_of(style) for _, style in self.moments]

    def at(self, seconds: float) -> dict[str, float]:
        """The blend at a time: names with positive weights that sum to 1."""
        mix = self.blends[0]
        for fade, blend in zip(self._fades, self.blends[1:], strict=True):
            done = _progress(fade, seconds)
            if not done:
                break
            mix = {
                name: (1 - done) * mix.get(name, 0) + done * blend.get(name, 0)
                for name in mix | blend
            }
        return {name: weight for name, weight in mix.items() if weight > 0}

    def still_valid(self, before: float, now: float) -> float:
        """Fraction of a frame stylized at one time that may be kept at a later one, from 0 to 1.

        It falls through a cross-fade so that nothing of the old style is left when the fade ends,
        and is 0 across a cut.
        """
        fraction = 1.0
        for fade in self._fades:
            if (left := 1 - _progress(fade, before)) > 0:
                fraction *= (1 - _progress(fade, now)) / left
        return fraction

    @cached_property
    def _fades(self) -> list[tuple[float, float]]:
        """Beginning and end of the cross-fade to each style but the first."""
        times = [seconds for seconds, _ in self.moments]
        gaps = [after - before for before, after in pairwise(times)]
        fades = []
        for time, room in zip(times[1:], pairwise([*gaps, float("inf")]), strict=True):
            half = min(self.fade, *room) / 2
            fades.append((time - half, time + half))
        return fades


def _progress(fade: tuple[float, float], seconds: float) -> float:
    """Fraction of a cross-fade that is over at a time."""
    begin, end = fade
    if begin < seconds < end:
        return (seconds - begin) / (end - begin)
    return 1.0 if seconds >= end else 0.0


def timeline_of(
    style: AnyStyle | Timeline, *, fade: float = DEFAULT_FADE, over_time: bool = True
) -> Timeline:
    """A style in any form as a timeline; of one moment for what does not change over time.

    Args:
        style: a style, a blend, or styles over time as a timeline or as a text for `parse_style`.
        fade: duration of the cross-fades of such a text, seconds.
        over_time: whether the style may change over time.

    Raises:
        InputError: something of another form, weights or times out of range.
    """
    if isinstance(style, str):
        style = parse_style(style, fade=fade)
    elif not isinstance(style, Timeline):
        blend: Any = style
        if isinstance(style, OneStyle):
            blend = {style: 1.0}
        elif isinstance(style, Sequence) and style:
            blend = dict.fromkeys(style, 1.0)
        elif not isinstance(style, Mapping):
            raise InputError(
                "a style is a name, a file, a StyleModel, a list of these or names with weights, "
                f"not {style!r}"
            )
        style = Timeline(((0, blend),), fade)
    if not over_time and len(style.moments) > 1:
        raise InputError(f"styles over time are for videos only; {_BLEND_FORM}")
    return style


def load_timeline(
    style: AnyStyle | Timeline, *, fade: float = DEFAULT_FADE
) -> tuple[StyleSet, Timeline]:
    """Load a style in any form, with all other styles of the models that hold it.

    Args:
        style, fade: see `timeline_of`.

    Returns:
        The set of styles, and `timeline_of` the style in the names of the set.

    Raises:
        InputError: see `timeline_of`; a missing file.
        UnknownNameError: no such style.
        StyleModelError: a file that is not a style model.
    """
    timeline = timeline_of(style, fade=fade)
    found = find_styles(dict.fromkeys(each for blend in timeline.blends for each in blend))
    style_set = StyleSet()
    given = {model: style_set.add(model) for model in dict.fromkeys(m for m, _ in found.values())}
    moments = []
    for (seconds, _), blend in zip(timeline.moments, timeline.blends, strict=True):
        weights: dict[str, float] = {}
        for each, weight in blend.items():
            model, own_name = found[each]
            name = given[model][own_name]
            weights[name] = weights.get(name, 0) + weight  # two of them may be one style
        moments.append((seconds, weights))
    return style_set, Timeline(tuple(moments), timeline.fade)


def load_blend(style: AnyStyle, *, with_gallery: bool = False) -> tuple[StyleSet, dict[str, float]]:
    """Load a style or a blend, with all other styles of the models that hold it.

    Args:
        style: a style in any form that does not change over time.
        with_gallery: add the gallery's styles, to switch to.

    Returns:
        The set of styles, and the blend in the names of the set, with weights that sum to 1.

    Raises:
        InputError, UnknownNameError, StyleModelError: see `load_timeline`.
    """
    style_set, timeline = load_timeline(timeline_of(style, over_time=False))
    if with_gallery:
        for file in dict.fromkeys(gallery_files().values()):
            style_set.add(StyleModel.load(file), skip_known=True)
    return style_set, timeline.blends[0]


def style_label(
    style: AnyStyle | Timeline, *, strength: float = 1.0, over_time: bool = True
) -> str:
    """A short name of a style for file names, such as `starry_night_70_great_wave_30_strength_50`.

    Numbers are percentages; equal weights and full strength are left out.

    Args:
        style, over_time: see `timeline_of`.
        strength: from 0 to 1.

    Raises:
        InputError: see `timeline_of`.
    """
    labels = []
    for blend in timeline_of(style, over_time=over_time).blends:
        is_even = len(set(blend.values())) == 1
        for each, weight in blend.items():
            labels.append(_own_name(each) + ("" if is_even else f"_{100 * weight:.0f}"))
    if strength != 1:
        labels.append(f"strength_{100 * strength:.0f}")
    return "_".join(dict.fromkeys(labels))


def _own_name(style: OneStyle) -> str:
    """Name of a style without its file, or of the file without its folder."""
    if isinstance(style, StyleModel):
        return style.style_names[0]
    _, is_named, name = str(style).rpartition(f"{SUFFIX}:")
    return name if is_named else Path(style).name.removesuffix(SUFFIX)


def parse_style(text: str, *, fade: float = DEFAULT_FADE) -> Timeline:
    """Read a style, a blend, or styles over time.

    A style is a name as `find_style` takes it, a blend is `starry_night=0.7,great_wave=0.3`, and
    styles over time are `starry_night@0,great_wave@12.5,the_scream@1:30`, in which a blend is
    joined by plus signs: `starry_night=0.7+great_wave=0.3@20`.

    Raises:
        InputError: a text of another form, weights or times out of range.
    """
    if not _has("@", text):
        return Timeline(((0, _parse_blend(text)),), fade)
    moments = _parts(text, "@", ",", parse_time, _TIMELINE_FORM)
    return Timeline(tuple((seconds, _parse_blend(style)) for style, seconds in moments), fade)


def _parse_blend(text: str) -> str | dict[str, float]:
    if not _has("=", text):
        names = [name.strip() for name in text.split(",")]
        if len(names) > 1 and any(name in gallery_files() for name in names):
            weight = f"{1 / len(names):.2g}"
            meant = ",".join(f"{name}={weight}" for name in names)
            raise InputError(f"{text!r}: a blend needs weights: {meant}")
        return text
    parts = _parts(text, "=", "+,", float, _BLEND_FORM)
    blend = dict(parts)
    if len(blend) < len(parts):
        raise InputError(f"{text!r}: a style is named twice")
    return normalized_weights(blend)


def _has(mark: str, text: str) -> bool:
    """Whether a mark occurs outside of a file's path."""
    return mark in text and SUFFIX not in text.rpartition(mark)[2]


def _parts(
    text: str, mark: str, separators: str, reader: Callable[[str], float], form: str
) -> list[tuple[str, float]]:
    """Names and numbers; the names, which may be paths, may contain the marks as well."""
    part = rf"\s*(.+?)\s*{mark}([^{mark}{separators}/\\]*)(?:[{separators}]|$)"
    if not re.fullmatch(f"(?:{part})+", text):
        raise InputError(f"{text!r}: {form}")
    parts = []
    for name, number in re.findall(part, text):
        try:
            parts.append((name, reader(number)))
        except ValueError as error:
            raise InputError(f"{text!r}: {number!r} is not a number; {form}") from error
    return parts


_TIMELINE_FORM = "styles over time are written starry_night@0,great_wave@12.5"
_BLEND_FORM = "a blend is written starry_night=0.7,great_wave=0.3"
