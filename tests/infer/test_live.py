"""A real window under a virtual X server, with real key presses."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from clips import write_clip
from PIL import Image, ImageGrab
from tools import require_tools

from nst_rt.errors import CameraError, InputError
from nst_rt.infer.live import WINDOW, show_webcam
from nst_rt.style_model import StyleModel

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
        ["Xvfb", "-displayfd", str(write), "-screen", "0", "1000x700x24"],
        pass_fds=[write],
        stderr=subprocess.DEVNULL,
    )
    os.close(write)
    with os.fdopen(read) as pipe:
        yield f":{pipe.readline().strip()}"
    server.terminate()
    server.wait()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A quarter of an hour at 5 frames per second, longer than any test watches it."""
    pts = range(0, 12800 * 60 * 15, 2560)
    path = tmp_path_factory.mktemp("clip") / "in.mp4"
    return write_clip(path, pts=pts, rate=Fraction(5), size=(320, 240))


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
        return done.stdout.strip()

    return run


def watch(screen: str, code: str, *arguments: object) -> subprocess.Popen[str]:
    """Run a program on the virtual screen."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "DISPLAY": screen},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


CLI = "import sys; from nst_rt.cli import main; sys.exit(main(sys.argv[1:]))"
AFTER_PYAV = (
    "import sys, av, nst_rt; "
    "nst_rt.show_webcam(sys.argv[1], style=sys.argv[2], snapshots=sys.argv[3])"
)


@pytest.fixture(params=["command line", "after PyAV was imported"])
def program(
    request: pytest.FixtureRequest, screen: str, clip: Path, model: Path, tmp_path: Path
) -> Iterator[subprocess.Popen[str]]:
    if request.param == "command line":
        options = ["webcam", clip, "--style", model, "--snapshots", tmp_path]
        running = watch(screen, CLI, *options)
    else:
        running = watch(screen, AFTER_PYAV, clip, model, tmp_path)
    yield running
    running.kill()
    running.wait()


def test_the_window_shows_saves_and_quits(
    program: subprocess.Popen[str], screen: str, xdotool: Callable[..., str], tmp_path: Path
) -> None:
    def window() -> str | None:
        assert program.poll() is None, program.communicate()
        return xdotool("search", "--name", f"^{WINDOW}$") or None

    handle = wait_for(window, "a window").splitlines()[-1]

    def picture() -> np.ndarray | None:
        assert program.poll() is None, program.communicate()
        shot = np.asarray(ImageGrab.grab(xdisplay=screen).convert("RGB"))
        return shot if shot.std() > 5 else None

    wait_for(picture, "a picture in the window")

    def snapshot_taken() -> Path | None:
        # Pressed until it is heard: a window that is not drawn yet takes no keys.
        xdotool("windowfocus", handle, "key", "s")
        return next(tmp_path.glob("nst-rt-*.png"), None)

    snapshot = wait_for(snapshot_taken, "a snapshot")
    with Image.open(snapshot) as saved:
        saved.load()
        assert saved.size == (320, 240)
        picture_saved = np.asarray(saved)
    shot = np.asarray(ImageGrab.grab(xdisplay=screen).convert("RGB"))
    # What was saved is what is shown, but for the line of text and a film that goes on.
    assert abs(shot[60:200, 40:280].mean() - picture_saved[60:200, 40:280].mean()) < 40

    def quitted() -> int | None:
        xdotool("windowfocus", handle, "key", "q")
        return program.poll()

    assert wait_for(quitted, "the end") == 0
    out, err = program.communicate()
    assert err == ""
    assert "Traceback" not in out


def test_escape_quits(screen: str, clip: Path, model: Path, xdotool: Callable[..., str]) -> None:
    program = watch(screen, CLI, "webcam", clip, "--style", model)
    found = wait_for(lambda: xdotool("search", "--name", f"^{WINDOW}$") or None, "a window")

    def escape() -> int | None:
        xdotool("windowfocus", found.splitlines()[-1], "key", "Escape")
        return program.poll()

    assert wait_for(escape, "the end") == 0
    assert program.communicate()[1] == ""


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


def test_closing_the_window_quits(
    screen: str, clip: Path, model: Path, xdotool: Callable[..., str]
) -> None:
    program = watch(screen, CLI, "webcam", clip, "--style", model)
    found = wait_for(lambda: xdotool("search", "--name", f"^{WINDOW}$") or None, "a window")

    def closed() -> int | None:
        watch(screen, CLOSE, found.splitlines()[-1]).wait()
        return program.poll()

    assert wait_for(closed, "the end") == 0
    assert program.communicate()[1] == ""


def test_a_screen_that_does_not_answer_is_an_error(
    monkeypatch: pytest.MonkeyPatch, clip: Path
) -> None:
    monkeypatch.setenv("DISPLAY", ":4711")
    with pytest.raises(CameraError, match="no screen"):
        show_webcam(str(clip))


def test_a_film_that_ends_closes_the_window(screen: str, model: Path, tmp_path: Path) -> None:
    short = write_clip(tmp_path / "in.mp4")
    program = watch(screen, CLI, "webcam", short, "--style", model)
    _, err = program.communicate(timeout=PATIENCE)
    assert (program.returncode, err) == (0, "")


def test_errors_are_one_line_also_after_pyav(screen: str, model: Path, tmp_path: Path) -> None:
    code = (
        "import sys, av, nst_rt\n"
        "try: nst_rt.show_webcam(sys.argv[1], style=sys.argv[2])\n"
        "except nst_rt.StyleTransferError as error: print(error)"
    )
    missing = tmp_path / "nothing.mp4"
    out, err = watch(screen, code, missing, model).communicate(timeout=PATIENCE)
    assert out == f"{missing}: no such file\n"
    assert err == ""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems always have a screen")
def test_no_screen_is_an_error(monkeypatch: pytest.MonkeyPatch, clip: Path) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(CameraError, match="DISPLAY is not set"):
        show_webcam(str(clip))


def test_a_missing_folder_for_snapshots(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clip: Path
) -> None:
    monkeypatch.setenv("DISPLAY", ":0")
    with pytest.raises(InputError, match="no such folder"):
        show_webcam(str(clip), snapshots=tmp_path / "nowhere")


def test_pyav_after_opencv_does_not_hang_a_window(screen: str) -> None:
    code = (
        "import nst_rt.infer, av, cv2, numpy as np\n"
        "cv2.imshow('w', np.zeros((40, 40, 3), np.uint8)); cv2.waitKey(50); print('shown')"
    )
    out, _ = watch(screen, code).communicate(timeout=PATIENCE)
    assert out == "shown\n"
