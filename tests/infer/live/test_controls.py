from itertools import chain
from unittest.mock import MagicMock

import pytest

from nst_rt.errors import InputError, UnknownNameError
from nst_rt.infer.adaptive import LiveStyle
from nst_rt.infer.learning.live import LiveLearning
from nst_rt.infer.live.controls import FADE_SECONDS, KEYS, NOTE_SECONDS, PAGE_SECONDS, LiveControls

STYLES = {"waves": "The Waves", "night": "La Nuit étoilée", "ink": "ink"}
WAVES = LiveStyle({"waves": 1.0})


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def controls(clock: Clock) -> LiveControls:
    return LiveControls(STYLES, WAVES, clock=clock)


def press(controls: LiveControls, *keys: str) -> None:
    for key in keys:
        assert controls.on_key(key)


def settled(controls: LiveControls, clock: Clock) -> dict[str, float]:
    """The weights once fades are over."""
    clock.now += FADE_SECONDS
    return controls.weights()


@pytest.mark.parametrize(
    ("blend", "words", "after_up"),
    [
        ({"waves": 1.0}, "The Waves", {"waves": 1.0}),
        ({"ink": 3, "waves": 1}, "ink 75% + The Waves 25%", {"ink": 0.65, "waves": 0.35}),
        # Of three styles no key changes the shares.
        (
            {"waves": 0.3, "night": 0.5, "ink": 0.2},
            "The Waves 30% + La Nuit étoilée 50% + ink 20%",
            {"waves": 0.3, "night": 0.5, "ink": 0.2},
        ),
    ],
)
def test_initial_style_or_blend(
    clock: Clock, blend: dict[str, float], words: str, after_up: dict[str, float]
) -> None:
    controls = LiveControls(STYLES, LiveStyle(blend), clock=clock)
    assert str(controls) == words
    press(controls, "up")
    assert settled(controls, clock) == pytest.approx(after_up)
    press(controls, *["b"] * (controls.second is not None), "2")
    assert settled(controls, clock) == {"night": 1.0}


def test_numbers_and_arrows_choose_styles(controls: LiveControls, clock: Clock) -> None:
    press(controls, "2")
    assert settled(controls, clock) == {"night": 1.0}
    press(controls, "right", "right")  # past the last one
    assert settled(controls, clock) == {"waves": 1.0}
    press(controls, "left")
    assert settled(controls, clock) == {"ink": 1.0}
    assert not controls.on_key("4")  # there are three
    assert not controls.on_key("0")


def test_digits_choose_from_pages_of_nine(clock: Clock) -> None:
    names = {f"s{number}": f"Style {number}" for number in range(1, 13)}
    controls = LiveControls(names, LiveStyle({"s1": 1.0}), clock=clock)
    assert controls.page == ()
    press(controls, "9")
    assert (controls.style, controls.page) == ("s9", ())
    press(controls, "tab")
    assert controls.page[1:] == (("1", "Style 10"), ("2", "Style 11"), ("3", "Style 12"))
    press(controls, "2")
    assert controls.style == "s11"
    assert not controls.on_key("4")  # the last page has three
    clock.now += PAGE_SECONDS
    assert controls.page == ()
    press(controls, "right", "right")  # to the first style, and so to its page
    press(controls, "3")
    assert controls.style == "s3"
    press(controls, "page_up", "1")
    assert controls.style == "s10"
    press(controls, "page_down", "1")
    assert controls.style == "s1"


def test_styles_rotate(clock: Clock) -> None:
    controls = LiveControls(STYLES, WAVES, rotate=10.0, clock=clock)
    styles = []
    for _ in range(6):
        controls.advance()
        styles.append(controls.style)
        clock.now += 6
    assert styles == ["waves", "waves", "night", "night", "ink", "ink"]
    press(controls, "1")  # stays for as long
    clock.now += 9
    controls.advance()
    assert controls.style == "waves"
    clock.now += 1
    controls.advance()
    assert controls.style == "night"


def test_without_rotation_the_style_stays(controls: LiveControls, clock: Clock) -> None:
    for _ in range(3):
        clock.now += 1000
        controls.advance()
    assert controls.style == "waves"


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_rotation_needs_a_time(seconds: float) -> None:
    with pytest.raises(InputError, match="`rotate`"):
        LiveControls(STYLES, WAVES, rotate=seconds)


def test_rotation_needs_two_styles() -> None:
    with pytest.raises(InputError, match="`rotate`"):
        LiveControls({"waves": "The Waves"}, WAVES, rotate=5.0)


def test_escape_leaves_full_screen_first(controls: LiveControls) -> None:
    press(controls, "f", "escape")
    assert (controls.full_screen, controls.quit) == (False, False)
    press(controls, "escape")
    assert controls.quit


@pytest.mark.parametrize("full_screen", [False, True])
def test_q_always_quits(controls: LiveControls, full_screen: bool) -> None:
    controls.full_screen = full_screen
    press(controls, "q")
    assert controls.quit


def test_styles_cross_fade(controls: LiveControls, clock: Clock) -> None:
    press(controls, "2")
    assert controls.weights() == {"waves": 1.0}
    fractions = []
    for _ in range(10):
        clock.now += FADE_SECONDS / 10
        weights = controls.weights()
        assert sum(weights.values()) == pytest.approx(1)
        fractions.append(weights["night"])
    assert fractions == sorted(fractions)
    assert fractions[4] == pytest.approx(0.5)
    assert fractions[-1] == pytest.approx(1)


def test_interrupted_fade_continues_from_where_it_is(controls: LiveControls, clock: Clock) -> None:
    press(controls, "2")
    clock.now += FADE_SECONDS / 2
    before = controls.weights()
    press(controls, "3")
    assert controls.weights() == pytest.approx(before)
    assert settled(controls, clock) == {"ink": 1.0}


def test_blend_begins_with_the_previous_style(controls: LiveControls, clock: Clock) -> None:
    press(controls, "3", "b")
    assert settled(controls, clock) == {"ink": 0.5, "waves": 0.5}
    press(controls, "up", "up")
    assert settled(controls, clock) == pytest.approx({"ink": 0.3, "waves": 0.7})
    assert str(controls) == "ink 30% + The Waves 70%"
    press(controls, *["down"] * 9)
    assert settled(controls, clock) == {"ink": 1.0}


def test_keys_choose_the_second_style_of_a_blend(controls: LiveControls, clock: Clock) -> None:
    press(controls, "b")
    assert settled(controls, clock) == {"waves": 0.5, "night": 0.5}
    press(controls, "3")
    assert settled(controls, clock) == {"waves": 0.5, "ink": 0.5}
    press(controls, "right")  # past the first style
    assert settled(controls, clock) == {"waves": 0.5, "night": 0.5}
    press(controls, "1")  # the first style itself
    assert settled(controls, clock) == {"waves": 1.0}
    assert controls.second is None


@pytest.mark.parametrize(("keys", "style"), [((), "waves"), (("up",), "night")])
def test_stronger_style_stays_after_a_blend(
    controls: LiveControls, clock: Clock, keys: tuple[str, ...], style: str
) -> None:
    press(controls, "b", *keys, "b")
    assert settled(controls, clock) == {style: 1.0}
    press(controls, "b")
    assert set(settled(controls, clock)) == {"waves", "night"}


def test_single_style_cannot_be_blended(clock: Clock) -> None:
    controls = LiveControls({"waves": "waves"}, WAVES, clock=clock)
    press(controls, "b")
    assert controls.note
    press(controls, "right")
    assert controls.weights() == {"waves": 1.0}


def test_strength_changes_by_tenths_within_its_range(controls: LiveControls) -> None:
    press(controls, "-", "-", "-")
    assert controls.strength == pytest.approx(0.7)
    assert str(controls) == "The Waves, strength 70%"
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


def test_notes_disappear(controls: LiveControls, clock: Clock) -> None:
    controls.say("saved")
    assert controls.note == "saved"
    clock.now += NOTE_SECONDS
    assert controls.note == ""


def test_every_key_of_the_help_does_something(controls: LiveControls) -> None:
    keys = {"1-9": "1", "Esc": "escape", "Page Down": "page_down", "Page Up": "page_up"}
    for names, _ in chain.from_iterable(KEYS.values()):
        press(controls, *(keys.get(name, name.lower()) for name in names.split(", ")))
    press(controls, ",", ".")  # < and > without shift
    assert not controls.on_key("y")


def test_invalid_arguments() -> None:
    with pytest.raises(UnknownNameError, match="'waves'"):
        LiveControls(STYLES, LiveStyle({"wave": 1.0}))
    with pytest.raises(InputError, match=r"1\.5"):
        LiveStyle({"waves": 1.0}, strength=1.5)


@pytest.mark.parametrize(
    ("state", "key", "done"),
    [
        ("learning", "l", "pause"),
        ("paused", "l", "resume"),
        ("learned", "l", "resume"),
        ("failed", "l", "resume"),
        ("learning", "k", "keep"),
        ("paused", "k", "keep"),
        ("learned", "k", None),
        ("learning", "x", "reset"),
        ("learned", "x", "reset"),
        *(("starting", key, None) for key in "lkx"),
        *((None, key, None) for key in "lkx"),
    ],
)
def test_keys_of_a_style_image(clock: Clock, state: str | None, key: str, done: str | None) -> None:
    """Each says what it does, or that there is nothing to do."""
    learning = MagicMock(spec=LiveLearning, state=state)
    learning.__str__.return_value = "learning starts"
    controls = LiveControls(STYLES, WAVES, learning=learning if state else None, clock=clock)
    press(controls, key)
    assert [call[0] for call in learning.method_calls] == ([done] if done else [])
    assert controls.note
