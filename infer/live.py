"""The live window: a camera, stylized, on the screen."""

import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Generator
from contextlib import closing
from datetime import datetime
from pathlib import Path

import cv2
import numpy as np

from nst_rt.errors import CameraError
from nst_rt.images import Frame, save_image
from nst_rt.infer.camera import Camera
from nst_rt.infer.pipeline import in_background, newest
from nst_rt.infer.stylizer import Stylizer, load_style

WINDOW = "nst-rt"
_ESCAPE = 27
_LATENCY_MS = 1  # how long a turn of the loop waits for a key


def show_webcam(
    source: str | int = 0,
    *,
    style: str = "starry_night",
    strength: float = 1.0,
    mirror: bool | None = None,
    snapshots: Path | str = ".",
) -> None:
    """Show a live source in a style until q or Esc is pressed, the window is closed or it ends.

    The newest frame wins: what the machine is too slow for is dropped. The key s saves a snapshot.

    Args:
        source: see `Camera`.
        style: see `load_style`.
        strength: from 0 (the frame as it is) to 1 (the full style).
        mirror: left and right swapped; by default for cameras of this machine only.
        snapshots: folder that snapshots go to.

    Raises:
        CameraError: a source that cannot be opened, or no screen.
        UnknownNameError, StyleModelError, InputError: a style or a file that cannot be used.
    """
    _check_screen()
    if _windows_would_hang():
        _show_in_new_process(source, style, strength, mirror, snapshots)
        return
    camera = Camera(source)
    try:
        stylizer = load_style(style, strength=strength)
        flip = camera.is_device if mirror is None else mirror
        with (
            closing(newest(camera)) as frames,
            closing(in_background(_painted(frames, stylizer, flip), depth=1)) as pictures,
        ):
            _show(pictures, str(stylizer), Path(snapshots))
    finally:
        camera.close()
        cv2.destroyAllWindows()


def _painted(
    frames: Generator[Frame, None, None], stylizer: Stylizer, flip: bool
) -> Generator[Frame, None, None]:
    for frame in frames:
        yield stylizer.stylize(np.asarray(cv2.flip(frame, 1), np.uint8) if flip else frame)


def _show(pictures: Generator[Frame, None, None], engine: str, snapshots: Path) -> None:
    times: deque[float] = deque(maxlen=30)
    cv2.namedWindow(WINDOW, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
    for picture in pictures:
        if not times:
            cv2.resizeWindow(WINDOW, picture.shape[1], picture.shape[0])
        times.append(time.perf_counter())
        cv2.imshow(WINDOW, _with_overlay(picture, f"{_rate(times):.1f} fps   {engine}"))
        key = cv2.waitKey(_LATENCY_MS) & 0xFF
        if key == ord("s"):
            name = f"nst-rt-{datetime.now():%Y%m%d-%H%M%S-%f}.png"
            print(f"saved {save_image(picture, snapshots / name)}")
        closed = cv2.getWindowProperty(WINDOW, cv2.WND_PROP_VISIBLE) < 1
        if key in (ord("q"), _ESCAPE) or closed:
            return


def _rate(times: "deque[float]") -> float:
    return (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else 0.0


def _with_overlay(picture: Frame, text: str) -> Frame:
    """A line of text, light on a dark edge, so that it reads on any picture."""
    shown = picture.copy()
    for colour, width in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(
            shown, text, (10, 24), cv2.FONT_HERSHEY_SIMPLEX, 0.6, colour, width, cv2.LINE_AA
        )
    return shown


def _check_screen() -> None:
    # Qt would end the process.
    if sys.platform == "linux" and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        raise CameraError(
            "there is no screen to open a window on (DISPLAY is not set); "
            "nst-rt video converts files without one"
        )


def _windows_would_hang() -> bool:
    """Whether PyAV came before OpenCV in this process; see `nst_rt.infer`."""
    modules = list(sys.modules)
    return sys.platform == "linux" and modules.index("av") < modules.index("cv2")


def _show_in_new_process(
    source: str | int, style: str, strength: float, mirror: bool | None, snapshots: Path | str
) -> None:
    command = [sys.executable, "-m", "nst_rt", "webcam", str(source), "--style", style]
    command += ["--strength", str(strength), "--snapshots", str(snapshots)]
    if mirror is not None:
        command.append("--mirror" if mirror else "--no-mirror")
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise CameraError(done.stderr.strip().removeprefix("nst-rt: "))
