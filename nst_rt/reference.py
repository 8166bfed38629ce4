"""The reference path: the perceptual loss, minimised over pixels (Gatys et al. 2016)."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor

from nst_rt.devices import torch_device
from nst_rt.errors import InputError, NotFiniteError
from nst_rt.images import load_image, resize
from nst_rt.losses import LossTerms, PerceptualLoss

OptimizerName = Literal["lbfgs", "adam"]
OPTIMIZERS: tuple[OptimizerName, ...] = get_args(OptimizerName)

# The layers of Gatys et al. 2016, section 3.
CONTENT_LAYERS: Mapping[str, float] = {"relu4_2": 1.0}
STYLE_LAYERS: Mapping[str, float] = {f"relu{block}_1": 1.0 for block in range(1, 6)}


@dataclass(frozen=True)
class Iterate:
    """The image after a step, and the losses that it was reached from.

    Attributes:
        step: from 1 to `steps`.
        steps: how many there will be.
        content, style, tv: the three terms before weighting.
        total: their weighted sum.
        image: shape (1, 3, H, W), float32, RGB in [0, 1].
    """

    step: int
    steps: int
    content: float
    style: float
    tv: float
    total: float
    image: Tensor


def optimize(
    content: Tensor | Path | str,
    style: Tensor | Path | str,
    *,
    optimizer: OptimizerName = "lbfgs",
    steps: int = 300,
    size: int = 512,
    content_weight: float = 1.0,
    style_weight: float = 10.0,
    tv_weight: float = 1.0,
    content_layers: Mapping[str, float] = CONTENT_LAYERS,
    style_layers: Mapping[str, float] = STYLE_LAYERS,
    learning_rate: float | None = None,
    vgg_weights: str = "caffe",
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Iterator[Iterate]:
    """Paint a content image in the style of a style image, step by step.

    Starts from the content image, and keeps the pixels within [0, 1] after each step.

    Args:
        content: file, or tensor (1, 3, H, W), RGB in [0, 1].
        style: likewise; it is scaled to the same long side.
        optimizer: `lbfgs` converges in fewest steps, `adam` uses least memory.
        steps: how many.
        size: long side of the result, pixels.
        content_weight, style_weight, tv_weight: factors of the three terms; scale-free, see
            `nst_rt.losses`.
        content_layers, style_layers: VGG19 layer -> weight.
        learning_rate: by default 1 for L-BFGS and 0.02 for Adam.
        vgg_weights: `caffe`, `torchvision` or a path.
        device: by default a GPU where there is one, else the CPU.
        dtype: of VGG19; by default bfloat16 where the device multiplies it in hardware.

    Returns:
        The iterates; the last one holds the result.

    Raises:
        InputError: a file, a size, a weight or a number of steps that cannot be used.
        BackendError: a device that is not there.
        UnknownNameError: a layer that VGG19 does not have.
        WeightsError: VGG19 weights that cannot be used.
        NotFiniteError: the loss became NaN or infinite.
    """
    if steps < 1:
        raise InputError(f"the number of steps must be positive, not {steps}")
    if optimizer not in OPTIMIZERS:
        raise InputError(f"the optimizer must be one of {', '.join(OPTIMIZERS)}, not {optimizer}")
    if learning_rate is not None and not 0 < learning_rate < float("inf"):
        raise InputError(f"the learning rate must be positive, not {learning_rate}")
    device = torch_device(device)
    content, style = (_image(source, size).to(device) for source in (content, style))
    loss = PerceptualLoss(
        content_layers=content_layers,
        style_layers=style_layers,
        content_weight=content_weight,
        style_weight=style_weight,
        tv_weight=tv_weight,
        weights=vgg_weights,
        device=device,
        dtype=dtype,
    )
    content_target = loss.content_target(content)
    style_target = loss.style_target(style)
    return _iterates(
        content,
        lambda image: loss(image, content_target, style_target),
        optimizer,
        steps,
        learning_rate,
    )


def _iterates(
    start: Tensor,
    loss: Callable[[Tensor], LossTerms],
    optimizer: OptimizerName,
    steps: int,
    learning_rate: float | None,
) -> Iterator[Iterate]:
    # torch.optim.LBFGS flattens its gradient with view(), so the memory format must be NCHW.
    pixels = start.clone(memory_format=torch.contiguous_format).requires_grad_(True)
    stepper = _optimizer(optimizer, pixels, learning_rate)
    terms: LossTerms

    def closure() -> Tensor:
        nonlocal terms
        stepper.zero_grad()
        terms = loss(pixels)
        terms.total.backward()  # type: ignore[no-untyped-call]
        return terms.total

    for step in range(1, steps + 1):
        stepper.step(closure)  # type: ignore[arg-type]  # takes tensors too
        if not torch.isfinite(terms.total):
            raise NotFiniteError(
                f"the loss became {terms.total.item()} at step {step}; lower the learning rate"
            )
        with torch.no_grad():
            pixels.clamp_(0, 1)
        yield Iterate(
            step,
            steps,
            terms.content.item(),
            terms.style.item(),
            terms.tv.item(),
            terms.total.item(),
            pixels.detach().clone(),
        )


def _optimizer(
    name: OptimizerName, pixels: Tensor, learning_rate: float | None
) -> torch.optim.Optimizer:
    if name == "lbfgs":
        # One inner iteration per step, so that the clamp holds everywhere; it converges in
        # about 50 steps, and a longer history costs memory and gains nothing here.
        return torch.optim.LBFGS([pixels], lr=learning_rate or 1.0, max_iter=1, history_size=20)
    return torch.optim.Adam([pixels], lr=learning_rate or 0.02, betas=(0.9, 0.99))


def _image(source: Tensor | Path | str, size: int) -> Tensor:
    return resize(source, size) if isinstance(source, Tensor) else load_image(source, size=size)
