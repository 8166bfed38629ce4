"""Motion of the scene, as the stabilizer sees it."""

import numpy as np
import pytest

from nst_rt.images.io import Frame
from nst_rt.infer.evaluate.model import pan_photos
from nst_rt.infer.stability.tracking import Motion, Tracker
from nst_rt.metrics.flow import interpolated
from nst_rt.metrics.stability import pan


@pytest.fixture(scope="module")
def views() -> list[Frame]:
    return pan(pan_photos()[0])


def motion(before: Frame, now: Frame) -> Motion:
    tracker = Tracker()
    found = tracker.motion(tracker.view(before), tracker.view(now))
    assert found is not None
    return found


def test_places_beside_a_moving_object(views: list[Frame]) -> None:
    before, now = views[0].copy(), views[0].copy()
    thing = views[0][::-1][100:180, 200:280]
    before[140:220, 300:380] = now[140:220, 306:386] = thing
    found = motion(before, now)
    beside = interpolated(found.beside.astype(np.uint8), now.shape)
    assert beside[124:132, 310:380].mean() > 0.9
    assert beside[:, :160].mean() < 0.02
    assert not found.camera_moves


def test_pan_is_trusted_everywhere(views: list[Frame]) -> None:
    found = motion(views[0], views[1])
    assert np.median(found.trust[20:-20, 20:-20]) > 245  # brightness differs by rounding
    scale = len(found.back) / len(views[0])
    assert np.abs(np.median(found.back, axis=(0, 1)) / scale - (3, 2)).max() < 0.2
    assert found.beside[20:-20, 20:-20].mean() < 0.05
    assert found.camera_moves
    assert found.fade == 0


def test_fade(views: list[Frame]) -> None:
    assert motion(views[0], np.asarray(views[0] // 1.1, np.uint8)).fade < -5


def test_cut(views: list[Frame]) -> None:
    tracker = Tracker()
    assert tracker.motion(tracker.view(views[0]), tracker.view(pan(pan_photos()[2])[0])) is None
