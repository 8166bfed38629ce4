"""Frames too large to stylize at once: in tiles without seams, and the memory that they take."""

import math

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from nst_rt.images.convert import scaled_shape
from nst_rt.images.io import Frame
from nst_rt.infer.backends.graph import FrameNet, NetworkWeights
from nst_rt.models.layers import ConditionalInstanceNorm
from nst_rt.models.transformer import MULTIPLE, TransformerNet
from nst_rt.tiles import TILE_SIDES, Tile, fitting_tile, tiles

# Bytes per pixel, fitted to peaks of PyTorch, of which OpenVINO takes half: of what is stylized at
# once, besides its activations; and of the whole image, read, stylized and written.
_AT_ONCE = 20
_WHOLE = 60


class TiledNet:
    """Runs a network on a frame in tiles; the result is that of the whole frame.

    Instance normalization takes the mean and variance of the whole frame. So the normalizations are
    gone through in order: the moments of each are summed up over all tiles, with those before it
    known; then all tiles are stylized. That is as many passes as there are normalizations, of half
    the layers on average, in memory that does not grow with the frame.

    Args:
        network: a network of any style; only its architecture matters.
        weights: weights of the style, see `network_weights`.
        device, dtype: where and in which precision to compute.
        tile: maximum side of a tile without its margins, pixels.
    """

    def __init__(
        self,
        network: TransformerNet,
        weights: NetworkWeights,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        tile: int = TILE_SIDES[0],
    ) -> None:
        net = FrameNet(network)
        net.load(torch.from_numpy(weights))
        self._network = net.network.to(device, dtype)
        self._network.use_channels_last()
        self._style = torch.ones(1, 1, device=device, dtype=dtype)
        self._device, self._dtype = device, dtype
        self._side = math.ceil(tile / MULTIPLE) * MULTIPLE
        self._norms = [m for m in self._network.modules() if isinstance(m, ConditionalInstanceNorm)]

    @torch.inference_mode()
    def __call__(self, frame: Frame) -> Frame:
        """Stylize a frame, shape (H, W, 3), uint8 BGR."""
        height, width = frame.shape[:2]
        below, right = -height % MULTIPLE, -width % MULTIPLE
        padded = cv2.copyMakeBorder(frame, 0, below, 0, right, cv2.BORDER_REFLECT_101)
        whole = torch.from_numpy(padded).permute(2, 0, 1)[None]  # BGR, as `FrameNet` takes it
        reach = self._network.net.reach
        parts = tiles(height + below, width + right, self._side, reach, MULTIPLE)
        for norm in self._norms:
            norm.moments = None
        for norm in self._norms:  # in the order in which they are defined and run
            norm.moments = self._moments(norm, whole, parts)
        stylized = torch.empty_like(whole)
        for part in parts:
            levels = self._network(self._image(whole, part), self._style).float()
            levels = levels.clamp(0, 1).mul(255).round()
            part.cut(stylized).copy_(part.trim(levels))
        return np.ascontiguousarray(stylized[0].permute(1, 2, 0).numpy()[:height, :width])

    def _moments(
        self, norm: ConditionalInstanceNorm, whole: Tensor, parts: list[Tile]
    ) -> tuple[Tensor, Tensor]:
        """Mean and variance over the whole frame of the input of a normalization."""

        def stop(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            raise _Found(inputs[0])

        sums: list[Tensor] = []
        squares: list[Tensor] = []
        total = 0
        with norm.register_forward_pre_hook(stop):
            for part in parts:
                image = self._image(whole, part)
                try:
                    self._network(image, self._style)
                except _Found as found:
                    stride = image.shape[-1] // found.features.shape[-1]
                    features = part.trim(found.features, stride)
                # A row for each channel that is normalized, of all of its phases.
                rows = features.float().reshape(norm.scale.shape[-1], -1)
                count = rows.shape[1]
                # Summed up in float64 on the CPU, since Apple's GPUs have none.
                variance, mean = (
                    moment.cpu().double() for moment in torch.var_mean(rows, 1, correction=0)
                )
                sums.append(count * mean)
                squares.append(count * (variance + mean.square()))
                total += count
        mean = torch.stack(sums).sum(0) / total
        variance = torch.stack(squares).sum(0) / total - mean.square()
        return mean.float().to(self._device), variance.clamp(min=0).float().to(self._device)

    def _image(self, whole: Tensor, part: Tile) -> Tensor:
        return (part.pixels(whole).float() / 255).to(self._device, self._dtype)


class _Found(Exception):
    """Carries the input of a normalization; the layers after it need not run."""

    def __init__(self, features: Tensor) -> None:
        self.features = features


def tile_side(
    network: TransformerNet, height: int, width: int, itemsize: int, memory: float
) -> int | None:
    """Side of the tiles, pixels, in which to stylize a frame in `memory` bytes; None for no tiles.

    `itemsize` is the size of a number in the precision that is computed in, bytes.

    Raises:
        InputError: it does not fit; the message says which size would.
    """

    def peak(size: int, side: int | None) -> float:
        pixels = math.prod(scaled_shape((height, width), size))
        at_once = pixels if side is None else min(pixels, (side + 2 * network.net.reach) ** 2)
        return pixels * _WHOLE + at_once * (_AT_ONCE + network.net.activations * itemsize)

    return fitting_tile((height, width), peak, memory)


def check_fits(height: int, width: int, memory: float) -> None:
    """Check that a frame stylized at a smaller size can be brought back in `memory` bytes.

    Raises:
        InputError: it does not fit; the message says which size would.
    """

    def peak(size: int, side: int | None) -> float:
        return _WHOLE * math.prod(scaled_shape((height, width), size))

    fitting_tile((height, width), peak, memory, [None])
