import math
import re

import pytest
import torch

from nst_rt.errors import InputError
from nst_rt.optimization import memory
from nst_rt.optimization.memory import MemoryPlan
from nst_rt.optimization.presets import CONTENT_LAYERS, STYLE_LAYERS, OptimizerName

LARGE = (2000, 3000)


def plan(
    shape: tuple[int, int],
    gigabytes: float | None = None,
    *,
    optimizer: OptimizerName = "lbfgs",
    dtype: torch.dtype = torch.float32,
    style: tuple[int, int] = (384, 512),
) -> MemoryPlan:
    return memory.plan_memory(
        [shape, style],
        optimizer=optimizer,
        layers=[*CONTENT_LAYERS, *STYLE_LAYERS],
        dtype=dtype,
        device=torch.device("cpu"),
        memory=gigabytes,
    )


@pytest.mark.parametrize("gigabytes", [2.0, 8.0, 1000.0])
def test_small_image_is_not_tiled(gigabytes: float) -> None:
    assert plan((384, 512), gigabytes).tile is None


def test_less_memory_means_smaller_tiles() -> None:
    planned = plan(LARGE, 1000)
    assert planned.tile is None
    for _ in range(3):
        limit = planned.peak * 0.99
        tiled = plan(LARGE, limit / 1e9)
        assert tiled.tile is not None
        assert tiled.tile < (planned.tile or math.inf)
        assert tiled.peak <= limit
        planned = tiled


def test_default_uses_a_moderate_share_of_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda device: 1e12)
    assert plan(LARGE).tile is not None
    assert plan(LARGE).peak < plan(LARGE, 1000).peak
    assert plan((384, 512)).tile is None


@pytest.mark.parametrize("shape", [(4000, 6000), (6000, 4000), (1111, 9999)])
@pytest.mark.parametrize("gigabytes", [2.6, 3.7])
def test_error_names_the_largest_size_that_fits(shape: tuple[int, int], gigabytes: float) -> None:
    with pytest.raises(InputError, match=f"{shape[1]}x{shape[0]}") as caught:
        plan(shape, gigabytes)
    found = re.search(r"`size` (\d+)", str(caught.value))
    assert found is not None
    size = int(found[1])
    height, width = (round(side * size / max(shape)) for side in shape)
    assert plan((height, width), gigabytes).peak <= gigabytes * 1e9
    height, width = (round(side * (size + 64) / max(shape)) for side in shape)
    with pytest.raises(InputError, match="GB"):
        plan((height, width), gigabytes)


def test_memory_too_small_for_any_size() -> None:
    with pytest.raises(InputError, match=r"0\.5 GB") as caught:
        plan((384, 512), 0.5)
    assert "`size`" not in str(caught.value)


def test_prediction_grows_with_size_and_precision() -> None:
    peaks = [plan((s, s), 1000).peak for s in (64, 256, 1024, 4096)]
    assert peaks == sorted(set(peaks))
    assert plan(LARGE, 1000, dtype=torch.bfloat16).peak < plan(LARGE, 1000).peak


def test_large_style_image_counts_too() -> None:
    whole = plan((384, 512), 1000, style=LARGE)
    assert whole.peak > 3 * plan((384, 512), 1000).peak
    assert plan(LARGE, 1000, style=LARGE).peak > plan(LARGE, 1000).peak
    assert plan((384, 512), whole.peak / 1e9 * 0.9, style=LARGE).tile is not None


def test_adam_needs_less_than_lbfgs() -> None:
    assert plan(LARGE, 1000, optimizer="adam").peak < plan(LARGE, 1000).peak


@pytest.mark.parametrize("gigabytes", [0.0, -1.0, math.nan, math.inf])
def test_memory_must_be_positive(gigabytes: float) -> None:
    with pytest.raises(InputError, match=f"not {gigabytes}"):
        plan((384, 512), gigabytes)
