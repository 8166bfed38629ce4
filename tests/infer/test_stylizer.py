from pathlib import Path
from typing import Any

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


def new_stylizer(model: StyleModel, style: str = "waves", **settings: Any) -> Stylizer:
    return Stylizer(model, style, **{"backend": "openvino", "stroke_size": "1:1"} | settings)


@pytest.mark.parametrize("size", [(16, 16), (45, 31), (64, 64)])
def test_output_has_the_size_of_the_frame(stylizer: Stylizer, size: tuple[int, int]) -> None:
    stylized = stylizer(np.zeros((*size, 3), np.uint8))
    assert stylized.shape == (*size, 3)
    assert stylized.dtype == np.uint8


def test_output_is_not_overwritten_by_the_next_frame(stylizer: Stylizer, frame: Frame) -> None:
    first = stylizer(frame)
    kept = first.copy()
    stylizer(255 - frame)
    np.testing.assert_array_equal(first, kept)


def test_set_style_compiles_nothing(
    two_styles: StyleModel, frame: Frame, monkeypatch: pytest.MonkeyPatch
) -> None:
    stylizer = new_stylizer(two_styles)
    waves = stylizer(frame)
    stylizer.start_shrunk(frame)()
    monkeypatch.setattr(stylizer._backend, "_compiled", lambda *_: pytest.fail("compiled again"))
    stylizer.set_style("night")
    night = stylizer(frame)
    assert np.abs(night.astype(int) - waves).mean() > 1
    assert np.abs(night.astype(int) - stylizer.start_shrunk(frame)()).max() <= 1
    stylizer.set_style({"waves": 3, "night": 0})
    np.testing.assert_array_equal(stylizer(frame), waves)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["openvino", "torch", "onnx"])
def test_frames_in_flight_match_single_frames(
    two_styles: StyleModel, frame: Frame, backend: BackendName
) -> None:
    stylizer = new_stylizer(two_styles, backend=backend, precision="f32")
    frames = [frame, 255 - frame, np.ascontiguousarray(frame[::-1]), frame // 2]
    singly, started = [], []
    for index, each in enumerate(frames):
        stylizer.set_style("waves" if index < 2 else "night")
        singly.append(stylizer(each))
        started.append(stylizer.start_shrunk(each))  # more of them than there are requests
    for wait, one in zip(started, singly, strict=True):
        assert np.abs(wait().astype(int) - one).max() <= 1


def test_set_style_keeps_what_is_not_given(two_styles: StyleModel, frame: Frame) -> None:
    stylizer = new_stylizer(two_styles, strength=0.25)
    stylizer.set_style("night")
    expected = new_stylizer(two_styles, "night", strength=0.25)(frame)
    np.testing.assert_array_equal(stylizer(frame), expected)
    stylizer.set_style(strength=0.5)
    expected = new_stylizer(two_styles, "night", strength=0.5)(frame)
    np.testing.assert_array_equal(stylizer(frame), expected)


@pytest.mark.parametrize(
    ("style", "settings", "error"),
    [
        ("waves", {"strength": -0.1}, InputError),
        ("waves", {"strength": 1.1}, InputError),
        ("waves", {"strength": float("nan")}, InputError),
        ("waves", {"strength": 0, "stroke_size": "wide"}, InputError),
        ("wave", {"strength": 0}, UnknownNameError),
        ([], {"strength": 0}, InputError),
    ],
)
def test_set_style_with_bad_values_changes_nothing(
    two_styles: StyleModel, frame: Frame, style: Any, settings: dict[str, Any], error: type
) -> None:
    stylizer = new_stylizer(two_styles, "night")
    with pytest.raises(error):
        stylizer.set_style(style, **settings)
    np.testing.assert_array_equal(stylizer(frame), new_stylizer(two_styles, "night")(frame))


@pytest.mark.parametrize(
    ("frame", "named"),
    [
        (np.zeros((40, 40), np.uint8), "40, 40"),
        (np.zeros((40, 40, 4), np.uint8), "40, 40, 4"),
        (np.zeros((40, 40, 3), np.float32), "float32"),
        (np.zeros((15, 40, 3), np.uint8), "40x15"),
        (None, "NoneType"),  # as cv2.imread returns for a missing file
        ("photo.jpg", "str"),
        (Image.new("RGB", (32, 32)), "Image"),
    ],
)
@pytest.mark.parametrize("strength", [0, 1])
def test_other_inputs_are_errors(
    stylizer: Stylizer, frame: Any, named: str, strength: float
) -> None:
    stylizer.set_style(strength=strength)
    try:
        with pytest.raises(InputError, match=named):
            stylizer(frame)
    finally:
        stylizer.set_style(strength=1)


def test_load_style_takes_a_style_in_every_form(two_styles: StyleModel, model: Path) -> None:
    one, half = {"waves": 1.0}, {"waves": 0.5, "night": 0.5}
    for style, blend in (
        (model, one),
        (str(model), one),
        (two_styles, one),
        (f"{model}:night", {"night": 1.0}),
        ([model, f"{model}:night"], half),
        ({f"{model}:waves": 2, f"{model}:night": 2}, half),
        (f"{model}:waves=0.5,{model}:night=0.5", half),
    ):
        assert load_style(style, backend="torch").blend == blend
    for wrong in (5, [], {}, None, f"{model}@0,{model}@2"):
        with pytest.raises(InputError):
            load_style(wrong)  # type: ignore[arg-type]


@pytest.mark.slow
def test_default_style_changes_the_frame(frame: Frame) -> None:
    stylizer = load_style()
    assert stylizer.blend == {"starry_night": 1}
    assert np.abs(stylizer(frame).astype(int) - frame).mean() > 5
    assert str(stylizer) == f"{stylizer.backend} {stylizer.precision} on {stylizer.device}"
