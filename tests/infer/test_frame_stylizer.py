import io
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from nst_rt.errors import InputError, UnknownNameError
from nst_rt.images.io import Frame
from nst_rt.infer.blend import Pass
from nst_rt.infer.evaluate.model import pan_photos
from nst_rt.infer.frame_stylizer import FrameStylizer, load_frame_stylizer
from nst_rt.infer.postprocess import PostProcessing
from nst_rt.infer.stability.stabilizer import Stabilizer
from nst_rt.infer.stylizer import Stylizer
from nst_rt.infer.timeline import Timeline
from nst_rt.metrics.stability import pan
from nst_rt.models.style_model import StyleModel

STEP = 0.1  # seconds between frames


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    """A camera that pans, in small."""
    return [np.ascontiguousarray(frame[:72:, :96]) for frame in pan(pan_photos()[0])[:10]]


@pytest.fixture
def stylizer(two_styles: StyleModel) -> Stylizer:
    return Stylizer(two_styles, "waves", backend="torch", precision="f32", stroke_size="1:1")


@pytest.fixture
def file(two_styles: StyleModel, tmp_path: Path) -> Path:
    return two_styles.save(tmp_path / "two.safetensors")


def stylized(frame_stylizer: FrameStylizer, frames: Sequence[Frame], begin: int = 0) -> list[Frame]:
    return [
        frame_stylizer.stylize(frame, number * STEP)
        for number, frame in enumerate(frames[begin:], begin)
    ]


def difference(one: Frame, other: Frame) -> float:
    return float(np.abs(one.astype(int) - other).mean())


def test_by_default_it_paints_as_the_stylizer_is_set(
    stylizer: Stylizer, frames: list[Frame]
) -> None:
    stylizer.set_style({"waves": 1, "night": 2}, strength=0.7)
    np.testing.assert_array_equal(
        FrameStylizer(stylizer).stylize(frames[0], 100), stylizer.stylize(frames[0])
    )
    assert str(FrameStylizer(stylizer)) == str(stylizer)


def test_styles_change_over_time(stylizer: Stylizer, frames: list[Frame]) -> None:
    timeline = Timeline(((0, "waves"), (0.5, "night")), fade=0.4)
    got = stylized(FrameStylizer(stylizer, timeline=timeline), [frames[0]] * 10)
    stylizer.set_style("waves")
    waves = stylizer.stylize(frames[0])
    stylizer.set_style("night")
    night = stylizer.stylize(frames[0])
    for number in range(4):
        np.testing.assert_array_equal(got[number], waves)
    for number in range(7, 10):
        np.testing.assert_array_equal(got[number], night)
    stylizer.set_style({"waves": 1, "night": 1})
    assert difference(got[5], stylizer.stylize(frames[0])) < 0.1
    to_night = [difference(frame, night) for frame in got[3:8]]
    assert to_night == sorted(to_night, reverse=True)


def test_styles_over_time_are_as_strong_as_the_stylizer_is_set(
    stylizer: Stylizer, frames: list[Frame]
) -> None:
    stylizer.set_style("waves", strength=0.5)
    half = stylizer.stylize(frames[0])
    frame_stylizer = FrameStylizer(stylizer, timeline=Timeline(((0, "waves"), (9, "night"))))
    np.testing.assert_array_equal(frame_stylizer.stylize(frames[0], 0), half)


def test_the_look_comes_last(stylizer: Stylizer, frames: list[Frame]) -> None:
    post_processing = PostProcessing(strength=0.5, preserve_colors=True, compare=True)
    got = stylized(
        FrameStylizer(stylizer, post_processing=post_processing, stabilizer=Stabilizer()), frames
    )
    steadied = stylized(FrameStylizer(stylizer, stabilizer=Stabilizer()), frames)
    for frame, picture, plain in zip(frames, got, steadied, strict=True):
        np.testing.assert_array_equal(picture, post_processing.apply(frame, plain))


def test_at_strength_0_frames_are_untouched(stylizer: Stylizer, frames: list[Frame]) -> None:
    frame_stylizer = FrameStylizer(
        stylizer, post_processing=PostProcessing(strength=0), stabilizer=Stabilizer()
    )
    for frame, picture in zip(frames, stylized(frame_stylizer, frames), strict=True):
        assert picture is frame


@pytest.mark.parametrize("stop", [0, 1, 4, 9])
def test_a_resumed_painter_goes_on_as_if_nothing_had_been(
    stylizer: Stylizer, frames: list[Frame], stop: int
) -> None:
    """Through a file, and in the middle of a cross-fade and at a cut of styles."""
    timeline = Timeline(((0, "waves"), (0.4, "night"), (0.9, "waves")), fade=0.2)

    def frame_stylizer() -> FrameStylizer:
        return FrameStylizer(
            stylizer,
            timeline=timeline,
            post_processing=PostProcessing(strength=0.8, preserve_colors=True),
            stabilizer=Stabilizer(),
        )

    undisturbed = stylized(frame_stylizer(), frames)
    first = frame_stylizer()
    stylized(first, frames[:stop])
    file = io.BytesIO()
    np.savez(file, **first.state())
    file.seek(0)
    second = frame_stylizer()
    stylized(second, [255 - frame for frame in frames[:3]])  # it forgets what it knew
    second.restore(dict(np.load(file)))
    for got, expected in zip(stylized(second, frames, stop), undisturbed[stop:], strict=True):
        np.testing.assert_array_equal(got, expected)


def test_without_a_stabilizer_there_is_no_state(stylizer: Stylizer, frames: list[Frame]) -> None:
    frame_stylizer = FrameStylizer(stylizer, timeline=Timeline(((0, "waves"), (0.5, "night"))))
    stylized(frame_stylizer, frames)
    assert frame_stylizer.state() == {}
    frame_stylizer.restore({})


def test_a_state_outlives_the_next_frame(stylizer: Stylizer, frames: list[Frame]) -> None:
    frame_stylizer = FrameStylizer(stylizer, stabilizer=Stabilizer())
    stylized(frame_stylizer, frames[:3])
    state = frame_stylizer.state()
    kept = {name: array.copy() for name, array in state.items()}
    stylized(frame_stylizer, frames[3:])
    assert state.keys() == kept.keys()
    for name, array in kept.items():
        np.testing.assert_array_equal(state[name], array)


def test_frames_in_flight_are_painted_the_same(two_styles: StyleModel, frames: list[Frame]) -> None:
    """Across a cross-fade and a cut of styles."""
    timeline = Timeline(((0, "waves"), (0.4, "night"), (0.9, "waves")), fade=0.2)
    stylizer = Stylizer(two_styles, "waves", backend="torch", precision="f32", stroke_size="1:1")
    one, two = (
        FrameStylizer(stylizer, timeline=timeline, stabilizer=Stabilizer()) for _ in range(2)
    )
    expected = stylized(one, frames)
    got = []
    numbered = list(enumerate(frames))
    for pair in (numbered[n : n + 2] for n in range(0, len(numbered), 2)):
        begun = [two.start(frame, number * STEP) for number, frame in pair]
        got += [finish() for finish in begun]
    for picture, wanted in zip(got, expected, strict=True):
        np.testing.assert_array_equal(picture, wanted)
    assert two.state()["seconds"] == one.state()["seconds"]


class Counting(Stylizer):
    """Counts the frames that it stylizes."""

    begun = 0

    def start_shrunk(
        self, frame: Frame, passes: Sequence[Pass] | None = None
    ) -> Callable[[], Frame]:
        self.begun += len(self.passes if passes is None else passes)
        return super().start_shrunk(frame, passes)


def repeated(frame_stylizer: FrameStylizer, frames: Sequence[Frame], times: int) -> list[Frame]:
    """Each frame several times, with two in flight."""
    begun = [
        frame_stylizer.start(frame, (number * times + turn) * STEP, repeated=turn > 0)
        for number, frame in enumerate(frames)
        for turn in range(times)
    ]
    return [finish() for finish in begun]


@pytest.mark.parametrize("stabilizer", [None, Stabilizer()])
def test_what_is_repeated_is_stylized_once(
    two_styles: StyleModel, frames: list[Frame], stabilizer: Stabilizer | None
) -> None:
    stylizer = Counting(two_styles, "waves", backend="torch", precision="f32")
    post_processing = PostProcessing(strength=0.8, compare=True)
    frame_stylizer = FrameStylizer(stylizer, post_processing=post_processing, stabilizer=stabilizer)
    frame_stylizer.restore({})
    once = [frame_stylizer.start(frame, number * STEP)() for number, frame in enumerate(frames)]
    frame_stylizer.restore({})
    stylizer.begun = 0
    got = repeated(frame_stylizer, frames, 3)
    assert stylizer.begun == len(frames)
    for number, picture in enumerate(got):
        np.testing.assert_array_equal(picture, once[number // 3])


def test_what_is_repeated_while_the_style_changes_is_stylized_anew(
    two_styles: StyleModel, frames: list[Frame]
) -> None:
    stylizer = Counting(two_styles, "waves", backend="torch", precision="f32")
    timeline = Timeline(((0, "waves"), (0.55, "night")), fade=0.4)  # changes from 0.35 to 0.75
    got = repeated(FrameStylizer(stylizer, timeline=timeline), frames[:1], 10)
    assert stylizer.begun == 1 + 5  # from 0.4 to 0.8
    expected = stylized(FrameStylizer(stylizer, timeline=timeline), [frames[0]] * 10)
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("stabilizer", [None, Stabilizer()])
def test_what_is_repeated_is_the_same_after_a_resumption(
    two_styles: StyleModel, frames: list[Frame], stabilizer: Stabilizer | None
) -> None:
    stylizer = Counting(two_styles, "waves", backend="torch", precision="f32")
    frame_stylizer = FrameStylizer(
        stylizer, post_processing=PostProcessing(preserve_colors=True), stabilizer=stabilizer
    )
    frame_stylizer.restore({})
    whole = repeated(frame_stylizer, frames[:3], 2)[-1]
    frame_stylizer.restore({})
    repeated(frame_stylizer, frames[:2], 2)
    frame_stylizer.start(frames[2], 4 * STEP)()
    state = frame_stylizer.state()
    frame_stylizer.restore({})
    repeated(frame_stylizer, frames[5:], 2)
    frame_stylizer.restore(state)
    np.testing.assert_array_equal(frame_stylizer.start(frames[2], 5 * STEP, repeated=True)(), whole)


def test_it_is_identified_by_all_that_decides_how_it_paints(
    stylizer: Stylizer, frames: list[Frame]
) -> None:
    timeline = Timeline(((0, "waves"), (0.5, "night")))
    painters = [
        FrameStylizer(stylizer),
        FrameStylizer(stylizer, timeline=timeline),
        FrameStylizer(stylizer, timeline=Timeline(timeline.moments, fade=2)),
        FrameStylizer(stylizer, post_processing=PostProcessing(compare=True)),
        FrameStylizer(stylizer, stabilizer=Stabilizer()),
    ]
    identities = [frame_stylizer.identity for frame_stylizer in painters]
    assert all(identities.count(identity) == 1 for identity in identities)
    stylized(painters[1], frames)
    assert painters[1].identity == identities[1]


def test_a_painter_begins_a_new_video(stylizer: Stylizer, frames: list[Frame]) -> None:
    frame_stylizer = FrameStylizer(stylizer, stabilizer=Stabilizer())
    first = stylized(frame_stylizer, frames)
    frame_stylizer.restore({})
    assert frame_stylizer.state() == {}
    np.testing.assert_array_equal(stylized(frame_stylizer, frames), first)


def test_a_cut_to_another_style_does_not_ghost(stylizer: Stylizer, frames: list[Frame]) -> None:
    timeline = Timeline(((0, "waves"), (0.5, "night")), fade=0)
    got = stylized(
        FrameStylizer(stylizer, timeline=timeline, stabilizer=Stabilizer()), [frames[0]] * 6
    )
    stylizer.set_style("night")
    np.testing.assert_array_equal(got[5], stylizer.stylize(frames[0]))


def test_nothing_of_the_old_style_is_left_when_a_fade_ends(
    stylizer: Stylizer, frames: list[Frame]
) -> None:
    timeline = Timeline(((0, "waves"), (0.5, "night")), fade=0.4)  # until 0.7
    still = [frames[0]] * 9
    got = stylized(FrameStylizer(stylizer, timeline=timeline, stabilizer=Stabilizer()), still)
    plain = stylized(FrameStylizer(stylizer, timeline=timeline), still)
    assert np.abs(got[5] - plain[5].astype(float)).mean() > 1  # it does steady within the fade
    np.testing.assert_array_equal(got[8], plain[8])


def test_nothing_of_the_old_style_is_left_after_a_live_fade(
    stylizer: Stylizer, frames: list[Frame]
) -> None:
    frame_stylizer = FrameStylizer(stylizer, stabilizer=Stabilizer())
    shown = []
    for number in range(9):
        share = min(max(number - 2, 0) / 4, 1)
        stylizer.set_style({"waves": 1 - share, "night": share})
        shown.append(frame_stylizer.stylize(frames[0], number).astype(float))
    night = stylizer.stylize(frames[0])
    np.testing.assert_array_equal(shown[8], night)
    steps = [np.abs(after - before).mean() for before, after in pairwise(shown)]
    assert max(steps) < 0.5 * np.abs(shown[0] - night).mean()  # and it does not jump


def test_what_a_text_says_is_loaded(file: Path, frames: list[Frame]) -> None:
    frame_stylizer = load_frame_stylizer(
        f"{file}:waves@0,{file}:night@0.5",
        fade=0,
        strength=0.5,
        preserve_colors=True,
        compare=True,
        backend="torch",
        precision="f32",
    )
    stylizer = Stylizer(StyleModel.load(file), "waves", backend="torch", precision="f32")
    expected = FrameStylizer(
        stylizer,
        timeline=Timeline(((0, "waves"), (0.5, "night")), fade=0),
        post_processing=PostProcessing(strength=0.5, preserve_colors=True, compare=True),
    )
    for got, wanted in zip(
        stylized(frame_stylizer, frames), stylized(expected, frames), strict=True
    ):
        np.testing.assert_array_equal(got, wanted)
    assert str(frame_stylizer).startswith("torch f32")


def test_blends_and_timelines_are_loaded(file: Path, frames: list[Frame]) -> None:
    stylizer = Stylizer(StyleModel.load(file), {"waves": 3, "night": 1}, backend="torch")
    blend = {f"{file}:waves": 3.0, f"{file}:night": 1.0}
    for style in (blend, Timeline(((0, blend),))):
        picture = load_frame_stylizer(style, backend="torch").stylize(frames[0], 7)
        np.testing.assert_array_equal(picture, stylizer.stylize(frames[0]))


def test_what_cannot_be_loaded_is_an_error() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'starry_night'"):
        load_frame_stylizer("starry_nigt")
    with pytest.raises(InputError, match="strength"):
        load_frame_stylizer(strength=2)
    with pytest.raises(InputError, match="must begin at 0"):
        load_frame_stylizer("starry_night@3")
