"""One engine for several viewers: turns, mixes, frames."""

import threading
import time

import cv2
import numpy as np
import pytest

from nst_rt.errors import InputError, UnknownNameError
from nst_rt.images.io import Frame
from nst_rt.infer.web import engine as engine_module
from nst_rt.infer.web.engine import Engine, Mix, Turns, Viewer, decoded, encoded
from nst_rt.models.style_model import Style, StyleModel

# Smooth, so that JPEG keeps it.
FRAME = np.random.default_rng(0).integers(0, 256, (3, 4, 3), np.uint8).repeat(16, 0).repeat(16, 1)


def test_turns_are_given_in_the_order_in_which_they_were_asked_for() -> None:
    """A greedy viewer, who asks again at once, gets no more turns than a patient one."""
    turns, order = Turns(), []
    asked = {name: threading.Event() for name in "abc"}

    def viewer(name: str) -> None:
        for _ in range(4):
            asked[name].set()
            with turns:
                order.append(name)
                time.sleep(0.02)  # painting; meanwhile all others ask

    threads = {name: threading.Thread(target=viewer, args=name) for name in "abc"}
    with turns:
        for name, thread in threads.items():
            thread.start()
            asked[name].wait()
            time.sleep(0.02)
    for thread in threads.values():
        thread.join()
    assert "".join(order) == "abc" * 4


def test_a_turn_is_given_on_after_an_error() -> None:
    turns = Turns()
    with pytest.raises(ValueError, match="x"), turns:
        raise ValueError("x")
    with turns:
        pass


def test_each_viewer_has_a_look_of_their_own(engine: Engine) -> None:
    one = Viewer(engine, Mix({"waves": 1}), fps=0)
    other = Viewer(engine, Mix({"night": 1}), fps=0)
    jpeg = encoded(FRAME)
    waves, night = one.stylize(jpeg), other.stylize(jpeg)
    assert waves != night
    assert one.stylize(jpeg) == waves
    other.set_mix(Mix({"waves": 1}))
    assert other.stylize(jpeg) == waves
    other.set_mix(Mix({"waves": 1}, strength=0))
    assert np.abs(decoded(other.stylize(jpeg)).astype(int) - decoded(jpeg)).mean() < 4


def test_viewers_of_one_model_share_what_is_compiled(engine: Engine) -> None:
    one, other = (engine.stylizer(Mix({name: 1})) for name in ("waves", "night"))
    assert one is not other
    assert one._backend is other._backend


def test_a_viewer_chooses_the_size_of_strokes(engine: Engine) -> None:
    viewer = Viewer(engine, Mix({"waves": 1}), fps=0)
    before = viewer.stylize(encoded(FRAME))
    viewer.set_mix(Mix.parse({"styles": {"waves": 1}, "strokes": "8%"}))
    shown = [
        viewer.stylize(encoded(FRAME)) for _ in range(2)
    ]  # another size may have to be compiled
    while shown[-1] == before:
        shown.append(viewer.stylize(encoded(FRAME)))
    viewer.close()
    for strokes in ("", "wide", {}, -1):
        with pytest.raises(InputError):
            Mix.parse({"styles": {"waves": 1}, "strokes": strokes})


def test_others_paint_while_one_s_size_is_compiled(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = (Viewer(engine, Mix({"waves": 1}), fps=0) for _ in range(2))
    compiling, stylized = threading.Event(), threading.Event()
    large = FRAME.repeat(2, 0)
    backend = engine.stylizer(Mix({"waves": 1}))._backend
    working = engine.stylizer(Mix({"waves": 1})).working_size(*large.shape[:2])
    prepare = backend.prepare

    def slow(shape: tuple[int, ...]) -> None:
        if shape[1:3] == working:
            compiling.set()
            assert stylized.wait(300)
        prepare(shape)

    monkeypatch.setattr(backend, "prepare", slow)
    late: list[bytes] = []
    thread = threading.Thread(target=lambda: late.append(one.stylize(encoded(large))))
    thread.start()
    assert compiling.wait(300)
    assert other.stylize(encoded(FRAME))
    stylized.set()
    thread.join()
    assert decoded(late[0]).shape == large.shape


def test_a_look_that_cannot_be_had_leaves_the_one_before(engine: Engine) -> None:
    viewer = Viewer(engine, Mix({"waves": 1}), fps=0)
    before = viewer.stylize(encoded(FRAME))
    for mix in (Mix({"vawes": 1}), Mix({"waves": 1}, 2), Mix({"waves": 0}), Mix({})):
        with pytest.raises((InputError, UnknownNameError)):
            viewer.set_mix(mix)
    assert viewer.stylize(encoded(FRAME)) == before


class FrameStylizer:
    """Takes a time to paint, by a clock of its own, and keeps the intervals that it is told."""

    def __init__(self, seconds: float) -> None:
        self.now = 100.0
        self.told: list[float] = []
        self._seconds = seconds

    def perf_counter(self) -> float:
        return self.now

    def stylize(self, frame: Frame, *, interval: float) -> Frame:
        self.told.append(interval)
        self.now += self._seconds
        return frame


def test_the_rate_of_a_camera_is_known_where_its_frames_are_waited_for(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer = Viewer(engine, Mix({"waves": 1}), fps=24)
    viewer.close()
    frame_stylizer = FrameStylizer(0.05)
    monkeypatch.setattr(engine_module, "time", frame_stylizer)
    monkeypatch.setattr(viewer, "_painter", frame_stylizer)
    jpeg = encoded(FRAME)
    viewer.stylize(jpeg)
    for _ in range(3):  # fifteen frames per second
        frame_stylizer.now += 1 / 15 - 0.05
        viewer.stylize(jpeg)
    for _ in range(3):  # as many as are painted
        frame_stylizer.now += 0.001
        viewer.stylize(jpeg)
    assert frame_stylizer.told[1:4] == pytest.approx([1 / 15] * 3)
    assert frame_stylizer.told[4:] == [0.0] * 3


def test_a_model_that_is_taken_in_can_be_chosen_and_forgotten(two_styles: StyleModel) -> None:
    engine = Engine("openvino")
    engine.add(two_styles)
    mine = StyleModel(two_styles.network, (Style("mine"), Style("night")))
    viewer = Viewer(engine, Mix({"waves": 1}), fps=24)
    engine.add(mine)
    assert list(engine.styles) == ["waves", "night", "mine"]
    before = viewer.stylize(encoded(FRAME))
    for mix in ({"mine": 1}, {"mine": 1, "waves": 1}):  # the same weights under another name
        viewer.set_mix(Mix(mix))
        assert viewer.stylize(encoded(FRAME)) == before
    engine.remove(mine)
    assert list(engine.styles) == ["waves", "night"]
    assert viewer.stylize(encoded(FRAME)) == before  # who has it may go on
    viewer.close()


def header(width: int, height: int) -> bytes:
    """A JPEG whose header claims a size."""
    jpeg = bytearray(encoded(FRAME))
    at = jpeg.index(b"\xff\xc0") + 5
    jpeg[at : at + 4] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return bytes(jpeg)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"x" * 100,
        cv2.imencode(".png", FRAME)[1].tobytes(),
        header(65000, 65000),
        header(8, 480),
        encoded(FRAME)[:200],
    ],
    ids=["empty", "noise", "png", "huge", "tiny", "cut off"],
)
def test_frames_that_are_none_are_refused(content: bytes) -> None:
    with pytest.raises(InputError):
        decoded(content)


def test_looks_from_outside_are_checked() -> None:
    assert Mix.parse({"styles": {"a": "0.5"}}) == Mix({"a": 0.5})
    for value in (None, [], "x", {}, {"styles": []}, {"styles": {"a": "x"}}, {"styles": {"a": {}}}):
        with pytest.raises(InputError, match="not a look"):
            Mix.parse(value)
