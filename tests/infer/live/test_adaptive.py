import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

import numpy as np
import pytest

from nst_rt.errors import InputError, UnknownNameError
from nst_rt.images.io import Frame, load_image, tensor_to_frame
from nst_rt.infer.blend import Pass, StyleSet
from nst_rt.infer.frame_stylizer import FrameStylizer
from nst_rt.infer.live.adaptive import AdaptiveStylizer
from nst_rt.infer.live.webcam import adaptive
from nst_rt.infer.postprocess import PostProcessing
from nst_rt.infer.stability.stabilizer import Stabilizer
from nst_rt.infer.stylizer import Stylizer
from nst_rt.models.style_model import Style, StyleModel
from nst_rt.models.transformer import TransformerNet

FRAME = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
PIXELS = 120 * 160


@dataclass
class Clock:
    """Time that passes by what is computed only, in each thread its own."""

    nanoseconds: float = 1000  # that a pixel takes
    compiled: list[tuple[object, tuple[int, int]]] = field(default_factory=list)
    compilers: list[threading.Thread] = field(default_factory=list)

    _local: threading.local = field(default_factory=threading.local)

    @property
    def now(self) -> float:
        return getattr(self._local, "now", 0.0)

    def pass_by(self, seconds: float) -> None:
        self._local.now = self.now + seconds

    def perf_counter(self) -> float:
        return self.now


class Machine(Stylizer):
    """A stylizer that takes some nanoseconds of a clock for each pixel, and notes compilations."""

    clock: Clock

    def prepare(self, height: int, width: int) -> None:
        self.clock.compilers.append(threading.current_thread())
        self.clock.compiled.append((self.runs, self.working_size(height, width)))

    def is_ready(self, height: int, width: int) -> bool:
        return (self.runs, self.working_size(height, width)) in self.clock.compiled

    def stylize_shrunk(self, frame: Frame, passes: Sequence[Pass] | None = None) -> Frame:
        count = len(self.passes if passes is None else passes)
        pixels = frame.shape[0] * frame.shape[1]
        self.clock.pass_by(pixels * count * self.clock.nanoseconds / 1e9)
        return frame


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(adaptive, "time", clock)
    return clock


@pytest.fixture
def machine(clock: Clock, two_styles: StyleModel) -> Machine:
    machine = Machine(two_styles, "waves", backend="torch", stroke_size="1:1")
    machine.clock = clock
    return machine


@pytest.fixture
def held(machine: Machine) -> Iterator[AdaptiveStylizer]:
    """Held at 100 frames per second, which is 10 million nanoseconds a frame."""
    frame_stylizer = AdaptiveStylizer(FrameStylizer(machine), 100)
    yield frame_stylizer
    frame_stylizer.close()


def play(
    frame_stylizer: AdaptiveStylizer, frames: int = 100, *, intervals: Sequence[float] = (0.0,)
) -> list[float]:
    scales = []
    for _, interval in zip(range(frames), cycle(intervals), strict=False):
        assert frame_stylizer.stylize(FRAME, interval=interval).shape == FRAME.shape
        if frame_stylizer._compiling:
            frame_stylizer._compiling.result()  # the compiler is as fast as the clock
        scales.append(frame_stylizer.scale)
    return scales


@pytest.mark.parametrize(
    ("nanoseconds", "scale"), [(500, 1.0), (600, 0.84), (1000, 0.7), (1400, 0.6), (10**6, 0.35)]
)
def test_the_first_frame_has_the_scale_that_there_is_time_for(
    held: AdaptiveStylizer, clock: Clock, nanoseconds: int, scale: float
) -> None:
    clock.nanoseconds = nanoseconds
    assert set(play(held)) == {scale}
    assert len(clock.compiled) == 1


def test_frames_that_are_fast_enough_stay_whole(held: AdaptiveStylizer, clock: Clock) -> None:
    clock.nanoseconds = 500
    held.calibrate(120, 160)
    assert held.stylize(FRAME) is FRAME


def test_it_follows_the_speed_of_the_machine(held: AdaptiveStylizer, clock: Clock) -> None:
    clock.nanoseconds = 500
    play(held)
    clock.nanoseconds = 1000  # others are busy, too
    assert play(held)[-1] == 0.7
    clock.nanoseconds = 2000
    assert play(held)[-1] == 0.5
    clock.nanoseconds = 300
    assert play(held)[-1] == 1.0


def test_it_goes_to_the_right_scale_at_once(held: AdaptiveStylizer, clock: Clock) -> None:
    clock.nanoseconds = 500
    play(held, 96)
    clock.nanoseconds = 2800
    scales = play(held, 20)
    assert sorted(set(scales), reverse=True) == [1.0, 0.42]
    assert len(clock.compiled) == 2


def test_a_slow_machine_decides_after_a_second(machine: Machine, clock: Clock) -> None:
    frame_stylizer = AdaptiveStylizer(FrameStylizer(machine), 10)
    clock.nanoseconds = 0.1 / PIXELS * 1e9
    play(frame_stylizer, 4)
    clock.nanoseconds *= 8  # 0.8 seconds a frame
    assert play(frame_stylizer, 8)[-1] < 0.4
    frame_stylizer.close()


def test_a_slow_source_is_stylized_as_large_as_its_own_rate_lets(
    held: AdaptiveStylizer, clock: Clock
) -> None:
    clock.nanoseconds = 1000  # 19.2 million a frame
    assert play(held, intervals=[0.03])[-1] == 1.0  # the source's 33 frames per second are held
    assert play(held, intervals=[0.01])[-1] == 0.7  # it has become faster
    assert play(held, intervals=[0.03])[-1] == 1.0
    assert play(held, intervals=[0.0])[-1] == 0.7  # and if it is not known, the rate is that asked


def test_a_scale_that_holds_the_rate_stays(held: AdaptiveStylizer, clock: Clock) -> None:
    clock.nanoseconds = 2000  # 38.4 million a frame, of which 0.7 of the sides is 18.8 million
    scales = play(held, intervals=[0.02])
    assert len(set(scales[-50:])) == 1


def test_a_source_that_halts_once_changes_nothing(held: AdaptiveStylizer, clock: Clock) -> None:
    clock.nanoseconds = 1000
    play(held)
    assert set(play(held, intervals=[*[0.01] * 7, 5.0])) == {0.7}


def test_without_a_rate_to_hold_it_never_gets_smaller(machine: Machine, clock: Clock) -> None:
    frame_stylizer = AdaptiveStylizer(FrameStylizer(machine), 0)
    clock.nanoseconds = 10**7
    assert set(play(frame_stylizer, 10)) == {1.0}
    frame_stylizer.close()


@pytest.mark.parametrize("fps", [-1, float("nan"), float("inf")])
def test_a_rate_that_cannot_be(machine: Machine, fps: float) -> None:
    with pytest.raises(InputError, match="must be 0 or more"):
        AdaptiveStylizer(FrameStylizer(machine), fps)


def test_styles_of_one_architecture_switch_on_the_next_frame(
    held: AdaptiveStylizer, machine: Machine, clock: Clock
) -> None:
    clock.nanoseconds = 500
    play(held, 3)
    for style in ("night", {"waves": 0.4, "night": 0.6}, "waves"):
        held.set_style(style)
        held.stylize(FRAME)
        assert machine.blend == (style if isinstance(style, dict) else {style: 1.0})
    assert len(clock.compiled) == 1


@pytest.fixture
def strangers(clock: Clock, two_styles: StyleModel) -> Machine:
    """A stylizer whose palette has a style of another architecture, too."""
    network = TransformerNet("classic", width=4, blocks=1).eval()
    style_set = StyleSet(two_styles, StyleModel(network, (Style("mine"),)))
    machine = Machine(style_set, "waves", backend="torch", stroke_size="1:1")
    machine.clock = clock
    return machine


def test_frames_go_on_while_another_architecture_is_compiled(
    strangers: Machine, clock: Clock
) -> None:
    clock.nanoseconds = 500
    frame_stylizer = AdaptiveStylizer(FrameStylizer(strangers), 100)
    play(frame_stylizer, 3)
    frame_stylizer.set_style("mine")
    frame_stylizer.stylize(FRAME)
    assert strangers.blend == {"waves": 1.0}
    assert frame_stylizer._compiling
    frame_stylizer._compiling.result()
    frame_stylizer.stylize(FRAME)
    assert strangers.blend == {"mine": 1.0}
    frame_stylizer.set_style("waves")
    frame_stylizer.stylize(FRAME)
    assert strangers.blend == {"waves": 1.0}
    assert len(clock.compiled) == 2
    frame_stylizer.close()


def test_no_frame_is_late_when_styles_switch(strangers: Machine, clock: Clock) -> None:
    clock.nanoseconds = 500  # 9.6 million a frame, of 10
    frame_stylizer = AdaptiveStylizer(FrameStylizer(strangers, stabilizer=Stabilizer()), 100)
    frame_stylizer.calibrate(120, 160)

    def late_frames(style: str | dict[str, float]) -> int:
        frame_stylizer.set_style(style)
        late = 0
        for _ in range(8):
            begin = clock.now
            frame_stylizer.stylize(FRAME)
            late += clock.now - begin > 0.01
            if frame_stylizer._compiling:
                frame_stylizer._compiling.result()  # which takes frames, and not their time
        assert strangers.blend.keys() == ({style} if isinstance(style, str) else style.keys())
        return late

    styles: list[str | dict[str, float]] = ["night", {"waves": 0.4, "night": 0.6}, "waves", "mine"]
    assert [late_frames(style) for style in styles] == [0, 0, 0, 0]
    # A stranger joins, and the weights change: one network a frame.
    blends = [{"mine": 0.5, "waves": 0.5}, {"mine": 0.1, "waves": 0.9}]
    assert [late_frames(blend) for blend in blends] == [0, 0]
    assert frame_stylizer.scale == 1
    assert threading.current_thread() not in clock.compilers[1:]
    frame_stylizer.close()


def test_what_cannot_be_chosen_changes_nothing(held: AdaptiveStylizer, machine: Machine) -> None:
    play(held, 2)
    with pytest.raises(UnknownNameError):
        held.set_style("day")
    with pytest.raises(InputError):
        held.set_style("night", strength=2)
    held.stylize(FRAME)
    assert machine.blend == {"waves": 1.0}


def test_strength_strokes_and_looks_are_taken(
    held: AdaptiveStylizer, machine: Machine, clock: Clock
) -> None:
    clock.nanoseconds = 500
    play(held, 2)
    held.set_style("waves", strength=0.5, stroke_size="40px")
    held.set_post_processing(PostProcessing(compare=True))
    for _ in range(2):
        shown = held.stylize(FRAME)
        if held._compiling:
            held._compiling.result()
    assert machine.strength == 0.5
    assert machine.working_size(120, 160) == (60, 80)
    np.testing.assert_array_equal(shown[:, :80], np.where(shown[:, :80] == 255, 255, FRAME[:, :80]))


def test_another_scale_fades_in(two_styles: StyleModel, astronaut: Path) -> None:
    """The stabilizer carries what was there over to the new size."""
    frame = tensor_to_frame(load_image(astronaut, size=256))
    stylizer = Stylizer(two_styles, "waves", backend="torch", stroke_size="1:1")
    steadied = FrameStylizer(stylizer, stabilizer=Stabilizer())
    plain = FrameStylizer(stylizer)
    for number in range(3):
        before = steadied.stylize(frame, number)
    stylizer.scale = 0.7
    jump = np.abs(plain.stylize(frame, 3).astype(float) - before).mean()
    smooth = np.abs(steadied.stylize(frame, 3).astype(float) - before).mean()
    assert smooth < 0.9 * jump


def test_a_real_stylizer_is_prepared(two_styles: StyleModel) -> None:
    stylizer = Stylizer(two_styles, "waves", backend="openvino", stroke_size="1:1")
    assert not stylizer.is_ready(40, 48)
    stylizer.prepare(40, 48)
    assert stylizer.is_ready(40, 48)
    stylizer.set_style("night")
    assert stylizer.is_ready(40, 48)
    assert stylizer(FRAME[:40, :48]).shape == (40, 48, 3)
