"""The window itself: its size, text, pointer and messages, on a virtual screen."""

import ctypes
import socket
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from clips import write_clip
from tools import missing_tool
from windows import (
    CLEAR,
    CLI,
    MIDDLE,
    OTHER,
    PATIENCE,
    SAME,
    SIZE,
    Session,
    difference,
    start_python,
    wait_for,
)

from nst_rt.images.io import Frame
from nst_rt.infer.adaptive import LiveStyle
from nst_rt.infer.blend import StyleSet
from nst_rt.infer.frame_stylizer import FrameStylizer
from nst_rt.infer.live.controls import LiveControls
from nst_rt.infer.live.overlay import Panel, draw, letterboxed
from nst_rt.infer.live.session import HELP
from nst_rt.infer.live.window import TITLE
from nst_rt.infer.stylizer import Stylizer
from nst_rt.infer.timeline import load_blend
from nst_rt.models.style_model import StyleModel

SCREEN = (1000, 700)
ALL = np.s_[:, :]
TEXT_FREE = np.s_[100:500, :]


@pytest.fixture
def stylized(two_styles: StyleModel, still: Frame) -> Callable[[str], Frame]:
    def of(style: str) -> Frame:
        return FrameStylizer(Stylizer(two_styles, style, backend="openvino")).stylize(still, 0)

    return of


def with_panel(image: Frame, panel: Panel) -> Frame:
    drawn = image.copy()
    draw(drawn, [panel])
    return drawn


@pytest.mark.slow
def test_image_and_text_in_a_window_of_another_shape(
    start: Callable[..., Session], model: Path, stream: str, stylized: Callable[[str], Frame]
) -> None:
    session = start(stream, "--style", model, "--fps", 0)
    session.see_image("the style", stylized("waves"))
    session.resize(960, 600)
    expected = letterboxed(stylized("waves"), (960, 600))
    shot = session.see("bars", lambda shot: difference(shot, expected, TEXT_FREE) < SAME)
    assert shot[TEXT_FREE][:, :80].max() == 0  # black, as on the right
    assert shot[TEXT_FREE][:, -80:].max() == 0
    session.press("o")
    session.see("no status line", lambda shot: difference(shot, expected, ALL) < 0.9 * SAME)
    session.press("h")
    # The text is as sharp as if it had been drawn on an image of this size.
    table = with_panel(expected, HELP)
    session.see("the table", lambda shot: difference(shot, table, ALL) < SAME)
    session.press("h")
    session.see("no table", lambda shot: difference(shot, expected, ALL) < 0.9 * SAME)
    style_set: StyleSet = load_blend(str(model), with_gallery=True)[0]
    controls = LiveControls(style_set.titles, LiveStyle({"waves": 1.0}))
    pages = []
    for _ in range(2):
        controls.turn_page(1)
        pages.append(with_panel(expected, Panel(controls.page, "list")))

    def turned() -> bool | None:
        session.press("Tab")  # each time, since titles are shown for a moment
        shot = session.shot()
        return any(difference(shot, page, ALL) < SAME for page in pages) or None

    wait_for(turned, "the titles of a page")
    assert session.end("q") == 0


@pytest.mark.slow
@pytest.mark.usefixtures("window_manager")
def test_escape_leaves_full_screen_and_then_quits(
    start: Callable[..., Session], model: Path, stream: str, stylized: Callable[[str], Frame]
) -> None:
    session = start(stream, "--style", model, "--fps", 0)
    wait_for(lambda: session.size() == SIZE or None, "the window")

    def filled() -> bool | None:
        # Pressed until it is heard: a window that is not drawn yet takes no keys.
        session.press("f")
        time.sleep(1)
        return session.size() == SCREEN or None

    wait_for(filled, "a full screen")
    expected = letterboxed(stylized("waves"), SCREEN)
    shot = session.see("bars", lambda shot: difference(shot, expected, TEXT_FREE) < SAME)
    assert shot[TEXT_FREE][:, :33].max() == 0
    session.press("Escape")
    wait_for(lambda: session.size() == SIZE or None, "the window")
    assert session.end("Escape") == 0
    assert session.program.communicate()[1] == ""


@pytest.mark.slow
@pytest.mark.usefixtures("window_manager")
def test_styles_rotate_in_full_screen(
    start: Callable[..., Session], model: Path, stream: str, stylized: Callable[[str], Frame]
) -> None:
    styles = [letterboxed(stylized(style), SCREEN) for style in ("waves", "night")]
    session = start(stream, "--style", model, "--fps", 0, "--fullscreen", "--rotate", 4)
    wait_for(lambda: session.size() == SCREEN or None, "a full screen")
    for style in styles:
        session.see("style", lambda shot, style=style: difference(shot, style, TEXT_FREE) < OTHER)
    assert session.end("q") == 0


@pytest.mark.slow
def test_file_loops_in_a_window(screen: str, model: Path, tmp_path: Path) -> None:
    file = write_clip(tmp_path / "in.mp4")  # one second
    options = ["--loop", "--duration", "2.5", "--style", model, "--backend", "openvino"]
    out, err = start_python(screen, CLI, "webcam", file, *options).communicate(timeout=PATIENCE)
    assert err == ""
    assert float(out.split(" in ")[1].split()[0]) >= 2.5


@pytest.mark.slow
def test_window_says_that_a_camera_is_being_opened(
    start: Callable[..., Session], xdotool: Callable[..., str], model: Path
) -> None:
    server = socket.create_server(("127.0.0.1", 0))  # answers nothing
    url = f"http://127.0.0.1:{server.getsockname()[1]}/camera"
    session = start(url, "--style", model, "--size", "320x240")
    message = with_panel(
        np.zeros((SIZE[1], SIZE[0], 3), np.uint8), Panel(((f"Opening {url} ...",),), "middle")
    )
    shot = session.see("a message", lambda shot: difference(shot, message, ALL) < 1)
    assert shot[MIDDLE].max() > 200
    assert shot[CLEAR].max() == 0
    session.press("q")
    wait_for(lambda: not xdotool("search", "--name", f"^{TITLE}$") or None, "no window")
    assert session.program.wait(PATIENCE) == 0  # once the attempt to open it is given up
    server.close()


# A former style is shown for as long as the network of the chosen one is compiled; here forever.
PREPARING = """
import time
from itertools import repeat
from pathlib import Path
import numpy as np
from nst_rt.infer.adaptive import LiveStyle
from nst_rt.infer.live.controls import LiveControls
from nst_rt.infer.live.session import LiveFrame, LiveSession
from nst_rt.infer.live.window import Window
gray = np.full((240, 320, 3), 128, np.uint8)
controls = LiveControls({"scream": "Der Schrei für Öl"}, LiveStyle({"scream": 1.0}))
frame = LiveFrame(gray, 0, backend="torch", is_former=True)
with Window() as window:
    window.open(gray)
    LiveSession(controls, window, [], folder=Path(".")).run(
        frame for _ in repeat(None) if not time.sleep(0.05)
    )
"""


@pytest.mark.slow
def test_window_says_that_a_style_is_being_prepared(
    screen: str, xdotool: Callable[..., str]
) -> None:
    session = Session(start_python(screen, PREPARING), screen, xdotool)
    gray = np.full((SIZE[1], SIZE[0], 3), 128, np.uint8)
    message = with_panel(gray, Panel((("Preparing Der Schrei für Öl ...",),)))
    area = np.s_[:200, :]  # above the status line
    shot = session.see("a message", lambda shot: difference(shot, message, area) < 0.5)
    assert shot[area].max() > 200
    assert session.end("q") == 0


class _Cursor(ctypes.Structure):
    """`XFixesCursorImage`, as far as it is needed."""

    _fields_ = (
        *((name, ctypes.c_short) for name in ("x", "y")),
        *((name, ctypes.c_ushort) for name in ("width", "height", "xhot", "yhot")),
        ("serial", ctypes.c_ulong),
        ("pixels", ctypes.POINTER(ctypes.c_ulong)),  # ARGB
    )


@pytest.fixture
def pointer_is_seen(screen: str) -> Callable[[], bool]:
    """Tells whether the pointer can be seen, wherever it is on the screen."""
    try:
        x11, fixes = ctypes.CDLL("libX11.so.6"), ctypes.CDLL("libXfixes.so.3")
    except OSError:
        missing_tool("libXfixes is not installed")
    x11.XOpenDisplay.restype = ctypes.c_void_p
    fixes.XFixesGetCursorImage.restype = ctypes.POINTER(_Cursor)
    display = ctypes.c_void_p(x11.XOpenDisplay(screen.encode()))
    numbers = (ctypes.c_int(), ctypes.c_int())
    fixes.XFixesQueryExtension(display, *(ctypes.byref(number) for number in numbers))

    def is_seen() -> bool:
        cursor = fixes.XFixesGetCursorImage(display).contents
        return any(cursor.pixels[: cursor.width * cursor.height])

    return is_seen


@pytest.mark.slow
def test_pointer_hides_over_the_window_while_it_is_still(
    start: Callable[..., Session],
    xdotool: Callable[..., str],
    pointer_is_seen: Callable[[], bool],
    model: Path,
    stream: str,
) -> None:
    session = start(stream, "--style", model)
    xdotool("mousemove", "900", "600")
    assert pointer_is_seen()
    xdotool("mousemove", "100", "100")
    wait_for(lambda: not pointer_is_seen() or None, "no pointer")

    def moved() -> bool | None:
        xdotool("mousemove_relative", "2", "0")
        return pointer_is_seen() or None

    wait_for(moved, "the pointer")
    wait_for(lambda: not pointer_is_seen() or None, "no pointer")
    xdotool("mousemove", "900", "600")
    assert pointer_is_seen()  # outside of the window at once
    assert session.end("q") == 0
