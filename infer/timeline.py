"""Styles over time: which ones a video is painted in at each second, and the texts that say so."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from nst_rt.errors import InputError
from nst_rt.infer.blend import StyleSet, load_style_set
from nst_rt.models.style_model import SUFFIX, normalized_weights
from nst_rt.times import parse_time

Blend = Mapping[str, float]
DEFAULT_FADE = 1.0  # seconds


@dataclass(frozen=True)
class Timeline:
    """Styles, or blends of them, each from a time on, with cross-fades between them.

    A cross-fade is centered: at its time a style has half of the picture. Where styles follow each
    other faster than a cross-fade takes, it is shortened, so that each one comes into its own.

    Attributes:
        moments: seconds, ascending from 0, and what begins there: a style's name as `find_style`
            takes it, or names with weights for a blend.
        fade: seconds that a cross-fade takes; 0 for cuts.

    Raises:
        InputError: times that do not ascend from 0; weights that are negative or all zero; a fade
            that is negative.
    """

    moments: tuple[tuple[float, str | Blend], ...]
    fade: float = DEFAULT_FADE

    def __post_init__(self) -> None:
        if not 0 <= self.fade < float("inf"):
            raise InputError(f"a cross-fade takes 0 seconds or more, not {self.fade:g}")
        times = [seconds for seconds, _ in self.moments]
        if not times or times[0] != 0:
            begin = f", not at {times[0]:g}" if times else ""
            raise InputError(f"the first style must begin at 0 seconds{begin}; see {_EXAMPLE}")
        for before, after in pairwise(times):
            if not before < after < float("inf"):
                raise InputError(
                    f"the times of the styles must ascend, and {after:g} comes after {before:g}"
                )
        _ = self._blends  # checks the weights

    def load(self) -> "tuple[StyleSet, Timeline]":
        """A palette of all its styles, and the same timeline in the palette's names.

        Raises:
            InputError, UnknownNameError, StyleModelError: see `find_style`.
        """
        style_set, names = load_style_set([name for blend in self._blends for name in blend])
        moments = []
        for (seconds, _), blend in zip(self.moments, self._blends, strict=True):
            parts: dict[str, float] = {}
            for name, weight in blend.items():  # two of the names may be one style
                parts[names[name]] = parts.get(names[name], 0) + weight
            moments.append((seconds, parts))
        return style_set, Timeline(tuple(moments), self.fade)

    def at(self, seconds: float) -> dict[str, float]:
        """The blend at a time: names with positive weights, whose sum is 1."""
        mix = self._blends[0]
        for fade, blend in zip(self._fades, self._blends[1:], strict=True):
            share = _done(fade, seconds)
            if not share:
                break
            mix = {
                name: (1 - share) * mix.get(name, 0) + share * blend.get(name, 0)
                for name in mix | blend
            }
        return {name: weight for name, weight in mix.items() if weight > 0}

    def still_valid(self, before: float, now: float) -> float:
        """How much of a picture painted at one time may be kept at a later one, from 0 to 1.

        It falls through a cross-fade in such a way that nothing of the old style is left when the
        fade ends, and is 0 across a cut.
        """
        share = 1.0
        for fade in self._fades:
            if (left := 1 - _done(fade, before)) > 0:
                share *= (1 - _done(fade, now)) / left
        return share

    @cached_property
    def _blends(self) -> list[dict[str, float]]:
        return [
            normalized_weights({blend: 1.0} if isinstance(blend, str) else blend)
            for _, blend in self.moments
        ]

    @cached_property
    def _fades(self) -> list[tuple[float, float]]:
        """Where the cross-fade to each style but the first begins and ends."""
        times = [seconds for seconds, _ in self.moments]
        gaps = [after - before for before, after in pairwise(times)]
        fades = []
        for time, room in zip(times[1:], pairwise([*gaps, float("inf")]), strict=True):
            half = min(self.fade, *room) / 2
            fades.append((time - half, time + half))
        return fades


def _done(fade: tuple[float, float], seconds: float) -> float:
    """The part of a cross-fade that is over at a time, from 0 to 1."""
    begin, end = fade
    if begin < seconds < end:
        return (seconds - begin) / (end - begin)
    return 1.0 if seconds >= end else 0.0


def parse_style(text: str, *, fade: float = DEFAULT_FADE) -> Timeline:
    """A style, or styles over time, as in `starry_night@0,great_wave@12.5,the_scream@1:30`.

    A style is a name as `find_style` takes it, or a blend joined by plus signs, as in
    `starry_night=0.7+great_wave=0.3@20`.

    Raises:
        InputError: a text of another form, or a timeline that cannot be.
    """
    if not _has("@", text):
        return Timeline(((0, text),), fade)
    parts = _parts(text, "@", ",", parse_time, f"styles over time are {_EXAMPLE}")
    return Timeline(
        tuple(
            (seconds, _blend(style, "+") if _has("=", style) else style) for style, seconds in parts
        ),
        fade,
    )


def parse_blend(text: str) -> dict[str, float]:
    """Styles and their weights: `STYLE=WEIGHT,STYLE=WEIGHT`.

    Raises:
        InputError: a text of another form; weights that are negative or all zero.
    """
    return _blend(text, ",")


def _blend(text: str, separator: str) -> dict[str, float]:
    form = f"a blend is starry_night=0.7{separator}great_wave=0.3"
    parts = _parts(text, "=", separator, float, form)
    blend = dict(parts)
    if len(blend) < len(parts):
        raise InputError(f"{text!r}: a style is named twice")
    return normalized_weights(blend)


def _has(mark: str, text: str) -> bool:
    """Whether there is one outside of a file's path."""
    return mark in text and SUFFIX not in text.rpartition(mark)[2]


def _parts(
    text: str, mark: str, separator: str, reader: Callable[[str], float], form: str
) -> list[tuple[str, float]]:
    """Names and numbers; names, which may be paths, may hold the marks too."""
    part = rf"\s*(.+?)\s*{mark}([^{mark}{separator}/\\]*)(?:\{separator}|$)"
    if not re.fullmatch(f"(?:{part})+", text):
        raise InputError(f"{form}; {text!r} is not of this form")
    parts = []
    for name, number in re.findall(part, text):
        try:
            parts.append((name, reader(number)))
        except ValueError as error:
            raise InputError(f"{form}; {number!r} cannot be read") from error
    return parts


_EXAMPLE = "starry_night@0,great_wave@12.5"
