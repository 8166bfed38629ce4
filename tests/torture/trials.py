"""Files tried in worker processes, so that crashes, hangs and memory count as outcomes."""

import json
import os
import select
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Literal

# `image` is tried by `load_image` and `stylize_images`; `photo` by `nst-rt image`; `video` by
# `probe` and `stylize_video`; `model` by `StyleModel.load` and `load_style`; `recipe` by `nst-rt
# train --config`; `compared` is `image`, and compares colors with Pillow's own.
Kind = Literal["image", "photo", "video", "model", "recipe", "compared"]
# `refused`: a StyleTransferError of one line, or exit code 2 with one line.
Outcome = Literal["done", "refused", "traceback", "hang", "crash", "memory"]
OUTCOMES: tuple[Outcome, ...] = ("done", "refused", "traceback", "hang", "crash", "memory")

FREE = 1.5e9  # bytes that the library takes for the free memory
BOUND = 2e9  # bytes that a worker may grow by while it tries a file
LIMIT = 60.0  # seconds of the processor for a file
_START = 60.0  # more for the first file, which imports everything
_WAITS = 10  # times the limit by the clock, on a machine that others use, too
_WORKER = Path(__file__).with_name("worker.py")


@dataclass(frozen=True)
class Trial:
    """What became of a file.

    Attributes:
        path: the file.
        kind: what it was tried as.
        outcome: see `Outcome`.
        detail: the error, or a remark.
        seconds: wall-clock time.
        growth: peak memory beyond that of the waiting worker, bytes.
    """

    path: Path
    kind: Kind
    outcome: Outcome
    detail: str
    seconds: float
    growth: float

    def __str__(self) -> str:
        return (
            f"{self.outcome:9} {self.seconds:5.1f} s {self.growth / 1e6:5.0f} MB {self.kind} "
            f"{self.path.name}: {self.detail}"
        )


def run_trials(
    files: Iterable[tuple[Kind, Path]], *, workers: int = 2, limit: float = LIMIT
) -> list[Trial]:
    """Try files, several one after the other in each of some worker processes."""
    waiting: SimpleQueue[tuple[Kind, Path]] = SimpleQueue()
    for each in files:
        waiting.put(each)
    trials: list[Trial] = []

    def work() -> None:
        worker = _Worker()
        try:
            while True:
                kind, path = waiting.get_nowait()
                trials.append(worker.trial(kind, path, limit))
        except Empty:
            worker.end()

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return trials


def faults(trials: Sequence[Trial]) -> str:
    """Those that are neither done nor refused, one a line."""
    return "\n".join(str(each) for each in trials if each.outcome not in ("done", "refused"))


def table(trials: Sequence[Trial], *, title: str = "files") -> str:
    """Markdown: a line for each kind, with a column for each outcome."""
    lines = [f"| {title} | tried | " + " | ".join(OUTCOMES) + " |", "|---" * 8 + "|"]
    for kind in sorted({each.kind for each in trials}):
        counts = Counter(each.outcome for each in trials if each.kind == kind)
        row = [kind, str(counts.total()), *(str(counts[outcome]) for outcome in OUTCOMES)]
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


class _Worker:
    """A process that tries one file after the other; started again after a crash or a hang."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        self._is_new = True

    def trial(self, kind: Kind, path: Path, limit: float) -> Trial:
        process = self._started()
        assert process.stdin is not None
        process.stdin.write(json.dumps([kind, str(path)]).encode() + b"\n")
        process.stdin.flush()
        begin = time.monotonic()
        limit = limit + _START if self._is_new else limit
        answer, outcome = self._answer(process, limit)
        seconds = time.monotonic() - begin
        if answer is not None:
            self._is_new = False
            found: Outcome = answer["outcome"]
            growth = float(answer["growth"])
            if found in ("done", "refused") and growth > BOUND:
                found = "memory"
            return Trial(path, kind, found, answer["detail"], float(answer["seconds"]), growth)
        process.kill()
        code = process.wait()
        self._process = None
        detail = f"exit code {code}" if outcome == "crash" else "ended"
        return Trial(path, kind, outcome, f"{detail} {self._last_error()}", seconds, 0)

    def end(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            self._process.wait()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, str(_WORKER), str(FREE)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"},
            )
            self._is_new = True
        return self._process

    def _answer(
        self, process: "subprocess.Popen[bytes]", limit: float
    ) -> tuple[dict[str, str] | None, Outcome]:
        """The answer of a worker, or why there is none."""
        assert process.stdout is not None
        idle = None if self._is_new else _resident(process.pid)
        end, spent = time.monotonic() + _WAITS * limit, _processor_time(process.pid)
        while time.monotonic() < end and _processor_time(process.pid) - spent < limit:
            if select.select([process.stdout], [], [], 0.1)[0]:
                line = process.stdout.readline()
                return (json.loads(line) if line else None), "crash"
            if idle is not None and _resident(process.pid) - idle > 2 * BOUND:
                return None, "memory"
        return None, "hang"

    def _last_error(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").splitlines()
        frames = [line.strip() for line in lines if "File" in line and "site-packages" in line]
        return " ".join([*lines[:1], *frames[:2], *lines[-1:]])[:400]


def _resident(pid: int) -> float:
    """Memory of a process, bytes."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    except (OSError, IndexError):
        return 0.0
    return float(pages) * os.sysconf("SC_PAGE_SIZE")


def _processor_time(pid: int) -> float:
    """Seconds of the processor that a process took."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
