"""Throughput of the farm with one and two workers of one core each, beside one process on one core.

    python benchmarks/scale.py

One or two nodes of a local Ray cluster are pinned to one core each, and a process without Ray to
the first. All take turns, and the table has medians. The head node, which has no worker, and this
process, which gives out the work, are on the last core: with one worker they have it to
themselves, as a machine of their own; two workers share it with them, and count for less than
elsewhere.

Videos are measured whole, with a style that each run loads again, but without the connection to the
cluster. Photos are measured from the first result on, since each run starts its workers anew; the
seconds until then are shown beside. Stability is 0: what warm-up frames cost follows from their
number.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

# Before Ray is imported: without it Ray replaces 127.0.0.1 by the machine's address.
os.environ |= {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_memory_monitor_refresh_ms": "0",  # other work on this machine is none of its business
    "OMP_NUM_THREADS": "1",
}

import av
from PIL import Image

from nst_rt.infer.backends.openvino import core
from nst_rt.infer.farm.cluster import connected
from nst_rt.infer.farm.images import stylize_images_on_farm
from nst_rt.infer.packaged import packaged_film
from nst_rt.infer.photos import stylize_images
from nst_rt.infer.video import stylize_video

_STORE = 200 * 2**20  # bytes
_SEGMENT = 264  # frames; about as many as by default, and the default film has four equal ones
ONE = "one process, one core"
WORK = ("video", "photos")


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=480, help="long side, pixels")
    parser.add_argument("--repeats", type=int, default=8, help="of the film of 132 frames")
    parser.add_argument("--photos", type=int, default=256, help="number of photos")
    parser.add_argument("--rounds", type=int, default=3, help="number of measurements")
    parser.add_argument("--workers", type=int, choices=(1, 2), default=2, help="the most workers")
    parser.add_argument("--work", nargs="+", choices=WORK, default=WORK, help="what is measured")
    parser.add_argument("--measure", choices=WORK, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:  # the process without Ray
        measure = video if options.measure == "video" else photos
        measure(options.folder, options.size)
        print(*measure(options.folder, options.size))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        frames = make_inputs(folder, options.repeats, options.photos)
        seconds: dict[str, dict[str, list[tuple[float, float]]]] = {}
        for _ in range(options.rounds):
            for mode, measure in modes(folder, options.size, options.workers).items():
                for work in options.work:
                    seconds.setdefault(work, {}).setdefault(mode, []).append(measure(work))
    processor = str(core().get_property("CPU", "FULL_DEVICE_NAME")).strip()
    print(f"{processor}, {os.cpu_count()} cores; load {os.getloadavg()[0]:.1f}\n")
    print_table({"video": frames, "photos": options.photos}, seconds)


def make_inputs(folder: Path, repeats: int, count: int) -> int:
    """Write a film and photos of its frames; returns the number of frames."""
    album = folder / "album"
    album.mkdir()
    with av.open(str(packaged_film())) as film:
        images = [frame.to_image() for frame in film.decode(video=0)]
    with av.open(str(folder / "film.mp4"), "w") as output:
        stream = output.add_stream("libx264", 25, options={"g": "33"})
        stream.width, stream.height = images[0].size
        stream.pix_fmt = "yuv420p"
        for _ in range(repeats):
            for image in images:
                output.mux(stream.encode(av.VideoFrame.from_image(image)))
        output.mux(stream.encode())
    for number in range(count):
        photo: Image.Image = images[number % len(images)]
        photo.save(album / f"{number:04}.jpg")
    return repeats * len(images)


def video(folder: Path, size: int, address: str | None = None) -> tuple[float, float]:
    """Seconds that the film takes, and 0."""
    begun = time.perf_counter()
    stylize_video(
        folder / "film.mp4",
        folder / "out.mp4",
        size=size,
        stability=0,
        segment=_SEGMENT,
        overwrite=True,
        ray=address,
    )
    return time.perf_counter() - begun, 0.0


def photos(folder: Path, size: int, address: str | None = None) -> tuple[float, float]:
    """Seconds that all photos take at the rate after the first result, and seconds until it."""
    begun = time.perf_counter()
    reports: list[tuple[float, float]] = []

    def report(done: float, total: float | None, note: str) -> None:
        reports.append((done, time.perf_counter()))

    settings: dict[str, Any] = {"size": size, "overwrite": True, "progress": report}
    source, output = folder / "album", folder / "stylized"
    if address is None:
        stylize_images(source, output, **settings)
    else:
        stylize_images_on_farm(source, output, ray=address, **settings)
    (first, first_at), (last, last_at) = reports[0], reports[-1]
    return last * (last_at - first_at) / (last - first), first_at - begun


def modes(
    folder: Path, size: int, workers: int
) -> Mapping[str, Callable[[str], tuple[float, float]]]:
    """What is compared: name -> function that measures a kind of work."""

    def alone(work: str) -> tuple[float, float]:
        this = [sys.executable, __file__, "--measure", work, "--folder", folder, "--size", size]
        first = str(min(os.sched_getaffinity(0)))
        done = subprocess.run(
            ["taskset", "-c", first, *map(str, this)], capture_output=True, text=True, check=True
        )
        total, start = map(float, done.stdout.split()[-2:])
        return total, start

    def farm(workers: int) -> Callable[[str], tuple[float, float]]:
        return lambda work: on_farm(folder, size, workers, work)

    return {ONE: alone} | {f"farm, workers: {n}": farm(n) for n in range(1, workers + 1)}


def on_farm(folder: Path, size: int, workers: int, work: str) -> tuple[float, float]:
    """The second of two measurements on a new cluster: the first one starts its processes."""
    from ray.cluster_utils import Cluster

    everything = os.sched_getaffinity(0)
    cluster = Cluster()
    try:
        last = max(everything)
        for place, cpus in [(last, 0), *((place, 1) for place in sorted(everything)[:workers])]:
            os.sched_setaffinity(0, {place})  # what is started inherits it
            cluster.add_node(
                node_ip_address="127.0.0.1",
                num_cpus=cpus,
                object_store_memory=_STORE,
                include_dashboard=False,
            )
        os.sched_setaffinity(0, {last})
        with connected(cluster.address):
            measure = video if work == "video" else photos
            measure(folder, size, cluster.address)
            return measure(folder, size, cluster.address)
    finally:
        os.sched_setaffinity(0, everything)
        cluster.shutdown()


def print_table(
    counts: Mapping[str, int], seconds: Mapping[str, Mapping[str, list[tuple[float, float]]]]
) -> None:
    """Rates, their ratio to one process, and the spread."""
    print("| work | on | a second | beside one process | lowest to highest | start, s |")
    print("| --- | --- | --- | --- | --- | --- |")
    for work, of_modes in seconds.items():
        rates = {m: [counts[work] / total for total, _ in each] for m, each in of_modes.items()}
        base = statistics.median(rates[ONE])
        for mode, of_mode in rates.items():
            rate = statistics.median(of_mode)
            start = statistics.median(first for _, first in of_modes[mode])
            shown = f"{start:.1f}" if start else ""
            print(
                f"| {work} | {mode} | {rate:.2f} | {rate / base:.2f} "
                f"| {min(of_mode):.2f} to {max(of_mode):.2f} | {shown} |"
            )


if __name__ == "__main__":
    main()
