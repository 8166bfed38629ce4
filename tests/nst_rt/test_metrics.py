import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2.functional import gaussian_blur

from nst_rt.images import load_image
from nst_rt.metrics import noise_figure, roughness


def noise(shape: tuple[int, ...], deviation: float) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)) * deviation


def passed_on() -> float:
    """Part of the deviation of white noise that is left when a Gaussian of 1 px is taken away."""
    kernel = torch.exp(-(torch.arange(-3, 4) ** 2) / 2)
    residue = -torch.outer(kernel, kernel) / kernel.sum() ** 2
    residue[3, 3] += 1
    return float(residue.square().sum().sqrt())


def test_plain_image_has_no_roughness() -> None:
    assert roughness(torch.full((1, 3, 16, 20), 0.4)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("deviation", [0.01, 0.05])
def test_roughness_of_noise_is_its_high_frequencies(deviation: float) -> None:
    grey = 0.5 + noise((1, 1, 128, 128), deviation).expand(-1, 3, -1, -1)
    assert roughness(grey) == pytest.approx(deviation * passed_on(), rel=0.02)


def test_noise_of_each_channel_counts_by_its_part_of_the_luma() -> None:
    image = torch.full((1, 3, 128, 128), 0.5)
    image[:, 1] += noise((1, 128, 128), 0.05)
    assert roughness(image) == pytest.approx(0.587 * 0.05 * passed_on(), rel=0.02)


def test_noise_adds_to_a_photo_by_its_square(photo: Tensor) -> None:
    shaken = photo + noise((1, 1, 96, 96), 0.05)
    expected = math.hypot(roughness(photo), 0.05 * passed_on())
    assert roughness(shaken) == pytest.approx(expected, rel=0.02)


def test_roughness_is_proportional_to_contrast(photo: Tensor) -> None:
    assert roughness(photo * 0.5) == pytest.approx(roughness(photo) / 2, rel=1e-4)


def test_blur_lowers_the_roughness(photo: Tensor) -> None:
    assert roughness(gaussian_blur(photo, [7, 7], [1.0, 1.0])) < roughness(photo) / 2


def test_an_image_is_as_noisy_as_itself(painting: Path) -> None:
    style = load_image(painting, size=96)
    assert noise_figure(style, style) == 1


def test_noise_figure_tells_noise_from_blur(painting: Path) -> None:
    style = load_image(painting, size=96)
    blurred, noisy = gaussian_blur(style, [7, 7]), style + noise(style.shape, 0.3)
    assert noise_figure(blurred, style) < 0.8
    assert noise_figure(noisy, style) > 1.2


def test_a_painting_without_detail_makes_all_detail_noise(photo: Tensor) -> None:
    assert noise_figure(photo, torch.zeros(1, 3, 96, 96)) == math.inf
