"""Sessions with a real window under a virtual X server, and real key presses."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from clips import write_clip
from PIL import Image
from streams import decoded, free_port, mjpeg_stream
from windows import (
    CLEAR,
    CLI,
    CORNER,
    MIDDLE,
    OTHER,
    PATIENCE,
    SAME,
    SIZE,
    STATUS,
    WORDS,
    Session,
    difference,
    start_python,
    wait_for,
)

from nst_rt.errors import CameraError
from nst_rt.infer.frame_stylizer import FrameStylizer
from nst_rt.infer.learning.learn import COMPLETE
from nst_rt.infer.live.webcam import stylize_webcam
from nst_rt.infer.postprocess import split, with_original_colors
from nst_rt.infer.stylizer import Stylizer
from nst_rt.learning.library import Library
from nst_rt.learning.request import LearningRequest
from nst_rt.models.style_model import StyleModel


def has_red_dot(shot: np.ndarray) -> bool:
    blue, green, red = np.moveaxis(shot[CORNER], -1, 0)
    return bool(((red > 200) & (blue < 110) & (green < 110)).sum() > 20)


@pytest.mark.slow
def test_keys_do_what_the_help_says(
    start: Callable[..., Session],
    two_styles: StyleModel,
    model: Path,
    still: np.ndarray,
    tmp_path: Path,
) -> None:
    stylizer = Stylizer(two_styles, "waves", backend="openvino")
    frame_stylizer = FrameStylizer(stylizer)

    def stylized(style: str | dict[str, float], strength: float = 1.0) -> np.ndarray:
        stylizer.set_style(style, strength=strength)
        return frame_stylizer.stylize(still, 0)

    waves = stylized("waves")  # compiles for the session too
    port = free_port()
    with mjpeg_stream(port, still) as url:
        session = start(url, "--style", model, "--snapshots", tmp_path, "--fps", 0)
        shot = session.see_image("the first style", waves)
        assert difference(shot, waves, STATUS) > OTHER  # which is written there
        steps: list[tuple[str, np.ndarray]] = [
            ("2", stylized("night")),
            ("Left", stylized("waves")),
            ("Right", stylized("night")),
            ("b", stylized({"night": 0.5, "waves": 0.5})),
            ("Up", stylized({"night": 0.4, "waves": 0.6})),
            ("b", stylized("waves")),
            ("minus", stylized("waves", 0.9)),
            ("plus", stylized("waves")),
            ("p", with_original_colors(still, waves)),
            ("p", waves),
            ("c", split(still, waves)),
            ("c", waves),
        ]
        for key, image in steps:
            session.press(key)
            if key == "Up":  # changes the image by too little, but also the status line
                session.see("new text", lambda new, old=shot: difference(new, old, STATUS) > WORDS)
            shot = session.see_image(f"what {key} does", image)
        session.press("o")
        session.see("no text", lambda shot: difference(shot, waves, STATUS) < SAME)
        session.press("h")
        session.see("the help", lambda shot: difference(shot, waves, CLEAR) > OTHER)
        session.press("h")
        session.see_image("no help", waves)
        session.press("s")
        snapshot = wait_for(lambda: next(tmp_path.glob("nst-rt-*.png"), None), "a snapshot")
        with Image.open(snapshot) as saved:
            assert np.abs(np.asarray(saved)[..., ::-1].astype(float) - waves).mean() < SAME
        session.press("r")
        session.see("REC", has_red_dot)
        session.press("r")
        session.see("no REC", lambda shot: not has_red_dot(shot))
    # The stream is gone: the last frame stays, with a message.
    session.see("a message", lambda shot: difference(shot, waves, MIDDLE) > OTHER)
    session.see_image("the last frame", waves)
    session.press("o")
    session.see("the lines again", lambda shot: difference(shot, waves, STATUS) > OTHER)
    with mjpeg_stream(port, np.full_like(still, 128)):
        gray = frame_stylizer.stylize(np.full_like(still, 128), 0)
        session.see_image("the stream again", gray)
        session.see("no message", lambda shot: difference(shot, gray, MIDDLE) < SAME)
    session.see("the message again", lambda shot: difference(shot, gray, MIDDLE) > OTHER)
    assert session.end("q") == 0
    out, err = session.program.communicate()
    assert err == ""
    [recording] = tmp_path.glob("nst-rt-*.mp4")
    assert out.splitlines()[1:] == [str(snapshot), str(recording)]
    assert decoded(recording)[0].shape == (SIZE[1], SIZE[0], 3)


@pytest.mark.slow
def test_style_image_is_learned_in_the_window(
    start: Callable[..., Session], stream: str, still: np.ndarray, painting: Path, tmp_path: Path
) -> None:
    file = tmp_path / "learned.safetensors"
    session = start(stream, "--style-image", painting, "--style-size", 256, "--save-style", file)
    # The camera's own frames until then.
    session.see("frames in a style", lambda shot: difference(shot, still, CLEAR) > OTHER)
    key = LearningRequest.of(painting, style_size=256).key
    library = Library()
    wait_for(lambda: library.find(key), "what was learned")

    def kept() -> bool | None:
        session.press("k")
        known = library.find(key)
        return (known and known.training[COMPLETE]) or None

    wait_for(kept, "the end of learning")
    assert session.end("q") == 0
    _, err = session.program.communicate()
    assert "learned swirls" in err
    assert StyleModel.load(file).training["crops"] > 0


# What the close button of a window manager sends (ICCCM 4.2.8); the virtual screen has none.
CLOSE = """
import ctypes, struct, sys
x11 = ctypes.CDLL("libX11.so.6")
x11.XOpenDisplay.restype = ctypes.c_void_p
x11.XInternAtom.restype = ctypes.c_ulong
display = ctypes.c_void_p(x11.XOpenDisplay(None))
window = int(sys.argv[1])
protocols, delete = (x11.XInternAtom(display, n, 0) for n in (b"WM_PROTOCOLS", b"WM_DELETE_WINDOW"))
# XClientMessageEvent: type, serial, send_event, display, window, message_type, format, data
message = struct.pack("i4xLi4xPLLi4x5l", 33, 0, 0, 0, window, protocols, 32, delete, 0, 0, 0, 0)
event = ctypes.create_string_buffer(message, 192)
x11.XSendEvent(display, ctypes.c_ulong(window), 0, ctypes.c_long(0), event)
x11.XCloseDisplay(display)
"""


@pytest.mark.slow
@pytest.mark.parametrize("by", ["button", "ctrl-c"])
def test_closing_the_window_or_ctrl_c_completes_the_recording(
    start: Callable[..., Session], screen: str, stream: str, model: Path, tmp_path: Path, by: str
) -> None:
    recording = tmp_path / "out.mp4"
    session = start(stream, "--style", model, "--record", recording)
    wait_for(lambda: next(tmp_path.iterdir(), None), "a recording")

    def closed() -> int | None:
        start_python(screen, CLOSE, session.handle).wait()
        return session.program.poll()

    if by == "button":
        wait_for(closed, "the end")
    else:
        os.killpg(session.program.pid, signal.SIGINT)  # as a terminal does
    out, err = session.program.communicate(timeout=PATIENCE)
    assert (session.program.returncode, err) == (0, "")
    assert out.splitlines()[1:] == [str(recording)]
    assert decoded(recording)[0].shape == (SIZE[1], SIZE[0], 3)
    assert list(tmp_path.iterdir()) == [recording]


# Xlib counts the event that this causes, unless it was told to leave events alone by the function
# that Qt would find.
EVENTS = """
import ctypes
from nst_rt.infer.live.window import Window
Window()
x11, found = ctypes.CDLL("libX11.so.6"), ctypes.CDLL(None)
x11.XOpenDisplay.restype = ctypes.c_void_p
x11.XInternAtom.restype = x11.XDefaultRootWindow.restype = ctypes.c_ulong
PROPERTY_CHANGES, XCB_READS, AFTER_READING, STRING = 1 << 22, 1, 1, 31
for owned in (False, True):
    display = ctypes.c_void_p(x11.XOpenDisplay(None))
    if owned:
        found.XSetEventQueueOwner(display, XCB_READS)
    root = ctypes.c_ulong(x11.XDefaultRootWindow(display))
    x11.XSelectInput(display, root, ctypes.c_long(PROPERTY_CHANGES))
    atom = ctypes.c_ulong(x11.XInternAtom(display, b"NST_RT_TEST", 0))
    x11.XChangeProperty(display, root, atom, ctypes.c_ulong(STRING), 8, 0, b"x", 1)
    x11.XSync(display, 0)
    print(x11.XEventsQueued(display, AFTER_READING))
"""


@pytest.mark.slow
def test_xlib_takes_no_events_from_the_window(screen: str) -> None:
    assert start_python(screen, EVENTS).communicate() == ("1\n0\n", "")


@pytest.mark.slow
def test_file_that_ends_closes_the_window(screen: str, model: Path, tmp_path: Path) -> None:
    file = write_clip(tmp_path / "in.mp4")
    program = start_python(screen, CLI, "webcam", file, "--style", model, "--backend", "openvino")
    _, err = program.communicate(timeout=PATIENCE)
    assert (program.returncode, err) == (0, "")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems always have a screen")
@pytest.mark.parametrize("display", [None, ":4711"])
def test_missing_screen(monkeypatch: pytest.MonkeyPatch, film: Path, display: str | None) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    if display:
        monkeypatch.setenv("DISPLAY", display)
    with pytest.raises(CameraError, match="DISPLAY"):
        stylize_webcam(str(film))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("imports", "error"),
    [
        ("import nst_rt.infer, av, cv2", ""),
        ("import av", "CameraError"),
        ("import cv2, av", ""),
    ],
)
def test_import_order_of_opencv_and_pyav(screen: str, imports: str, error: str) -> None:
    """A window works after our own imports; where it would hang there is an error."""
    code = f"""{imports}
import numpy as np
from nst_rt.infer.live.window import Window
with Window() as window:
    window.open(np.zeros((40, 40, 3), np.uint8))
    print(window.closed)
"""
    out, err = start_python(screen, code).communicate(timeout=PATIENCE)
    assert out == ("" if error else "False\n")
    assert error in err
