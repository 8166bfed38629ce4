"""State of a live session that its user changes by keys or buttons."""

import time
from collections.abc import Callable, Mapping
from functools import partial

from nst_rt.errors import InputError, UnknownNameError
from nst_rt.infer.adaptive import LiveStyle
from nst_rt.infer.learning.live import LiveLearning
from nst_rt.infer.postprocess import PostProcessing
from nst_rt.models.style_model import normalized_weights

FADE_SECONDS = 0.5  # from one style to the next
NOTE_SECONDS = 2.0
_STEP = 0.1  # change of strength, stability or the share in a blend by one key
_LARGER = 1.25  # factor of the stroke size by one key

_DIGITS = frozenset("123456789")
_PAGE = len(_DIGITS)  # number of styles that they choose from
PAGE_SECONDS = 4.0  # that the titles of a page are shown

# Names of the keys and what they do, as the help shows them: group -> rows.
KEYS: dict[str, tuple[tuple[str, str], ...]] = {
    "Styles": (
        ("1-9", "choose a style of the page"),
        ("Tab, Page Down", "next page of nine styles"),
        ("Page Up", "previous page"),
        ("Left, Right", "previous style, next style"),
        ("b", "begin or end a blend with the previous style"),
        ("Up, Down", "more or less of the second style of a blend"),
    ),
    "Image": (
        ("+, -", "stronger or weaker style"),
        ("[, ]", "finer or coarser strokes"),
        ("<, >", "less or more stable strokes"),
        ("p", "preserve the colors of the camera"),
        ("c", "compare: camera on the left, stylized frame on the right"),
    ),
    "Style image": (
        ("l", "pause or continue to learn it"),
        ("k", "keep the style as it is, and learn no more"),
        ("x", "begin again"),
    ),
    "Outputs": (
        ("s", "save a snapshot"),
        ("r", "start or stop recording"),
    ),
    "Window": (
        ("f", "enter or leave full screen"),
        ("o", "hide or show the status line"),
        ("h, ?", "show or hide this help"),
        ("Esc", "leave full screen; then quit"),
        ("q", "quit"),
    ),
}
_SWITCHES = {
    "p": "preserve_colors",
    "c": "compare",
    "r": "recording",
    "f": "full_screen",
    "o": "overlay",
    "h": "help",
    "?": "help",
}
_REQUESTS = {"s": "snapshot", "q": "quit"}


class LiveControls:
    """State of a live session; one thread changes it, any thread may read it.

    Args:
        styles: names of all styles, in the order of their keys, with the titles to show.
        begin: how to stylize until a key changes it.
        rotate: seconds from one style to the next, which `advance` then changes to; None for never.
        learning: a style that is being learned; None for none.
        clock: gives the time in seconds, for fades and notes.

    Attributes:
        style: name of the style; the first one of a blend.
        second: name of the second style of a blend; None without one.
        share: fraction of the second style in the blend, from 0 to 1.
        strength, stroke_size, stability: see `LiveStyle`.
        preserve_colors, compare, recording, full_screen, overlay, help: whether it is switched on.
        snapshot, quit: whether it was requested; the front end then does it.
        learning: the style that is being learned, if any.

    Raises:
        UnknownNameError: a style that is not one of `styles`.
        InputError: weights that are negative, or all 0; a `rotate` that is not positive, or with
            one style only.
    """

    def __init__(
        self,
        styles: Mapping[str, str],
        begin: LiveStyle,
        *,
        rotate: float | None = None,
        learning: LiveLearning | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        if rotate is not None and not 0 < rotate < float("inf"):
            raise InputError(f"`rotate` must be a positive number of seconds, not {rotate}")
        if rotate is not None and len(styles) < 2:
            raise InputError("`rotate` needs two or more styles to change between; there is one")
        self.styles = list(styles)
        blend = normalized_weights(begin.blend)
        for name in blend:
            self._check(name)
        # Of more than two styles the strongest leads; the blend lasts until a key changes it.
        self.style = next(iter(blend)) if len(blend) == 2 else max(blend, key=blend.__getitem__)
        self.second = [*blend][1] if len(blend) == 2 else None
        self.share = blend[self.second] if self.second else 0.5
        self.strength = begin.strength
        self.stroke_size = begin.stroke_size
        self.stability = begin.stability
        self.preserve_colors = begin.post_processing.preserve_colors
        self.compare = begin.post_processing.compare
        self.recording = self.full_screen = self.help = False
        self.overlay = True
        self.snapshot = self.quit = False
        self._clock = clock
        self._previous = self.styles[(self.styles.index(self.style) + 1) % len(self.styles)]
        self._note, self._note_until = "", float("-inf")
        self._titles = dict(styles)
        self._page, self._page_until = self.styles.index(self.style) // _PAGE, float("-inf")
        self._rotate = rotate
        self.learning = learning
        self._changed_at = float("inf")  # when the style was last changed
        # Blends before and after the fade, and when it began. Replaced as a whole, since another
        # thread reads it.
        self._fade = blend, blend, float("-inf")
        self._keys: dict[str, Callable[[], None]] = {
            "left": partial(self.step, -1),
            "right": partial(self.step, 1),
            "-": partial(self.add_strength, -_STEP),
            **dict.fromkeys("+=", partial(self.add_strength, _STEP)),  # with and without shift
            "[": partial(self.scale_strokes, 1 / _LARGER),
            "]": partial(self.scale_strokes, _LARGER),
            **dict.fromkeys("<,", partial(self.add_stability, -_STEP)),
            **dict.fromkeys(">.", partial(self.add_stability, _STEP)),
            "b": self.blend,
            "up": partial(self.add_share, _STEP),
            "down": partial(self.add_share, -_STEP),
            "page_up": partial(self.turn_page, -1),
            **dict.fromkeys(("page_down", "tab"), partial(self.turn_page, 1)),
            "l": self.pause_or_learn,
            "k": self.keep_learned,
            "x": self.learn_again,
            "escape": self.leave,
        }

    def on_key(self, key: str) -> bool:
        """Do what a key stands for; False for one without a meaning.

        Args:
            key: a character in lower case, or a name that `Window.show` returns.
        """
        first = self._page * _PAGE
        if key in _DIGITS and first + int(key) <= min(first + _PAGE, len(self.styles)):
            self.choose(self.styles[first + int(key) - 1])
        elif name := _SWITCHES.get(key):
            setattr(self, name, not getattr(self, name))
        elif name := _REQUESTS.get(key):
            setattr(self, name, True)
        elif action := self._keys.get(key):
            action()
        else:
            return False
        return True

    def leave(self) -> None:
        """Leave full screen; quit if the window does not fill the screen."""
        self.full_screen, self.quit = False, self.quit or not self.full_screen

    def advance(self) -> None:
        """Change to the next style if styles rotate and its time has come; call it each frame."""
        if self._rotate is None:
            return
        if self._changed_at == float("inf"):  # the first frame
            self._changed_at = self._clock()
        elif self._clock() - self._changed_at >= self._rotate:
            self.step(1)

    def turn_page(self, count: int) -> None:
        """Let the digits choose from other styles, `count` pages further, round and round."""
        pages = -(-len(self.styles) // _PAGE)
        self._page = (self._page + count) % pages
        self._page_until = self._clock() + PAGE_SECONDS

    @property
    def page(self) -> tuple[tuple[str, ...], ...]:
        """A heading, then digits and titles of the styles that they choose.

        Empty but for a moment after a page was turned.
        """
        if self._clock() >= self._page_until:
            return ()
        first = self._page * _PAGE
        names = self.styles[first : first + _PAGE]
        heading = f"Styles {first + 1}-{first + len(names)} of {len(self.styles)}"
        rows = ((str(digit), self._titles[name]) for digit, name in enumerate(names, 1))
        return (heading,), *rows

    def choose(self, name: str) -> None:
        """Change to a style; in a blend, change the second style.

        Raises:
            UnknownNameError: no such style.
        """
        self._check(name)
        if self.second is not None:
            # A style blended with itself is no blend.
            self.second = None if name == self.style else name
        elif name != self.style:
            self._previous, self.style = self.style, name
        self._page = self.styles.index(name) // _PAGE
        self._start_fade()

    def step(self, count: int) -> None:
        """Choose the style that is `count` places further in the list, round and round."""
        styles = self.styles if self.second is None else [s for s in self.styles if s != self.style]
        place = styles.index(self.second or self.style)
        self.choose(styles[(place + count) % len(styles)])

    def blend(self) -> None:
        """Blend with the previous style, half and half; or end a blend with its stronger style."""
        if len(self.styles) == 1:
            self.say("there is no other style")
            return
        if self.second is None:
            self.second, self.share = self._previous, 0.5
        else:
            weaker, stronger = self.second, self.style
            if self.share > 0.5:
                weaker, stronger = stronger, weaker
            self._previous, self.style, self.second = weaker, stronger, None
        self._start_fade()

    def add_share(self, change: float) -> None:
        """Add to the fraction of the second style of a blend."""
        if self.second is None:
            self.say("press b for a blend first")
            return
        self.share = _clamped(self.share + change)
        self._start_fade()

    def add_strength(self, change: float) -> None:
        self.strength = _clamped(self.strength + change)

    def add_stability(self, change: float) -> None:
        self.stability = _clamped(self.stability + change)
        self.say(f"stability {self.stability:.0%}")

    def scale_strokes(self, factor: float) -> None:
        self.stroke_size = self.stroke_size.scaled(factor)
        self.say(f"stroke size {self.stroke_size}")

    def pause_or_learn(self) -> None:
        """Pause the learning of a style, or go on with it, also with what was learned."""
        if (learning := self._learning()) is None:
            return
        if learning.state == "learning":
            learning.pause()
            self.say("learning paused; press l to go on")
        else:
            learning.resume()
            self.say("learning continues")

    def keep_learned(self) -> None:
        """End the learning of a style, and keep the style as it is."""
        if (learning := self._learning()) is None:
            return
        if learning.state in ("learning", "paused"):
            learning.keep()
            self.say("the style is kept as it is; press l to learn further")
        else:
            self.say(str(learning))

    def learn_again(self) -> None:
        """Begin the learning of a style again."""
        if (learning := self._learning()) is not None:
            learning.reset()
            self.say("learning begins again")

    def _learning(self) -> LiveLearning | None:
        """What is being learned; None and a note if there is nothing, or nothing yet."""
        learning = self.learning
        if learning is None or learning.state == "starting":
            self.say("there is no style image to learn" if learning is None else str(learning))
            return None
        return learning

    def weights(self) -> dict[str, float]:
        """Names and weights to stylize with now, whose sum is 1; they fade to the chosen blend."""
        before, after, begin = self._fade
        done = min((self._clock() - begin) / FADE_SECONDS, 1.0)
        done = done * done * (3 - 2 * done)  # gentle at both ends
        mixed = {s: (1 - done) * before.get(s, 0) + done * after.get(s, 0) for s in self.styles}
        return {style: weight for style, weight in mixed.items() if weight > 0}

    def live_style(self) -> LiveStyle:
        """How to stylize now."""
        post_processing = PostProcessing(self.preserve_colors, self.compare)
        return LiveStyle(
            self.weights(), self.strength, self.stroke_size, self.stability, post_processing
        )

    def say(self, note: str) -> None:
        """Show a note for two seconds."""
        self._note, self._note_until = note, self._clock() + NOTE_SECONDS

    @property
    def note(self) -> str:
        """The last note, empty when its time is over."""
        return self._note if self._clock() < self._note_until else ""

    @property
    def chosen(self) -> str:
        """Titles of the chosen style, or of those of the chosen blend."""
        _, blend, _ = self._fade
        return " and ".join(self._titles[name] for name, weight in blend.items() if weight)

    def __str__(self) -> str:
        """Style or blend, strength and colors, for the status line."""
        _, blend, _ = self._fade
        parts = [f"{self._titles[name]} {weight:.0%}" for name, weight in blend.items()]
        words = " + ".join(parts) if len(parts) > 1 else self._titles[self.style]
        words += f", strength {self.strength:.0%}" if self.strength < 1 else ""
        return words + (", original colors" if self.preserve_colors else "")

    def _start_fade(self) -> None:
        after = {self.style: 1.0}
        if self.second is not None:
            after = {self.style: 1 - self.share, self.second: self.share}
        self._fade = self.weights(), after, self._clock()
        self._changed_at = self._clock()

    def _check(self, name: str) -> None:
        if name not in self.styles:
            raise UnknownNameError("style", name, self.styles)


def _clamped(value: float) -> float:
    return min(max(round(value, 6), 0.0), 1.0)
