"""Measure a style model: boldness, stability and speed, or flicker on a video clip."""

import argparse
from typing import Any

from nst_rt.cli.options import MODEL_HELP, add_backend_arguments
from nst_rt.cli.report import Report, progress
from nst_rt.cli.train import style_images_by_name
from nst_rt.errors import InputError

EXAMPLES = (
    "mine.safetensors --style painting.jpg --photos ~/photos --held-out",
    "two.safetensors --style ink=ink.jpg sea=wave.jpg --photos ~/photos",
    "starry_night --video clip.mp4",
)


def add_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    p.add_argument(
        "--style",
        nargs="+",
        action="extend",
        metavar="PAINTING",
        help="that the style was trained on; NAME=PAINTING for each one of several styles",
    )
    p.add_argument("--photos", metavar="P", help="a folder, a zip archive or a list of photos")
    p.add_argument("--held-out", action="store_true", help="only those that training holds out")
    p.add_argument("--count", type=int, metavar="N", help="photos, the first ones; default: 50")
    p.add_argument(
        "--video", metavar="CLIP", help="measure how much it flickers on a clip, and nothing else"
    )
    p.add_argument("--frames", type=int, metavar="N", help="of the clip; default: 50")
    add_backend_arguments(p)


def run(model: str, video: str | None = None, **options: Any) -> Report:
    """Measure how good a style model is: boldness, stability, speed."""
    from dataclasses import asdict

    from nst_rt.infer.evaluate.model import evaluate_model, summary

    if video is not None:
        return _evaluate_video(model, video, **options)
    if missing := [f"--{name}" for name in ("style", "photos") if name not in options]:
        raise InputError(f"required: {', '.join(missing)}; or --video, to measure flicker alone")
    if "frames" in options:
        raise InputError("--frames goes with --video")
    with progress("evaluating", counted=False) as advance:
        done = evaluate_model(
            model,
            options.pop("photos"),
            style_images_by_name(options.pop("style")),
            on_progress=lambda part, note: advance(part, 1, note),
            **options,
        )
    return Report(summary(done), asdict(done))


def _evaluate_video(model: str, video: str, **options: Any) -> Report:
    from dataclasses import asdict

    from nst_rt.infer.evaluate.clip import evaluate_clip, summary

    if others := options.keys() - {"frames", "backend", "device", "precision"}:
        raise InputError(
            f"--video measures flicker alone: --{min(others).replace('_', '-')} does not go with it"
        )
    with progress("measuring") as advance:
        done = evaluate_clip(
            model, video, on_frame=lambda count, total: advance(count, total, ""), **options
        )
    return Report(summary(done), asdict(done))
