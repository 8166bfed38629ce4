"""Sessions with a real window under a virtual X server, and real key presses."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from clips import write_clip
from PIL import Image, ImageGrab
from streams import decoded, free_port, mjpeg_stream
from tools import require_tools

from nst_rt.errors import CameraError
from nst_rt.infer.frame_stylizer import FrameStylizer
from nst_rt.infer.live.webcam import stylize_webcam
from nst_rt.infer.live.window import TITLE
from nst_rt.infer.postprocess import split, with_original_colors
from nst_rt.infer.stylizer import Stylizer
from nst_rt.models.style_model import StyleModel

T = TypeVar("T")
# Not a limit on speed: what has not happened by then on the busiest machine never will.
PATIENCE = 300.0

SIZE = (320, 240)
# Places in the window: the status lines, an area free of text, the middle, the lower right corner.
TOP, CLEAR = np.s_[10:20, 10:200], np.s_[60:100, 10:310]
MIDDLE, CORNER = np.s_[118:122, 100:220], np.s_[205:235, 200:310]
# Mean difference in levels. JPEG and the rounding of backends account for 1, the smallest change by
# a key for 4. Each must be seen before the next key is pressed: of two keys that arrive at once
# OpenCV knows the last only.
SAME = 2.5
OTHER = 6.0  # from here on it is another image
WORDS = 1.0  # from here on the text differs

CLI = "import sys; from nst_rt.cli import main; sys.exit(main(sys.argv[1:]))"


def wait_for(condition: Callable[[], T | None], what: str) -> T:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if (result := condition()) is not None:
            return result
        time.sleep(0.1)
    raise AssertionError(f"waited {PATIENCE:.0f} s for {what}")


def difference(shot: np.ndarray, image: np.ndarray, place: tuple[slice, slice]) -> float:
    return float(np.abs(shot[place] - image[place].astype(float)).mean())


def has_red_dot(shot: np.ndarray) -> bool:
    blue, green, red = np.moveaxis(shot[CORNER], -1, 0)
    return bool(((red > 200) & (blue < 110) & (green < 110)).sum() > 20)


@pytest.fixture(scope="module")
def screen() -> Iterator[str]:
    """Name of a virtual screen."""
    require_tools("Xvfb", "xdotool")
    read, write = os.pipe()
    server = subprocess.Popen(
        # Without -noreset it restarts, and drops new clients, when its last client leaves.
        # Without -r a key that a busy machine is late to release repeats.
        ["Xvfb", "-noreset", "-r", "-displayfd", str(write), "-screen", "0", "1000x700x24"],
        pass_fds=[write],
        stderr=subprocess.DEVNULL,
    )
    os.close(write)
    with os.fdopen(read) as pipe:
        yield f":{pipe.readline().strip()}"
    server.terminate()
    server.wait()


@pytest.fixture
def xdotool(screen: str) -> Callable[..., str]:
    def run(*arguments: str) -> str:
        done = subprocess.run(
            ["xdotool", *arguments],
            env={**os.environ, "DISPLAY": screen},
            capture_output=True,
            text=True,
            check=False,
        )
        print(done.stderr, end="")  # shown if the test fails
        return done.stdout.strip()

    return run


def start_python(screen: str, code: str, *arguments: object) -> subprocess.Popen[str]:
    """Run a program on the virtual screen."""
    return subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "-c", code, *map(str, arguments)],
        env={**os.environ, "DISPLAY": screen},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )


class Session:
    """A window on the virtual screen; without a window manager it lies in the upper left."""

    def __init__(
        self, program: subprocess.Popen[str], screen: str, xdotool: Callable[..., str]
    ) -> None:
        self.program = program
        self._screen = screen
        self._xdotool = xdotool
        self.handle = wait_for(self._window, "a window")

    def _window(self) -> str | None:
        assert self.program.poll() is None, self.program.communicate()
        found = self._xdotool("search", "--name", f"^{TITLE}$").splitlines()
        return found[-1] if found else None

    def shot(self) -> np.ndarray:
        """What the window shows, BGR."""
        shown = ImageGrab.grab((0, 0, *SIZE), xdisplay=self._screen).convert("RGB")
        return np.asarray(shown)[..., ::-1].astype(float)

    def press(self, key: str) -> None:
        self._xdotool("windowfocus", self.handle, "key", key)

    def size(self) -> str:
        return self._xdotool("getwindowgeometry", self.handle).split()[-1]

    def see(self, what: str, condition: Callable[[np.ndarray], bool]) -> np.ndarray:
        """Wait until a condition holds for what the window shows."""

        def seen() -> np.ndarray | None:
            assert self.program.poll() is None, self.program.communicate()
            shot = self.shot()
            return shot if condition(shot) else None

        try:
            return wait_for(seen, what)
        except AssertionError as error:
            self.program.send_signal(signal.SIGABRT)  # prints what each thread is doing
            raise AssertionError(f"{error}; {self.program.communicate()}") from None

    def see_image(self, what: str, image: np.ndarray) -> np.ndarray:
        """Wait until the window shows an image, where no text is drawn over it."""
        return self.see(what, lambda shot: difference(shot, image, CLEAR) < SAME)

    def end(self, key: str) -> int:
        """Exit code after a key."""

        def ended() -> int | None:
            self.press(key)
            return self.program.poll()

        return wait_for(ended, "the end")


@pytest.fixture(scope="module")
def still(astronaut: Path) -> np.ndarray:
    """A scene without motion."""
    with Image.open(astronaut) as photo:
        return np.asarray(photo.convert("RGB").resize(SIZE))[..., ::-1].copy()


@pytest.fixture
def stream(still: np.ndarray) -> Iterator[str]:
    """URL of a stream of it."""
    with mjpeg_stream(free_port(), still) as url:
        yield url


@pytest.fixture
def start(screen: str, xdotool: Callable[..., str]) -> Iterator[Callable[..., Session]]:
    """Starts sessions of the command line, which end with the test."""
    programs = []

    def started(*arguments: object) -> Session:
        command = ["webcam", *arguments, "--backend", "openvino"]
        programs.append(start_python(screen, CLI, *command))
        return Session(programs[-1], screen, xdotool)

    yield started
    for program in programs:
        program.kill()
        program.communicate()


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
        assert difference(shot, waves, TOP) > OTHER  # which is written there
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
                session.see("new text", lambda new, old=shot: difference(new, old, TOP) > WORDS)
            shot = session.see_image(f"what {key} does", image)
        session.press("o")
        session.see("no text", lambda shot: difference(shot, waves, TOP) < SAME)
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
    session.see("the lines again", lambda shot: difference(shot, waves, TOP) > OTHER)
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
def test_f_fills_the_screen_and_escape_quits(
    start: Callable[..., Session], screen: str, stream: str, model: Path
) -> None:
    require_tools("openbox")  # only a window manager can
    manager = subprocess.Popen(
        ["openbox"], env={**os.environ, "DISPLAY": screen}, stderr=subprocess.DEVNULL
    )
    try:
        session = start(stream, "--style", model)
        assert session.size() != "1000x700"

        def filled() -> str | None:
            # Pressed until it is heard: a window that is not drawn yet takes no keys.
            session.press("f")
            return "full" if session.size() == "1000x700" else None

        wait_for(filled, "a full screen")
        assert session.end("Escape") == 0
        assert session.program.communicate()[1] == ""
    finally:
        manager.terminate()
        manager.wait()


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
