import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nst_rt.errors import CameraError, InputError, OutputExistsError, VideoError
from nst_rt.files import partial_path
from nst_rt.images.io import Frame
from nst_rt.infer.live.outputs import Recorder, VirtualCamera
from nst_rt.infer.live.webcam import outputs as sinks
from nst_rt.infer.video import VideoReader


def gray(level: int, width: int = 64, height: int = 48) -> Frame:
    return np.full((height, width, 3), level, np.uint8)


def levels(path: Path) -> list[int]:
    return [round(float(timed.image.mean())) for timed in VideoReader(path)]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_a_recording_keeps_the_time_of_irregular_pictures(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    recorder = Recorder(path, rate=10)
    # Half a second of one, two at once, and a second and a half of the last.
    for level, at in ((40, 7.0), (90, 7.5), (140, 7.501), (190, 7.602), (190, 9.0)):
        recorder.write(gray(level), at)
    assert recorder.seconds == 2
    assert not path.exists()
    recorder.close()
    assert not partial_path(path).exists()
    info = VideoReader(path).info
    assert (info.rate, info.start) == (10, 0)
    expected = [40] * 5 + [90] + [140] + [190] * 14
    assert np.abs(np.subtract(levels(path), expected)).max() <= 3


def test_a_single_picture_is_a_film_of_one_frame(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "out.mp4")
    recorder.write(gray(90), 3.0)
    recorder.close()
    assert len(levels(tmp_path / "out.mp4")) == 1


def test_a_recording_without_pictures_is_no_file(tmp_path: Path) -> None:
    Recorder(tmp_path / "out.mp4").close()
    assert not list(tmp_path.iterdir())


def test_a_camera_that_comes_back_larger_is_recorded_at_the_first_size(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "out.mp4", rate=10)
    recorder.write(gray(40, 63, 47), 0.0)  # odd
    recorder.write(gray(200, 128, 96), 0.1)
    recorder.close()
    frames = [timed.image for timed in VideoReader(tmp_path / "out.mp4")]
    assert [frame.shape for frame in frames] == [(47, 63, 3)] * 2


def test_what_is_there_is_kept(tmp_path: Path) -> None:
    (tmp_path / "out.mp4").write_text("mine")
    with pytest.raises(OutputExistsError):
        Recorder(tmp_path / "out.mp4")
    with pytest.raises(InputError, match=r"unknown video format '\.avi'"):
        Recorder(tmp_path / "out.avi")


def test_a_recording_that_cannot_be_written_is_an_error_and_keeps_nobody_waiting(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    recorder = Recorder(folder / "out.mp4")
    folder.rmdir()

    def go_on() -> None:
        for number in range(10**6):  # it is the encoder's thread that fails
            recorder.write(gray(90), number / 30)

    with pytest.raises(VideoError, match="cannot be written"):
        go_on()
    with pytest.raises(VideoError, match="cannot be written"):
        recorder.close()


def test_a_missing_encoder_keeps_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> None:
        raise VideoError("no encoder")

    monkeypatch.setattr(sinks, "choose_encoding", none)
    recorder = Recorder(tmp_path / "out.mp4")
    recorder.write(gray(90), 0.0)
    with pytest.raises(VideoError, match="no encoder"):
        recorder.close()


class Loopback:
    """A backend of pyvirtualcam that keeps what it is sent, for machines without a device."""

    sent: list[np.ndarray]

    def __init__(self, *, width: int, height: int, fps: float, fourcc: int, device: Any) -> None:
        type(self).sent = []
        self.size = width, height

    def send(self, frame: np.ndarray) -> None:
        self.sent.append(frame.copy())

    def device(self) -> str:
        return "/dev/video9"

    def native_fourcc(self) -> None:
        return None

    def close(self) -> None:
        pass


def test_a_virtual_camera_gets_the_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    pyvirtualcam = pytest.importorskip("pyvirtualcam")
    monkeypatch.setattr(pyvirtualcam.camera, "BACKENDS", {"loopback": Loopback})
    camera = VirtualCamera((64, 48))
    assert camera.device == "/dev/video9"
    camera.write(np.dstack([gray(10)[..., 0], gray(20)[..., 0], gray(30)[..., 0]]), 0.0)
    camera.write(gray(90, 128, 96), 0.1)
    camera.close()
    assert [frame.size for frame in Loopback.sent] == [48 * 64 * 3] * 2
    assert Loopback.sent[0].reshape(-1, 3)[0].tolist() == [10, 20, 30]  # BGR, as it was announced


def test_a_virtual_camera_that_goes_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    pyvirtualcam = pytest.importorskip("pyvirtualcam")

    class Gone(Loopback):
        def send(self, frame: np.ndarray) -> None:
            raise RuntimeError("no such device")

    monkeypatch.setattr(pyvirtualcam.camera, "BACKENDS", {"loopback": Gone})
    with pytest.raises(CameraError, match=r"/dev/video9 is gone \(no such device\)"):
        VirtualCamera((64, 48)).write(gray(10), 0.0)


def test_no_loopback_device_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    pyvirtualcam = pytest.importorskip("pyvirtualcam")

    class Missing(Loopback):
        def __init__(self, **_: Any) -> None:
            raise RuntimeError("No v4l2 loopback device\nwas found")

    monkeypatch.setattr(pyvirtualcam.camera, "BACKENDS", {"v4l2loopback": Missing})
    with pytest.raises(CameraError, match="modprobe v4l2loopback") as caught:
        VirtualCamera((64, 48))
    assert "\n" not in str(caught.value)


def test_a_missing_pyvirtualcam_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyvirtualcam", None)
    with pytest.raises(InputError, match=r"nst-rt\[virtual-camera\]"):
        VirtualCamera((64, 48))
