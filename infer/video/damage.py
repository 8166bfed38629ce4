"""Parts of a source that could not be decoded."""

from dataclasses import dataclass

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
