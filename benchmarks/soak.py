"""A live session for a long time: memory, threads, file descriptors and latency must stay flat.

    pip install 'nst-rt[plot]'
    python benchmarks/soak.py -o docs/soak.png

A looping clip, opened anew each time it ends, takes the path of `nst-rt webcam` without a window:
`Camera`, `AdaptiveStylizer`, `LiveSession`. The style changes every few seconds, and ten seconds
of each minute are recorded. A sink notes the age of each frame since the camera delivered it, and
takes a sample every few seconds, with the median age since the last one. After the warm-up the
slope of each quantity is that of Theil and Sen (the median slope of all pairs of samples), which
outliers do not move. A quantity is flat if its rise over the whole run is below its noise (twice
the standard deviation of the samples about that line, estimated by the median absolute deviation)
or below a small fraction of its median.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
import psutil

from nst_rt.cli import set_up_process
from nst_rt.files import atomic_output
from nst_rt.infer.adaptive import AdaptiveStylizer, LiveStyle
from nst_rt.infer.frame_stylizer import FrameStylizer
from nst_rt.infer.frames import TimedFrame
from nst_rt.infer.live.camera import TIME_BASE, Camera
from nst_rt.infer.live.controls import LiveControls
from nst_rt.infer.live.session import IDLE_SECONDS, LiveSession, stylized_frames
from nst_rt.infer.packaged import packaged_film
from nst_rt.infer.stability.stabilizer import Stabilizer
from nst_rt.infer.stylizer import Stylizer
from nst_rt.infer.threads import polled
from nst_rt.infer.timeline import load_blend

QUANTITIES = ("memory, MiB", "threads", "file descriptors", "latency, ms")
_TOLERATED = 0.02  # rise over the run as a fraction of the median
_SHORTEST = 10  # samples that a slope needs
_ROTATE = 7.0  # seconds from one style to the next
_RECORDED = 10.0  # seconds of each minute that are recorded


@dataclass(frozen=True)
class Trend:
    """How a quantity changed over a run.

    Attributes:
        median: of the samples.
        rise: from the beginning of the run to its end, by the slope.
        noise: twice the standard deviation of the samples about the slope.
    """

    median: float
    rise: float
    noise: float

    @property
    def is_flat(self) -> bool:
        return self.rise <= max(self.noise, _TOLERATED * self.median)


class SampledSink:
    """Samples this process while it takes frames; a `Sink`.

    Args:
        controls: whose recording is switched on and off each minute.
        every: seconds from sample to sample.

    Attributes:
        samples: seconds since the first frame, then `QUANTITIES`.
        frames: number of frames.
    """

    def __init__(self, controls: LiveControls, every: float) -> None:
        self.samples: list[tuple[float, ...]] = []
        self.frames = 0
        self._controls, self._every = controls, every
        self._process = psutil.Process()
        self._ages: list[int] = []
        self._begin = 0.0

    def write(self, frame: TimedFrame) -> None:
        """Note the age of a frame, and take a sample when it is time."""
        now = time.perf_counter()
        self._begin = self._begin or now
        self.frames += 1
        self._ages.append(time.perf_counter_ns() - frame.pts)
        seconds = now - self._begin
        self._controls.recording = seconds % 60 >= 60 - _RECORDED
        if seconds >= self._every * (len(self.samples) + 1):
            latency = 1000 * float(statistics.median(self._ages) * TIME_BASE)
            memory = self._process.memory_info().rss / 2**20
            counts = self._process.num_threads(), self._process.num_fds()
            self.samples.append((seconds, memory, *counts, latency))
            self._ages.clear()

    def close(self) -> None:
        """Nothing is left to do."""


def main() -> None:
    """Print a Markdown table and write the chart; exit with 1 if a quantity is not flat."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, metavar="CHART", help="image file to write")
    parser.add_argument("--json", type=Path, metavar="FILE", help="file to write the samples to")
    parser.add_argument("--source", default=str(packaged_film()), help="video file to loop")
    parser.add_argument("--minutes", type=float, default=20.0, help="length of the run")
    parser.add_argument("--every", type=float, default=5.0, help="seconds from sample to sample")
    parser.add_argument("--warm-up", type=float, default=120.0, help="seconds left out of slopes")
    parser.add_argument("--size", default="320x180", metavar="WxH")
    parser.add_argument("--fps", type=float, default=15.0, help="frame rate to hold")
    options = parser.parse_args()
    set_up_process()  # as `nst-rt webcam` does
    width, height = (int(side) for side in options.size.split("x"))
    samples, frames = soaked(
        options.source, (width, height), options.fps, 60 * options.minutes, options.every
    )
    if options.json:
        options.json.write_text(json.dumps([QUANTITIES, samples]))
    settled = [sample for sample in samples if sample[0] >= options.warm_up]
    if len(settled) < _SHORTEST:
        parser.error("too few samples after the warm-up: take more `--minutes`")
    trends = [trend([s[0] for s in settled], [s[n] for s in settled]) for n in range(1, 5)]
    print(f"{frames} frames in {samples[-1][0]:.0f} s, {len(settled)} samples after the warm-up\n")
    print("| | median | rise over the run | noise | |")
    print("| --- | --- | --- | --- | --- |")
    for name, each in zip(QUANTITIES, trends, strict=True):
        verdict = "flat" if each.is_flat else "**rises**"
        print(f"| {name} | {each.median:.1f} | {each.rise:+.2f} | {each.noise:.2f} | {verdict} |")
    if options.output:
        draw(samples, options.warm_up, options.output)
    raise SystemExit(not all(each.is_flat for each in trends))


def soaked(
    source: str, size: tuple[int, int], fps: float, seconds: float, every: float
) -> tuple[list[tuple[float, ...]], int]:
    """Samples of a live session and the number of its frames, see `SampledSink`."""
    style_set, blend = load_blend("starry_night", with_gallery=True)
    controls = LiveControls(dict(style_set.titles), LiveStyle(blend), rotate=_ROTATE)
    sink = SampledSink(controls, every)
    camera = Camera(source, size=size, loop=True)
    stylizer = Stylizer(style_set, blend)
    loading: Future[AdaptiveStylizer] = Future()
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(camera),
        closing(
            AdaptiveStylizer(FrameStylizer(stylizer, stabilizer=Stabilizer()), fps)
        ) as adaptive,
    ):
        adaptive.calibrate(camera.size[1], camera.size[0])
        style_set.prepare()
        loading.set_result(adaptive)
        session = LiveSession(controls, None, [sink], folder=Path(folder))
        with (
            closing(session),
            closing(polled(camera.frames(), seconds=IDLE_SECONDS, drop=True)) as frames,
            closing(
                polled(stylized_frames(frames, loading, controls), seconds=IDLE_SECONDS)
            ) as shown,
        ):
            session.run(shown, duration=seconds)
    return sink.samples, sink.frames


def trend(times: Sequence[float], values: Sequence[float]) -> Trend:
    """Slope by Theil and Sen, as the rise over all times, and the noise about it."""
    x, y = np.asarray(times, float), np.asarray(values, float)
    first, second = np.triu_indices(len(x), 1)
    slope = float(np.median((y[second] - y[first]) / (x[second] - x[first])))
    rest = y - slope * x
    deviation = 1.4826 * float(np.median(np.abs(rest - np.median(rest))))
    return Trend(float(np.median(y)), slope * float(x[-1] - x[0]), 2 * deviation)


def draw(samples: Sequence[tuple[float, ...]], warm_up: float, output: Path) -> None:
    """Write the chart, the warm-up in gray."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, places = plt.subplots(2, 2, figsize=(9, 5), dpi=90, sharex=True, layout="constrained")
    minutes = [sample[0] / 60 for sample in samples]
    for number, (name, axes) in enumerate(zip(QUANTITIES, places.flat, strict=True), 1):
        values = [sample[number] for sample in samples]
        axes.plot(minutes, values, linewidth=1)
        axes.axvspan(0, warm_up / 60, color="0.9")
        axes.set_title(name, fontsize=10)
        axes.set_ylim(0, 1.3 * max(values))
    for axes in places[-1]:
        axes.set_xlabel("minutes")
    with atomic_output(output) as temporary:
        figure.savefig(temporary, format=output.suffix[1:] or "png")


if __name__ == "__main__":
    main()
