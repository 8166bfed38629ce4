import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from nst_rt.errors import InputError
from nst_rt.images.color import luminance, match_colors, match_luminance, with_luminance
from nst_rt.images.convert import resize
from nst_rt.images.io import load_image, save_image
from nst_rt.images.style_image import load_style_image
from nst_rt.optimization.inputs import Scene, load_scene, scene_shapes

RED, BLUE, GREEN = "#ff0000", "#0000ff", "#00ff00"


@pytest.fixture(scope="session")
def coffee(photos: Path) -> Path:
    return photos / "coffee.png"


@pytest.fixture
def content_mask(tmp_path: Path) -> Path:
    """Red on the left, blue on the right, green below; with the aspect ratio of `coffee`."""
    return striped(tmp_path / "regions.png", 150, 100, [RED, BLUE], below=GREEN)


@pytest.fixture
def mask_files(content_mask: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`regions.png` and a `square.png`, in the current folder."""
    striped(tmp_path / "square.png", 100, 100, [RED, BLUE])
    monkeypatch.chdir(tmp_path)


def striped(
    path: Path, width: int, height: int, colors: Sequence[str], below: str | None = None
) -> Path:
    picture = Image.new("RGB", (width, height))
    for k, color in enumerate(colors):
        picture.paste(color, (width * k // len(colors), 0, width, height))
    if below is not None:
        picture.paste(below, (0, height * 3 // 4, width, height))
    picture.save(path)
    return path


def scene_of(coffee: Path, *styles: Path, **changes: Any) -> Scene:
    return load_scene(coffee, styles, **{"size": 96} | changes)


def test_images_have_the_size_asked_for(coffee: Path, painting: Path) -> None:
    scene = scene_of(coffee, painting, painting)
    assert torch.equal(scene.content, load_image(coffee, size=96))
    assert (scene.shape, scene.size) == ((64, 96), 96)
    for style in scene.styles:
        assert torch.equal(style.image, load_image(painting, size=96))
        assert (style.weight, style.region, style.mask) == (1, 0, None)
    assert scene.regions == ()


@pytest.mark.parametrize("scale", [0.5, 1.0, 1.7])
def test_style_scale_scales_the_style_images_alone(
    coffee: Path, painting: Path, scale: float
) -> None:
    scene = scene_of(coffee, painting, style_scale=scale)
    assert max(scene.styles[0].image.shape) == round(96 * scale)
    assert scene.size == 96
    small = scene.at(48)
    assert small.content.shape == (1, 3, 32, 48)
    assert max(small.styles[0].image.shape) == round(48 * scale)


@pytest.mark.parametrize("scale", [0.3, 1.0, 2.0])
def test_scene_shapes_match_the_loaded_scene(coffee: Path, painting: Path, scale: float) -> None:
    scene = scene_of(coffee, painting, style_scale=scale)
    for sources in ((coffee, painting), (load_image(coffee), load_image(painting))):
        content, *styles = sources
        shapes = scene_shapes(content, styles, size=96, style_scale=scale, smallest=16)
        assert shapes == [scene.shape, scene.styles[0].image.shape[-2:]]


@pytest.mark.parametrize("scale", [0.0, -1.0, math.nan, math.inf])
def test_style_scale_must_be_positive(coffee: Path, painting: Path, scale: float) -> None:
    with pytest.raises(InputError, match=f"style_scale.*{scale}"):
        scene_shapes(coffee, [painting], size=96, style_scale=scale, smallest=1)


def test_image_too_small_for_the_layers_is_an_error(coffee: Path, painting: Path) -> None:
    with pytest.raises(InputError, match=r"coffee\.png: .*20x13"):
        scene_shapes(coffee, [painting], size=20, style_scale=1, smallest=16)
    with pytest.raises(InputError, match=r"swirls\.jpg: .*14x11"):
        scene_shapes(coffee, [painting], size=48, style_scale=0.3, smallest=16)
    with pytest.raises(InputError, match="8x8"):
        scene_shapes(coffee, [torch.rand(1, 3, 9, 9)], size=24, style_scale=1 / 3, smallest=16)


@pytest.mark.parametrize(
    ("blend", "word"),
    [
        ([1.0], "1 weights for 2"),
        ([1.0, 2.0, 3.0], "3 weights for 2"),
        ([1.0, -1.0], "-1.0"),
        ([0.0, 1.0], "0.0"),
        ([math.nan, 1.0], "nan"),
        ([1.0, math.inf], "inf"),
    ],
)
def test_bad_blend(coffee: Path, painting: Path, blend: list[float], word: str) -> None:
    with pytest.raises(InputError, match=word):
        scene_of(coffee, painting, painting, blend=blend)


def test_style_mask_as_a_color_assigns_the_whole_style_image(
    coffee: Path, painting: Path, content_mask: Path
) -> None:
    scene = scene_of(
        coffee, painting, painting, content_mask=content_mask, style_masks=["blue", "#f00"]
    )
    assert [(style.region, style.mask) for style in scene.styles] == [(0, None), (1, None)]
    right, left = scene.regions  # the third one takes no style
    assert right[0, 0, 10].tolist() == [0.0] * 75 + [1.0] * 75
    assert torch.equal(left[..., :75, :], 1 - right[..., :75, :])
    assert left[..., 75:, :].max() == right[..., 75:, :].max() == 0


def test_style_mask_as_a_file_assigns_areas_of_the_style_image(
    coffee: Path, painting: Path, content_mask: Path, tmp_path: Path
) -> None:
    mask = striped(tmp_path / "style.png", 64, 51, [BLUE, GREEN])
    scene = scene_of(
        coffee,
        painting,
        painting,
        blend=[1, 3],
        content_mask=content_mask,
        style_masks=[mask, BLUE],
    )
    first, second, third = scene.styles
    assert len(scene.regions) == 2
    assert [s.weight for s in scene.styles] == [1, 1, 3]
    assert first.mask is not None
    assert second.mask is not None
    assert third.mask is None
    assert torch.equal(first.mask + second.mask, torch.ones(1, 1, 51, 64))
    by_color = {
        float(style.mask[..., :32].mean()): scene.regions[style.region]
        for style in (first, second)
        if style.mask is not None
    }
    assert by_color[1.0][0, 0, 10].tolist() == [0.0] * 75 + [1.0] * 75  # blue, on the right
    assert by_color[0.0][..., 75:, :].min() == 1  # green, below
    assert torch.equal(scene.regions[third.region], by_color[1.0])


def test_mask_colors_changed_by_jpeg_still_match(
    coffee: Path, painting: Path, tmp_path: Path
) -> None:
    mask = striped(tmp_path / "regions.jpg", 150, 100, [RED, BLUE])
    scene = scene_of(coffee, painting, content_mask=mask, style_masks=["red"])
    assert scene.regions[0].mean() == pytest.approx(0.5, abs=0.02)


def test_style_for_a_missing_region_is_an_error(
    coffee: Path, painting: Path, content_mask: Path, tmp_path: Path
) -> None:
    mask = striped(tmp_path / "style.png", 64, 51, [BLUE, "#ffff00"])
    for given in (mask, "yellow"):
        with pytest.raises(InputError, match=rf"{given}: .*#ffff00"):
            scene_of(coffee, painting, content_mask=content_mask, style_masks=[given])


@pytest.mark.parametrize(
    ("mask", "style_masks", "word"),
    [
        ("regions.png", ["red", "blue"], "2 masks for 1"),
        (None, ["red"], "content_mask"),
        ("regions.png", None, "style_masks"),
        ("regions.png", ["missing.png"], r"missing\.png"),
        ("missing.png", ["red"], r"missing\.png"),
        ("square.png", ["red"], r"square\.png: 100x100 .* 96x64"),
        ("regions.png", ["square.png"], r"square\.png: 100x100 .* 96x77"),
    ],
)
@pytest.mark.usefixtures("mask_files")
def test_bad_masks(
    coffee: Path,
    painting: Path,
    mask: str | None,
    style_masks: list[str] | None,
    word: str,
) -> None:
    with pytest.raises(InputError, match=word):
        scene_of(coffee, painting, content_mask=mask, style_masks=style_masks)


@pytest.mark.parametrize("changes", [{"preserve_colors": "hue"}, {"init": "hue.png"}])
def test_bad_preserve_colors_or_init(coffee: Path, painting: Path, changes: dict[str, str]) -> None:
    with pytest.raises(InputError, match="hue"):
        scene_of(coffee, painting, **changes)


@pytest.mark.parametrize("size", [96, 61, 40, 24])
def test_regions_sum_to_1_at_all_scales(
    coffee: Path, painting: Path, content_mask: Path, size: int
) -> None:
    scene = scene_of(
        coffee, *[painting] * 3, content_mask=content_mask, style_masks=[RED, BLUE, GREEN]
    )
    small = scene.at(size)
    masks = torch.cat(small.regions)
    assert masks.shape == (3, 1, *small.content.shape[-2:])
    torch.testing.assert_close(masks.sum(0), torch.ones(masks.shape[1:]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [300, 400])
def test_feather_of_regions_is_proportional_to_the_size(
    coffee: Path, painting: Path, content_mask: Path, size: int
) -> None:
    scene = scene_of(coffee, painting, size=400, content_mask=content_mask, style_masks=[BLUE])
    (mask,) = scene.at(size).regions
    distances = (torch.arange(size) + 0.5) / size - 0.5
    expected = (1 + torch.erf(distances / (0.005 * math.sqrt(2)))) / 2
    torch.testing.assert_close(mask[0, 0, size // 6], expected, atol=0.02, rtol=0)


def test_coarse_scene_keeps_style_masks_and_weights(
    coffee: Path, painting: Path, content_mask: Path, tmp_path: Path
) -> None:
    mask = striped(tmp_path / "style.png", 64, 51, [BLUE, GREEN])
    scene = scene_of(coffee, painting, blend=[2], content_mask=content_mask, style_masks=[mask])
    for style, small in zip(scene.styles, scene.at(48).styles, strict=True):
        assert (small.weight, small.region, small.mask) == (2, style.region, style.mask)


def test_smallest_size_leaves_the_shortest_side(coffee: Path, painting: Path) -> None:
    for scale in (0.5, 1.0, 3.0):
        scene = scene_of(coffee, painting, style_scale=scale)
        small = scene.at(math.ceil(scene.smallest_size(16)))
        sides = [*small.content.shape[-2:], *small.styles[0].image.shape[-2:]]
        assert min(sides) in (16, 17)


def test_luminance_makes_the_scene_gray(coffee: Path, painting: Path) -> None:
    scene = scene_of(coffee, painting, preserve_colors="luminance")
    photo = load_image(coffee, size=96)
    for image in (scene.content, scene.styles[0].image):
        assert image.shape[1] == 3
        torch.testing.assert_close(image, luminance(image).expand(-1, 3, -1, -1))
    torch.testing.assert_close(luminance(scene.content), luminance(photo))
    matched = match_luminance(luminance(load_image(painting, size=96)), luminance(photo))
    torch.testing.assert_close(scene.styles[0].image[:, :1], matched.clamp(0, 1))
    # The result has the content image's chroma, at every scale.
    image = load_image(painting, size=96)[..., :64, :]
    assert torch.equal(scene.finished(image), with_luminance(photo, luminance(image)))
    assert scene.finished(scene.at(48).content).shape == (1, 3, 32, 48)


def test_match_gives_style_images_the_content_images_colors(coffee: Path, painting: Path) -> None:
    scene = scene_of(coffee, painting, preserve_colors="match")
    matched = match_colors(load_image(painting, size=96), scene.content)
    assert torch.equal(scene.styles[0].image, matched)
    assert torch.equal(scene.content, load_image(coffee, size=96))
    assert torch.equal(scene.finished(scene.content), scene.content)


def test_init_is_content_noise_or_the_cropped_style(coffee: Path, painting: Path) -> None:
    init = scene_of(coffee, painting).init
    assert init is not None
    assert torch.equal(init, load_image(coffee, size=96))
    assert scene_of(coffee, painting, init="noise").init is None
    init = scene_of(coffee, painting, init="style").init
    assert init is not None
    assert init.shape == (1, 3, 64, 96)
    # The painting at 96 px is 77 px high.
    torch.testing.assert_close(init, load_image(painting, size=96)[..., 6:70, :])


def test_recolored_init_has_the_colors_of_the_style_images(coffee: Path, painting: Path) -> None:
    content, style = load_image(coffee, size=96), load_image(painting, size=96)
    init = scene_of(coffee, painting, init="recolored").init
    assert init is not None
    torch.testing.assert_close(init, match_colors(content, style))
    two = scene_of(coffee, painting, coffee, init="recolored", blend=[3, 1]).init
    assert two is not None
    torch.testing.assert_close(two, init * 0.75 + content * 0.25, atol=2e-3, rtol=0)


@pytest.mark.parametrize("as_tensor", [False, True])
def test_style_size_prepares_style_images_as_a_training_does(
    coffee: Path, painting: Path, tmp_path: Path, as_tensor: bool
) -> None:
    dull = save_image(load_image(painting) * 0.3 + 0.4, tmp_path / "dull.png")
    source = load_image(dull) if as_tensor else dull
    scene = load_scene(coffee, [source], size=96, style_scale=0.5, style_size=200)
    learned = load_style_image(dull, 200)
    assert learned.stretched
    torch.testing.assert_close(scene.styles[0].image, resize(learned.image, 48))


@pytest.mark.parametrize("shape", [(64, 96), (20, 200), (200, 20), (7, 7), (301, 300)])
def test_init_from_a_file_covers_the_content_image(
    coffee: Path, painting: Path, tmp_path: Path, shape: tuple[int, int]
) -> None:
    plain = torch.tensor([0.2, 0.4, 0.8]).view(1, 3, 1, 1)
    file = save_image(plain.expand(1, 3, *shape), tmp_path / "plain.png")
    init = scene_of(coffee, painting, init=str(file)).init
    assert init is not None
    torch.testing.assert_close(init, plain.expand(1, 3, 64, 96), atol=1e-5, rtol=0)
