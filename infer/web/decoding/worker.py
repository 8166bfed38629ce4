"""What happens in a worker process: its limits, its tasks, and how results leave it."""

import errno
import multiprocessing
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from nst_rt.errors import InputError, StyleTransferError
from nst_rt.files import is_disk_full

# Imported here, so that the process that workers are forked from has them.
from nst_rt.infer.web.decoding import checks, images, videos
from nst_rt.infer.web.decoding.processes import largest_file

__all__ = ["checks", "images", "videos"]

_MAX_THREADS = 4  # of PyTorch and of OpenCV; each has a stack, which counts as memory
_MAX_FILES = 256
_LIKELY_KILLED = 500  # on the scale of Linux, to 1000, which says whom to kill for lack of memory
# Numbers of prctl and fcntl on Linux.
_SET_NO_NEW_PRIVILEGES, _SET_SIGNAL = 38, 10


@dataclass(frozen=True)
class Outcome:
    """How a task ended, other than by a crash.

    Attributes:
        packed: the result, pickled without its buffers; None after an error.
        sizes: bytes of its buffers, which are in the file of the worker.
        refusal: an error of the input.
        lacks: what the task needed more of than it may use, in words, such as "too much memory".
        bug: traceback of any other error.
    """

    packed: bytes | None = None
    sizes: tuple[int, ...] = ()
    refusal: StyleTransferError | None = None
    lacks: str = ""
    bug: str = ""


def begin_small(memory: int) -> None:
    """`begin` for a process with a few threads, which may use `memory` more bytes than now."""
    torch.set_num_threads(min(torch.get_num_threads(), _MAX_THREADS))
    cv2.setNumThreads(min(cv2.getNumThreads(), _MAX_THREADS))
    begin()
    if sys.platform != "linux":
        return
    import resource

    status = Path("/proc/self/status").read_text()
    [used] = (line.split()[1] for line in status.splitlines() if line.startswith("VmData:"))
    _limit(resource.RLIMIT_DATA, int(used) * 1024 + memory)
    _limit(resource.RLIMIT_NOFILE, _MAX_FILES)


def begin() -> None:
    """Make this process end with the studio, without a core dump, and before others (on Linux)."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a handler would wait for the decoder
    if sys.platform != "linux":
        return
    import ctypes
    import fcntl
    import resource

    ctypes.CDLL(None).prctl(_SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    # The kernel kills it when the other end of a pipe is closed, which the studio holds: a thread
    # would wait for a decoder that hangs. Its parent for the kernel is the process it was forked
    # from, which does not end before it.
    studio = multiprocessing.parent_process()
    assert studio is not None
    fcntl.fcntl(studio.sentinel, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(studio.sentinel, _SET_SIGNAL, signal.SIGKILL)
    flags = fcntl.fcntl(studio.sentinel, fcntl.F_GETFL)
    fcntl.fcntl(studio.sentinel, fcntl.F_SETFL, flags | os.O_ASYNC)
    if not studio.is_alive():  # it was closed before
        os._exit(1)
    with suppress(OSError):  # where it is not allowed
        Path("/proc/self/oom_score_adj").write_text(str(_LIKELY_KILLED))
    _limit(resource.RLIMIT_CORE, 0)


def _limit(resource_number: int, value: int) -> None:
    import resource

    _, hard = resource.getrlimit(resource_number)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(resource_number, (value, value))


def perform(task: Callable[[], object], file: Path, writes: int) -> Outcome:
    """Run a task; arrays in its result go into the file, since a pipe is ten times slower.

    No file gets larger than `writes` bytes (on Linux), 0 for any size.
    """
    with largest_file(writes):
        return _performed(task, file)


def _performed(task: Callable[[], object], file: Path) -> Outcome:
    try:
        result = task()
        buffers: list[pickle.PickleBuffer] = []
        packed = pickle.dumps(result, 5, buffer_callback=buffers.append)
        raw = [buffer.raw() for buffer in buffers]
        if raw:
            with file.open("wb") as opened:
                for each in raw:
                    opened.write(each)
        return Outcome(packed, tuple(each.nbytes for each in raw))
    except Exception as error:
        causes = list(_causes(error))
        if any(map(_lacks_memory, causes)):
            return Outcome(lacks="too much memory")
        if any(isinstance(each, OSError) and each.errno == errno.EFBIG for each in causes):
            return Outcome(lacks="too large a file")
        if isinstance(error, StyleTransferError):
            return Outcome(refusal=error)
        if isinstance(error, OSError) and is_disk_full(error):
            return Outcome(refusal=InputError("the disk of the studio is full"))
        return Outcome(bug=traceback.format_exc())


def unpack(outcome: Outcome, file: Path) -> object:
    """The result of a task, from what `perform` returned and wrote."""
    assert outcome.packed is not None
    buffers = [np.empty(size, np.uint8) for size in outcome.sizes]
    if buffers:
        with file.open("rb") as opened:
            for buffer in buffers:
                opened.readinto(buffer.data)
    return pickle.loads(outcome.packed, buffers=buffers)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and those that led to it."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _lacks_memory(error: BaseException) -> bool:
    if isinstance(error, cv2.error):
        return error.code == cv2.Error.STS_NO_MEM
    is_torch = isinstance(error, RuntimeError) and "allocate memory" in str(error)
    return is_torch or isinstance(error, MemoryError)
