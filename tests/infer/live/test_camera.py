import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from clips import write_clip
from streams import Snapshots, free_port, mjpeg_stream, transport_stream

from nst_rt.errors import CameraError, InputError, VideoError
from nst_rt.infer.frames import TimedFrame
from nst_rt.infer.live.camera import TIME_BASE, Camera, list_cameras, negotiate


def solid(color: tuple[int, int, int], width: int = 64, height: int = 48) -> np.ndarray:
    return np.full((height, width, 3), color, np.uint8)


BLUE, ORANGE = solid((200, 100, 50)), solid((20, 140, 230))


def arrives(frames: Iterator[TimedFrame], wanted: np.ndarray) -> bool:
    """Whether such an image is among the next frames."""
    return any(
        np.abs(frame.image[24, 32].astype(int) - wanted[24, 32]).max() < 12
        for frame in islice(frames, 500)
    )


@contextmanager
def when_lost(camera: Camera, action: Callable[[], object]) -> Iterator[None]:
    """Act once the camera reports that its source is gone."""

    def run() -> None:
        while not camera.problem:
            time.sleep(0.01)
        problems.append(camera.problem)
        action()

    problems: list[str] = []
    thread = threading.Thread(target=run)
    thread.start()
    yield
    thread.join()
    assert problems == [f"{camera.source} is gone; trying again"]
    assert camera.problem == ""


def test_file_plays_at_its_own_speed(tmp_path: Path) -> None:
    camera = Camera(str(write_clip(tmp_path / "in.mp4")), size=(640, 480))
    begin = time.perf_counter_ns()
    frames = list(camera.frames())
    # A lower bound only: no machine plays a second of video in less time.
    assert (frames[-1].pts - begin) * TIME_BASE >= 24 / 25
    assert len(frames) == 25
    assert frames[0].image.dtype == np.uint8
    assert frames[0].image.shape == (48, 64, 3)  # not enlarged
    assert frames[-1].source == frames[-1].pts
    assert not camera.is_device
    assert not camera.is_live


def test_file_starts_again_at_its_end(tmp_path: Path) -> None:
    camera = Camera(str(write_clip(tmp_path / "in.mp4")), loop=True)
    with closing(camera), closing(camera.frames()) as frames:
        levels = [float(frame.image.mean()) for frame in islice(frames, 60)]
    np.testing.assert_allclose(levels[25:50], levels[:25], atol=1)
    assert levels[24] - levels[25] > 50  # from the last frame to the first


@pytest.mark.parametrize("source", ["0", "/dev/video0"])
def test_cameras_have_no_end_to_start_again_at(source: str) -> None:
    with pytest.raises(InputError, match="`loop`"):
        Camera(source, loop=True)


def test_streams_have_no_end_to_start_again_at() -> None:
    with (
        mjpeg_stream(free_port(), BLUE) as url,
        pytest.raises(InputError, match="`loop`"),
    ):
        Camera(url, loop=True)


@pytest.mark.parametrize("source", ["77", 77, "/dev/video77", "77777777777777"])
@pytest.mark.parametrize("cameras", [{0: "Front", 2: "Back"}, {}])
def test_missing_camera_lists_the_others(
    source: str | int, cameras: dict[int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nst_rt.infer.live.camera.list_cameras", lambda: cameras)
    with pytest.raises(CameraError, match=r"2 \(Back\)" if cameras else "no camera"):
        Camera(source)


def test_invalid_sources(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(InputError, match="nothing"):
        Camera(str(tmp_path / "nothing.mp4"))
    with pytest.raises(VideoError, match="empty"):
        Camera(str(tmp_path / "empty.mp4"))
    with pytest.raises(InputError, match="8x8"):
        Camera(0, size=(8, 8))


def test_error_of_a_dead_stream_shows_no_password() -> None:
    with pytest.raises(CameraError) as caught:
        Camera(f"http://me:s@cret@127.0.0.1:{free_port()}/stream?pwd=hidden")
    assert "/stream?..." in str(caught.value)
    assert not any(secret in str(caught.value) for secret in ("me", "cret", "hidden"))


@pytest.mark.parametrize("stream", [mjpeg_stream, transport_stream])
def test_stream_is_reopened(
    stream: Callable[[int, np.ndarray], AbstractContextManager[str]],
) -> None:
    port = free_port()
    with stream(port, BLUE) as url:
        camera = Camera(url)
        frames = camera.frames()
        assert camera.is_live
        assert arrives(frames, BLUE)
        assert camera.problem == ""
    seen = threading.Event()

    def come_back() -> None:
        with stream(port, ORANGE):
            seen.wait()

    with when_lost(camera, come_back):
        assert arrives(frames, ORANGE)
        seen.set()
    camera.close()
    assert list(frames) == []


def test_closing_ends_the_wait_for_a_stream() -> None:
    with mjpeg_stream(free_port(), BLUE) as url:
        camera = Camera(url)
        frames = camera.frames()
        next(frames)
    ended = threading.Thread(target=lambda: list(frames))
    ended.start()
    while not camera.problem:
        time.sleep(0.01)
    camera.close()
    ended.join()


# OpenCV counts one frame in a large JPEG and none in a small one.
@pytest.mark.parametrize("size", [(64, 48), (1920, 1080)])
def test_single_images_are_requested_again(size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 3, (size[1], size[0], 3), np.uint8)
    with closing(Snapshots(solid((200, 100, 50), *size) + noise)) as server:
        begin = time.perf_counter()
        camera = Camera(server.url, fps=30)
        assert camera.is_live
        frames = camera.frames()
        assert arrives(frames, BLUE)
        assert [next(frames).image.shape for _ in range(3)] == [(size[1], size[0], 3)] * 3
        # A lower bound only, as above: at most ten per second.
        assert time.perf_counter() - begin >= 0.3
        assert next(frames).duration > 0
        server.frame = None
        changed = solid((20, 140, 230), *size) + noise
        with when_lost(camera, partial(setattr, server, "frame", changed)):
            assert arrives(frames, ORANGE)
        camera.close()
        asked = server.asked
        assert list(frames) == []
        assert server.asked == asked


def test_frames_are_scaled_down_to_fit_the_size() -> None:
    with mjpeg_stream(free_port(), solid((9, 9, 9), 160, 90)) as url:
        camera = Camera(url, size=(80, 80))
        frame = next(camera.frames())
        camera.close()
    assert camera.size == (80, 45)
    assert frame.image.shape == (45, 80, 3)


class Device:
    """Settings of a camera that offers MJPG, or uncompressed images only."""

    def __init__(self, *, mjpg: bool) -> None:
        self.mjpg = mjpg
        self.settings: dict[int, float] = {}

    def set(self, key: int, value: float) -> bool:
        if key == cv2.CAP_PROP_FOURCC and not self.mjpg:
            return False
        self.settings[key] = value
        return True

    def get(self, key: int) -> float:
        if key == cv2.CAP_PROP_FPS and not self.mjpg:  # the bandwidth of USB 2
            return 10 if self.settings[cv2.CAP_PROP_FRAME_WIDTH] > 640 else 30
        return self.settings.get(key, 0)


@pytest.mark.parametrize(
    ("mjpg", "size", "expected"),
    [
        (True, None, (1280, 720)),
        (False, None, (640, 480)),
        (True, (1920, 1080), (1920, 1080)),
        (False, (1920, 1080), (1920, 1080)),
    ],
)
def test_requested_camera_settings(
    mjpg: bool, size: tuple[int, int] | None, expected: tuple[int, int]
) -> None:
    device = Device(mjpg=mjpg)
    negotiate(device, size)  # type: ignore[arg-type]
    sides = (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
    assert tuple(device.settings[side] for side in sides) == expected
    assert device.settings[cv2.CAP_PROP_FPS] == 30
    assert device.settings[cv2.CAP_PROP_BUFFERSIZE] == 1
    assert device.get(cv2.CAP_PROP_FOURCC) == (cv2.VideoWriter.fourcc(*"MJPG") if mjpg else 0)


def test_cameras_are_listed_in_order_by_the_index_of_the_default_backend(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert all(isinstance(index, int) and name for index, name in list_cameras().items())
    found = [SimpleNamespace(index=2, name="Back"), SimpleNamespace(index=0, name=None)]
    used: list[int] = []
    fake = SimpleNamespace(
        supported_backends=cv2.videoio_registry.getCameraBackends()[1:],
        enumerate_cameras=lambda backend: used.append(backend) or found,
    )
    monkeypatch.setitem(sys.modules, "cv2_enumerate_cameras", fake)
    assert list(list_cameras().items()) == [(0, "camera"), (2, "Back")]
    assert used == [cv2.videoio_registry.getCameraBackends()[1]]
