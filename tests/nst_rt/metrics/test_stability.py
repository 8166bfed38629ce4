import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from nst_rt.images.io import Frame, load_image, tensor_to_frame
from nst_rt.metrics.stability import PanError, pan, pan_error


@pytest.fixture(scope="module")
def frame(photos: Path) -> Frame:
    return tensor_to_frame(load_image(photos / "coffee.png"))


def stylizer_of_noise(amplitude: int, *, seed: int = 0) -> Callable[[Frame], Frame]:
    """Gray with noise of that amplitude and deviation, new in each frame."""
    random = np.random.default_rng(seed)
    return lambda frame: (128 + amplitude * random.choice([-1, 1], frame.shape)).astype(np.uint8)


def test_a_pan_shows_the_same_places_shifted(frame: Frame) -> None:
    frames = pan(frame)
    assert [f.shape for f in frames] == [(360, 640, 3)] * 12
    for first, second in pairwise(frames):
        np.testing.assert_array_equal(first[2:, 3:], second[:-2, :-3])


def test_a_pan_starts_where_it_is_defined_to() -> None:
    y, x = np.mgrid[:720, :720]
    ramps = np.stack([y // 4, x // 4, x // 4], axis=-1).astype(np.uint8)
    assert pan(ramps)[0][0, 0].tolist() == [10 // 4, 20 // 4, 20 // 4]
    assert pan(ramps)[11][0, 0].tolist() == [32 // 4, 53 // 4, 53 // 4]


def test_what_changes_nothing_is_still(frame: Frame) -> None:
    assert pan_error(lambda f: f, [frame]) == PanError(0, 0)
    assert pan_error(lambda f: 255 - f, [frame]) == PanError(0, 0)


def test_plain_output_is_still(frame: Frame) -> None:
    assert pan_error(lambda f: np.full_like(f, 77), [frame]) == PanError(0, 0)


@pytest.mark.parametrize("amplitude", [5, 50])
def test_pan_error_of_noise_is_known(frame: Frame, amplitude: int) -> None:
    found = pan_error(stylizer_of_noise(amplitude), [frame])
    assert found.error == pytest.approx(math.sqrt(2) * amplitude / 255, rel=0.01)
    assert found.relative == pytest.approx(math.sqrt(2), rel=0.01)


def test_borders_do_not_count(frame: Frame) -> None:
    noise = stylizer_of_noise(90)

    def framed(frame: Frame) -> Frame:
        stylized = noise(frame)
        stylized[32:-32, 32:-32] = frame[32:-32, 32:-32]
        return stylized

    assert pan_error(framed, [frame]).error == 0


def test_what_sticks_to_the_screen_is_not_still(frame: Frame) -> None:
    texture = stylizer_of_noise(20)(pan(frame)[0])
    assert pan_error(lambda _: texture, [frame]).relative == pytest.approx(math.sqrt(2), rel=0.02)


def test_pan_errors_are_averaged_over_photos(frame: Frame) -> None:
    def noise_on_dark(frame: Frame) -> Frame:
        return noise(frame) if frame.mean() < 100 else frame

    noise = stylizer_of_noise(50)
    dark, bright = frame // 4, 128 + frame // 4
    found = pan_error(noise_on_dark, [dark, bright])
    assert found.error == pytest.approx(math.sqrt(2) * 50 / 255 / 2, rel=0.01)
    assert found.relative == pytest.approx(math.sqrt(2) / 2, rel=0.01)
