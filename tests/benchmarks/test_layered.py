"""Clips with known motion."""

from itertools import pairwise

import numpy as np
from layered import layered_clip

from nst_rt.infer.evaluate.model import pan_photos
from nst_rt.metrics.flow import Correspondence
from nst_rt.metrics.stability import pan_photo, warping_error


def test_clip_with_known_motion_has_hardly_any_error() -> None:
    frames, truth = layered_clip(pan_photo(pan_photos()[2]), 4)
    aligned, apart = (
        warping_error(frames, truth),
        warping_error(frames, [Correspondence(None, found.visible) for found in truth]),
    )
    assert aligned is not None
    assert apart is not None
    assert aligned.error < 0.008  # interpolation, 2 of 255 levels
    assert aligned.error < 0.1 * apart.error
    assert 0.9 < aligned.seen < 0.99


def test_uncovered_background_of_a_layered_clip_is_not_visible() -> None:
    photo = np.zeros((720, 900, 3), np.uint8)
    photo[430:] = 255  # upside down, the layer is white; the background is black
    frames, truth = layered_clip(photo, 5)
    for (before, now), found in zip(pairwise(frames), truth, strict=True):
        assert found.positions is not None
        assert before.shape == now.shape == (360, 640, 3)
        x, y = np.moveaxis(np.rint(found.positions).astype(int), -1, 0)
        was = before[y.clip(0, 359), x.clip(0, 639), 0]
        uncovered = (was > 127) & (now[..., 0] < 128)
        assert uncovered.any()
        assert not found.visible[uncovered].any()
        assert 0.005 < (~found.visible[40:-40, 40:-40]).mean() < 0.05
