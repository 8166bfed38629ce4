"""Live sessions without a window, and the loop itself."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pytest
from clips import write_clip
from streams import free_port, mjpeg_stream

from nst_rt.errors import InputError, OutputExistsError
from nst_rt.images.io import Frame
from nst_rt.infer.live.adaptive import AdaptiveStylizer
from nst_rt.infer.live.camera import Captured
from nst_rt.infer.live.controls import LiveControls
from nst_rt.infer.live.session import IDLE, LiveSession, Picture, stylized_frames
from nst_rt.infer.live.webcam import session, stylize_webcam
from nst_rt.infer.postprocess import PostProcessing
from nst_rt.infer.strokes import StrokeSize
from nst_rt.infer.threads import polled
from nst_rt.infer.video import VideoReader
from nst_rt.models.style_model import StyleModel

STILL = np.full((48, 64, 3), (200, 100, 50), np.uint8)


@pytest.fixture(scope="module")
def model(two_styles: StyleModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return two_styles.save(tmp_path_factory.mktemp("model") / "two.safetensors")


class FastCamera:
    """Sends frames while the engine paints, and only then: so many for each that it paints."""

    def __init__(self, frames_per_painting: int) -> None:
        self.number = 0
        self._each = frames_per_painting
        self._painting = threading.Semaphore(1)
        self.sent = threading.Semaphore(0)

    def __iter__(self) -> Iterator[Captured]:
        while True:
            self._painting.acquire()
            for _ in range(self._each):
                self.number += 1
                yield Captured(np.full((16, 16, 3), 7, np.uint8), float(self.number))
            self.sent.release()

    def stylize(self, frame: Frame) -> Frame:
        self._painting.release()
        self.sent.acquire()
        return frame


class Engine:
    """What paints, as far as `stylized_frames` knows it."""

    def __init__(self, stylize: Callable[[Frame], Frame] = lambda frame: frame) -> None:
        self.set: list[object] = []
        self.intervals: list[float] = []
        self._stylize = stylize
        self._post_processing = PostProcessing()

    def stylize(self, frame: Frame, *, interval: float) -> Frame:
        self.intervals.append(interval)
        return self._post_processing.apply(frame, self._stylize(frame))

    def set_style(self, weights: object, *, strength: float, stroke_size: StrokeSize) -> None:
        self.set.append((weights, strength, str(stroke_size)))

    def set_stability(self, stability: float) -> None:
        assert stability == 0.95

    def set_post_processing(self, post_processing: PostProcessing) -> None:
        self._post_processing = post_processing

    def ready(self) -> Future[AdaptiveStylizer]:
        loading: Future[AdaptiveStylizer] = Future()
        loading.set_result(self)  # type: ignore[arg-type]
        return loading


def test_pictures_do_not_age_where_the_engine_is_slow() -> None:
    """Counted in frames: a queue anywhere would add 20 to the age with each picture."""
    camera = FastCamera(20)
    controls = LiveControls(["waves"], "waves")
    ages = []
    with (
        closing(polled(camera, seconds=1, drop=True)) as frames,
        closing(
            polled(stylized_frames(frames, Engine(camera.stylize).ready(), controls), seconds=1)
        ) as pictures,
    ):
        for picture in pictures:
            if picture:
                ages.append(camera.number - picture.at)
            if len(ages) == 50:
                break
        # Its end, for a camera that waits for the engine.
        camera._painting.release()
    # One painting for the picture, one that went on while it waited, one that has begun since.
    assert max(ages) <= 3 * 20


def test_frames_are_painted_as_the_controls_say() -> None:
    controls = LiveControls(["waves", "night"], "night", strength=0.5)
    engine = Engine(lambda frame: np.asarray(255 - frame, np.uint8))
    ramp = np.repeat(np.arange(64, dtype=np.uint8)[None, :, None], 3, axis=2).repeat(16, axis=0)
    frames: list[Captured | None] = [Captured(ramp, 1.0, 0.04), None]
    pictures = list(stylized_frames(frames, engine.ready(), controls, mirror=True))
    assert engine.set == [({"night": 1.0}, 0.5, "2%")]
    assert engine.intervals == [0.04]
    assert pictures[1] is None
    assert pictures[0] is not None
    np.testing.assert_array_equal(pictures[0].frame, 255 - ramp[:, ::-1])
    controls.compare = True
    [both] = stylized_frames(frames[:1], engine.ready(), controls)
    assert both is not None
    np.testing.assert_array_equal(both.frame[:, :30], ramp[:, :30])
    np.testing.assert_array_equal(both.frame[:, 34:], 255 - ramp[:, 34:])


def test_a_preview_is_the_frame_as_it_is() -> None:
    controls = LiveControls(["waves"], "waves")
    frames = [Captured(STILL, 1.0)]
    [picture] = stylized_frames(frames, Future(), controls, preview=True)
    assert picture is not None
    assert (picture.engine, picture.frame is STILL) == ("", True)


class Kept:
    """A sink that keeps what it gets."""

    def __init__(self) -> None:
        self.at: list[float] = []

    def write(self, frame: Frame, at: float) -> None:
        self.at.append(at)

    def close(self) -> None:
        pass


@pytest.mark.parametrize(("patience", "sent"), [(0.0, 3), (60.0, 1)])
def test_sinks_get_the_last_picture_when_none_comes_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patience: float, sent: int
) -> None:
    monkeypatch.setattr(session, "_AGAIN", patience)
    sink = Kept()
    live = LiveSession(LiveControls(["waves"], "waves"), None, [sink], folder=tmp_path)
    now = time.perf_counter()
    preview, stylized = Picture(STILL, now, ""), Picture(STILL, now, "engine")
    live.run([None, preview, None, stylized, None, None])
    assert len(sink.at) == sent
    assert sink.at == sorted(sink.at)
    assert live.frames == 1


def test_slow_pictures_are_recorded_with_the_times_of_their_frames(tmp_path: Path) -> None:
    controls = LiveControls(["waves"], "waves")
    controls.recording = True
    live = LiveSession(controls, None, [], folder=tmp_path, record=tmp_path / "out.mp4")

    def slow() -> Iterator[Picture | None]:
        for level in (40, 90, 140, 190):
            at = time.perf_counter()
            for _ in range(4):  # nothing is ready for longer than a frame of the recording
                time.sleep(IDLE)
                yield None
            yield Picture(np.full((48, 64, 3), level, np.uint8), at, "engine")

    live.run(slow())
    live.close()
    levels = [round(float(timed.image.mean()), -1) for timed in VideoReader(tmp_path / "out.mp4")]
    counts = [levels.count(level) for level in (40, 90, 140)]
    assert max(counts) - min(counts) <= 2, counts


def test_a_film_is_recorded_and_ends(model: Path, tmp_path: Path) -> None:
    film = write_clip(tmp_path / "in.mp4")
    done = stylize_webcam(
        str(film),
        style=str(model),
        strength=0,
        backend="openvino",
        window=False,
        record=tmp_path / "out.mp4",
    )
    assert done.files == (str(tmp_path / "out.mp4"),)
    assert done.frames > 0
    assert done.engine.startswith("openvino")
    frames = [timed.image for timed in VideoReader(tmp_path / "out.mp4")]
    assert len(frames) >= 20
    # At strength 0 the film's own frames, which become lighter, in order.
    levels = np.array([frame.mean() for frame in frames])
    assert (np.diff(levels) > -3).all()
    assert levels[-1] - levels[0] > 50


def test_a_session_ends_after_its_duration(model: Path) -> None:
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
    assert said[0].startswith("watch it at http://127.0.0.1:")


def test_ctrl_c_finishes_what_is_recorded_and_served(model: Path, tmp_path: Path) -> None:
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
        found, frame = capture.read()
        capture.release()
        program.send_signal(signal.SIGINT)
        out, err = program.communicate()
    assert found
    assert np.abs(frame.astype(int) - STILL).max() < 12
    assert (program.returncode, err) == (0, "")
    assert out.splitlines()[1:] == ["out.mp4"]
    recorded = [timed.image for timed in VideoReader(tmp_path / "out.mp4")]
    assert np.abs(recorded[-1].astype(int) - STILL).max() < 12
    assert [file.name for file in tmp_path.iterdir()] == ["out.mp4"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "choose another output"),
        ({"record": "out.avi"}, "unknown video format"),
        ({"mjpeg": "tv"}, "not an address"),
        ({"mjpeg": "0.0.0.0:0"}, "--token"),
        ({"record": "out.mp4", "token": "t"}, "there is none"),
        ({"record": "out.mp4", "duration": 0.0}, "duration"),
        ({"record": "out.mp4", "fps": -1.0}, "0 or more"),
        ({"record": "out.mp4", "strength": 2.0}, "strength"),
    ],
)
def test_what_cannot_be_is_said_before_the_camera_is_opened(
    options: dict[str, object], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        stylize_webcam("rtsp://127.0.0.1:1", window=False, **options)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_a_recording_that_is_there_is_kept(tmp_path: Path) -> None:
    (tmp_path / "out.mp4").write_text("mine")
    with pytest.raises(OutputExistsError):
        stylize_webcam(0, window=False, record=tmp_path / "out.mp4")
