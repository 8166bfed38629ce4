import cv2
import numpy as np
import pytest

from nst_rt.errors import InputError
from nst_rt.images.color import luminance, with_luminance
from nst_rt.images.io import Frame, frame_to_tensor, tensor_to_frame
from nst_rt.infer.evaluate.model import pan_photos
from nst_rt.infer.postprocess import Look, split, with_original_colours, with_strength
from nst_rt.metrics.stability import pan


@pytest.fixture(scope="module")
def frame() -> Frame:
    return pan(pan_photos()[0])[0][:250, :331]


@pytest.fixture(scope="module")
def painted(frame: Frame) -> Frame:
    """Another picture in other colours."""
    other = cv2.resize(pan(pan_photos()[1])[0], frame.shape[1::-1])
    return np.asarray(cv2.applyColorMap(other, cv2.COLORMAP_TWILIGHT), np.uint8)


def test_colours_are_the_frames_and_brightness_is_the_pastiches(
    frame: Frame, painted: Frame
) -> None:
    got = with_original_colours(frame, painted)
    luma = luminance(frame_to_tensor(painted))
    expected = tensor_to_frame(with_luminance(frame_to_tensor(frame), luma))
    difference = np.abs(got.astype(int) - expected)
    assert difference.mean() < 0.4
    assert difference.max() <= 6
    grey = cv2.cvtColor(got, cv2.COLOR_BGR2GRAY).astype(int)
    assert np.abs(grey - cv2.cvtColor(painted, cv2.COLOR_BGR2GRAY)).max() <= 2


def test_a_frame_in_its_own_colours_is_itself(frame: Frame) -> None:
    difference = np.abs(with_original_colours(frame, frame).astype(int) - frame)
    assert difference.mean() < 0.1
    assert difference.max() <= 3


def test_colours_at_the_limits_do_not_wrap_around() -> None:
    """All corners of the colour cube, in all levels of brightness."""
    corners = np.array(np.meshgrid([0, 255], [0, 255], [0, 255])).reshape(3, -1).T
    frame = np.repeat(corners.astype(np.uint8)[None], 256, 0)
    levels = np.arange(256, dtype=np.uint8)[:, None, None]
    painted = np.broadcast_to(levels, frame.shape).copy()
    got = with_original_colours(frame, painted)
    grey = cv2.cvtColor(got, cv2.COLOR_BGR2GRAY).astype(int)
    assert np.abs(grey - painted[..., 0]).max() <= 2
    assert not got[0].any()
    assert (got[255] == 255).all()


def test_grey_frames_give_grey_pastiches(painted: Frame) -> None:
    got = with_original_colours(np.full_like(painted, 90), painted)
    assert (got == got[..., :1]).all()


@pytest.mark.parametrize("size", [(1, 1), (31, 5), (32, 5), (33, 5), (65, 2)])
def test_colours_of_any_size(size: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    frame, painted = random.integers(0, 256, (2, *size, 3), np.uint8)
    got = with_original_colours(frame, painted)
    rows = [with_original_colours(frame[[y]], painted[[y]]) for y in range(size[0])]
    np.testing.assert_array_equal(got, np.concatenate(rows))


def test_colours_of_mirrored_views(frame: Frame, painted: Frame) -> None:
    np.testing.assert_array_equal(
        with_original_colours(frame[:, ::-1], painted[:, ::-1]),
        with_original_colours(frame, painted)[:, ::-1],
    )


def test_strength_goes_from_the_frame_to_the_pastiche(frame: Frame, painted: Frame) -> None:
    assert with_strength(frame, painted, 0) is frame
    assert with_strength(frame, painted, 1) is painted
    for strength in (0.001, 0.3, 0.999):
        exact = frame + strength * (painted.astype(float) - frame)
        assert np.abs(with_strength(frame, painted, strength) - exact).max() <= 0.51


def test_a_split_screen_shows_both_sides_and_a_line(frame: Frame, painted: Frame) -> None:
    got = split(frame, painted, position=0.25)
    left = round(frame.shape[1] * 0.25)
    np.testing.assert_array_equal(got[:, :left], frame[:, :left])
    assert (got[:, left] == 255).all()
    np.testing.assert_array_equal(got[:, left + 1 :], painted[:, left + 1 :])


def test_the_line_grows_with_the_picture(frame: Frame) -> None:
    large = np.zeros((4, 3840, 3), np.uint8)
    [columns] = np.nonzero(split(large, large)[0, :, 0])
    assert columns.tolist() == list(range(1920, 1926))


@pytest.mark.parametrize("position", [0, 1])
def test_the_line_stays_in_the_picture(frame: Frame, painted: Frame, position: int) -> None:
    got = split(frame, painted, position=position)
    assert (got[:, -position] == 255).all()
    side = frame if position else painted
    np.testing.assert_array_equal(got[:, 1:-1], side[:, 1:-1])


def test_a_look_leaves_its_inputs_alone(frame: Frame, painted: Frame) -> None:
    copies = frame.copy(), painted.copy()
    Look(strength=0.6, keep_colours=True, compare=True).apply(frame, painted)
    np.testing.assert_array_equal(frame, copies[0])
    np.testing.assert_array_equal(painted, copies[1])


def test_a_look_is_colours_then_strength_then_the_split(frame: Frame, painted: Frame) -> None:
    got = Look(strength=0.6, keep_colours=True, compare=True).apply(frame, painted)
    mixed = with_strength(frame, with_original_colours(frame, painted), 0.6)
    np.testing.assert_array_equal(got, split(frame, mixed))
    assert Look().apply(frame, painted) is painted


def test_at_strength_0_a_look_is_the_untouched_frame(frame: Frame, painted: Frame) -> None:
    assert Look(strength=0, keep_colours=True).apply(frame, painted) is frame


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_numbers_out_of_range_are_errors(frame: Frame, value: float) -> None:
    with pytest.raises(InputError, match=r"strength must be between 0 and 1"):
        Look(strength=value)
    with pytest.raises(InputError, match=r"position of the line must be between 0 and 1"):
        split(frame, frame, position=value)
