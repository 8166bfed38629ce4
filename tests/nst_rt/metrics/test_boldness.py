"""Boldness: strokes in even areas, contrast and chroma, relative to the style image."""

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from nst_rt.errors import InputError
from nst_rt.metrics.boldness import (
    MIN_EVEN,
    Boldness,
    boldness,
    even_areas,
    median_boldness,
    stroke_energy,
)

FLAT = torch.full((1, 3, 384, 512), 0.5)


def brushwork(seed: int = 0) -> Tensor:
    """Colored strokes of all sizes: noise at four scales, within [0.2, 0.8]."""
    random = torch.Generator().manual_seed(seed)
    total = torch.zeros(FLAT.shape)
    for scale in (4, 8, 16, 32):
        coarse = torch.rand((1, 3, 384 // scale, 512 // scale), generator=random)
        total += torch.nn.functional.interpolate(coarse, (384, 512), mode="bicubic") - 0.5
    return 0.5 + 0.3 * total / total.abs().max()


def waves(period: float, amplitude: float) -> Tensor:
    """Gray vertical bars, a sine of x."""
    x = torch.arange(512)
    return (0.5 + amplitude * torch.sin(2 * math.pi * x / period)).expand(1, 3, 384, 512)


def octave_gains(period: float) -> list[float]:
    """Response of the three differences of Gaussians to a sine."""
    gains = [math.exp(-2 * (math.pi * sigma / period) ** 2) for sigma in (1.4, 2.8, 5.6, 11.2)]
    return [fine - coarse for fine, coarse in pairwise(gains)]


def resized(image: Tensor) -> Tensor:
    return torch.nn.functional.interpolate(image, scale_factor=2, mode="bicubic").clamp(0, 1)


def left(image: Tensor, other: Tensor) -> Tensor:
    """The left half of one image beside the right half of another."""
    return torch.cat([image[..., :256], other[..., 256:]], -1)


@pytest.mark.parametrize("factor", [0.25, 0.5, 1.0, 1.5])
def test_boldness_is_proportional_to_the_strength_of_the_strokes(factor: float) -> None:
    style = brushwork()
    found = boldness(0.5 + factor * (style - 0.5), FLAT, style)
    assert found == Boldness(*[pytest.approx(factor, rel=1e-4)] * 3)


def test_similar_strokes_are_as_bold() -> None:
    assert boldness(brushwork(1), FLAT, brushwork(2)).strokes == pytest.approx(1, rel=0.1)


def test_blank_image_has_no_boldness() -> None:
    assert boldness(FLAT, FLAT, brushwork()) == Boldness(*[pytest.approx(0, abs=1e-4)] * 3)


def test_gray_image_has_contrast_but_no_chroma() -> None:
    style = brushwork()
    found = boldness(style.mean(1, keepdim=True).expand_as(style), FLAT, style)
    assert found.chroma == 0
    assert found.contrast > 0.5


def test_chroma_is_unknown_for_a_style_image_in_black_and_white() -> None:
    drawing = brushwork().mean(1, keepdim=True).expand(-1, 3, -1, -1)
    found = boldness(drawing, FLAT, drawing)
    assert found == Boldness(pytest.approx(1), pytest.approx(1), None)
    assert median_boldness([found, found]) == found


@pytest.mark.parametrize(
    ("image", "low", "high"),
    [
        (left(brushwork(), FLAT), 0.0, 0.05),  # strokes only where the content has detail
        (left(FLAT, brushwork()), 0.9, 1.1),
    ],
)
def test_strokes_are_measured_in_even_areas_only(image: Tensor, low: float, high: float) -> None:
    busy_left = left(waves(16, 0.4), FLAT)
    strokes = boldness(image, busy_left, brushwork()).strokes
    assert strokes is not None
    assert low <= strokes <= high


@pytest.mark.parametrize(
    ("content", "even"),
    [
        (FLAT, 1.0),
        (waves(1e4, 0.4), 1.0),  # a gradient, such as a sky
        (waves(25, 2 / 255), 1.0),  # below what can be seen
        (waves(25, 20 / 255), 0.0),
        (waves(12, 20 / 255), 0.0),
        (waves(50, 20 / 255), 0.0),
        (left(waves(16, 0.4), FLAT), 0.5),
    ],
)
def test_even_areas_have_no_detail_of_the_size_of_strokes(content: Tensor, even: float) -> None:
    found = even_areas(content)
    assert found.shape == (384, 512)
    assert found.dtype == bool
    assert found.mean() == pytest.approx(even, abs=0.1)


def test_even_areas_deviate_by_less_than_three_levels() -> None:
    period = 25.0
    amplitude = 3 / 255 * math.sqrt(2) / max(octave_gains(period))
    inner = np.s_[40:-40, 40:-40]
    assert even_areas(waves(period, 0.93 * amplitude))[inner].all()
    assert not even_areas(waves(period, 1.07 * amplitude))[inner].any()


@pytest.mark.parametrize("area", [None, np.ones((384, 512), bool)])
def test_stroke_energy_of_bars(area: np.ndarray | None) -> None:
    period, amplitude = 32.0, 0.2
    deviations = [amplitude * gain / math.sqrt(2) for gain in octave_gains(period)]
    found = stroke_energy(waves(period, amplitude), area)
    assert found == pytest.approx(math.prod(deviations) ** (1 / 3), rel=0.02)


def test_strokes_are_unknown_without_even_areas() -> None:
    busy = waves(16, 0.4)
    few = torch.cat([FLAT[..., :64], busy[..., 64:]], -1)
    assert even_areas(few).mean() < MIN_EVEN
    for content in (busy, few):
        found = boldness(brushwork(), content, brushwork())
        assert found.strokes is None
        assert found.contrast == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("change", [resized, lambda image: image])
def test_boldness_does_not_depend_on_size(change: Callable[[Tensor], Tensor]) -> None:
    found = boldness(resized(brushwork(1)), change(FLAT), resized(brushwork(2)))
    expected = boldness(brushwork(1), FLAT, brushwork(2))
    assert found.strokes == pytest.approx(expected.strokes, rel=0.03)
    assert found.contrast == pytest.approx(expected.contrast, rel=0.03)


def test_medians_leave_out_unknown_figures() -> None:
    figures = [Boldness(0.2, 1.0, 3.0), Boldness(None, 2.0, 1.0), Boldness(0.6, 6.0, 2.0)]
    assert median_boldness(figures) == Boldness(pytest.approx(0.4), 2.0, 2.0)
    assert median_boldness(figures[1:2]) == figures[1]


def test_uniform_style_image_is_refused() -> None:
    with pytest.raises(InputError, match="style"):
        boldness(FLAT, FLAT, FLAT)


def test_shapes_may_differ_by_scale_and_rounding_only() -> None:
    boldness(torch.rand(1, 3, 333, 500), torch.rand(1, 3, 667, 1000), brushwork())
    for shape in ((680, 1000), (1000, 667)):
        with pytest.raises(InputError, match=rf"\(333, 500\).*\({shape[0]}, {shape[1]}\)"):
            boldness(torch.rand(1, 3, 333, 500), torch.rand(1, 3, *shape), brushwork())
