"""Parts of a source that could not be decoded, and the signs of them in its frames' times."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import av

from nst_rt.infer.video.probe import VideoInfo

_SUSPECT = 40  # frames after a sign of damage in which a jump in time is taken for its trace
_JUMP = 1.75  # frames that such a jump is long at least
_WHOLE = 0.05  # seconds that a file may lack at its end and be called whole: containers round
_JOINED = 0.5  # seconds between two damaged parts that are told as one


@dataclass(frozen=True)
class Damage:
    """A part of the source that could not be decoded, or not well; seconds of the source."""

    start: float
    end: float

    def __str__(self) -> str:
        if self.end - self.start < 0.01:
            return f"at {self.start:.2f} s"
        return f"{self.start:.2f} to {self.end:.2f} s"

    def after(self, origin: float) -> "Damage":
        """The same, where the source's clock begins at a time."""
        return Damage(self.start - origin, self.end - origin)


def with_damage(parts: list[Damage], start: float, end: float) -> list[Damage]:
    """Add a damaged part, in seconds; parts that nearly touch become one."""
    if parts and end <= parts[-1].end:  # read again, on the way to where work goes on
        return parts
    if parts and start <= parts[-1].end + _JOINED:
        start, end = min(start, parts[-1].start), max(end, parts[-1].end)
        parts = parts[:-1]
    return [*parts, Damage(max(start, 0.0), max(end, 0.0))]


class DamageWatch:
    """Finds damage by what decoders tell, and by jumps in time that follow it.

    Args:
        info: of the video.
        frame_ticks: from one frame to the next.

    Attributes:
        damage: what was found so far.
    """

    def __init__(self, info: VideoInfo, frame_ticks: int) -> None:
        self._info, self._frame_ticks = info, frame_ticks
        self._suspect = 0
        self._longest = 0  # ticks between two frames
        self._gap: tuple[int, int] | None = None  # ticks, of the last jump in time
        self._reached: int | None = None  # tick of the file that the last frame lasts to
        self.damage: list[Damage] = []

    def state(self) -> dict[str, Any]:
        """What matters for frames to come, in values that JSON knows."""
        return {
            "damage": [asdict(part) for part in self.damage],
            "longest": self._longest,
            "gap": self._gap,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on as another one of the same video whose `state` this was."""
        self.damage = [Damage(**part) for part in state["damage"]]
        self._longest = state["longest"]
        self._gap = None if state["gap"] is None else tuple(state["gap"])

    def suspect(self) -> None:
        """Take the next jump in time for a trace of damage."""
        self._suspect = _SUSPECT

    def note_lost(self, tick: int) -> None:
        """What came behind a tick of the file could not be decoded."""
        self.suspect()
        self._note(tick, tick)

    def note_reached(self, tick: int) -> None:
        """A frame lasts to that tick of the file."""
        self._reached = tick if self._reached is None else max(self._reached, tick)

    def look_at(self, picture: av.VideoFrame, pts: int, previous: int | None) -> None:
        """Look at the next frame, its time and that of the one before, in ticks of the file."""
        if picture.is_corrupt:
            self.suspect()
            self._note(pts, pts + self._frame_ticks)
        due = pts if previous is None else previous + self._frame_ticks
        jumps = pts - due > (_JUMP - 1) * self._frame_ticks
        if jumps:
            self._gap = due, pts
        if self._suspect:
            self._suspect -= 1
            if jumps:
                self._note(due, pts)
        self._longest = max(self._longest, 0 if previous is None else pts - previous)

    def look_for_the_end(self, wanted: int | None) -> None:
        """See whether all came that the container tells of, up to the tick that is wanted."""
        due_end = self._info.end
        if due_end is None or self._reached is None:
            return
        if wanted is not None:
            due_end = min(due_end, self._info.seconds(wanted))
        reached = self._info.seconds(self._reached)
        # The last frame may be a long one where frames come at any time.
        longest = max(self._frame_ticks, 2 * self._longest)
        lacks = max(_WHOLE, float(longest * self._info.time_base))
        if not self._info.exact:
            lacks = max(lacks, 1 + 0.02 * due_end)
        if not self._info.missing:
            if due_end - reached > lacks:
                self._add(reached, due_end)
            return
        # Frames are not stored in the order that they are shown in: some of those that are missing
        # come before the last one that is there.
        if self._gap and self._reached - self._gap[1] < _SUSPECT * self._frame_ticks:
            self._note(*self._gap)
        if due_end > reached:
            self._add(reached, due_end)

    def _note(self, start: int, end: int) -> None:
        self._add(self._info.seconds(start), self._info.seconds(end))

    def _add(self, start: float, end: float) -> None:
        self.damage = with_damage(self.damage, start, end)
