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
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import on_device
from artworks import ARTWORKS
from bare_tree import ROOT
from cards import CHECKPOINTS, write_cards

from nst_rt.errors import StyleTransferError, UnknownNameError
from nst_rt.files import atomic_output
from nst_rt.images import load_image, tensor_to_frame
from nst_rt.metrics.fingerprint import fingerprint
from nst_rt.photos import find_photos, is_held_out
from nst_rt.style_model import StyleModel
from nst_rt.train.record import history

WORK = ROOT / ".gallery"  # hours of work, which `make clean` leaves alone

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
    one from the model file `start`, if there is one. `settings` are over those of all recipes.
    """

    name: str
    styles: Mapping[str, str]
    phases: tuple[tuple[str, ...], ...]
    start: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


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
        settings={
            "model.content_layers": {"relu4_2": 1.0},
            "model.content_focus": 0.0,
            "model.style_weight": 20.0,
        },
    ),
    Model(
        "the_scream_bold",
        {"the_scream_bold": "the_scream"},
        (("bold",),),
        start="starry_night_bold",
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
        "model.artworks": {name: ARTWORKS[file] for name, file in model.styles.items()},
        **model.settings,
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


if __name__ == "__main__":
    sys.exit(main())
