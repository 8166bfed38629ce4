"""The noise figure of the optimizer's benchmark."""

import math
import runpy
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2.functional import gaussian_blur

from nst_rt.images.io import load_image

MODULE = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "noise.py"))
noise_figure, roughness = MODULE["noise_figure"], MODULE["roughness"]


def noise(shape: tuple[int, ...], deviation: float) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)) * deviation


def residue() -> float:
    """Fraction of the deviation of white noise that removing a Gaussian of 1 px leaves."""
    kernel = torch.exp(-(torch.arange(-3, 4) ** 2) / 2)
    rest = -torch.outer(kernel, kernel) / kernel.sum() ** 2
    rest[3, 3] += 1
    return float(rest.square().sum().sqrt())


def test_roughness_is_the_energy_of_high_frequencies(photo: Tensor) -> None:
    assert roughness(torch.full((1, 3, 16, 20), 0.4)) == pytest.approx(0, abs=1e-6)
    noisy = photo + noise((1, 1, 96, 96), 0.05)
    expected = math.hypot(roughness(photo), 0.05 * residue())
    assert roughness(noisy) == pytest.approx(expected, rel=0.02)
    assert roughness(photo * 0.5) == pytest.approx(roughness(photo) / 2, rel=1e-4)


def test_noise_figure_tells_noise_from_blur(painting: Path) -> None:
    style = load_image(painting, size=96)
    assert noise_figure(style, style) == 1
    assert noise_figure(gaussian_blur(style, [7, 7]), style) < 0.8
    assert noise_figure(style + noise(style.shape, 0.3), style) > 1.2
    assert noise_figure(style, torch.zeros(1, 3, 96, 96)) == math.inf
