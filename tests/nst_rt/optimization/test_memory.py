import math
import re
from dataclasses import replace

import pytest
import torch

from nst_rt.errors import InputError
from nst_rt.models.vgg import VGG19Features
from nst_rt.optimization import memory
from nst_rt.optimization.memory import Plan
from nst_rt.optimization.presets import OptimizerSettings

CPU = torch.device("cpu")
LARGE = (2000, 3000)


def features(dtype: torch.dtype = torch.float32) -> VGG19Features:
    settings = OptimizerSettings()
    return VGG19Features([*settings.content_layers, *settings.style_layers], dtype=dtype)


@pytest.fixture(scope="module")
def vgg() -> VGG19Features:
    return features()


def plan(
    shape: tuple[int, int],
    vgg: VGG19Features,
    gigabytes: float | None = None,
    settings: OptimizerSettings | None = None,
    style: tuple[int, int] = (384, 512),
) -> Plan:
    return memory.plan([shape, style], settings or OptimizerSettings(), vgg, CPU, gigabytes)


@pytest.mark.parametrize("gigabytes", [2.0, 8.0, 1000.0])
def test_small_image_is_not_tiled(vgg: VGG19Features, gigabytes: float) -> None:
    assert plan((384, 512), vgg, gigabytes).tile is None


def test_less_memory_means_smaller_tiles(vgg: VGG19Features) -> None:
    planned = plan(LARGE, vgg, 1000)
    assert planned.tile is None
    for _ in range(3):
        limit = planned.peak * 0.99
        tiled = plan(LARGE, vgg, limit / 1e9)
        assert tiled.tile is not None
        assert tiled.tile < (planned.tile or math.inf)
        assert tiled.peak <= limit
        planned = tiled


def test_default_uses_a_moderate_share_of_free_memory(
    vgg: VGG19Features, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda device: 1e12)
    assert plan(LARGE, vgg).tile is not None
    assert plan(LARGE, vgg).peak < plan(LARGE, vgg, 1000).peak
    assert plan((384, 512), vgg).tile is None


@pytest.mark.parametrize("shape", [(4000, 6000), (6000, 4000), (1111, 9999)])
@pytest.mark.parametrize("gigabytes", [2.6, 3.7])
def test_error_names_the_largest_size_that_fits(
    vgg: VGG19Features, shape: tuple[int, int], gigabytes: float
) -> None:
    with pytest.raises(InputError, match=f"{shape[1]}x{shape[0]}") as caught:
        plan(shape, vgg, gigabytes)
    found = re.search(r"`size` (\d+)", str(caught.value))
    assert found is not None
    size = int(found[1])
    height, width = (round(side * size / max(shape)) for side in shape)
    assert plan((height, width), vgg, gigabytes).peak <= gigabytes * 1e9
    height, width = (round(side * (size + 64) / max(shape)) for side in shape)
    with pytest.raises(InputError, match="GB"):
        plan((height, width), vgg, gigabytes)


def test_memory_too_small_for_any_size(vgg: VGG19Features) -> None:
    with pytest.raises(InputError, match=r"0\.5 GB") as caught:
        plan((384, 512), vgg, 0.5)
    assert "`size`" not in str(caught.value)


def test_prediction_grows_with_size_and_precision(vgg: VGG19Features) -> None:
    peaks = [plan((s, s), vgg, 1000).peak for s in (64, 256, 1024, 4096)]
    assert peaks == sorted(set(peaks))
    assert plan(LARGE, features(torch.bfloat16), 1000).peak < plan(LARGE, vgg, 1000).peak


def test_large_style_image_counts_too(vgg: VGG19Features) -> None:
    whole = plan((384, 512), vgg, 1000, style=LARGE)
    assert whole.peak > 3 * plan((384, 512), vgg, 1000).peak
    assert plan(LARGE, vgg, 1000, style=LARGE).peak > plan(LARGE, vgg, 1000).peak
    assert plan((384, 512), vgg, whole.peak / 1e9 * 0.9, style=LARGE).tile is not None


def test_adam_needs_less_than_lbfgs(vgg: VGG19Features) -> None:
    adam = replace(OptimizerSettings(), optimizer="adam")
    assert plan(LARGE, vgg, 1000, adam).peak < plan(LARGE, vgg, 1000).peak


@pytest.mark.parametrize("gigabytes", [0.0, -1.0, math.nan, math.inf])
def test_memory_must_be_positive(vgg: VGG19Features, gigabytes: float) -> None:
    with pytest.raises(InputError, match=f"not {gigabytes}"):
        plan((384, 512), vgg, gigabytes)
