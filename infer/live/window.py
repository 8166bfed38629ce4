"""A window of OpenCV's on the screen: pictures in, names of keys out."""

import contextlib
import ctypes
import sys
from types import TracebackType

import cv2

from nst_rt.errors import CameraError
from nst_rt.images.io import Frame

TITLE = "nst-rt"
_KEY_WAIT_MS = 1  # the least that lets the window draw itself
_OPENING_MS = 100
_PRESSED_TOGETHER = 8  # keys that one picture answers

# Arrow keys by waitKeyEx: X11, Windows, macOS.
_ARROWS = {
    "left": (0xFF51, 0x250000, 0xF702),
    "up": (0xFF52, 0x260000, 0xF700),
    "right": (0xFF53, 0x270000, 0xF703),
    "down": (0xFF54, 0x280000, 0xF701),
}
_KEYS = {code: name for name, codes in _ARROWS.items() for code in codes} | {27: "escape"}


class Window:
    """The window, which appears with the first picture and closes with the context.

    Attributes:
        closed: whether it was closed by its button; it does not appear again.

    Raises:
        CameraError: there is no screen.
    """

    def __init__(self) -> None:
        _check_screen()
        _keep_events()
        self.closed = False
        self._shown = False
        self._full = False

    def __enter__(self) -> "Window":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        cv2.destroyAllWindows()

    def open(self, picture: Frame) -> None:
        """Show a first picture, and give the window the time to be drawn."""
        self.show(picture)
        cv2.waitKeyEx(_OPENING_MS)
        self._look_whether_closed()

    def show(self, picture: Frame, *, full_screen: bool = False) -> list[str]:
        """Show a picture, shape (H, W, 3), uint8 BGR; returns the keys pressed since the last.

        Of several that came since OpenCV last looked it knows the last only.
        """
        if self.closed:  # OpenCV would open it again
            return []
        if not self._shown:
            self._shown = True
            flags = cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL
            cv2.namedWindow(TITLE, flags)
            cv2.resizeWindow(TITLE, picture.shape[1], picture.shape[0])
        if full_screen != self._full:
            self._full = full_screen
            state = cv2.WINDOW_FULLSCREEN if full_screen else cv2.WINDOW_NORMAL
            cv2.setWindowProperty(TITLE, cv2.WND_PROP_FULLSCREEN, state)
        cv2.imshow(TITLE, picture)
        return self.keys()

    def keys(self) -> list[str]:
        """Let the window draw itself; returns the keys pressed since the last time."""
        pressed: list[str] = []
        while len(pressed) < _PRESSED_TOGETHER:
            code = cv2.waitKeyEx(_KEY_WAIT_MS)
            if code < 0:
                break
            plain = code & 0xFFFF  # GTK puts the modifiers above
            name = _KEYS.get(code) or _KEYS.get(plain) or chr(plain).lower()
            pressed.append(name)
        self._look_whether_closed()
        return pressed

    def _look_whether_closed(self) -> None:
        try:
            self.closed |= bool(cv2.getWindowProperty(TITLE, cv2.WND_PROP_VISIBLE) < 1)
        except cv2.error:  # Qt is gone with its last window
            self.closed = True


def _check_screen() -> None:
    """Qt would end the process, so whether an X server answers is asked before."""
    if sys.platform != "linux":
        return
    xcb = ctypes.CDLL("libxcb.so.1")  # OpenCV's wheel needs it too
    xcb.xcb_connect.restype = ctypes.c_void_p
    connection = ctypes.c_void_p(xcb.xcb_connect(None, None))
    refused = xcb.xcb_connection_has_error(connection)
    xcb.xcb_disconnect(connection)
    if refused:
        raise CameraError(
            "there is no screen to open a window on (DISPLAY is not set, or wrong); "
            "--no-window does without, and nst-rt video converts files"
        )


def _keep_events() -> None:
    """Let Qt have all events of the X server; else Xlib takes some, and a window may stay black.

    Qt says that it reads them itself by `XSetEventQueueOwner`, which writes into a structure of
    Xlib's. OpenCV's wheel brings that function from an older system, but not Xlib, whose structure
    has changed since. The system's own is found first if it is loaded for all to see.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # not there, and so nothing to be done
            ctypes.CDLL("libX11-xcb.so.1", mode=ctypes.RTLD_GLOBAL)


def windows_would_hang() -> bool:
    """Whether PyAV came before OpenCV in this process; see `nst_rt.infer`."""
    modules = list(sys.modules)
    return sys.platform == "linux" and modules.index("av") < modules.index("cv2")
