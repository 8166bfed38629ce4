import cv2
import numpy as np
import pytest

from nst_rt.images import Frame
from nst_rt.infer.evaluate import pan_photos
from nst_rt.infer.stabilize import Stabilizer
from nst_rt.metrics import PanError, pan, pan_error

RANDOM = np.random.default_rng(0)


@pytest.fixture(scope="module")
def photo() -> Frame:
    return pan_photos()[0]


def boiling(frame: Frame) -> Frame:
    """A style whose strokes are other ones in each frame."""
    strokes = RANDOM.normal(0, 25, (frame.shape[0] // 4, frame.shape[1] // 4, 1))
    noise = cv2.resize(strokes.astype(np.float32), frame.shape[1::-1])[..., None]
    return np.clip(frame * 0.6 + 50 + noise, 0, 255).astype(np.uint8)


def error(photo: Frame, stabilizer: Stabilizer | None) -> PanError:
    def stylize(frame: Frame) -> Frame:
        painted = boiling(frame)
        return painted if stabilizer is None else stabilizer.steady(frame, painted)

    return pan_error(stylize, [photo])


def test_strokes_move_along(photo: Frame) -> None:
    assert error(photo, Stabilizer()).error < 0.5 * error(photo, None).error


def test_what_stands_still_is_held(photo: Frame) -> None:
    frame = pan(photo)[0]
    stabilizer = Stabilizer()
    outputs = [stabilizer.steady(frame, boiling(frame)).astype(float) for _ in range(12)]
    change = np.abs(outputs[-1] - outputs[-2]).mean()
    assert change < 0.2 * np.abs(boiling(frame).astype(float) - boiling(frame)).mean()
    # And does not drift: on average the picture is as bright as what was painted.
    assert abs(outputs[-1].mean() - boiling(frame).mean()) < 1


def moved(photo: Frame, left: int) -> Frame:
    """A bright square in front of a photo that stands still."""
    frame = pan(photo)[0].copy()
    frame[100:220, left : left + 120] = (40, 220, 240)
    return frame


def test_what_was_hidden_is_left_as_it_is_painted(photo: Frame) -> None:
    stabilizer = Stabilizer()
    for left in (200, 212):
        frame = moved(photo, left)
        painted = boiling(frame)
        output = stabilizer.steady(frame, painted)
    # Behind the square, which has moved on: nothing yellow is left there.
    uncovered = np.s_[108:212, 202:209]
    difference = np.abs(output[uncovered].astype(float) - painted[uncovered])
    assert difference.mean() < 4


def test_cuts_do_not_ghost() -> None:
    stabilizer = Stabilizer()
    for photo in pan_photos()[:3]:
        for number, frame in enumerate(pan(photo)[:3]):
            painted = boiling(frame)
            output = stabilizer.steady(frame, painted)
            if number == 0:
                assert np.abs(output.astype(float) - painted).mean() < 1


def test_it_can_start_over(photo: Frame) -> None:
    stabilizer = Stabilizer()
    frame = pan(photo)[0]
    stabilizer.steady(frame, boiling(frame))
    stabilizer.reset()
    painted = boiling(frame)
    np.testing.assert_array_equal(stabilizer.steady(frame, painted), painted)


@pytest.mark.parametrize("size", [(16, 16), (17, 300), (1000, 16)])
def test_any_size(size: tuple[int, int]) -> None:
    stabilizer = Stabilizer()
    for _ in range(3):
        frame = RANDOM.integers(0, 256, (*size, 3), np.uint8)
        assert stabilizer.steady(frame, frame).shape == (*size, 3)


def test_a_new_size_starts_over(photo: Frame) -> None:
    stabilizer = Stabilizer()
    stabilizer.steady(photo, photo)
    smaller = photo[:300]
    np.testing.assert_array_equal(stabilizer.steady(smaller, smaller), smaller)
