import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from streams import decoded

from nst_rt.errors import CameraError, InputError, OutputExistsError, VideoError
from nst_rt.files import partial_path
from nst_rt.infer.frames import TimedFrame
from nst_rt.infer.live import outputs
from nst_rt.infer.live.camera import TIME_BASE
from nst_rt.infer.live.outputs import Recorder, VirtualCamera
from nst_rt.infer.video import probe


def gray(level: int, seconds: float = 0, width: int = 64, height: int = 48) -> TimedFrame:
    return TimedFrame(np.full((height, width, 3), level, np.uint8), round(seconds / TIME_BASE))


def played(path: Path) -> int:
    """Number of frames up to where a file is cut off."""
    count = 0
    with suppress(av.FFmpegError), av.open(str(path)) as container:
        for _ in container.decode(video=0):
            count += 1
    return count


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recordings of 10 frames per second."""
    monkeypatch.setattr(outputs, "FPS", 10)


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_recording_keeps_the_times_of_irregular_frames(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    recorder = Recorder(path)
    # Half a second of the first, two at almost the same time, a second and a half of the last.
    for level, seconds in ((40, 7.0), (90, 7.5), (140, 7.501), (190, 7.602), (190, 9.0)):
        recorder.write(gray(level, seconds))
    assert recorder.seconds == 2
    assert not path.exists()
    recorder.close()
    assert not partial_path(path).exists()
    info = probe(path)
    assert (info.rate, info.start) == (10, 0)
    levels = [image.mean() for image in decoded(path)]
    assert np.abs(np.subtract(levels, [40] * 5 + [90] + [140] + [190] * 14)).max() <= 3


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize(("sizes", "count"), [([(64, 48)], 1), ([(63, 47), (128, 96)], 2)])
def test_recording_has_the_size_of_its_first_frame(
    tmp_path: Path, sizes: list[tuple[int, int]], count: int
) -> None:
    recorder = Recorder(tmp_path / "out.mp4")
    for number, size in enumerate(sizes):
        recorder.write(gray(90, 3 + number / 10, *size))
    recorder.close()
    width, height = sizes[0]
    assert [image.shape for image in decoded(tmp_path / "out.mp4")] == [(height, width, 3)] * count


def test_recording_without_frames_is_no_file(tmp_path: Path) -> None:
    Recorder(tmp_path / "out.mp4").close()
    assert not list(tmp_path.iterdir())


def test_existing_files_and_other_formats_are_refused(tmp_path: Path) -> None:
    (tmp_path / "out.mp4").write_text("mine")
    with pytest.raises(OutputExistsError):
        Recorder(tmp_path / "out.mp4")
    with pytest.raises(InputError, match=r"\.avi"):
        Recorder(tmp_path / "out.avi")


def test_failed_recording_raises_and_blocks_nobody(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    recorder = Recorder(folder / "out.mp4")
    folder.rmdir()

    def write_on() -> None:
        for number in range(10**6):  # the thread that encodes fails
            recorder.write(gray(90, number / 30))

    with pytest.raises(VideoError, match=r"out\.mp4"):
        write_on()
    with pytest.raises(VideoError, match=r"out\.mp4"):
        recorder.close()


@pytest.mark.parametrize(("limit", "plays"), [(1000, False), (300_000, True)])
def test_recording_on_a_full_disk_ends_and_keeps_what_plays(
    tmp_path: Path, file_limit: Callable[[int], None], limit: int, plays: bool
) -> None:
    threads = threading.active_count()
    recorder = Recorder(tmp_path / "out.mp4")
    noise = np.random.default_rng(0).integers(0, 256, (20, 48, 64, 3), np.uint8)
    file_limit(limit)

    def write_on() -> None:
        for number in range(100_000):
            recorder.write(TimedFrame(noise[number % 20], round(number / outputs.FPS / TIME_BASE)))
            time.sleep(0.001)

    with pytest.raises(VideoError, match="cannot be written"):
        write_on()
    with pytest.raises(VideoError) as raised:
        recorder.close()
    assert threading.active_count() == threads
    partial = partial_path(recorder.path)
    assert list(tmp_path.iterdir()) == [partial] * plays
    assert (str(partial) in str(raised.value)) == plays
    if plays:
        assert played(partial) >= 30


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_unfinished_recording_plays_up_to_its_last_key_frames(tmp_path: Path, suffix: str) -> None:
    recorder = Recorder(tmp_path / f"out{suffix}")
    noise = np.random.default_rng(0).integers(0, 256, (180, 48, 64, 3), np.uint8)
    for number, image in enumerate(noise):
        recorder._encode(image, round(number / outputs.FPS / TIME_BASE))
    assert played(partial_path(recorder.path)) >= 40


def test_missing_encoder_is_found_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise VideoError("no encoder")

    monkeypatch.setattr(outputs, "choose_encoding", none)
    with pytest.raises(VideoError, match="no encoder"):
        Recorder(tmp_path / "out.mp4")


class Loopback:
    """A backend of pyvirtualcam that keeps what it is sent, for machines without a device."""

    sent: list[np.ndarray]

    def __init__(self, *, width: int, height: int, fps: float, fourcc: int, device: Any) -> None:
        type(self).sent = []

    def send(self, frame: np.ndarray) -> None:
        self.sent.append(frame.copy())

    def device(self) -> str:
        return "/dev/video9"

    def native_fourcc(self) -> None:
        return None

    def close(self) -> None:
        pass


class Gone(Loopback):
    def send(self, frame: np.ndarray) -> None:
        raise RuntimeError("no such device")


class Missing(Loopback):
    def __init__(self, **_: Any) -> None:
        raise RuntimeError("No v4l2 loopback device\nwas found")


@pytest.fixture
def backends(monkeypatch: pytest.MonkeyPatch) -> dict[str, type[Loopback]]:
    """The backends of pyvirtualcam, to be filled."""
    pyvirtualcam = pytest.importorskip("pyvirtualcam")
    found: dict[str, type[Loopback]] = {}
    monkeypatch.setattr(pyvirtualcam.camera, "BACKENDS", found)
    return found


def test_virtual_camera_gets_scaled_frames(backends: dict[str, type[Loopback]]) -> None:
    backends["loopback"] = Loopback
    camera = VirtualCamera((64, 48))
    assert camera.device == "/dev/video9"
    camera.write(TimedFrame(np.full((48, 64, 3), (10, 20, 30), np.uint8), 0))
    camera.write(gray(90, 0.1, 128, 96))
    camera.close()
    assert [frame.size for frame in Loopback.sent] == [48 * 64 * 3] * 2
    assert Loopback.sent[0].reshape(-1, 3)[0].tolist() == [10, 20, 30]  # BGR, as announced


def test_virtual_camera_that_is_lost(backends: dict[str, type[Loopback]]) -> None:
    backends["loopback"] = Gone
    with pytest.raises(CameraError, match="/dev/video9"):
        VirtualCamera((64, 48)).write(gray(10))


def test_missing_virtual_camera(
    backends: dict[str, type[Loopback]], monkeypatch: pytest.MonkeyPatch
) -> None:
    backends["v4l2loopback"] = Missing
    with pytest.raises(CameraError, match="v4l2loopback") as caught:
        VirtualCamera((64, 48))
    assert "\n" not in str(caught.value)
    monkeypatch.setitem(sys.modules, "pyvirtualcam", None)
    with pytest.raises(InputError, match=r"nst-rt\[virtual-camera\]"):
        VirtualCamera((64, 48))
