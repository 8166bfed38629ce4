"""The styles that ship: all there, each its own painting's, with cards that say so."""

import itertools
import re
import statistics
from pathlib import Path

import numpy as np
import pytest

from nst_rt.images.contact_sheet import contact_sheet
from nst_rt.images.io import Frame, frame_to_tensor, load_image, tensor_to_frame
from nst_rt.infer.demo import packaged_photos
from nst_rt.infer.previews import COLUMNS, SHEET_CELL
from nst_rt.infer.stylizer import Stylizer, load_style
from nst_rt.metrics.boldness import stroke_energy
from nst_rt.metrics.fingerprint import fingerprint, fingerprint_distance
from nst_rt.models.merge import one_style
from nst_rt.models.style_model import StyleModel, find_style, gallery

ROOT = Path(__file__).parents[1]
STYLES = [
    "starry_night",
    "great_wave",
    "the_scream",
    "composition_vii",
    "water_lilies",
    "wheat_field",
    "night_cafe",
    "cottages",
    "tahitian_women",
    "delaunay_portrait",
    "udnie",
]


@pytest.fixture(scope="module")
def model() -> StyleModel:
    return StyleModel.load(ROOT / "checkpoints" / "gallery.safetensors")


@pytest.fixture(scope="module")
def stylized(model: StyleModel, photos: Path) -> dict[str, list[Frame]]:
    """What each style makes of two photos."""
    frames = [
        tensor_to_frame(load_image(photos / name, size=512))
        for name in ("astronaut.png", "coffee.png")
    ]
    stylizer = Stylizer(model, STYLES[0], stroke_size="1:1")
    pictures = {}
    for name in STYLES:
        stylizer.set_style(name)
        pictures[name] = [stylizer(frame) for frame in frames]
    return pictures


def test_all_styles_are_in_one_small_file(model: StyleModel) -> None:
    assert model.style_names == STYLES
    assert (ROOT / "checkpoints" / "gallery.safetensors").stat().st_size < 4e6
    for value in model.network.state_dict().values():
        assert value.isfinite().all()


def test_all_styles_differ(stylized: dict[str, list[Frame]]) -> None:
    for one, other in itertools.combinations(STYLES, 2):
        difference = statistics.fmean(
            np.abs(a.astype(float) - b).mean()
            for a, b in zip(stylized[one], stylized[other], strict=True)
        )
        assert difference > 8, (one, other)


def test_each_style_is_nearest_to_its_own_painting(
    model: StyleModel, stylized: dict[str, list[Frame]]
) -> None:
    paintings = {style.name: style.fingerprint for style in model.styles}
    for name, frames in stylized.items():
        prints = [fingerprint(frame_to_tensor(frame)) for frame in frames]
        mean = [statistics.fmean(numbers) for numbers in zip(*prints, strict=True)]
        distances = {other: fingerprint_distance(mean, x) for other, x in paintings.items()}
        assert min(distances, key=distances.__getitem__) == name, distances


def test_a_blend_lies_between(
    model: StyleModel, stylized: dict[str, list[Frame]], photos: Path
) -> None:
    frame = tensor_to_frame(load_image(photos / "astronaut.png", size=512))
    blend = Stylizer(model, {"starry_night": 0.5, "the_scream": 0.5}, stroke_size="1:1")(
        frame
    ).astype(float)
    ends = [stylized[name][0].astype(float) for name in ("starry_night", "the_scream")]
    apart = np.abs(ends[0] - ends[1]).mean()
    for end in ends:
        assert 0 < np.abs(blend - end).mean() < apart


@pytest.mark.parametrize("name", list(gallery()))
def test_every_style_has_its_card(name: str) -> None:
    file = gallery()[name]
    card = (ROOT / "checkpoints" / "README.md").read_text()
    figures = one_style(StyleModel.load(file), name).training["figures"]
    [row] = re.findall(rf"^\| `{name}` \|.*$", card, re.MULTILINE)
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[2] == f"{figures['strokes']:.2f}"
    assert cells[6] == f"{figures['pan_error']:.3f}"
    assert len(cells[-1]) > 20  # what one sees
    assert f"## {file.name}" in card


def test_who_chooses_nothing_gets_the_network_for_live_pictures() -> None:
    assert list(gallery()) == [*STYLES, "starry_night_classic"]


@pytest.mark.parametrize("name", [*STYLES, "starry_night_classic"])
def test_strokes_are_painted_where_the_photo_has_none(name: str) -> None:
    """A sky that grows brighter downwards; networks that follow the photo come to 0.7 to 1.9."""
    sky = np.linspace(120, 200, 256).astype(np.uint8)[:, None, None].repeat(256, 1).repeat(3, 2)
    inner = np.zeros(sky.shape[:2], bool)
    inner[32:-32, 32:-32] = True
    stylized = frame_to_tensor(load_style(name, stroke_size="1:1")(sky))
    assert 255 * stroke_energy(stylized, inner) > 2.2


def test_the_classic_paints_the_same_painting_with_another_network(
    model: StyleModel, stylized: dict[str, list[Frame]], photos: Path
) -> None:
    classic, name = find_style("starry_night_classic")
    assert classic.network.architecture == "classic"
    frame = tensor_to_frame(load_image(photos / "coffee.png", size=512))
    found = fingerprint(frame_to_tensor(Stylizer(classic, name, stroke_size="1:1")(frame)))
    distances = {s.name: fingerprint_distance(found, s.fingerprint) for s in model.styles}
    assert min(distances, key=distances.__getitem__) == "starry_night"


def test_the_contact_sheet_is_there() -> None:
    sheet = load_image(ROOT / "docs" / "gallery.jpg")
    names = ["photo", *gallery()]
    photo = load_image(packaged_photos()[0], size=SHEET_CELL)
    assert sheet.shape == contact_sheet([photo] * len(names), names, columns=COLUMNS).shape
    assert "docs/gallery.jpg" in (ROOT / "README.md").read_text()


def test_every_style_can_be_previewed() -> None:
    for file in set(gallery().values()):
        for style in StyleModel.load(file).styles:
            assert style.preview, style.name
            assert len(style.fingerprint) == 32
