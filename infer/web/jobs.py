"""Long work: done one after the other in the background, watched, stopped and found again by id."""

import logging
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from nst_rt.errors import InputError, StyleTransferError
from nst_rt.infer.web.engine import Turns
from nst_rt.infer.web.uploads import Upload

logger = logging.getLogger(__name__)

State = Literal["waiting", "running", "done", "failed", "cancelled"]
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
        state: `waiting`, `running`, `done`, `failed` or `cancelled`.
        progress: from 0 to 1.
        note: what it is at, in words.
        error: why it failed.
        files: what can be fetched, by name; the page fetches them anew when their version rises.
        facts: about the result, for the page.
        curve: points (step, value, ...) of what is being minimised.
    """

    def __init__(
        self, kind: str, title: str, owner: str, root: Path, inputs: Sequence[Upload]
    ) -> None:
        self.id = secrets.token_hex(16)
        self.kind = kind
        self.title = title
        self.owner = owner
        self.folder = root / self.id
        self.inputs = tuple(inputs)
        self.state: State = "waiting"
        self.progress = 0.0
        self.note = ""
        self.error = ""
        self.files: dict[str, tuple[Path, int]] = {}
        self.facts: dict[str, Any] = {}
        self.curve: list[tuple[float, ...]] = []
        self.on_remove: Callable[[], None] | None = None
        self._created = time.time()
        self._ask = threading.Event()
        self._cancel = False

    @property
    def active(self) -> bool:
        """Whether it waits or runs."""
        return self.state in ("waiting", "running")

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

    def describe(self) -> dict[str, Any]:
        """What the page is told."""
        every = max(1, -(-len(self.curve) // _POINTS))
        last = self.curve[-1:] if (len(self.curve) - 1) % every else []
        return {
            "id": self.id,
            "kind": self.kind,
            "title": self.title,
            "state": self.state,
            "stopping": self.stopping,
            "progress": self.progress,
            "note": self.note,
            "error": self.error,
            "created": self._created,
            "files": {name: version for name, (_, version) in self.files.items()},
            "facts": self.facts,
            "curve": [*self.curve[::every], *last],
        }


class Jobs:
    """All jobs of all visitors. One runs at a time, so that live pictures stay live.

    Args:
        root: folder that their folders are made in.
        limit: jobs of one visitor that may wait or run.
    """

    def __init__(self, root: Path, *, limit: int) -> None:
        self._root = root
        self._limit = limit
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()
        self._turns = Turns()
        self._threads: list[threading.Thread] = []

    def submit(
        self,
        kind: str,
        title: str,
        owner: str,
        work: Callable[[Job], None],
        inputs: Sequence[Upload] = (),
    ) -> Job:
        """Put work at the end of the line.

        Raises:
            InputError: the visitor has enough of it waiting.
        """
        job = Job(kind, title, owner, self._root, inputs)
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
        """A visitor's jobs, the oldest first."""
        return [job for job in list(self._jobs.values()) if job.owner == owner]

    def find(self, id: str, owner: str) -> Job:
        """The owner's job of that id.

        Raises:
            InputError: there is none.
        """
        job = self._jobs.get(id)
        if job is None or job.owner != owner:
            raise InputError("that job is no longer here")
        return job

    def remove(self, job: Job) -> None:
        """Forget a job that has ended, and its files.

        Raises:
            InputError: it waits or runs.
        """
        if job.active:
            raise InputError("it still runs: cancel it first")
        with self._lock:
            self._jobs.pop(job.id, None)
        if job.on_remove is not None:
            job.on_remove()
        shutil.rmtree(job.folder, ignore_errors=True)

    def remove_oldest(self) -> bool:
        """Forget the oldest job that has ended; False if there is none."""
        for job in list(self._jobs.values()):
            if not job.active:
                self.remove(job)
                return True
        return False

    def close(self) -> None:
        """Cancel all jobs, and wait until they have ended."""
        for job in list(self._jobs.values()):
            job.stop(keep=False)
        for thread in self._threads:
            thread.join()

    def _run(self, job: Job, work: Callable[[Job], None]) -> None:
        with self._turns:
            state = self._outcome(job, work)
            if state != "done":
                job.files = {}
                shutil.rmtree(job.folder, ignore_errors=True)
            for upload in job.inputs:
                upload.users.discard(job)
            job.state = state

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
        except Exception as error:  # a job that fails must not end those behind it
            if not isinstance(error, StyleTransferError):
                logger.exception("a job failed: %s", job.title)
            job.error = _explained(error, job)
            return "failed"


def _explained(error: Exception, job: Job) -> str:
    """An error's message without the places where the files are."""
    text = str(error) if isinstance(error, StyleTransferError) else f"a fault of ours ({error!r})"
    for upload in job.inputs:
        text = text.replace(str(upload.path), upload.name)
    return text.replace(f"{job.folder}/", "")
