"""Unrelated networks of a blend take turns: each frame runs one of them."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pytest
from blends import small_network

from nst_rt.images.io import Frame
from nst_rt.infer.blend import Pass, StyleSet
from nst_rt.infer.evaluate.model import pan_photos
from nst_rt.infer.frame_stylizer import FrameStylizer, next_ages
from nst_rt.infer.stability.stabilizer import Stabilizer
from nst_rt.infer.stylizer import Stylizer
from nst_rt.infer.timeline import Timeline
from nst_rt.metrics.stability import pan
from nst_rt.models.style_model import Style, StyleModel

NAMES = ("one", "two", "three")
BLEND = {"one": 2.0, "two": 1.0}
STEP = 0.1  # seconds between frames


UNRELATED = [small_network(seed=seed) for seed in range(len(NAMES))]
STYLE_SET = StyleSet(
    *(StyleModel(each, (Style(name),)) for each, name in zip(UNRELATED, NAMES, strict=True))
)


class Counting(Stylizer):
    """Records which styles run."""

    def __init__(self, style: dict[str, float]) -> None:
        super().__init__(STYLE_SET, style, backend="torch", precision="f32", stroke_size="1:1")
        self.runs_of: list[str] = []

    def _begin_pass(self, each: Pass, frame: Frame, *, several: bool) -> Callable[[], Frame]:
        self.runs_of.append("+".join(name for name, _ in each.styles))
        return super()._begin_pass(each, frame, several=several)


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    """A camera that pans, in small."""
    return [np.ascontiguousarray(frame[:144:, :192]) for frame in pan(pan_photos()[0])[:9]]


def frame_stylizer(
    blend: dict[str, float], stability: float = 0.9
) -> tuple[FrameStylizer, list[str]]:
    stylizer = Counting(blend)
    return FrameStylizer(stylizer, stabilizer=Stabilizer(stability)), stylizer.runs_of


def played(frame_stylizer: FrameStylizer, frames: Sequence[Frame], begin: int = 0) -> list[Frame]:
    return [frame_stylizer.stylize(frame, (begin + n) * STEP) for n, frame in enumerate(frames)]


def difference(one: Frame, other: Frame) -> float:
    return float(np.abs(one.astype(int) - other).mean())


@pytest.mark.parametrize("count", [2, 3])
def test_each_frame_after_the_first_runs_one_network(frames: list[Frame], count: int) -> None:
    names = list(NAMES[:count])
    each, runs = frame_stylizer(dict.fromkeys(names, 1.0))
    played(each, frames)
    assert runs == (names * (len(frames) + 1))[: count + len(frames) - 1]


def test_a_new_network_runs_at_once(frames: list[Frame]) -> None:
    each, runs = frame_stylizer({"one": 1.0})
    played(each, frames[:2])
    each.stylizer.set_style(BLEND)
    played(each, frames[2:6], begin=2)
    assert runs == ["one", "one", "two", "one", "two", "one"]


def test_a_still_scene_shows_the_mix_of_outputs(frames: list[Frame]) -> None:
    each, _ = frame_stylizer(BLEND)
    [*_, last] = played(each, [frames[0]] * 6)
    assert np.abs(last.astype(int) - Counting(BLEND)(frames[0])).max() <= 1


def test_a_moving_scene_shows_nearly_the_mix_of_outputs(frames: list[Frame]) -> None:
    """Nearer than the output of the last frame, which would lag behind."""
    each, _ = frame_stylizer(BLEND, stability=0.01)  # so that nothing else is kept
    got = played(each, frames)
    whole = [Counting(BLEND)(frame) for frame in frames]
    error = np.mean([difference(*pair) for pair in zip(got[1:], whole[1:], strict=True)])
    lag = np.mean([difference(*pair) for pair in pairwise(whole)])
    assert error < 0.6 * lag


def test_a_cut_runs_all_networks(frames: list[Frame]) -> None:
    each, runs = frame_stylizer(BLEND)
    played(each, frames[:3])
    runs.clear()
    [other] = played(each, [255 - frames[0][::-1, ::-1]], begin=3)
    assert sorted(runs) == ["one", "two"]
    expected = Counting(BLEND)(255 - frames[0][::-1, ::-1])
    np.testing.assert_array_equal(other, expected)


def test_without_a_stabilizer_all_networks_run(frames: list[Frame]) -> None:
    still, runs = frame_stylizer(BLEND, stability=0)
    got = played(still, frames[:3])
    assert runs == ["one", "two"] * 3
    got += played(FrameStylizer(Counting(BLEND)), frames[:3])
    np.testing.assert_array_equal(got, [Counting(BLEND)(frame) for frame in frames[:3] * 2])


def test_frames_in_flight_and_restored_state_match(frames: list[Frame]) -> None:
    """Across a fade to a blend of three unrelated styles."""
    timeline = Timeline(((0, "one"), (0.2, {"one": 1, "two": 2, "three": 1})), fade=0.3)

    def made() -> FrameStylizer:
        return FrameStylizer(Counting({"one": 1}), timeline=timeline, stabilizer=Stabilizer())

    expected = played(made(), frames)
    two, got = made(), []
    begun = two.start(frames[0], 0)
    for number, frame in enumerate(frames[1:], 1):
        following = two.start(frame, number * STEP)
        got.append(begun())
        if number == 6:
            state = two.state()
        begun = following
    np.testing.assert_array_equal([*got, begun()], expected)
    resumed = made()
    resumed.restore({name: array.copy() for name, array in state.items()})
    np.testing.assert_array_equal(played(resumed, frames[6:], begin=6), expected[6:])


def test_next_ages() -> None:
    ages = {}
    for names, expected in (
        ("ab", {"a": 0, "b": 0}),
        ("ab", {"a": 0, "b": 1}),
        ("ab", {"a": 1, "b": 0}),
        ("abc", {"a": 2, "b": 1, "c": 0}),  # a new one comes first
        ("bc", {"b": 0, "c": 1}),
    ):
        ages = next_ages(ages, names)
        assert ages == expected


def test_a_waiting_network_runs_beside_a_fade() -> None:
    ages, turns = next_ages({}, ["still", "0"]), []
    for number in range(1, 9):
        ages = next_ages(ages, ["still", str(number)])  # a related group, new in each frame
        assert ages[str(number)] == 0
        turns.append(ages["still"] == 0)
    assert turns == [False, True] * 4
