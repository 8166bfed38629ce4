"""The stylizer: frames in, frames in a style out, on one device."""

import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Unpack

import numpy as np

from nst_rt.devices import available_memory
from nst_rt.errors import InputError
from nst_rt.images.io import Frame
from nst_rt.infer.backends import (
    DTYPES,
    Backend,
    BackendName,
    Choice,
    Precision,
    choose,
    create_backend,
)
from nst_rt.infer.backends.graph import digest
from nst_rt.infer.backends.tiled_net import TiledNet, check_fits, tile_side
from nst_rt.infer.blend import Pass, StyleSet, weights_of
from nst_rt.infer.learning.learn import LearningOptions, learned, learning_for
from nst_rt.infer.postprocess import check_strength, mixed, with_strength
from nst_rt.infer.strokes import DEFAULT_STROKES, StrokeSize, at_full_size, resized_frame
from nst_rt.infer.timeline import DEFAULT_STYLE, AnyStyle, load_blend
from nst_rt.learning.request import StyleImages
from nst_rt.models.style_model import StyleModel
from nst_rt.models.transformer import MINIMUM_SIZE, TransformerNet
from nst_rt.tiles import check_memory

# Frames up to this size are stylized without asking how much memory is free.
_SURELY_FITS_PIXELS = 4096 * 2160
_SURELY_FITS = _SURELY_FITS_PIXELS * 32  # activations of a network's widest layer


class Stylizer:
    """Stylizes frames: `stylizer(frame)`, in the styles of any number of models.

    All styles of an architecture run on one compiled network, so that another style or another
    blend takes effect on the next frame. A network of another architecture is compiled when a style
    first needs it, or before by `prepare`. A stylizer is for one caller at a time.

    Args:
        styles: a set of styles, or a style model.
        style: name of a style, a list of names of equal weight, or names with weights.
        strength: from 0 (the frame as it is) to 1 (the full style).
        stroke_size: distance between strokes: `2%` or 0.02 of the long side, `40px`, or `1:1` to
            stylize at the frame's own size; see `StrokeSize`.
        backend: `auto` (the fastest, measured once), `openvino`, `torch` or `onnx`.
        device: see `create_backend`.
        precision: `auto`, `f32`, `bf16` or `f16`.
        memory: maximum memory that stylizing a frame may take, GB; by default half of what is free.
            Larger frames are stylized in tiles, which takes longer.

    Attributes:
        style_set: the styles that it has.
        blend: names of the styles that are set, with weights that sum to 1.
        passes: the network passes that a frame takes, see `StyleSet.passes`.
        strength: the strength that is set.
        scale: factor on the sides of the working size, 1 by default; less for more speed.

    Raises:
        BackendError: a backend, device or precision that is not available.
        UnknownNameError: a style that is not in the set.
        InputError: a strength, a stroke size, a memory or weights out of range.
    """

    def __init__(
        self,
        styles: StyleSet | StyleModel,
        style: str | Sequence[str] | Mapping[str, float],
        *,
        strength: float = 1.0,
        stroke_size: StrokeSize | str | float = DEFAULT_STROKES,
        backend: BackendName = "auto",
        device: str | None = None,
        precision: Precision = "auto",
        memory: float | None = None,
    ) -> None:
        check_memory(memory)
        self.style_set = styles if isinstance(styles, StyleSet) else StyleSet(styles)
        self._memory = memory
        self.strength = strength
        self._stroke_size = StrokeSize.parse(stroke_size)
        self.scale = 1.0
        self._backends = _Backends(backend, device, precision)
        self.set_style(style)
        _ = self._backend  # raises now if it is not available

    def __call__(self, frame: Frame) -> Frame:
        """Stylize one frame, shape (H, W, 3), uint8 BGR, of any size from 16 px a side.

        Raises:
            InputError: not such an array, or too small.
        """
        if self.strength == 0:
            _check(frame)
            return frame.copy()
        small = self.shrunk(frame)
        stylized = self.at_full_size(self.stylize_shrunk(small), small, frame)
        return with_strength(frame, stylized, self.strength)

    def set_style(
        self,
        style: str | Sequence[str] | Mapping[str, float] | None = None,
        *,
        strength: float | None = None,
        stroke_size: StrokeSize | str | float | None = None,
    ) -> None:
        """Change the style, its strength or its strokes from the next frame on.

        Args:
            style, strength, stroke_size: see `Stylizer`; what is None stays as it is.

        Raises:
            UnknownNameError: a style that is not in the set.
            InputError: a strength, a stroke size or weights out of range; nothing changes then.
        """
        strength = self.strength if strength is None else strength
        check_strength(strength)
        strokes = self._stroke_size if stroke_size is None else StrokeSize.parse(stroke_size)
        if style is not None:
            self.passes = self.style_set.passes(style)
            self.blend = weights_of(style)
        self.strength, self._stroke_size = strength, strokes

    def __str__(self) -> str:
        """Backend, precision and device that it really runs on."""
        return f"{self.backend} {self.precision} on {self.device}"

    @property
    def choice(self) -> Choice:
        """The backend, and why it was chosen."""
        return self._backends.made(self.passes[0].network)[0]

    @property
    def _backend(self) -> Backend:
        return self._backends.of(self.passes[0].network)

    @property
    def backend(self) -> str:
        """Name of the backend."""
        return self._backend.name

    @property
    def device(self) -> str:
        """Name of the device that it runs on."""
        return self._backend.device

    @property
    def precision(self) -> str:
        """Precision that it computes in: `f32`, `bf16` or `f16`."""
        return self._backend.precision

    @property
    def identity(self) -> str:
        """A digest of all that decides the result: networks, blend, strength and stroke size."""
        known = hashlib.sha256(f"{self.strength} {self._stroke_size}".encode())
        for each in self.passes:
            known.update(f"{digest(each.network)} {each.fraction}".encode())
            known.update(each.weights.tobytes())
        return known.hexdigest()[:16]

    def prepare(self, height: int, width: int) -> None:
        """Compile for frames of a size before they come; any thread may call it."""
        for each in self.passes:
            self._backends.of(each.network).prepare((1, *self.working_size(height, width), 3))

    def is_ready(self, height: int, width: int) -> bool:
        """Whether frames of a size can be stylized without compiling anything."""
        shape = (1, *self.working_size(height, width), 3)
        return all(self._backends.is_ready(each.network, shape) for each in self.passes)

    @property
    def runs(self) -> tuple[object, ...]:
        """The kinds of network that run for a frame; beside its size, they decide the time."""
        return tuple(each.network.kind for each in self.passes)

    def shrunk(self, frame: Frame) -> Frame:
        """A frame resized to its working size.

        Raises:
            InputError: not a frame, or too large to be brought back in the memory there is.
        """
        _check(frame)
        height, width = frame.shape[:2]
        size = self.working_size(height, width)
        if size == (height, width):
            return frame
        if self._memory is not None or height * width > _SURELY_FITS_PIXELS:
            check_fits(height, width, self._available())
        return resized_frame(frame, size)

    def at_full_size(self, stylized: Frame, small: Frame, frame: Frame) -> Frame:
        """What was stylized at the working size, at the frame's own size, with its fine detail.

        With a stroke size of 1:1 it is the network's own output.
        """
        if small is frame and self._stroke_size.unit == "as trained":
            return stylized
        return at_full_size(stylized, small, frame)

    def stylize_shrunk(self, frame: Frame, passes: Sequence[Pass] | None = None) -> Frame:
        """Stylize a frame at its own size and in full strength.

        Args:
            frame: shape (H, W, 3), uint8 BGR.
            passes: some of `passes`; by default all.
        """
        return self._begin(frame, passes, several=False)()

    def start_shrunk(
        self, frame: Frame, passes: Sequence[Pass] | None = None
    ) -> Callable[[], Frame]:
        """Start what `stylize_shrunk` does; the function returned waits for the result.

        For throughput: with `backends.IN_FLIGHT` frames at a time the device is never idle. A style
        that is set in the meantime holds for the frames that are started after it.
        """
        return self._begin(frame, passes, several=True)

    def _begin(
        self, frame: Frame, passes: Sequence[Pass] | None, *, several: bool
    ) -> Callable[[], Frame]:
        """Start one of several frames, or one that is waited for at once."""
        begun = [
            (self._begin_pass(each, frame, several=several), each.fraction)
            for each in (self.passes if passes is None else passes)
        ]
        return lambda: mixed([(pending(), fraction) for pending, fraction in begun])

    def _begin_pass(self, each: Pass, frame: Frame, *, several: bool) -> Callable[[], Frame]:
        backend = self._backends.of(each.network)
        if tile := self._tile(each.network, backend, *frame.shape[:2]):
            dtype, device = DTYPES[backend.precision], backend.torch_device
            net = TiledNet(each.network, each.weights, device=device, dtype=dtype, tile=tile)
            stylized = net(frame)
        elif several:
            pending = backend.start(frame[None], each.weights)
            return lambda: pending()[0]
        else:
            [stylized] = backend(frame[None], each.weights)
        return lambda: stylized

    def working_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width at which frames of a size are stylized."""
        return self._stroke_size.working_size(height, width, scale=self.scale)

    def _tile(
        self, network: TransformerNet, backend: Backend, height: int, width: int
    ) -> int | None:
        """Side of the tiles for a frame of that size; None to stylize it as a whole."""
        if self._memory is None and height * width * network.net.activations <= _SURELY_FITS:
            return None
        itemsize = DTYPES[backend.precision].itemsize
        return tile_side(network, height, width, itemsize, self._available())

    def _available(self) -> float:
        """Maximum memory that stylizing a frame may take, bytes."""
        if self._memory is not None:
            return self._memory * 1e9
        return available_memory(self._backend.torch_device) / 2


class _Backends:
    """One backend for each kind of network, made when it is first needed."""

    def __init__(self, name: BackendName, device: str | None, precision: Precision) -> None:
        self._name, self._device, self._precision = name, device, precision
        self._made: dict[object, tuple[Choice, Backend]] = {}
        self._lock = threading.Lock()

    def of(self, network: TransformerNet) -> Backend:
        return self.made(network)[1]

    def is_ready(self, network: TransformerNet, shape: tuple[int, ...]) -> bool:
        made = self._made.get(network.kind)
        return made is not None and made[1].is_ready(shape)

    def made(self, network: TransformerNet) -> tuple[Choice, Backend]:
        kind = network.kind
        with self._lock:
            if kind not in self._made:
                # Measuring again takes minutes for large networks, and the fastest backend for one
                # kind of network is the fastest for others.
                known = next((choice for choice, _ in self._made.values()), None)
                device, precision = self._device, self._precision
                choice = known or choose(network, self._name, device=device, precision=precision)
                backend = create_backend(network, choice.name, device=device, precision=precision)
                self._made[kind] = choice, backend
            return self._made[kind]


def _check(frame: Frame) -> None:
    """Raise an InputError unless it is a frame; `cv2.imread` gives None for a missing file."""
    is_array = isinstance(frame, np.ndarray)
    if not is_array or frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[-1] != 3:
        given = f"{frame.dtype} {frame.shape}" if is_array else type(frame).__name__
        raise InputError(
            "a frame must be a uint8 BGR array of shape (H, W, 3), as cv2.imread returns it, not "
            f"{given}"
        )
    height, width = frame.shape[:2]
    if min(height, width) < MINIMUM_SIZE:
        raise InputError(
            f"a frame of {width}x{height} px is too small; it needs {MINIMUM_SIZE} px a side"
        )


def load_style(
    style: AnyStyle = DEFAULT_STYLE,
    *,
    strength: float = 1.0,
    stroke_size: StrokeSize | str | float = DEFAULT_STROKES,
    backend: BackendName = "auto",
    device: str | None = None,
    precision: Precision = "auto",
    memory: float | None = None,
    style_image: StyleImages | None = None,
    **learning: Unpack[LearningOptions],
) -> Stylizer:
    """Load a style, ready to stylize: `nst_rt.load_style("starry_night")(frame)`.

    Args:
        style: a style of the gallery; a model file, for its first style, or FILE:NAME; or a
            `StyleModel`. For a blend such styles with weights, a list of them for equal weights, or
            a text such as `starry_night=0.7,great_wave=0.3`. All other styles of the models that
            hold them can be set later.
        strength, stroke_size, backend, device, precision, memory: see `Stylizer`.
        style_image, learning: style image to learn instead of a style, and how, see `learn_style`.

    Raises:
        UnknownNameError: no such style.
        InputError: a missing file, or a value out of range.
        StyleModelError: a file that is not a style model.
        BackendError: a backend, device or precision that is not available.
        LearningError, InterruptedWorkError: see `learn_style`.
    """
    if wanted := learning_for(style, DEFAULT_STYLE, style_image, learning):
        style = learned(wanted, ())
    style_set, blend = load_blend(style)
    return Stylizer(
        style_set,
        blend,
        strength=strength,
        stroke_size=stroke_size,
        backend=backend,
        device=device,
        precision=precision,
        memory=memory,
    )
