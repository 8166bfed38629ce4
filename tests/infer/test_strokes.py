from pathlib import Path

import cv2
import numpy as np
import pytest

from nst_rt.errors import InputError
from nst_rt.images.convert import frame_to_tensor, tensor_to_frame
from nst_rt.images.io import Frame, load_image
from nst_rt.infer import strokes as strokes_module
from nst_rt.infer.strokes import DEFAULT_STROKES, StrokeSize, at_full_size, resized_frame
from nst_rt.infer.stylizer import Stylizer, load_style
from nst_rt.metrics.boldness import boldness


@pytest.mark.parametrize(
    ("text", "size", "written"),
    [
        ("2%", (750, 1000), "2%"),
        (0.02, (750, 1000), "2%"),
        ("0.04", (375, 500), "4%"),
        ("40px", (1500, 2000), "40px"),
        (" 1:1 ", (3000, 4000), "1:1"),
    ],
)
def test_working_size_of_a_large_photo(
    text: str | float, size: tuple[int, int], written: str
) -> None:
    strokes = StrokeSize.parse(text)
    assert strokes.working_size(3000, 4000) == size
    assert str(strokes) == written
    assert StrokeSize.parse(written) == strokes


def test_working_size_does_not_depend_on_the_frame_size() -> None:
    assert {
        DEFAULT_STROKES.working_size(side * 9, side * 16) for side in (20, 40, 80, 120, 240, 480)
    } == {(562, 1000)}


def test_working_size_is_limited() -> None:
    assert StrokeSize.parse("2%").working_size(24, 32) == (96, 128)  # four times the sides
    assert StrokeSize.parse("100%").working_size(480, 640) == (16, 20)


def test_scale_reduces_the_working_size() -> None:
    assert DEFAULT_STROKES.working_size(1080, 1920, scale=0.5) == (281, 500)
    assert StrokeSize.parse("1:1").working_size(480, 640, scale=0.5) == (240, 320)


@pytest.mark.parametrize(
    "text", ["", "big", "0%", "-2%", "101%", "0px", "4px", "1:2", "nan", 0, 2.0]
)
def test_bad_stroke_sizes_are_errors(text: str | float) -> None:
    with pytest.raises(InputError, match="`stroke_size`"):
        StrokeSize.parse(text)


def test_scaled_sizes_stay_in_a_sensible_range() -> None:
    assert DEFAULT_STROKES.scaled(2) == StrokeSize(0.04)
    assert DEFAULT_STROKES.scaled(100) == StrokeSize(0.1)
    assert StrokeSize.parse("1:1").scaled(0.5) == StrokeSize.parse("10px")


@pytest.fixture(scope="module")
def photo(astronaut: Path) -> Frame:
    """12 megapixels: a photo, enlarged step by step with its edges kept sharp, a sky and grain."""
    large = tensor_to_frame(load_image(astronaut))
    for side in (1000, 2000, 4000):
        around = np.ones((3, 3), np.uint8)
        lowest, highest = (
            resized_frame(x, (side, side))
            for x in (cv2.erode(large, around), cv2.dilate(large, around))
        )
        large = resized_frame(large, (side, side))
        sharp = cv2.addWeighted(large, 3, cv2.GaussianBlur(large, (0, 0), 2), -2, 0)
        large = np.clip(sharp, lowest, np.maximum(lowest, highest))
    large = large[300:3300]
    large[:1200, :1500] = np.linspace(150, 190, 1200)[:, None, None]
    grain = np.random.default_rng(0).normal(0, 2, large.shape[:2])[..., None]
    return np.clip(large + grain, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def stylizer() -> Stylizer:
    return load_style("starry_night", backend="openvino")


@pytest.fixture(scope="module")
def whole(stylizer: Stylizer, photo: Frame) -> Frame:
    return stylizer(photo)


def strokes(stylized: Frame, photo: Frame, painting: Path) -> tuple[float, float]:
    """Stroke energy in even areas, and contrast, both over those of a style image."""
    images = [frame_to_tensor(resized_frame(x, (768, 1024))) for x in (stylized, photo)]
    found = boldness(*images, load_image(painting))
    assert found.strokes is not None
    return found.strokes, found.contrast


@pytest.mark.slow
def test_strokes_do_not_depend_on_the_frame_size(
    stylizer: Stylizer, photo: Frame, whole: Frame, painting: Path
) -> None:
    small = resized_frame(photo, (768, 1024))
    preview, full = (strokes(x, photo, painting) for x in (stylizer(small), whole))
    assert full == pytest.approx(preview, rel=0.1)
    difference = resized_frame(whole, (768, 1024)).astype(float) - stylizer(small)
    assert np.abs(difference).mean() < 10


@pytest.mark.slow
def test_strokes_are_bolder_than_at_full_size(photo: Frame, whole: Frame, painting: Path) -> None:
    exact = load_style("starry_night", backend="openvino", stroke_size="1:1")(photo)
    assert strokes(whole, photo, painting)[0] > 2 * strokes(exact, photo, painting)[0]


def gradients(frame: Frame) -> np.ndarray:
    """Squared, of the brightness."""
    gray = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY).astype(np.float32)
    return cv2.Sobel(gray, cv2.CV_32F, 1, 0) ** 2 + cv2.Sobel(gray, cv2.CV_32F, 0, 1) ** 2


@pytest.mark.slow
def test_edges_stay_as_sharp_as_in_the_photo(photo: Frame, whole: Frame) -> None:
    energy = gradients(photo)
    edges = energy >= np.quantile(energy, 0.98)
    assert gradients(whole)[edges].mean() >= 0.8 * energy[edges].mean()


def test_bands_of_rows_leave_no_seams(photo: Frame) -> None:
    small = resized_frame(photo, (750, 1000))
    stylized = np.ascontiguousarray(small[::-1])
    bands = at_full_size(stylized, small, photo)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strokes_module, "_BAND", len(photo))
        np.testing.assert_array_equal(bands, at_full_size(stylized, small, photo))


def test_steps_get_no_halos() -> None:
    frame = np.full((1200, 1600, 3), 60, np.uint8)
    frame[:, 803:] = 190
    small = resized_frame(frame, (300, 400))
    large = at_full_size(small, small, frame).astype(int)
    assert large.min() >= 60 - 12
    assert large.max() <= 190 + 12
    far = np.r_[0:780, 826:1600]
    assert np.abs(large[:, far] - frame[:, far].astype(int)).max() <= 2


def test_flat_areas_stay_flat() -> None:
    gray = np.full((640, 800, 3), 128, np.uint8)
    stylized = np.full((320, 400, 3), (10, 200, 90), np.uint8)
    large = at_full_size(stylized, resized_frame(gray, (320, 400)), gray)
    assert np.abs(large.astype(int) - (10, 200, 90)).max() <= 1


@pytest.mark.parametrize("working", [(320, 400), (480, 600)])
def test_thin_lines_that_the_network_lost_are_kept(working: tuple[int, int]) -> None:
    frame = np.full((320, 400, 3), 200, np.uint8)
    frame[:, 150] = frame[:, 250:252] = 90
    small = resized_frame(frame, working)
    stylized = np.full_like(small, (90, 160, 200))
    result = at_full_size(stylized, small, frame).astype(int)
    for line in (150, 250):
        assert (result[:, line] <= np.array([90, 160, 200]) - 40).all()
    far = np.r_[0:140, 160:240, 262:400]
    assert np.abs(result[:, far] - (90, 160, 200)).max() <= 1


def test_strokes_as_trained_are_the_network_s_own(photo: Frame) -> None:
    frame = photo[:96, :128]
    stylizer = load_style("starry_night", stroke_size="1:1")
    np.testing.assert_array_equal(stylizer(frame), stylizer.stylize_shrunk(frame))


@pytest.mark.slow
def test_small_frames_are_enlarged(stylizer: Stylizer, astronaut: Path) -> None:
    frame = tensor_to_frame(load_image(astronaut, size=256))
    assert stylizer.shrunk(frame).shape == (1000, 1000, 3)
    assert stylizer(frame).shape == frame.shape


def test_stroke_size_changes_on_the_next_frame(stylizer: Stylizer, photo: Frame) -> None:
    part = photo[:600, :800]
    before = stylizer(part)
    stylizer.set_style(stroke_size="5%")
    assert stylizer.shrunk(part).shape == (300, 400, 3)
    assert np.abs(stylizer(part).astype(int) - before).mean() > 5
    stylizer.set_style(stroke_size=DEFAULT_STROKES)
    np.testing.assert_array_equal(stylizer(part), before)


def test_strength_mixes_at_full_size(stylizer: Stylizer, photo: Frame) -> None:
    part = photo[:600, :800]
    full = stylizer(part)
    stylizer.set_style(strength=0.25)
    expected = cv2.addWeighted(full, 0.25, part, 0.75, 0)
    np.testing.assert_array_equal(stylizer(part), expected)
    stylizer.set_style(strength=0)
    np.testing.assert_array_equal(stylizer(part), part)
    stylizer.set_style(strength=1)
