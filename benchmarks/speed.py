"""Frames per second of the shipped style, model alone, beside Johnson et al.'s network.

The candidates take turns on the same random frames in one run, since machines are noisy; what is
printed is the median of their rates, and their ratio to Johnson's network in eager float32.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable

import numpy as np

from nst_rt.errors import BackendError
from nst_rt.images import Frame
from nst_rt.infer.backends import BackendName, Precision
from nst_rt.infer.stylizer import Stylizer
from nst_rt.style_model import Style, StyleModel, find_style
from nst_rt.transformer import TransformerNet

SIZES = ((640, 480), (1280, 720))
PEER = "classic, torch f32"


def candidates(device: str | None) -> dict[str, Stylizer]:
    """Networks and engines to time, by name."""
    shipped, name = find_style("starry_night")
    # Weights do not change the speed.
    johnson = StyleModel(TransformerNet("classic").eval(), (Style("untrained"),))
    wanted: list[tuple[str, StyleModel, str, BackendName, Precision]] = [
        (PEER, johnson, "untrained", "torch", "f32"),
        ("classic, openvino auto", johnson, "untrained", "openvino", "auto"),
        ("fast, torch f32", shipped, name, "torch", "f32"),
        ("fast, torch auto", shipped, name, "torch", "auto"),
        ("fast, openvino f32", shipped, name, "openvino", "f32"),
        ("fast, openvino auto", shipped, name, "openvino", "auto"),
    ]
    there = {}
    for label, model, style, backend, precision in wanted:
        try:
            there[label] = Stylizer(
                model, style, backend=backend, precision=precision, device=device
            )
        except BackendError as error:
            print(f"left out {label}: {error}")
    return there


def rates(stylizers: dict[str, Stylizer], size: tuple[int, int], rounds: int) -> dict[str, float]:
    """Median frames per second of each, over `rounds` in which all take turns."""
    frame = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    for stylizer in stylizers.values():
        stylizer.stylize(frame)  # compiles
    seconds: dict[str, list[float]] = {label: [] for label in stylizers}
    for _, (label, stylizer) in itertools.product(range(rounds), stylizers.items()):
        seconds[label].append(_timed(stylizer.stylize, frame))
    return {label: 1 / statistics.median(times) for label, times in seconds.items()}


def _timed(work: Callable[[Frame], Frame], frame: Frame) -> float:
    begin = time.perf_counter()
    work(frame)
    return time.perf_counter() - begin


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--device", help="cpu, cuda, ...; default: the fastest")
    options = parser.parse_args()
    stylizers = candidates(options.device)
    table = {size: rates(stylizers, size, options.rounds) for size in SIZES}
    print(f"| network, engine | {' | '.join(f'{w}x{h}' for w, h in SIZES)} | runs as |")
    print("| --- |" + " --- |" * (len(SIZES) + 1))
    for label, stylizer in stylizers.items():
        cells = [
            f"{table[size][label]:.2f} fps ({table[size][label] / table[size][PEER]:.1f}x)"
            for size in SIZES
        ]
        print(f"| {label} | {' | '.join(cells)} | {stylizer} |")


if __name__ == "__main__":
    main()
