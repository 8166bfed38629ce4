from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nst_rt.errors import InputError, UnknownNameError
from nst_rt.infer.timeline import Timeline, load_blend, load_timeline, parse_style, style_label
from nst_rt.models.style_model import StyleModel

A, B, C = {"a": 1.0}, {"b": 1.0}, {"c": 1.0}


@pytest.mark.parametrize(
    ("moments", "fade", "blends"),
    [
        ("a@0,b@10,c@20", 1, {0: A, 9.5: A, 10.5: B, 19.5: B, 20.5: C, 1e6: C}),
        (  # fades are centered
            "a@0,b@10",
            4,
            {8: A, 9: {"a": 0.75, "b": 0.25}, 10: {"a": 0.5, "b": 0.5}, 12: B},
        ),
        ("a@0,b@10,a@11", 0, {np.nextafter(10, 0): A, 10: B, 11: A}),  # cuts
        (  # fades are shortened where styles follow each other fast
            "a@0,b@1,c@3",
            60,
            {0: A, 0.5: A, 1: {"a": 0.5, "b": 0.5}, 1.5: B, 2: B, 4: C},
        ),
        ("a@0,a=3+b=1@5,b@7", 1, {6: {"a": 0.75, "b": 0.25}}),
    ],
)
def test_blend_at_a_time(
    moments: str, fade: float, blends: Mapping[float, dict[str, float]]
) -> None:
    timeline = parse_style(moments, fade=fade)
    assert {seconds: timeline.at(seconds) for seconds in blends} == blends


def test_weights_change_steadily_and_sum_to_1() -> None:
    moments = ((0, "a"), (0.7, {"a": 3, "c": 1}), (1, "b"), (5, "a"))
    timeline = Timeline(moments, fade=0.5)
    times = np.arange(0, 6, 0.01)
    weights = [[timeline.at(seconds).get(name, 0) for name in "abc"] for seconds in times]
    np.testing.assert_allclose(np.sum(weights, 1), 1)
    assert np.min(weights) >= 0
    steps = [np.abs(np.subtract(*pair)).max() for pair in pairwise(weights)]
    assert max(steps) <= 0.01 / 0.3 + 1e-9  # the shortest fade takes 0.3 s


@pytest.mark.parametrize(
    ("moments", "named"),
    [
        ((), "0 seconds"),
        (((3, "a"),), "not at 3"),
        (((float("nan"), "a"),), "0 seconds"),
        (((0, "a"), (5, "b"), (4, "c")), "4 comes after 5"),
        (((0, "a"), (5, "b"), (5, "c")), "5 comes after 5"),
        (((0, "a"), (float("nan"), "b")), "nan"),
        (((0, "a"), (float("inf"), "b")), "inf"),
        (((0, {"a": 1, "b": -1}),), "'b'"),
        (((0, "a"), (1, {"b": 0})), "0"),
    ],
)
def test_bad_moments_are_errors(moments: Any, named: str) -> None:
    with pytest.raises(InputError, match=named):
        Timeline(moments)


@pytest.mark.parametrize("fade", [-1, float("nan"), float("inf")])
def test_bad_fades_are_errors(fade: float) -> None:
    with pytest.raises(InputError, match="`fade`"):
        Timeline(((0, "a"),), fade=fade)


@pytest.mark.parametrize(
    ("text", "moments"),
    [
        ("starry_night", ((0, "starry_night"),)),
        ("a=3,b=1", ((0, {"a": 0.75, "b": 0.25}),)),
        ("starry_night@0,great_wave@12.5", ((0, "starry_night"), (12.5, "great_wave"))),
        (" a @ 0 , b @ 1e1 ", ((0, "a"), (10, "b"))),
        ("a@0,b@1:30,c@1:00:00.5", ((0, "a"), (90, "b"), (3600.5, "c"))),
        ("a=3+b=1@0,c@5", ((0, {"a": 0.75, "b": 0.25}), (5, "c"))),
    ],
)
def test_texts_are_parsed(text: str, moments: tuple[tuple[float, Any], ...]) -> None:
    assert parse_style(text, fade=3) == Timeline(moments, fade=3)


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
def test_texts_may_name_any_file(name: str) -> None:
    assert parse_style(name).moments == ((0, name),)
    assert parse_style(f"{name}@0,{name}@5").moments == ((0, name), (5, name))
    assert parse_style(f"{name}=3,b=1").at(0) == {name: 0.75, "b": 0.25}
    assert parse_style(f"{name}=3+b=1@0").at(0) == {name: 0.75, "b": 0.25}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("a@0,b", "'a@0,b'"),
        ("a@", "''"),
        ("@0", "'@0'"),
        ("a@0,b@soon", "'soon'"),
        ("a@3,b@5", "not at 3"),
        ("a@0,b@5,c@2", "2 comes after 5"),
        ("a@0,b=much@5", "'much'"),
        ("a=1,b", "'a=1,b'"),
        ("a=1,b=x", "'x'"),
        ("a=1,a=2", "twice"),
        ("a=1,b=-1", "'b'"),
        ("a=nan", "nan"),
        ("a=0,b=0", "0"),
    ],
)
def test_other_texts_are_errors(text: str, named: str) -> None:
    with pytest.raises(InputError, match=named):
        parse_style(text)


def test_load_timeline_names_styles_as_in_the_set(two_styles: StyleModel, tmp_path: Path) -> None:
    one, other = (two_styles.save(tmp_path / f"{name}.safetensors") for name in ("a", "b"))
    style_set, timeline = load_timeline(f"{one}@0,{other}:night@2,{one}:night@4", fade=0.5)
    assert style_set.names == ["waves", "night", "waves 2", "night 2"]
    moments = ((0, {"waves": 1.0}), (2, {"night 2": 1.0}), (4, {"night": 1.0}))
    assert timeline == Timeline(moments, fade=0.5)


def test_two_names_of_one_style_are_added(model: Path) -> None:
    blend = {str(model): 1, f"{model}:waves": 1, f"{model}:night": 2}
    for style in (blend, Timeline(((0, blend),))):
        assert load_timeline(style)[1].at(0) == {"waves": 0.5, "night": 0.5}


def test_unknown_styles_are_errors(model: Path) -> None:
    with pytest.raises(UnknownNameError, match="'great_wave'"):
        load_timeline("starry_night@0,great_wafe@1")
    with pytest.raises(UnknownNameError, match="'night'"):
        load_timeline(f"{model}:waves@0,{model}:nite@1")
    with pytest.raises(InputError, match="videos"):
        load_blend(f"{model}:waves@0,{model}:night@1")


def test_labels_of_styles(two_styles: StyleModel) -> None:
    for style, label in (
        ("starry_night", "starry_night"),
        ("my/mine.safetensors", "mine"),
        (Path("my/mine.safetensors"), "mine"),
        ("my/mine.safetensors:a=7,b=3", "a_70_b_30"),
        (["b", two_styles], "b_waves"),
        ({"a": 0.5, "b": 0.5}, "a_b"),
        ("a@0,a=2+b=1@1,a@2", "a_a_67_b_33"),
        (Timeline(((0, "a"), (1, "c"))), "a_c"),
    ):
        assert style_label(style) == label  # type: ignore[arg-type]
        assert style_label(style, strength=0.5) == f"{label}_strength_50"  # type: ignore[arg-type]


def test_valid_fraction_falls_through_fades() -> None:
    timeline = Timeline(((0, "waves"), (10, "night"), (20, "waves")), fade=4)
    assert timeline.still_valid(0, 8) == timeline.still_valid(12, 18) == 1
    assert timeline.still_valid(8, 9) == pytest.approx(3 / 4)
    assert timeline.still_valid(9, 10) == pytest.approx(2 / 3)
    assert timeline.still_valid(9, 12) == timeline.still_valid(8, 30) == 0
    cuts = Timeline(timeline.moments, fade=0)
    assert cuts.still_valid(9.9, 10) == 0
    assert cuts.still_valid(10, 19.9) == 1
