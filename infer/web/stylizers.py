"""Stylizing for several viewers at once: one set of compiled networks, used in turns."""

import copy
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2

from nst_rt.errors import InputError, UnknownNameError
from nst_rt.files import atomic_output
from nst_rt.images.io import Frame
from nst_rt.infer.adaptive import AdaptiveStylizer, LiveStyle
from nst_rt.infer.backends import BackendName, Precision
from nst_rt.infer.blend import Pass, StyleSet
from nst_rt.infer.frame_stylizer import FrameStylizer
from nst_rt.infer.postprocess import PostProcessing
from nst_rt.infer.stability.stabilizer import DEFAULT_STABILITY, Stabilizer
from nst_rt.infer.strokes import DEFAULT_STROKES, StrokeSize, resized_frame
from nst_rt.infer.stylizer import Stylizer
from nst_rt.infer.web.decoding.images import decode_jpeg
from nst_rt.models.style_model import StyleModel

_JPEG_QUALITY = 85
_MAX_FPS = 60  # that a viewer may ask for
_MOST_REST = 0.5  # seconds; the first frame, which may have to be compiled for, takes longer
_MIN_WAIT = 0.1  # fraction of the frame interval; a shorter wait is network jitter


def parse_choice(value: Any) -> LiveStyle:
    """Read JSON such as `{"styles": {"udnie": 0.7, "the_scream": 0.3}, "stroke_size": "2%"}`.

    Raises:
        InputError: anything else.
    """
    try:
        return LiveStyle(
            {str(name): float(weight) for name, weight in value["styles"].items()},
            float(value.get("strength", 1)),
            StrokeSize.parse(value.get("stroke_size", DEFAULT_STROKES)),
            float(value.get("stability", DEFAULT_STABILITY)),
            PostProcessing(preserve_colors=value.get("preserve_colors") in (True, "true")),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"not a choice of styles: {str(value)[:200]}") from error


def parse_rate(value: Any, default: float) -> float:
    """The frame rate to hold that JSON such as `{"fps": 10}` asks for, from above 0 to 60.

    Raises:
        InputError: anything else.
    """
    try:
        fps = float(value.get("fps", default))
    except (TypeError, ValueError, AttributeError) as error:
        raise InputError(f"not a frame rate: {str(value)[:200]}") from error
    if fps != default and not 0 < fps <= _MAX_FPS:
        raise InputError(f"the frame rate must be above 0 and at most {_MAX_FPS}, not {fps}")
    return fps


class SharedStylizer(Stylizer):
    """The stylizer of a studio: its copies have styles of their own, and share what is compiled.

    One thread stylizes the frames of all copies in the order of the requests. A viewer who asks
    again waits behind all others, so that fast viewers and previews leave room for the rest.

    Args:
        *models: style models, at least one; where two styles share a name, the first one stays.
        backend, device, precision: see `Stylizer`.

    Attributes:
        loading: settings that another process needs for the same stylizer, beside the backend.
        costs: what live viewers have measured, see `AdaptiveStylizer`; the next one starts with it.
    """

    def __init__(
        self,
        *models: StyleModel,
        backend: BackendName = "auto",
        device: str | None = None,
        precision: Precision = "auto",
    ) -> None:
        styles = StyleSet()
        for model in models:
            styles.add(model, skip_known=True)
        first = styles.names[0]
        super().__init__(styles, first, backend=backend, device=device, precision=precision)
        self.loading: Mapping[str, Any] = {"device": device, "precision": precision}
        self.queue = ThreadPoolExecutor(1, "stylize")
        self.costs: dict[object, float] = {}

    def in_style(self, choice: LiveStyle) -> Stylizer:
        """A copy with a style of its own, for one caller.

        Raises:
            UnknownNameError, InputError: an unknown style, or a number out of range.
        """
        own = copy.copy(self)
        own.set_style(choice.blend, strength=choice.strength, stroke_size=choice.stroke_size)
        return own

    def _begin_pass(self, each: Pass, frame: Frame, *, several: bool) -> Callable[[], Frame]:
        backend = self._backends.of(each.network)
        if self._tile(each.network, backend, *frame.shape[:2]) is None:
            # Outside the queue: compiling for a new size takes seconds, in which others can go on.
            backend.prepare((1, *frame.shape))
        begin = super()._begin_pass
        # Waits, so that a video has one frame in the queue and not several.
        stylized = self.queue.submit(lambda: begin(each, frame, several=False)()).result()
        return lambda: stylized


class Viewer:
    """One live camera: JPEG frames in, stylized JPEG frames out.

    Args:
        shared: the stylizer of all viewers.
        choice: style to start with.
        fps: frame rate to hold by stylizing at a smaller size, which includes the time spent
            waiting for other viewers; 0 never reduces the size.
        decode: `decode_jpeg`, in a process that may crash.
        offer: called with each frame, shape (H, W, 3), uint8 BGR, which a style may be learned on.
    """

    def __init__(
        self,
        shared: SharedStylizer,
        choice: LiveStyle,
        *,
        fps: float,
        decode: Callable[[bytes], Frame] = decode_jpeg,
        offer: Callable[[Frame], object] = lambda frame: None,
    ) -> None:
        self._decode, self._offer = decode, offer
        stabilizer = Stabilizer(choice.stability)
        frame_stylizer = FrameStylizer(shared.in_style(choice), stabilizer=stabilizer)
        self._frame_stylizer = AdaptiveStylizer(frame_stylizer, fps, shared.costs)
        self._wanted = choice
        self._arrived = self._finished = 0.0  # times of the last frame
        self._took = 0.0  # seconds

    @property
    def size(self) -> list[int]:
        """Width and height at which the last frame was stylized."""
        return [*reversed(self._frame_stylizer.working_size)]

    @property
    def preparing(self) -> str | None:
        """The main style of the choice while it is being compiled; None when frames have it."""
        is_first = self.size == [0, 0]
        if not (is_first or self._frame_stylizer.preparing):
            return None
        return max(self._wanted.blend, key=lambda name: self._wanted.blend[name])

    def set_choice(self, choice: LiveStyle, fps: float | None = None) -> None:
        """Choose the style of the next frames; one that cannot be used leaves the previous one.

        Args:
            choice: the style.
            fps: frame rate to hold from now on; None keeps it.
        """
        self._frame_stylizer.set_style(choice)
        self._wanted = choice
        if fps is not None:
            self._frame_stylizer.hold(fps)

    def stylize(self, jpeg: bytes, *, may_shrink: bool = True) -> bytes:
        """Stylize one frame; raises what `decode_jpeg` does.

        Args:
            jpeg: the frame.
            may_shrink: see `AdaptiveStylizer.stylize`.
        """
        began = time.perf_counter()
        interval = self._interval(began)
        if self.size != [0, 0]:  # the first frame finds the scale for the style as it is
            with suppress(UnknownNameError):  # a style that was removed stays on the screen
                self._frame_stylizer.set_style(self._wanted)  # which may have better weights
        frame = self._decode(jpeg)
        self._offer(frame)
        stylized = self._frame_stylizer.stylize(frame, interval=interval, may_shrink=may_shrink)
        jpeg = encode_image(stylized)
        self._finished = time.perf_counter()
        self._took = self._finished - began
        return jpeg

    def rest(self) -> float:
        """Seconds to wait before the next frame, to leave others half of the machine.

        The wait does not count as one for the camera.
        """
        seconds = min(self._took, _MOST_REST)
        self._finished += seconds
        return seconds

    def _interval(self, now: float) -> float:
        """Seconds between two frames of the camera, 0 if unknown.

        The page sends a frame only when an earlier one has come back. The interval is that of the
        camera only if the studio had to wait for the frame.
        """
        waited, interval = now - self._finished, now - self._arrived
        self._arrived = now
        return interval if waited > _MIN_WAIT * interval else 0.0

    def close(self) -> None:
        """Stop the background compilation."""
        self._frame_stylizer.close()


def encode_image(frame: Frame, suffix: str = ".jpg") -> bytes:
    """Encode a frame, shape (H, W, 3), uint8 BGR, as a JPEG or PNG file."""
    parameters = (cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY) if suffix == ".jpg" else ()
    return cv2.imencode(suffix, frame, parameters)[1].tobytes()


def write_preview(frame: Frame, path: Path, *, size: int) -> None:
    """Write a frame as a JPEG, at most `size` pixels long; it replaces an earlier one at once."""
    height, width = frame.shape[:2]
    scale = min(1.0, size / max(height, width))
    small = resized_frame(frame, (max(round(height * scale), 1), max(round(width * scale), 1)))
    with atomic_output(path) as file:
        file.write_bytes(encode_image(small))
