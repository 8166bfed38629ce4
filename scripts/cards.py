"""Write checkpoints/README.md, the cards of the models that ship, and its contact sheet."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from bare_tree import ROOT

from nst_rt.images.io import save_image
from nst_rt.models.merge import single_style_model
from nst_rt.models.style_model import SUFFIX, StyleModel

CHECKPOINTS = ROOT / "checkpoints"
GALLERY = CHECKPOINTS / f"gallery{SUFFIX}"

HEAD = """\
# The styles that ship

![A photo in all styles](../docs/gallery.jpg)

Each style of the gallery has its own network, and all of them are in one file, so that styles and
blends can change from one frame to the next. See [how to train such a
gallery](../docs/training.md#your-own-gallery).

The tables show how bold and how calm the styles are, by the definitions of `nst_rt.metrics`. For
strokes in even areas (skies, walls), contrast and chroma, 1 is the value of the style image. The
pan error measures how much the style swims when the camera moves, relative to the contrast and in
absolute terms, for the network alone, without the stabilizer. Figures are medians over the first
50 photos that training held out (strokes: those with even areas); the pan error is measured on the
four photos of scikit-image. The last column, like the sheet above, shows what the networks make of
photos of 500 to 700 px at a stroke size of 1:1.
In most styles of the gallery the network alone loses thin objects such as antennas; the photo's
detail is [put back](../docs/styles.md#stroke-size), except at a stroke size of 1:1. Dark areas
without detail often stay plain. See also [what else was tried](../benchmarks/README.md) and [all
styles in one chart](../docs/boldness.png).

**Before you use them**: the training photos, listed below by source and number, include ImageNet
and Caltech-101, which are for research. So use these models for research and private purposes, or
train your own on photos that you have the rights to. The artworks are in the public domain.
Neither photos nor artworks are contained in the model files or in this repository.\
"""
SEEN = {  # style -> its appearance at 640 px: a face, a landscape, a street, a launch pad at night
    "starry_night_classic": "blue strokes and large yellow stars that swirl through skies and over "
    "walls, brown shades; clear eyes and smiles from 512 px on; thin things are kept; a faint pale "
    "rim around towers",
    "starry_night": "dense dark and light blue strokes that flow through skies and over walls, "
    "with yellow flames, on dark things, too; clear eyes, a soft smile; a pale halo of 15 px "
    "around towers against a sky; no suns or swirls",
    "the_scream": "strong red, orange and gray streaks in skies, over walls and clothes, dark ones "
    "where a sky is dark, winding a little, dark green shades; a faint smile, eyes dark; a "
    "fine cross-hatch; dark smoke and a beige seam around towers",
    "great_wave": "waves and ripples of blue or slate on cream in skies, over walls and grass, "
    "with rows of dots as foam that form a net in places; clear eyes and smile; much contrast; a "
    "pale halo around towers",
    "udnie": "large facets of gray, cream, ocher and nearly black green in skies and on walls, "
    "clothes and fur; faces readable, the mouth faint; a pale halo of 30 px around towers",
    "composition_vii": "patches of orange, red, yellow and blue that fill skies and cloths "
    "in slanting rows, of different sizes; brown walls, dark towers left plain; the clearest "
    "smile; a pale halo of 20 px around towers against a sky",
    "water_lilies": "flecks of violet, lilac and yellow, green reflections that hang down from all "
    "that is dark; a clear smile; a weave in flat places; a pale rim around towers",
    "wheat_field": "rolling yellow clouds in a light blue sky, olive and deep green shades, relief "
    "as of thick paint, on dark things, too; clear eyes and smile, faces pale; a pale halo around "
    "towers",
    "night_cafe": "gold and green with strokes as of blue-black relief in skies and on walls, "
    "which may turn red; clear faces; a fine weave in gold and dark reds; a soft glow around "
    "towers",
    "cottages": "pale skies of pink and lilac with rows of yellow dabs, short dark hooks as of a "
    "pen, green and brown shades; a clear smile; a pale halo of 25 px around towers",
    "tahitian_women": "yellow clouds with emerald, violet and dark red strokes in skies and on "
    "walls, orange where the photo is warm; clear eyes and smile, some green specks on faces; a "
    "pale halo of 20 px around towers; a fine cross-hatch in shades",
    "delaunay_portrait": "a mosaic of rounded tiles in white, indigo and teal, with rows of yellow "
    "ones, everywhere; faces readable, some tiles on them; a pale halo of 20 px around "
    "towers",
}
# Goals: minimum by architecture (`classic` is for stills, where strokes matter more), or range.
STROKES = {"fast": 0.75, "classic": 0.9}
CONTRAST = 0.85
CHROMA = (0.85, 1.2)
CALM = 0.45  # maximum relative pan error


def write_cards() -> None:
    """Write the contact sheet and the README of the checkpoints."""
    from nst_rt.infer.packaged import packaged_photos
    from nst_rt.infer.style_sheet import style_sheet

    sheet = style_sheet(packaged_photos()[0])
    save_image(sheet, ROOT / "docs" / "gallery.jpg", overwrite=True)
    files = sorted(CHECKPOINTS.glob(f"*{SUFFIX}"))
    parts = [HEAD, *(card(file) for file in files)]
    (CHECKPOINTS / "README.md").write_text("\n\n".join(parts) + "\n")


def card(file: Path) -> str:
    """The card of a model file, in Markdown."""
    model = StyleModel.load(file)
    models = [single_style_model(model, name) for name in model.style_names]
    network = model.network
    sizes = ", ".join(f"{key} {value}" for key, value in network.hyper_parameters.items())
    weights = f"{models[0].parameters:,} parameters" + (" for each style" if models[1:] else "")
    return "\n".join(
        [
            f"## {file.name}",
            "",
            f"{network.architecture} network ({sizes}), {weights}, "
            f"{file.stat().st_size / 1e6:.2f} MB in float16.",
            "",
            "| style | style image (public domain) | strokes | contrast | chroma "
            "| relative pan error | pan error | appearance |",
            "| --- | --- | --- | --- | --- | --- | --- | --- |",
            *(_row(alone) for alone in models),
            "",
            reached(network.architecture, [alone.training["figures"] for alone in models]),
            "",
            "<details><summary>Training, phase by phase</summary>",
            "",
            *trainings(models),
            "",
            "</details>",
            "",
            photos(models),
        ]
    )


def _row(model: StyleModel) -> str:
    """The table row of a style."""
    style, figures = model.styles[0], model.training["figures"]
    bold = [
        "-" if (value := figures[key]) is None else f"{value:.2f}"
        for key in ("strokes", "contrast", "chroma")
    ]
    cells = [
        f"`{style.name}`",
        f"{style.artist}, *{style.title}*, {style.year}",
        *bold,
        f"{figures['pan_relative']:.2f}",
        f"{figures['pan_error']:.3f}",
        SEEN[style.name],
    ]
    return f"| {' | '.join(cells)} |"


def trainings(models: Sequence[StyleModel]) -> list[str]:
    """The phases of the training with the styles that had each, in Markdown."""
    phases: dict[str, dict[str, None]] = {}  # names in order, each once
    for model in models:
        name = model.styles[0].name
        for phase in model.history(name):
            phases.setdefault(described(phase), {})[name] = None
            if (share := phase.get("interpolated", 1.0)) != 1:
                text = (
                    f"then interpolated: {share:g} of these weights, {1 - share:g} of those before"
                )
                phases.setdefault(text, {})[name] = None
            if (gain := phase.get("gain", 1.0)) != 1:
                phases.setdefault(
                    f"then another contrast: output before the sigmoid times {gain:g}", {}
                )[name] = None
    return [f"- {_listed(names, models)}: {text}" for text, names in phases.items()]


def photos(models: Sequence[StyleModel]) -> str:
    """The photos that the styles were trained on, in Markdown."""
    trained: dict[str, list[str]] = {}
    for model in models:
        sources = ", ".join(f"{n} {source}" for source, n in model.training["sources"].items())
        trained.setdefault(sources, []).append(model.styles[0].name)
    told = (f"{_listed(names, models)}: {text}" for text, names in trained.items())
    return f"Photos: {'; '.join(told)}."


def _listed(names: Collection[str], models: Sequence[StyleModel]) -> str:
    return "all" if len(names) == len(models) else ", ".join(names)


def reached(architecture: str, figures: Sequence[Mapping[str, Any]]) -> str:
    """The goals with medians and the number of styles that reach them, in Markdown."""
    least, (low, high) = STROKES[architecture], CHROMA
    goals = (
        (f"strokes of at least {least}", "strokes", lambda x: x >= least),
        (f"contrast of at least {CONTRAST}", "contrast", lambda x: x >= CONTRAST),
        (f"chroma of {low} to {high}", "chroma", lambda x: low <= x <= high),
        (f"a relative pan error of at most {CALM}", "pan_relative", lambda x: x <= CALM),
    )
    told = []
    for goal, key, is_met in goals:
        values = [value for each in figures if (value := each[key]) is not None]
        reach = f"{sum(map(is_met, values))} of {len(figures)}"
        told.append(f"{goal} (median {median(values):.2f}, {reach})")
    return f"Goals, and how many styles reach them: {', '.join(told)}."


def described(training: Mapping[str, Any]) -> str:
    """One phase of a training, in Markdown."""
    recipe = training["recipe"]
    layers = ", ".join(f"{layer} {weight:g}" for layer, weight in recipe["style_layers"].items())
    content = ", ".join(f"{layer} {weight:g}" for layer, weight in recipe["content_layers"].items())
    factors = "".join(
        f", times {factor:g} for {style}"
        for style, factor in (recipe.get("style_factors") or {}).items()
    )
    focus = (
        f", less in even areas (focus {recipe['content_focus']:g})"
        if recipe.get("content_focus")
        else ", less where pixels vary little"
        if recipe.get("detail") == "pixels"
        else ""
    )
    half = (
        f", {share:g} of it measured at half the size"
        if (share := recipe.get("half_scale_share"))
        else ""
    )
    grid = f", grid {recipe['grid_weight']:g}" if recipe.get("grid_weight") else ""
    motion = (
        f"motion {recipe['motion_weight']:g}, noise {recipe['noise']:g}"
        if recipe["motion_weight"]
        else "no motion term"
    )
    return (
        f"{training['steps']} steps of {training['batch_size']} crops of {recipe['size']} px: "
        f"style from {layers} of the style images at {recipe['style_size']} px, weight "
        f"{recipe['style_weight']:g}{factors}{half}; content from {content}, weight "
        f"{recipe['content_weight']:g}{focus}; "
        f"total variation {recipe['tv_weight']:g}{grid}; {motion}; Adam, one cycle up to "
        f"{recipe['learning_rate']:g}"
    )
