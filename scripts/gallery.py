"""Measure trained styles, put them into the gallery, and write the cards; or train them.

    gallery.py DATA --land trained/*.safetensors    measure, put among what ships, write the cards
    gallery.py DATA --measure                       measure what ships again
    gallery.py DATA --pack KIT                      pack what training on another machine needs
    gallery.py KIT --device cuda --out trained      train, for as long as --minutes says

DATA has photos in content/ and the paintings in styles/, named as their styles; a kit is as good
for training. Only what is used is imported: a machine that trains may lack the rest.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import on_device
from artworks import ARTWORKS
from cards import CHECKPOINTS, GALLERY, write_cards

from nst_rt.errors import InputError, StyleTransferError, UnknownNameError
from nst_rt.images.collection import find_photos, is_held_out
from nst_rt.images.io import load_image, tensor_to_frame
from nst_rt.metrics.fingerprint import fingerprint
from nst_rt.models.merge import one_style, palette_model, with_styles
from nst_rt.models.style_model import SUFFIX, StyleModel

CLASSIC = "classic"  # of its styles' names, and of files beside the gallery

# What the photos' names begin with.
SOURCES = {
    "imagenet": "ImageNet",
    "caltech": "Caltech-101",
    "coco": "COCO",
    "debian": "crops of Debian's wallpapers",
}


def main() -> int:
    """Do what the command line says; returns an exit code."""
    options = parse()
    try:
        if options.pack:
            on_device.pack(options)
        elif options.device:
            on_device.train(options)
        else:
            models = shipped(options.only) if options.measure else trained(options.land)
            if options.gain != 1:
                models = [amplified(model, options.gain) for model in models]
            land([measured(model, options.data) for model in models])
            write_cards()
    except StyleTransferError as error:
        print(f"{Path(__file__).name}: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def parse() -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, metavar="FOLDER")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="paintings; default: all")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--land", nargs="+", type=Path, metavar="FILE", help="trained styles")
    what.add_argument("--measure", action="store_true", help="measure what ships again")
    what.add_argument("--pack", type=Path, metavar="KIT", help="pack what must travel")
    what.add_argument("--device", help="train each painting by itself there: cuda, cpu")
    parser.add_argument(
        "--gain", type=float, default=1.0, help="with --land: more contrast, a factor of the logits"
    )
    on_device.add_arguments(parser)
    options = parser.parse_args()
    if options.gain != 1 and not options.land:
        parser.error("--gain goes with --land")
    options.only = options.only or list(ARTWORKS)
    for name in options.only:
        if name not in ARTWORKS:
            parser.error(str(UnknownNameError("painting", name, ARTWORKS)))
    return options


def trained(files: Sequence[Path]) -> list[StyleModel]:
    """Trained models, of one style each.

    Raises:
        InputError: a model of something else.
    """
    models = [StyleModel.load(file) for file in files]
    for file, model in zip(files, models, strict=True):
        if len(model.styles) > 1 or painting(model) not in ARTWORKS:
            raise InputError(f"{file}: must be a model of one of the paintings alone")
    return models


def shipped(paintings: Sequence[str]) -> list[StyleModel]:
    """The models that ship, of one style each."""
    files = [StyleModel.load(file) for file in sorted(CHECKPOINTS.glob(f"*{SUFFIX}"))]
    models = [one_style(model, name) for model in files for name in model.style_names]
    return [model for model in models if painting(model) in paintings]


def painting(model: StyleModel) -> str:
    """The painting that a model of one style learned."""
    return model.styles[0].name.removesuffix(f"_{CLASSIC}")


def amplified(model: StyleModel, gain: float) -> StyleModel:
    """A model of one style whose logits are multiplied, which costs nothing at run time."""
    network = with_styles(model.network, [0]).eval().requires_grad_(False)
    for weights in network.net.to_image.parameters():
        weights *= gain
    gain *= model.training.get("gain", 1.0)
    return replace(model, network=network, training={**model.training, "gain": gain})


def land(models: Sequence[StyleModel]) -> None:
    """Put models of one style each among those that ship, instead of what is there of them."""
    gallery = {painting(model): model for model in shipped(list(ARTWORKS)) if is_fast(model)}
    for model in models:
        if is_fast(model):
            gallery[painting(model)] = model
        else:
            style = replace(model.styles[0], name=f"{painting(model)}_{CLASSIC}")
            alone = replace(model, styles=(style,))
            alone.save(CHECKPOINTS / f"{style.name}{SUFFIX}", overwrite=True)
    ordered = [gallery[name] for name in ARTWORKS if name in gallery]
    palette_model(ordered).save(GALLERY, overwrite=True)


def is_fast(model: StyleModel) -> bool:
    """Whether a model is one for the gallery, whose styles are of one architecture."""
    return model.network.architecture == "fast"


def measured(model: StyleModel, data: Path) -> StyleModel:
    """A model of one style with its figures, its preview and its painting's fingerprint."""
    from nst_rt.infer.demo import packaged_photos
    from nst_rt.infer.previews import preview
    from nst_rt.infer.stylizer import Stylizer

    style = model.styles[0]
    file = data / "styles" / f"{painting(model)}.jpg"
    photo = tensor_to_frame(load_image(packaged_photos()[0], size=512))
    sources = photo_sources(data / "content")
    trained_on = sum(model.training["photos"].values())
    if sum(sources.values()) != trained_on:
        raise InputError(
            f"{data / 'content'}: {sum(sources.values())} photos, and {style.name} was trained on "
            f"{trained_on}; give the folder that it was trained with"
        )
    known = {"figures": figures(model, file, data / "content"), "sources": sources}
    style = replace(
        style,
        **ARTWORKS[painting(model)],
        fingerprint=fingerprint(load_image(file)),
        preview=preview(Stylizer(model, style.name, stroke_size="1:1")(photo)),
    )
    return StyleModel(model.network, (style,), {**model.training, **known})


def photo_sources(photos: Path) -> dict[str, int]:
    """How many photos of each source are trained on."""
    names = [photo.name for photo in find_photos(photos) if not is_held_out(photo)]
    return dict(Counter(SOURCES.get(name.split("_")[0], "others") for name in names))


def figures(model: StyleModel, painting: Path, photos: Path) -> dict[str, float | None]:
    """What `evaluate_model` finds over the first held-out photos, which takes a minute."""
    from nst_rt.infer.evaluate.model import evaluate_model

    name = model.styles[0].name
    with TemporaryDirectory() as folder:
        file = model.save(Path(folder, f"{name}{SUFFIX}"))
        found = evaluate_model(file, photos, {name: painting}, held_out=True).styles[name]
    pan = {f"pan_{key}": value for key, value in asdict(found.pan).items()}
    return {**asdict(found.boldness), **pan}


if __name__ == "__main__":
    sys.exit(main())
