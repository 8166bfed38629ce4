import io
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from nst_rt.errors import InputError
from nst_rt.optimization.masks import load_labels, matching_label, parse_color, resized_mask

BLACK, WHITE, RED, BLUE = "#000000", "#ffffff", "#ff0000", "#0044ff"


def label_image(width: int = 256, height: int = 192, smooth: int = 1) -> Image.Image:
    """A black background, a white ellipse, a red triangle and a blue one; `smooth` antialiases."""
    w, h = width * smooth, height * smooth
    picture = Image.new("RGB", (w, h), BLACK)
    draw = ImageDraw.Draw(picture)
    draw.ellipse((0.3 * w, 0.2 * h, 0.8 * w, 0.9 * h), fill=WHITE)
    draw.polygon([(0, 0), (0.4 * w, 0), (0, 0.7 * h)], fill=RED)
    draw.polygon([(w, h), (0.9 * w, 0), (0.7 * w, h)], fill=BLUE)
    return picture.resize((width, height), Image.Resampling.BOX)


def halves(left: object, right: object, mode: str = "RGB", size: int = 32) -> Image.Image:
    picture = Image.new(mode, (size, size), left)  # type: ignore[arg-type]
    picture.paste(right, (size // 2, 0, size, size))  # type: ignore[arg-type]
    return picture


def labels_of(picture: Image.Image, path: Path, **options: Any) -> dict[str, Tensor]:
    """What `load_labels` makes of a picture that Pillow saved."""
    picture.save(path, **options)
    return load_labels(path)


def pixels_of(picture: Image.Image, color: str) -> Tensor:
    """Mask of the pixels that have exactly that color, shape (1, 1, H, W)."""
    rgb = np.array([int(color[k : k + 2], 16) for k in (1, 3, 5)])
    return torch.from_numpy((np.asarray(picture) == rgb).all(axis=2))[None, None].float()


def assert_one_hot(labels: dict[str, Tensor]) -> None:
    for mask in labels.values():
        assert mask.dtype == torch.float32
        assert ((mask == 0) | (mask == 1)).all()
    assert (sum(labels.values()) == torch.ones(())).all()


def test_flat_colors_are_labels(tmp_path: Path) -> None:
    picture = label_image()
    labels = labels_of(picture, tmp_path / "a.png")
    assert_one_hot(labels)
    assert set(labels) == {BLACK, WHITE, RED, BLUE}
    areas = [mask.sum() for mask in labels.values()]
    assert areas == sorted(areas, reverse=True)
    for color, mask in labels.items():
        assert mask.shape == (1, 1, 192, 256)
        assert torch.equal(mask, pixels_of(picture, color))


def test_one_region_is_enough(tmp_path: Path) -> None:
    labels = labels_of(Image.new("RGB", (8, 6), "#123456"), tmp_path / "a.png")
    assert list(labels) == ["#123456"]
    assert torch.equal(labels["#123456"], torch.ones(1, 1, 6, 8))


def test_antialiased_edges_join_the_nearest_label(tmp_path: Path) -> None:
    picture = label_image(smooth=4)
    assert len(picture.getcolors() or ()) > 20
    labels = labels_of(picture, tmp_path / "a.png")
    assert_one_hot(labels)
    assert set(labels) == {BLACK, WHITE, RED, BLUE}
    for color, mask in labels.items():
        assert (mask >= pixels_of(picture, color)).all()
        assert mask.sum() < 1.1 * pixels_of(picture, color).sum()


def test_line_of_one_pixel_is_not_a_label(tmp_path: Path) -> None:
    picture = halves("black", "white")
    picture.paste((127, 127, 127), (15, 0, 16, 32))  # 3 % of the pixels
    assert set(labels_of(picture, tmp_path / "a.png")) == {BLACK, WHITE}


def test_labels_cover_at_least_half_a_percent(tmp_path: Path) -> None:
    picture = Image.new("RGB", (100, 100))
    picture.paste("red", (0, 0, 10, 5))  # 0.5 %
    picture.paste("lime", (50, 0, 57, 7))  # 0.49 %
    labels = labels_of(picture, tmp_path / "a.png")
    assert {color: mask.sum() for color, mask in labels.items()} == {BLACK: 9950, RED: 50}


@pytest.mark.parametrize("quality", [30, 50, 75, 95])
def test_jpeg_noise_adds_no_labels(tmp_path: Path, quality: int) -> None:
    picture = label_image(smooth=4)
    labels = labels_of(picture, tmp_path / "a.jpg", quality=quality)
    assert_one_hot(labels)
    assert len(labels) == 4
    for color, mask in labels.items():
        level = np.array([int(color[k : k + 2], 16) for k in (1, 3, 5)])
        near = (np.abs(np.asarray(picture).astype(int) - level) <= 4).all(axis=2)
        assert mask[0, 0].numpy()[near].mean() > 0.99


def test_nearly_equal_colors_are_one_label(tmp_path: Path) -> None:
    picture = halves("black", (200, 100, 50))
    picture.paste((176, 124, 50), (16, 0, 32, 10))
    labels = labels_of(picture, tmp_path / "a.png")
    assert list(labels) == [BLACK, "#c86432"]
    picture.paste((175, 100, 50), (16, 0, 32, 10))
    assert len(labels_of(picture, tmp_path / "a.png")) == 3


@pytest.mark.parametrize("name", ["astronaut.png", "camera.png", "brick.png", "rocket.jpg"])
def test_photo_is_not_a_label_image(photos: Path, name: str) -> None:
    with pytest.raises(InputError, match=name) as caught:
        load_labels(photos / name)
    assert "\n" not in str(caught.value)


def test_more_than_16_colors_are_not_a_label_image(tmp_path: Path) -> None:
    levels = np.zeros((40, 170, 3), dtype=np.uint8)
    for k in range(17):
        levels[:, 10 * k : 10 * k + 10] = (60 * (k % 4), 60 * (k // 4), 0)
    with pytest.raises(InputError, match="17 colors"):
        labels_of(Image.fromarray(levels), tmp_path / "a.png")
    assert len(labels_of(Image.fromarray(levels[:, 10:]), tmp_path / "a.png")) == 16


def test_numbered_regions_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="#010101"):
        labels_of(halves(0, 1, "L"), tmp_path / "a.png")


def test_a_million_colors(tmp_path: Path) -> None:
    levels = np.zeros((2000, 1500, 3), dtype=np.uint8)
    levels[:, 750:] = 255
    noise = np.random.default_rng(0).integers(0, 256, (1000, 1500, 3))
    levels[500:1500] = noise
    labels = labels_of(Image.fromarray(levels), tmp_path / "a.png", compress_level=1)
    assert_one_hot(labels)
    assert set(labels) == {BLACK, WHITE}
    # Of noise, those whose levels sum to more than half of the largest sum.
    expected = noise.sum(axis=2) > 3 * 255 / 2
    assert np.array_equal(labels[WHITE][0, 0, 500:1500].numpy() == 1, expected)


@pytest.mark.parametrize(
    ("mode", "left", "right"), [("L", 0, 255), ("1", 0, 1), ("I;16", 0, 65535), ("F", 0.0, 1.0)]
)
def test_gray_masks(tmp_path: Path, mode: str, left: float, right: float) -> None:
    levels = np.full((32, 32), left)
    levels[:, 20:] = right
    dtypes = {"L": np.uint8, "1": np.bool_, "I;16": np.uint16, "F": np.float32}
    picture = Image.fromarray(levels.astype(dtypes[mode]))
    assert picture.mode == mode
    labels = labels_of(picture, tmp_path / "a.tif")
    assert list(labels) == [BLACK, WHITE]
    assert torch.equal(labels[WHITE][0, 0], torch.from_numpy(levels).float() / right)


def test_palette_masks(tmp_path: Path) -> None:
    picture = halves(0, 1, "P")
    picture.putpalette([10, 200, 30, 40, 50, 220])
    assert set(labels_of(picture, tmp_path / "a.png")) == {"#0ac81e", "#2832dc"}


def test_transparent_areas_are_black(tmp_path: Path) -> None:
    picture = halves((90, 90, 90, 0), (255, 0, 0, 255), "RGBA")
    labels = labels_of(picture, tmp_path / "a.png")
    assert set(labels) == {BLACK, RED}
    assert labels[BLACK][0, 0, :, :16].all()


def test_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90 degrees clockwise for display
    labels = labels_of(halves("red", "white"), tmp_path / "a.png", exif=exif)
    assert labels[RED][0, 0, :16].all()


@pytest.mark.parametrize("like", [(192, 256), (96, 128), (3000, 4000), (193, 256), (85, 114)])
def test_mask_of_the_same_aspect_ratio_fits(tmp_path: Path, like: tuple[int, int]) -> None:
    label_image().save(tmp_path / "a.png")
    labels = load_labels(tmp_path / "a.png", like=like)
    assert labels[BLACK].shape == (1, 1, 192, 256)


@pytest.mark.parametrize("like", [(256, 192), (512, 512), (192, 260), (3050, 4000)])
def test_mask_of_another_aspect_ratio_is_an_error(tmp_path: Path, like: tuple[int, int]) -> None:
    path = tmp_path / "a.png"
    label_image().save(path)
    with pytest.raises(InputError, match=f"256x192 .* {like[1]}x{like[0]}"):
        load_labels(path, like=like)


@pytest.mark.parametrize("damage", ["missing", "text", "cut"])
def test_unreadable_file_is_an_error(tmp_path: Path, damage: str) -> None:
    buffer = io.BytesIO()
    label_image().save(buffer, "PNG")
    data = {"text": b"red", "cut": buffer.getvalue()[:-300]}.get(damage)
    if data is not None:
        (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(InputError, match=r"a\.png"):
        load_labels(tmp_path / "a.png")


@pytest.mark.parametrize(
    "text", ["white", "White", " #fff", "#FFFFFF", "#ffffff80", "rgb(255,255,255)"]
)
def test_parse_color(text: str) -> None:
    assert parse_color(text) == "#ffffff"


@pytest.mark.parametrize("text", ["", "sky", "#ff", "rgb(1,2)", "rgb(0,300,0)", "255,0,0"])
def test_parse_color_of_other_texts_is_an_error(text: str) -> None:
    with pytest.raises(InputError, match=re.escape(repr(text))):
        parse_color(text)


def test_color_matches_the_label_that_jpeg_made_of_it(tmp_path: Path) -> None:
    labels = labels_of(label_image(), tmp_path / "a.jpg", quality=50)
    matches = [matching_label(color, labels) for color in (BLACK, WHITE, RED, BLUE)]
    assert sorted(str(match) for match in matches) == sorted(labels)


def test_nearest_label_matches_within_24_levels() -> None:
    assert matching_label("#100000", ["#000000", "#180000"]) == "#180000"
    assert matching_label("#181818", ["#000000"]) == "#000000"
    assert matching_label("#190000", ["#000000", "#ffffff"]) is None
    assert matching_label("#000000", []) is None


def step(width: int, height: int = 40) -> Tensor:
    """Mask whose right half is 1."""
    mask = torch.zeros(1, 1, height, width)
    mask[..., width // 2 :] = 1
    return mask


def test_resized_mask_averages_areas() -> None:
    mask = torch.tensor([[1.0, 1, 0, 0], [1, 0, 0, 1]]).view(1, 1, 2, 4)
    assert torch.equal(resized_mask(mask, (1, 2)), torch.tensor([0.75, 0.25]).view(1, 1, 1, 2))
    assert torch.equal(resized_mask(mask, (2, 4)), mask)
    assert torch.equal(resized_mask(step(60), (80, 120)), step(120, 80))  # pixels are repeated


@pytest.mark.parametrize("feather", [0.7, 3.0, 10.0])
@pytest.mark.parametrize("scale", [1, 4])
def test_feathered_edge_is_the_integral_of_a_gaussian(feather: float, scale: int) -> None:
    mask = resized_mask(step(120 * scale), (20, 120), feather)
    distances = torch.arange(120) + 0.5 - 60
    expected = (1 + torch.erf(distances / (feather * math.sqrt(2)))) / 2
    # The sum over pixels differs from the integral as the midpoint rule does, quadratically.
    atol = 0.012 / feather**2
    torch.testing.assert_close(mask[0, 0], expected.expand(20, 120), atol=atol, rtol=0)


@pytest.mark.parametrize("shape", [(192, 256), (48, 64), (37, 51), (300, 400), (3, 4)])
@pytest.mark.parametrize("feather", [0.0, 0.01, 2.5, 30.0])
def test_resized_masks_sum_to_1(tmp_path: Path, shape: tuple[int, int], feather: float) -> None:
    labels = labels_of(label_image(), tmp_path / "a.png")
    masks = torch.cat([resized_mask(mask, shape, feather) for mask in labels.values()])
    assert masks.shape == (4, 1, *shape)
    assert masks.min() >= 0
    assert masks.max() <= 1
    torch.testing.assert_close(masks.sum(0), torch.ones(1, *shape), atol=1e-5, rtol=0)
