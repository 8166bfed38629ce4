from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from nst_rt.errors import InputError, UnknownNameError
from nst_rt.images.io import Frame
from nst_rt.infer.backends import BackendName
from nst_rt.infer.stylizer import Stylizer, load_style
from nst_rt.models.style_model import StyleModel


@pytest.fixture
def frame() -> Frame:
    return np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)


@pytest.mark.parametrize("size", [(16, 16), (45, 31), (64, 64)])
def test_any_size_stays_as_it_is(stylizer: Stylizer, size: tuple[int, int]) -> None:
    stylized = stylizer.stylize(np.zeros((*size, 3), np.uint8))
    assert stylized.shape == (*size, 3)
    assert stylized.dtype == np.uint8


def test_results_outlive_the_next_frame(stylizer: Stylizer, frame: Frame) -> None:
    first = stylizer.stylize(frame)
    kept = first.copy()
    stylizer.stylize(255 - frame)
    np.testing.assert_array_equal(first, kept)


def test_views_and_mirrored_frames_are_taken(stylizer: Stylizer, frame: Frame) -> None:
    mirrored = frame[:, ::-1]
    np.testing.assert_array_equal(
        stylizer.stylize(mirrored), stylizer.stylize(np.ascontiguousarray(mirrored))
    )


def test_styles_change_without_compiling_again(
    two_styles: StyleModel, frame: Frame, monkeypatch: pytest.MonkeyPatch
) -> None:
    stylizer = Stylizer(two_styles, "waves", backend="openvino", stroke_size="1:1")
    waves = stylizer.stylize(frame)
    stylizer.start_shrunk(frame)()
    monkeypatch.setattr(stylizer._backend, "_compiled", lambda *_: pytest.fail("compiled again"))
    stylizer.set_style("night")
    night = stylizer.stylize(frame)
    assert np.abs(night.astype(int) - waves).mean() > 1
    assert np.abs(night.astype(int) - stylizer.start_shrunk(frame)()).max() <= 1
    stylizer.set_style({"waves": 3, "night": 0})
    np.testing.assert_array_equal(stylizer.stylize(frame), waves)


@pytest.mark.parametrize("backend", ["openvino", "torch", "onnx"])
def test_frames_in_flight_are_those_painted_one_by_one(
    two_styles: StyleModel, frame: Frame, backend: BackendName
) -> None:
    stylizer = Stylizer(two_styles, "waves", backend=backend, precision="f32", stroke_size="1:1")
    frames = [frame, 255 - frame, np.ascontiguousarray(frame[::-1]), frame // 2]
    singly, started = [], []
    for index, each in enumerate(frames):
        stylizer.set_style("waves" if index < 2 else "night")
        singly.append(stylizer.stylize(each))
        started.append(stylizer.start_shrunk(each))  # more of them than there are requests
    for wait, one in zip(started, singly, strict=True):
        assert np.abs(wait().astype(int) - one).max() <= 1


def test_strength_goes_from_the_frame_to_the_style(two_styles: StyleModel, frame: Frame) -> None:
    stylizer = Stylizer(two_styles, "waves", backend="openvino", stroke_size="1:1")
    full = stylizer.stylize(frame)
    stylizer.set_style("waves", strength=0)
    np.testing.assert_array_equal(stylizer.stylize(frame), frame)
    stylizer.set_style("waves", strength=0.25)
    expected = cv2.addWeighted(full, 0.25, frame, 0.75, 0)
    np.testing.assert_array_equal(stylizer.stylize(frame), expected)


def test_what_is_not_given_stays(two_styles: StyleModel, frame: Frame) -> None:
    stylizer = Stylizer(two_styles, "waves", strength=0.25, backend="openvino", stroke_size="1:1")
    stylizer.set_style("night")
    night = Stylizer(
        two_styles, "night", strength=0.25, backend="openvino", stroke_size="1:1"
    ).stylize(frame)
    np.testing.assert_array_equal(stylizer.stylize(frame), night)
    stylizer.set_style(strength=0.5)
    night = Stylizer(
        two_styles, "night", strength=0.5, backend="openvino", stroke_size="1:1"
    ).stylize(frame)
    np.testing.assert_array_equal(stylizer.stylize(frame), night)
    with pytest.raises(InputError):
        stylizer.set_style("waves", strength=2)
    with pytest.raises(UnknownNameError):
        stylizer.set_style("wave", strength=0)
    np.testing.assert_array_equal(stylizer.stylize(frame), night)


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
def test_strength_out_of_range(stylizer: Stylizer, strength: float) -> None:
    with pytest.raises(InputError, match="strength"):
        stylizer.set_style("waves", strength=strength)


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((40, 40), np.uint8),
        np.zeros((40, 40, 4), np.uint8),
        np.zeros((40, 40, 3), np.float32),
        np.zeros((15, 40, 3), np.uint8),
    ],
)
def test_what_is_no_frame_is_an_error(stylizer: Stylizer, frame: np.ndarray) -> None:
    with pytest.raises(InputError):
        stylizer.stylize(frame)


def test_an_unknown_style_names_the_known_ones(stylizer: Stylizer) -> None:
    with pytest.raises(UnknownNameError, match="known are waves, night"):
        stylizer.set_style("wave")


def test_the_shipped_style_paints(frame: Frame) -> None:
    stylizer = load_style("starry_night")
    assert np.abs(stylizer.stylize(frame).astype(int) - frame).mean() > 5
    assert str(stylizer) == f"{stylizer.backend} {stylizer.precision} on {stylizer.device}"


@pytest.mark.parametrize("frame", [None, "photo.jpg", Image.new("RGB", (32, 32))])
@pytest.mark.parametrize("method", ["stylize", "shrunk"])
def test_what_is_no_array_is_no_frame(two_styles: StyleModel, frame: Any, method: str) -> None:
    stylizer = Stylizer(two_styles, "waves", backend="torch", stroke_size="1:1")
    with pytest.raises(InputError, match=type(frame).__name__):
        getattr(stylizer, method)(frame)
