"""A window on the screen, by OpenCV: it shows images and returns the names of pressed keys."""

import contextlib
import ctypes
import sys
import time
from typing import Self

import cv2

from nst_rt.errors import CameraError
from nst_rt.images.io import Frame
from nst_rt.infer.live.camera import Size
from nst_rt.infer.live.pointer import Pointer

TITLE = "nst-rt"
_KEY_WAIT_MS = 1  # the minimum that lets the window draw itself
_OPENING_MS = 100
_MAX_KEYS = 8  # that one image answers
_STILL_SECONDS = 2.0  # without a movement, after which the pointer is hidden

# Codes of keys by waitKeyEx: X11, Windows, macOS.
_CODES = {
    "left": (0xFF51, 0x250000, 0xF702),
    "up": (0xFF52, 0x260000, 0xF700),
    "right": (0xFF53, 0x270000, 0xF703),
    "down": (0xFF54, 0x280000, 0xF701),
    "page_up": (0xFF55, 0x210000, 0xF72C),
    "page_down": (0xFF56, 0x220000, 0xF72D),
    "tab": (9,),
    "escape": (27,),
}
_KEYS = {code: name for name, codes in _CODES.items() for code in codes}


class Window:
    """A window that appears with the first image and closes with the context.

    The pointer is hidden over it while nobody moves it, where an X server is used.

    Attributes:
        closed: whether the user closed it; it does not appear again.

    Raises:
        CameraError: there is no screen, or the process imported PyAV before OpenCV.
    """

    def __init__(self) -> None:
        if sys.platform == "linux":
            _check_import_order()
            _check_screen()
            _keep_events()
        self.closed = False
        self._shown = False
        self._full_screen = False
        self._moved_at = time.monotonic()
        self._pointer = Pointer(TITLE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pointer.close()
        cv2.destroyAllWindows()

    def open(self, image: Frame, *, full_screen: bool = False) -> None:
        """Show the first image, and give the window time to be drawn."""
        self.show(image, full_screen=full_screen)
        cv2.waitKeyEx(_OPENING_MS)
        self._check_whether_closed()

    @property
    def size(self) -> Size:
        """Width and height of the area that shows the image; an image of this size stays sharp."""
        try:
            _, _, width, height = cv2.getWindowImageRect(TITLE)
        except cv2.error:  # Qt is gone with its last window
            return 1, 1
        return max(width, 1), max(height, 1)

    def resize(self, size: Size) -> None:
        """Change the width and height of that area, unless the window fills the screen."""
        if not (self.closed or self._full_screen):
            cv2.resizeWindow(TITLE, *size)

    def show(self, image: Frame, *, full_screen: bool = False) -> list[str]:
        """Show an image, shape (H, W, 3), uint8 BGR; it is stretched to the size of the window.

        Returns:
            Names of the keys pressed since the last image: characters in lower case, `left`,
            `right`, `up`, `down`, `page_up`, `page_down`, `tab`, `escape`. Of
            several keys that arrive at once OpenCV reports the last only.
        """
        if self.closed:  # OpenCV would open it again
            return []
        if not self._shown:
            self._shown = True
            # Qt would keep the ratio of the image by bars in gray.
            flags = cv2.WINDOW_NORMAL | cv2.WINDOW_FREERATIO | cv2.WINDOW_GUI_NORMAL
            cv2.namedWindow(TITLE, flags)
            cv2.resizeWindow(TITLE, image.shape[1], image.shape[0])
            cv2.setMouseCallback(TITLE, self._on_mouse)
        if full_screen != self._full_screen:
            self._full_screen = full_screen
            state = cv2.WINDOW_FULLSCREEN if full_screen else cv2.WINDOW_NORMAL
            cv2.setWindowProperty(TITLE, cv2.WND_PROP_FULLSCREEN, state)
        cv2.imshow(TITLE, image)
        pressed: list[str] = []
        # Meanwhile the window draws itself.
        while len(pressed) < _MAX_KEYS and (code := cv2.waitKeyEx(_KEY_WAIT_MS)) >= 0:
            plain = code & 0xFFFF  # GTK puts the modifiers above
            pressed.append(_KEYS.get(code) or _KEYS.get(plain) or chr(plain).lower())
        self._check_whether_closed()
        if time.monotonic() - self._moved_at > _STILL_SECONDS:
            self._pointer.hide()
            self._moved_at = time.monotonic()  # it is looked for again after the same time
        return pressed

    def _on_mouse(self, *_: object) -> None:
        self._moved_at = time.monotonic()
        self._pointer.show()

    def _check_whether_closed(self) -> None:
        try:
            self.closed |= bool(cv2.getWindowProperty(TITLE, cv2.WND_PROP_VISIBLE) < 1)
        except cv2.error:  # Qt is gone with its last window
            self.closed = True


def _check_import_order() -> None:
    """Raise a CameraError where OpenCV's first window would never appear.

    Both wheels bundle X11 libraries of the same names; OpenCV hangs with those of PyAV (OpenCV 5.0,
    PyAV 18). `nst_rt.infer` imports them in the right order.
    """
    modules = list(sys.modules)
    if "av" in modules and modules.index("av") < modules.index("cv2"):
        raise CameraError(
            "a window would hang since this process imported PyAV before OpenCV; import cv2 first"
        )


def _check_screen() -> None:
    """Raise a CameraError unless an X server answers; without one Qt would end the process."""
    xcb = ctypes.CDLL("libxcb.so.1")  # OpenCV's wheel needs it, too
    xcb.xcb_connect.restype = ctypes.c_void_p
    connection = ctypes.c_void_p(xcb.xcb_connect(None, None))
    refused = xcb.xcb_connection_has_error(connection)
    xcb.xcb_disconnect(connection)
    if refused:
        raise CameraError(
            "there is no screen to open a window on (DISPLAY is not set, or wrong); choose "
            "`window=False` and another output: `record`, `mjpeg` or `virtual_camera`"
        )


def _keep_events() -> None:
    """Let Qt have all events of the X server; else Xlib takes some, and a window may stay black.

    Qt announces that it reads events itself by `XSetEventQueueOwner`, which writes into a structure
    of Xlib's. OpenCV's wheel brings that function from an older system, but not Xlib, whose
    structure has changed since. The system's own function is found first if it is loaded globally.
    """
    with contextlib.suppress(OSError):  # not installed, and so nothing to do
        ctypes.CDLL("libX11-xcb.so.1", mode=ctypes.RTLD_GLOBAL)
