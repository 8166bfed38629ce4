"""How style images are prepared, on images whose result is known."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from nst_rt.errors import InputError
from nst_rt.images.color import luminance
from nst_rt.images.io import load_image, save_image
from nst_rt.images.style_image import (
    Crop,
    Vividness,
    check_style_image,
    denoised,
    detail_size,
    fitting_size,
    load_style_image,
    noise_level,
    visible_noise,
    with_full_levels,
)

SIZE = 128


def rgb(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).view(1, 3, 1, 1)


def ramp(low: float, high: float) -> Tensor:
    """Gray from left to right."""
    return torch.linspace(low, high, SIZE).expand(1, 3, SIZE, SIZE).contiguous()


def two_hues(low: float, high: float) -> Tensor:
    """A ramp of blues over one of oranges."""
    image = ramp(low, high)
    tint = 0.15 * (high - low) * rgb(-1, 0, 1)
    image[:, :, : SIZE // 2] += tint
    image[:, :, SIZE // 2 :] -= tint
    return image


def noisy(image: Tensor, deviation: float) -> Tensor:
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    return (image + deviation * noise).clamp(0, 1)


def chroma(image: Tensor) -> Tensor:
    return image - luminance(image)


def hue_difference(first: Tensor, second: Tensor) -> Tensor:
    """Sine of the angle between the chromas of pixels that have some."""
    a, b = chroma(first), chroma(second)
    lengths = a.norm(dim=1) * b.norm(dim=1)
    return (torch.linalg.cross(a, b, dim=1).norm(dim=1) / lengths)[lengths > 1e-4]


def clipped(image: Tensor) -> tuple[float, float]:
    """Fractions of the pixels with a channel at 0, at 1."""
    black, white = (image.amin(1) <= 0).float(), (image.amax(1) >= 1).float()
    return black.mean().item(), white.mean().item()


def test_stretching_keeps_hues_and_clips_little() -> None:
    dull = two_hues(0.3, 0.6)
    full = with_full_levels(dull)
    before, after = Vividness.of(dull), Vividness.of(full)
    assert after.deviation > 2 * before.deviation
    assert after.chroma > 2 * before.chroma
    inside = slice(2, -2)  # without clipped pixels
    assert hue_difference(dull[..., inside], full[..., inside]).max() < 0.1
    assert max(clipped(full)) <= 0.011


def test_veil_is_removed_from_vivid_image(painting: Path) -> None:
    vivid = load_image(painting, size=256)
    veiled = 0.6 * vivid + 0.2
    lifted = with_full_levels(veiled)
    assert (lifted - vivid).square().mean().sqrt() < 0.2 * (veiled - vivid).square().mean().sqrt()


def test_dull_image_of_full_range_gets_more_contrast() -> None:
    dull = two_hues(0.3, 0.7)
    dull[..., :4, :], dull[..., -4:, :] = 0.0, 1.0  # a frame with black and white
    before, after = Vividness.of(dull), Vividness.of(with_full_levels(dull))
    for gain in (after.deviation / before.deviation, after.chroma / before.chroma):
        assert 1.1 < gain <= 1.5
    assert after.fraction < 1  # no more than vivid
    assert max(clipped(with_full_levels(dull))) <= max(clipped(dull))


@pytest.mark.parametrize("name", ["swirls", "ink", "mosaic"])
@pytest.mark.parametrize("size", [256, 320, 512])
def test_vivid_image_is_unchanged(painting: Path, name: str, size: int) -> None:
    file = painting.with_stem(name)
    style = load_style_image(file, size)
    assert torch.equal(style.image, load_image(file, size=size))
    assert not style.stretched
    assert style.noise is None
    assert style.before == style.after


def test_tint_of_paper_is_kept() -> None:
    paper, pencil = rgb(0.85, 0.78, 0.65), rgb(0.5, 0.45, 0.4)
    drawing = pencil.lerp(paper, ramp(0, 1))
    full = with_full_levels(drawing)
    assert luminance(full).std() > 1.8 * luminance(drawing).std()
    before, after = (chroma(image)[..., -8].norm(dim=1).mean() for image in (drawing, full))
    assert 0.7 < after / before < 1.3
    assert hue_difference(drawing[..., 8:-8], full[..., 8:-8]).max() < 0.05


@pytest.mark.parametrize("color", [rgb(0.5, 0.5, 0.5), rgb(0, 0, 0), rgb(1, 1, 1), rgb(0, 0, 1)])
def test_image_of_one_color_is_unchanged(color: Tensor) -> None:
    image = color.expand(1, 3, SIZE, SIZE).contiguous()
    assert torch.equal(with_full_levels(image), image)
    assert visible_noise(image) is None


@pytest.mark.parametrize("shape", [(1, 90), (90, 1), (2, 90), (17, 90)])
def test_thin_images_can_be_prepared(shape: tuple[int, int]) -> None:
    image = torch.rand(1, 3, *shape, generator=torch.Generator().manual_seed(0))
    assert with_full_levels(0.3 * image).shape == image.shape
    assert 0 <= noise_level(image) < 1


@pytest.mark.parametrize("deviation", [0.02, 0.04, 0.08])
def test_noise_level_is_standard_deviation(deviation: float) -> None:
    image = two_hues(0.25, 0.75)
    image[..., 40:60, 30:90] = rgb(0.8, 0.3, 0.2)
    assert noise_level(noisy(image, deviation)) == pytest.approx(deviation, rel=0.15)


def test_white_margin_does_not_change_noise_level() -> None:
    image = torch.ones(1, 3, SIZE, SIZE)
    image[..., 48:, :] = noisy(ramp(0.25, 0.75), 0.05)[..., 48:, :]
    assert noise_level(image) == pytest.approx(0.05, rel=0.15)


@pytest.mark.parametrize("deviation", [0.04, 0.06])
def test_denoising_keeps_edges(deviation: float) -> None:
    image = torch.full((1, 3, SIZE, SIZE), 0.3)
    image[..., SIZE // 2 :] = 0.7
    found = visible_noise(noisy(image, deviation))
    assert found is not None
    clean = denoised(noisy(image, deviation), found)
    assert (clean - image)[..., : SIZE // 2 - 4].std() < 0.5 * deviation
    step = (clean[..., SIZE // 2] - clean[..., SIZE // 2 - 1]).mean()
    assert step > 0.9 * 0.4


def test_noise_is_relative_to_the_range(painting: Path) -> None:
    image = noisy(load_image(painting, size=256), 0.04)
    assert visible_noise(image)
    assert visible_noise(0.3 + 0.3 * image)


def test_noise_is_measured_at_final_size(tmp_path: Path) -> None:
    save_image(noisy(two_hues(0, 1).repeat(1, 1, 4, 4), 0.06), tmp_path / "large.png")
    assert load_style_image(tmp_path / "large.png", 512).noise
    assert load_style_image(tmp_path / "large.png", 128).noise is None  # averaged away
    assert load_style_image(tmp_path / "large.png", 700).noise  # although enlarging hides it
    assert load_style_image(tmp_path / "large.png", 700).image.shape == (1, 3, 700, 700)


def test_preparation_of_dull_and_noisy_file_is_described(tmp_path: Path, painting: Path) -> None:
    file = tmp_path / "scan.png"
    save_image(noisy(0.4 * load_image(painting, size=256) + 0.3, 0.04), file)
    style = load_style_image(file, 256)
    assert style.noise == pytest.approx(0.04, rel=0.3)
    assert style.after.deviation > 1.5 * style.before.deviation
    facts = style.facts()
    assert facts["stretched"] is True
    assert facts["luma_deviation"] == pytest.approx(
        [style.before.deviation, style.after.deviation], abs=1e-4
    )
    assert "denoised" in str(style)
    assert "stretched" in str(style)
    unprepared = load_style_image(file, 256, prepare=False)
    assert torch.equal(unprepared.image, load_image(file, size=256))
    assert (unprepared.noise, unprepared.stretched) == (None, False)


def test_crop_selects_region(tmp_path: Path) -> None:
    pixels = torch.randint(256, (1, 3, 100, 120), generator=torch.Generator().manual_seed(0)) / 255
    save_image(pixels, tmp_path / "a.png")
    crop = Crop.parse("70x64+30+20")
    style = load_style_image(tmp_path / "a.png", 70, crop=crop, prepare=False)
    assert torch.equal(style.image, pixels[..., 20:84, 30:100])
    assert str(style.crop) == "70x64+30+20"
    assert style.facts()["crop"] == "70x64+30+20"
    half = load_style_image(tmp_path / "a.png", 35, crop=crop, prepare=False)
    assert half.image.shape == (1, 3, 32, 35)


@pytest.mark.parametrize(
    "text", ["", "70x64", "70x64+1", "0.1,0.2,0.5,0.5", "-70x64+0+0", "70x64-1+0", "7 x64+0+0"]
)
def test_text_that_is_no_crop_is_an_error(text: str) -> None:
    with pytest.raises(InputError, match="400x300"):
        Crop.parse(text)


@pytest.mark.parametrize(
    ("crop", "says"),
    [
        ("100x80+21+0", "inside"),
        ("100x80+0+21", "inside"),
        ("121x80+0+0", "inside"),
        ("64x63+0+0", "64 px"),
        ("0x0+0+0", "64 px"),
    ],
)
def test_crop_outside_or_too_small_is_an_error(tmp_path: Path, crop: str, says: str) -> None:
    Image.new("RGB", (120, 100)).save(tmp_path / "a.png")
    check_style_image(tmp_path / "a.png", Crop.parse("100x80+20+20"))
    for use in (check_style_image, lambda *given: load_style_image(given[0], 64, crop=given[1])):
        with pytest.raises(InputError, match=says) as caught:
            use(tmp_path / "a.png", Crop.parse(crop))
        assert str(caught.value).startswith(str(tmp_path / "a.png"))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [(2000, 3), (63, 64), (40, 40)])
def test_small_image_is_an_error(tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("RGB", size).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="64 px"):
        check_style_image(tmp_path / "a.png")


def waves(period: float, size: int = 512) -> Tensor:
    """Vertical waves of a period in pixels."""
    x = torch.arange(size) * (2 * torch.pi / period)
    return (0.5 + 0.4 * x.sin()).expand(1, 3, size, size).contiguous()


def test_size_of_details_is_proportional_to_the_period() -> None:
    fine, medium, coarse = (detail_size(waves(period)) for period in (12.8, 25.6, 51.2))
    assert medium / fine == pytest.approx(2, rel=0.15)
    assert coarse / medium == pytest.approx(2, rel=0.15)
    # Whatever the size of the file.
    assert detail_size(waves(51.2, 1024)) == pytest.approx(medium, rel=0.02)


def test_images_of_finer_details_fit_larger() -> None:
    sizes = [fitting_size([waves(period)], [1.0]) for period in (5, 18, 22, 26, 100)]
    assert sizes == sorted(sizes, reverse=True)
    assert (sizes[0], sizes[-1]) == (768, 384)
    assert 384 < sizes[2] < 768
    for size in sizes:
        assert size % 16 == 0


@pytest.mark.parametrize("level", [0.0, 0.3, 0.5, 1.0])
def test_images_without_details_fit_at_512(level: float) -> None:
    assert fitting_size([torch.full((1, 3, 64, 80), level)], [1.0]) == 512


def test_noise_is_no_detail(painting: Path) -> None:
    clean = load_image(painting.with_name("ink.jpg"), size=512)
    dull_and_noisy = noisy(clean * 0.5 + 0.25, 0.05)
    assert visible_noise(dull_and_noisy) is not None
    sizes = [fitting_size([image], [1.0]) for image in (clean, dull_and_noisy)]
    assert abs(sizes[0] - sizes[1]) <= 32


def test_fitting_size_of_several_images_is_between_theirs() -> None:
    images = [waves(18), waves(26)]
    large, small = (fitting_size([image], [1.0]) for image in images)
    assert small < fitting_size(images, [0.5, 0.5]) < large
    assert fitting_size(images, [1.0, 0.0]) == large
