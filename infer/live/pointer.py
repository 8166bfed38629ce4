"""The mouse pointer over a window of an X server, which OpenCV cannot hide."""

import contextlib
import ctypes
import sys
from ctypes import c_uint8, c_uint16, c_uint32, c_void_p

_WM_NAME = 39  # predefined atom
_CURSOR = 1 << 14  # XCB_CW_CURSOR
# Offsets in the replies of the X protocol, bytes.
_CHILD, _VALUE_LENGTH, _VALUE = 12, 16, 32


class _Screens(ctypes.Structure):
    """`xcb_screen_iterator_t`; a screen begins with the id of its root window."""

    _fields_ = (("data", ctypes.POINTER(c_uint32)), ("rem", ctypes.c_int), ("index", ctypes.c_int))


class Pointer:
    """Hides the pointer over the window of a title; does nothing where there is no X server.

    A blank cursor is set as an attribute of the window, so that the pointer disappears over this
    window alone. A connection of its own leaves Qt's undisturbed; errors of the server, such as for
    a window that has just closed, stay unread in it.
    """

    def __init__(self, title: str) -> None:
        self._title = title.encode()
        self._window = 0  # that the pointer is hidden over
        self._connection: c_void_p | None = None
        if sys.platform == "linux":
            with contextlib.suppress(OSError, AttributeError):
                self._connect()

    def hide(self) -> None:
        """Hide the pointer if it is over the window."""
        if self._connection and not self._window and (window := self._under_pointer()):
            self._window = window
            self._set_cursor(window, self._blank)

    def show(self) -> None:
        """Show the pointer again."""
        if self._window:
            self._set_cursor(self._window, 0)  # that of the window manager
            self._window = 0

    def close(self) -> None:
        """Close the connection."""
        if self._connection:
            self._xcb.xcb_disconnect(self._connection)
            self._connection = None

    def _connect(self) -> None:
        self._xcb = xcb = ctypes.CDLL("libxcb.so.1")
        self._free = ctypes.CDLL(None).free
        xcb.xcb_connect.restype = xcb.xcb_get_setup.restype = c_void_p
        xcb.xcb_setup_roots_iterator.restype = _Screens
        xcb.xcb_query_pointer_reply.restype = xcb.xcb_get_property_reply.restype = c_void_p
        connection = c_void_p(xcb.xcb_connect(None, None))
        if xcb.xcb_connection_has_error(connection):
            xcb.xcb_disconnect(connection)
            return
        setup = c_void_p(xcb.xcb_get_setup(connection))
        self._root = int(xcb.xcb_setup_roots_iterator(setup).data[0])
        shape, context, self._blank = (int(xcb.xcb_generate_id(connection)) for _ in range(3))
        one = c_uint16(1)
        xcb.xcb_create_pixmap(connection, c_uint8(1), shape, self._root, one, one)
        xcb.xcb_create_gc(connection, context, shape, 0, None)  # fills with 0, which is transparent
        area = (c_uint16 * 4)(0, 0, 1, 1)
        xcb.xcb_poly_fill_rectangle(connection, shape, context, 1, area)
        nothing = [c_uint16(0)] * 8  # two colors and the hot spot
        xcb.xcb_create_cursor(connection, self._blank, shape, shape, *nothing)
        self._connection = connection

    def _set_cursor(self, window: int, cursor: int) -> None:
        value = (c_uint32 * 1)(cursor)
        self._xcb.xcb_change_window_attributes(self._connection, window, _CURSOR, value)
        self._xcb.xcb_flush(self._connection)

    def _under_pointer(self) -> int:
        """Id of the innermost window under the pointer if it has the title; 0 otherwise."""
        window = self._root
        while child := self._child(window):
            window = child
        query = self._xcb.xcb_get_property(
            self._connection, c_uint8(0), window, _WM_NAME, 0, 0, len(self._title)
        )
        reply = self._xcb.xcb_get_property_reply(self._connection, query, None)
        if not reply:
            return 0
        length = c_uint32.from_address(reply + _VALUE_LENGTH).value
        name = ctypes.string_at(reply + _VALUE, length)
        self._free(c_void_p(reply))
        return window if name == self._title else 0

    def _child(self, window: int) -> int:
        """Id of the child of a window that the pointer is over; 0 for none."""
        query = self._xcb.xcb_query_pointer(self._connection, window)
        reply = self._xcb.xcb_query_pointer_reply(self._connection, query, None)
        if not reply:
            return 0
        child = c_uint32.from_address(reply + _CHILD).value
        self._free(c_void_p(reply))
        return child
