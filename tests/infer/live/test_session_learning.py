"""Live sessions in which a style is learned."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import cast
from unittest.mock import MagicMock

import numpy as np
import pytest
from live_fakes import STILL, WAVES, fake_stylizer
from windows import PATIENCE, wait_for

from nst_rt.images.io import Frame
from nst_rt.infer.adaptive import AdaptiveStylizer, LiveStyle
from nst_rt.infer.blend import StyleSet
from nst_rt.infer.frame_stylizer import FrameStylizer
from nst_rt.infer.frames import TimedFrame
from nst_rt.infer.learning.live import LiveLearning, State
from nst_rt.infer.learning.process import LearningError
from nst_rt.infer.live import session
from nst_rt.infer.live.controls import LiveControls
from nst_rt.infer.live.overlay import Panel
from nst_rt.infer.live.session import LiveFrame, LiveSession, stylized_frames
from nst_rt.infer.live.window import Window
from nst_rt.infer.strokes import StrokeSize
from nst_rt.infer.stylizer import Stylizer
from nst_rt.learning.library import Library
from nst_rt.learning.request import LearningRequest
from nst_rt.models.merge import with_styles
from nst_rt.models.style_model import StyleModel


class Learning:
    """A style that is learned, without a process.

    Attributes:
        offered: number of frames that it was shown.
    """

    def __init__(self, state: State = "learning") -> None:
        self.state = state
        self.ready: Future[StyleModel] = Future()
        self.offered = 0

    @property
    def is_learning(self) -> bool:
        return self.state in ("starting", "learning")

    def offer(self, frame: Frame) -> None:
        self.offered += 1

    def __str__(self) -> str:
        return self.state


def learning_controls(learning: Learning) -> LiveControls:
    return LiveControls({"waves": "The Waves"}, WAVES, learning=cast(LiveLearning, learning))


@pytest.mark.parametrize(
    ("state", "taken", "of"), [("learning", 25, 100), ("paused", 58, 100), ("learned", 58, 100)]
)
def test_learning_has_half_of_the_machine(
    two_styles: StyleModel, state: State, taken: int, of: int
) -> None:
    """Frames come every 40 ms and take 70 ms; while it learns, one in 160 ms is taken."""
    now = 0.0

    def stylize(frame: Frame, *, interval: float, may_shrink: bool) -> Frame:
        nonlocal now
        now += 0.07
        may_be_smaller.append(may_shrink)
        return frame

    def frames() -> Iterator[TimedFrame]:
        nonlocal now
        for number in range(of):
            if now <= 0.04 * (number + 1):  # else it was dropped, as a newer one has come
                now = max(now, 0.04 * number)
                yield TimedFrame(STILL, number)

    may_be_smaller: list[bool] = []
    learning = Learning(state)
    learning.ready.set_result(two_styles)
    _, loading = fake_stylizer(stylize)
    controls = learning_controls(learning)
    stylized = list(stylized_frames(frames(), loading, controls, clock=lambda: now))
    assert len(stylized) == pytest.approx(taken, abs=2)
    assert may_be_smaller == [state != "learning"] * len(stylized)
    assert learning.offered >= len(stylized)


def test_frames_wait_for_the_first_style(two_styles: StyleModel) -> None:
    learning = Learning("starting")
    _, loading = fake_stylizer(lambda frame, **_: frame)
    seen: list[str | None] = []
    previewed = stylized_frames(
        (TimedFrame(STILL, n) for n in range(9)), loading, learning_controls(learning), preview=True
    )
    waiting = stylized_frames([TimedFrame(STILL, 1)], loading, learning_controls(learning))
    for frames in (previewed, waiting):
        frame = next(frames)
        seen.append(frame and frame.backend)
    assert seen == ["", None]
    learning.ready.set_result(two_styles)
    for frames in (previewed, waiting):
        frame = next(frames)
        seen.append(frame and frame.backend)
    assert seen[2:] == ["torch", "torch"]


@pytest.mark.parametrize("preview", [False, True])
def test_session_ends_without_a_first_style(preview: bool) -> None:
    learning = Learning("failed")
    learning.ready.set_exception(LearningError("out of memory"))
    frames = stylized_frames(
        [TimedFrame(STILL, 1)], Future(), learning_controls(learning), preview=preview
    )
    with pytest.raises(LearningError, match="memory"):
        list(frames)


def test_better_weights_show_in_the_next_frame(two_styles: StyleModel) -> None:
    """No frame is left out for them, and none is late."""
    style_set = StyleSet(two_styles)
    stylizer = Stylizer(style_set, "waves", backend="openvino", stroke_size="1:1")
    learning = Learning("paused")
    learning.ready.set_result(two_styles)
    loading: Future[AdaptiveStylizer] = Future()
    last = 0

    def frames() -> Iterator[TimedFrame]:
        nonlocal last
        for last in range(1, 31):
            if last % 10 == 0:
                style_set.replace("waves", other if last % 20 else two_styles)
            yield TimedFrame(image, last)

    other = replace(two_styles, network=with_styles(two_styles.network, [1]))
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    with closing(AdaptiveStylizer(FrameStylizer(stylizer), 0)) as adaptive:
        loading.set_result(adaptive)
        style = LiveStyle({"waves": 1.0}, stroke_size=StrokeSize.parse("1:1"))
        controls = LiveControls(style_set.titles, style, learning=cast(LiveLearning, learning))
        shown = []
        for frame in stylized_frames(frames(), loading, controls):
            assert frame is not None
            assert frame.pts == last
            shown.append(frame.image.astype(int))
    assert len(shown) == 30
    changes = [np.abs(a - b).mean() > 1 for a, b in pairwise(shown)]
    assert [number for number, change in enumerate(changes, 2) if change] == [10, 20, 30]


def test_status_line_has_both_rates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learning = MagicMock(spec=LiveLearning, state="learning", is_learning=True)
    learning.__str__.return_value = "learning from 480 crops, 3.1/s"
    controls = LiveControls({"waves": "The Waves"}, WAVES, learning=learning)
    window = MagicMock(spec=Window, size=(640, 480), closed=False)
    window.show.return_value = []
    drawn: list[Panel] = []
    monkeypatch.setattr(session, "draw", lambda image, panels: drawn.extend(panels))
    monkeypatch.setattr(session, "_FIGURES_SECONDS", 0)
    live = LiveSession(controls, window, [], folder=tmp_path)
    live.run(LiveFrame(STILL, number, backend="torch") for number in range(3))
    [[line]] = next(panel.rows for panel in reversed(drawn) if panel.place == "status")
    assert "fps" in line
    assert str(learning) in line


def test_end_of_learning_is_told(tmp_path: Path) -> None:
    learning = Learning()
    controls = learning_controls(learning)
    live = LiveSession(controls, None, [], folder=tmp_path)
    notes = []

    def frames() -> Iterator[LiveFrame]:
        for number in range(4):
            if number == 2:
                learning.state = "failed"
            yield LiveFrame(STILL, number, backend="torch")
            notes.append(controls.note)

    live.run(frames())
    assert notes == ["", "", "failed", "failed"]
    assert live.frames == 4


@pytest.mark.slow
def test_ctrl_c_keeps_what_was_learned(film: Path, painting: Path, tmp_path: Path) -> None:
    """It reaches all processes of a terminal."""
    data = tmp_path / "data"
    command = ["webcam", film, "--loop", "--no-window", "--mjpeg", "0", "--size", "320x180"]
    command += ["--style-image", painting, "--save-style", "learned.safetensors"]
    command += ["--stroke-size", "1:1", "--backend", "openvino"]
    program = subprocess.Popen(
        [sys.executable, "-m", "nst_rt", *map(str, command)],
        cwd=tmp_path,
        env={**os.environ, "NST_RT_DATA": str(data)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    wait_for(lambda: next((data / "learned").glob("*"), None), "what was learned")
    os.killpg(program.pid, signal.SIGINT)
    out, err = program.communicate(timeout=PATIENCE)
    assert program.returncode == 0, err
    assert int(out.split()[0]) > 0
    assert "learned swirls" in err.splitlines()[-1]
    [kept] = Library(data / "learned")
    assert kept.file.stem == LearningRequest.of(painting).key
    assert kept.record["crops"] > 0
    assert "contrast" in kept.record["figures"]
    assert not kept.record["is_complete"]  # the next session goes on
    assert StyleModel.load(tmp_path / "learned.safetensors").style_names == ["swirls"]
