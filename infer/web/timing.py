"""How long jobs take: what is left of one that runs, and what earlier ones of this machine took."""

import math
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from nst_rt.infer.web.results import Kind, Record

_MEMORY = 30.0  # seconds after which a pace counts a third
_MIN_SECONDS = 3.0  # before the pace is known
_LAST = 5  # jobs whose pace counts


@dataclass(frozen=True)
class Pace:
    """How long a kind of job takes.

    Attributes:
        start: seconds before the first step, such as those in which networks are loaded.
        unit: seconds for each unit of work: a step of a training, a pixel of an optimized image, a
            pixel of a video's frames.
    """

    start: float
    unit: float

    def seconds(self, units: float) -> float:
        """Seconds for so much work."""
        return self.start + self.unit * units


# Measured on two cores of an AMD EPYC (Zen 4): videos of 1280x720, PNG files of 12 megapixels,
# images of 512x512 that are optimized with the default steps, and the recipe `new_style`.
_MEASURED_CORES = 2
_MEASURED: Mapping[Kind, Pace] = {
    "video": Pace(start=3, unit=1 / (20 * 1280 * 720)),
    "images": Pace(start=1, unit=0.3e-6),
    "optimize": Pace(start=5, unit=115 / 512**2),
    "train": Pace(start=25, unit=1.25),
}


class Clock:
    """Estimates what is left of a job, by how fast its progress rose lately."""

    def __init__(self) -> None:
        self._created = time.monotonic()
        self._first: tuple[float, float] | None = None  # time and progress of the first report
        self._last = (0.0, 0.0)
        # Sums over the past, in which what is long ago counts less.
        self._progress = self._seconds = 0.0

    def update(self, progress: float) -> None:
        """Note the progress, from 0 to 1; nothing is estimated before it rises above 0."""
        now = time.monotonic()
        if progress <= 0:
            return
        if self._first is None:
            self._first = (now, progress)
        else:
            seconds = now - self._last[0]
            fade = math.exp(-seconds / _MEMORY)
            self._progress = self._progress * fade + progress - self._last[1]
            self._seconds = self._seconds * fade + seconds
        self._last = (now, progress)

    @property
    def left(self) -> float | None:
        """Seconds that are left; None until they can be estimated."""
        when, progress = self._last
        if self._first is None or when - self._first[0] < _MIN_SECONDS or self._progress <= 0:
            return None
        due = (1 - progress) * self._seconds / self._progress
        return max(due - (time.monotonic() - when), 0.0)

    def pace(self, units: float) -> Pace | None:
        """The pace of a job of so many units, by its reports; None if they are too close."""
        if self._first is None or units <= 0:
            return None
        (begin, first), (end, last) = self._first, self._last
        if end - begin < _MIN_SECONDS or last <= first:  # a video longer than its file says
            return None
        seconds = (end - begin) / (last - first)  # for all of it
        return Pace(max(begin - self._created - first * seconds, 0.0), seconds / units)


def pace_of(kind: Kind, records: Iterable[Record]) -> Pace:
    """The pace to expect: that of the last jobs of this kind, else a measured one by the cores.

    It is zero if nothing is known.
    """
    known = [
        pace
        for record in records
        if record.kind == kind and (pace := _read(record.facts.get("pace"))) is not None
    ][-_LAST:]
    if known:
        return Pace(median(each.start for each in known), median(each.unit for each in known))
    typical = _MEASURED.get(kind, Pace(0, 0))
    faster = (os.cpu_count() or _MEASURED_CORES) / _MEASURED_CORES
    return Pace(typical.start, typical.unit / faster)


def _read(fact: Any) -> Pace | None:
    """A pace as it was kept; None for anything else that a file may say."""
    try:
        pace = Pace(float(fact["start"]), float(fact["unit"]))
    except (TypeError, KeyError, ValueError):
        return None
    return pace if 0 <= pace.start < math.inf and 0 < pace.unit < math.inf else None
