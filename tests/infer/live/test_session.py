"""The loop of live sessions, and sessions without a window."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing
from importlib import resources
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import cv2
import numpy as np
import pytest
from clips import write_clip
from live_fakes import STILL, WAVES, fake_stylizer
from streams import decoded, free_port, mjpeg_stream

from nst_rt.errors import InputError, OutputExistsError, StyleTransferError, UnknownNameError
from nst_rt.images.io import Frame
from nst_rt.infer.adaptive import LiveStyle
from nst_rt.infer.frames import TimedFrame
from nst_rt.infer.live import session
from nst_rt.infer.live.camera import TIME_BASE
from nst_rt.infer.live.controls import LiveControls
from nst_rt.infer.live.session import LiveFrame, LiveSession, stylized_frames
from nst_rt.infer.live.webcam import stylize_webcam
from nst_rt.infer.live.window import Window
from nst_rt.infer.postprocess import PostProcessing
from nst_rt.infer.threads import polled


class FastCamera:
    """Sends frames while the stylizer works, and only then: some number for each that it takes."""

    def __init__(self, frames_each: int) -> None:
        self.number = 0
        self._each = frames_each
        self._working = threading.Semaphore(1)
        self._sent = threading.Semaphore(0)

    def frames(self) -> Iterator[TimedFrame]:
        while True:
            self._working.acquire()
            for _ in range(self._each):
                self.number += 1
                yield TimedFrame(np.full((16, 16, 3), 7, np.uint8), self.number)
            self._sent.release()

    def stylize(self, frame: Frame, **_: object) -> Frame:
        self._working.release()
        self._sent.acquire()
        return frame


def test_newest_frame_wins() -> None:
    """Counted in frames: a queue anywhere would make each frame older by 20."""
    camera = FastCamera(20)
    _, loading = fake_stylizer(camera.stylize)
    controls = LiveControls({"waves": "The Waves"}, WAVES)
    ages = []
    with (
        closing(polled(camera.frames(), seconds=1, drop=True)) as frames,
        closing(polled(stylized_frames(frames, loading, controls), seconds=1)) as stylized,
    ):
        for frame in stylized:
            if frame:
                ages.append(camera.number - frame.pts)
            if len(ages) == 50:
                break
        camera._working.release()  # lets the camera end
    # A frame was stylized, another one while it waited, and a third one has begun.
    assert max(ages) <= 3 * 20


def test_frames_are_stylized_as_the_controls_say() -> None:
    compared = PostProcessing(compare=True)
    style = LiveStyle({"night": 1.0}, strength=0.5, stability=0.3, post_processing=compared)
    controls = LiveControls({"waves": "The Waves", "night": "Night"}, style)
    stylizer, loading = fake_stylizer(lambda frame, **_: np.asarray(255 - frame, np.uint8))
    image = np.arange(16 * 64 * 3, dtype=np.uint8).reshape(16, 64, 3)
    frames = [TimedFrame(image, 5, 40_000_000, 5), None]
    stylized, nothing = stylized_frames(frames, loading, controls, mirror=True)
    stylizer.set_style.assert_called_once_with(style)
    assert stylizer.stylize.call_args.kwargs == {"interval": 0.04, "may_shrink": True}
    assert nothing is None
    assert stylized is not None
    assert (stylized.pts, stylized.source, stylized.backend) == (5, 5, "torch")
    assert not stylized.is_former
    np.testing.assert_array_equal(stylized.image, 255 - image[:, ::-1])


def test_preview_shows_frames_as_they_are() -> None:
    controls = LiveControls({"waves": "The Waves"}, WAVES)
    [frame] = stylized_frames([TimedFrame(STILL, 1)], Future(), controls, preview=True)
    assert frame is not None
    assert frame.backend == ""
    assert frame.image is STILL


class ListSink:
    """A sink that keeps the times of its frames."""

    def __init__(self) -> None:
        self.times: list[int] = []

    def write(self, frame: TimedFrame) -> None:
        self.times.append(frame.pts)

    def close(self) -> None:
        pass


@pytest.mark.parametrize(("seconds", "sent"), [(0.3, 1), (1.1, 3)])
def test_sinks_get_the_last_frame_again_when_none_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, sent: int
) -> None:
    clock = count(0, round(seconds / TIME_BASE))
    monkeypatch.setattr(session, "time", SimpleNamespace(perf_counter_ns=lambda: next(clock)))
    sink = ListSink()
    live = LiveSession(LiveControls({"waves": "The Waves"}, WAVES), None, [sink], folder=tmp_path)
    preview, stylized = LiveFrame(STILL, 0), LiveFrame(STILL, 0, backend="torch")
    live.run([None, preview, None, stylized, None, None])
    assert len(sink.times) == sent
    assert sink.times == sorted(sink.times)
    assert live.frames == 1


def test_slow_frames_are_recorded_at_their_own_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "_REPEAT_SECONDS", float("inf"))
    controls = LiveControls({"waves": "The Waves"}, WAVES)
    controls.recording = True
    live = LiveSession(controls, None, [], folder=tmp_path, record=tmp_path / "out.mp4")
    levels = (40, 90, 140, 190)
    live.run(
        frame
        for number, level in enumerate(levels)
        # Nothing is ready for a while, and then a frame of some time ago.
        for frame in (
            None,
            LiveFrame(np.full_like(STILL, level), number * 200_000_000, backend="torch"),
        )
    )
    live.close()
    assert live.files == [str(tmp_path / "out.mp4")]
    seen = [round(float(image.mean()), -1) for image in decoded(tmp_path / "out.mp4")]
    assert [seen.count(level) for level in levels] == [6, 6, 6, 1]


def test_session_goes_on_without_a_recording_that_fails(
    tmp_path: Path, file_limit: Callable[[int], None]
) -> None:
    threads = threading.active_count()
    controls = LiveControls({"waves": "The Waves"}, WAVES)
    controls.recording = True
    window = MagicMock(spec=Window, size=(64, 48), closed=False)
    window.show.return_value = []
    live = LiveSession(controls, window, [], folder=tmp_path)
    file_limit(1000)

    def frames() -> Iterator[LiveFrame]:
        for number in range(100_000):
            yield LiveFrame(STILL, number * 33_000_000, backend="torch")
            if not controls.recording:
                return
            time.sleep(0.001)

    live.run(frames())
    assert not controls.recording
    assert "cannot be written" in controls.note
    assert threading.active_count() == threads
    live.close()
    assert (live.files, list(tmp_path.iterdir())) == ([], [])


@pytest.mark.slow
def test_file_is_recorded_and_ends(model: Path, tmp_path: Path) -> None:
    done = stylize_webcam(
        str(write_clip(tmp_path / "in.mp4")),
        style={f"{model}:night": 1.0},
        strength=0,
        backend="openvino",
        window=False,
        record=tmp_path / "out.mp4",
    )
    assert done.files == (str(tmp_path / "out.mp4"),)
    assert done.frames > 0
    assert done.backend.startswith("openvino")
    recorded = decoded(tmp_path / "out.mp4")
    assert len(recorded) >= 20
    # At strength 0 the frames of the file, which become lighter, in order.
    levels = np.array([image.mean() for image in recorded])
    assert (np.diff(levels) > -3).all()
    assert levels[-1] - levels[0] > 50


@pytest.mark.slow
def test_session_ends_after_its_duration(model: Path) -> None:
    said: list[str] = []
    with mjpeg_stream(free_port(), STILL) as url:
        done = stylize_webcam(
            url,
            style=str(model),
            backend="openvino",
            window=False,
            mjpeg=0,
            duration=0.3,
            on_output=said.append,
        )
    assert done.seconds >= 0.3
    assert "http://127.0.0.1:" in said[0]


@pytest.mark.slow
def test_ctrl_c_completes_recordings_and_streams(model: Path, tmp_path: Path) -> None:
    with mjpeg_stream(free_port(), STILL) as url:
        command = ["webcam", url, "--style", model, "--backend", "openvino", "--strength", "0"]
        command += ["--no-window", "--record", "out.mp4", "--mjpeg", "0"]
        program = subprocess.Popen(
            [sys.executable, "-m", "nst_rt", *map(str, command)],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert program.stderr
        address = program.stderr.readline().split()[-1]
        capture = cv2.VideoCapture(address)
        found, image = capture.read()
        capture.release()
        program.send_signal(signal.SIGINT)
        out, err = program.communicate()
    assert found
    assert np.abs(image.astype(int) - STILL).max() < 12
    assert (program.returncode, err) == (0, "")
    assert out.splitlines()[1:] == ["out.mp4"]
    assert np.abs(decoded(tmp_path / "out.mp4")[-1].astype(int) - STILL).max() < 12
    assert [file.name for file in tmp_path.iterdir()] == ["out.mp4"]


INK = {"style_image": str(resources.files("nst_rt.assets.styles") / "ink.jpg")}


@pytest.mark.parametrize(
    ("options", "error", "word"),
    [
        ({}, InputError, "`record`"),
        ({"record": "out.avi"}, InputError, r"\.avi"),
        ({"record": "mine.mp4"}, OutputExistsError, r"mine\.mp4"),
        ({"mjpeg": "tv"}, InputError, "tv"),
        ({"mjpeg": "0.0.0.0:0"}, InputError, "`token`"),
        ({"record": "out.mp4", "token": "t"}, InputError, "`mjpeg`"),
        ({"record": "out.mp4", "duration": 0.0}, InputError, "`duration`"),
        ({"record": "out.mp4", "fps": -1.0}, InputError, "`fps`"),
        ({"record": "out.mp4", "strength": 2.0}, InputError, "strength"),
        ({"record": "out.mp4", "style": "day"}, UnknownNameError, "day"),
        ({"window": True, "snapshots": "nowhere"}, InputError, "nowhere"),
        ({"record": "out.mp4", "fullscreen": True}, InputError, "`fullscreen`"),
        ({"record": "out.mp4", "style_image": "nowhere.jpg"}, InputError, "nowhere"),
        ({"record": "out.mp4", "style_image": "mine.mp4"}, InputError, "mine"),
        ({"record": "out.mp4", "minutes": 2.0}, InputError, "`style_image`"),
        ({"record": "out.mp4", **INK, "minutes": 0.0}, InputError, "`minutes`"),
        ({"record": "out.mp4", **INK, "style": "udnie"}, InputError, "`style`"),
        ({"record": "out.mp4", **INK, "start_from": "day"}, UnknownNameError, "day"),
        ({"record": "out.mp4", **INK, "photos": "nowhere"}, InputError, "nowhere"),
        ({"record": "out.mp4", **INK, "style_size": 9}, InputError, "`style_size`"),
        ({"record": "out.mp4", **INK, "preview": "out.jpg"}, InputError, "`preview`"),
        ({"record": "out.mp4", **INK, "save_style": "x.pt"}, InputError, r"\.pt"),
        ({"record": "out.mp4", "rotate": 0.0}, InputError, "`rotate`"),
        ({"record": "out.mp4", "rotate": -1.0}, InputError, "`rotate`"),
        ({"record": "out.mp4", "rotate": float("nan")}, InputError, "`rotate`"),
    ],
)
def test_invalid_options_are_found_before_the_source_is_opened(
    options: dict[str, object],
    error: type[StyleTransferError],
    word: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.mp4").write_text("mine")
    with pytest.raises(error, match=word):
        stylize_webcam("rtsp://127.0.0.1:1", **{"window": False, **options})  # type: ignore[arg-type]
    assert [file.name for file in tmp_path.iterdir()] == ["mine.mp4"]
