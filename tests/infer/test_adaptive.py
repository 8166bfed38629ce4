from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path

import cv2
import numpy as np
import pytest

from nst_rt.errors import InputError
from nst_rt.images import Frame, load_image, tensor_to_frame
from nst_rt.infer import adaptive
from nst_rt.infer.adaptive import SCALES, AdaptiveStylizer, enlarged, shrunk
from nst_rt.infer.stylizer import Stylizer, load_style

FRAME = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)


class Machine:
    """A stylizer that takes some nanoseconds of a clock for each pixel."""

    def __init__(self) -> None:
        self.now = 0.0
        self.nanoseconds = 1000
        self.prepared: list[tuple[int, int]] = []

    def perf_counter(self) -> float:
        return self.now

    def prepare(self, height: int, width: int) -> None:
        self.prepared.append((height, width))

    def stylize(self, frame: Frame) -> Frame:
        self.now += frame.shape[0] * frame.shape[1] * self.nanoseconds / 1e9
        return frame


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine()
    monkeypatch.setattr(adaptive, "time", machine)
    return machine


@pytest.fixture
def held(machine: Machine) -> Iterator[AdaptiveStylizer]:
    """Held at 100 frames per second, which is 10 million nanoseconds a frame."""
    stylizer = AdaptiveStylizer(machine, 100)  # type: ignore[arg-type]
    yield stylizer
    stylizer.close()


def play(
    stylizer: AdaptiveStylizer, frames: int = 100, *, intervals: Sequence[float] = (0.0,)
) -> list[float]:
    scales = []
    for _, interval in zip(range(frames), cycle(intervals), strict=False):
        painted = stylizer.stylize(FRAME, interval=interval)
        assert painted.shape == FRAME.shape
        if stylizer._next:
            stylizer._next[1].result()  # the compiler is as fast as the clock
        scales.append(stylizer.scale)
    return scales


def test_frames_that_are_fast_enough_stay_whole(held: AdaptiveStylizer, machine: Machine) -> None:
    machine.nanoseconds = 500  # 9.6 million a frame
    assert set(play(held)) == {1.0}
    assert not machine.prepared
    assert held.stylize(FRAME) is FRAME


def test_the_largest_scale_that_holds_the_rate_is_found(
    held: AdaptiveStylizer, machine: Machine
) -> None:
    machine.nanoseconds = 1000  # 19.2 million a frame, so that 0.7 of the sides is 9.4 million
    scales = play(held)
    assert scales[-1] == 0.7
    assert len(set(scales[-50:])) == 1  # and stays


def test_it_goes_up_again_when_there_is_time(held: AdaptiveStylizer, machine: Machine) -> None:
    machine.nanoseconds = 2000
    assert play(held)[-1] < 0.7
    machine.nanoseconds = 300
    assert play(held)[-1] == 1.0


def test_a_slow_source_is_painted_as_large_as_its_own_rate_lets(
    held: AdaptiveStylizer, machine: Machine
) -> None:
    machine.nanoseconds = 1000  # 19.2 million a frame
    assert set(play(held, intervals=[0.02])) == {1.0}  # the source's 50 frames per second are held
    assert play(held, intervals=[0.01])[-1] == 0.7  # it has become faster
    assert play(held, intervals=[0.03])[-1] == 1.0
    assert play(held, intervals=[0.0])[-1] == 0.7  # and if it is not known, the rate is that asked


def test_a_source_that_is_too_fast_for_the_machine_is_held_at_its_rate(
    held: AdaptiveStylizer, machine: Machine
) -> None:
    machine.nanoseconds = 2000  # 38.4 million a frame, of which 0.7 of the sides is 18.8 million
    scales = play(held, intervals=[0.02])
    assert scales[-1] == 0.7
    assert len(set(scales[-50:])) == 1


def test_a_source_that_halts_once_changes_nothing(held: AdaptiveStylizer, machine: Machine) -> None:
    machine.nanoseconds = 1000
    play(held)
    assert set(play(held, intervals=[*[0.01] * 7, 5.0])) == {0.7}


def test_there_is_a_least_scale(held: AdaptiveStylizer, machine: Machine) -> None:
    machine.nanoseconds = 10**6
    assert play(held)[-1] == SCALES[-1]


def test_scales_are_compiled_before_they_are_used(held: AdaptiveStylizer, machine: Machine) -> None:
    machine.nanoseconds = 700
    play(held)
    assert machine.prepared == [shrunk(FRAME, SCALES[1]).shape[:2]]


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf")])
def test_a_rate_that_cannot_be(machine: Machine, fps: float) -> None:
    with pytest.raises(InputError, match="must be positive"):
        AdaptiveStylizer(machine, fps)  # type: ignore[arg-type]


def test_a_real_stylizer_is_prepared(stylizer: Stylizer) -> None:
    stylizer.prepare(40, 48)
    assert (1, 40, 48, 3, False) in stylizer._backend._requests
    assert stylizer.stylize(FRAME[:40, :48]).shape == (40, 48, 3)


@pytest.fixture(scope="module")
def photo(astronaut: Path) -> Frame:
    return tensor_to_frame(load_image(astronaut))


def error(one: Frame, other: Frame) -> float:
    """Of the brightness, root mean square, in levels."""
    grey = [cv2.cvtColor(x, cv2.COLOR_BGR2GRAY).astype(float) for x in (one, other)]
    return float(np.sqrt(np.mean((grey[0] - grey[1]) ** 2)))


def test_what_was_not_changed_gets_its_detail_back(photo: Frame) -> None:
    small = shrunk(photo, 0.5)
    plain = cv2.resize(small, photo.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    assert error(enlarged(small, small, photo), photo) < 0.6 * error(plain, photo)


def test_edges_of_a_pastiche_become_sharper(photo: Frame) -> None:
    """Nearer to the photo's edges than plain enlarging is, and no farther from the pastiche."""
    stylizer = load_style("starry_night", backend="openvino")
    small = shrunk(photo, 0.5)
    painted = stylizer.stylize(small)
    plain = np.asarray(
        cv2.resize(painted, photo.shape[1::-1], interpolation=cv2.INTER_CUBIC), np.uint8
    )
    restored = enlarged(painted, small, photo)

    def sharpness(frame: Frame) -> float:
        return float(cv2.Laplacian(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), cv2.CV_32F).std())

    assert sharpness(restored) > 1.1 * sharpness(plain)
    assert error(shrunk(restored, 0.5), painted) < 12


def test_flat_frames_stay_flat() -> None:
    grey = np.full((64, 80, 3), 128, np.uint8)
    painted = np.full((32, 40, 3), (10, 200, 90), np.uint8)
    large = enlarged(painted, shrunk(grey, 0.5), grey)
    assert np.abs(large.astype(int) - (10, 200, 90)).max() <= 1
