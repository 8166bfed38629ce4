import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2.functional import gaussian_blur

from nst_rt.images.io import load_image
from nst_rt.losses import gram_matrix
from nst_rt.metrics.quality import QualityObjective, noise_figure, quality_photo, roughness
from nst_rt.models.vgg import VGG19Features


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
    gray = 0.5 + noise((1, 1, 128, 128), deviation).expand(-1, 3, -1, -1)
    assert roughness(gray) == pytest.approx(deviation * passed_on(), rel=0.02)


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


@pytest.fixture(scope="module")
def objective(painting: Path) -> QualityObjective:
    return QualityObjective(load_image(painting), device="cpu")


@pytest.mark.parametrize("shape", [(80, 200), (200, 80), (64, 64)])
def test_quality_is_of_the_middle_of_a_photo(shape: tuple[int, int]) -> None:
    photo = torch.zeros(1, 3, *shape)
    side = min(shape)
    top, left = ((length - side) // 2 for length in shape)
    photo[..., top : top + side, left : left + side] = 1
    torch.testing.assert_close(quality_photo(photo), torch.ones(1, 3, 256, 256))


def test_the_objective_is_the_published_one(
    objective: QualityObjective, photo: Tensor, painting: Path
) -> None:
    image = photo.flip(-1)
    style_layers = [f"relu{block}_1" for block in range(1, 6)]
    vgg = VGG19Features([*style_layers, "relu4_2"])
    of_image, of_photo, of_painting = (
        vgg(picture) for picture in (image, photo, load_image(painting, size=512))
    )
    content = (of_image["relu4_2"] - of_photo["relu4_2"]).square().mean()
    content /= of_photo["relu4_2"].square().mean()
    grams = [(gram_matrix(of_image[k]), gram_matrix(of_painting[k])) for k in style_layers]
    style = sum(float((a - b).square().mean() / b.square().mean()) for a, b in grams) / 5
    # Features may be in bfloat16.
    assert objective(image, photo) == pytest.approx(float(10 * style + content), rel=0.01)
    assert objective.style(image) == pytest.approx(style, rel=0.01)


def test_the_objective_is_of_a_painting_of_512_px(
    objective: QualityObjective, photo: Tensor, painting: Path
) -> None:
    resized = QualityObjective(load_image(painting, size=512), device="cpu")
    assert resized(photo, photo) == pytest.approx(objective(photo, photo), rel=1e-6)
