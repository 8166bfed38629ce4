"""The stylizer: styles on one device, taking and giving frames."""

import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence

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
from nst_rt.infer.blend import Pass, StyleSet, kind_of
from nst_rt.infer.postprocess import check_strength, mixed, with_strength
from nst_rt.infer.strokes import DEFAULT_STROKES, StrokeSize, brought_back, resized
from nst_rt.infer.tiled import TiledNet, check_fits, tile_for
from nst_rt.infer.timeline import Timeline
from nst_rt.models.style_model import StyleModel, normalized_weights
from nst_rt.models.transformer import MINIMUM_SIZE, TransformerNet

_SURELY_FITS_PIXELS = 4096 * 2160
_SURELY_FITS = _SURELY_FITS_PIXELS * 32  # activations of a network's widest layer


class Stylizer:
    """Stylizes frames in the styles of any number of models, for one caller at a time.

    All styles of an architecture run on one compiled network, so that another style or another
    blend is there on the next frame. A network of another architecture is compiled when a style
    first needs it; `prepare` does so before.

    Args:
        styles: a palette, or a loaded style model.
        style: one style's name, or names with weights for a blend, see `StyleSet.passes`.
        strength: from 0 (the frame as it is) to 1 (the full style).
        stroke_size: how far a stroke is from the next one: `2%` or 0.02 of the long side, `40px`,
            or `1:1` to stylize at the frame's own size; see `StrokeSize`.
        backend: `auto`, `openvino`, `torch` or `onnx`.
        device: see `create_backend`.
        precision: `auto`, `f32`, `bf16` or `f16`.
        memory: GB that painting a picture may take; by default half of what is free. Larger
            pictures are painted in tiles, which takes longer.

    Attributes:
        palette: the styles that it has.
        blend: the names that it stylizes in, with weights that sum to 1.
        passes: what a frame takes: one for all styles of its blend whose networks are kindred.
        strength: as it was given.
        scale: of the working size that the stroke size asks for; less where there is less time.

    Raises:
        BackendError: an engine, device or precision that is not there.
        UnknownNameError: a style that is not in the palette.
        InputError: a strength, a stroke size or weights out of range.
    """

    def __init__(
        self,
        styles: StyleSet | StyleModel,
        style: str | Mapping[str, float],
        *,
        strength: float = 1.0,
        stroke_size: StrokeSize | str | float = DEFAULT_STROKES,
        backend: BackendName = "auto",
        device: str | None = None,
        precision: Precision = "auto",
        memory: float | None = None,
    ) -> None:
        if memory is not None and not 0 < memory < float("inf"):
            raise InputError(f"the memory must be a positive number of GB, not {memory}")
        self.style_set = styles if isinstance(styles, StyleSet) else StyleSet(styles)
        self._memory = memory
        self.strength = strength
        self._stroke_size = StrokeSize.parse(stroke_size)
        self.scale = 1.0
        self._backends = _Backends(backend, device, precision)
        self.set_style(style)
        self._backends.of(self.passes[0].network)  # what is missing is found now

    def become(self, other: "Stylizer") -> None:
        """Take over the style, strength, stroke size and scale of a copy of this one."""
        self.__dict__.update(other.__dict__)

    def __str__(self) -> str:
        """Backend, precision and device, as they really are."""
        return f"{self.backend} {self.precision} on {self.device}"

    @property
    def choice(self) -> Choice:
        """The backend, and why it is this one."""
        return self._backends.choice(self.passes[0].network)

    @property
    def _backend(self) -> Backend:
        return self._backends.of(self.passes[0].network)

    @property
    def backend(self) -> str:
        """Name of the backend."""
        return self._backend.name

    @property
    def device(self) -> str:
        """Name of the device it runs on."""
        return self._backend.device

    @property
    def precision(self) -> str:
        """What it computes in: `f32`, `bf16` or `f16`."""
        return self._backend.precision

    @property
    def identity(self) -> str:
        """A digest of the networks, the style, its strength and strokes: how it stylizes."""
        known = hashlib.sha256(f"{self.strength} {self._stroke_size}".encode())
        for each in self.passes:
            known.update(f"{digest(each.network)} {each.share}".encode() + each.weights.tobytes())
        return known.hexdigest()[:16]

    def set_style(
        self,
        style: str | Mapping[str, float] | None = None,
        *,
        strength: float | None = None,
        stroke_size: StrokeSize | str | float | None = None,
    ) -> None:
        """Choose a style, a blend, how strong it is and its strokes, from the next frame on.

        Args:
            style, strength, stroke_size: see `Stylizer`; what is not given stays.

        Raises:
            UnknownNameError: a style that is not in the palette.
            InputError: a strength, a stroke size or weights out of range.
        """
        strength = self.strength if strength is None else strength
        check_strength(strength)
        if stroke_size is not None:
            self._stroke_size = StrokeSize.parse(stroke_size)
        if style is not None:
            self.passes = self.style_set.passes(style)
            self.blend = normalized_weights({style: 1.0} if isinstance(style, str) else style)
        self.strength = strength

    def prepare(self, height: int, width: int) -> None:
        """Compile for frames of a size before they come; any thread may do so."""
        for each in self.passes:
            self._backends.of(each.network).prepare((1, *self.working_size(height, width), 3))

    def is_ready(self, height: int, width: int) -> bool:
        """Whether frames of a size are stylized without compiling anything."""
        shape = (1, *self.working_size(height, width), 3)
        return all(self._backends.is_ready(each.network, shape) for each in self.passes)

    @property
    def runs(self) -> tuple[object, ...]:
        """What decides how long a frame takes, beside its size: the networks that are run."""
        return tuple(kind_of(each.network) for each in self.passes)

    def stylize(self, frame: Frame) -> Frame:
        """Stylize one frame, shape (H, W, 3), uint8 BGR, of any size from 16 px a side.

        Raises:
            InputError: not such an array, or too small.
        """
        if self.strength == 0:
            _check(frame)
            return frame.copy()
        small = self.shrunk(frame)
        stylized = brought_back(self.stylize_shrunk(small), small, frame)
        return with_strength(frame, stylized, self.strength)

    def shrunk(self, frame: Frame) -> Frame:
        """A frame at the size at which it is stylized.

        Raises:
            InputError: see `stylize`.
        """
        _check(frame)
        height, width = frame.shape[:2]
        size = self.working_size(height, width)
        if size == (height, width):
            return frame
        if self._memory is not None or height * width > _SURELY_FITS_PIXELS:
            check_fits(height, width, self._available())
        return resized(frame, size)

    def stylize_shrunk(self, frame: Frame, passes: Sequence[Pass] | None = None) -> Frame:
        """Stylize a frame at the size that it has, in full strength.

        Args:
            frame: see `stylize`.
            passes: some of `passes`; by default all.
        """
        return self._begin(frame, passes, several=False)()

    def start_shrunk(
        self, frame: Frame, passes: Sequence[Pass] | None = None
    ) -> Callable[[], Frame]:
        """Begin to stylize a frame as `stylize_shrunk` does; what is returned waits for it.

        For throughput: with `backends.IN_FLIGHT` frames at a time the device is never idle. Styles
        that are set meanwhile are those of the frames after.
        """
        return self._begin(frame, passes, several=True)

    def _begin(
        self, frame: Frame, passes: Sequence[Pass] | None, *, several: bool
    ) -> Callable[[], Frame]:
        """Begin one of several frames, or one that is waited for at once."""
        begun = [
            (self._begin_pass(each, frame, several=several), each.share)
            for each in (self.passes if passes is None else passes)
        ]
        return lambda: mixed([(pending(), share) for pending, share in begun])

    def _begin_pass(self, each: Pass, frame: Frame, *, several: bool) -> Callable[[], Frame]:
        backend = self._backends.of(each.network)
        tile = self._tile(each.network, backend, *frame.shape[:2])
        if tile is None and several:
            pending = backend.start(frame[None], each.weights)
            return lambda: pending()[0]
        if tile is None:
            [stylized] = backend(frame[None], each.weights)
        else:
            stylized = TiledNet(
                each.network,
                each.weights,
                device=backend.torch_device,
                dtype=DTYPES[backend.precision],
                tile=tile,
            ).stylize(frame)
        return lambda: stylized

    def working_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width that frames of a size are stylized at."""
        return self._stroke_size.working_size(height, width, scale=self.scale)

    def _tile(
        self, network: TransformerNet, backend: Backend, height: int, width: int
    ) -> int | None:
        """Side of the tiles that a frame of that size takes, None for none."""
        if self._memory is None and height * width * network.net.activations <= _SURELY_FITS:
            return None
        itemsize = DTYPES[backend.precision].itemsize
        return tile_for(network, height, width, itemsize, self._available())

    def _available(self) -> float:
        """Bytes that stylizing a picture may take."""
        if self._memory is not None:
            return self._memory * 1e9
        return available_memory(self._backend.torch_device) / 2


class _Backends:
    """A backend for each architecture, made when it is first needed."""

    def __init__(self, name: BackendName, device: str | None, precision: Precision) -> None:
        self._name, self._device, self._precision = name, device, precision
        self._made: dict[object, tuple[Choice, Backend]] = {}
        self._lock = threading.Lock()

    def of(self, network: TransformerNet) -> Backend:
        return self._of(network)[1]

    def choice(self, network: TransformerNet) -> Choice:
        return self._of(network)[0]

    def is_ready(self, network: TransformerNet, shape: tuple[int, ...]) -> bool:
        made = self._made.get(kind_of(network))
        return made is not None and made[1].is_ready(shape)

    def _of(self, network: TransformerNet) -> tuple[Choice, Backend]:
        kind = kind_of(network)
        with self._lock:
            if kind not in self._made:
                # To measure again takes minutes for large networks, and what is the fastest for one
                # is for others.
                known = next((choice for choice, _ in self._made.values()), None)
                device, precision = self._device, self._precision
                choice = known or choose(network, self._name, device=device, precision=precision)
                backend = create_backend(network, choice.name, device=device, precision=precision)
                self._made[kind] = choice, backend
            return self._made[kind]


def _check(frame: Frame) -> None:
    """Raise an InputError unless it is a frame; what OpenCV cannot read is None, and none."""
    is_array = isinstance(frame, np.ndarray)
    if not is_array or frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[-1] != 3:
        given = f"{frame.dtype} {frame.shape}" if is_array else type(frame).__name__
        raise InputError(
            "a frame must be a uint8 BGR array of shape (H, W, 3), as cv2.imread returns it, not "
            f"{given}"
        )
    height, width = frame.shape[:2]
    if min(height, width) < MINIMUM_SIZE:
        raise InputError(f"a frame of {width}x{height} px is too small: {MINIMUM_SIZE} px a side")


def load_style(
    name: str | Mapping[str, float] = "starry_night",
    *,
    strength: float = 1.0,
    stroke_size: StrokeSize | str | float = DEFAULT_STROKES,
    backend: BackendName = "auto",
    device: str | None = None,
    precision: Precision = "auto",
    memory: float | None = None,
) -> Stylizer:
    """Load a style, ready to stylize.

    Args:
        name: a style of the gallery; a model file, for its first style; or FILE:NAME. For a blend,
            such names with weights.
        strength, stroke_size, backend, device, precision, memory: see `Stylizer`.

    Raises:
        UnknownNameError: no such style.
        InputError, StyleModelError: a file that is missing, or not a style model.
        BackendError: an engine, device or precision that is not there.
    """
    style_set, timeline = Timeline(((0, name),)).load()
    return Stylizer(
        style_set,
        timeline.at(0),
        strength=strength,
        stroke_size=stroke_size,
        backend=backend,
        device=device,
        precision=precision,
        memory=memory,
    )
