import pytest

from nst_rt.train.schedule import risen


@pytest.mark.parametrize(
    ("step", "ramp", "share"),
    [(0, 0.5, 0.1), (25, 0.5, 0.55), (50, 0.5, 1.0), (99, 0.5, 1.0), (99, 1.0, 0.991), (0, 0, 1.0)],
)
def test_the_style_weight_rises_from_a_tenth(step: int, ramp: float, share: float) -> None:
    assert risen(step, 100, ramp) == pytest.approx(share)
