"""Long work: done one after the other in the background, watched, stopped and found again by id.

What has ended well is kept in the folder of results, and found again by the next studio, too.
"""

import contextlib
import logging
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from nst_rt.errors import InputError, PartialResultError, StyleTransferError
from nst_rt.infer.web.engine import Turns
from nst_rt.infer.web.storage import RECORD, Kind, Result, Results, folder_size, remove_folder
from nst_rt.infer.web.uploads import Upload

logger = logging.getLogger(__name__)

State = Literal["waiting", "running", "done", "partial", "failed", "cancelled"]
_POINTS = 200  # of a curve that the page gets


class CancelledJobError(StyleTransferError):
    """Someone cancelled the job, or the studio closes."""


class Job:
    """One piece of long work, and what the page may know of it.

    Attributes:
        id: that only its owner knows.
        kind: `video`, `optimize` or `train`.
        title: for people.
        owner: the visitor who wants it.
        folder: that all its files are in; it is removed with the job.
        inputs: files that it needs.
        state: `waiting`, `running`, `done`, `partial`, `failed` or `cancelled`.
        progress: from 0 to 1.
        note: what it is at, in words.
        error: why it failed, or what is missing.
        files: what can be fetched, by name; the page fetches them anew when their version rises.
        facts: about the result, for the page.
        curve: points (step, value, ...) of what is being minimized.
        leaving: ends it, if it is active, or removes it, unless that is taken back before.
        size: bytes of its files, once they are kept.
    """

    def __init__(
        self, kind: Kind, title: str, owner: str, folder: Path, inputs: Sequence[Upload] = ()
    ) -> None:
        self.id = folder.name
        self.kind = kind
        self.title = title
        self.owner = owner
        self.folder = folder
        self.inputs = tuple(inputs)
        self.state: State = "waiting"
        self.progress = 0.0
        self.note = ""
        self.error = ""
        self.files: dict[str, tuple[Path, int]] = {}
        self.facts: dict[str, Any] = {}
        self.curve: list[tuple[float, ...]] = []
        self.on_remove: Callable[[], None] | None = None
        self.leaving: threading.Timer | None = None
        self.size = 0
        self._created = time.time()
        self._ask = threading.Event()
        self._cancel = False

    @classmethod
    def restored(cls, folder: Path, result: Result) -> "Job":
        """The job that left a result."""
        job = cls(result.kind, result.title, result.owner, folder)
        job.state, job.progress, job.note, job.error = result.state, 1.0, result.note, result.error
        job.facts, job.curve, job._created = dict(result.facts), result.curve, result.created
        job.files = {file.name: (file, 1) for file in folder.iterdir() if file.name != RECORD}
        job.size = folder_size(folder)
        return job

    @property
    def active(self) -> bool:
        """Whether it waits or runs."""
        return self.state in ("waiting", "running")

    @property
    def hidden(self) -> bool:
        """Whether it is being removed."""
        return self.leaving is not None and not self.active

    @property
    def stopping(self) -> bool:
        """Whether it is to end early and keep what it has; `check` tells of cancelling."""
        return self._ask.is_set()

    def stop(self, *, keep: bool) -> None:
        """Ask it to end: with what it has, or with nothing."""
        self._cancel = self._cancel or not keep
        self._ask.set()
        if self._cancel and self.state == "waiting":
            self.state = "cancelled"

    def check(self) -> None:
        """Called by the work, often.

        Raises:
            CancelledJobError: it is to end with nothing.
        """
        if self._cancel:
            raise CancelledJobError("cancelled")

    def report(self, progress: float, note: str) -> None:
        """How far the work is.

        Raises:
            CancelledJobError: see `check`.
        """
        self.check()
        self.progress, self.note = min(progress, 1.0), note

    def offer(self, name: str, path: Path) -> None:
        """Let the page fetch a file, or its new version."""
        self.files = {**self.files, name: (path, self.files.get(name, (path, 0))[1] + 1)}

    def result(self, state: Literal["done", "partial"]) -> Result:
        """Its record, when it has come to that state."""
        return Result(
            self.kind,
            self.title,
            self.owner,
            state,
            self.note,
            self.error,
            self._created,
            self.facts,
            self._thinned_curve(),
        )

    def describe(self) -> dict[str, Any]:
        """What the page is told."""
        return {
            "id": self.id,
            "kind": self.kind,
            "title": self.title,
            "state": self.state,
            "stopping": self.stopping or self.leaving is not None,
            "progress": self.progress,
            "note": self.note,
            "error": self.error,
            "created": self._created,
            "files": {name: version for name, (_, version) in self.files.items()},
            "facts": self.facts,
            "curve": self._thinned_curve(),
        }

    def _thinned_curve(self) -> list[tuple[float, ...]]:
        every = max(1, -(-len(self.curve) // _POINTS))
        last = self.curve[-1:] if (len(self.curve) - 1) % every else []
        return [*self.curve[::every], *last]


class Jobs:
    """All jobs of all visitors. One runs at a time, so that live pictures stay live.

    Args:
        root: folder that the work is done in.
        results: that are kept; jobs of earlier studios are found there.
        limit: jobs of one visitor that may wait or run.
        undo: seconds in which removing and cancelling can be taken back.
    """

    def __init__(self, root: Path, results: Results, *, limit: int, undo: float) -> None:
        self._root = root
        self._results = results
        self._limit = limit
        self._undo = undo
        self._jobs: dict[str, Job] = {}
        for folder, result in results.earlier():
            with contextlib.suppress(FileNotFoundError):  # another studio removes it just now
                self._jobs[folder.name] = Job.restored(folder, result)
        self._lock = threading.Lock()
        self._turns = Turns()
        self._threads: list[threading.Thread] = []

    def __iter__(self) -> Iterator[Job]:
        """All of them, the oldest first."""
        return iter(list(self._jobs.values()))

    @property
    def stored(self) -> int:
        """Bytes of all their files."""
        return sum(job.size or folder_size(job.folder) for job in self)

    def submit(
        self,
        kind: Kind,
        title: str,
        owner: str,
        work: Callable[[Job], None],
        inputs: Sequence[Upload] = (),
    ) -> Job:
        """Put work at the end of the line.

        Raises:
            InputError: the visitor has enough of it waiting.
        """
        job = Job(kind, title, owner, self._root / secrets.token_hex(16), inputs)
        with self._lock:
            if sum(other.active for other in self.of(owner)) >= self._limit:
                raise InputError(f"{self._limit} jobs are waiting already; let some of them finish")
            self._jobs[job.id] = job
            for upload in inputs:
                upload.users.add(job)
            # Started in order, so that they draw their turns in order.
            thread = threading.Thread(target=self._run, args=(job, work), name=f"job {kind}")
            thread.start()
            self._threads = [*(t for t in self._threads if t.is_alive()), thread]
        return job

    def of(self, owner: str) -> list[Job]:
        """A visitor's jobs, the oldest first, without those that are being removed."""
        return [job for job in self if job.owner == owner and not job.hidden]

    def find(self, id: str, owner: str) -> Job:
        """The owner's job of that id.

        Raises:
            InputError: there is none.
        """
        job = self._jobs.get(id)
        if job is None or job.owner != owner:
            raise InputError("that job is no longer here")
        return job

    def cancel(self, job: Job) -> None:
        """End a job with nothing, unless that is taken back in time, or the job ends before."""
        with self._lock:
            if job.active:
                self._later(job, lambda: job.stop(keep=False))

    def remove(self, job: Job) -> None:
        """Forget a job that has ended, and its files, unless that is taken back in time.

        Raises:
            InputError: it waits or runs.
        """
        with self._lock:
            if job.active:
                raise InputError("it still runs: cancel it first")
            self._later(job, lambda: self._forget(job))

    def take_back(self, job: Job) -> None:
        """Neither cancel nor remove a job that was to be."""
        with self._lock:
            self._stay(job)

    def close(self) -> None:
        """End all jobs, and wait until they have ended. What was being removed stays."""
        for job in self:
            self.take_back(job)
            job.stop(keep=False)
        for thread in self._threads:
            thread.join()

    def _later(self, job: Job, act: Callable[[], None]) -> None:
        def due() -> None:
            with self._lock:
                if job.leaving is timer:  # not taken back
                    act()
                    job.leaving = None

        if job.leaving is None:
            timer = job.leaving = threading.Timer(self._undo, due)
            timer.daemon = True
            timer.start()

    def _stay(self, job: Job) -> None:
        if job.leaving is not None:
            job.leaving.cancel()
            job.leaving = None

    def _forget(self, job: Job) -> None:
        del self._jobs[job.id]
        if job.on_remove is not None:
            job.on_remove()
        if job.folder.exists():
            remove_folder(job.folder)

    def _run(self, job: Job, work: Callable[[Job], None]) -> None:
        with self._turns:
            state = self._outcome(job, work)
            if state == "done" or state == "partial":
                self._keep(job, job.result(state))
            else:
                job.files = {}
                shutil.rmtree(job.folder, ignore_errors=True)
            for upload in job.inputs:
                upload.users.discard(job)
            with self._lock:
                self._stay(job)  # one that ended before it was cancelled is there
                job.state = state

    def _keep(self, job: Job, result: Result) -> None:
        """Take a job's files to the results; if that fails, they stay until the studio ends."""
        done = job.folder
        try:
            files = {name: file for name, (file, _) in job.files.items()}
            job.folder = self._results.keep(job.id, files, result)
        except OSError as error:
            logger.warning("%s: a result cannot be kept there (%s)", self._results.folder, error)
            lost = "It could not be kept: download it before the studio ends."
            job.error = f"{job.error} {lost}".lstrip()
            return
        job.files = {name: (job.folder / name, job.files[name][1]) for name in files}
        job.size = folder_size(job.folder)
        shutil.rmtree(done, ignore_errors=True)

    def _outcome(self, job: Job, work: Callable[[Job], None]) -> State:
        try:
            job.check()
            job.state = "running"
            job.folder.mkdir()
            work(job)
            job.progress = 1.0
            return "done"
        except CancelledJobError:
            return "cancelled"
        except PartialResultError as error:
            job.error = _explained(error, job)
            return "partial" if job.files else "failed"
        except Exception as error:  # a job that fails must not end those behind it
            if not isinstance(error, StyleTransferError):
                logger.exception("a job failed: %s", job.title)
            job.error = _explained(error, job)
            return "failed"


def _explained(error: Exception, job: Job) -> str:
    """An error's message without the places where the files are."""
    text = str(error) if isinstance(error, StyleTransferError) else "internal error"
    for upload in job.inputs:
        text = text.replace(str(upload.path), upload.name)
    return text.replace(f"{job.folder}/", "")
