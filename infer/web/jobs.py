"""Jobs: long work that runs one after the other in the background, and what is kept of it."""

import logging
import secrets
import shutil
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any

from nst_rt.errors import InputError, PartialResultError, StyleTransferError
from nst_rt.infer.web.limits.storage import BLOCK, Storage
from nst_rt.infer.web.limits.visitors import TooManyError
from nst_rt.infer.web.results import (
    RECORD_FILE,
    Kind,
    Record,
    Results,
    State,
    folder_size,
    remove_folder,
)
from nst_rt.infer.web.settings import TooLargeError
from nst_rt.infer.web.timing import Clock, Pace, pace_of
from nst_rt.infer.web.uploads import Upload, visitor_message

logger = logging.getLogger(__name__)

_MAX_WAITING = 6  # jobs of one visitor that wait or run
_MAX_WAITING_OF_ALL = 100  # likewise: one visitor can pretend to be many
_MAX_ENDED = 50  # jobs of one visitor without a result that are remembered
_CURVE_POINTS = 200  # that the page gets
# The files of a running job are measured once per second. Until then they may grow by this much,
# for which room is held: no job here writes 64 MB per second. It is less in a small storage.
_MEASURE_SECONDS = 1.0
_MAX_GROWTH = 64 * 10**6
_GROWTH_OF_STORAGE = 64


class CancelledJobError(StyleTransferError):
    """A visitor cancelled the job, or the studio is closing."""


@dataclass(kw_only=True, eq=False)
class Job(Record):
    """One job, and what the page may know of it.

    Attributes:
        folder: folder of all its files, removed with the job.
        inputs: uploads that it needs.
        progress: from 0 to 1.
        files: files to download by name, each with a version that rises when the file changes.
        on_remove: called when the job is removed.
        stopping: whether it should end early and keep what it has.
        leaving: timer that will cancel the job, or remove a finished one, unless it is undone.
        units: amount of its work, see `Pace`.
        expected: seconds that it was expected to take when it was submitted, 0 if unknown.
        clock: estimates what is left, since it began to run.
    """

    folder: Path
    inputs: tuple[Upload, ...] = ()
    progress: float = 0.0
    files: dict[str, tuple[Path, int]] = field(default_factory=dict)
    on_remove: Callable[[], object] = lambda: None
    leaving: threading.Timer | None = None
    stopping: bool = False
    units: float = 0.0
    expected: float = 0.0
    clock: Clock = field(default_factory=Clock)
    _cancelled: bool = False
    _full: str = ""

    @property
    def id(self) -> str:
        """A random name that only the owner knows."""
        return self.folder.name

    @property
    def active(self) -> bool:
        return self.state in ("waiting", "running")

    @property
    def hidden(self) -> bool:
        return self.leaving is not None and not self.active

    def stop(self, *, keep: bool) -> None:
        """Ask it to end, with what it has or with nothing."""
        self._cancelled = self._cancelled or not keep
        self.stopping = True
        if self._cancelled and self.state == "waiting":
            self.state = "cancelled"

    def refuse(self, reason: str) -> None:
        """End it at its next check, since there is no room for more of its files."""
        self._full = reason

    def check(self) -> None:
        """End the work here if it has to end; called often.

        Raises:
            CancelledJobError: it was cancelled.
            TooLargeError: there is no room for more of its files.
        """
        if self._cancelled:
            raise CancelledJobError("cancelled")
        if self._full:
            raise TooLargeError(self._full)

    def report(self, progress: float, note: str) -> None:
        """Set the progress, from 0 to 1, and its note; ends the work as `check` does."""
        self.check()
        self.progress, self.note = min(progress, 1.0), note
        self.clock.update(self.progress)

    def offer(self, file: Path, name: str = "") -> None:
        """Offer a file for download, by default under its own name, or its new version."""
        name = name or file.name
        _, version = self.files.get(name, (file, 0))
        self.files = {**self.files, name: (file, version + 1)}

    def describe(self) -> dict[str, Any]:
        return {
            **self.values(),
            "id": self.id,
            "stopping": self.stopping or self.leaving is not None,
            "progress": self.progress,
            "files": {name: version for name, (_, version) in self.files.items()},
        }

    def values(self) -> dict[str, Any]:
        """The record, with the points of the curve thinned out."""
        every = -(-len(self.curve) // _CURVE_POINTS) or 1
        last = self.curve[-1:] if (len(self.curve) - 1) % every else []
        return {**super().values(), "curve": [*self.curve[::every], *last]}


class Jobs:
    """All jobs of all visitors. One runs at a time, so that live viewers keep their frame rate.

    Args:
        root: folder for the work.
        results: results folder; those of earlier studios are found there.
        undo: seconds during which removing and cancelling can be undone.
        storage: counts the bytes of all files of the studio; without one they are not limited.
    """

    def __init__(
        self, root: Path, results: Results, *, undo: float, storage: Storage | None = None
    ) -> None:
        self._root = root
        self._results = results
        self._undo = undo
        self._storage = storage or Storage(sys.maxsize)
        self._jobs: dict[str, Job] = {}
        for folder, record in results.load():
            with suppress(FileNotFoundError):  # another studio is removing it
                files = {file.name: (file, 1) for file in folder.iterdir()}
                files.pop(RECORD_FILE, None)
                self._jobs[folder.name] = Job(
                    **record.values(),
                    folder=folder,
                    progress=1.0,
                    files=files,
                )
                self._storage.count(folder.name, folder_size(folder))
        self._is_closing = False
        self._lock = threading.RLock()
        self._worker = ThreadPoolExecutor(1, "job")

    def __iter__(self) -> Iterator[Job]:
        """All jobs, oldest first."""
        return iter(list(self._jobs.values()))

    @property
    def hidden_styles(self) -> set[str]:
        """Names of the styles whose jobs are being removed."""
        return {job.facts["style"] for job in self if job.hidden and "style" in job.facts}

    def submit(
        self,
        kind: Kind,
        title: str,
        owner: str,
        work: Callable[[Job], None],
        inputs: Sequence[Upload] = (),
        units: float = 0.0,
    ) -> Job:
        """Put work at the end of the queue.

        Args:
            kind, title, owner, inputs: see `Job`.
            work: is called with the job.
            units: amount of the work, see `Pace`.

        Raises:
            TooManyError: too much of the visitor's waits already.
            InputError: an input was removed meanwhile.
            TooLargeError: there is no room for any result.
        """
        folder = self._root / secrets.token_hex(16)
        expected = self.pace(kind).seconds(units)
        job = Job(
            kind,
            title,
            owner,
            folder=folder,
            inputs=tuple(inputs),
            units=units,
            expected=expected,
        )
        with self._lock:
            for jobs, most in ((self.of(owner), _MAX_WAITING), (list(self), _MAX_WAITING_OF_ALL)):
                if sum(other.active for other in jobs) >= most:
                    raise TooManyError(f"{most} jobs are waiting already: let some finish")
            try:
                for upload in inputs:
                    upload.claim(job)
                self._storage.hold(job.id, 2 * BLOCK)  # its record, in a folder
            except StyleTransferError:
                _release(job)
                raise
            ended = [each for each in self.of(owner) if each.state in ("failed", "cancelled")]
            for oldest in ended[:-_MAX_ENDED]:
                self._forget(oldest)
            self._jobs[job.id] = job
            with suppress(OSError):  # only tells that there was a job if the studio is killed
                self._results.keep(job.id, {}, job)
            self._worker.submit(self._run, job, work)
        return job

    def of(self, owner: str) -> list[Job]:
        """A visitor's jobs, oldest first, without those that are being removed."""
        return [job for job in self if job.owner == owner and not job.hidden]

    def pace(self, kind: Kind) -> Pace:
        """How long such a job takes here, by the earlier ones of all visitors."""
        return pace_of(kind, self)

    def queue_facts(self, job: Job) -> dict[str, Any]:
        """The place of an unfinished job in the queue, from 1, and seconds.

        The seconds are those until a waiting job begins, or a running one ends; None if unknown.
        """
        if not job.active:
            return {}
        older = takewhile(lambda other: other is not job, self)
        ahead = [other for other in older if other.active]
        seconds = job.clock.left
        if job.state == "waiting":
            known = [left for each in ahead if (left := each.clock.left or each.expected)]
            seconds = sum(known) if len(known) == len(ahead) else None
        return {"place": len(ahead) + 1, "seconds": seconds}

    def find(self, id: str, owner: str) -> Job:
        """The visitor's job with that id; an InputError if there is none."""
        job = self._jobs.get(id)
        if job is None or job.owner != owner:
            raise InputError("that job is no longer here")
        return job

    def cancel(self, job: Job) -> None:
        """End a job with nothing, unless it is undone in time or the job ends before."""
        with self._lock:
            if job.active:
                self._later(job, lambda: job.stop(keep=False))

    def remove(self, job: Job) -> None:
        """Remove a job and its files, unless it is undone in time; an InputError if it runs."""
        with self._lock:
            if job.active:
                raise InputError("the job is still running: cancel it first")
            self._later(job, lambda: self._forget(job))

    def undo(self, job: Job) -> None:
        """Undo cancelling or removing a job."""
        with self._lock:
            if job.leaving is not None:
                job.leaving.cancel()
                job.leaving = None

    def cancel_all(self) -> None:
        """Cancel all jobs for good; the next studio says so. What was being removed stays."""
        self._is_closing = True
        for job in self:
            self.undo(job)
            job.stop(keep=False)

    def close(self) -> None:
        """Cancel all jobs and wait for their end."""
        self.cancel_all()
        self._worker.shutdown()

    def _forget(self, job: Job) -> None:
        del self._jobs[job.id]
        job.on_remove()
        if job.folder.exists():
            remove_folder(job.folder)
        for what in (job.id, job.folder):
            self._storage.release(what)

    def _later(self, job: Job, act: Callable[[], None]) -> None:
        def due() -> None:
            with self._lock:
                if job.leaving is timer:  # not undone
                    act()
                    job.leaving = None

        if job.leaving is None:
            timer = job.leaving = threading.Timer(self._undo, due)
            timer.daemon = True
            timer.start()

    def _run(self, job: Job, work: Callable[[Job], None]) -> None:
        state = self._outcome(job, work)
        if state in ("done", "partial"):
            self._keep(job, state)
        else:
            job.files = {}
            shutil.rmtree(job.folder, ignore_errors=True)
            self._storage.release(job.folder)
            if not (self._is_closing and state == "cancelled"):
                self._results.drop(job.id)
                self._storage.release(job.id)
        _release(job)
        with self._lock:
            self.undo(job)  # it ended before it was cancelled
            job.state = state

    def _outcome(self, job: Job, work: Callable[[Job], None]) -> State:
        try:
            job.check()
            job.clock = Clock()
            job.state = "running"
            with self._measured(job):
                job.folder.mkdir()
                work(job)
            pace = job.clock.pace(job.units)
            if pace is not None:
                job.facts["pace"] = asdict(pace)
            job.progress = 1.0
            return "done"
        except Exception as error:  # a job that fails must not end those behind it
            if job._cancelled:  # of which the error may be a consequence
                return "cancelled"
            job.error = visitor_message(error, *job.inputs).replace(f"{job.folder}/", "")
            return "partial" if isinstance(error, PartialResultError) and job.files else "failed"

    @contextmanager
    def _measured(self, job: Job) -> Iterator[None]:
        """Count the files of a running job, and end it if there is no room for more of them."""
        growth = min(_MAX_GROWTH, self._storage.limit // _GROWTH_OF_STORAGE)
        self._storage.hold(job.folder, growth)
        ended = threading.Event()

        def measure() -> None:
            while not ended.wait(_MEASURE_SECONDS):
                try:
                    self._storage.hold(job.folder, folder_size(job.folder) + growth)
                except TooLargeError as error:
                    job.refuse(str(error))

        thread = threading.Thread(target=measure, name="job files")
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            self._storage.count(job.folder, folder_size(job.folder))

    def _keep(self, job: Job, state: State) -> None:
        """Copy a job's files to the results; if that fails, they stay until the studio ends."""
        work_folder = job.folder
        try:
            files = {name: file for name, (file, _) in job.files.items()}
            record = Record(**{**job.values(), "state": state})
            if not self._results.shares_files_with(work_folder):  # both are there for a while
                self._storage.hold(job.id, self._storage.of(work_folder) + 2 * BLOCK)
            job.folder = self._results.keep(job.id, files, record)
        except (OSError, TooLargeError) as error:
            logger.warning("%s: a result cannot be kept there (%s)", self._results.folder, error)
            lost = "It could not be kept: download it before the studio ends."
            job.error = f"{job.error} {lost}".lstrip()
            self._storage.count(job.id, 2 * BLOCK)
            return
        job.files = {name: (job.folder / name, job.files[name][1]) for name in files}
        shutil.rmtree(work_folder, ignore_errors=True)
        self._storage.count(job.id, folder_size(job.folder))
        self._storage.release(work_folder)


def _release(job: Job) -> None:
    for upload in job.inputs:
        upload.release(job)
