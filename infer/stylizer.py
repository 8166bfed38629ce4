"""The stylizer: a style model on one device, taking and giving frames."""

import hashlib
from collections.abc import Callable, Mapping

import numpy as np
import torch

from nst_rt.devices import available_memory
from nst_rt.errors import InputError
from nst_rt.images import Frame
from nst_rt.infer.backends import (
    DTYPES,
    BackendName,
    Frames,
    Precision,
    choose,
    create_backend,
)
from nst_rt.infer.frame_net import digest
from nst_rt.infer.looks import check_strength, with_strength
from nst_rt.infer.tiles import TiledNet, tile_for
from nst_rt.infer.timeline import Timeline
from nst_rt.style_model import StyleModel
from nst_rt.transformer import MINIMUM_SIZE

_SURELY_FITS = 4096 * 2160 * 32  # activations of a network's widest layer


class Stylizer:
    """Paints frames in the styles of a model, for one caller at a time.

    Args:
        model: a loaded style model.
        style: one style's name, or names with weights for a blend.
        strength: from 0 (the frame as it is) to 1 (the full style).
        backend: `auto`, `openvino`, `torch` or `onnx`.
        device: see `create_backend`.
        precision: `auto`, `f32`, `bf16` or `f16`.
        memory: GB that painting a picture may take; by default half of what is free. Larger
            pictures are painted in tiles, which takes longer.

    Attributes:
        model: as it was given.
        choice: the engine, and why it is this one.

    Raises:
        BackendError: an engine, device or precision that is not there.
        UnknownNameError: a style that the model does not have.
        InputError: a strength or weights out of range.
    """

    def __init__(
        self,
        model: StyleModel,
        style: str | Mapping[str, float],
        *,
        strength: float = 1.0,
        backend: BackendName = "auto",
        device: str | None = None,
        precision: Precision = "auto",
        memory: float | None = None,
    ) -> None:
        if memory is not None and not 0 < memory < float("inf"):
            raise InputError(f"the memory must be a positive number of GB, not {memory}")
        self.model = model
        self._memory = memory
        self._strength = strength
        self.set_style(style)
        self.choice = choose(model.network, backend, device=device, precision=precision)
        self._backend = create_backend(
            model.network, self.choice.name, device=device, precision=precision
        )

    def __str__(self) -> str:
        """Engine, precision and device, as they really are."""
        return f"{self.backend} {self.precision} on {self.device}"

    @property
    def backend(self) -> str:
        """Name of the engine."""
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
        """A digest of the network, the style and its strength: what decides how it paints."""
        known = f"{digest(self.model.network)} {self._weights.tolist()} {self._strength}"
        return hashlib.sha256(known.encode()).hexdigest()[:16]

    def set_style(
        self, style: str | Mapping[str, float] | None = None, *, strength: float | None = None
    ) -> None:
        """Choose a style, a blend and how strong it is, from the next frame on.

        Nothing is compiled again: the style is an input of the compiled network.

        Args:
            style: see `Stylizer`; by default it stays.
            strength: see `Stylizer`; by default it stays.

        Raises:
            UnknownNameError: a style that the model does not have.
            InputError: a strength or weights out of range.
        """
        strength = self._strength if strength is None else strength
        check_strength(strength)
        if style is not None:
            self._weights = self.model.style_weights(style).numpy()
        self._strength = strength

    def prepare(self, height: int, width: int) -> None:
        """Compile for frames of a size before they come; any thread may do so."""
        self._backend.prepare((1, height, width, 3))

    def stylize(self, frame: Frame) -> Frame:
        """Paint one frame, shape (H, W, 3), uint8 BGR, of any size from 16 px a side.

        Raises:
            InputError: not such an array, or too small.
        """
        painted: Frame = self.stylize_batch(_batch_of_one(frame))[0]
        return painted

    def stylize_batch(self, frames: Frames) -> Frames:
        """Paint frames, shape (N, H, W, 3), uint8 BGR.

        Raises:
            InputError: not such an array, or too small.
        """
        self._check(frames)
        if self._strength == 0:
            return frames.copy()
        tile = self._tile(*frames.shape[1:3])
        if tile is None:
            painted = self._backend(frames, self._weights)
        else:
            net = self._tiled(tile)  # a copy of the network, once for all frames
            painted = np.stack([net.stylize(frame, self._weights) for frame in frames])
        return with_strength(frames, painted, self._strength)

    @staticmethod
    def _check(frames: Frames) -> None:
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3:
            raise InputError(
                "a frame must be a uint8 BGR array of shape (H, W, 3), not "
                f"{frames.dtype} {frames.shape[1:]}"
            )
        height, width = frames.shape[1:3]
        if min(height, width) < MINIMUM_SIZE:
            raise InputError(
                f"a frame of {width}x{height} px is too small: {MINIMUM_SIZE} px a side"
            )

    def start(self, frame: Frame) -> Callable[[], Frame]:
        """Begin to paint a frame, as `stylize`; what is returned waits for it.

        For throughput: with `backends.IN_FLIGHT` frames at a time the device is never idle. Styles
        that are set meanwhile are those of the frames after.

        Raises:
            InputError: see `stylize`.
        """
        frames = _batch_of_one(frame)
        self._check(frames)
        if self._strength == 0 or self._tile(*frame.shape[:2]) is not None:
            painted = self.stylize(frame)
            return lambda: painted
        pending, strength = self._backend.start(frames, self._weights), self._strength
        return lambda: with_strength(frame, pending()[0], strength)

    def _tile(self, height: int, width: int) -> int | None:
        """Side of the tiles that a frame of that size takes, None for none."""
        if self._memory is None and (
            height * width * self.model.network.net.activations <= _SURELY_FITS
        ):
            return None
        free = available_memory(self._backend.torch_device) / 2
        memory = free if self._memory is None else self._memory * 1e9
        return tile_for(self.model.network, height, width, self._dtype.itemsize, memory)

    def _tiled(self, tile: int) -> TiledNet:
        return TiledNet(
            self.model.network,
            device=self._backend.torch_device,
            dtype=self._dtype,
            tile=tile,
        )

    @property
    def _dtype(self) -> torch.dtype:
        return DTYPES[self._backend.precision]


def _batch_of_one(frame: Frame) -> Frames:
    """A frame as a batch; what OpenCV could not read is None, and no frame.

    Raises:
        InputError: not an array.
    """
    if not isinstance(frame, np.ndarray):
        raise InputError(
            "a frame must be a uint8 BGR array of shape (H, W, 3), as cv2.imread returns it, not "
            f"{type(frame).__name__}"
        )
    return frame[None]


def load_style(
    name: str | Mapping[str, float] = "starry_night",
    *,
    strength: float = 1.0,
    backend: BackendName = "auto",
    device: str | None = None,
    precision: Precision = "auto",
    memory: float | None = None,
) -> Stylizer:
    """Load a style, ready to paint.

    Args:
        name: a style of the gallery; a model file, for its first style; or FILE:NAME. For a blend
            of styles of one file, such names with weights.
        strength, backend, device, precision, memory: see `Stylizer`.

    Raises:
        UnknownNameError: no such style.
        InputError, StyleModelError: a file that is missing, or not a style model; a blend of
            several files.
        BackendError: an engine, device or precision that is not there.
    """
    model, timeline = Timeline(((0, name),)).load()
    return Stylizer(
        model,
        timeline.at(0),
        strength=strength,
        backend=backend,
        device=device,
        precision=precision,
        memory=memory,
    )
