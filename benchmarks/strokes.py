"""Strokes in proportion to the image and at 1:1: time, peak memory, sharpness of edges.

    python benchmarks/strokes.py PHOTO --style starry_night

PHOTO is resized to each size. Both stroke sizes are timed in turns.
"""

import argparse
import statistics
import time
from pathlib import Path

import cv2
import numpy as np
from peak import peak_of

from nst_rt.images.convert import tensor_to_frame
from nst_rt.images.io import Frame, load_image
from nst_rt.infer.strokes import resized_frame
from nst_rt.infer.stylizer import load_style

STYLIZE = """
import nst_rt
from nst_rt.images.convert import tensor_to_frame
from nst_rt.images.io import load_image
from nst_rt.infer.strokes import resized_frame
photo, width, height, style, kind = sys.argv[1:]
frame = resized_frame(tensor_to_frame(load_image(photo)), (int(height), int(width)))
nst_rt.load_style(style, stroke_size=kind)(frame)
"""
SIZES = ((640, 480), (1280, 720), (3840, 2160), (4000, 3000))
KINDS = ("1:1", "2%")


def main() -> None:
    """Print Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photo", type=Path)
    parser.add_argument("--style", default="starry_night")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    photo = tensor_to_frame(load_image(options.photo))
    stylizers = {kind: load_style(options.style, stroke_size=kind) for kind in KINDS}
    print(stylizers["2%"])
    print("| size | 1:1 | 2 % | speedup | edges |")
    print(f"|{' --- |' * 5}")
    for width, height in SIZES:
        frame = resized_frame(photo, (height, width))
        outputs = {kind: stylizer(frame) for kind, stylizer in stylizers.items()}
        seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
        for _ in range(options.rounds):
            for kind, stylizer in stylizers.items():
                begin = time.perf_counter()
                stylizer(frame)
                seconds[kind].append(time.perf_counter() - begin)
        full, fast = (statistics.median(seconds[kind]) for kind in KINDS)
        cells = [f"{width}x{height}", f"{1000 * full:.0f} ms", f"{1000 * fast:.0f} ms"]
        cells += [f"{full / fast:.2f}", f"{edge_energy(outputs['2%'], frame):.2f}"]
        print(f"| {' | '.join(cells)} |", flush=True)
    for width, height in ((4000, 3000), (7680, 4320)):
        arguments = options.photo, width, height, options.style
        peaks = [peak_of(STYLIZE, *arguments, kind) for kind in KINDS]
        print(f"\n{width}x{height}, peak memory: 1:1 {peaks[0]:.2f} GB, 2 % {peaks[1]:.2f} GB")


def edge_energy(stylized: Frame, frame: Frame) -> float:
    """Gradient energy at the photo's strongest 2 % of edges, relative to the photo's."""

    def energy(image: Frame) -> np.ndarray:
        gray = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.float32)
        across, down = (cv2.Sobel(gray, cv2.CV_32F, *way) for way in ((1, 0), (0, 1)))
        return np.asarray(across**2 + down**2)

    photo = energy(frame)
    edges = photo >= np.quantile(photo, 0.98)
    return float(energy(stylized)[edges].mean() / photo[edges].mean())


if __name__ == "__main__":
    main()
