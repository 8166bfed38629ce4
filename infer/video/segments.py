"""Finished segments of a video, kept in a folder beside the output until it is complete.

`OUT.EXT.partial/` holds, for segment 7, its video (`000007.nut`; NUT keeps timestamps exact), the
state to continue after it (`000007.npz`) and, written last, its record (`000007.json`): a segment
with a record is complete. `plan.json` holds the settings of the conversion, `style.safetensors` a
style that was learned for it. Once the output is in
place, it becomes `complete.json`, and all other files are deleted before it. Every file appears
complete, once it is synced to disk. Segments that the machines of a farm have made come in any
order, and without states.
"""

import contextlib
import itertools
import json
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import av
import filelock
import numpy as np
import numpy.typing as npt

from nst_rt.errors import InputError, OutputExistsError, StyleModelError
from nst_rt.files import sync
from nst_rt.infer.frames import TimedFrame
from nst_rt.infer.video.encoder import Encoding, FrameEncoder, Shape
from nst_rt.infer.video.probe import url
from nst_rt.infer.video.source import Mark
from nst_rt.models.style_model import SUFFIX, StyleModel
from nst_rt.resume import check_record, file_digest

State = dict[str, npt.NDArray[Any]]

_PLAN, _COMPLETE, _LOCK, _OPEN = "plan.json", "complete.json", "lock", "open.nut"
_LEARNED = f"style{SUFFIX}"  # learned for this video


@dataclass(frozen=True)
class Segment:
    """A finished segment.

    Attributes:
        frames: number of frames; 0 in a farm's segment none of whose frames could be decoded.
        first, last: times of the first and last frame, in ticks of the output.
        duration: of the last frame, in ticks.
        delay: number of frames by which packets are out of display order.
    """

    frames: int
    first: int
    last: int
    duration: int
    delay: int


@dataclass(frozen=True)
class Checkpoint:
    """What a conversion needs to continue after a segment.

    Attributes:
        mark: frame of the source that the last frame was made from.
        state: of the frame stylizer.
        source: state of the reader, as JSON values.
    """

    mark: Mark
    state: State
    source: Mapping[str, Any]


class WorkFolder:
    """The folder of an unfinished output, used by one process at a time; see `work_folder`.

    Args:
        path: of the folder.
        any_order: whether segments may be missing before the last one, as in a farm.
        complete: number of frames of the output if it is complete, else None.

    Attributes:
        path: of the folder.
        is_complete: whether the output is complete, so that only this folder is to be removed.
        open_video: file of the segment that is being written.
        shape: of the frames of the finished segments, None before the first.
    """

    def __init__(self, path: Path, *, any_order: bool = False, complete: int | None = None) -> None:
        self.path, self.open_video = path, path / _OPEN
        self.shape: Shape | None = None
        self.is_complete, self._complete = complete is not None, complete
        self._finished: dict[int, Segment] = {}
        if self.is_complete:  # some of the records may be gone
            return
        records = {int(file.stem): file for file in path.glob("[0-9]*.json")}
        numbers = itertools.takewhile(records.__contains__, itertools.count())
        for number in sorted(records) if any_order else numbers:
            facts = _facts(records[number])
            if self._digest(number) != facts.get("digest"):
                if any_order:  # made again
                    continue
                raise InputError(
                    f"{self._file(number, 'nut')}: missing or damaged; `overwrite` starts over"
                )
            self._finished[number] = Segment(**facts["segment"])
            self.shape = Shape.from_facts(facts["shape"])

    @property
    def segments(self) -> list[Segment]:
        """Finished segments in order."""
        return [self._finished[number] for number in sorted(self._finished)]

    @property
    def numbers(self) -> set[int]:
        """Numbers of the finished segments, from 0 on."""
        return set(self._finished)

    @property
    def frames(self) -> int:
        """Number of frames in the finished segments, or in the complete output."""
        return self._complete or sum(segment.frames for segment in self.segments)

    def parts(self) -> list[tuple[Segment, Path]]:
        """The finished segments and their files."""
        return [
            (segment, self._file(number, "nut"))
            for number, segment in sorted(self._finished.items())
            if segment.frames
        ]

    def add(self, segment: Segment, shape: Shape, checkpoint: Checkpoint) -> None:
        """Turn the segment that was being written into a finished one."""
        number = len(self._finished)
        sync(self.open_video)
        self.open_video.replace(self._file(number, "nut"))
        with _written(self._file(number, "npz")) as file:
            # Uncompressed: flow and frames hardly shrink, and only the last state is kept.
            np.savez(file, **checkpoint.state)  # type: ignore[arg-type]
        record = {
            "segment": asdict(segment),
            "shape": asdict(shape),
            "mark": asdict(checkpoint.mark),
            "source": dict(checkpoint.source),
            "digest": self._digest(number),
        }
        _write_facts(self._file(number, "json"), record)
        self._finished[number] = segment
        self.shape = shape
        if number:
            self._file(number - 1, "npz").unlink(missing_ok=True)

    def put(
        self, number: int, segment: Segment, video: bytes, shape: Shape, source: Mapping[str, Any]
    ) -> None:
        """Keep a segment that was made elsewhere, in any order; it cannot be continued after.

        Args:
            number, segment, video, shape: place from 0 on, the segment, its file and frames.
            source: what became known of the source, as JSON values, for `facts`.
        """
        if segment.frames:
            with _written(self._file(number, "nut")) as file:
                file.write(video)
        record = {
            "segment": asdict(segment),
            "shape": asdict(shape),
            "source": dict(source),
            "digest": self._digest(number),
        }
        _write_facts(self._file(number, "json"), record)
        self._finished[number] = segment
        self.shape = shape

    def facts(self) -> list[dict[str, Any]]:
        """What became known of the source with each finished segment, in order."""
        return [_facts(self._file(number, "json"))["source"] for number in sorted(self._finished)]

    def checkpoint(self) -> Checkpoint | None:
        """Where to continue; None at the beginning."""
        if not self._finished:
            return None
        number = len(self._finished) - 1
        facts = _facts(self._file(number, "json"))
        file = self._file(number, "npz")
        try:
            with np.load(file) as stored:
                state = {name: stored[name] for name in stored.files}
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise InputError(f"{file}: missing or damaged; `overwrite` starts over") from error
        return Checkpoint(Mark(**facts["mark"]), state, facts["source"])

    def finish(self) -> None:
        """Remove the folder now that the output is in place."""
        if not self.is_complete:
            (self.path / _PLAN).replace(self.path / _COMPLETE)
        self.remove()

    def remove(self) -> None:
        """Delete the conversion's files, and the folder unless it holds anything else."""
        _empty(self.path, keep=(_COMPLETE,))
        (self.path / _LOCK).unlink(missing_ok=True)
        (self.path / _COMPLETE).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.path.rmdir()

    def _digest(self, number: int) -> str | None:
        """Digest of a segment's file, None without a file."""
        file = self._file(number, "nut")
        return file_digest(file) if file.exists() else None

    def _file(self, number: int, suffix: str) -> Path:
        return self.path / f"{number:06d}.{suffix}"


class SegmentWriter:
    """Encodes a segment with an encoder of its own."""

    def __init__(self, path: Path, encoding: Encoding, shape: Shape) -> None:
        # Decoding times below 0 must not shift the frames.
        options = {"avoid_negative_ts": "disabled"}
        self._container = av.open(url(path), "w", format="nut", options=options)
        self._encoder = FrameEncoder(self._container, encoding, shape)
        self._times: list[int] = []
        self._duration = 0
        self._path = path
        self.warnings = self._encoder.warnings

    @property
    def frames(self) -> int:
        """Number of frames written so far."""
        return len(self._times)

    def write(self, frame: TimedFrame) -> None:
        """Encode a frame, in ticks of the output."""
        self._encoder.encode(frame.image, frame.pts)
        self._times.append(frame.pts)
        self._duration = frame.duration

    def finish(self) -> Segment:
        """Complete the file."""
        try:
            self._encoder.finish()
        finally:
            self._container.close()
        delay = _delay(self._path)
        return Segment(self.frames, self._times[0], self._times[-1], self._duration, delay)


def work_path(output: Path) -> Path:
    """The work folder of an output."""
    return output.with_name(f"{output.name}.partial")


def has_conversion(output: Path) -> bool:
    """Whether a conversion to this output was begun, and did not get as far as to clean up."""
    return any((work_path(output) / name).exists() for name in (_PLAN, _COMPLETE))


def kept_style(output: Path) -> StyleModel | None:
    """The style that was learned for an interrupted conversion to this output, if there is one."""
    file = work_path(output) / _LEARNED
    try:
        return StyleModel.load(file) if file.is_file() else None
    except StyleModelError as error:
        raise InputError(f"{error}; `overwrite` starts over") from error


@contextmanager
def work_folder(
    output: Path,
    plan: Mapping[str, Any],
    *,
    resume: bool,
    overwrite: bool,
    any_order: bool = False,
    learned: StyleModel | None = None,
) -> Iterator[WorkFolder]:
    """Open the work folder of an output, locked for this process.

    Args:
        output: file to make.
        plan: all that decides what it will be, as JSON values.
        resume, overwrite: whether to continue or to discard an interrupted conversion.
        any_order: see `WorkFolder`.
        learned: style that was learned for this conversion, to keep until it is complete.

    Raises:
        OutputExistsError: there is an interrupted conversion, and neither was asked for.
        InputError: another process is writing the output; or the interrupted conversion has
            another plan or is damaged.
    """
    path = work_path(output)
    lock = _locked(output, path)
    try:
        is_complete = (path / _COMPLETE).exists()
        is_begun = any(path.glob("[0-9]*.json")) and not is_complete
        now = json.loads(_json(plan))  # tuples become lists, as in the file
        if is_complete and resume and output.exists():
            check_record(output, _facts(path / _COMPLETE), now)
            yield WorkFolder(path, complete=_frame_count(output))
            return
        if is_begun and not resume and not overwrite:
            raise OutputExistsError(
                f"{output}: has an interrupted conversion in {path}; `resume` continues it, "
                "`overwrite` starts over"
            )
        if is_begun and resume:
            check_record(output, _facts(path / _PLAN), now)
        else:
            _empty(path)
            _write_facts(path / _PLAN, plan)
            if learned is not None:
                sync(learned.save(path / _LEARNED))
                sync(path)
        yield WorkFolder(path, any_order=any_order)
    finally:
        lock.release()


def _locked(output: Path, path: Path) -> filelock.BaseFileLock:
    """Create the work folder of an output, if there is none, and lock it.

    Raises:
        InputError: another process has locked it.
    """
    lock = filelock.FileLock(path / _LOCK, timeout=0)
    while True:
        path.mkdir(exist_ok=True)
        try:
            lock.acquire()
        except FileNotFoundError:
            continue  # a conversion that is complete removed the folder just now
        except filelock.Timeout as error:
            # The file that could not be locked may have been removed, too.
            if os.path.lexists(path / _LOCK):
                raise InputError(f"{output}: another conversion is writing this file") from error
        else:
            return lock


def _empty(path: Path, *, keep: Sequence[str] = ()) -> None:
    """Delete what conversions leave in a folder, except the lock and the names to keep."""
    # Without the first record there is nothing to resume, should this process be killed here.
    (path / f"{0:06d}.json").unlink(missing_ok=True)
    for pattern in ("*.nut", "*.npz", "*.json", "*.new", f"*{SUFFIX}"):
        for file in path.glob(pattern):
            if file.name not in keep:
                file.unlink()


def _frame_count(path: Path) -> int:
    with av.open(url(path)) as container:
        return sum(packet.size > 0 for packet in container.demux(container.streams.video[0]))


def _delay(path: Path) -> int:
    """Maximum number of frames by which packets are out of display order."""
    with av.open(url(path)) as container:
        times = [p.pts for p in container.demux(container.streams.video[0]) if p.pts is not None]
    places = {pts: place for place, pts in enumerate(sorted(times))}
    return max(number - places[pts] for number, pts in enumerate(times))


def _facts(path: Path) -> dict[str, Any]:
    """What `_write_facts` wrote.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        facts: dict[str, Any] = json.loads(path.read_text())
    except (FileNotFoundError, ValueError) as error:
        raise InputError(f"{path}: missing or damaged; `overwrite` starts over") from error
    return facts


def _json(facts: Mapping[str, Any]) -> str:
    return json.dumps(dict(facts), default=str)  # fractions become texts


def _write_facts(path: Path, facts: Mapping[str, Any]) -> None:
    with _written(path) as file:
        file.write(_json(facts).encode())


@contextmanager
def _written(path: Path) -> Iterator[BinaryIO]:
    """A new file that appears complete and synced."""
    temporary = path.with_name(f"{path.name}.new")
    with temporary.open("wb") as file:
        yield file
    sync(temporary)
    temporary.replace(path)
    sync(path.parent)
