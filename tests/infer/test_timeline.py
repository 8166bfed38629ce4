from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from nst_rt.errors import InputError, UnknownNameError
from nst_rt.infer.timeline import Timeline, parse_blend, parse_style
from nst_rt.models.style_model import StyleModel

A, B, C = {"a": 1.0}, {"b": 1.0}, {"c": 1.0}


def test_a_style_lasts_until_the_next_one() -> None:
    timeline = Timeline(((0, "a"), (10, "b"), (20, "c")))
    for seconds in (0, 5, 9.5):
        assert timeline.at(seconds) == A
    for seconds in (10.5, 15, 19.5):
        assert timeline.at(seconds) == B
    for seconds in (20.5, 1e6):
        assert timeline.at(seconds) == C


def test_a_cross_fade_is_centered_at_its_time() -> None:
    timeline = Timeline(((0, "a"), (10, "b")), fade=4)
    assert timeline.at(8) == A
    assert timeline.at(9) == {"a": 0.75, "b": 0.25}
    assert timeline.at(10) == {"a": 0.5, "b": 0.5}
    assert timeline.at(11) == {"a": 0.25, "b": 0.75}
    assert timeline.at(12) == B


def test_without_a_fade_it_is_a_cut() -> None:
    timeline = Timeline(((0, "a"), (10, "b"), (11, "a")), fade=0)
    assert timeline.at(np.nextafter(10, 0)) == A
    assert timeline.at(10) == B
    assert timeline.at(11) == A


def test_fades_are_shortened_where_styles_follow_fast() -> None:
    timeline = Timeline(((0, "a"), (1, "b"), (3, "c")), fade=60)
    assert timeline.at(0) == A
    assert timeline.at(0.5) == A
    assert timeline.at(1) == {"a": 0.5, "b": 0.5}
    assert timeline.at(1.5) == B
    assert timeline.at(2) == B
    assert timeline.at(4) == C


def test_nothing_jumps_and_weights_always_sum_to_one() -> None:
    moments = ((0, "a"), (0.7, {"a": 3, "c": 1}), (1, "b"), (5, "a"))
    timeline = Timeline(moments, fade=0.5)
    weights = [
        [timeline.at(seconds).get(name, 0) for name in "abc"] for seconds in np.arange(0, 6, 0.01)
    ]
    np.testing.assert_allclose(np.sum(weights, 1), 1)
    assert np.min(weights) >= 0
    steps = [np.abs(np.subtract(*pair)).max() for pair in pairwise(weights)]
    assert max(steps) <= 0.01 / 0.3 + 1e-9  # the shortest fade takes 0.3 s


def test_a_time_gives_the_same_whatever_came_before() -> None:
    timeline = Timeline(((0, "a"), (1, "b"), (2, "c")))
    times = np.arange(0, 3, 0.04)
    forwards = [timeline.at(seconds) for seconds in times]
    assert [timeline.at(seconds) for seconds in times[::-1]][::-1] == forwards


@pytest.mark.parametrize(
    ("moments", "said"),
    [
        ((), "must begin at 0 seconds; see starry_night@0,"),
        (((3, "a"),), "must begin at 0 seconds, not at 3;"),
        (((float("nan"), "a"),), "must begin at 0 seconds"),
        (((0, "a"), (5, "b"), (4, "c")), "must ascend, and 4 comes after 5"),
        (((0, "a"), (5, "b"), (5, "c")), "must ascend, and 5 comes after 5"),
        (((0, "a"), (float("nan"), "b")), "must ascend"),
        (((0, "a"), (float("inf"), "b")), "must ascend"),
        (((0, {"a": 1, "b": -1}),), "weight of style 'b' must be 0 or more, not -1"),
        (((0, "a"), (1, {"b": 0})), "must not all be 0"),
    ],
)
def test_timelines_that_cannot_be(moments: tuple[tuple[float, str]], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Timeline(moments)


@pytest.mark.parametrize("fade", [-1, float("nan"), float("inf")])
def test_fades_that_cannot_be(fade: float) -> None:
    with pytest.raises(InputError, match="takes 0 seconds or more"):
        Timeline(((0, "a"),), fade=fade)


def test_texts_of_styles_over_time() -> None:
    assert parse_style("starry_night@0,great_wave@12.5").moments == (
        (0, "starry_night"),
        (12.5, "great_wave"),
    )
    assert parse_style(" a @ 0 , b @ 1e1 ", fade=3) == Timeline(((0, "a"), (10, "b")), fade=3)
    assert parse_style("a@0,b@1:30,c@1:00:00.5").moments[1:] == ((90, "b"), (3600.5, "c"))
    mixed = parse_style("a@0,a=3+b=1@5,b@7")
    assert mixed.at(6) == {"a": 0.75, "b": 0.25}


@pytest.mark.parametrize(
    "name",
    [
        "a",
        "my/f.safetensors:a",
        "me@work/f.safetensors",
        "me@work/a,b/f=1.safetensors:a",
        "c++/f.safetensors:a",
    ],
)
def test_names_may_be_files_of_any_name(name: str) -> None:
    assert parse_style(name).moments == ((0, name),)
    assert parse_style(f"{name}@0,{name}@5").moments == ((0, name), (5, name))
    assert parse_blend(f"{name}=3,b=1") == {name: 0.75, "b": 0.25}
    assert parse_style(f"{name}=3+b=1@0").at(0) == {name: 0.75, "b": 0.25}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a@0,b", "styles over time are starry_night@0,great_wave@12.5; 'a@0,b' is not"),
        ("a@", "'' cannot be read"),
        ("@0", "is not of this form"),
        ("a@0,b@soon", "'soon' cannot be read"),
        ("a@3,b@5", "must begin at 0 seconds, not at 3"),
        ("a@0,b@5,c@2", "must ascend"),
        ("a@0,b=much@5", r"a blend is starry_night=0.7\+great_wave=0.3; 'much' cannot be read"),
    ],
)
def test_other_texts_are_errors(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        parse_style(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a", "a blend is starry_night=0.7,great_wave=0.3; 'a' is not of this form"),
        ("a=1,b", "is not of this form"),
        ("", "is not of this form"),
        ("a=1,b=x", "'x' cannot be read"),
        ("a=1,a=2", "named twice"),
        ("a=1,b=-1", "weight of style 'b' must be 0 or more"),
        ("a=nan", "must be 0 or more"),
        ("a=0,b=0", "must not all be 0"),
    ],
)
def test_texts_that_are_no_blend(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        parse_blend(text)


def test_styles_are_found_in_their_file(two_styles: StyleModel, tmp_path: Path) -> None:
    file = two_styles.save(tmp_path / "two.safetensors")
    style_set, timeline = parse_style(f"{file}@0,{file}:night@2").load()
    assert style_set.names == ["waves", "night"]
    assert timeline == Timeline(((0, {"waves": 1.0}), (2, {"night": 1.0})))


def test_two_names_of_one_style_are_one(two_styles: StyleModel, tmp_path: Path) -> None:
    file = two_styles.save(tmp_path / "two.safetensors")
    blend = {str(file): 1, f"{file}:waves": 1, f"{file}:night": 2}
    _, timeline = Timeline(((0, blend),)).load()
    assert timeline.at(0) == {"waves": 0.5, "night": 0.5}


def test_styles_of_several_files_go_together(two_styles: StyleModel, tmp_path: Path) -> None:
    one, other = (two_styles.save(tmp_path / f"{name}.safetensors") for name in ("a", "b"))
    style_set, timeline = parse_style(f"{one}@0,{other}:night@2,{one}:night@4").load()
    assert style_set.names == ["waves", "night", "waves 2", "night 2"]
    assert [blend for _, blend in timeline.moments] == [
        {"waves": 1.0},
        {"night 2": 1.0},
        {"night": 1.0},
    ]


def test_unknown_styles_are_named(two_styles: StyleModel, tmp_path: Path) -> None:
    file = two_styles.save(tmp_path / "two.safetensors")
    with pytest.raises(UnknownNameError, match="'great_wafe': did you mean 'great_wave'"):
        parse_style("starry_night@0,great_wafe@1").load()
    with pytest.raises(UnknownNameError, match="'nite': did you mean 'night'"):
        parse_style(f"{file}:waves@0,{file}:nite@1").load()


def test_what_was_painted_stays_valid_but_for_changes_of_the_style() -> None:
    timeline = Timeline(((0, "waves"), (10, "night"), (20, "waves")), fade=4)
    assert timeline.still_valid(0, 8) == timeline.still_valid(12, 18) == 1
    assert timeline.still_valid(8, 9) == pytest.approx(3 / 4)
    assert timeline.still_valid(9, 10) == pytest.approx(2 / 3)
    assert timeline.still_valid(9, 12) == timeline.still_valid(8, 30) == 0
    cuts = Timeline(timeline.moments, fade=0)
    assert cuts.still_valid(9.9, 10) == 0
    assert cuts.still_valid(10, 19.9) == 1
