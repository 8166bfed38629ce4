"""Optical flow and what of it can be trusted."""

import cv2
import numpy as np
import pytest
from layered import layered_clip

from nst_rt.images.io import Frame
from nst_rt.infer.evaluate.model import pan_photos
from nst_rt.metrics.flow import Correspondence, consistent, flow_correspondence, moved, unchanged
from nst_rt.metrics.stability import pan, pan_photo

Clip = tuple[list[Frame], list[Correspondence]]


@pytest.fixture(scope="module")
def clip() -> Clip:
    return layered_clip(pan_photo(pan_photos()[2]), 3)


def test_moved_takes_pixels_from_where_the_flow_points() -> None:
    image = np.arange(48, dtype=np.float32).reshape(6, 8)
    back = np.zeros((6, 8, 2), np.float32)
    back[...] = 2, -1
    np.testing.assert_array_equal(moved(image, back)[1:, :6], image[:-1, 2:])
    assert moved(image, back, outside=-9.0)[0, 0] == -9


def test_flow_of_half_the_size_is_scaled() -> None:
    image = np.arange(48, dtype=np.float32).reshape(6, 8)
    back = np.full((3, 4, 2), (1, 0), np.float32)
    np.testing.assert_allclose(moved(image, back)[:, :6], image[:, 2:])


def test_consistency_fails_where_flows_disagree() -> None:
    back = np.full((80, 80, 2), (3, 0), np.float32)
    there = -back
    there[:, 40:] = 5
    found = consistent(back, there)
    assert found[:, :36].all()
    assert not found[:, 38:].any()


def test_flow_correspondence_is_close_to_the_truth(clip: Clip) -> None:
    (before, now, _), (truth, _) = clip
    found = flow_correspondence(before, now)
    assert found.positions is not None
    apart = np.linalg.norm(found.positions - truth.positions, axis=-1)
    assert np.median(apart[truth.visible]) < 0.2
    assert (found.visible & truth.visible).sum() > 0.95 * truth.visible.sum()


def test_flow_that_bleeds_into_a_still_background_is_rejected() -> None:
    (before, now), (truth,) = layered_clip(pan_photo(pan_photos()[2]), 2, camera_moves=False)
    found = flow_correspondence(before, now)
    assert found.positions is not None
    visible = found.visible & truth.visible
    apart = np.linalg.norm(found.positions - truth.positions, axis=-1)
    assert (apart[visible] > 1).mean() < 0.004  # 0.011 without the check
    assert visible.sum() > 0.95 * truth.visible.sum()


def test_uncovered_background_is_not_visible() -> None:
    random = np.random.default_rng(0)
    scene, thing = (
        cv2.resize(random.integers(0, 256, (size // 4, size // 4, 3), np.uint8), (size, size))
        for size in (240, 80)
    )
    before, now = scene.copy(), scene.copy()
    before[80:160, 80:160] = now[80:160, 90:170] = thing
    visible = flow_correspondence(before, np.asarray(now, np.uint8)).visible
    assert visible[84:156, 81:89].mean() < 0.3
    assert visible[:60].mean() > 0.99
    assert visible[100:140, 110:150].mean() > 0.99


@pytest.mark.parametrize("size", [(16, 16), (17, 300)])
def test_tiny_frames(size: tuple[int, int]) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    found = flow_correspondence(frame, frame)
    assert found.positions is not None
    assert found.positions.shape == (*size, 2)
    assert found.visible.shape == size


def test_unchanged_ignores_noise() -> None:
    before = pan(pan_photos()[0])[0]
    noise = np.random.default_rng(0).integers(-2, 3, before.shape)
    now = np.clip(before + noise, 0, 255).astype(np.uint8)
    cv2.circle(now, (300, 200), 40, (20, 90, 200), -1)
    visible = unchanged(before, now).visible
    assert not visible[170:230, 270:330].any()
    assert visible[:, :250].all()
    assert unchanged(before, now).positions is None
