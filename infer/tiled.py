"""Pictures too large to paint at once, in tiles that show no seams."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from nst_rt.errors import InputError
from nst_rt.images.io import Frame, frame_to_tensor, tensor_to_frame
from nst_rt.infer.backends.graph import FrameNet, StyleWeights
from nst_rt.models.layers import ConditionalInstanceNorm
from nst_rt.models.transformer import MULTIPLE, TransformerNet

TILES = (2048, 1024, 512)  # pixels, the side of what a tile adds to the picture
# Bytes per pixel, fitted to peaks of PyTorch, of which OpenVINO takes half: of frames and sums,
# and of the picture and its tiles' results as they are read, painted and written.
_FRAMES = 20
_PICTURE = 60


def tile_for(
    network: TransformerNet, height: int, width: int, itemsize: int, memory: float
) -> int | None:
    """How to paint a picture in a given memory.

    Args:
        network: that paints.
        height, width: of the picture, pixels.
        itemsize: bytes of a number that is computed with.
        memory: bytes.

    Returns:
        Side of the tiles; None for the whole picture at once.

    Raises:
        InputError: it does not fit; the message says which size would.
    """

    def peak(pixels: float, tile: int | None) -> float:
        stylized = pixels if tile is None else min(pixels, (tile + 2 * network.net.reach) ** 2)
        return pixels * _PICTURE + stylized * (_FRAMES + network.net.activations * itemsize)

    for tile in (None, *TILES):
        if peak(height * width, tile) <= memory:
            return tile
    spent = peak(0, None) + peak(TILES[-1] ** 2, TILES[-1])
    raise _too_large(height, width, peak(height * width, TILES[-1]), memory, spent)


def check_fits(height: int, width: int, memory: float) -> None:
    """Check that a picture that is stylized at a smaller size can be brought back to its own.

    Args:
        height, width: of the picture, pixels.
        memory: bytes.

    Raises:
        InputError: it does not fit; the message says which size would.
    """
    needed = height * width * _PICTURE
    if needed > memory:
        raise _too_large(height, width, needed, memory, 0)


def _too_large(height: int, width: int, needed: float, memory: float, spent: float) -> InputError:
    """What to say of a picture; `spent` is the memory that one of no size would take."""
    share = math.sqrt(max((memory - spent) / _PICTURE, 0) / (height * width))
    size = int(max(height, width) * min(share, 1)) // 64 * 64
    return InputError(
        f"a picture of {width}x{height} px would take {needed / 1e9:.1f} "
        f"GB of memory, of which there are {memory / 1e9:.1f}: "
        + (f"--size {size} would fit" if size else "nor would any smaller size fit")
    )


@dataclass(frozen=True)
class Tile:
    """A tile's place along both axes: what is painted, and what of it is kept."""

    stylized: tuple[slice, slice]
    kept: tuple[slice, slice]

    @property
    def inside(self) -> tuple[slice, slice]:
        """`kept`, seen from within `stylized`."""
        return tuple(  # type: ignore[return-value]
            slice(kept.start - stylized.start, kept.stop - stylized.start)
            for stylized, kept in zip(self.stylized, self.kept, strict=True)
        )


class _Found(Exception):
    """What comes into a normalization; the layers after it need not run."""

    def __init__(self, features: Tensor) -> None:
        self.features = features


class TiledNet:
    """A network that paints pictures in tiles, the result being that of the whole.

    Instance normalization takes the mean and variance of the whole picture. So the network's
    normalizations are gone through in order: each one's moments are summed up over all tiles, with
    those before it known; then all tiles are painted. That is as many passes as there are
    normalizations, of half the layers on average, in memory that does not grow with the picture.

    Args:
        network: of any style; its architecture counts.
        weights: of the style, see `style_weights`.
        device, dtype: to compute on and in.
        tile: side of what a tile adds, pixels.
    """

    def __init__(
        self,
        network: TransformerNet,
        weights: StyleWeights,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        tile: int = TILES[0],
    ) -> None:
        net = FrameNet(network)
        net.load(torch.from_numpy(weights))
        self._network = net.network.to(device, dtype)
        self._network.use_channels_last()
        self._style = torch.ones(1, 1, device=device, dtype=dtype)
        self._device, self._dtype = device, dtype
        self._tile = math.ceil(tile / MULTIPLE) * MULTIPLE
        self._norms = [m for m in self._network.modules() if isinstance(m, ConditionalInstanceNorm)]

    @torch.inference_mode()
    def stylize(self, frame: Frame) -> Frame:
        """Stylize a frame, shape (H, W, 3), uint8 BGR."""
        height, width = frame.shape[:2]
        below, right = -height % MULTIPLE, -width % MULTIPLE
        whole = np.asarray(
            cv2.copyMakeBorder(frame, 0, below, 0, right, cv2.BORDER_REFLECT_101), np.uint8
        )
        tiles = list(self._tiles(*whole.shape[:2]))
        for norm in self._norms:
            norm.moments = None
        for norm in self._norms:  # in the order that they are defined, and run, in
            norm.moments = self._moments(norm, whole, tiles)
        stylized = np.empty_like(whole)
        for tile in tiles:
            pastiche = self._network(self._image(whole, tile), self._style).float()
            stylized[tile.kept] = tensor_to_frame(pastiche.flip(1))[tile.inside]
        return stylized[:height, :width]

    def _moments(
        self, norm: ConditionalInstanceNorm, whole: Frame, tiles: list[Tile]
    ) -> tuple[Tensor, Tensor]:
        """Mean and variance over the picture of what comes into a normalization."""

        def stop(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            raise _Found(inputs[0])

        sums: list[Tensor] = []
        squares: list[Tensor] = []
        total = 0
        with norm.register_forward_pre_hook(stop):
            for tile in tiles:
                image = self._image(whole, tile)
                try:
                    self._network(image, self._style)
                except _Found as found:
                    features = found.features[0]
                scale = image.shape[-1] / features.shape[-1]
                rows, columns = (
                    slice(round(part.start / scale), round(part.stop / scale))
                    for part in tile.inside
                )
                # A row for each channel that is normalized, of all of its phases.
                kept = features[:, rows, columns].float().reshape(norm.scale.shape[-1], -1)
                count = kept.shape[1]
                # Summed up in float64 on the CPU: Apple's GPUs have none.
                variance, mean = (
                    moment.cpu().double() for moment in torch.var_mean(kept, 1, correction=0)
                )
                sums.append(count * mean)
                squares.append(count * (variance + mean.square()))
                total += count
        mean = torch.stack(sums).sum(0) / total
        variance = torch.stack(squares).sum(0) / total - mean.square()
        return mean.float().to(self._device), variance.clamp(min=0).float().to(self._device)

    def _image(self, whole: Frame, tile: Tile) -> Tensor:
        image = frame_to_tensor(np.ascontiguousarray(whole[tile.stylized]))
        return image.flip(1).to(self._device, self._dtype)  # in the order that `FrameNet` takes

    def _tiles(self, height: int, width: int) -> Iterator[Tile]:
        for rows in self._parts(height):
            for columns in self._parts(width):
                yield Tile((rows[0], columns[0]), (rows[1], columns[1]))

    def _parts(self, length: int) -> Iterator[tuple[slice, slice]]:
        """What is painted and what is kept along an axis."""
        reach = self._network.net.reach
        for start in range(0, length, self._tile):
            stop = min(start + self._tile, length)
            yield slice(max(start - reach, 0), min(stop + reach, length)), slice(start, stop)
