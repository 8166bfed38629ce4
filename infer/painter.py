"""The painter: what turns the frames of one video, in order, into its pastiche."""

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

from nst_rt.images import Frame
from nst_rt.infer.stabilize import Stabilizer
from nst_rt.infer.stylizer import Stylizer

State = dict[str, npt.NDArray[Any]]


class Painter:
    """Paints the frames of one video, in order.

    Args:
        stylizer: that paints.
        stabilizer: that steadies the pastiche; none by default.
    """

    def __init__(self, stylizer: Stylizer, *, stabilizer: Stabilizer | None = None) -> None:
        self._stylizer = stylizer
        self._stabilizer = stabilizer

    def __str__(self) -> str:
        """Engine, precision and device, as they really are."""
        return str(self._stylizer)

    @property
    def identity(self) -> dict[str, str]:
        """All that decides how a frame is painted, in words and digests."""
        stabilized = "no" if self._stabilizer is None else "yes"
        return {"engine": str(self), "style": self._stylizer.identity, "stabilize": stabilized}

    def paint(self, frame: Frame, seconds: float) -> Frame:
        """Paint the next frame.

        Args:
            frame: shape (H, W, 3), uint8 BGR.
            seconds: of the frame in the video that is written, wherever painting began.

        Returns:
            Same shape.

        Raises:
            InputError: see `Stylizer.stylize`.
        """
        painted = self._stylizer.stylize(frame)
        return painted if self._stabilizer is None else self._stabilizer.steady(frame, painted)

    def state(self) -> State:
        """What the next frame depends on beside itself; its arrays do not change any more."""
        return {} if self._stabilizer is None else self._stabilizer.state()

    def restore(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Go on after the frame at which `state` was taken, in a painter of the same making."""
        if self._stabilizer is not None:
            self._stabilizer.restore(state)
