"""A real window under a virtual X server, with real key presses."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from clips import write_clip
from PIL import Image, ImageGrab
from streams import free_port, mjpeg_stream
from tools import require_tools

from nst_rt.errors import CameraError, InputError
from nst_rt.infer.live.webcam import stylize_webcam
from nst_rt.infer.live.webcam import webcam as live
from nst_rt.infer.live.window import TITLE
from nst_rt.infer.postprocess import split, with_original_colors
from nst_rt.infer.stylizer import Stylizer
from nst_rt.infer.video import VideoReader
from nst_rt.models.style_model import StyleModel

T = TypeVar("T")
# Not a limit on speed: what has not come by then, on the busiest machine, never will.
PATIENCE = 300.0


def wait_for(condition: Callable[[], T | None], what: str) -> T:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if (result := condition()) is not None:
            return result
        time.sleep(0.1)
    raise AssertionError(f"waited {PATIENCE:.0f} s for {what}")


@pytest.fixture(scope="module")
def screen() -> Iterator[str]:
    """The name of a virtual screen."""
    require_tools("Xvfb", "xdotool")
    read, write = os.pipe()
    server = subprocess.Popen(
        # Without -noreset it begins anew, and drops who connects, when its last client leaves.
        # Without -r a key that a busy machine is late to release is pressed again and again.
        ["Xvfb", "-noreset", "-r", "-displayfd", str(write), "-screen", "0", "1000x700x24"],
        pass_fds=[write],
        stderr=subprocess.DEVNULL,
    )
    os.close(write)
    with os.fdopen(read) as pipe:
        yield f":{pipe.readline().strip()}"
    server.terminate()
    server.wait()


@pytest.fixture(scope="module")
def model(two_styles: StyleModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return two_styles.save(tmp_path_factory.mktemp("model") / "two.safetensors")


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
        print(done.stderr, end="")  # for whoever reads why a test failed
        return done.stdout.strip()

    return run


def watch(screen: str, code: str, *arguments: object) -> subprocess.Popen[str]:
    """Run a program on the virtual screen."""
    return subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "-c", code, *map(str, arguments)],
        env={**os.environ, "DISPLAY": screen},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )


CLI = "import sys; from nst_rt.cli import main; sys.exit(main(sys.argv[1:]))"
AFTER_PYAV = (
    "import sys, av, nst_rt; print(nst_rt.stylize_webcam("
    "sys.argv[1], style=sys.argv[2], snapshots=sys.argv[3], size=(320, 240), mirror=True, "
    "backend='openvino', on_output=lambda said: print(said, flush=True)))"
)


class Session:
    """A window on the virtual screen, without a window manager: it lies in the upper left."""

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
        """What is seen of the window, BGR."""
        shown = ImageGrab.grab((0, 0, *SIZE), xdisplay=self._screen).convert("RGB")
        return np.asarray(shown)[..., ::-1].astype(float)

    def press(self, key: str) -> None:
        self._xdotool("windowfocus", self.handle, "key", key)

    def geometry(self) -> str:
        return self._xdotool("getwindowgeometry", self.handle).splitlines()[-1].split()[-1]

    def see(self, what: str, condition: Callable[[np.ndarray], bool]) -> np.ndarray:
        """Wait until a condition holds for what is seen."""

        def seen() -> np.ndarray | None:
            assert self.program.poll() is None, self.program.communicate()
            shot = self.shot()
            return shot if condition(shot) else None

        try:
            return wait_for(seen, what)
        except AssertionError as error:
            raise AssertionError(f"{error}; {self._state()}") from None

    def _state(self) -> str:
        """What there is to know of a session that hangs, which this ends."""
        geometry = self.geometry()
        before = self.shot()
        gray = Image.fromarray(before.mean(-1).astype(np.uint8)).resize((80, 30))
        seen = "\n".join(
            "".join(" .:-=+*#%@"[level // 26] for level in row) for row in np.array(gray)
        )
        time.sleep(2)
        moves = (self.shot() != before).any()  # the rate is written there
        # Python tells what each thread was doing; first that of a process that has the window.
        children = Path(f"/proc/{self.program.pid}/task/{self.program.pid}/children").read_text()
        for child in children.split():
            os.kill(int(child), signal.SIGABRT)
            time.sleep(2)
        self.program.send_signal(signal.SIGABRT)
        out, err = self.program.communicate()
        return f"said {out!r}\n{err}\nthe window, {geometry}, moves: {moves}\n{seen}"

    def see_picture(self, what: str, picture: np.ndarray) -> np.ndarray:
        """Wait until a picture is seen, where nothing is written over it."""
        return self.see(what, lambda shot: difference(shot, picture, CLEAR) < SAME)

    def end(self, key: str) -> int:
        def ended() -> int | None:
            self.press(key)
            return self.program.poll()

        return wait_for(ended, "the end")


SIZE = (320, 240)
# Of the window: the lines above, what is free of text, the middle, the lower right corner.
TOP, CLEAR = np.s_[10:20, 10:200], np.s_[60:100, 10:310]
MIDDLE, CORNER = np.s_[118:122, 100:220], np.s_[205:235, 200:310]
# Levels; JPEG and the rounding of engines take 1, the least change by a key 4. Each must be seen
# before the next key is pressed: of two keys that come at once OpenCV knows the last only.
SAME = 2.5
OTHER = 6.0  # from here on it is another picture
WORDS = 1.0  # and here other words on it


def difference(shot: np.ndarray, picture: np.ndarray, part: tuple[slice, slice]) -> float:
    return float(np.abs(shot[part] - picture[part].astype(float)).mean())


@pytest.fixture(scope="module")
def still(astronaut: Path) -> np.ndarray:
    """A scene that does not move."""
    with Image.open(astronaut) as photo:
        return np.asarray(photo.convert("RGB").resize(SIZE))[..., ::-1].copy()


@pytest.fixture
def stream(still: np.ndarray) -> Iterator[str]:
    """Its URL, for as long as the test lasts."""
    with mjpeg_stream(free_port(), still) as url:
        yield url


@pytest.fixture
def start(screen: str, xdotool: Callable[..., str]) -> Iterator[Callable[..., Session]]:
    """Opens sessions, which end with the test."""
    programs = []

    def opened(code: str, *arguments: object) -> Session:
        programs.append(watch(screen, code, *arguments))
        return Session(programs[-1], screen, xdotool)

    yield opened
    for program in programs:
        program.kill()
        program.communicate()


def test_keys_do_what_the_help_says(
    start: Callable[..., Session],
    two_styles: StyleModel,
    model: Path,
    still: np.ndarray,
    tmp_path: Path,
) -> None:
    stylizer = Stylizer(two_styles, "waves", backend="openvino")

    def stylized(style: str | dict[str, float], strength: float = 1.0) -> np.ndarray:
        stylizer.set_style(style, strength=strength)
        return stylizer(still)

    waves = stylized("waves")  # compiles for the session too
    port = free_port()
    with mjpeg_stream(port, still) as url:
        options = ["--style", model, "--snapshots", tmp_path, "--backend", "openvino", "--fps", 0]
        session = start(CLI, "webcam", url, *options)
        shot = session.see_picture("the first style", waves)
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
        for key, picture in steps:
            session.press(key)
            if key == "Up":  # changes the picture by less than may be seen, and the words above it
                session.see("other words", partial(words_differ, shot))
            shot = session.see_picture(f"what {key} does", picture)
        session.press("o")
        session.see("no text", lambda shot: difference(shot, waves, TOP) < SAME)
        session.press("h")
        session.see("the help", lambda shot: difference(shot, waves, CLEAR) > OTHER)
        session.press("h")
        session.see_picture("no help", waves)
        session.press("s")
        snapshot = wait_for(lambda: next(tmp_path.glob("nst-rt-*.png"), None), "a snapshot")
        with Image.open(snapshot) as saved:
            assert np.abs(np.asarray(saved)[..., ::-1].astype(float) - waves).mean() < SAME
        session.press("r")
        session.see("REC", has_red_dot)
        session.press("r")
        session.see("no REC", lambda shot: not has_red_dot(shot))
    # The stream is gone: the last picture stays, with a message.
    session.see("a message", lambda shot: difference(shot, waves, MIDDLE) > OTHER)
    session.see_picture("the last picture", waves)
    session.press("o")
    session.see("the lines again", lambda shot: difference(shot, waves, TOP) > OTHER)
    with mjpeg_stream(port, np.full_like(still, 128)):
        gray = stylizer(np.full_like(still, 128))
        session.see_picture("the stream again", gray)
        session.see("no message", lambda shot: difference(shot, gray, MIDDLE) < SAME)
    session.see("the message again", lambda shot: difference(shot, gray, MIDDLE) > OTHER)
    assert session.end("q") == 0
    out, err = session.program.communicate()
    assert err == ""
    [recording] = tmp_path.glob("nst-rt-*.mp4")
    assert out.splitlines()[1:] == [str(snapshot), str(recording)]
    assert next(iter(VideoReader(recording))).frame.shape == (SIZE[1], SIZE[0], 3)


def words_differ(before: np.ndarray, shot: np.ndarray) -> bool:
    return difference(shot, before, TOP) > WORDS


def has_red_dot(shot: np.ndarray) -> bool:
    blue, green, red = np.moveaxis(shot[CORNER], -1, 0)
    return bool(((red > 200) & (blue < 110) & (green < 110)).sum() > 20)


# What a window manager's close button sends (ICCCM 4.2.8); there is none on the virtual screen.
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


def test_closing_the_window_quits_also_after_pyav_was_imported(
    start: Callable[..., Session], screen: str, stream: str, model: Path, tmp_path: Path
) -> None:
    session = start(AFTER_PYAV, stream, model, tmp_path)
    session.see("a picture", lambda shot: shot.std() > 5)

    def closed() -> int | None:
        watch(screen, CLOSE, session.handle).wait()
        return session.program.poll()

    assert wait_for(closed, "the end") == 0
    out, err = session.program.communicate()
    assert "LiveReport(frames=" in out
    assert err == ""


@pytest.mark.parametrize("way", ["command line", "after PyAV"])
def test_ctrl_c_finishes_what_is_recorded(
    start: Callable[..., Session], stream: str, model: Path, tmp_path: Path, way: str
) -> None:
    recording = tmp_path / "out.mp4"
    if way == "command line":
        options = ["--style", model, "--backend", "openvino", "--record", recording]
        session = start(CLI, "webcam", stream, *options)
    else:
        code = AFTER_PYAV.replace("size=", "record=sys.argv[4], size=")
        session = start(code, stream, model, tmp_path, recording)
    wait_for(lambda: next(tmp_path.iterdir(), None), "a recording")
    os.killpg(session.program.pid, signal.SIGINT)  # as a terminal does
    out, err = session.program.communicate(timeout=PATIENCE)
    assert (session.program.returncode, err) == (0, "")
    assert str(recording) in out
    assert next(iter(VideoReader(recording))).frame.shape == (SIZE[1], SIZE[0], 3)
    assert list(tmp_path.iterdir()) == [recording]


# Xlib counts the event that this makes, but not where it was told to leave events alone, by the
# function that Qt would find.
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


def test_xlib_takes_no_events_from_the_window(screen: str) -> None:
    program = watch(screen, EVENTS)
    assert program.communicate() == ("1\n0\n", "")


def test_f_fills_the_screen_and_escape_quits(
    start: Callable[..., Session], screen: str, stream: str, model: Path
) -> None:
    require_tools("openbox")  # only a window manager can
    manager = subprocess.Popen(
        ["openbox"], env={**os.environ, "DISPLAY": screen}, stderr=subprocess.DEVNULL
    )
    try:
        session = start(CLI, "webcam", stream, "--style", model, "--backend", "openvino")
        before = session.geometry()
        assert before != "1000x700"

        def filled() -> str | None:
            # Pressed until it is heard: a window that is not drawn yet takes no keys.
            session.press("f")
            return "full" if session.geometry() == "1000x700" else None

        wait_for(filled, "a full screen")
        assert session.end("Escape") == 0
        assert session.program.communicate()[1] == ""
    finally:
        manager.terminate()
        manager.wait()


def test_a_screen_that_does_not_answer_is_an_error(
    monkeypatch: pytest.MonkeyPatch, film: Path
) -> None:
    monkeypatch.setenv("DISPLAY", ":4711")
    with pytest.raises(CameraError, match="no screen"):
        stylize_webcam(str(film))


def test_a_film_that_ends_closes_the_window(screen: str, model: Path, tmp_path: Path) -> None:
    short = write_clip(tmp_path / "in.mp4")
    program = watch(screen, CLI, "webcam", short, "--style", model, "--backend", "openvino")
    _, err = program.communicate(timeout=PATIENCE)
    assert (program.returncode, err) == (0, "")


def test_errors_in_a_new_process_are_one_line(
    screen: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISPLAY", screen)
    monkeypatch.setattr(live, "windows_would_hang", lambda: True)
    missing = tmp_path / "nothing.mp4"
    with pytest.raises(CameraError) as caught:
        stylize_webcam(str(missing), style=str(model))
    assert str(caught.value) == f"{missing}: no such file"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems always have a screen")
def test_no_screen_is_an_error(monkeypatch: pytest.MonkeyPatch, film: Path) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(CameraError, match="DISPLAY is not set"):
        stylize_webcam(str(film))


def test_a_missing_folder_for_snapshots(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, film: Path
) -> None:
    monkeypatch.setenv("DISPLAY", ":0")
    with pytest.raises(InputError, match="no such folder"):
        stylize_webcam(str(film), snapshots=tmp_path / "nowhere")


def test_pyav_after_opencv_does_not_hang_a_window(screen: str) -> None:
    code = (
        "import nst_rt.infer, av, cv2, numpy as np\n"
        "cv2.imshow('w', np.zeros((40, 40, 3), np.uint8)); cv2.waitKey(50); print('shown')"
    )
    out, _ = watch(screen, code).communicate(timeout=PATIENCE)
    assert out == "shown\n"
