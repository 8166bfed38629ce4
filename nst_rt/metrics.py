"""Figures for what the eye sees, and for how good a network is; each with its one definition.

They take images and functions from frames to frames, so that every network, engine and other tool
is measured by the same code.
"""

import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import center_crop, gaussian_blur

from nst_rt.colour import luminance
from nst_rt.devices import torch_device
from nst_rt.images import Frame, resize, resize_to
from nst_rt.losses import PerceptualLoss, gram_matrix
from nst_rt.presets import CONTENT_LAYERS, STYLE_LAYERS
from nst_rt.vgg import VGG19Features

PHOTO_SIZE = 256
PAINTING_SIZE = 512
ITERATIONS = 50
PAN_FRAMES = 12

_FINGERPRINT_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")
_FINGERPRINT_DIRECTIONS = 8

_PAN_SIDE = 720
_PAN_WINDOW = (360, 640)  # height, width
_PAN_START = (20, 10)  # x, y; likewise the step
_PAN_STEP = (3, 2)
_PAN_BORDER = 32


def quality_photo(photo: Tensor) -> Tensor:
    """A photo as the quality objective has it: its central square, at 256 px.

    Args:
        photo: shape (1, 3, H, W), RGB in [0, 1].

    Returns:
        Shape (1, 3, 256, 256).
    """
    side = min(photo.shape[-2:])
    return resize_to(center_crop(photo, [side, side]), (PHOTO_SIZE, PHOTO_SIZE))


class QualityObjective:
    """How far an image is from a photo's content in a painting's style; less is better.

    One objective for every network, whatever it was trained with: 10 x style + content, where style
    is the mean over relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1 of VGG19 of MSE(Gram) over
    mean(target Gram^2), content the MSE at relu4_2 over mean(target^2), and total variation does
    not count. Published figures are of photos as `quality_photo` makes them.

    Args:
        painting: shape (1, 3, H, W), RGB in [0, 1]; it is resized to 512 px on its long side.
        device: by default a GPU where there is one, else the CPU. Where it multiplies bfloat16 in
            hardware, that is used; the objective differs from float32's by 0.2 % (measured).
    """

    def __init__(self, painting: Tensor, *, device: torch.device | str | None = None) -> None:
        self._device = torch_device(device)
        self._loss = PerceptualLoss(
            content_layers=CONTENT_LAYERS,
            style_layers=STYLE_LAYERS,
            content_weight=1.0,
            style_weight=10.0,
            tv_weight=0.0,
            device=self._device,
        )
        self._style = self._loss.style_target(resize(painting, PAINTING_SIZE).to(self._device))

    @torch.no_grad()
    def __call__(self, image: Tensor, photo: Tensor) -> float:
        """The objective of an image.

        Args:
            image: shape (1, 3, H, W), RGB in [0, 1].
            photo: same shape.
        """
        content = self._loss.content_target(photo.to(self._device))
        return float(self._loss(image.to(self._device), content, self._style).total)

    @torch.no_grad()
    def style(self, image: Tensor) -> float:
        """The style part of an image's objective alone, not weighted; for images of any size."""
        image = image.to(self._device)
        losses = self._loss(image, self._loss.content_target(image), self._style)
        return float(losses.style)

    def descent(self, photo: Tensor, iterations: int = ITERATIONS) -> Iterator[float]:
        """Objectives on the way of L-BFGS over the pixels, from the photo on.

        This is `torch.optim.LBFGS` with one evaluation an iteration, a history of 20 and no line
        search, its pixels clamped to [0, 1] after each step; not our own L-BFGS, which is one to
        three iterations ahead (measured), so that figures compare with those of others.

        Args:
            photo: shape (1, 3, H, W), RGB in [0, 1].
            iterations: of L-BFGS.

        Yields:
            `iterations` + 1 objectives, the first of the photo itself.
        """
        pixels = photo.to(self._device, copy=True, memory_format=torch.contiguous_format)
        content = self._loss.content_target(pixels)
        pixels.requires_grad_()
        optimizer = torch.optim.LBFGS([pixels], max_iter=1, history_size=20)

        def closure() -> float:
            optimizer.zero_grad()
            total = self._loss(pixels, content, self._style).total
            total.backward()  # type: ignore[no-untyped-call]
            return float(total.detach())

        for _ in range(iterations):
            before = float(optimizer.step(closure))  # type: ignore[no-untyped-call]
            with torch.no_grad():
                pixels.clamp_(0, 1)
            yield before
        yield float(self._loss(pixels.detach(), content, self._style).total)


@dataclass(frozen=True)
class Quality:
    """How well a network paints, summed up over photos; see `quality`.

    Attributes:
        objective: median over the photos.
        iterations: equivalent iterations, for each photo with a curve; None where no iteration is
            better than the network.
        median_iterations: their median; None likewise, and where there are no curves.
        ratio: the objective over that of the last iteration, median over the photos with a curve;
            None where there are none.
    """

    objective: float
    iterations: tuple[int | None, ...]
    median_iterations: float | None
    ratio: float | None


def quality(objectives: Sequence[float], curves: Sequence[Sequence[float]]) -> Quality:
    """Sum up a network's objectives beside the optimizer's.

    Args:
        objectives: of the network's outputs, one for each photo, at least one.
        curves: of the optimizer for the first of these photos, see `QualityObjective.descent`; for
            fewer of them than objectives, since they take time.
    """
    pairs = list(zip(objectives, curves, strict=False))
    iterations = tuple(equivalent_iterations(objective, curve) for objective, curve in pairs)
    median = _median([math.inf if i is None else i for i in iterations])
    return Quality(
        objective=statistics.median(objectives),
        iterations=iterations,
        median_iterations=None if median == math.inf else median,
        ratio=_median([objective / curve[-1] for objective, curve in pairs]),
    )


def equivalent_iterations(objective: float, curve: Sequence[float]) -> int | None:
    """How many iterations of the optimizer it takes to do better than a network.

    Args:
        objective: of the network's output.
        curve: of the same photo and painting, see `QualityObjective.descent`.

    Returns:
        The first iteration that goes below the objective: 0 for one worse than the photo itself.
        None: no iteration does.
    """
    return next((i for i, reached in enumerate(curve) if reached < objective), None)


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None


@torch.no_grad()
def fingerprint(image: Tensor) -> tuple[float, ...]:
    """The Gram matrices of an image's style, in 32 numbers.

    Of each of relu1_1, relu2_1, relu3_1 and relu4_1 the logarithms of v' G v for eight directions
    v, drawn once and for all, less their mean, which is contrast, of which pastiches have less:
    enough to tell styles apart, without the painting.

    Args:
        image: shape (1, 3, H, W), RGB in [0, 1]; it is resized to 512 px on its long side.
    """
    features = VGG19Features(_FINGERPRINT_LAYERS)(resize(image, PAINTING_SIZE))
    generator = torch.Generator().manual_seed(0)
    numbers: list[float] = []
    for layer in _FINGERPRINT_LAYERS:
        gram = gram_matrix(features[layer])[0]
        directions = torch.randn(_FINGERPRINT_DIRECTIONS, len(gram), generator=generator)
        logarithms = torch.einsum("kc,cd,kd->k", directions, gram, directions).log()
        numbers += (logarithms - logarithms.mean()).tolist()
    return tuple(numbers)


def fingerprint_distance(one: Sequence[float], other: Sequence[float]) -> float:
    """Root mean square difference of two fingerprints: 0.1 is about a tenth."""
    return math.sqrt(statistics.fmean((a - b) ** 2 for a, b in zip(one, other, strict=True)))


@dataclass(frozen=True)
class PanError:
    """How much the style swims when the camera pans, see `pan_error`.

    Attributes:
        error: RMSE in [0, 1] between consecutive frames, aligned.
        relative: over the standard deviation of the outputs: a style of low contrast gets a low
            error without being stable.
    """

    error: float
    relative: float


def pan_error(stylize: Callable[[Frame], Frame], photos: Iterable[Frame]) -> PanError:
    """Difference between consecutive frames of a pan, where they show the same place.

    The pan is over a still photo, resized by Lanczos to a short side of 720 px: 12 windows of
    640x360 px, the first at (20, 10), each (3, 2) px further. The inputs are the same but for that
    shift, so that all difference is the stylizer's. The RMSE over pixels and channels, 32 px of
    border left out, is averaged over consecutive frames, then over photos. The relative error is
    each photo's error over the standard deviation of all pixels and channels of its 12 outputs,
    averaged over photos. Published figures are of the photos astronaut, chelsea, coffee and rocket
    of scikit-image.

    Args:
        stylize: from frame to frame of the same size, uint8 BGR.
        photos: frames of any size, at least one.
    """
    figures = [_pan_figures([stylize(frame) for frame in pan(photo)]) for photo in photos]
    return PanError(*(statistics.fmean(column) for column in zip(*figures, strict=True)))


def pan(photo: Frame) -> list[Frame]:
    """The windows that `pan_error` moves over a photo."""
    large = pan_photo(photo)
    (h, w), (x, y), (right, down) = _PAN_WINDOW, _PAN_START, _PAN_STEP
    corners = [(y + i * down, x + i * right) for i in range(PAN_FRAMES)]
    return [np.ascontiguousarray(large[y : y + h, x : x + w]) for y, x in corners]


def pan_photo(photo: Frame) -> Frame:
    """A photo resized by Lanczos to a short side of 720 px, as clips are made of it."""
    height, width = photo.shape[:2]
    scale = _PAN_SIDE / min(height, width)
    size = round(width * scale), round(height * scale)
    return np.asarray(Image.fromarray(photo).resize(size, Image.Resampling.LANCZOS))


def _pan_figures(painted: Sequence[Frame]) -> tuple[float, float]:
    """Pan error of one photo's outputs, plain and relative."""
    frames = np.stack(painted).astype(np.float32) / 255
    inner = frames[:, _PAN_BORDER:-_PAN_BORDER, _PAN_BORDER:-_PAN_BORDER]
    x, y = _PAN_STEP
    moved = inner[:-1, y:, x:] - inner[1:, :-y, :-x]
    error = float(np.sqrt(np.square(moved).mean(axis=(1, 2, 3))).mean())
    deviation = float(frames.std(dtype=np.float64))
    # What is of one colour everywhere does not swim.
    return error, error / deviation if deviation else 0.0


def roughness(image: Tensor) -> float:
    """Root mean square of the luma's high frequencies: what a Gaussian of 1 px takes away.

    Args:
        image: shape (1, 3, H, W), RGB in [0, 1].
    """
    luma = luminance(image)
    return float((luma - gaussian_blur(luma, [7, 7], [1.0, 1.0])).square().mean().sqrt())


def noise_figure(image: Tensor, style: Tensor) -> float:
    """Roughness of a pastiche against its painting's, both at the size that they are looked at.

    1: as rough as the painting; far above, noise; far below, blur.

    Args:
        image: shape (1, 3, H, W), RGB in [0, 1].
        style: likewise, scaled to the same long side.

    Returns:
        The ratio; infinite for a style without any detail.
    """
    painting = roughness(style)
    return roughness(image) / painting if painting else torch.inf
