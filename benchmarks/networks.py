"""Networks and losses for the fast family, each trained for the same short time, in one table.

    python benchmarks/networks.py PHOTOS PAINTING -o FOLDER

Boldness, pan error and objective are those of `nst_rt.metrics`, medians over photos that training
holds out; frames per second are the model's alone at 1280x720, all candidates in turns, as
a ratio to the first one, too. FOLDER keeps the models, so that a run that was interrupted goes on,
and a sheet of what they paint. About a quarter of an hour a candidate on two cores.
"""

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

from nst_rt import train_style
from nst_rt.images.collection import find_photos, is_held_out
from nst_rt.images.contact_sheet import contact_sheet
from nst_rt.images.io import Frame, frame_to_tensor, load_image, save_image
from nst_rt.infer.demo import packaged_photos
from nst_rt.infer.evaluate.model import evaluate_model, fitted_frame
from nst_rt.infer.stylizer import Stylizer, load_style
from nst_rt.train.resume import checkpoints

LAYERS = {f"relu{block}_1": 0.2 for block in range(1, 6)}
LOSS: dict[str, Any] = {"model.style_size": 512, "model.style_layers": LAYERS}
NETWORKS: dict[str, dict[str, int]] = {
    "trunk 32": {},
    "dilated": {"dilation": 2},
    "8 blocks": {"blocks": 8, "dilation": 2},
    "trunk 64": {"trunk": 64, "decoder": 32, "dilation": 2},
}
DILATED = {"model.hyper_parameters": NETWORKS["dilated"]}
# On the first network, or on the dilated one.
LOSSES: dict[str, dict[str, Any]] = {
    "learning rate 4e-3": LOSS | {"model.learning_rate": 4e-3},
    "painting at 320, no relu5_1": {},
    "larger crops": LOSS | DILATED | {"model.size": 288, "data.batch_size": 2},
}
_TIMED_ROUNDS = 7


def main() -> None:
    """Train what is missing, measure all, print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", metavar="PHOTOS", help="a folder, a zip archive or a list")
    parser.add_argument("painting", type=Path, metavar="PAINTING")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--size", type=int, default=256, help="side of the crops, pixels")
    parser.add_argument("--count", type=int, default=20, help="photos to measure on")
    parser.add_argument("--only", nargs="*", metavar="NAME", help="of the candidates")
    parser.add_argument(
        "--model", nargs="*", default=[], metavar="NAME=FILE", help="to measure too"
    )
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    candidates = {
        name: LOSS | {"model.hyper_parameters": network} for name, network in NETWORKS.items()
    } | LOSSES
    models = {}
    for name in candidates if options.only is None else options.only:
        models[name] = options.output / f"{name.replace(' ', '_').replace(',', '')}.safetensors"
        if not models[name].exists():
            train_style(
                {models[name].stem: options.painting},
                options.photos,
                output=models[name],
                steps=options.steps,
                size=options.size,
                runs=options.output / "runs",
                resume=bool(checkpoints(options.output / "runs" / models[name].stem)),
                settings=candidates[name],
            )
    given = (text.partition("=") for text in options.model)
    measure(models | {name: Path(file) for name, _, file in given}, options)


def measure(models: dict[str, Path], options: argparse.Namespace) -> None:
    """Print the table and write the sheet."""
    held_out = [photo for photo in find_photos(options.photos) if is_held_out(photo)]
    looked_at = [fitted_frame(load_image(file), 1280, 720) for file in packaged_photos("the sheet")]
    stylizers = {name: load_style(str(file), stroke_size="1:1") for name, file in models.items()}
    rates = frame_rates(stylizers, looked_at[0])
    first = next(iter(rates.values()))
    print("| network | parameters | strokes | contrast | relative pan error | objective | 720p |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    pictures = []
    for name, stylizer in stylizers.items():
        paintings = {stylizer.model.style_names[0]: options.painting}
        done = evaluate_model(models[name], held_out, paintings, count=options.count)
        [figures] = done.styles.values()
        bold, pan = figures.boldness, figures.pan
        assert pan is not None
        strokes = "-" if bold.strokes is None else f"{bold.strokes:.2f}"  # no photo has even areas
        print(
            f"| {name} | {done.parameters:,} | {strokes} | {bold.contrast:.2f} | "
            f"{pan.relative:.2f} | {figures.objective:.2f} | "
            f"{rates[name]:.1f} fps, {rates[name] / first:.2f}x |",
            flush=True,
        )
        pictures += [frame_to_tensor(stylizer(frame)) for frame in looked_at]
    captions = [name for name in stylizers for _ in looked_at]
    sheet = contact_sheet(pictures, captions, columns=len(looked_at))
    save_image(sheet, options.output / "sheet.jpg", overwrite=True)


def frame_rates(stylizers: dict[str, Stylizer], frame: Frame) -> dict[str, float]:
    """Median rate of each, in turns, so that what else the machine does hits all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in stylizers}
    for turn in range(_TIMED_ROUNDS + 1):
        for name, stylizer in stylizers.items():
            start = time.perf_counter()
            stylizer(frame)
            if turn:  # the first one compiles
                seconds[name].append(time.perf_counter() - start)
    return {name: 1 / statistics.median(times) for name, times in seconds.items()}


if __name__ == "__main__":
    main()
