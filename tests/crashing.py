"""Decoders that fail as real ones do, in a module that worker processes can import."""

import os
import signal
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from nst_rt.images.io import Frame
from nst_rt.infer.web.decoding.conversion import Conversion
from nst_rt.infer.web.decoding.images import decode_jpeg
from nst_rt.infer.web.settings import Limits


def apng_reader(path: Path, limits: Limits) -> tuple[str, dict[str, Any]]:
    """A check of images that trusts OpenCV's own reader of animations."""
    shape = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED).shape
    return ".png", {"width": shape[1], "height": shape[0]}


def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def hang() -> None:
    time.sleep(3600)


def hang_at(path: Path, size: int) -> None:
    """A decoder that a file keeps busy, and that says so beside it."""
    path.with_suffix(".busy").touch()
    hang()


def devour() -> int:
    return int(np.ones(50 * 2**30, np.uint8)[-1])


def fail() -> None:
    raise ZeroDivisionError


def tell(path: Path, limits: Limits) -> tuple[str, dict[str, Any]]:
    """A check with a bug."""
    raise AttributeError(f"{path} is a secret")


def accept(path: Path, limits: Limits) -> tuple[str, dict[str, Any]]:
    """A check that finds nothing wrong."""
    return ".jpg", {}


def frame(jpeg: bytes) -> Frame:
    """A decoder of live frames that crashes on short ones."""
    if len(jpeg) < 100:
        crash()
    return decode_jpeg(jpeg)


def convert(conversion: Conversion, sender: Connection) -> None:
    crash()


def convert_for_ever(conversion: Conversion, sender: Connection) -> None:
    hang()


def work(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def tell_and_work(told: Path) -> int:
    """Work forever in the first process, and not in the next one; returns its number."""
    if told.exists():
        return 2
    told.write_text(str(os.getpid()))
    hang()
    return 1
