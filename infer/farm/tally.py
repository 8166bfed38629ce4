"""The count of frames in work; it imports nothing, so that its process starts at once."""


class Tally:
    """An actor that knows how many frames of each piece are done."""

    def __init__(self) -> None:
        self._frames: dict[tuple[str, int], int] = {}

    def report(self, job: str, number: int, frames: int) -> None:
        """Take the number of frames done of the piece with that first segment."""
        self._frames[job, number] = frames

    def frames(self) -> dict[tuple[str, int], int]:
        """Frames done by video and piece."""
        return self._frames
