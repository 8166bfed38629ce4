import numpy as np
import pytest

from nst_rt.images.io import Frame
from nst_rt.infer.live import overlay
from nst_rt.infer.live.overlay import Panel, Place, draw, letterboxed, status_line
from nst_rt.infer.live.session import HELP

SIZES = [(320, 240), (640, 480), (1280, 720), (1920, 1080)]


def gray(size: tuple[int, int]) -> Frame:
    return np.full((size[1], size[0], 3), 128, np.uint8)


def changed(size: tuple[int, int], *panels: Panel) -> np.ndarray:
    """Where panels change an image of a width and height."""
    image = gray(size)
    draw(image, panels)
    return np.asarray((image != 128).any(axis=2))


@pytest.mark.parametrize(
    ("size", "rows", "columns"),
    [
        ((64, 48), slice(0, 48), slice(0, 64)),
        ((160, 48), slice(0, 48), slice(48, 112)),
        ((128, 128), slice(16, 112), slice(0, 128)),
        ((32, 48), slice(12, 36), slice(0, 32)),
    ],
)
def test_image_keeps_its_shape_between_black_bars(
    size: tuple[int, int], rows: slice, columns: slice
) -> None:
    image = gray((64, 48))
    expected = np.zeros((size[1], size[0], 3), np.uint8)
    expected[rows, columns] = 128
    boxed = letterboxed(image, size)
    np.testing.assert_array_equal(boxed, expected)
    boxed[:] = 0
    assert image.min() == 128  # which may be another one's


@pytest.mark.parametrize("size", SIZES)
def test_status_line_is_low_and_leaves_the_middle_free(size: tuple[int, int]) -> None:
    parts = ["The Starry Night, strength 80%", "29.8 fps", "31 ms", "1280x720", "openvino " * 4]
    line = status_line(parts, size)
    assert line.startswith(parts[0])
    assert (parts[-1] in line) == (size[0] >= 1280)  # as much as there is room for
    mask = changed(size, Panel(((line,),), "status"))
    rows = np.flatnonzero(mask.any(axis=1))
    assert rows[0] > 0.85 * size[1]
    assert rows[-1] < size[1] - 1


@pytest.mark.parametrize("size", SIZES[1:])
def test_help_is_a_table_that_fits_and_can_be_read(size: tuple[int, int]) -> None:
    rows = np.flatnonzero(changed(size, HELP).any(axis=1))
    assert rows[0] > 0
    assert rows[-1] < size[1] - 1
    lines = len(HELP.rows)
    assert len(rows) / lines > 14  # pixels from line to line
    columns = {len(row) for row in HELP.rows}
    assert columns == {1, 2}  # headings, keys with their meanings


def test_letters_beyond_ascii_are_drawn() -> None:
    words = ["Night Cafe", "Night Café", "Night Caf?"]
    images = []
    for each in words:
        images.append(gray((320, 240)))
        draw(images[-1], [Panel(((each,),), "list")])
    assert all((images[1] != other).any() for other in (images[0], images[2]))


@pytest.mark.parametrize("place", ["note", "middle"])
def test_long_messages_are_wrapped_into_the_window(place: Place) -> None:
    long = "no snapshot: " + 6 * "/a/folder/with/a/long/name of words"
    mask = changed((320, 240), Panel(((long,),), place))
    short = changed((320, 240), Panel((("saved",),), place))
    assert not mask[:, [0, -1]].any()
    assert mask.any(axis=1).sum() > 2 * short.any(axis=1).sum()


def test_dot_of_a_recording_is_red() -> None:
    image = gray((640, 480))
    draw(image, [Panel((("REC 0:12",),), "corner", dot=True)])
    blue, green, red = np.moveaxis(image.astype(int), -1, 0)
    found = np.argwhere((red > 200) & (green < 100) & (blue < 100))
    assert len(found) > 20
    assert found[:, 0].max() < 48  # in the upper right corner
    assert found[:, 1].min() > 480


def test_text_that_stays_is_rendered_once() -> None:
    overlay._rendered.cache_clear()
    image = gray((640, 480))
    for _ in range(5):
        draw(image, [Panel((("a note",),))])
    assert overlay._rendered.cache_info().misses == 1
