import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from nst_rt.errors import InputError
from nst_rt.metrics.boldness import (
    LEAST_EVEN,
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


def left(image: Tensor, other: Tensor) -> Tensor:
    """The left half of one image beside the right half of another."""
    return torch.cat([image[..., :256], other[..., 256:]], -1)


def test_the_style_image_itself_is_as_bold_as_itself() -> None:
    found = boldness(brushwork(), FLAT, brushwork())
    assert found.strokes == pytest.approx(1, rel=1e-5)
    assert found.contrast == pytest.approx(1, rel=1e-5)
    assert found.chroma == pytest.approx(1, rel=1e-5)


def test_other_strokes_of_that_kind_are_as_bold() -> None:
    found = boldness(brushwork(1), FLAT, brushwork(2))
    assert found.strokes == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize("part", [0.25, 0.5, 1.5])
def test_faded_strokes_are_bold_in_part(part: float) -> None:
    style = brushwork()
    found = boldness(0.5 + part * (style - 0.5), FLAT, style)
    assert found.strokes == pytest.approx(part, rel=1e-4)
    assert found.contrast == pytest.approx(part, rel=1e-4)
    assert found.chroma == pytest.approx(part, rel=1e-4)


def test_a_blank_image_has_nothing() -> None:
    found = boldness(FLAT, FLAT, brushwork())
    assert found.strokes == pytest.approx(0, abs=1e-4)
    assert (found.contrast, found.chroma) == (pytest.approx(0, abs=1e-5), 0)


def test_a_gray_image_has_contrast_and_no_chroma() -> None:
    style = brushwork()
    gray = style.mean(1, keepdim=True).expand_as(style)
    found = boldness(gray, FLAT, style)
    assert found.chroma == 0
    assert found.contrast > 0.5


def test_a_drawing_in_black_and_white_has_strokes_and_no_chroma() -> None:
    drawing = brushwork().mean(1, keepdim=True).expand(-1, 3, -1, -1)
    found = boldness(drawing, FLAT, drawing)
    assert found == Boldness(pytest.approx(1), pytest.approx(1), None)
    assert median_boldness([found, found]) == found


@pytest.mark.parametrize(
    ("image", "low", "high"),
    [
        (left(brushwork(), FLAT), 0.0, 0.05),  # strokes where the content has detail alone
        (left(FLAT, brushwork()), 0.9, 1.1),
    ],
)
def test_strokes_count_in_even_areas_alone(image: Tensor, low: float, high: float) -> None:
    busy_left = left(waves(16, 0.4), FLAT)
    strokes = boldness(image, busy_left, brushwork()).strokes
    assert strokes is not None
    assert low <= strokes <= high


@pytest.mark.parametrize(
    ("content", "even"),
    [
        (FLAT, 1.0),
        (waves(1e4, 0.4), 1.0),  # a sky that grows brighter
        (waves(25, 2 / 255), 1.0),  # less than can be seen
        (waves(25, 20 / 255), 0.0),
        (waves(12, 20 / 255), 0.0),
        (waves(50, 20 / 255), 0.0),
        (left(waves(16, 0.4), FLAT), 0.5),
    ],
)
def test_even_is_what_has_no_detail_of_the_size_of_strokes(content: Tensor, even: float) -> None:
    found = even_areas(content)
    assert found.shape == (384, 512)
    assert found.dtype == bool
    assert found.mean() == pytest.approx(even, abs=0.1)


def test_the_threshold_is_three_levels() -> None:
    """A sine's response to a difference of Gaussians is known."""
    period = 25.0
    gains = [math.exp(-2 * (math.pi * sigma / period) ** 2) for sigma in (1.4, 2.8, 5.6, 11.2)]
    gain = max(a - b for a, b in pairwise(gains))
    amplitude = 3 / 255 * math.sqrt(2) / gain
    inner = np.s_[40:-40, 40:-40]
    assert even_areas(waves(period, 0.93 * amplitude))[inner].all()
    assert not even_areas(waves(period, 1.07 * amplitude))[inner].any()


@pytest.mark.parametrize("area", [None, np.ones((384, 512), bool)])
def test_the_energy_of_bars_is_known(area: np.ndarray | None) -> None:
    period, amplitude = 32.0, 0.2
    gains = [math.exp(-2 * (math.pi * sigma / period) ** 2) for sigma in (1.4, 2.8, 5.6, 11.2)]
    deviations = [amplitude * (a - b) / math.sqrt(2) for a, b in pairwise(gains)]
    found = stroke_energy(waves(period, amplitude), area)
    assert found == pytest.approx(math.prod(deviations) ** (1 / 3), rel=0.02)


def test_without_even_areas_strokes_are_not_known() -> None:
    busy = waves(16, 0.4)
    few = torch.cat([FLAT[..., :64], busy[..., 64:]], -1)
    assert even_areas(few).mean() < LEAST_EVEN
    for content in (busy, few):
        found = boldness(brushwork(), content, brushwork())
        assert found.strokes is None
        assert found.contrast == pytest.approx(1, rel=1e-5)


def resized(image: Tensor) -> Tensor:
    return torch.nn.functional.interpolate(image, scale_factor=2, mode="bicubic").clamp(0, 1)


@pytest.mark.parametrize("change", [resized, lambda image: image])
def test_all_is_measured_at_one_size(change: Callable[[Tensor], Tensor]) -> None:
    found = boldness(resized(brushwork(1)), change(FLAT), resized(brushwork(2)))
    expected = boldness(brushwork(1), FLAT, brushwork(2))
    assert found.strokes == pytest.approx(expected.strokes, rel=0.03)
    assert found.contrast == pytest.approx(expected.contrast, rel=0.03)


def test_medians_leave_out_what_is_not_known() -> None:
    figures = [Boldness(0.2, 1.0, 3.0), Boldness(None, 2.0, 1.0), Boldness(0.6, 6.0, 2.0)]
    assert median_boldness(figures) == Boldness(pytest.approx(0.4), 2.0, 2.0)
    assert median_boldness(figures[1:2]) == figures[1]


@pytest.mark.parametrize(
    ("image", "style"),
    [
        (torch.zeros(1, 3, 512, 384), brushwork()),
        (FLAT, FLAT),
    ],
)
def test_what_cannot_be_compared(image: Tensor, style: Tensor) -> None:
    with pytest.raises(InputError):
        boldness(image, FLAT, style)


def test_a_content_image_of_another_scale_may_differ_by_what_was_rounded() -> None:
    style = brushwork()
    boldness(torch.rand(1, 3, 333, 500), torch.rand(1, 3, 667, 1000), style)
    with pytest.raises(InputError, match=r"\(333, 500\).*\(680, 1000\)"):
        boldness(torch.rand(1, 3, 333, 500), torch.rand(1, 3, 680, 1000), style)
