import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

import numpy as np
import pytest

from nst_rt.errors import InputError, UnknownNameError
from nst_rt.images.convert import tensor_to_frame
from nst_rt.images.io import Frame, load_image
from nst_rt.infer import adaptive
from nst_rt.infer.adaptive import AdaptiveStylizer, LiveStyle
from nst_rt.infer.blend import Pass, StyleSet
from nst_rt.infer.frame_stylizer import FrameStylizer
from nst_rt.infer.postprocess import PostProcessing
from nst_rt.infer.stability.stabilizer import Stabilizer
from nst_rt.infer.strokes import StrokeSize
from nst_rt.infer.stylizer import Stylizer
from nst_rt.models.style_model import Style, StyleModel
from nst_rt.models.transformer import TransformerNet

FRAME = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
FULL_SIZE = StrokeSize.parse("1:1")
Create = Callable[..., AdaptiveStylizer]


@dataclass
class Clock:
    """Time that only computing takes; each thread has its own."""

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
    """A stylizer that takes some nanoseconds of a clock per pixel, and notes compilations."""

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
    """A stylizer of two styles of one architecture, and one of another."""
    network = TransformerNet("classic", width=4, blocks=1).eval()
    style_set = StyleSet(two_styles, StyleModel(network, (Style("other"),)))
    machine = Machine(style_set, "waves", backend="torch", stroke_size="1:1")
    machine.clock = clock
    return machine


@pytest.fixture
def create(machine: Machine) -> Iterator[Create]:
    """Makes adaptive stylizers of the machine, which are closed after the test."""
    created = []

    def new(fps: float = 100, **settings: object) -> AdaptiveStylizer:
        created.append(AdaptiveStylizer(FrameStylizer(machine, **settings), fps))
        return created[-1]

    yield new
    for each in created:
        each.close()


@pytest.fixture
def held(create: Create) -> AdaptiveStylizer:
    """One that holds 100 frames per second: a frame may take 10 million nanoseconds."""
    return create()


def stylize(stylizer: AdaptiveStylizer, interval: float = 0, *, may_shrink: bool = True) -> Frame:
    stylized = stylizer.stylize(FRAME, interval=interval, may_shrink=may_shrink)
    assert stylized.shape == FRAME.shape
    if stylizer._compiling:
        stylizer._compiling.result()  # compiling takes no time of the clock
    return stylized


def play(
    stylizer: AdaptiveStylizer,
    frames: int = 100,
    *,
    intervals: Sequence[float] = (0.0,),
    may_shrink: bool = True,
) -> list[float]:
    """Scales at which frames were stylized."""
    scales = []
    for _, interval in zip(range(frames), cycle(intervals), strict=False):
        stylize(stylizer, interval, may_shrink=may_shrink)
        scales.append(stylizer.scale)
    return scales


@pytest.mark.parametrize(
    ("nanoseconds", "scale"), [(500, 1.0), (600, 0.84), (1000, 0.7), (1400, 0.6), (10**6, 0.35)]
)
def test_first_frame_has_the_scale_that_there_is_time_for(
    held: AdaptiveStylizer, clock: Clock, nanoseconds: int, scale: float
) -> None:
    clock.nanoseconds = nanoseconds
    assert set(play(held)) == {scale}
    assert len(clock.compiled) == 1


def test_scale_follows_the_speed_of_the_machine(held: AdaptiveStylizer, clock: Clock) -> None:
    for nanoseconds, scale in ((500, 1.0), (1000, 0.7), (2000, 0.5), (300, 1.0)):
        clock.nanoseconds = nanoseconds
        assert play(held)[-1] == scale


def test_scale_grows_only_while_it_may_not_become_smaller(
    held: AdaptiveStylizer, clock: Clock
) -> None:
    for nanoseconds, may_shrink, scale in (
        (1000, True, 0.7),
        (4000, False, 0.7),
        (300, False, 1.0),
        (4000, False, 1.0),
        (4000, True, 0.35),
    ):
        clock.nanoseconds = nanoseconds
        assert play(held, may_shrink=may_shrink)[-1] == scale


def test_scale_changes_in_one_step(held: AdaptiveStylizer, clock: Clock) -> None:
    clock.nanoseconds = 500
    play(held, 96)
    clock.nanoseconds = 2800
    assert sorted(set(play(held, 20)), reverse=True) == [1.0, 0.42]
    assert len(clock.compiled) == 2


def test_slow_machine_decides_after_a_second(create: Create, clock: Clock) -> None:
    stylizer = create(10)
    clock.nanoseconds = 0.1 / (120 * 160) * 1e9
    play(stylizer, 4)
    clock.nanoseconds *= 8  # 0.8 seconds a frame
    assert play(stylizer, 8)[-1] < 0.4


def test_slow_source_is_held_at_its_own_rate(held: AdaptiveStylizer, clock: Clock) -> None:
    clock.nanoseconds = 1000  # 19.2 million a frame
    # An interval of 0 is unknown, and an occasional long one changes nothing.
    intervals = ([0.03], [0.01], [0.03], [0.0], [*[0.01] * 7, 5.0])
    scales = [play(held, intervals=each)[-1] for each in intervals]
    assert scales == [1.0, 0.7, 1.0, 0.7, 0.7]


def test_scale_that_holds_the_rate_stays(held: AdaptiveStylizer, clock: Clock) -> None:
    clock.nanoseconds = 2000  # 38.4 million a frame, of which 0.7 of the sides take 18.8 million
    assert len(set(play(held, intervals=[0.02])[-50:])) == 1


def test_scale_is_1_without_a_rate_to_hold(create: Create, clock: Clock) -> None:
    clock.nanoseconds = 10**7
    assert set(play(create(0), 10)) == {1.0}


@pytest.mark.parametrize("fps", [-1, float("nan"), float("inf")])
def test_invalid_rate(create: Create, fps: float) -> None:
    with pytest.raises(InputError, match="`fps`"):
        create(fps)


def test_styles_of_one_architecture_switch_on_the_next_frame(
    held: AdaptiveStylizer, clock: Clock
) -> None:
    clock.nanoseconds = 500
    play(held, 3)
    for blend in ({"night": 1.0}, {"waves": 0.4, "night": 0.6}, {"waves": 1.0}):
        held.set_style(LiveStyle(blend, stroke_size=FULL_SIZE))
        held.stylize(FRAME)
        assert held._stylizer.blend == blend
    assert len(clock.compiled) == 1


def test_calibration_counts_what_a_frame_takes_beside_the_network(
    create: Create, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock.nanoseconds = 300
    stylize_frame = FrameStylizer.stylize

    def with_overhead(self: FrameStylizer, frame: Frame, seconds: float) -> Frame:
        clock.pass_by(0.004)
        return stylize_frame(self, frame, seconds)

    assert play(create(), 1) == [1.0]
    monkeypatch.setattr(FrameStylizer, "stylize", with_overhead)
    # At scale 1 a frame takes 5.8 ms for the network; with the overhead it is 9.8 of 10 ms.
    assert play(create(), 1) == [1.0]
    clock.nanoseconds = 400
    scales = play(create(), 40)
    assert scales[0] == scales[-1] < 1


def test_costs_that_are_shared_give_the_scale_of_the_first_frame(
    machine: Machine, clock: Clock
) -> None:
    costs: dict[object, float] = {}
    first, second = (AdaptiveStylizer(FrameStylizer(machine), 100, costs) for _ in range(2))
    settled = play(first)[-1]
    clock.pass_by(1)
    before = clock.now
    assert play(second, 1) == [settled]
    assert clock.now - before < 0.01  # one frame, and no calibration
    first.close()
    second.close()


def test_rate_to_hold_changes(held: AdaptiveStylizer, clock: Clock) -> None:
    clock.nanoseconds = 1000
    slow = play(held)[-1]
    held.hold(20)
    assert play(held)[-1] == 1
    held.hold(100)
    assert play(held)[-1] == slow < 1
    with pytest.raises(InputError):
        held.hold(-1)
    assert play(held)[-1] == slow


def test_frames_go_on_while_another_architecture_is_compiled(
    held: AdaptiveStylizer, clock: Clock
) -> None:
    clock.nanoseconds = 500
    play(held, 3)
    for style, first in (("other", "waves"), ("waves", "waves")):
        held.set_style(LiveStyle({style: 1.0}, stroke_size=FULL_SIZE))
        stylize(held)
        assert held._stylizer.blend == {first: 1.0}
        assert held.preparing == (style == "other")
        stylize(held)
        assert held._stylizer.blend == {style: 1.0}
        assert not held.preparing
    assert len(clock.compiled) == 2


def test_networks_that_stylize_are_not_measured_again(
    held: AdaptiveStylizer, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backend runs one frame at a time; another thread would break it."""
    clock.nanoseconds = 500
    play(held, 3)
    kind = held._stylizer.runs[0]
    measured: list[object] = []
    shrunk = Machine.stylize_shrunk

    def noted(self: Machine, frame: Frame, passes: Sequence[Pass] | None = None) -> Frame:
        if threading.current_thread() is not threading.main_thread():
            measured.extend(each.network.kind for each in passes or self.passes)
        return shrunk(self, frame, passes)

    monkeypatch.setattr(Machine, "stylize_shrunk", noted)
    held.set_style(LiveStyle({"waves": 0.5, "other": 0.5}, stroke_size=FULL_SIZE))
    stylize(held)
    stylize(held)
    assert held._stylizer.blend == {"waves": 0.5, "other": 0.5}
    assert measured
    assert kind not in measured


def test_network_is_not_used_before_it_is_measured(
    held: AdaptiveStylizer, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first measurement compiles it, and runs it in the other thread for a while."""
    clock.nanoseconds = 500
    play(held, 3)
    monkeypatch.setattr(Machine, "is_ready", lambda *_: True)
    held.set_style(LiveStyle({"other": 1.0}, stroke_size=FULL_SIZE))
    held.stylize(FRAME)
    assert held._stylizer.blend == {"waves": 1.0}
    stylize(held)
    stylize(held)
    assert held._stylizer.blend == {"other": 1.0}


def test_no_frame_is_late_when_styles_switch(create: Create, clock: Clock) -> None:
    clock.nanoseconds = 500  # 9.6 million a frame, of 10
    stylizer = create(stabilizer=Stabilizer())
    stylizer.calibrate(120, 160)

    def late_frames(blend: dict[str, float]) -> int:
        stylizer.set_style(LiveStyle(blend, stroke_size=FULL_SIZE))
        late = 0
        for _ in range(8):
            begin = clock.now
            stylize(stylizer)
            late += clock.now - begin > 0.01
        assert stylizer._stylizer.blend.keys() == blend.keys()
        return late

    blends = [{"night": 1.0}, {"waves": 0.4, "night": 0.6}, {"waves": 1.0}, {"other": 1.0}]
    # An unrelated style joins, and the weights change: each frame runs one network.
    blends += [{"other": 0.5, "waves": 0.5}, {"other": 0.1, "waves": 0.9}]
    assert [late_frames(blend) for blend in blends] == [0] * len(blends)
    assert stylizer.scale == 1
    assert threading.current_thread() not in clock.compilers[1:]


def test_invalid_style_changes_nothing(held: AdaptiveStylizer) -> None:
    play(held, 2)
    with pytest.raises(UnknownNameError):
        held.set_style(LiveStyle({"day": 1.0}))
    with pytest.raises(InputError):
        held.set_style(LiveStyle({"night": 1.0}, strength=2))
    held.stylize(FRAME)
    assert held._stylizer.blend == {"waves": 1.0}


def test_all_of_a_style_is_set(create: Create, clock: Clock) -> None:
    clock.nanoseconds = 500
    stabilizer = Stabilizer()
    held = create(stabilizer=stabilizer)
    play(held, 2)
    strokes, compared = StrokeSize.parse("40px"), PostProcessing(compare=True)
    held.set_style(LiveStyle({"waves": 1.0}, 0.5, strokes, 0.3, compared))
    stylize(held)
    shown = stylize(held)
    assert (held._stylizer.strength, stabilizer.stability) == (0.5, 0.3)
    assert held.working_size == (60, 80)
    np.testing.assert_array_equal(shown[:, :80], np.where(shown[:, :80] == 255, 255, FRAME[:, :80]))


def test_another_scale_fades_in(two_styles: StyleModel, astronaut: Path) -> None:
    """The stabilizer carries the last frame over to the new size."""
    frame = tensor_to_frame(load_image(astronaut, size=256))
    stylizer = Stylizer(two_styles, "waves", backend="torch", stroke_size="1:1")
    stabilized = FrameStylizer(stylizer, stabilizer=Stabilizer())
    plain = FrameStylizer(stylizer)
    for number in range(3):
        before = stabilized.stylize(frame, number)
    stylizer.scale = 0.7
    jump = np.abs(plain.stylize(frame, 3).astype(float) - before).mean()
    smooth = np.abs(stabilized.stylize(frame, 3).astype(float) - before).mean()
    assert smooth < 0.9 * jump
