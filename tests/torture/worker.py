"""Tries the files that are named on standard input, and answers with what became of each."""

import io
import json
import os
import re
import sys
import time
import warnings
from contextlib import redirect_stderr, redirect_stdout, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
from PIL import Image, ImageOps

import nst_rt
from nst_rt.cli import main
from nst_rt.errors import PartialResultError, StyleTransferError
from nst_rt.images.io import load_picture
from nst_rt.infer.stylizer import Stylizer, load_style
from nst_rt.infer.video.probe import probe
from nst_rt.models.style_model import Style, StyleModel
from nst_rt.models.transformer import TransformerNet

_SIDE = 64
_FAR_OFF = 0.05  # mean difference of colors in [0, 1] that is remarked on


def answer(kind: str, path: Path, folder: Path) -> dict[str, Any]:
    """Try a file.

    Returns:
        See `trials.Trial`.
    """
    _forget_peak()
    idle, begin = _memory("VmRSS"), time.monotonic()
    try:
        outcome, detail = _TRIES[kind](path, folder)
    except PartialResultError as error:
        outcome, detail = "done", f"in part: {error}"
    except StyleTransferError as error:
        outcome, detail = ("traceback" if "\n" in str(error) else "refused"), str(error)
    except BaseException as error:
        last = error.__traceback__
        while last is not None and last.tb_next is not None:
            last = last.tb_next
        place = f"{last.tb_frame.f_code.co_filename}:{last.tb_lineno}" if last else ""
        outcome, detail = "traceback", f"{error!r} at {place}"
    growth = _memory("VmHWM") - idle
    for output in folder.iterdir():
        with suppress(OSError):
            output.unlink()
    seconds = time.monotonic() - begin
    return {"outcome": outcome, "detail": detail[:600], "seconds": seconds, "growth": growth}


def _image(path: Path, folder: Path) -> tuple[str, str]:
    image = nst_rt.load_image(path)
    assert image.isfinite().all(), "not finite"
    assert image.min() >= 0, "negative"
    assert image.max() <= 1, "above 1"
    nst_rt.stylize_images(path, folder / "out.png", style=_stylizer(), size=_SIDE, overwrite=True)
    return "done", "x".join(map(str, image.shape[:1:-1]))


def _compared(path: Path, folder: Path) -> tuple[str, str]:
    outcome, detail = _image(path, folder)
    picture = load_picture(path)
    with warnings.catch_warnings(), Image.open(path) as opened:
        warnings.simplefilter("ignore")
        has_profile = bool(opened.info.get("icc_profile"))
        # What Pillow clips or composites otherwise is no reference.
        if has_profile or picture.depth == 16 or opened.mode[0] in "IF":
            return outcome, detail
        upright = ImageOps.exif_transpose(opened).convert("RGBA")
    values = np.asarray(upright, np.float32) / 255
    mine = picture.image[0].permute(1, 2, 0).numpy()
    if mine.shape[:2] != values.shape[:2]:
        return outcome, f"{detail}, but Pillow has {upright.width}x{upright.height}"
    opaque = values[:, :, 3] > 0
    far = float(np.abs(mine - values[:, :, :3])[opaque].mean()) if opaque.any() else 0.0
    return outcome, f"{detail}, colors differ by {far:.3f}" if far > _FAR_OFF else detail


def _video(path: Path, folder: Path) -> tuple[str, str]:
    info = probe(path)
    result = nst_rt.stylize_video(
        path, folder / "out.mp4", style=_stylizer(), size=_SIDE, end=0.2, overwrite=True
    )
    return "done", f"{info.width}x{info.height}, {result.frames} frames"


def _model(path: Path, folder: Path) -> tuple[str, str]:
    model = StyleModel.load(path)
    for name in model.style_names:
        model.record(name), model.history(name)
    stylizer = load_style(path, backend="torch")
    stylized = stylizer(np.full((32, 32, 3), 100, np.uint8))
    assert stylized.shape == (32, 32, 3)
    return "done", ", ".join(model.style_names)[:100]


def _photo(path: Path, folder: Path) -> tuple[str, str]:
    style = folder.parent / "style.safetensors"
    if not style.exists():
        _style_model().save(style)
    output = str(folder / "out.png")
    settings = ["--style", str(style), "--size", str(_SIDE), "--backend", "torch", "--overwrite"]
    return _command("image", str(path), "-o", output, *settings)


def _recipe(path: Path, folder: Path) -> tuple[str, str]:
    art = folder.parent / "art"
    if not art.exists():
        art.mkdir()
        noise = np.random.default_rng(0).integers(0, 255, (80, 80, 3), np.uint8)
        Image.fromarray(noise).save(art / "art.png")
    output, runs = str(folder / "out.safetensors"), str(folder.parent / "runs")
    where = ["--style-image", str(art / "art.png"), "--photos", str(art), "--runs", runs]
    small = ["--batch-size", "1", "--size", "32"]
    return _command("train", *where, *small, "-o", output, "--config", str(path), "--fast-dev-run")


def _command(*arguments: str) -> tuple[str, str]:
    """Run the command line; a refusal must be one line."""
    said, printed = io.StringIO(), io.StringIO()
    try:
        with redirect_stderr(said), redirect_stdout(printed):
            code = main(arguments)
    except SystemExit as error:
        code = int(error.code or 0)
    text = said.getvalue().strip()
    if code == 2:
        return ("refused" if text and "\n" not in text else "traceback"), text
    return ("done" if code in (0, 3) else "traceback"), f"exit code {code}"


_TRIES = {
    "image": _image,
    "compared": _compared,
    "video": _video,
    "model": _model,
    "photo": _photo,
    "recipe": _recipe,
}


@cache
def _style_model() -> StyleModel:
    network = TransformerNet("fast", 1, trunk=8, decoder=4, blocks=1)
    return StyleModel(network.eval().requires_grad_(False), (Style("plain"),))


@cache
def _stylizer() -> Stylizer:
    return Stylizer(_style_model(), "plain", backend="torch")


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _memory(name: str) -> int:
    """`VmRSS` or `VmHWM` of this process, bytes."""
    status = Path("/proc/self/status").read_text()
    found = re.search(rf"{name}:\s*(\d+) kB", status)
    return int(found[1]) * 1024 if found else 0


def _serve(free: float) -> None:
    # Answers go to a stream that no library writes to.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    psutil.virtual_memory = lambda: SimpleNamespace(available=free, total=free)
    with TemporaryDirectory() as place:
        folder = Path(place, "outputs")
        folder.mkdir()
        for line in sys.stdin:
            kind, path = json.loads(line)
            print(json.dumps(answer(kind, Path(path), folder)), file=answers, flush=True)


if __name__ == "__main__":
    _serve(float(sys.argv[1]))
