"""Finished segments of a video, kept in a folder beside the output until it is complete.

`OUT.EXT.partial/` holds, for segment 7, its video (`000007.nut`; NUT keeps timestamps exact), the
state to go on behind it (`000007.npz`) and, written last, its record (`000007.json`): what has a
record is complete. `plan.json` tells what is being made of which source. Every file is put in
place as a whole, once it is on the disk itself.
"""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import av
import filelock
import numpy as np
import numpy.typing as npt

from nst_rt.errors import InputError, OutputExistsError
from nst_rt.files import sync
from nst_rt.infer.video.encoder import Encoding, FrameEncoder, Shape
from nst_rt.infer.video.probe import url
from nst_rt.infer.video.reader import Mark

State = dict[str, npt.NDArray[Any]]

_PLAN, _LOCK, _OPEN, _STREAMS = "plan.json", "lock", "open.nut", "streams.mkv"


@dataclass(frozen=True)
class Segment:
    """A finished one.

    Attributes:
        frames: how many.
        first, last: times of its first and last frame, in ticks of the output.
        duration: of the last frame, in ticks.
        delay: frames that packets come out of order by at most.
    """

    frames: int
    first: int
    last: int
    duration: int
    delay: int


@dataclass(frozen=True)
class Checkpoint:
    """What is needed to go on behind a segment.

    Attributes:
        mark: the source's frame that the last frame was made of.
        state: of the painter.
        source: of the reader, in values that JSON knows.
    """

    mark: Mark
    state: State
    source: Mapping[str, Any]


class WorkFolder:
    """The folder of an output that is being made; one process at a time may use it.

    Made by `work_folder`.

    Attributes:
        path: of the folder.
        segments: those that are finished.
        shape: of the frames in them, None before the first.
        streams: file for sound and the like of a source that can be read only once.
        resumable: work can be gone on with, since the source can be read again.
    """

    def __init__(self, path: Path, *, resumable: bool = True) -> None:
        self.path = path
        self.resumable = resumable
        self.segments: list[Segment] = []
        self.shape: Shape | None = None
        self.streams = path / _STREAMS
        while (record := self._file(len(self.segments), "json")).exists():
            facts = _facts(record)
            self.segments.append(Segment(**facts["segment"]))
            self.shape = Shape.from_facts(facts["shape"])

    @property
    def frames(self) -> int:
        """How many are in the finished segments."""
        return sum(segment.frames for segment in self.segments)

    @property
    def open_video(self) -> Path:
        """File of the segment that is being written."""
        return self.path / _OPEN

    def videos(self) -> list[Path]:
        """Files of the finished segments."""
        return [self._file(number, "nut") for number in range(len(self.segments))]

    def add(self, segment: Segment, shape: Shape, checkpoint: Checkpoint) -> None:
        """Make the segment that was being written a finished one."""
        number = len(self.segments)
        sync(self.open_video)
        self.open_video.replace(self._file(number, "nut"))
        with _written(self._file(number, "npz")) as file:
            # Wide streams of numbers do not shrink; they go once the next segment is there.
            np.savez(file, **checkpoint.state)  # type: ignore[arg-type]
        record = {
            "segment": asdict(segment),
            "shape": shape.facts(),
            "mark": asdict(checkpoint.mark),
            "source": dict(checkpoint.source),
        }
        _write_facts(self._file(number, "json"), record)
        self.segments.append(segment)
        self.shape = shape
        if number:
            self._file(number - 1, "npz").unlink(missing_ok=True)

    def checkpoint(self) -> Checkpoint | None:
        """Where to go on; None at the beginning."""
        if not self.segments:
            return None
        number = len(self.segments) - 1
        facts = _facts(self._file(number, "json"))
        with np.load(self._file(number, "npz")) as stored:
            state = {name: stored[name] for name in stored.files}
        return Checkpoint(Mark(**facts["mark"]), state, facts["source"])

    def remove(self) -> None:
        """Delete what is in it, and the folder."""
        _empty(self.path)
        (self.path / _LOCK).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # a user has put something there
            self.path.rmdir()

    def _file(self, number: int, suffix: str) -> Path:
        return self.path / f"{number:06d}.{suffix}"


class SegmentWriter:
    """Encodes the segment that is being written, with an encoder of its own."""

    def __init__(self, path: Path, encoding: Encoding, shape: Shape) -> None:
        # Decoding times before 0 must not move the frames.
        options = {"avoid_negative_ts": "disabled"}
        self._container = av.open(url(path), "w", format="nut", options=options)
        self._shape = shape
        self._encoder = FrameEncoder(self._container, encoding, shape)
        self._times: list[int] = []
        self._duration = 0
        self._path = path

    @property
    def frames(self) -> int:
        """How many it has."""
        return len(self._times)

    def write(self, frame: npt.NDArray[np.uint8], pts: int, duration: int) -> None:
        """Encode a frame, in ticks of the output."""
        self._encoder.encode(frame, pts)
        self._times.append(pts)
        self._duration = duration

    def finish(self) -> Segment:
        """Complete the file."""
        try:
            self._encoder.finish()
        finally:
            self._container.close()
        delay = _delay(self._path)
        return Segment(self.frames, self._times[0], self._times[-1], self._duration, delay)


def work_path(output: Path) -> Path:
    """Where work on an output is kept until it is complete."""
    return output.with_name(f"{output.name}.partial")


@contextmanager
def work_folder(
    output: Path,
    plan: Mapping[str, Any],
    *,
    resume: bool,
    overwrite: bool,
    resumable: bool = True,
) -> Iterator[WorkFolder]:
    """Open an output's work folder, for this process alone.

    Args:
        output: that is to be made.
        plan: what is made of which source, in values that JSON knows.
        resume: go on with what is there.
        overwrite: start anew.
        resumable: see `WorkFolder`.

    Raises:
        OutputExistsError: work is there, and neither was asked for.
        InputError: another process is at work on it, or the work that is there has another plan
            or is damaged.
    """
    path = work_path(output)
    existed = path.is_dir()
    path.mkdir(exist_ok=True)
    lock = filelock.FileLock(path / _LOCK, timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise InputError(f"{output}: another conversion is writing it just now") from error
    try:
        if existed and not resume and not overwrite and WorkFolder(path).segments:
            choice = "--resume continues it, " if resumable else ""
            raise OutputExistsError(
                f"{output}: an interrupted conversion is there, in {path}; "
                f"{choice}--overwrite starts anew"
            )
        if resume and WorkFolder(path).segments:
            _check_plan(output, _facts(path / _PLAN), plan)
        else:
            _empty(path)
            _write_facts(path / _PLAN, plan)
        yield WorkFolder(path, resumable=resumable)
    finally:
        lock.release()


def _empty(path: Path) -> None:
    """Delete what conversions leave in a folder, but for the lock."""
    for pattern in ("*.nut", "*.npz", "*.json", "*.new", _STREAMS):
        for file in path.glob(pattern):
            file.unlink()


def _check_plan(output: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to go on with something else.

    Raises:
        InputError: it is.
    """
    now = json.loads(json.dumps(dict(now)))  # as the file would have it
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if names:
        told = ", ".join(f"{name} ({before.get(name)} then, {now.get(name)} now)" for name in names)
        raise InputError(
            f"{output}: cannot be resumed, since something is not as it was: {told}; "
            "--overwrite starts anew"
        )


def _delay(path: Path) -> int:
    """By how many frames packets come out of their order at most."""
    with av.open(url(path)) as container:
        times = [p.pts for p in container.demux(container.streams.video[0]) if p.pts is not None]
    places = {pts: place for place, pts in enumerate(sorted(times))}
    return max(number - places[pts] for number, pts in enumerate(times))


def _facts(path: Path) -> dict[str, Any]:
    """What `_write_facts` wrote.

    Raises:
        InputError: it is not there or damaged.
    """
    try:
        facts: dict[str, Any] = json.loads(path.read_text())
    except (FileNotFoundError, ValueError) as error:
        raise InputError(f"{path}: missing or damaged; --overwrite starts anew") from error
    return facts


def _write_facts(path: Path, facts: Mapping[str, Any]) -> None:
    with _written(path) as file:
        file.write(json.dumps(dict(facts)).encode())


@contextmanager
def _written(path: Path) -> Iterator[BinaryIO]:
    """A file that appears as a whole, and stays."""
    temporary = path.with_name(f"{path.name}.new")
    with temporary.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync(path.parent)
