"""A video that is read: what every reader has in common."""

import hashlib
import logging
import queue
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from av.container import InputContainer

from nst_rt.images.io import Frame
from nst_rt.infer.frames import Source, TimedFrame
from nst_rt.infer.video.probe import Damage, Packet, VideoInfo
from nst_rt.infer.video.transforms import fitted, opaque_frame

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Mark:
    """A frame of the source to continue after: its time in ticks, and a digest of its pixels.

    Without a digest the time alone identifies the frame.
    """

    pts: int
    digest: str


def frame_digest(frame: Frame) -> str:
    """A fingerprint of a frame's pixels."""
    return hashlib.blake2b(frame.tobytes(), digest_size=16).hexdigest()


class VideoSource(Source, ABC):
    """A source that can be read again from a mark on, to resume.

    Attributes:
        path: file or folder, or `-` for standard input.
        info: properties of the video.
        aspect: pixel aspect ratio of the frames, final from the first frame on.
        damage: parts that could not be decoded so far.
        warnings: anything unusual done to the frames, each once.
        is_seekable: False once seeking has failed, so that all is read from the beginning.
        others: queue of the packets beside the video, where the reader collects them.
    """

    others: "queue.SimpleQueue[Packet] | None" = None

    def __init__(self, path: Path | str, info: VideoInfo) -> None:
        self.path, self.info, self.aspect = Path(path), info, info.aspect
        self.damage: list[Damage] = []
        self.warnings: list[str] = []
        self.is_seekable = True

    @property
    def time_base(self) -> Fraction:
        """Seconds per tick of the frames' times."""
        return self.info.time_base

    @property
    @abstractmethod
    def expected(self) -> int:
        """Approximate number of frames; 0 if unknown."""

    def __iter__(self) -> Iterator[TimedFrame]:
        return self.frames()

    def container(self) -> AbstractContextManager[InputContainer | None]:
        """The open file, whose other tracks are copied; None for images."""
        return nullcontext()

    @abstractmethod
    def frames(self, after: Mark | None = None) -> Iterator[TimedFrame]:
        """The frames in order; with `after`, from the marked frame on, including it."""

    def state(self) -> dict[str, Any]:
        """What later frames depend on, as JSON values."""
        return {"damage": [asdict(part) for part in self.damage]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from the `state` of another reader of the same source."""
        self.damage = [Damage(**part) for part in state["damage"]]

    def _over_white(self, bgra: Frame) -> Frame:
        frame, is_transparent = opaque_frame(bgra)
        if is_transparent:
            self._warn("transparent: composited over white")
        return frame

    def _fitted(self, frame: Frame, first: tuple[int, int], target: tuple[int, int]) -> Frame:
        if frame.shape[:2] != first:
            # Likely photos, and not the frames of a film.
            hint = f"; for photos: nst-rt image {self.path}" if self.path.is_dir() else ""
            self._warn(f"frames of different sizes: all are fitted into the first one's{hint}")
        return fitted(frame, first, target)

    def _warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)
            logger.warning("%s: %s", self.path, text)
