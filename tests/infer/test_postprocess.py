import cv2
import numpy as np
import pytest

from nst_rt.images.color import luminance, with_luminance
from nst_rt.images.convert import frame_to_tensor, tensor_to_frame
from nst_rt.images.io import Frame
from nst_rt.infer.evaluate.model import pan_photos
from nst_rt.infer.postprocess import PostProcessing, split, with_original_colors, with_strength
from nst_rt.metrics.stability import pan


@pytest.fixture(scope="module")
def frame() -> Frame:
    return pan(pan_photos()[0])[0][:250, :331]


@pytest.fixture(scope="module")
def stylized(frame: Frame) -> Frame:
    """Another image in other colors."""
    other = cv2.resize(pan(pan_photos()[1])[0], frame.shape[1::-1])
    return np.asarray(cv2.applyColorMap(other, cv2.COLORMAP_TWILIGHT), np.uint8)


def test_original_colors_keep_chroma_and_change_luma(frame: Frame, stylized: Frame) -> None:
    got = with_original_colors(frame, stylized)
    luma = luminance(frame_to_tensor(stylized))
    expected = tensor_to_frame(with_luminance(frame_to_tensor(frame), luma))
    difference = np.abs(got.astype(int) - expected)
    assert difference.mean() < 0.4
    assert difference.max() <= 6
    gray = cv2.cvtColor(got, cv2.COLOR_BGR2GRAY).astype(int)
    assert np.abs(gray - cv2.cvtColor(stylized, cv2.COLOR_BGR2GRAY)).max() <= 2


def test_original_colors_of_the_frame_itself(frame: Frame) -> None:
    difference = np.abs(with_original_colors(frame, frame).astype(int) - frame)
    assert difference.mean() < 0.1
    assert difference.max() <= 3


def test_saturated_colors_do_not_wrap_around() -> None:
    """All corners of the color cube, at all levels of brightness."""
    corners = np.array(np.meshgrid([0, 255], [0, 255], [0, 255])).reshape(3, -1).T
    frame = np.repeat(corners.astype(np.uint8)[None], 256, 0)
    levels = np.arange(256, dtype=np.uint8)[:, None, None]
    stylized = np.broadcast_to(levels, frame.shape).copy()
    got = with_original_colors(frame, stylized)
    gray = cv2.cvtColor(got, cv2.COLOR_BGR2GRAY).astype(int)
    assert np.abs(gray - stylized[..., 0]).max() <= 2
    assert not got[0].any()
    assert (got[255] == 255).all()


def test_original_colors_of_gray_frames_are_gray(stylized: Frame) -> None:
    got = with_original_colors(np.full_like(stylized, 90), stylized)
    assert (got == got[..., :1]).all()


@pytest.mark.parametrize("size", [(1, 1), (31, 5), (32, 5), (33, 5), (65, 2)])
def test_original_colors_at_any_size(size: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    frame, stylized = random.integers(0, 256, (2, *size, 3), np.uint8)
    got = with_original_colors(frame, stylized)
    rows = [with_original_colors(frame[[y]], stylized[[y]]) for y in range(size[0])]
    np.testing.assert_array_equal(got, np.concatenate(rows))


def test_original_colors_of_mirrored_views(frame: Frame, stylized: Frame) -> None:
    np.testing.assert_array_equal(
        with_original_colors(frame[:, ::-1], stylized[:, ::-1]),
        with_original_colors(frame, stylized)[:, ::-1],
    )


def test_strength_mixes_linearly(frame: Frame, stylized: Frame) -> None:
    assert with_strength(frame, stylized, 0) is frame
    assert with_strength(frame, stylized, 1) is stylized
    for strength in (0.001, 0.3, 0.999):
        exact = frame + strength * (stylized.astype(float) - frame)
        assert np.abs(with_strength(frame, stylized, strength) - exact).max() <= 0.51


def test_split_shows_both_sides_and_a_line(frame: Frame, stylized: Frame) -> None:
    got = split(frame, stylized)
    left = round(frame.shape[1] / 2)
    np.testing.assert_array_equal(got[:, :left], frame[:, :left])
    assert (got[:, left] == 255).all()
    np.testing.assert_array_equal(got[:, left + 1 :], stylized[:, left + 1 :])


def test_line_width_grows_with_the_frame() -> None:
    large = np.zeros((4, 3840, 3), np.uint8)
    [columns] = np.nonzero(split(large, large)[0, :, 0])
    assert columns.tolist() == list(range(1920, 1926))


def test_order_is_colors_strength_split(frame: Frame, stylized: Frame) -> None:
    copies = frame.copy(), stylized.copy()
    got = PostProcessing(preserve_colors=True, compare=True).apply(frame, stylized, 0.6)
    mixed = with_strength(frame, with_original_colors(frame, stylized), 0.6)
    np.testing.assert_array_equal(got, split(frame, mixed))
    assert PostProcessing().apply(frame, stylized, 1) is stylized
    assert PostProcessing(preserve_colors=True).apply(frame, stylized, 0) is frame
    np.testing.assert_array_equal(frame, copies[0])
    np.testing.assert_array_equal(stylized, copies[1])
