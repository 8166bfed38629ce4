"""All presets of the optimizer beside pastiche on the same pairs: images, noise figures, times.

    python benchmarks/presets.py OUT CONTENT:STYLE_IMAGE CONTENT:STYLE_IMAGE ...

Images that are there already are kept, so that it may be interrupted. The sheet has a row for each
pair: content image, style image, pastiche, and our presets.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from noise import noise_figure
from PIL import Image

import nst_rt
from nst_rt.images.contact_sheet import contact_sheet
from nst_rt.images.convert import frame_to_tensor, tensor_to_frame
from nst_rt.images.io import load_image, save_image
from nst_rt.optimization.presets import PRESETS

PEER = "pastiche"
METHODS = [PEER, *(name for name in PRESETS if name != "training")]  # which is a preview


def main() -> None:
    """Optimize what is missing, and put the sheet together."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, metavar="OUT", help="folder")
    parser.add_argument("pairs", nargs="+", metavar="CONTENT:STYLE_IMAGE")
    parser.add_argument("--size", type=int, default=768)
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument(
        "--steps", nargs="*", default=[], metavar="METHOD=N", help="fewer than by default"
    )
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    steps = {name: int(n) for name, n in (text.split("=") for text in options.steps)}
    images, captions = [], []
    for pair in options.pairs:
        content, style_image = map(Path, pair.split(":"))
        style = load_image(style_image, size=options.size)
        shown = load_image(content, size=options.size)
        images += [shown, fitted(style, shown.shape[-2:])]
        captions += [content.stem, style_image.stem]
        for method in options.methods:
            path = options.out / f"{content.stem}_{style_image.stem}_{method}.png"
            if not path.exists():
                start = time.perf_counter()
                run = pastiche if method == PEER else ours
                run(method, content, style_image, path, options.size, steps.get(method))
                seconds = round(time.perf_counter() - start)
                path.with_suffix(".json").write_text(json.dumps({"seconds": seconds}))
            seconds = json.loads(path.with_suffix(".json").read_text())["seconds"]
            image = load_image(path)
            noise = noise_figure(image, style)
            print(f"{path.stem}: {seconds} s, noise figure {noise:.2f}", flush=True)
            images.append(fitted(image, shown.shape[-2:]))
            captions.append(f"{method}, {seconds} s, noise {noise:.2f}")
    height = max(image.shape[-2] for image in images)
    images = [fitted(image, (height, options.size)) for image in images]
    sheet = contact_sheet(images, captions, columns=2 + len(options.methods))
    save_image(sheet, options.out / "sheet.png", overwrite=True)


def ours(
    method: str, content: Path, style_image: Path, path: Path, size: int, steps: int | None
) -> None:
    """Optimize with one of our presets."""
    image = nst_rt.optimize(content, style_image, preset=method, size=size, steps=steps)
    save_image(image, path)


def pastiche(
    method: str, content: Path, style_image: Path, path: Path, size: int, steps: int | None
) -> None:
    """Optimize with the peer's defaults; 1000 steps unless given."""
    from pastiche.pastiche import PasticheArtist, save_image

    torch.manual_seed(0)
    artist = PasticheArtist(str(content), [str(style_image)], size=size, style_size=size)
    for _ in range(steps or 1000):
        artist.draw()
    save_image(artist.pastiche, path)


def fitted(image: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """Centered on white, scaled down to fit (H, W)."""
    scaled = Image.fromarray(tensor_to_frame(image))
    scaled.thumbnail((shape[1], shape[0]), Image.Resampling.LANCZOS)
    canvas = Image.new("RGB", (shape[1], shape[0]), "white")
    canvas.paste(scaled, ((shape[1] - scaled.width) // 2, (shape[0] - scaled.height) // 2))
    return frame_to_tensor(np.array(canvas))


if __name__ == "__main__":
    main()
