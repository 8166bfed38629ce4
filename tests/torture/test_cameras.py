"""Cameras that stall, deliver nothing, change size in mid-stream, or deliver garbage."""

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from streams import decoded

from nst_rt.infer.adaptive import AdaptiveStylizer, LiveStyle
from nst_rt.infer.frame_stylizer import FrameStylizer
from nst_rt.infer.live import camera as camera_module
from nst_rt.infer.live.camera import Camera
from nst_rt.infer.live.controls import LiveControls
from nst_rt.infer.live.session import LiveSession, stylized_frames
from nst_rt.infer.stability.stabilizer import Stabilizer
from nst_rt.infer.stylizer import Stylizer
from nst_rt.infer.threads import polled
from nst_rt.models.style_model import StyleModel

_SIZE = 64, 48
_FRAMES = 40  # that a session stylizes
Read = tuple[bool, Any]


class Device:
    """A capture device that reads what a function gives for the number of the read."""

    reads = 0
    opened = 0

    def __init__(self, read: Callable[[int], Read]) -> None:
        self._read = read
        type(self).opened += 1

    def read(self) -> Read:
        Device.reads += 1
        time.sleep(0.005)
        return self._read(Device.reads)

    def isOpened(self) -> bool:
        return True

    def get(self, key: int) -> float:
        sides = {cv2.CAP_PROP_FRAME_WIDTH: _SIZE[0], cv2.CAP_PROP_FRAME_HEIGHT: _SIZE[1]}
        return float(sides.get(key, 30))

    def set(self, *_: object) -> bool:
        return True

    def grab(self) -> bool:
        return True

    def release(self) -> None:
        pass


def image(size: tuple[int, int] = _SIZE) -> np.ndarray:
    return np.random.default_rng(size[0]).integers(0, 256, (size[1], size[0], 3), np.uint8)


def stalls(number: int) -> Read:
    if number % 15 == 7:
        time.sleep(0.4)
    return True, image()


def gone(number: int) -> Read:
    return (number % 10 != 5, image() if number % 10 != 5 else None)


def none_at_all(number: int) -> Read:
    """Says that there is a frame, and has none."""
    return True, None if number % 6 == 3 else image()


def changes_size(number: int) -> Read:
    sizes = [(64, 48), (128, 96), (48, 64), (33, 17)]
    return True, image(sizes[number // 7 % 4])


def garbage(number: int) -> Read:
    """Frames of other types and shapes, as broken drivers deliver them."""
    chance = random.Random(number)
    broken = [
        np.zeros((0, 0, 3), np.uint8),
        np.zeros((48, 64), np.uint8),
        np.zeros((48, 64, 4), np.uint8),
        np.zeros((2, 3, 3), np.uint8),
        np.zeros((48, 64, 3), np.uint16),
    ]
    return True, chance.choice(broken) if number % 3 == 0 else image()


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int], Read]], None]:
    monkeypatch.setattr(camera_module, "_DELAYS", (0.01,))
    Device.reads = Device.opened = 0

    def use(read: Callable[[int], Read]) -> None:
        monkeypatch.setattr(cv2, "VideoCapture", lambda *_: Device(read))

    return use


@pytest.mark.parametrize("read", [stalls, gone, none_at_all, changes_size, garbage])
def test_session_goes_on(
    tmp_path: Path, two_styles: StyleModel, device: Callable[..., None], read: Callable[[int], Read]
) -> None:
    threads = threading.active_count()
    device(read)
    stylizer = Stylizer(two_styles, "waves", backend="torch", stroke_size="1:1")
    controls = LiveControls({"waves": "The Waves"}, LiveStyle({"waves": 1.0}))
    controls.recording = True
    loading: Future[AdaptiveStylizer] = Future()
    ages: list[float] = []

    class Ages:
        def write(self, frame: Any) -> None:
            ages.append((time.perf_counter_ns() - frame.pts) / 1e9)
            controls.quit = len(ages) >= _FRAMES

        def close(self) -> None:
            pass

    record = tmp_path / "out.mp4"
    with (
        closing(Camera(0)) as camera,
        closing(AdaptiveStylizer(FrameStylizer(stylizer, stabilizer=Stabilizer()), 0)) as adaptive,
    ):
        loading.set_result(adaptive)
        session = LiveSession(controls, None, [Ages()], folder=tmp_path, record=record)
        with (
            closing(session),
            closing(polled(camera.frames(), seconds=0.05, drop=True)) as frames,
            closing(polled(stylized_frames(frames, loading, controls), seconds=0.05)) as shown,
        ):
            session.run(shown, duration=60)
    assert len(ages) == _FRAMES
    assert {frame.shape[2] for frame in decoded(record)} == {3}
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]
    for _ in range(100):
        if threading.active_count() <= threads:
            break
        time.sleep(0.05)
    assert threading.active_count() <= threads
    # Only lost devices are opened again.
    assert (Device.opened > 1) == (read in (gone, none_at_all))
