"""Measure a style model: boldness, stability and speed, or flicker on a video clip."""

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from nst_rt.cli.mistakes import check_inputs
from nst_rt.cli.options import (
    MODEL_HELP,
    add_backend_arguments,
    signature_defaults,
    style_images_by_name,
)
from nst_rt.cli.report import Report, loading, progress, table_text
from nst_rt.errors import InputError

if TYPE_CHECKING:
    from nst_rt.infer.evaluate.model import Evaluation
    from nst_rt.metrics.stability import WarpingError

SHORT = "measure a style"
EXAMPLES = (
    "starry_night --clip film.mp4",
    "mine.safetensors --style-image art.jpg --photos photos --held-out",
    "two.safetensors --style-image ink=ink.jpg sea=wave.jpg --photos photos",
)
DEFAULTS_OF = "nst_rt.infer.evaluate.model:evaluate_model"
_FIGURES = ("strokes", "contrast", "chroma", "relative pan error", "pan error", "objective")
_LEGEND = (
    "strokes (in even areas), contrast, chroma: 1 is as much as the style image has",
    "pan error: how much the style swims when the camera moves; relative: over the",
    "standard deviation of the result",
    "objective: style and content loss of VGG19; it does not tell how bold a style is",
)
_CLIP_LEGEND = (
    "warping error: RMSE (0 to 1) between each frame and the last one, aligned to it",
    "relative: over the standard deviation of the output; seen: pixels compared",
    "by flow: aligned by the clip's optical flow; static: where it does not move",
)
_CLIP_COLUMNS = ("output", "by flow", "relative", "seen", "static", "relative", "seen")
_CLIP_OPTIONS = {"frames", "backend", "device", "precision"}


def add_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    p.add_argument(
        "--style-image",
        nargs="+",
        action="extend",
        metavar="FILE",
        help="image that the style was trained on; NAME=FILE for each of several styles",
    )
    p.add_argument(
        "--photos", metavar="P", help="folder, zip archive or list of photos to measure on"
    )
    p.add_argument(
        "--held-out", action="store_true", help="use only the photos that training holds out"
    )
    p.add_argument("--count", type=int, metavar="N", help="maximum number of photos to measure on")
    p.add_argument(
        "--clip",
        metavar="FILE",
        help="video to measure the flicker on; nothing else is then measured",
    )
    frames = signature_defaults("nst_rt.infer.evaluate.clip:evaluate_clip")["frames"]
    p.add_argument(
        "--frames",
        type=int,
        metavar="N",
        help=f"maximum number of frames of the clip (default: {frames})",
    )
    add_backend_arguments(p)


def run(model: str, clip: str | None = None, **options: Any) -> Report:
    """Measure a style model on photos, or its flicker on a clip."""
    if clip is not None:
        return _on_clip(model, clip, **options)
    if missing := [f"`{name}`" for name in ("style_image", "photos") if name not in options]:
        raise InputError(f"give {' and '.join(missing)}, or `clip` to measure flicker only")
    if "frames" in options:
        raise InputError("`frames` goes with `clip`")
    return _on_photos(model, options.pop("photos"), options.pop("style_image"), **options)


def _on_photos(model: str, photos: str, style_images: list[str], **options: Any) -> Report:
    by_name = style_images_by_name(style_images)
    files = by_name.values() if isinstance(by_name, dict) else [by_name]
    check_inputs([*files, photos], "image")
    with loading():
        from nst_rt.infer.evaluate.model import evaluate_model
    with progress("evaluating", counted=False) as advance:
        done = evaluate_model(model, photos, by_name, progress=advance, **options)
    return Report(_text_of_photos(done), asdict(done))


def _text_of_photos(done: "Evaluation") -> str:
    """A few lines, and a table of the styles."""
    rows = []
    for name, style in done.styles.items():
        bold, pan = style.boldness, style.pan
        figures = (bold.strokes, bold.contrast, bold.chroma, pan and pan.relative)
        cells = ["-" if figure is None else f"{figure:.2f}" for figure in figures]
        rows.append([name, *cells, f"{pan.error:.3f}" if pan else "-", f"{style.objective:.2f}"])
    rates = ", ".join(f"{fps:.1f} at {size}" for size, fps in done.fps.items())
    skipped = done.skipped
    return "\n".join(
        [
            f"{done.model}: {done.parameters:,} parameters, {done.backend}",
            f"frames per second: {rates}",
            f"photos: {done.photos}, {done.even} of them with even areas",
            *([f"photos skipped: {len(skipped)} ({', '.join(skipped)})"] if skipped else []),
            "",
            table_text(["style", *_FIGURES], rows, right=True),
            "",
            *_LEGEND,
        ]
    )


def _on_clip(model: str, clip: str, **options: Any) -> Report:
    if others := options.keys() - _CLIP_OPTIONS:
        raise InputError(f"`clip` measures flicker only: `{min(others)}` does not go with it")
    check_inputs([clip], "video")
    with loading():
        from nst_rt.infer.evaluate.clip import evaluate_clip
    with progress("measuring") as advance:
        done = evaluate_clip(model, clip, progress=advance, **options)
    rows = [[name, *_cells(e.moving), *_cells(e.static)] for name, e in done.errors.items()]
    lines = (
        f"{done.clip}: {done.frames} frames, {done.backend}",
        table_text(_CLIP_COLUMNS, rows, right=True),
        *_CLIP_LEGEND,
    )
    return Report("\n".join(lines), asdict(done))


def _cells(error: "WarpingError | None") -> list[str]:
    if error is None:
        return ["-"] * 3
    return [f"{error.error:.4f}", f"{error.relative:.3f}", f"{error.seen:.0%}"]
