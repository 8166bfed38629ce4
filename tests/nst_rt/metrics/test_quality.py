"""The quality objective."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from nst_rt.images.io import load_image
from nst_rt.losses import gram_matrix
from nst_rt.metrics.quality import QualityObjective, quality_crop
from nst_rt.models.vgg import VGG19Features


@pytest.fixture(scope="module")
def objective(painting: Path) -> QualityObjective:
    return QualityObjective(load_image(painting), device="cpu")


@pytest.mark.parametrize("shape", [(80, 200), (200, 80), (64, 64)])
def test_quality_crop_is_the_central_square(shape: tuple[int, int]) -> None:
    content = torch.zeros(1, 3, *shape)
    side = min(shape)
    top, left = ((length - side) // 2 for length in shape)
    content[..., top : top + side, left : left + side] = 1
    torch.testing.assert_close(quality_crop(content), torch.ones(1, 3, 256, 256))


def test_objective_has_its_published_value(
    objective: QualityObjective, photo: Tensor, painting: Path
) -> None:
    image = photo.flip(-1)
    style_layers = [f"relu{block}_1" for block in range(1, 6)]
    vgg = VGG19Features([*style_layers, "relu4_2"])
    of_image, of_content, of_style = (
        vgg(x) for x in (image, photo, load_image(painting, size=512))
    )
    content = (of_image["relu4_2"] - of_content["relu4_2"]).square().mean()
    content /= of_content["relu4_2"].square().mean()
    grams = [(gram_matrix(of_image[k]), gram_matrix(of_style[k])) for k in style_layers]
    style = sum(float((a - b).square().mean() / b.square().mean()) for a, b in grams) / 5
    # Features may be in bfloat16.
    assert objective(image, photo) == pytest.approx(float(10 * style + content), rel=0.01)
    assert objective.style(image) == pytest.approx(style, rel=0.01)
