"""Sessions of the command line in windows on a virtual X server, and what these show."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from PIL import ImageGrab

from nst_rt.infer.live.window import TITLE

T = TypeVar("T")
# Not a limit on speed: what has not happened by then on the busiest machine never will.
PATIENCE = float(os.environ.get("NST_RT_PATIENCE", "300"))

SIZE = (320, 240)
# Places in a window of that size: the status line, an area free of text, the middle, the corner of
# the mark of a recording.
STATUS, CLEAR = np.s_[214:232, 12:140], np.s_[60:100, 10:310]
MIDDLE, CORNER = np.s_[118:122, 100:220], np.s_[5:30, 200:315]
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
        area = (0, 0, *self.size())
        shown = ImageGrab.grab(area, xdisplay=self._screen).convert("RGB")
        return np.asarray(shown)[..., ::-1].astype(float)

    def press(self, key: str) -> None:
        self._xdotool("windowfocus", self.handle, "key", key)

    def size(self) -> tuple[int, int]:
        """Width and height."""
        found = self._xdotool("getwindowgeometry", self.handle).split()[-1].split("x")
        return int(found[0]), int(found[1])

    def resize(self, width: int, height: int) -> None:
        self._xdotool("windowsize", self.handle, str(width), str(height))

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
