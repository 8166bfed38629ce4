"""Train the gallery, measure it, and write its files and cards: `make gallery DATA=FOLDER`.

FOLDER has photos in content/ and the paintings in styles/, named as their styles. What is finished
stays in .gallery/, and a run that was interrupted goes on.

With --device, each painting gets a network of its own instead, in the minutes that a GPU is there
for; --pack packs what such a machine needs. Only what is used is imported: it may lack the rest.
"""

import argparse
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import on_device
from artworks import ARTWORKS
from bare_tree import ROOT

from nst_rt.errors import StyleTransferError, UnknownNameError
from nst_rt.files import atomic_output
from nst_rt.images import load_image, save_image, tensor_to_frame
from nst_rt.metrics.fingerprint import fingerprint
from nst_rt.photos import find_photos, is_held_out
from nst_rt.style_model import StyleModel
from nst_rt.train.record import history

CHECKPOINTS = ROOT / "checkpoints"
WORK = ROOT / ".gallery"  # hours of work, which `make clean` leaves alone

HEAD = """\
# The styles that ship

![A photo in all styles](../docs/gallery.jpg)

`make gallery DATA=FOLDER` trains such models, measures them and writes all of this, with the
settings that turned out best, in fewer and longer phases than those told of below.

How bold and how calm they are, as `nst_rt.metrics` defines it. Strokes in even areas (skies,
walls), contrast and chroma: 1 is as much as the painting has. Pan error: how much the style swims
when the camera moves, relative to the contrast, and plain; of the network alone, without the
stabilizer. Medians over the first 50 photos that training held out (strokes: those of them with
even areas); the pan error is over the four photos of scikit-image. The goals are ambitions: what a
style looks like stands in the last column. [What else was tried](../benchmarks/README.md), and
[all styles in one chart](../docs/boldness.png).

**Before you use them**: the photos they were trained on, listed below by source and number, include
ImageNet and Caltech-101, which are for research. So use these models for research and private
purposes, or train one on photos that you have the rights to. The paintings are in the public
domain. No photo and no painting is part of the files or of this repository.\
"""
SEEN = {  # by style, at 640 px: a face, a landscape, a street, a launch pad by night
    "starry_night_classic": "strokes that follow the shapes, and stars with halos, some of which "
    "may sit on a face; clear eyes; darker and less colourful than the painting; skies of short "
    "strokes",
    "starry_night_bold": "blue and yellow strokes everywhere, also in skies, on walls and grass, "
    "with yellow clouds; faces readable, with soft eyes; no great swirls; pure white stays a flat "
    "grey-blue, and a plain blue sky may get a weave",
    "starry_night": "blue strokes along the shapes, yellow lights, some of them discs, "
    "readable faces; strokes are short, no great swirls; skies have a faint grain",
    "great_wave": "paper, Prussian blue and dark outlines, as a print; clean skies, readable "
    "faces; shades are rows of dots",
    "the_scream": "orange streaks over dark green, skies that flow; faces readable, with soft eyes",
    "composition_vii": "orange, red and violet patches with dark outlines, relief as of thick "
    "paint; faces readable",
    "water_lilies": "soft lilac and green dabs with rose and white; faces readable; clean skies, "
    "dark ones green",
    "wheat_field": "yellow against light blue and deep green, relief as of thick paint; clear "
    "faces; one sky may break into yellow and blue",
    "night_cafe": "gold, red and dark green, calm surfaces, the clearest faces; dark skies turn "
    "red",
    "cottages": "cream paper, green and brown pen strokes, as a drawing; clear faces, clean skies",
    "tahitian_women": "broad fields of orange, yellow and green; faces readable; one sky may "
    "break into two colours",
    "delaunay_portrait": "a mosaic of rounded tiles in white and indigo, faint in skies; large "
    "faces readable, eyes made of tiles",
}
# At least, or from and to; the classic network is for stills, whose strokes are worth more.
STROKES = {"fast": 0.75, "classic": 0.9}
CONTRAST = 0.85
CHROMA = (0.85, 1.2)
CALM = 0.45  # relative pan error, at most
# What the photos' names begin with.
SOURCES = {
    "imagenet": "ImageNet",
    "caltech": "Caltech-101",
    "coco": "COCO",
    "debian": "crops of Debian's wallpapers",
}


@dataclass(frozen=True)
class Model:
    """A model file of the gallery: its styles by the paintings they are of.

    It is trained in phases, each with its recipes, and each going on from the one before; the first
    one from the model file `start`, if there is one.
    """

    name: str
    styles: Mapping[str, str]
    phases: tuple[tuple[str, ...], ...]
    start: str | None = None


MODELS = (
    Model(
        "gallery",
        {name: name for name in ARTWORKS if name != "udnie"},  # has no place in this network
        (("gallery",), ("gallery", "calm"), ("gallery", "calm", "even")),
    ),
    Model(
        "classic",
        {"starry_night_classic": "starry_night"},
        (("classic",), ("classic", "classic_even")),
    ),
    Model(
        "starry_night_bold",
        {"starry_night_bold": "starry_night"},
        (("bold",),),
        start="gallery",  # whose first style is of the same painting
    ),
)


def main() -> int:
    """Train what is not trained yet, measure it, write the files and the cards; an exit code."""
    options = parse()
    try:
        if options.pack:
            on_device.pack(options)
        elif options.device:
            on_device.train(options)
        else:
            WORK.mkdir(parents=True, exist_ok=True)
            for model in MODELS:
                if model.name in options.only:
                    shipped = CHECKPOINTS / f"{model.name}.safetensors"
                    trained = shipped if options.measure else train(model, options)
                    ship(model, trained, options.data)
            write_cards()
    except StyleTransferError as error:
        print(f"{Path(__file__).name}: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def parse() -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, metavar="FOLDER")
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help="some models; with --device, paintings"
    )
    parser.add_argument(
        "--further", type=int, metavar="STEPS", help="train what ships for some steps more"
    )
    parser.add_argument(
        "--measure", action="store_true", help="train nothing: measure what ships again"
    )
    on_device.add_arguments(parser)
    options = parser.parse_args()
    known = ARTWORKS if options.device or options.pack else [model.name for model in MODELS]
    options.only = options.only or list(known)
    for name in options.only:
        if name not in known:
            parser.error(str(UnknownNameError("name", name, known)))
    return options


def train(model: Model, options: argparse.Namespace) -> Path:
    """Train a model; returns its file, which has not been measured."""
    data, further = options.data, options.further
    shipped = CHECKPOINTS / f"{model.name}.safetensors"
    if further is not None:
        # A training that goes on from other weights is another one.
        run = f"{model.name}_{digest(shipped)}"
        return phase(model, model.phases[-1], data, run, start=shipped, steps=further)
    trained = None if model.start is None else CHECKPOINTS / f"{model.start}.safetensors"
    for number, recipes in enumerate(model.phases, 1):
        trained = phase(model, recipes, data, f"{model.name}_{number}", start=trained)
    assert trained is not None
    return trained


def ship(model: Model, trained: Path, data: Path) -> None:
    """Measure a trained model, and put it among the checkpoints."""
    paintings = painting_files(model, data)
    figures = measured(trained, paintings, data / "content")
    made = finished(trained, paintings, figures, photo_sources(data / "content"))
    made.save(CHECKPOINTS / f"{model.name}.safetensors", overwrite=True)


def phase(
    model: Model,
    recipes: tuple[str, ...],
    data: Path,
    run: str,
    *,
    start: Path | None,
    steps: int | None = None,
) -> Path:
    """Train, from the weights of `start` if there is one; returns the model, with its history."""
    from nst_rt import train_style
    from nst_rt.train.resume import checkpoints

    trained = WORK / f"{run}.safetensors"
    if trained.exists():
        return trained
    settings: dict[str, Any] = {
        "model.artworks": {name: ARTWORKS[file] for name, file in model.styles.items()}
    }
    if start is not None:  # its network is what it is
        settings |= {"model.architecture": None, "model.hyper_parameters": None}
    alone = WORK / f"{run}_alone.safetensors"
    if not alone.exists():
        train_style(
            painting_files(model, data),
            data / "content",
            run,
            output=alone,
            recipes=list(recipes),
            settings=settings,
            start_from=start,
            whole=None if start is None else True,
            steps=steps,
            runs=WORK / "runs",
            resume=bool(checkpoints(WORK / "runs" / run)),
        )
    done = StyleModel.load(alone)
    before = [] if start is None else history(StyleModel.load(start).training)
    replace(done, training={**done.training, "earlier": before}).save(trained)
    return trained


def photo_sources(photos: Path) -> dict[str, int]:
    """How many photos of each source are trained on."""
    names = [photo.name for photo in find_photos(photos) if not is_held_out(photo)]
    return dict(Counter(SOURCES.get(name.split("_")[0], "others") for name in names))


def painting_files(model: Model, data: Path) -> dict[str, Path]:
    """Style name -> its painting."""
    return {name: data / "styles" / f"{file}.jpg" for name, file in model.styles.items()}


def measured(
    trained: Path, paintings: Mapping[str, Path], photos: Path
) -> dict[str, dict[str, Any]]:
    """Style name -> its figures over the first held-out photos; kept beside the model."""
    from nst_rt.infer.evaluate import evaluate_model

    record = WORK / f"{trained.stem}_{digest(trained)}.json"
    if not record.exists():
        done = evaluate_model(trained, photos, paintings, held_out=True)
        with atomic_output(record) as temporary:
            temporary.write_text(json.dumps(asdict(done), indent=1))
    figures: dict[str, dict[str, Any]] = json.loads(record.read_text())["styles"]
    return figures


def finished(
    file: Path,
    paintings: Mapping[str, Path],
    figures: Mapping[str, Any],
    sources: Mapping[str, int],
) -> StyleModel:
    """The model with previews, fingerprints of its paintings, and what is known of it."""
    from nst_rt.infer.demo import packaged_photos
    from nst_rt.infer.showcase import in_all_styles, preview

    model = StyleModel.load(file)
    photo = tensor_to_frame(load_image(packaged_photos()[0], size=512))
    painted = dict(in_all_styles(photo, dict.fromkeys(model.style_names, file)))
    styles = tuple(
        replace(
            style,
            fingerprint=fingerprint(load_image(paintings[style.name])),
            preview=preview(painted[style.name]),
        )
        for style in model.styles
    )
    kept = {
        name: {**figure["boldness"], **{f"pan_{k}": v for k, v in figure["pan"].items()}}
        for name, figure in figures.items()
    }
    known = {"figures": kept, "sources": sources}
    return StyleModel(model.network, styles, {**model.training, **known})


def digest(file: Path) -> str:
    """The first digits of a file's SHA-256."""
    return hashlib.sha256(file.read_bytes()).hexdigest()[:12]


def write_cards() -> None:
    """The sheet, and the README of the checkpoints."""
    from nst_rt.infer.demo import packaged_photos
    from nst_rt.infer.showcase import style_sheet

    sheet = style_sheet(packaged_photos()[0])
    save_image(sheet, ROOT / "docs" / "gallery.jpg", overwrite=True)
    files = sorted(CHECKPOINTS.glob("*.safetensors"))
    parts = [HEAD, *(card(file) for file in files)]
    (CHECKPOINTS / "README.md").write_text("\n\n".join(parts) + "\n")


def card(file: Path) -> str:
    """What there is to know about a model file, in Markdown."""
    model = StyleModel.load(file)
    training = model.training
    network = model.network
    sizes = ", ".join(f"{key} {value}" for key, value in network.hyper_parameters.items())
    photos = ", ".join(f"{count} {source}" for source, count in training["sources"].items())
    rows = [
        f"| `{style.name}` | {style.artist}, *{style.title}*, {style.year} | "
        + " | ".join(_figures(training["figures"][style.name]))
        + f" | {SEEN.get(style.name, '')} |"
        for style in model.styles
    ]
    return "\n".join(
        [
            f"## {file.name}",
            "",
            f"{network.architecture} network ({sizes}), {model.parameters:,} parameters, "
            f"{file.stat().st_size / 1e6:.2f} MB in float16.",
            "",
            "| style | painting (public domain) | strokes | contrast | chroma | relative pan error "
            "| pan error | what one sees |",
            "| --- | --- | --- | --- | --- | --- | --- | --- |",
            *rows,
            "",
            reached(network.architecture, training["figures"]),
            "",
            *(described(phase) for phase in history(training)),
            "",
            f"Photos: {photos}.",
        ]
    )


def reached(architecture: str, figures: Mapping[str, Any]) -> str:
    """Which goals the styles reach, in Markdown."""
    least, (low, high) = STROKES[architecture], CHROMA
    goals = {
        f"strokes of at least {least}": [f["strokes"] >= least for f in figures.values()],
        f"contrast of at least {CONTRAST}": [f["contrast"] >= CONTRAST for f in figures.values()],
        f"chroma of {low} to {high}": [low <= f["chroma"] <= high for f in figures.values()],
        f"a relative pan error of at most {CALM}": [
            f["pan_relative"] <= CALM for f in figures.values()
        ],
    }
    told = [f"{goal} ({sum(met)} of {len(met)})" for goal, met in goals.items()]
    return f"Goals, and how many styles reach them: {', '.join(told)}."


def described(training: Mapping[str, Any]) -> str:
    """How a phase of the training went, in Markdown."""
    recipe = training["recipe"]
    layers = ", ".join(f"{layer} {weight:g}" for layer, weight in recipe["style_layers"].items())
    content = ", ".join(f"{layer} {weight:g}" for layer, weight in recipe["content_layers"].items())
    factors = "".join(
        f", times {factor:g} for {style}"
        for style, factor in (recipe.get("style_factors") or {}).items()
    )
    grid = f", grid {recipe['grid_weight']:g}" if recipe.get("grid_weight") else ""
    return (
        f"- {training['steps']} steps of {training['batch_size']} crops of {recipe['size']} px: "
        f"style from {layers} of the paintings at {recipe['style_size']} px, weight "
        f"{recipe['style_weight']:g}{factors}; content from {content}, weight "
        f"{recipe['content_weight']:g}; "
        f"total variation {recipe['tv_weight']:g}{grid}; motion {recipe['motion_weight']:g}, noise "
        f"{recipe['noise']:g}; Adam, one cycle up to {recipe['learning_rate']:g}"
    )


def _figures(figures: Mapping[str, Any]) -> list[str]:
    """Cells of the table."""
    bold = [f"{figures[key]:.2f}" for key in ("strokes", "contrast", "chroma")]
    return [*bold, f"{figures['pan_relative']:.2f}", f"{figures['pan_error']:.3f}"]


if __name__ == "__main__":
    sys.exit(main())
