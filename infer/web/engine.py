"""One engine for all viewers: its styles, taken by name, and turns at it in fair order."""

import copy
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from nst_rt.errors import InputError, UnknownNameError
from nst_rt.images import Frame
from nst_rt.infer.adaptive import AdaptiveStylizer
from nst_rt.infer.backends import BackendName, Frames, Precision
from nst_rt.infer.stylizer import Stylizer
from nst_rt.style_model import Style, StyleModel
from nst_rt.transformer import MINIMUM_SIZE

_JPEG_QUALITY = 85
_LARGEST_LIVE = 1920 * 1080  # pixels of a viewer's frame
_WAITED = 0.1  # of the time from frame to frame; less is the network's


class Turns(AbstractContextManager[None]):
    """A lock that is given in the order in which it was asked for.

    Who asks again waits behind all who asked before: several viewers are served in turn, however
    fast one of them is.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._given = 0  # numbers that were drawn
        self._served = 0

    def __enter__(self) -> None:
        with self._changed:
            number = self._given
            self._given += 1
            self._changed.wait_for(lambda: self._served == number)

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._served += 1
            self._changed.notify_all()


class SharedStylizer(Stylizer):
    """A stylizer whose copies have a style of their own, and take turns at one compiled network.

    Args:
        model, style: see `Stylizer`.
        turns: that are taken for each batch of frames.
        engine: backend, device and precision, see `Stylizer`.
    """

    def __init__(self, model: StyleModel, style: str, *, turns: Turns, **engine: Any) -> None:
        super().__init__(model, style, **engine)
        self._turns = turns

    def stylize_batch(self, frames: Frames) -> Frames:
        """See `Stylizer.stylize_batch`; waits for its turn."""
        self._check(frames)
        if self._strength and self._tile(*frames.shape[1:3]) is None:
            # Before the turn: to compile for a new size takes seconds, in which others can paint.
            self._backend.prepare(frames.shape)
        with self._turns:
            return super().stylize_batch(frames)

    def start(self, frame: Frame) -> Callable[[], Frame]:
        """See `Stylizer.start`; one frame a turn, so that a video leaves viewers theirs."""
        painted = self.stylize(frame)
        return lambda: painted


@dataclass(frozen=True)
class Mix:
    """What a viewer has chosen.

    Attributes:
        styles: names with their weights in the blend.
        strength: from 0 to 1.
    """

    styles: Mapping[str, float]
    strength: float = 1.0

    @classmethod
    def parse(cls, value: Any) -> "Mix":
        """From JSON: `{"styles": {"starry_night": 0.7, "great_wave": 0.3}, "strength": 0.8}`.

        Raises:
            InputError: anything else.
        """
        try:
            styles = {str(name): float(weight) for name, weight in value["styles"].items()}
            return cls(styles, float(value.get("strength", 1)))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"not a look: {str(value)[:200]}") from error


@dataclass
class Engine:
    """The models that the studio has, each compiled once and shared by all.

    Attributes:
        backend, device, precision: see `Stylizer`.
    """

    backend: BackendName = "auto"
    device: str | None = None
    precision: Precision = "auto"
    _stylizers: list[SharedStylizer] = field(default_factory=list)
    _turns: Turns = field(default_factory=Turns)

    def add(self, model: StyleModel) -> None:
        """Take a model in; its styles can be chosen from now on."""
        added = SharedStylizer(
            model,
            model.styles[0].name,
            turns=self._turns,
            backend=self.backend,
            device=self.device,
            precision=self.precision,
        )
        self._stylizers = [*self._stylizers, added]

    def remove(self, model: StyleModel) -> None:
        """Forget a model; who paints with it may go on."""
        self._stylizers = [s for s in self._stylizers if s.model is not model]

    def prepare(self, height: int = 480, width: int = 640) -> None:
        """Compile the first model for a size before the first frame comes."""
        self._stylizers[0].prepare(height, width)

    @property
    def styles(self) -> dict[str, Style]:
        """All styles by name, in the order in which they came."""
        known: dict[str, Style] = {}
        for stylizer in self._stylizers:
            for style in stylizer.model.styles:
                known.setdefault(style.name, style)
        return known

    def partners(self, name: str) -> list[str]:
        """The styles that one can be blended with: those of the same networks."""
        names = (s.model.style_names for s in self._stylizers if name in s.model.style_names)
        return sorted({other for those in names for other in those} - {name})

    def stylizer(self, mix: Mix) -> SharedStylizer:
        """One that paints so, for one caller.

        Raises:
            UnknownNameError: a style that is not there.
            InputError: styles that no network has together, or numbers out of range.
        """
        known = self.styles
        for name in mix.styles:
            if name not in known:
                raise UnknownNameError("style", name, known)
        for stylizer in self._stylizers:
            if set(mix.styles) <= set(stylizer.model.style_names):
                mine = copy.copy(stylizer)
                mine.set_style(mix.styles, strength=mix.strength)
                return mine
        raise InputError(f"no network has both of these styles: {', '.join(mix.styles)}")

    def __str__(self) -> str:
        """Engine, precision and device, as they really are."""
        return str(self._stylizers[0])


class Viewer:
    """One camera's way through the engine: JPEG frames in, painted ones out.

    Args:
        engine: shared with others.
        mix: to begin with.
        fps: that is held by painting smaller, waiting for others included; 0 never paints smaller.

    Raises:
        UnknownNameError, InputError: a mix that cannot be had.
    """

    def __init__(self, engine: Engine, mix: Mix, *, fps: float) -> None:
        self._engine = engine
        self._fps = fps
        self._adaptive: AdaptiveStylizer | None = None
        self._came = self._done = 0.0  # when the last frame came, and was painted
        self._stylizer = engine.stylizer(mix)
        self.set_mix(mix)

    @property
    def scale(self) -> float:
        """Of the frames' sides, that they are painted at."""
        return 1.0 if self._adaptive is None else self._adaptive.scale

    def set_mix(self, mix: Mix) -> None:
        """Choose what the next frames look like.

        Raises:
            UnknownNameError, InputError: a mix that cannot be had; the one before stays.
        """
        wanted = self._engine.stylizer(mix)
        if wanted.model is self._stylizer.model:
            self._stylizer.set_style(mix.styles, strength=mix.strength)
            wanted = self._stylizer
        if self._fps and (self._adaptive is None or self._adaptive.stylizer is not wanted):
            self.close()
            self._adaptive = AdaptiveStylizer(wanted, self._fps)
        self._stylizer = wanted

    def paint(self, jpeg: bytes) -> bytes:
        """Paint one frame.

        Raises:
            InputError: not a JPEG, or one of a size that is not for live pictures.
        """
        interval = self._interval(time.perf_counter())
        frame = decoded(jpeg)
        if self._adaptive is None:
            painted = self._stylizer.stylize(frame)
        else:
            painted = self._adaptive.stylize(frame, interval=interval)
        jpeg = encoded(painted)
        self._done = time.perf_counter()
        return jpeg

    def _interval(self, now: float) -> float:
        """Seconds from one frame of the viewer's camera to the next, 0 where that is not known.

        A page sends no more than are painted, so that only frames that are waited for tell.
        """
        waited, interval = now - self._done, now - self._came
        self._came = now
        return interval if waited > _WAITED * interval else 0.0

    def close(self) -> None:
        """End what works in the background."""
        if self._adaptive is not None:
            self._adaptive.close()


def decoded(jpeg: bytes) -> Frame:
    """A viewer's JPEG as a frame, shape (H, W, 3), uint8 BGR.

    Raises:
        InputError: not a JPEG, or too small or too large; said by its header, before it is decoded.
    """
    try:
        with Image.open(BytesIO(jpeg), formats=["JPEG"]) as header:
            width, height = header.size
    except Image.DecompressionBombError as error:
        raise InputError("a live picture that is too large") from error
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise InputError("a frame that is no JPEG picture") from error
    if width * height > _LARGEST_LIVE or min(width, height) < MINIMUM_SIZE:
        raise InputError(f"a live picture of {width}x{height} px: too small or too large")
    frame = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    if frame is None:
        raise InputError("a damaged JPEG picture")
    return np.asarray(frame, np.uint8)


def encoded(frame: Frame, suffix: str = ".jpg") -> bytes:
    """A frame, shape (H, W, 3), uint8 BGR, as a JPEG or PNG file."""
    jpeg = (cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY)
    parameters: Sequence[int] = jpeg if suffix == ".jpg" else ()
    return cv2.imencode(suffix, frame, parameters)[1].tobytes()
