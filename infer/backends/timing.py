"""Frame rates, measured."""

import statistics
import time
from collections.abc import Callable

from nst_rt.images.io import Frame

_MIN_CALLS = 5
_MIN_SECONDS = 1.0


def frames_per_second(stylize: Callable[[Frame], object], frame: Frame) -> float:
    """Median rate of repeated calls, after a first one that may compile."""
    stylize(frame)
    seconds: list[float] = []
    while len(seconds) < _MIN_CALLS or sum(seconds) < _MIN_SECONDS:
        start = time.perf_counter()
        stylize(frame)
        seconds.append(time.perf_counter() - start)
    return 1 / statistics.median(seconds)
