"""One engine for all viewers: its styles, taken by name, and turns at it in fair order."""

import copy
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from io import BytesIO
from typing import Any

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from nst_rt.errors import InputError
from nst_rt.images.io import Frame
from nst_rt.infer.adaptive import AdaptiveStylizer
from nst_rt.infer.backends import BackendName, Precision
from nst_rt.infer.blend import Pass, StyleSet
from nst_rt.infer.frame_stylizer import FrameStylizer
from nst_rt.infer.stability.stabilizer import DEFAULT_STABILITY, Stabilizer, check_stability
from nst_rt.infer.strokes import DEFAULT_STROKES, StrokeSize
from nst_rt.infer.stylizer import Stylizer
from nst_rt.models.style_model import Style, StyleModel
from nst_rt.models.transformer import MINIMUM_SIZE

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
        palette, style: see `Stylizer`.
        turns: that are taken for each frame.
        engine: backend, device and precision, see `Stylizer`.
    """

    def __init__(self, style_set: StyleSet, style: str, *, turns: Turns, **engine: Any) -> None:
        super().__init__(style_set, style, **engine)
        self._turns = turns

    def _begin_pass(self, each: Pass, frame: Frame, *, several: bool) -> Callable[[], Frame]:
        """See `Stylizer`; waits for its turn. One frame each, so that videos leave viewers some."""
        backend = self._backends.of(each.network)
        if self._tile(each.network, backend, *frame.shape[:2]) is None:
            # Before the turn: to compile for a new size takes seconds, in which others can go on.
            backend.prepare((1, *frame.shape))
        with self._turns:
            stylized = super()._begin_pass(each, frame, several=False)()
        return lambda: stylized


@dataclass(frozen=True)
class Mix:
    """What a viewer has chosen.

    Attributes:
        styles: names with their weights in the blend.
        strength: from 0 to 1.
        stroke_size: see `Stylizer`.
        stability: of videos and live pictures, see `Stabilizer`.
    """

    styles: Mapping[str, float]
    strength: float = 1.0
    stroke_size: StrokeSize = DEFAULT_STROKES
    stability: float = DEFAULT_STABILITY

    def __post_init__(self) -> None:
        check_stability(self.stability)

    @classmethod
    def parse(cls, value: Any) -> "Mix":
        """From JSON: `{"styles": {"udnie": 0.7, "the_scream": 0.3}, "strokes": "2%"}` and the like.

        Raises:
            InputError: anything else.
        """
        try:
            styles = {str(name): float(weight) for name, weight in value["styles"].items()}
            strokes = StrokeSize.parse(value.get("strokes", DEFAULT_STROKES))
            stability = float(value.get("stability", DEFAULT_STABILITY))
            return cls(styles, float(value.get("strength", 1)), strokes, stability)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"not a look: {str(value)[:200]}") from error


@dataclass
class Engine:
    """The styles that the studio has, and the compiled networks, shared by all.

    Attributes:
        backend, device, precision: see `Stylizer`.
    """

    backend: BackendName = "auto"
    device: str | None = None
    precision: Precision = "auto"
    _style_set: StyleSet = field(default_factory=StyleSet)

    def add(self, model: StyleModel) -> None:
        """Take a model in; its styles of new names can be chosen from now on."""
        self._style_set.add(model, skip_known=True)

    def remove(self, model: StyleModel) -> None:
        """Forget a model; who stylizes with it may go on."""
        self._style_set.remove(model)

    def prepare(self, height: int = 480, width: int = 640) -> None:
        """Compile the first style's network for a size before the first frame comes."""
        self._shared.prepare(height, width)

    @property
    def styles(self) -> dict[str, Style]:
        """All styles by name, in the order in which they came."""
        return self._style_set.styles

    def stylizer(self, mix: Mix) -> SharedStylizer:
        """One that stylizes so, for one caller.

        Raises:
            UnknownNameError: a style that is not there.
            InputError: numbers out of range.
        """
        mine = copy.copy(self._shared)
        mine.set_style(mix.styles, strength=mix.strength, stroke_size=mix.stroke_size)
        return mine

    def __str__(self) -> str:
        """Backend, precision and device, as they really are."""
        return str(self._shared)

    @cached_property
    def _shared(self) -> SharedStylizer:
        return SharedStylizer(
            self._style_set,
            self._style_set.names[0],
            turns=Turns(),
            backend=self.backend,
            device=self.device,
            precision=self.precision,
        )


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
        frame_stylizer = FrameStylizer(engine.stylizer(mix), stabilizer=Stabilizer(mix.stability))
        self._frame_stylizer = AdaptiveStylizer(frame_stylizer, fps)
        self._came = self._done = 0.0  # when the last frame came, and was stylized

    @property
    def size(self) -> list[int]:
        """Width and height that the last frame was stylized at."""
        return [*reversed(self._frame_stylizer.working_size)]

    def set_mix(self, mix: Mix) -> None:
        """Choose what the next frames look like.

        Raises:
            UnknownNameError, InputError: a mix that cannot be had; the one before stays.
        """
        self._frame_stylizer.set_style(
            mix.styles, strength=mix.strength, stroke_size=mix.stroke_size
        )
        self._frame_stylizer.set_stability(mix.stability)

    def stylize(self, jpeg: bytes) -> bytes:
        """Paint one frame.

        Raises:
            InputError: not a JPEG, or one of a size that is not for live pictures.
        """
        interval = self._interval(time.perf_counter())
        jpeg = encoded(self._frame_stylizer.stylize(decoded(jpeg), interval=interval))
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
        self._frame_stylizer.close()


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
