"""The painter: what turns the frames of one video, in order, into its pastiche."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from nst_rt.images.io import Frame
from nst_rt.infer.backends import BackendName, Precision
from nst_rt.infer.blend import Pass
from nst_rt.infer.postprocess import PLAIN, PostProcessing, with_strength
from nst_rt.infer.stability.stabilizer import Layer, Stabilizer
from nst_rt.infer.strokes import DEFAULT_STROKES, StrokeSize, brought_back
from nst_rt.infer.stylizer import Stylizer
from nst_rt.infer.timeline import DEFAULT_FADE, Timeline, parse_style

State = dict[str, npt.NDArray[Any]]
Ages = dict[Hashable, int]  # for how many frames each network of a blend has not run

_SECONDS, _AGES = "seconds", "ages"
_FADING = 3  # of an old style no more than e^-3 is left when a fade of many frames ends


@dataclass(frozen=True)
class _Begun:
    """A frame that is being painted; `small` and `layers` are of the working size."""

    frame: Frame
    small: Frame
    layers: list[Layer]
    seconds: float
    strength: float
    ages: Ages


class FrameStylizer:
    """Paints the frames of one video, in order.

    Args:
        stylizer: that paints.
        timeline: styles of the stylizer's model over time; None for what the stylizer is set to.
        look: what becomes of the pastiche in the end.
        stabilizer: that steadies what was stylized, at the working size; none by default.

    Attributes:
        stylizer: as it was given.
        look: as it was given; another one may be set between two frames.
        stabilizer: as it was given; another one may be set between two videos.
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
        self._timeline = timeline
        self.post_processing = post_processing
        self.stabilizer = stabilizer
        self._seconds: float | None = None  # of the last frame
        self._begun: float | None = None  # seconds of the last frame that was begun
        self._blend = stylizer.blend  # that the last frame was stylized in
        self._changing = False  # whether it was not that of the frame before
        self._painted: Frame | None = None  # what the last frame became, at the working size
        self._ages: Ages = {}  # of the last frame that was begun
        self._last_ages: Ages = {}  # of the last one that was waited for

    def __str__(self) -> str:
        """Engine, precision and device, as they really are."""
        return str(self.stylizer)

    @property
    def identity(self) -> dict[str, str]:
        """All that decides how a frame is painted, in words and digests."""
        if self._timeline is not None:  # or it would be that of the last frame's style
            self.stylizer.set_style(self._timeline.at(0))
        return {
            "engine": str(self),
            "style": self.stylizer.identity,
            "timeline": str(self._timeline),
            "look": str(self.post_processing),
            "stability": f"{0 if self.stabilizer is None else self.stabilizer.stability:g}",
        }

    def stylize(self, frame: Frame, seconds: float) -> Frame:
        """Paint the next frame.

        Args:
            frame: shape (H, W, 3), uint8 BGR.
            seconds: of the frame in the video that is written, wherever painting began.

        Returns:
            Same shape; the frame's own pixels at a strength of 0.

        Raises:
            InputError: see `Stylizer.stylize`.
        """
        self._set_style(seconds)
        if self._is_plain:
            return self._plain(frame, seconds)
        return self._finished(self._begin(frame, seconds, several=False))

    def start(self, frame: Frame, seconds: float, *, repeated: bool = False) -> Callable[[], Frame]:
        """Begin to paint the next frame, as `stylize`; what is returned waits for it.

        For throughput, see `Stylizer.start_shrunk`. Frames are waited for in the order that they
        were begun in; `state` is that after the last one that was waited for.

        Args:
            frame, seconds: see `stylize`.
            repeated: it is the last frame once more, which is stylized anew only if the style is
                another one by now.
        """
        if self._is_plain:
            return lambda: self._plain(frame, seconds)
        if repeated and self._begun is not None and not self._changes(self._begun, seconds):
            return lambda: self._again(frame)
        self._begun = seconds
        self._set_style(seconds)
        begun = self._begin(frame, seconds, several=True)
        return lambda: self._finished(begun)

    @property
    def takes_turns(self) -> bool:
        """Whether of a blend of strangers each frame runs one network only.

        What the others painted in the frames before is moved along with the scene, which the
        stabilizer sees.
        """
        return self.stabilizer is not None and self.stabilizer.stability > 0

    def _begin(self, frame: Frame, seconds: float, *, several: bool) -> "_Begun":
        """Begin one of several frames, or one that is waited for at once."""
        stylizer, passes = self.stylizer, self.stylizer.passes
        small = stylizer.shrunk(frame)
        self._ages = next_ages(self._ages, [each.styles for each in passes])

        def layer(chosen: tuple[Pass, ...], name: Hashable, share: float, *, due: bool) -> Layer:
            if several and due:
                picture = stylizer.start_shrunk(small, chosen)
            else:
                picture = partial(stylizer.stylize_shrunk, small, chosen)
            return Layer(name, share, picture, due)

        if self.takes_turns and passes:
            layers = [
                layer((each,), each.styles, each.share, due=self._ages[each.styles] == 0)
                for each in passes
            ]
        else:
            layers = [layer(passes, "", 1.0, due=True)]
        return _Begun(frame, small, layers, seconds, stylizer.strength, self._ages)

    def _set_style(self, seconds: float) -> None:
        if self._timeline is not None:
            self.stylizer.set_style(self._timeline.at(seconds))

    @property
    def _is_plain(self) -> bool:
        """Whether frames stay as they are, so that nothing need be computed."""
        return self.post_processing.strength == 0 or self.stylizer.strength == 0

    def _plain(self, frame: Frame, seconds: float) -> Frame:
        self._seconds = seconds
        return self.post_processing.apply(frame, frame)

    def _finished(self, begun: "_Begun") -> Frame:
        """What a frame becomes."""
        if self.stabilizer is None:
            stylized = begun.layers[0].picture()
        else:
            valid = self._still_valid(begun.seconds)
            stylized = self.stabilizer.steady_layers(begun.small, begun.layers, valid=valid)
        self._seconds, self._painted, self._last_ages = begun.seconds, stylized, begun.ages
        return self._brought_back(begun.frame, begun.small, stylized, begun.strength)

    def _again(self, frame: Frame) -> Frame:
        assert self._painted is not None
        small = self.stylizer.shrunk(frame)
        return self._brought_back(frame, small, self._painted, self.stylizer.strength)

    def _brought_back(self, frame: Frame, small: Frame, stylized: Frame, strength: float) -> Frame:
        whole = brought_back(stylized, small, frame)
        return self.post_processing.apply(frame, with_strength(frame, whole, strength))

    def _changes(self, before: float, now: float) -> bool:
        """Whether the style at two times differs."""
        return self._timeline is not None and self._timeline.at(before) != self._timeline.at(now)

    def state(self) -> State:
        """What the next frame depends on beside itself; empty without a stabilizer."""
        if self.stabilizer is None or self._seconds is None:
            return {}
        ages = np.array(list(self._last_ages.values()), np.int64)
        return {_SECONDS: np.array(self._seconds), _AGES: ages, **self.stabilizer.state()}

    def restore(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Go on after the frame at which `state` was taken, in a painter of the same making.

        An empty state begins a new video.
        """
        self._begun = self._painted = None
        self._ages = self._last_ages = {}
        if self.stabilizer is None:
            return
        self._begun = self._seconds = float(state[_SECONDS]) if state else None
        if self._seconds is not None:
            self._set_style(self._seconds)
            names = [each.styles for each in self.stylizer.passes]
            self._ages = self._last_ages = dict(zip(names, state[_AGES].tolist(), strict=True))
        self.stabilizer.restore(state, list(self._ages))
        self._painted = self.stabilizer.output

    def _still_valid(self, seconds: float) -> float:
        """How much of the last picture may be kept: an old style must not ghost in a new one."""
        if self._seconds is None:
            return 1.0
        if self._timeline is not None:
            return self._timeline.still_valid(self._seconds, seconds) ** _FADING
        before, self._blend = self._blend, self.stylizer.blend
        was_changing, self._changing = self._changing, self._blend != before
        if not self._changing:
            return 0.0 if was_changing else 1.0  # so that nothing of an old style is left
        common = sum(min(before.get(name, 0), weight) for name, weight in self._blend.items())
        return common**_FADING


def next_ages(ages: Ages, names: Sequence[Hashable]) -> Ages:
    """Whose turn it is, of the networks of a blend: those that get an age of 0.

    What is new runs at once. Else one network a frame does, the one that has waited longest; and
    beside what is new, as when a fade changes weights in each frame, it does so when it has waited
    for as many frames as there are networks.

    Args:
        ages: of the frame before.
        names: of the networks.
    """
    waited = {name: ages[name] + 1 for name in names if name in ages}
    after = {name: waited.get(name, 0) for name in names}
    longest = max(waited, key=waited.__getitem__, default=None)
    if longest is not None and (len(waited) == len(names) or waited[longest] >= len(names)):
        after[longest] = 0
    return after


def load_frame_stylizer(
    style: "str | Mapping[str, float] | Timeline | Stylizer | FrameStylizer" = "starry_night",
    *,
    fade: float = DEFAULT_FADE,
    strength: float = 1.0,
    preserve_colors: bool = False,
    compare: bool = False,
    stroke_size: StrokeSize | str | float = DEFAULT_STROKES,
    backend: BackendName = "auto",
    device: str | None = None,
    precision: Precision = "auto",
) -> FrameStylizer:
    """Load what paints a video.

    Args:
        style: see `load_style`; styles over time as a `Timeline` or a text for `parse_style`.
        fade: seconds of cross-fade between the styles of such a text.
        strength, preserve_colors, compare: see `PostProcessing`.
        stroke_size, backend, device, precision: see `Stylizer`.

    Raises:
        InputError: a text or a number that cannot be used; styles of several model files.
        UnknownNameError, StyleModelError, BackendError: see `load_style`.
    """
    if isinstance(style, FrameStylizer):
        return style
    post_processing = PostProcessing(
        strength=strength, preserve_colors=preserve_colors, compare=compare
    )
    if isinstance(style, Stylizer):
        return FrameStylizer(style, post_processing=post_processing)
    if isinstance(style, str):
        style = parse_style(style, fade=fade)
    elif not isinstance(style, Timeline):
        style = Timeline(((0, style),))
    model, timeline = style.load()
    stylizer = Stylizer(
        model,
        timeline.at(0),
        stroke_size=stroke_size,
        backend=backend,
        device=device,
        precision=precision,
    )
    return FrameStylizer(stylizer, timeline=timeline, post_processing=post_processing)
