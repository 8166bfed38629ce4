import io
import operator
import pickle
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nst_rt.errors import InputError
from nst_rt.images.io import Frame
from nst_rt.infer.blend import Pass
from nst_rt.infer.evaluate.model import pan_photos
from nst_rt.infer.frame_stylizer import (
    FrameStylizer,
    Preparation,
    label_of,
    load_frame_stylizer,
)
from nst_rt.infer.postprocess import PostProcessing, split
from nst_rt.infer.stability.stabilizer import Stabilizer
from nst_rt.infer.stylizer import Stylizer, load_style
from nst_rt.infer.timeline import Timeline
from nst_rt.metrics.stability import pan
from nst_rt.models.style_model import StyleModel

STEP = 0.1  # seconds between frames
EXACT: dict[str, Any] = {"backend": "torch", "precision": "f32", "stroke_size": "1:1"}


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    """A camera that pans, in small."""
    return [np.ascontiguousarray(frame[:72:, :96]) for frame in pan(pan_photos()[0])[:10]]


@pytest.fixture
def stylizer(two_styles: StyleModel) -> Stylizer:
    return Stylizer(two_styles, "waves", **EXACT)


def stylized(frame_stylizer: FrameStylizer, frames: Sequence[Frame], begin: int = 0) -> list[Frame]:
    return [
        frame_stylizer.stylize(frame, number * STEP)
        for number, frame in enumerate(frames[begin:], begin)
    ]


def difference(one: Frame, other: Frame) -> float:
    return float(np.abs(one.astype(int) - other).mean())


def test_without_a_timeline_the_stylizer_decides(stylizer: Stylizer, frames: list[Frame]) -> None:
    frame_stylizer = FrameStylizer(stylizer)
    stylizer.set_style({"waves": 1, "night": 2}, strength=0.7)
    np.testing.assert_array_equal(frame_stylizer.stylize(frames[0], 100), stylizer(frames[0]))
    assert str(frame_stylizer) == str(stylizer)


def test_timeline_changes_the_style(stylizer: Stylizer, frames: list[Frame]) -> None:
    timeline = Timeline(((0, "waves"), (0.5, "night")), fade=0.4)
    stylizer.set_style(strength=0.7)  # which stays
    got = stylized(FrameStylizer(stylizer, timeline=timeline), [frames[0]] * 10)
    stylizer.set_style("waves")
    np.testing.assert_array_equal(got[:4], [stylizer(frames[0])] * 4)
    stylizer.set_style("night")
    night = stylizer(frames[0])
    np.testing.assert_array_equal(got[7:], [night] * 3)
    stylizer.set_style({"waves": 1, "night": 1})
    assert difference(got[5], stylizer(frames[0])) < 0.1
    to_night = [difference(frame, night) for frame in got[3:8]]
    assert to_night == sorted(to_night, reverse=True)


def test_post_processing_comes_last(stylizer: Stylizer, frames: list[Frame]) -> None:
    plain = stylized(FrameStylizer(stylizer, stabilizer=Stabilizer()), frames)
    stylizer.set_style(strength=0.5)
    post_processing = PostProcessing(preserve_colors=True, compare=True)
    got = stylized(
        FrameStylizer(stylizer, post_processing=post_processing, stabilizer=Stabilizer()), frames
    )
    np.testing.assert_array_equal(got, list(map(post_processing.apply, frames, plain, [0.5] * 10)))


def test_strength_0_returns_the_frame_itself(stylizer: Stylizer, frames: list[Frame]) -> None:
    stylizer.set_style(strength=0)
    frame_stylizer = FrameStylizer(
        stylizer, post_processing=PostProcessing(preserve_colors=True), stabilizer=Stabilizer()
    )
    assert all(map(operator.is_, frames, stylized(frame_stylizer, frames)))


@pytest.mark.parametrize("stop", [0, 1, 4, 9])
def test_restored_state_continues_exactly(
    stylizer: Stylizer, frames: list[Frame], stop: int
) -> None:
    """Through a file, and in the middle of a cross-fade and at a cut of styles."""
    timeline = Timeline(((0, "waves"), (0.4, "night"), (0.9, "waves")), fade=0.2)
    stylizer.set_style(strength=0.8)

    def frame_stylizer() -> FrameStylizer:
        return FrameStylizer(
            stylizer,
            timeline=timeline,
            post_processing=PostProcessing(preserve_colors=True),
            stabilizer=Stabilizer(),
        )

    uninterrupted = stylized(frame_stylizer(), frames)
    first = frame_stylizer()
    stylized(first, frames[:stop])
    state = first.state()
    stylized(first, frames[stop:])  # which must not change the state
    file = io.BytesIO()
    np.savez(file, **state)
    file.seek(0)
    second = frame_stylizer()
    stylized(second, [255 - frame for frame in frames[:3]])  # which is forgotten
    second.restore(dict(np.load(file)))
    np.testing.assert_array_equal(stylized(second, frames, stop), uninterrupted[stop:])


def test_without_a_stabilizer_there_is_no_state(stylizer: Stylizer, frames: list[Frame]) -> None:
    frame_stylizer = FrameStylizer(stylizer, timeline=Timeline(((0, "waves"), (0.5, "night"))))
    stylized(frame_stylizer, frames)
    assert frame_stylizer.state() == {}
    frame_stylizer.restore({})


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
def test_repeated_frames_are_stylized_once(
    two_styles: StyleModel, frames: list[Frame], stabilizer: Stabilizer | None
) -> None:
    stylizer = Counting(two_styles, "waves", strength=0.8, **EXACT)
    post_processing = PostProcessing(compare=True)
    frame_stylizer = FrameStylizer(stylizer, post_processing=post_processing, stabilizer=stabilizer)
    frame_stylizer.restore({})
    once = [frame_stylizer.start(frame, number * STEP)() for number, frame in enumerate(frames)]
    frame_stylizer.restore({})
    stylizer.begun = 0
    got = repeated(frame_stylizer, frames, 3)
    assert stylizer.begun == len(frames)
    np.testing.assert_array_equal(got, [frame for frame in once for _ in range(3)])


def test_repeated_frames_are_stylized_again_when_the_style_changes(
    two_styles: StyleModel, frames: list[Frame]
) -> None:
    stylizer = Counting(two_styles, "waves", **EXACT)
    timeline = Timeline(((0, "waves"), (0.55, "night")), fade=0.4)  # changes from 0.35 to 0.75
    got = repeated(FrameStylizer(stylizer, timeline=timeline), frames[:1], 10)
    assert stylizer.begun == 1 + 5  # from 0.4 to 0.8
    expected = stylized(FrameStylizer(stylizer, timeline=timeline), [frames[0]] * 10)
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("stabilizer", [None, Stabilizer()])
def test_repeated_frames_are_the_same_after_restoring(
    two_styles: StyleModel, frames: list[Frame], stabilizer: Stabilizer | None
) -> None:
    stylizer = Counting(two_styles, "waves", **EXACT)
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


def test_identity_covers_all_settings(stylizer: Stylizer, frames: list[Frame]) -> None:
    timeline = Timeline(((0, "waves"), (0.5, "night")))
    frame_stylizers = [
        FrameStylizer(stylizer),
        FrameStylizer(stylizer, timeline=timeline),
        FrameStylizer(stylizer, timeline=Timeline(timeline.moments, fade=2)),
        FrameStylizer(stylizer, post_processing=PostProcessing(compare=True)),
        FrameStylizer(stylizer, stabilizer=Stabilizer()),
    ]
    identities = [frame_stylizer.identity for frame_stylizer in frame_stylizers]
    assert all(identities.count(identity) == 1 for identity in identities)
    stylized(frame_stylizers[1], frames)
    assert frame_stylizers[1].identity == identities[1]


def test_a_cut_between_styles_leaves_no_ghost(stylizer: Stylizer, frames: list[Frame]) -> None:
    timeline = Timeline(((0, "waves"), (0.5, "night")), fade=0)
    got = stylized(
        FrameStylizer(stylizer, timeline=timeline, stabilizer=Stabilizer()), [frames[0]] * 6
    )
    stylizer.set_style("night")
    np.testing.assert_array_equal(got[5], stylizer(frames[0]))


def test_a_fade_leaves_no_ghost(stylizer: Stylizer, frames: list[Frame]) -> None:
    timeline = Timeline(((0, "waves"), (0.5, "night")), fade=0.4)  # until 0.7
    still = [frames[0]] * 9
    got = stylized(FrameStylizer(stylizer, timeline=timeline, stabilizer=Stabilizer()), still)
    plain = stylized(FrameStylizer(stylizer, timeline=timeline), still)
    assert np.abs(got[5] - plain[5].astype(float)).mean() > 1  # it does steady within the fade
    np.testing.assert_array_equal(got[8], plain[8])


def test_a_live_fade_leaves_no_ghost(stylizer: Stylizer, frames: list[Frame]) -> None:
    frame_stylizer = FrameStylizer(stylizer, stabilizer=Stabilizer())
    shown = []
    for number in range(9):
        fraction = min(max(number - 2, 0) / 4, 1)
        stylizer.set_style({"waves": 1 - fraction, "night": fraction})
        shown.append(frame_stylizer.stylize(frames[0], number).astype(float))
    night = stylizer(frames[0])
    np.testing.assert_array_equal(shown[8], night)
    steps = [np.abs(after - before).mean() for before, after in pairwise(shown)]
    assert max(steps) < 0.5 * np.abs(shown[0] - night).mean()  # and it does not jump


def test_load_frame_stylizer_from_text(model: Path, frames: list[Frame]) -> None:
    frame_stylizer = load_frame_stylizer(
        f"{model}:waves@0,{model}:night@0.5",
        fade=0,
        strength=0.5,
        preserve_colors=True,
        compare=True,
        stability=0.5,
        **EXACT,
    )
    stylizer = Stylizer(StyleModel.load(model), "waves", strength=0.5, **EXACT)
    expected = FrameStylizer(
        stylizer,
        timeline=Timeline(((0, "waves"), (0.5, "night")), fade=0),
        post_processing=PostProcessing(preserve_colors=True, compare=True),
        stabilizer=Stabilizer(0.5),
    )
    np.testing.assert_array_equal(stylized(frame_stylizer, frames), stylized(expected, frames))
    assert str(frame_stylizer).startswith("torch f32")


def test_load_frame_stylizer_from_every_form(model: Path, frames: list[Frame]) -> None:
    blend = {f"{model}:waves": 3.0, f"{model}:night": 1.0}
    text = ",".join(f"{name}={weight}" for name, weight in blend.items())
    loaded = load_style(blend, **EXACT)
    expected = loaded(frames[0])
    for style in (blend, text, Timeline(((0, blend),))):
        frame_stylizer = load_frame_stylizer(style, **EXACT)
        np.testing.assert_array_equal(frame_stylizer.stylize(frames[0], 7), expected)
        assert frame_stylizer.timeline is None
    compared = load_frame_stylizer(loaded, compare=True).stylize(frames[0], 0)
    np.testing.assert_array_equal(compared, split(frames[0], expected))
    assert load_frame_stylizer(frame_stylizer) is frame_stylizer


def test_settings_of_loaded_styles_are_errors(stylizer: Stylizer) -> None:
    for setting in ({"backend": "torch"}, {"strength": 0.5}):
        with pytest.raises(InputError, match=f"`{next(iter(setting))}`"):
            load_frame_stylizer(stylizer, **setting)
    with pytest.raises(InputError, match="`strength`"):
        load_frame_stylizer(FrameStylizer(stylizer), strength=0.5)


def test_labels_of_loaded_styles(stylizer: Stylizer) -> None:
    stylizer.set_style(["night", "waves"], strength=0.5)
    label = "night_waves_strength_50"
    assert label_of(stylizer) == label_of(FrameStylizer(stylizer)) == label
    frame_stylizer = FrameStylizer(stylizer, timeline=Timeline(((0, "waves"), (1, "night"))))
    assert label_of(frame_stylizer) == "waves_night_strength_50"
    with pytest.raises(InputError, match="videos"):
        label_of(frame_stylizer, over_time=False)


def test_a_preparation_can_be_sent_elsewhere(model: Path) -> None:
    """Files are read before, and need not exist there."""
    style = f"{model}:waves@0,{model}:night@2"
    settings: dict[str, Any] = {"preserve_colors": True, "stability": 0.5, **EXACT}
    sent = pickle.dumps(Preparation.of(style, **settings))
    loaded: FrameStylizer = pickle.loads(sent).load()
    assert loaded.identity == load_frame_stylizer(style, **settings).identity
