import numpy as np
import pytest

from nst_rt.images.io import Frame
from nst_rt.infer.evaluate.model import pan_photos
from nst_rt.metrics.flicker import WarpingMeter, warping_error
from nst_rt.metrics.flow import Correspondence
from nst_rt.metrics.motion import layered_clip
from nst_rt.metrics.stability import pan_photo

RANDOM = np.random.default_rng(0)
SEEN = Correspondence(None, np.ones((80, 120), np.bool_))


def noise() -> Frame:
    return RANDOM.integers(0, 256, (80, 120, 3), np.uint8)


def test_a_still_picture_has_no_error() -> None:
    frame = noise()
    found = warping_error([frame] * 3, [SEEN] * 2)
    assert found is not None
    assert (found.error, found.relative, found.seen) == (0, 0, 1)


def test_a_change_of_all_pixels_by_a_fifth_is_an_error_of_a_fifth() -> None:
    one, other = (np.full((80, 120, 3), level, np.uint8) for level in (51, 102))
    found = warping_error([one, other], [SEEN])
    assert found is not None
    assert found.error == pytest.approx(0.2)
    assert found.relative == pytest.approx(2)  # the outputs deviate by half of that


def test_the_relative_error_does_not_depend_on_contrast() -> None:
    frames = [noise().astype(float) for _ in range(3)]
    full, half = (
        warping_error(
            [np.rint(128 + share * (f - 128)).astype(np.uint8) for f in frames], [SEEN] * 2
        )
        for share in (1, 0.5)
    )
    assert full is not None
    assert half is not None
    assert half.error == pytest.approx(full.error / 2, rel=0.01)
    assert half.relative == pytest.approx(full.relative, rel=0.01)


def test_only_what_is_visible_counts() -> None:
    one, other = np.zeros((2, 80, 120, 3), np.uint8)
    other[:, 60:] = 255
    visible = np.zeros((80, 120), np.bool_)
    visible[:, :60] = True
    found = warping_error([one, other], [Correspondence(None, visible)])
    assert found is not None
    assert found.error == 0
    assert found.seen == pytest.approx(0.5, abs=0.01)


def test_frames_that_cannot_be_compared_do_not_count() -> None:
    meter = WarpingMeter()
    for _ in range(3):
        meter.add(noise(), Correspondence(None, np.zeros((80, 120), np.bool_)))
        meter.add(noise(), None)
    assert meter.result() is None


def test_a_clip_moves_as_its_correspondences_say() -> None:
    frames, truth = layered_clip(pan_photo(pan_photos()[0]), 4)
    aligned, apart = (
        warping_error(frames, truth),
        warping_error(frames, [Correspondence(None, found.visible) for found in truth]),
    )
    assert aligned is not None
    assert apart is not None
    assert aligned.error < 0.008  # interpolation, 2 of 255 levels
    assert aligned.error < 0.1 * apart.error
    assert 0.9 < aligned.seen < 0.99


def test_what_moves_in_front_hides_and_uncovers() -> None:
    photo = np.zeros((720, 900, 3), np.uint8)
    photo[430:] = 255  # turned upside down, the layer is white; what the camera sees is black
    frames, truth = layered_clip(photo, 5)
    for before, now, found in zip(frames, frames[1:], truth, strict=False):
        assert found.positions is not None
        assert before.shape == now.shape == (360, 640, 3)
        x, y = np.moveaxis(np.rint(found.positions).astype(int), -1, 0)
        was = before[y.clip(0, 359), x.clip(0, 639), 0]
        uncovered = (was > 127) & (now[..., 0] < 128)
        assert uncovered.any()
        assert not found.visible[uncovered].any()
        assert 0.005 < (~found.visible[40:-40, 40:-40]).mean() < 0.05
