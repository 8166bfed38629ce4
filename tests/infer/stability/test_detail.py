"""Detail that is restored after warping and averaging."""

import cv2
import numpy as np
import pytest

from nst_rt.images.io import Frame
from nst_rt.infer.stability.detail import cell_means, details, with_details
from nst_rt.infer.stability.tracking import Buffers


@pytest.fixture
def strokes() -> Frame:
    """Thin and thick strokes everywhere."""
    random = np.random.default_rng(0)
    thin, thick = (
        cv2.resize(random.integers(0, 200, (*size, 3), np.uint8), (640, 480))
        for size in ((240, 320), (30, 40))
    )
    return np.asarray(cv2.addWeighted(thin, 0.5, thick, 0.5, 0), np.uint8)


def energy(frame: Frame) -> list[float]:
    return [float(detail.mean()) for detail in details(frame)]


def test_blurred_frame_regains_its_detail_frame_by_frame(strokes: Frame) -> None:
    wanted = list(details(strokes))
    frame = np.asarray(cv2.addWeighted(strokes, 0.8, np.full_like(strokes, 100), 0.2, 0), np.uint8)
    begin = energy(frame)
    for _ in range(12):
        frame = with_details(frame, wanted, Buffers())
    for before, after, full in zip(begin, energy(frame), energy(strokes), strict=True):
        assert before < 0.85 * full
        assert 0.95 * full < after < 1.03 * full


def test_sharp_regions_are_left_alone(strokes: Frame) -> None:
    wanted = list(details(strokes))
    frame = strokes.copy()
    frame[:, 400:] = cv2.blur(strokes, (9, 9))[:, 400:]
    sharpened = with_details(frame.copy(), wanted, Buffers())
    np.testing.assert_array_equal(sharpened[:, :240], strokes[:, :240])
    assert np.abs(sharpened[:, 500:].astype(int) - frame[:, 500:]).mean() > 0.1


@pytest.mark.parametrize("size", [(1, 1), (7, 33), (16, 300)])
def test_tiny_frames(size: tuple[int, int]) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    assert with_details(frame.copy(), list(details(frame)), Buffers()).shape == frame.shape


def test_cell_means() -> None:
    image = np.zeros((64, 64), np.uint8)
    image[16:32, 16:32] = 90
    np.testing.assert_allclose(cell_means(image, (64, 64, 3), 1)[:3, :3], np.diag([0, 90, 0]))
    assert cell_means(image, (64, 64, 3), 3)[1, 1] == pytest.approx(10)
    assert cell_means(image[::2, ::2], (64, 64, 3), 1)[1, 1] == 90
