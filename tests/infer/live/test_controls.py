import pytest

from nst_rt.errors import InputError, UnknownNameError
from nst_rt.infer.live.controls import FADE_SECONDS, KEYS, NOTE_SECONDS, LiveControls

STYLES = ["waves", "night", "ink"]


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def controls(clock: Clock) -> LiveControls:
    return LiveControls(STYLES, "waves", clock=clock)


def press(controls: LiveControls, *keys: str) -> None:
    for key in keys:
        assert controls.on_key(key)


def settled(controls: LiveControls, clock: Clock) -> dict[str, float]:
    """The weights when fades are over."""
    clock.now += FADE_SECONDS
    return controls.weights()


def test_it_begins_with_its_style(controls: LiveControls) -> None:
    assert controls.weights() == {"waves": 1.0}
    assert str(controls) == "waves"


def test_numbers_and_arrows_choose_styles(controls: LiveControls, clock: Clock) -> None:
    press(controls, "2")
    assert settled(controls, clock) == {"night": 1.0}
    press(controls, "right", "right")  # round
    assert settled(controls, clock) == {"waves": 1.0}
    press(controls, "left")
    assert settled(controls, clock) == {"ink": 1.0}
    assert not controls.on_key("4")  # there are three


def test_the_tenth_style_is_0() -> None:
    controls = LiveControls([f"s{number}" for number in range(1, 13)], "s1")
    press(controls, "0")
    assert controls.style == "s10"


def test_styles_fade_with_time(controls: LiveControls, clock: Clock) -> None:
    press(controls, "2")
    assert controls.weights() == {"waves": 1.0}
    parts = []
    for _ in range(10):
        clock.now += FADE_SECONDS / 10
        weights = controls.weights()
        assert sum(weights.values()) == pytest.approx(1)
        parts.append(weights["night"])
    assert parts == sorted(parts)
    assert parts[4] == pytest.approx(0.5)
    assert parts[-1] == pytest.approx(1)


def test_a_fade_that_is_interrupted_goes_on_from_where_it_is(
    controls: LiveControls, clock: Clock
) -> None:
    press(controls, "2")
    clock.now += FADE_SECONDS / 2
    before = controls.weights()
    press(controls, "3")
    assert controls.weights() == pytest.approx(before)
    assert settled(controls, clock) == {"ink": 1.0}


def test_a_blend_begins_with_the_style_before(controls: LiveControls, clock: Clock) -> None:
    press(controls, "3", "b")
    assert settled(controls, clock) == {"ink": 0.5, "waves": 0.5}
    press(controls, "up", "up")
    assert settled(controls, clock) == pytest.approx({"ink": 0.3, "waves": 0.7})
    assert str(controls) == "ink 30% + waves 70%"
    press(controls, *["down"] * 9)
    assert settled(controls, clock) == {"ink": 1.0}


def test_in_a_blend_the_second_style_is_chosen(controls: LiveControls, clock: Clock) -> None:
    press(controls, "b")
    assert settled(controls, clock) == {"waves": 0.5, "night": 0.5}
    press(controls, "3")
    assert settled(controls, clock) == {"waves": 0.5, "ink": 0.5}
    press(controls, "right")  # past the first one
    assert settled(controls, clock) == {"waves": 0.5, "night": 0.5}
    press(controls, "1")  # itself
    assert settled(controls, clock) == {"waves": 1.0}
    assert controls.second is None


@pytest.mark.parametrize(("keys", "style"), [((), "waves"), (("up",), "night")])
def test_after_a_blend_stays_what_there_was_more_of(
    controls: LiveControls, clock: Clock, keys: tuple[str, ...], style: str
) -> None:
    press(controls, "b", *keys, "b")
    assert settled(controls, clock) == {style: 1.0}
    press(controls, "b")
    assert set(settled(controls, clock)) == {"waves", "night"}


def test_one_style_cannot_be_blended(clock: Clock) -> None:
    controls = LiveControls(["waves"], "waves", clock=clock)
    press(controls, "b")
    assert controls.note
    press(controls, "right")
    assert controls.weights() == {"waves": 1.0}


def test_the_mix_needs_a_blend(controls: LiveControls) -> None:
    press(controls, "up")
    assert "press b" in controls.note


def test_strength_goes_by_tenths_within_its_range(controls: LiveControls) -> None:
    press(controls, "-", "-", "-")
    assert controls.strength == pytest.approx(0.7)
    assert str(controls) == "waves, strength 70%"
    press(controls, "+", "=", "+", "+")
    assert controls.strength == 1
    press(controls, *["-"] * 12)
    assert controls.strength == 0


def test_switches(controls: LiveControls) -> None:
    names = ("preserve_colors", "compare", "recording", "full_screen", "help", "overlay")
    before = [getattr(controls, name) for name in names]
    press(controls, *"pcrfho")
    assert [getattr(controls, name) for name in names] == [not value for value in before]
    press(controls, *"pcrfho")
    assert [getattr(controls, name) for name in names] == before


@pytest.mark.parametrize("key", ["q", "escape"])
def test_quitting_is_for_good(controls: LiveControls, key: str) -> None:
    press(controls, key, key)
    assert controls.quit


def test_notes_go_away(controls: LiveControls, clock: Clock) -> None:
    controls.say("saved")
    assert controls.note == "saved"
    clock.now += NOTE_SECONDS
    assert controls.note == ""


def test_every_key_in_the_help_does_something(controls: LiveControls) -> None:
    keys = {"1-9, 0": ["1", "2"], "left, right": ["left", "right"], "up, down": ["up", "down"]}
    keys |= {
        "+, -": ["+", "-"],
        "[, ]": ["[", "]"],
        "<, >": [",", ".", "<", ">"],
        "q, Esc": ["q", "escape"],
    }
    for names, what in KEYS:
        assert what.isascii()
        press(controls, *keys.get(names, [names]))
    assert not controls.on_key("x")


def test_what_cannot_be() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'waves'"):
        LiveControls(STYLES, "wave")
    with pytest.raises(InputError, match="between 0 and 1"):
        LiveControls(STYLES, "waves", strength=1.5)
