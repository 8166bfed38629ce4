"""Train the styles of the gallery, or measure trained ones, add them and write their cards.

    gallery.py DATA --land trained/*.safetensors    measure, add to the gallery, write the cards
    gallery.py DATA --measure                       measure the gallery again
    gallery.py DATA --pack KIT                      pack what training on another machine needs
    gallery.py KIT --device cuda --out trained      train, for --minutes

DATA has photos in content/ and style images in styles/, named like their styles; a kit has what
training needs. Modules are imported where they are used: a machine that trains may lack others.
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
from cards import CHECKPOINTS, GALLERY, SEEN, write_cards

from nst_rt.errors import InputError, StyleTransferError, UnknownNameError
from nst_rt.images.collection import find_photos, is_held_out
from nst_rt.images.convert import tensor_to_frame
from nst_rt.images.io import load_image
from nst_rt.metrics.fingerprint import fingerprint
from nst_rt.models import merge
from nst_rt.models.merge import merged_model, single_style_model, with_styles
from nst_rt.models.style_model import SUFFIX, StyleModel

CLASSIC = "classic"  # suffix of style names and of files beside the gallery

# Prefix of the photos' names -> source.
SOURCES = {
    "imagenet": "ImageNet",
    "caltech": "Caltech-101",
    "coco": "COCO",
    "debian": "crops of Debian's wallpapers",
}


def main() -> int:
    """Run the command line; returns an exit code."""
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
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, metavar="FOLDER")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="styles (default: all)")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--land", nargs="+", type=Path, metavar="FILE", help="trained models to add")
    what.add_argument("--measure", action="store_true", help="measure the gallery again")
    what.add_argument(
        "--pack", type=Path, metavar="KIT", help="kit to pack for training on another machine"
    )
    what.add_argument("--device", help="train a network for each style there: cuda, cpu")
    parser.add_argument(
        "--gain",
        type=float,
        default=1.0,
        help="with --land: factor of the logits, for more contrast",
    )
    on_device.add_arguments(parser)
    options = parser.parse_args()
    if options.gain != 1 and not options.land:
        parser.error("--gain goes with --land")
    options.only = options.only or list(ARTWORKS)
    for name in options.only:
        if name not in ARTWORKS:
            parser.error(str(UnknownNameError("style", name, ARTWORKS)))
    return options


def trained(files: Sequence[Path]) -> list[StyleModel]:
    """Load trained models of one style each.

    Raises:
        InputError: a model of several styles, or of one that is not listed or described.
    """
    models = [StyleModel.load(file) for file in files]
    for file, model in zip(files, models, strict=True):
        if len(model.styles) > 1 or artwork(model) not in ARTWORKS:
            raise InputError(
                f"{file}: must be a model of exactly one style that scripts/artworks.py lists"
            )
        if model.styles[0].name not in SEEN:
            raise InputError(f"{file}: describe {model.styles[0].name} in SEEN of scripts/cards.py")
    return models


def shipped(artworks: Sequence[str]) -> list[StyleModel]:
    """The models that ship, split into one style each."""
    files = [StyleModel.load(file) for file in sorted(CHECKPOINTS.glob(f"*{SUFFIX}"))]
    models = [single_style_model(model, name) for model in files for name in model.style_names]
    return [model for model in models if artwork(model) in artworks]


def artwork(model: StyleModel) -> str:
    """Name of the artwork that a model of one style was trained on."""
    return model.styles[0].name.removesuffix(f"_{CLASSIC}")


def amplified(model: StyleModel, gain: float) -> StyleModel:
    """A model of one style with its logits multiplied, which costs nothing at run time."""
    network = merge.amplified(with_styles(model.network, [0]).eval().requires_grad_(False), gain)
    gain *= model.training.get("gain", 1.0)
    return replace(model, network=network, training={**model.training, "gain": gain})


def land(models: Sequence[StyleModel]) -> None:
    """Add models of one style each to those that ship, replacing the same styles."""
    gallery = {artwork(model): model for model in shipped(list(ARTWORKS)) if is_fast(model)}
    for model in models:
        if is_fast(model):
            gallery[artwork(model)] = model
        else:
            style = replace(model.styles[0], name=f"{artwork(model)}_{CLASSIC}")
            alone = replace(model, styles=(style,))
            alone.save(CHECKPOINTS / f"{style.name}{SUFFIX}", overwrite=True)
    ordered = [gallery[name] for name in ARTWORKS if name in gallery]
    merged_model(ordered).save(GALLERY, overwrite=True)


def is_fast(model: StyleModel) -> bool:
    """Whether a model fits the gallery, whose styles have one architecture."""
    return model.network.architecture == "fast"


def measured(model: StyleModel, data: Path) -> StyleModel:
    """Add figures, a preview and the style image's fingerprint to a model of one style."""
    from nst_rt.infer.packaged import packaged_photos
    from nst_rt.infer.style_sheet import preview
    from nst_rt.infer.stylizer import Stylizer

    style = model.styles[0]
    file = data / "styles" / f"{artwork(model)}.jpg"
    photo = tensor_to_frame(load_image(packaged_photos()[0], size=512))
    sources = photo_sources(data / "content")
    trained_on = sum(model.training["photos"].values())
    if sum(sources.values()) != trained_on:
        raise InputError(
            f"{data / 'content'}: {sum(sources.values())} photos, but {style.name} was trained on "
            f"{trained_on}; give the folder that it was trained with"
        )
    known = {"figures": figures(model, file, data / "content"), "sources": sources}
    style = replace(
        style,
        **ARTWORKS[artwork(model)],
        fingerprint=fingerprint(load_image(file)),
        preview=preview(Stylizer(model, style.name, stroke_size="1:1")(photo)),
    )
    return StyleModel(model.network, (style,), {**model.training, **known})


def photo_sources(photos: Path) -> dict[str, int]:
    """Source -> number of training photos."""
    names = [photo.name for photo in find_photos(photos) if not is_held_out(photo)]
    return dict(Counter(SOURCES.get(name.split("_")[0], "others") for name in names))


def figures(model: StyleModel, style_image: Path, photos: Path) -> dict[str, float | None]:
    """Figures of `evaluate_model` over the first held-out photos, which takes a minute."""
    from nst_rt.infer.evaluate.model import evaluate_model

    name = model.styles[0].name
    with TemporaryDirectory() as folder:
        file = model.save(Path(folder, f"{name}{SUFFIX}"))
        found = evaluate_model(file, photos, {name: style_image}, held_out=True).styles[name]
    pan = {"pan_error": found.pan.error, "pan_relative": found.pan.relative}
    return {**asdict(found.boldness), **pan}


if __name__ == "__main__":
    sys.exit(main())
