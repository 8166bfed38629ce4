import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
from clips import write_clip
from streams import Snapshots, free_port, mjpeg_stream, transport_stream

from nst_rt.errors import CameraError, InputError, VideoError
from nst_rt.infer.live.camera import Camera, Captured, _captures, list_cameras, negotiate


def test_a_file_is_played_at_its_own_speed(tmp_path: Path) -> None:
    camera = Camera(str(write_clip(tmp_path / "in.mp4")))
    begin = time.perf_counter()
    frames = list(camera)
    # A lower bound only: nothing makes a machine play a second of film in less than it takes.
    assert time.perf_counter() - begin >= 24 / 25
    assert len(frames) == 25
    assert frames[0].frame.dtype == np.uint8
    assert frames[-1].at - begin >= 24 / 25
    assert not camera.is_device
    assert not camera.is_live


@pytest.mark.parametrize("source", ["77", 77, "/dev/video77", "77777777777777"])
def test_a_missing_camera_names_those_that_exist(
    source: str | int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nst_rt.infer.live.camera.list_cameras", lambda: {0: "Front", 2: "Back"})
    with pytest.raises(CameraError, match=r"camera .*77 .*here: 0 \(Front\), 2 \(Back\)"):
        Camera(source)


def test_no_camera_at_all_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nst_rt.infer.live.camera.list_cameras", dict)
    with pytest.raises(CameraError, match="there is no camera on this machine"):
        Camera(77)


def test_cameras_are_listed_by_index() -> None:
    assert all(isinstance(index, int) and name for index, name in list_cameras().items())


def test_a_missing_file_and_one_that_is_no_video(tmp_path: Path, astronaut: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        Camera(str(tmp_path / "nothing.mp4"))
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(VideoError, match="empty"):
        Camera(str(tmp_path / "empty.mp4"))


def test_a_dead_stream_is_an_error() -> None:
    with pytest.raises(CameraError, match="cannot open this stream"):
        Camera(f"http://127.0.0.1:{free_port()}/stream.mjpg")


def test_passwords_are_not_shown() -> None:
    with pytest.raises(CameraError, match=r"^http://127\.0\.0\.1:\d+/stream\?\.\.\.: cannot"):
        Camera(f"http://me:s@cret@127.0.0.1:{free_port()}/stream?pwd=hidden")


def solid(color: tuple[int, int, int], width: int = 64, height: int = 48) -> np.ndarray:
    return np.full((height, width, 3), color, np.uint8)


BLUE, ORANGE = solid((200, 100, 50)), solid((20, 140, 230))


def comes(frames: Iterator[Captured], wanted: np.ndarray) -> bool:
    """Whether such a frame is among the next ones."""
    return any(
        np.abs(captured.frame[24, 32].astype(int) - wanted[24, 32]).max() < 12
        for captured in islice(frames, 500)
    )


@pytest.mark.parametrize("stream", [mjpeg_stream, transport_stream])
def test_a_stream_that_dies_is_watched_again_when_it_comes_back(
    stream: Callable[[int, np.ndarray], AbstractContextManager[str]],
) -> None:
    port = free_port()
    with stream(port, BLUE) as url:
        camera = Camera(url)
        frames = iter(camera)
        assert camera.is_live
        assert comes(frames, BLUE)
        assert camera.problem == ""
    problems: list[str] = []

    def come_back() -> None:
        while not camera.problem:
            time.sleep(0.01)
        problems.append(camera.problem)
        with stream(port, ORANGE):
            back.wait()

    back = threading.Event()
    thread = threading.Thread(target=come_back)
    thread.start()
    assert comes(frames, ORANGE)
    back.set()
    thread.join()
    assert problems == [f"{url} is gone; trying again"]
    assert camera.problem == ""
    camera.close()
    assert list(frames) == []


def test_closing_ends_the_wait_for_a_stream() -> None:
    with mjpeg_stream(free_port(), BLUE) as url:
        camera = Camera(url)
        frames = iter(camera)
        next(frames)
    ended = threading.Thread(target=lambda: list(frames))
    ended.start()
    while not camera.problem:
        time.sleep(0.01)
    camera.close()
    ended.join()


# OpenCV counts one frame in a large picture and none in a small one.
@pytest.mark.parametrize("size", [(64, 48), (1920, 1080)])
def test_single_pictures_are_asked_for_again_and_again(size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 3, (size[1], size[0], 3), np.uint8)
    with closing(Snapshots(solid((200, 100, 50), *size) + noise)) as server:
        begin = time.perf_counter()
        camera = Camera(server.url, fps=30)
        assert camera.is_live
        frames = iter(camera)
        assert comes(frames, BLUE)
        assert [next(frames).frame.shape for _ in range(3)] == [(size[1], size[0], 3)] * 3
        # A lower bound only, as above: no more than ten per second.
        assert time.perf_counter() - begin >= 0.3
        assert next(frames).interval > 0
        server.frame = solid((20, 140, 230), *size) + noise
        assert comes(frames, ORANGE)
        assert camera.problem == ""
        camera.close()
        asked = server.asked
        assert list(frames) == []
        assert server.asked == asked


def test_a_camera_of_single_pictures_is_waited_for() -> None:
    with closing(Snapshots(BLUE)) as server:
        camera = Camera(server.url)
        frames = iter(camera)
        assert comes(frames, BLUE)
        server.frame = None
        problems: list[str] = []

        def come_back() -> None:
            while not camera.problem:
                time.sleep(0.01)
            problems.append(camera.problem)
            server.frame = ORANGE

        thread = threading.Thread(target=come_back)
        thread.start()
        assert comes(frames, ORANGE)
        thread.join()
        assert problems == [f"{server.url} is gone; trying again"]
        assert camera.problem == ""
        camera.close()
        assert list(frames) == []


def test_frames_are_shrunk_to_fit_the_size(tmp_path: Path) -> None:
    with mjpeg_stream(free_port(), solid((9, 9, 9), 160, 90)) as url:
        camera = Camera(url, size=(80, 80))
        frame = next(iter(camera)).frame
        camera.close()
    assert camera.size == (80, 45)
    assert frame.shape == (45, 80, 3)
    film = Camera(str(write_clip(tmp_path / "in.mp4")), size=(640, 480))
    assert film.size == (64, 48)  # not enlarged
    with pytest.raises(InputError, match="8x8 px is too small"):
        Camera(0, size=(8, 8))


class Device:
    """A camera's settings, without one: what it offers as MJPG, and as raw pictures."""

    def __init__(self, *, mjpg: bool) -> None:
        self.mjpg = mjpg
        self.settings: dict[int, float] = {}

    def set(self, key: int, value: float) -> bool:
        if key == cv2.CAP_PROP_FOURCC and not self.mjpg:
            return False
        self.settings[key] = value
        return True

    def get(self, key: int) -> float:
        if key == cv2.CAP_PROP_FPS and not self.mjpg:
            # What goes through USB 2.
            return 10 if self.settings[cv2.CAP_PROP_FRAME_WIDTH] > 640 else 30
        return self.settings.get(key, 0)

    @property
    def size(self) -> tuple[float, float]:
        return (
            self.settings[cv2.CAP_PROP_FRAME_WIDTH],
            self.settings[cv2.CAP_PROP_FRAME_HEIGHT],
        )


def test_a_camera_is_asked_for_mjpg_at_720p30() -> None:
    device = Device(mjpg=True)
    negotiate(device)  # type: ignore[arg-type]
    assert device.size == (1280, 720)
    assert device.get(cv2.CAP_PROP_FOURCC) == cv2.VideoWriter.fourcc(*"MJPG")
    assert device.get(cv2.CAP_PROP_FPS) == 30
    assert device.get(cv2.CAP_PROP_BUFFERSIZE) == 1


def test_a_camera_without_mjpg_is_asked_for_less() -> None:
    device = Device(mjpg=False)
    negotiate(device)  # type: ignore[arg-type]
    assert device.size == (640, 480)


@pytest.mark.parametrize("mjpg", [True, False])
def test_a_size_that_was_asked_for_is_asked_of_the_camera(mjpg: bool) -> None:
    device = Device(mjpg=mjpg)
    negotiate(device, (1920, 1080))  # type: ignore[arg-type]
    assert device.size == (1920, 1080)


@pytest.mark.parametrize(("capabilities", "captures"), [(0x05200001, True), (0x04A00000, False)])
def test_devices_that_give_no_pictures_are_not_cameras(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capabilities: int, captures: bool
) -> None:
    """A webcam's second device, for metadata, answers as the first one but for one word."""
    fcntl = pytest.importorskip("fcntl")
    answer = bytes(84) + (0x85A00001).to_bytes(4, "little") + capabilities.to_bytes(4, "little")
    monkeypatch.setattr(fcntl, "ioctl", lambda file, request, buffer: answer + bytes(12))
    device = tmp_path / "video0"
    device.touch()
    assert _captures(device) is captures
    assert _captures(tmp_path / "none")  # it might
