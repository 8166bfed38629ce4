"""The live window: a camera, stylized, on the screen."""

import ctypes
import subprocess
import sys
import time
from collections import deque
from collections.abc import Generator, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path

import cv2
import numpy as np

from nst_rt.errors import CameraError, InputError
from nst_rt.images import Frame, save_image
from nst_rt.infer.adaptive import AdaptiveStylizer
from nst_rt.infer.camera import Camera
from nst_rt.infer.pipeline import in_background, newest
from nst_rt.infer.stylizer import load_style

WINDOW = "nst-rt"
_ESCAPE = 27
_KEY_WAIT_MS = 1  # the least that lets the window draw itself
_NOTE_SECONDS = 2.0
_ANY_RATE = 1e-6  # frames per second, which no machine is too slow for


def show_webcam(
    source: str | int = 0,
    *,
    style: str = "starry_night",
    strength: float = 1.0,
    fps: float = 24.0,
    mirror: bool | None = None,
    snapshots: Path | str = ".",
) -> None:
    """Show a live source in a style until q or Esc is pressed, the window is closed or it ends.

    The newest frame wins: what the machine is too slow for is dropped. The key s saves a snapshot.

    Args:
        source: see `Camera`.
        style: see `load_style`.
        strength: from 0 (the frame as it is) to 1 (the full style).
        fps: frames per second to hold by painting smaller, see `AdaptiveStylizer`; 0 paints frames
            as large as they are, however long it takes.
        mirror: left and right swapped; by default for cameras of this machine only.
        snapshots: folder that snapshots go to.

    Raises:
        CameraError: a source that cannot be opened, or no screen.
        UnknownNameError, StyleModelError, InputError: a style or a file that cannot be used.
    """
    if not Path(snapshots).is_dir():
        raise InputError(f"{snapshots}: no such folder for snapshots")
    if not 0 <= fps < float("inf"):
        raise InputError(f"the frames per second to hold must be 0 or more, not {fps}")
    if _windows_would_hang():
        _show_in_new_process(source, style, strength, fps, mirror, snapshots)
        return
    camera = Camera(source)
    try:
        _check_screen()
        stylizer = load_style(style, strength=strength)
        flip = camera.is_device if mirror is None else mirror
        with (
            closing(AdaptiveStylizer(stylizer, fps or _ANY_RATE)) as adaptive,
            closing(newest(camera)) as frames,
            closing(in_background(_painted(frames, adaptive, flip), depth=1)) as pictures,
        ):
            _show(pictures, adaptive, Path(snapshots))
    finally:
        camera.close()
        cv2.destroyAllWindows()


def _painted(
    frames: Generator[Frame, None, None], stylizer: AdaptiveStylizer, flip: bool
) -> Generator[Frame, None, None]:
    for frame in frames:
        yield stylizer.stylize(np.asarray(cv2.flip(frame, 1), np.uint8) if flip else frame)


def _show(
    pictures: Generator[Frame, None, None], painter: AdaptiveStylizer, snapshots: Path
) -> None:
    times: deque[float] = deque(maxlen=30)
    note, note_until = "", 0.0
    for picture in pictures:
        if not times:
            flags = cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL
            cv2.namedWindow(WINDOW, flags)
            cv2.resizeWindow(WINDOW, picture.shape[1], picture.shape[0])
        now = time.perf_counter()
        times.append(now)
        text = note if now < note_until else f"{_rate(times):.1f} fps   {painter}"
        cv2.imshow(WINDOW, _with_overlay(picture, text))
        key = cv2.waitKey(_KEY_WAIT_MS) & 0xFF
        if key == ord("s"):
            name = f"nst-rt-{datetime.now():%Y%m%d-%H%M%S-%f}.png"
            note = f"saved {save_image(picture, snapshots / name)}"
            note_until = now + _NOTE_SECONDS
        if key in (ord("q"), _ESCAPE) or _is_closed():
            return


def _is_closed() -> bool:
    try:
        return bool(cv2.getWindowProperty(WINDOW, cv2.WND_PROP_VISIBLE) < 1)
    except cv2.error:  # Qt is gone with its last window
        return True


def _rate(times: Sequence[float]) -> float:
    return (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else 0.0


def _with_overlay(picture: Frame, text: str) -> Frame:
    """A line of text, light with a dark shadow, so that it reads on any picture."""
    shown = picture.copy()
    for colour, shift in (((0, 0, 0), 1), ((255, 255, 255), 0)):
        at = (10 + shift, 24 + shift)
        cv2.putText(shown, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.6, colour, 1, cv2.LINE_AA)
    return shown


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
            "nst-rt video converts files without one"
        )


def _windows_would_hang() -> bool:
    """Whether PyAV came before OpenCV in this process; see `nst_rt.infer`."""
    modules = list(sys.modules)
    return sys.platform == "linux" and modules.index("av") < modules.index("cv2")


def _show_in_new_process(
    source: str | int,
    style: str,
    strength: float,
    fps: float,
    mirror: bool | None,
    snapshots: Path | str,
) -> None:
    command = [sys.executable, "-m", "nst_rt", "webcam", str(source), "--style", style]
    command += ["--strength", str(strength), "--fps", str(fps), "--snapshots", str(snapshots)]
    if mirror is not None:
        command.append("--mirror" if mirror else "--no-mirror")
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise CameraError(done.stderr.strip().removeprefix("nst-rt: "))
