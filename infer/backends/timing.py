"""How fast something stylizes."""

import statistics
import time
from collections.abc import Callable

from nst_rt.images.io import Frame

_CALLS = 5
_SECONDS = 1.0


def frames_per_second(stylize: Callable[[Frame], object], frame: Frame) -> float:
    """Median rate of repeated calls, the first of which, which compiles, is left out."""
    stylize(frame)
    seconds: list[float] = []
    while len(seconds) < _CALLS or sum(seconds) < _SECONDS:
        start = time.perf_counter()
        stylize(frame)
        seconds.append(time.perf_counter() - start)
    return 1 / statistics.median(seconds)
