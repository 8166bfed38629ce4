from pathlib import Path

import pytest
import torch
from torch import Tensor

from nst_rt.images.color import luminance, match_colors, match_luminance, with_luminance
from nst_rt.images.io import load_image

# Rows: I and Q of YIQ, from RGB.
CHROMA = torch.tensor([[0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])


@pytest.fixture(scope="module")
def style(painting: Path) -> Tensor:
    return load_image(painting, size=128)


@pytest.fixture(scope="module")
def muted(photo: Tensor) -> Tensor:
    """A content image whose colors stay within [0, 1] when the style image takes them on."""
    return 0.5 + 0.25 * (photo - 0.5)


def plain(*color: float) -> Tensor:
    return torch.tensor(color).view(1, 3, 1, 1).expand(1, 3, 20, 30).contiguous()


def chroma(image: Tensor) -> Tensor:
    """I and Q, shape (2, N)."""
    return CHROMA @ image[0].flatten(1)


def mean_and_covariance(image: Tensor) -> tuple[Tensor, Tensor]:
    pixels = image[0].flatten(1).double()
    return pixels.mean(1), pixels.cov(correction=0)


def test_luminance_by_hand() -> None:
    for color, luma in {(1, 0, 0): 0.299, (0, 1, 0): 0.587, (0, 0, 1): 0.114}.items():
        assert luminance(plain(*map(float, color))).unique().item() == pytest.approx(luma)
    levels = torch.linspace(0, 1, 50).view(1, 1, 5, 10)
    torch.testing.assert_close(luminance(levels.expand(1, 3, 5, 10)), levels)


def test_own_luminance_changes_nothing(photo: Tensor) -> None:
    torch.testing.assert_close(with_luminance(photo, luminance(photo)), photo, atol=1e-5, rtol=0)


def test_new_luminance_is_exact_and_chroma_stays_where_it_fits(photo: Tensor) -> None:
    luma = luminance(photo.flip(3))
    image = with_luminance(photo, luma)
    assert image.min() >= 0
    assert image.max() <= 1
    torch.testing.assert_close(luminance(image), luma, atol=1e-6, rtol=0)
    moved = photo + luma - luminance(photo)
    fits = ((moved >= 0) & (moved <= 1)).all(1)[0].flatten()
    assert 0.3 < fits.float().mean() < 1
    torch.testing.assert_close(chroma(image)[:, fits], chroma(photo)[:, fits], atol=1e-5, rtol=0)


def test_hue_stays_and_saturation_falls_only_as_far_as_needed(photo: Tensor) -> None:
    image = with_luminance(photo, luminance(photo.flip(3)))
    before, after = chroma(photo), chroma(image)
    # The same direction in the plane of I and Q, and no longer.
    assert (before[0] * after[1] - before[1] * after[0]).abs().max() < 1e-6
    assert (before * after).sum(0).min() >= -1e-6
    assert (after.norm(dim=0) <= before.norm(dim=0) + 1e-5).all()
    # Where it fell, one channel is at the limit.
    fell = after.norm(dim=0) < before.norm(dim=0) - 1e-3
    pixels = image[0].flatten(1)
    margin = torch.minimum(pixels.amin(0), 1 - pixels.amax(0))
    assert fell.any()
    assert margin[fell].max() < 1e-5


def test_luminance_out_of_range_is_black_or_white(photo: Tensor) -> None:
    shape = luminance(photo).shape
    assert with_luminance(photo, torch.full(shape, -0.5)).abs().max() < 1e-6
    assert (with_luminance(photo, torch.full(shape, 1.5)) - 1).abs().max() < 1e-6


def test_gray_stays_gray() -> None:
    luma = torch.rand(1, 1, 20, 30, generator=torch.Generator().manual_seed(0))
    image = with_luminance(plain(0.3, 0.3, 0.3), luma)
    torch.testing.assert_close(image, luma.expand(1, 3, 20, 30), atol=1e-6, rtol=0)


def test_inputs_are_not_modified(photo: Tensor, style: Tensor) -> None:
    copies = photo.clone(), style.clone()
    with_luminance(photo, luminance(photo))
    match_luminance(luminance(style), luminance(photo))
    match_colors(style, photo)
    assert torch.equal(photo, copies[0])
    assert torch.equal(style, copies[1])


def test_matched_luminance_is_linear_with_the_content_statistics(
    photo: Tensor, style: Tensor
) -> None:
    luma, content = luminance(style), luminance(photo)
    matched = match_luminance(luma, content)
    assert matched.shape == luma.shape
    assert matched.dtype == torch.float32
    torch.testing.assert_close(matched.mean(), content.mean())
    torch.testing.assert_close(matched.std(correction=0), content.std(correction=0))
    correlation = torch.stack([luma.flatten(), matched.flatten()]).corrcoef()[0, 1]
    assert correlation == pytest.approx(1)


def test_luminance_without_contrast_gets_the_mean(photo: Tensor) -> None:
    content, even = luminance(photo), torch.full((1, 1, 20, 30), 0.7)
    torch.testing.assert_close(match_luminance(even, content), content.mean().expand(1, 1, 20, 30))
    torch.testing.assert_close(match_luminance(content, even), torch.full_like(content, 0.7))


def test_matched_colors_have_the_content_statistics(style: Tensor, muted: Tensor) -> None:
    matched = match_colors(style, muted)
    assert matched.shape == style.shape
    assert matched.dtype == torch.float32
    assert matched.min() > 0
    assert matched.max() < 1
    for statistic, expected in zip(
        mean_and_covariance(matched), mean_and_covariance(muted), strict=True
    ):
        torch.testing.assert_close(statistic, expected, atol=1e-7, rtol=1e-5)


def test_matched_colors_do_not_depend_on_layout(
    style: Tensor, muted: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither on the places of the content's colors, the order of channels nor the memory."""
    matched = match_colors(style, muted)
    torch.testing.assert_close(match_colors(style, muted.flip(2).transpose(2, 3)), matched)
    reversed_channels = match_colors(style.flip(1), muted.flip(1)).flip(1)
    torch.testing.assert_close(reversed_channels, matched, atol=1e-5, rtol=0)
    channels_last = style.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(match_colors(channels_last, muted), matched)
    monkeypatch.setattr("nst_rt.images.color._CHUNK", 1000)
    torch.testing.assert_close(match_colors(style, muted), matched)


def test_image_matched_to_itself_is_unchanged(style: Tensor) -> None:
    torch.testing.assert_close(match_colors(style, style), style, atol=1e-5, rtol=0)


def test_gray_style_gets_one_line_of_colors(style: Tensor, muted: Tensor) -> None:
    matched = match_colors(luminance(style).expand(1, 3, -1, -1), muted)
    mean, covariance = mean_and_covariance(matched)
    variances = torch.linalg.eigvalsh(covariance)
    assert variances[1] < 1e-6 * variances[2]
    torch.testing.assert_close(mean, mean_and_covariance(muted)[0], atol=1e-5, rtol=0)
    assert variances[2] > 0.5 * torch.linalg.eigvalsh(mean_and_covariance(muted)[1])[2]


def test_noise_of_a_gray_style_is_not_amplified_to_colors(style: Tensor, photo: Tensor) -> None:
    noise = torch.randn(style.shape, generator=torch.Generator().manual_seed(0)) * 1e-4
    gray = luminance(style).expand(1, 3, -1, -1)
    difference = match_colors(gray + noise, photo) - match_colors(gray, photo)
    assert difference.abs().max() < 0.02


@pytest.mark.parametrize("level", [0.0, 0.4, 1.0])
def test_plain_style_gets_the_mean_color(level: float, photo: Tensor) -> None:
    matched = match_colors(plain(level, level, level), photo)
    mean = photo.mean((2, 3), keepdim=True)
    torch.testing.assert_close(matched, mean.expand_as(matched), atol=1e-5, rtol=0)
