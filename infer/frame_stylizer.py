"""The frame stylizer: one pipeline for the frames of a video, a camera or a browser. Styles over
time, the stylizer, the stabilizer and post-processing come together here.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from inspect import signature
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from nst_rt.errors import InputError
from nst_rt.images.io import Frame
from nst_rt.infer.backends import BackendName, Precision
from nst_rt.infer.blend import Pass, StyleSet
from nst_rt.infer.postprocess import PLAIN, PostProcessing
from nst_rt.infer.stability.stabilizer import Layer, Stabilizer
from nst_rt.infer.strokes import DEFAULT_STROKES, StrokeSize
from nst_rt.infer.stylizer import Stylizer
from nst_rt.infer.timeline import (
    DEFAULT_FADE,
    DEFAULT_STYLE,
    AnyStyle,
    Timeline,
    load_timeline,
    style_label,
)

State = dict[str, npt.NDArray[Any]]
Ages = dict[Hashable, int]  # network of a blend -> number of frames since it last ran

_SECONDS, _AGES = "seconds", "ages"
_FADING = 3  # no more than e^-3 of the old style is left at the end of a fade of many frames


@dataclass(frozen=True)
class _Started:
    """A frame that is being stylized; `small` and `layers` have the working size."""

    frame: Frame
    small: Frame
    layers: list[Layer]
    seconds: float
    strength: float
    ages: Ages


class FrameStylizer:
    """Stylizes the frames of one video, in order.

    Args:
        stylizer: the stylizer; it may be set to another style between two frames.
        timeline: styles over time, by their names in the stylizer's set; None for the style that
            the stylizer is set to.
        post_processing: colors and split screen; it may be replaced between two frames.
        stabilizer: keeps strokes in place, at the working size; None for no stabilizer. It may be
            replaced between two videos.
    """

    def __init__(
        self,
        stylizer: Stylizer,
        *,
        timeline: Timeline | None = None,
        post_processing: PostProcessing = PLAIN,
        stabilizer: Stabilizer | None = None,
    ) -> None:
        self.stylizer = stylizer
        self.timeline = timeline
        self.post_processing = post_processing
        self.stabilizer = stabilizer
        # Of the last finished frame:
        self._seconds: float | None = None
        self._stylized: Frame | None = None  # at the working size
        self._blend = stylizer.blend
        self._was_changing = False  # whether its blend differed from that of the frame before
        self._finished_ages: Ages = {}
        # Of the last started frame:
        self._started_seconds: float | None = None
        self._ages: Ages = {}

    def stylize(self, frame: Frame, seconds: float) -> Frame:
        """Stylize the next frame.

        Args:
            frame: shape (H, W, 3), uint8 BGR.
            seconds: time of the frame in the output, from the output's beginning.

        Returns:
            Same shape; the frame itself at a strength of 0.

        Raises:
            InputError: see `Stylizer`.
        """
        self._set_style(seconds)
        if self._is_plain:
            return self._plain(frame, seconds)
        return self._finish(self._start(frame, seconds, several=False))

    def start(self, frame: Frame, seconds: float, *, repeated: bool = False) -> Callable[[], Frame]:
        """Start what `stylize` does; the function returned waits for the result.

        For throughput, see `Stylizer.start_shrunk`. Results must be waited for in the order in
        which the frames were started; `state` is the state after the last of them.

        Args:
            frame, seconds: see `stylize`.
            repeated: whether this is the last started frame again; it is stylized again only if
                the style has changed.
        """
        if self._is_plain:
            return lambda: self._plain(frame, seconds)
        before = self._started_seconds
        if repeated and before is not None and not self._changes(before, seconds):
            return lambda: self._repeat(frame)
        self._started_seconds = seconds
        self._set_style(seconds)
        return partial(self._finish, self._start(frame, seconds, several=True))

    def state(self) -> State:
        """State carried over to the next frame; empty without a stabilizer."""
        if self.stabilizer is None or self._seconds is None:
            return {}
        ages = np.array(list(self._finished_ages.values()), np.int64)
        return {_SECONDS: np.array(self._seconds), _AGES: ages, **self.stabilizer.state()}

    def restore(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Continue after the frame at which a frame stylizer of the same identity had a state.

        An empty state begins a new video.
        """
        self._started_seconds = self._stylized = None
        self._ages = self._finished_ages = {}
        if self.stabilizer is None:
            return
        self._started_seconds = self._seconds = float(state[_SECONDS]) if state else None
        if self._seconds is not None:
            self._set_style(self._seconds)
            names = [each.styles for each in self.stylizer.passes]
            self._ages = dict(zip(names, state[_AGES].tolist(), strict=True))
            self._finished_ages = self._ages
        self.stabilizer.restore(state, list(self._ages))
        self._stylized = self.stabilizer.output

    @property
    def identity(self) -> dict[str, str]:
        """All that decides how frames are stylized, in words and digests."""
        self._set_style(0)  # the same whatever the time of the last frame
        return {
            "backend": str(self),
            "style": self.stylizer.identity,
            "timeline": str(self.timeline),
            "post-processing": str(self.post_processing),
            "stability": f"{0 if self.stabilizer is None else self.stabilizer.stability:g}",
        }

    def __str__(self) -> str:
        """Backend, precision and device that it really runs on."""
        return str(self.stylizer)

    @property
    def takes_turns(self) -> bool:
        """Whether each frame runs only one of the unrelated networks of a blend.

        The stabilizer warps the earlier outputs of the others along with the scene.
        """
        return self.stabilizer is not None and self.stabilizer.stability > 0

    def _set_style(self, seconds: float) -> None:
        if self.timeline is not None:
            self.stylizer.set_style(self.timeline.at(seconds))

    def _changes(self, before: float, now: float) -> bool:
        """Whether the style differs between two times."""
        return self.timeline is not None and self.timeline.at(before) != self.timeline.at(now)

    @property
    def _is_plain(self) -> bool:
        """Whether frames stay as they are, so that no network needs to run."""
        return self.stylizer.strength == 0

    def _plain(self, frame: Frame, seconds: float) -> Frame:
        self._seconds = seconds
        return self.post_processing.apply(frame, frame, 0)

    def _start(self, frame: Frame, seconds: float, *, several: bool) -> _Started:
        """Start stylizing a frame; `several`: others are in progress meanwhile."""
        stylizer, passes = self.stylizer, self.stylizer.passes
        small = stylizer.shrunk(frame)
        self._ages = next_ages(self._ages, [each.styles for each in passes])

        def layer(run: tuple[Pass, ...], name: Hashable, fraction: float, *, due: bool) -> Layer:
            if several and due:
                return Layer(name, fraction, stylizer.start_shrunk(small, run), due)
            return Layer(name, fraction, partial(stylizer.stylize_shrunk, small, run), due)

        if self.takes_turns and passes:
            layers = [
                layer((each,), each.styles, each.fraction, due=self._ages[each.styles] == 0)
                for each in passes
            ]
        else:
            layers = [layer(passes, "", 1.0, due=True)]
        return _Started(frame, small, layers, seconds, stylizer.strength, self._ages)

    def _finish(self, started: _Started) -> Frame:
        """Wait for a frame, stabilize and post-process it."""
        if self.stabilizer is None:
            stylized = started.layers[0].picture()
        else:
            valid = self._still_valid(started.seconds)
            stylized = self.stabilizer.steady_layers(started.small, started.layers, valid=valid)
        self._seconds, self._stylized = started.seconds, stylized
        self._finished_ages = started.ages
        return self._at_full_size(started.frame, started.small, stylized, started.strength)

    def _repeat(self, frame: Frame) -> Frame:
        assert self._stylized is not None
        small = self.stylizer.shrunk(frame)
        return self._at_full_size(frame, small, self._stylized, self.stylizer.strength)

    def _at_full_size(self, frame: Frame, small: Frame, stylized: Frame, strength: float) -> Frame:
        """The stylized frame at full size, post-processed."""
        whole = self.stylizer.at_full_size(stylized, small, frame)
        return self.post_processing.apply(frame, whole, strength)

    def _still_valid(self, seconds: float) -> float:
        """Fraction of the last output that may be kept, so that an old style leaves no ghost."""
        if self._seconds is None:
            self._blend = self.stylizer.blend
            return 1.0
        if self.timeline is not None:
            return self.timeline.still_valid(self._seconds, seconds) ** _FADING
        before, self._blend = self._blend, self.stylizer.blend
        was_changing, self._was_changing = self._was_changing, self._blend != before
        if not self._was_changing:
            return 0.0 if was_changing else 1.0  # after a change, nothing of the old style is left
        common = sum(min(before.get(name, 0), weight) for name, weight in self._blend.items())
        return common**_FADING


def next_ages(ages: Ages, names: Sequence[Hashable]) -> Ages:
    """Decide which networks of a blend run for the next frame: those that get an age of 0.

    A new network runs at once. Otherwise one network runs per frame, the one that has waited
    longest. While new ones keep coming, as in a fade, whose weights change in each frame, it runs
    beside them once it has waited for as many frames as there are networks.
    """
    waited = {name: ages[name] + 1 for name in names if name in ages}
    after = {name: waited.get(name, 0) for name in names}
    longest = max(waited, key=waited.__getitem__, default=None)
    if longest is not None and (len(waited) == len(names) or waited[longest] >= len(names)):
        after[longest] = 0
    return after


StyleOrStylizer: TypeAlias = AnyStyle | Timeline | Stylizer | FrameStylizer
"""A style in any form, styles over time, or something that was loaded from one."""


def load_frame_stylizer(
    style: StyleOrStylizer = DEFAULT_STYLE,
    *,
    fade: float = DEFAULT_FADE,
    strength: float = 1.0,
    preserve_colors: bool = False,
    compare: bool = False,
    stroke_size: StrokeSize | str | float = DEFAULT_STROKES,
    stability: float = 0.0,
    backend: BackendName = "auto",
    device: str | None = None,
    precision: Precision = "auto",
    memory: float | None = None,
) -> FrameStylizer:
    """Load a frame stylizer, for frames of your own source.

    Args:
        style: a style or a blend in any form that `load_style` takes; styles over time as a
            `Timeline` or a text such as `starry_night@0,great_wave@12.5`, see `parse_style`; a
            `Stylizer`; or a `FrameStylizer`, which is returned as it is.
        fade: duration of the cross-fades of such a text, seconds.
        strength: from 0 (the frame as it is) to 1 (the full style).
        preserve_colors: keep the colors of the frames, see `PostProcessing`.
        compare: split screen with the frame on the left, see `PostProcessing`.
        stability: how much strokes are kept in place from frame to frame, from 0 (no stabilizer) to
            1, see `Stabilizer`.
        stroke_size, backend, device, precision, memory: see `Stylizer`.

    Raises:
        InputError: a text or a number that cannot be used, or a setting that something loaded
            already has.
        UnknownNameError, StyleModelError, BackendError: see `load_style`.
    """
    settings = dict(locals())
    if isinstance(style, FrameStylizer):
        _check_unset(style, settings)
        return style
    del settings["style"]
    return Preparation.of(style, **settings).load()


@dataclass(frozen=True)
class Preparation:
    """What a frame stylizer is made of: files are read, but no network is compiled yet.

    It can be sent to other machines, unless it holds a stylizer with a compiled network.

    Attributes:
        styles: a set of styles, or a stylizer.
        timeline: styles over time; None for what a stylizer is set to.
        post_processing, stability: see `FrameStylizer` and `Stabilizer`.
        loading: arguments of `Stylizer`.
    """

    styles: StyleSet | Stylizer
    timeline: Timeline | None
    post_processing: PostProcessing
    stability: float
    loading: Mapping[str, Any]

    @classmethod
    def of(
        cls,
        style: StyleOrStylizer = DEFAULT_STYLE,
        *,
        fade: float = DEFAULT_FADE,
        preserve_colors: bool = False,
        compare: bool = False,
        stability: float = 0.0,
        **loading: Any,
    ) -> "Preparation":
        """Prepare what `load_frame_stylizer` loads, with its arguments and errors."""
        if isinstance(style, FrameStylizer):
            stabilizer, made_of = style.stabilizer, (style.stylizer, style.timeline)
            steady = 0.0 if stabilizer is None else stabilizer.stability
            return cls(*made_of, style.post_processing, steady, {})
        post_processing = PostProcessing(preserve_colors, compare)
        if isinstance(style, Stylizer):
            _check_unset(style, loading)
            return cls(style, None, post_processing, stability, {})
        style_set, timeline = load_timeline(style, fade=fade)
        return cls(style_set, timeline, post_processing, stability, loading)

    def load(self) -> FrameStylizer:
        """Compile what is missing."""
        timeline = self.timeline
        if isinstance(self.styles, Stylizer):
            stylizer = self.styles
        else:
            assert timeline is not None
            stylizer = Stylizer(self.styles, timeline.at(0), **self.loading)
        return FrameStylizer(
            stylizer,
            timeline=timeline if timeline and len(timeline.moments) > 1 else None,
            post_processing=self.post_processing,
            stabilizer=Stabilizer(self.stability) if self.stability else None,
        )


def label_of(style: StyleOrStylizer, *, strength: float = 1.0, over_time: bool = True) -> str:
    """`style_label` of a style in any form that `load_frame_stylizer` takes."""
    timeline = None
    if isinstance(style, FrameStylizer):
        timeline, style = style.timeline, style.stylizer
    if isinstance(style, Stylizer):
        strength, style = style.strength, style.blend
    return style_label(timeline or style, strength=strength, over_time=over_time)


def _check_unset(loaded: Stylizer | FrameStylizer, settings: Mapping[str, object]) -> None:
    """Raise an InputError for a setting that would have no effect on what is loaded already."""
    parameters = signature(load_frame_stylizer).parameters
    for name, value in settings.items():
        if name != "style" and value != parameters[name].default:
            kind = type(loaded).__name__
            raise InputError(f"`{name}` has no effect on a {kind}; give it when creating it")
