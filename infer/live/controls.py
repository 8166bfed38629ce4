"""What the person in front of a live session can change, by whatever keys or buttons."""

import time
from collections.abc import Callable, Mapping, Sequence

from nst_rt.errors import UnknownNameError
from nst_rt.infer.blend import weights_of
from nst_rt.infer.postprocess import check_strength
from nst_rt.infer.stability.stabilizer import DEFAULT_STABILITY, check_stability
from nst_rt.infer.strokes import DEFAULT_STROKES, StrokeSize

FADE_SECONDS = 0.5  # from one style to the next
NOTE_SECONDS = 2.0
_STEP = 0.1  # of strength and of the mix of a blend
_LARGER = 1.25  # of strokes

# What a front end calls the keys, and what they do; the help shows it.
KEYS = (
    ("1-9, 0", "one of the first ten styles"),
    ("left, right", "the style before, the next one"),
    ("+, -", "strength"),
    ("[, ]", "finer or coarser strokes"),
    ("<, >", "less or more stable strokes"),
    ("b", "blend with the style before; then 1-9, 0, left and right choose the second style"),
    ("up, down", "more or less of the second style"),
    ("p", "the camera's own colors"),
    ("c", "compare: the camera on the left, the painting on the right"),
    ("s", "snapshot"),
    ("r", "record, and stop"),
    ("f", "full screen"),
    ("o", "hide or show the line of text"),
    ("h", "this help"),
    ("q, Esc", "quit"),
)


class LiveControls:
    """The state of a live session; one thread changes it, any may read it.

    Args:
        styles: names of the model's styles, in order.
        style: name of the style to begin with, or names with weights.
        strength: from 0 (the frame as it is) to 1 (the full style).
        stroke_size: see `Stylizer`.
        stability: see `Stabilizer`.
        clock: seconds, which fades and notes go by.

    Attributes:
        style: the style, or the first one of a blend.
        second: the second one of a blend; None without one.
        mix: part of the second one, 0 to 1.
        strength, stroke_size, stability: see above.
        preserve_colors, compare, recording, full_screen, overlay, help: what is switched on.
        snapshot, quit: what was asked for and the front end has to do.

    Raises:
        UnknownNameError: a style that is not one of `styles`.
        InputError: a strength out of range.
    """

    def __init__(
        self,
        styles: Sequence[str],
        style: str | Mapping[str, float],
        *,
        strength: float = 1.0,
        stroke_size: StrokeSize = DEFAULT_STROKES,
        stability: float = DEFAULT_STABILITY,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        check_strength(strength)
        check_stability(stability)
        self.styles = list(styles)
        blend = weights_of(style)
        for name in blend:
            self._check(name)
        # A blend of more than two can be begun with, and ends with the first key.
        self.style, *others = sorted(blend, key=blend.__getitem__, reverse=True)
        self.second: str | None = others[0] if len(others) == 1 else None
        self.mix = blend[others[0]] if len(others) == 1 else 0.5
        self.strength = strength
        self.stroke_size = stroke_size
        self.stability = stability
        self.preserve_colors = self.compare = self.recording = False
        self.full_screen = self.help = False
        self.overlay = True
        self.snapshot = self.quit = False
        self._clock = clock
        self._before = self.styles[(self.styles.index(self.style) + 1) % len(self.styles)]
        self._note, self._note_until = "", float("-inf")
        # Replaced as a whole, since another thread reads it.
        self._fade: tuple[Mapping[str, float], Mapping[str, float], float] = (
            blend,
            blend,
            float("-inf"),
        )
        self._keys: dict[str, Callable[[], None]] = {
            "left": lambda: self.step(-1),
            "right": lambda: self.step(1),
            "+": lambda: self.strengthen(_STEP),
            "=": lambda: self.strengthen(_STEP),  # the same key without shift
            "-": lambda: self.strengthen(-_STEP),
            "[": lambda: self.enlarge(1 / _LARGER),
            "]": lambda: self.enlarge(_LARGER),
            ",": lambda: self.calm(-_STEP),
            ".": lambda: self.calm(_STEP),
            "<": lambda: self.calm(-_STEP),
            ">": lambda: self.calm(_STEP),
            "b": self.blend,
            "up": lambda: self.shift_mix(_STEP),
            "down": lambda: self.shift_mix(-_STEP),
            "p": lambda: self._toggle("preserve_colors"),
            "c": lambda: self._toggle("compare"),
            "s": lambda: setattr(self, "snapshot", True),
            "r": lambda: self._toggle("recording"),
            "f": lambda: self._toggle("full_screen"),
            "o": lambda: self._toggle("overlay"),
            "h": lambda: self._toggle("help"),
            "?": lambda: self._toggle("help"),
            "q": lambda: setattr(self, "quit", True),
            "escape": lambda: setattr(self, "quit", True),
        }
        numbers = [*"1234567890"][: len(self.styles)]
        self._keys |= {
            number: lambda name=name: self.choose(name)
            for number, name in zip(numbers, self.styles, strict=False)
        }

    def on_key(self, key: str) -> bool:
        """Do what a key stands for; False for one that stands for nothing.

        Args:
            key: a character in lower case, or `left`, `right`, `up`, `down`, `escape`.
        """
        action = self._keys.get(key)
        if action:
            action()
        return action is not None

    def choose(self, name: str) -> None:
        """Change to a style; in a blend, to another second style.

        Raises:
            UnknownNameError: no such style.
        """
        self._check(name)
        if self.second is not None:
            # The first one with itself is no blend.
            self.second = None if name == self.style else name
        elif name != self.style:
            self._before, self.style = self.style, name
        self._go()

    def step(self, count: int) -> None:
        """Go to a style so many places further in the list, round and round."""
        places = self.styles if self.second is None else [s for s in self.styles if s != self.style]
        at = places.index(self.second or self.style)
        self.choose(places[(at + count) % len(places)])

    def blend(self) -> None:
        """Blend with the style before, half and half; then stay with what there is more of."""
        if len(self.styles) == 1:
            self.say("there is no other style")
            return
        if self.second is None:
            self.second, self.mix = self._before, 0.5
        else:
            weaker, stronger = self.second, self.style
            if self.mix > 0.5:
                weaker, stronger = stronger, weaker
            self._before, self.style, self.second = weaker, stronger, None
        self._go()

    def shift_mix(self, change: float) -> None:
        """Take more (or less, below 0) of the second style of a blend."""
        if self.second is None:
            self.say("press b for a blend first")
            return
        self.mix = _stepped(self.mix, change)
        self._go()

    def strengthen(self, change: float) -> None:
        """Make the style stronger (or weaker, below 0)."""
        self.strength = _stepped(self.strength, change)

    def enlarge(self, factor: float) -> None:
        """Make strokes so many times larger."""
        self.stroke_size = self.stroke_size.scaled(factor)
        self.say(f"strokes {self.stroke_size}")

    def calm(self, change: float) -> None:
        """Make strokes more stable (or less, below 0)."""
        self.stability = _stepped(self.stability, change)
        self.say(f"stability {self.stability:.0%}")

    def weights(self) -> dict[str, float]:
        """What to paint now: names with weights that sum to 1, on the way to what was chosen."""
        start, target, since = self._fade
        part = min((self._clock() - since) / FADE_SECONDS, 1.0)
        part = part * part * (3 - 2 * part)  # gentle at both ends
        mixed = {s: (1 - part) * start.get(s, 0) + part * target.get(s, 0) for s in self.styles}
        return {style: weight for style, weight in mixed.items() if weight > 0}

    def say(self, note: str) -> None:
        """Show a note for two seconds."""
        self._note, self._note_until = note, self._clock() + NOTE_SECONDS

    @property
    def note(self) -> str:
        """What `say` was last told, empty when its time is over."""
        return self._note if self._clock() < self._note_until else ""

    def __str__(self) -> str:
        """What is painted, in words."""
        words = self.style
        if self.second is not None:
            words = f"{self.style} {1 - self.mix:.0%} + {self.second} {self.mix:.0%}"
        words += f", strength {self.strength:.0%}" if self.strength < 1 else ""
        return words + (", own colors" if self.preserve_colors else "")

    def _go(self) -> None:
        target = {self.style: 1.0}
        if self.second is not None:
            target = {self.style: 1 - self.mix, self.second: self.mix}
        self._fade = self.weights(), target, self._clock()

    def _toggle(self, name: str) -> None:
        setattr(self, name, not getattr(self, name))

    def _check(self, name: str) -> None:
        if name not in self.styles:
            raise UnknownNameError("style", name, self.styles)


def _stepped(value: float, change: float) -> float:
    return min(max(round(value + change, 6), 0.0), 1.0)
