"""Measure a style model: boldness, stability and speed, or flicker on a video clip."""

import argparse
from typing import Any

from nst_rt.cli.options import (
    MODEL_HELP,
    add_backend_arguments,
    signature_defaults,
    style_images_by_name,
)
from nst_rt.cli.report import Report, progress
from nst_rt.errors import InputError

EXAMPLES = (
    "mine.safetensors --style-image painting.jpg --photos ~/photos --held-out",
    "two.safetensors --style-image ink=ink.jpg sea=wave.jpg --photos ~/photos",
    "starry_night --clip clip.mp4",
)
DEFAULTS_OF = "nst_rt.infer.evaluate.model:evaluate_model"
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
    p.add_argument("--photos", metavar="P", help="folder, zip archive or list of photos")
    p.add_argument(
        "--held-out", action="store_true", help="use only the photos that training holds out"
    )
    p.add_argument("--count", type=int, metavar="N", help="number of photos")
    p.add_argument(
        "--clip", metavar="FILE", help="video to measure the flicker on, and nothing else"
    )
    frames = signature_defaults("nst_rt.infer.evaluate.clip:evaluate_clip")["frames"]
    p.add_argument(
        "--frames",
        type=int,
        metavar="N",
        help=f"number of frames of the clip (default: {frames})",
    )
    add_backend_arguments(p)


def run(model: str, clip: str | None = None, **options: Any) -> Report:
    """Measure a style model on photos, or its flicker on a clip."""
    if clip is not None:
        return _on_clip(model, clip, **options)
    if missing := [f"`{name}`" for name in ("style_image", "photos") if name not in options]:
        raise InputError(f"required: {', '.join(missing)}; or `clip` to measure flicker only")
    if "frames" in options:
        raise InputError("`frames` goes with `clip`")
    return _on_photos(model, options.pop("photos"), options.pop("style_image"), **options)


def _on_photos(model: str, photos: str, style_images: list[str], **options: Any) -> Report:
    from dataclasses import asdict

    from nst_rt.infer.evaluate.model import evaluate_model, summary

    with progress("evaluating", counted=False) as advance:
        done = evaluate_model(
            model, photos, style_images_by_name(style_images), progress=advance, **options
        )
    return Report(summary(done), asdict(done))


def _on_clip(model: str, clip: str, **options: Any) -> Report:
    from dataclasses import asdict

    from nst_rt.infer.evaluate.clip import evaluate_clip, summary

    if others := options.keys() - _CLIP_OPTIONS:
        raise InputError(f"`clip` measures flicker only: `{min(others)}` does not go with it")
    with progress("measuring") as advance:
        done = evaluate_clip(model, clip, progress=advance, **options)
    return Report(summary(done), asdict(done))
