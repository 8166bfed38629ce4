"""The painter: what turns the frames of one video, in order, into its pastiche."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from nst_rt.images import Frame
from nst_rt.infer.backends import BackendName, Precision
from nst_rt.infer.looks import PLAIN, Look
from nst_rt.infer.stabilize import Stabilizer
from nst_rt.infer.stylizer import Stylizer
from nst_rt.infer.timeline import DEFAULT_FADE, Timeline, parse_style

State = dict[str, npt.NDArray[Any]]

_SECONDS = "seconds"


class Painter:
    """Paints the frames of one video, in order.

    Args:
        stylizer: that paints.
        timeline: styles of the stylizer's model over time; None for what the stylizer is set to.
        look: what becomes of the pastiche in the end.
        stabilizer: that steadies the pastiche, before it gets its look; none by default.

    Attributes:
        stabilizer: as it was given; another one may be set between two videos.
    """

    def __init__(
        self,
        stylizer: Stylizer,
        *,
        timeline: Timeline | None = None,
        look: Look = PLAIN,
        stabilizer: Stabilizer | None = None,
    ) -> None:
        self._stylizer = stylizer
        self._timeline = timeline
        self._look = look
        self.stabilizer = stabilizer
        self._seconds: float | None = None  # of the last frame
        self._begun: float | None = None  # seconds of the last frame that was begun
        self._painted: Frame | None = None  # what the last frame became, before its look

    def __str__(self) -> str:
        """Engine, precision and device, as they really are."""
        return str(self._stylizer)

    @property
    def identity(self) -> dict[str, str]:
        """All that decides how a frame is painted, in words and digests."""
        if self._timeline is not None:  # or it would be that of the last frame's style
            self._stylizer.set_style(self._timeline.at(0))
        return {
            "engine": str(self),
            "style": self._stylizer.identity,
            "timeline": str(self._timeline),
            "look": str(self._look),
            "stability": f"{0 if self.stabilizer is None else self.stabilizer.stability:g}",
        }

    def paint(self, frame: Frame, seconds: float) -> Frame:
        """Paint the next frame.

        Args:
            frame: shape (H, W, 3), uint8 BGR.
            seconds: of the frame in the video that is written, wherever painting began.

        Returns:
            Same shape; the frame itself at a strength of 0.

        Raises:
            InputError: see `Stylizer.stylize`.
        """
        self._set_style(seconds)
        return self._finished(frame, seconds, lambda: self._stylizer.stylize(frame))

    def start(self, frame: Frame, seconds: float, *, repeated: bool = False) -> Callable[[], Frame]:
        """Begin to paint the next frame, as `paint`; what is returned waits for it.

        For throughput, see `Stylizer.start`. Frames are waited for in the order that they were
        begun in; `state` is that after the last one that was waited for.

        Args:
            frame, seconds: see `paint`.
            repeated: it is the last frame once more, which is stylized anew only if the style is
                another one by now.
        """
        if self._look.strength == 0:
            return lambda: self.paint(frame, seconds)
        if repeated and self._begun is not None and not self._changes(self._begun, seconds):
            return lambda: self._again(frame)
        self._begun = seconds
        self._set_style(seconds)
        pending = self._stylizer.start(frame)
        return lambda: self._finished(frame, seconds, pending)

    def _set_style(self, seconds: float) -> None:
        if self._timeline is not None:
            self._stylizer.set_style(self._timeline.at(seconds))

    def _finished(self, frame: Frame, seconds: float, pending: Callable[[], Frame]) -> Frame:
        painted = frame
        if self._look.strength > 0:
            painted = pending()
            if self.stabilizer is not None:
                painted = self.stabilizer.steady(frame, painted, valid=self._still_valid(seconds))
        self._seconds, self._painted = seconds, painted
        return self._look.apply(frame, painted)

    def _again(self, frame: Frame) -> Frame:
        assert self._painted is not None
        return self._look.apply(frame, self._painted)

    def _changes(self, before: float, now: float) -> bool:
        """Whether the style at two times differs."""
        return self._timeline is not None and self._timeline.at(before) != self._timeline.at(now)

    def state(self) -> State:
        """What the next frame depends on beside itself; empty without a stabilizer."""
        if self.stabilizer is None or self._seconds is None:
            return {}
        return {_SECONDS: np.array(self._seconds), **self.stabilizer.state()}

    def restore(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Go on after the frame at which `state` was taken, in a painter of the same making.

        An empty state begins a new video.
        """
        self._begun = self._painted = None
        if self.stabilizer is None:
            return
        self._begun = self._seconds = float(state[_SECONDS]) if state else None
        self.stabilizer.restore({k: v for k, v in state.items() if k != _SECONDS})
        self._painted = self.stabilizer.output

    def _still_valid(self, seconds: float) -> float:
        """How much of the last picture may be kept: an old style must not ghost in a new one."""
        if self._timeline is None or self._seconds is None:
            return 1.0
        return self._timeline.still_valid(self._seconds, seconds)


def load_painter(
    style: str | Mapping[str, float] | Timeline = "starry_night",
    *,
    fade: float = DEFAULT_FADE,
    strength: float = 1.0,
    keep_colours: bool = False,
    compare: bool = False,
    backend: BackendName = "auto",
    device: str | None = None,
    precision: Precision = "auto",
) -> Painter:
    """Load what paints a video.

    Args:
        style: see `load_style`; styles over time as a `Timeline` or a text for `parse_style`.
        fade: seconds of cross-fade between the styles of such a text.
        strength, keep_colours, compare: see `Look`.
        backend, device, precision: see `Stylizer`.

    Raises:
        InputError: a text or a number that cannot be used; styles of several model files.
        UnknownNameError, StyleModelError, BackendError: see `load_style`.
    """
    look = Look(strength=strength, keep_colours=keep_colours, compare=compare)
    if isinstance(style, str):
        style = parse_style(style, fade=fade)
    elif not isinstance(style, Timeline):
        style = Timeline(((0, style),))
    model, timeline = style.load()
    stylizer = Stylizer(model, timeline.at(0), backend=backend, device=device, precision=precision)
    return Painter(stylizer, timeline=timeline, look=look)
