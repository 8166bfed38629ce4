"""Warping errors: of clips with a known motion, and of pans."""

import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from nst_rt.images.convert import tensor_to_frame
from nst_rt.images.io import Frame, load_image
from nst_rt.metrics.flow import Correspondence
from nst_rt.metrics.stability import WarpingError, WarpingMeter, pan, pan_error, warping_error

RANDOM = np.random.default_rng(0)
ALL_VISIBLE = Correspondence(None, np.ones((80, 120), np.bool_))


@pytest.fixture(scope="module")
def frame(photos: Path) -> Frame:
    return tensor_to_frame(load_image(photos / "coffee.png"))


def noise() -> Frame:
    return RANDOM.integers(0, 256, (80, 120, 3), np.uint8)


def noise_stylizer(amplitude: int) -> Callable[[Frame], Frame]:
    """Gray with noise of that amplitude and deviation, new in each frame."""
    random = np.random.default_rng(0)
    return lambda frame: (128 + amplitude * random.choice([-1, 1], frame.shape)).astype(np.uint8)


def test_still_clip_has_no_error() -> None:
    frame = noise()
    assert warping_error([frame] * 3, [ALL_VISIBLE] * 2) == WarpingError(0, 0, 1)


def test_error_is_a_root_mean_square_in_the_unit_range() -> None:
    one, other = (np.full((80, 120, 3), level, np.uint8) for level in (51, 102))
    # The outputs deviate by a tenth.
    expected = WarpingError(pytest.approx(0.2), pytest.approx(2), 1)
    assert warping_error([one, other], [ALL_VISIBLE]) == expected


def test_relative_error_does_not_depend_on_contrast() -> None:
    frames = [noise().astype(float) for _ in range(3)]
    full, half = (
        warping_error(
            [np.rint(128 + contrast * (f - 128)).astype(np.uint8) for f in frames],
            [ALL_VISIBLE] * 2,
        )
        for contrast in (1, 0.5)
    )
    assert full is not None
    assert half is not None
    assert half.error == pytest.approx(full.error / 2, rel=0.01)
    assert half.relative == pytest.approx(full.relative, rel=0.01)


def test_only_visible_pixels_count() -> None:
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


def test_pan_windows_are_shifted(frame: Frame) -> None:
    frames = pan(frame)
    assert [f.shape for f in frames] == [(360, 640, 3)] * 12
    for first, second in pairwise(frames):
        np.testing.assert_array_equal(first[2:, 3:], second[:-2, :-3])


def test_pan_starts_at_its_published_position() -> None:
    y, x = np.mgrid[:720, :720]
    ramps = np.stack([y // 4, x // 4, x // 4], axis=-1).astype(np.uint8)
    assert pan(ramps)[0][0, 0].tolist() == [10 // 4, 20 // 4, 20 // 4]
    assert pan(ramps)[11][0, 0].tolist() == [32 // 4, 53 // 4, 53 // 4]


@pytest.mark.parametrize("stylize", [lambda f: f, lambda f: 255 - f, lambda f: np.full_like(f, 77)])
def test_pointwise_stylizer_has_no_pan_error(
    frame: Frame, stylize: Callable[[Frame], Frame]
) -> None:
    found = pan_error(stylize, [frame])
    assert (found.error, found.relative) == (0, 0)


@pytest.mark.parametrize("amplitude", [5, 50])
def test_pan_error_of_noise(frame: Frame, amplitude: int) -> None:
    found = pan_error(noise_stylizer(amplitude), [frame])
    assert found.error == pytest.approx(math.sqrt(2) * amplitude / 255, rel=0.01)
    assert found.relative == pytest.approx(math.sqrt(2), rel=0.01)


def test_borders_do_not_count(frame: Frame) -> None:
    noisy = noise_stylizer(90)

    def framed(frame: Frame) -> Frame:
        stylized = noisy(frame)
        stylized[32:-32, 32:-32] = frame[32:-32, 32:-32]
        return stylized

    assert pan_error(framed, [frame]).error == 0


def test_texture_fixed_to_the_screen_has_a_pan_error(frame: Frame) -> None:
    texture = noise_stylizer(20)(pan(frame)[0])
    assert pan_error(lambda _: texture, [frame]).relative == pytest.approx(math.sqrt(2), rel=0.02)


def test_pan_errors_are_averaged_over_photos(frame: Frame) -> None:
    def noise_on_dark(frame: Frame) -> Frame:
        return noisy(frame) if frame.mean() < 100 else frame

    noisy = noise_stylizer(50)
    dark, bright = frame // 4, 128 + frame // 4
    found = pan_error(noise_on_dark, [dark, bright])
    assert found.error == pytest.approx(math.sqrt(2) * 50 / 255 / 2, rel=0.01)
    assert found.relative == pytest.approx(math.sqrt(2) / 2, rel=0.01)
