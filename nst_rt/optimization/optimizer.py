"""The reference path: the perceptual loss, minimized over pixels (Gatys et al. 2016)."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from nst_rt.devices import fast_dtype, torch_device
from nst_rt.errors import InputError, NotFiniteError, UnknownNameError
from nst_rt.images.inputs import ImageSource, as_image, as_list, is_file
from nst_rt.images.io import resize, resize_to, scaled_shape
from nst_rt.losses import LossTerms
from nst_rt.models.vgg import Pooling, VGG19Features, stride
from nst_rt.optimization.inputs import PreserveColors, Scene, Source, load_scene, scene_shapes
from nst_rt.optimization.lbfgs import ProjectedLBFGS
from nst_rt.optimization.memory import Plan, plan
from nst_rt.optimization.presets import PRESETS, OptimizerName, Settings
from nst_rt.optimization.tiling import Objective

# Of an optimizer that is not the preset's.
_LEARNING_RATES: Mapping[str, float] = {"lbfgs": 1.0, "adam": 0.02}


@dataclass(frozen=True)
class Iterate:
    """An image on the way, and its losses.

    Attributes:
        step: how many updates it has behind it, from 0, the start, to `steps`.
        steps: how many there will be, of all scales together.
        content, style, tv: the three terms before weighting.
        total: their weighted sum; comparable between iterates of one size.
        progress: part of the whole work that is done, from 0 to 1: later steps take longer.
        image: shape (1, 3, H, W), float32, RGB in [0, 1]; smaller than the result on coarse scales.
            Where iterates are averaged it is their average, which the losses are not of.
    """

    step: int
    steps: int
    content: float
    style: float
    tv: float
    total: float
    progress: float
    image: Tensor


def optimize(
    content: ImageSource,
    style: ImageSource | Sequence[ImageSource],
    *,
    preset: str = "balanced",
    size: int = 512,
    mix: Sequence[float] | None = None,
    style_scale: float = 1.0,
    preserve_colors: PreserveColors | None = None,
    content_mask: Path | str | None = None,
    style_masks: Sequence[Path | str] | None = None,
    optimizer: OptimizerName | None = None,
    learning_rate: float | None = None,
    steps: int | Sequence[int] | None = None,
    min_size: int | None = None,
    content_layers: Mapping[str, float] | None = None,
    style_layers: Mapping[str, float] | None = None,
    content_weight: float | None = None,
    style_weight: float | None = None,
    tv_weight: float | None = None,
    pooling: Pooling | None = None,
    init: ImageSource | None = None,
    seed: int = 0,
    vgg_weights: str = "caffe",
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    memory: float | None = None,
) -> "Optimization":
    """Paint a content image in the style of one or several paintings, step by step.

    Args:
        content: a file, a NumPy array (H, W, 3), uint8, RGB, a Pillow image, or a tensor
            (1, 3, H, W), RGB in [0, 1].
        style: likewise, or a list of several.
        preset: the settings that are not given here, see `nst_rt.optimization.presets`.
        size: long side of the result, pixels.
        mix: how much of each style, relative to each other; by default equal parts.
        style_scale: size of the paintings, and so of their strokes, relative to the result.
        preserve_colors: `luminance` keeps the photo's chroma; `match` gives the style images
            the photo's colors first; see `nst_rt.images.color`.
        content_mask: picture in which each region of the content image has one flat color.
        style_masks: for each style the picture of its own regions, in the same colors, or the
            one color whose region takes the whole painting. Regions without a style stay as they
            are.
        optimizer, learning_rate, steps, min_size, content_layers, style_layers, content_weight,
            style_weight, tv_weight, pooling, init: instead of the preset's, see `Settings`; layers
            may have Keras' names, and an image to start from may be given as `content` is.
        seed: of the noise to start from.
        vgg_weights: `caffe`, `torchvision` or a path.
        device: by default a GPU where there is one, else the CPU.
        dtype: of VGG19; by default bfloat16 where the device multiplies it in hardware.
        memory: in GB, that the work may take; by default what is free, with moderation.

    Returns:
        An iterator over the iterates; the last one holds the result.

    Raises:
        InputError: an image, a size, a mask, a weight or a number that cannot be used, or a size
            that does not fit into the memory.
        BackendError: a device that is not there.
        UnknownNameError: a preset that is not there, a layer that VGG19 does not have.
        WeightsError: VGG19 weights that cannot be used.
        NotFiniteError: while iterating: the loss became NaN or infinite.
    """
    if preset not in PRESETS:
        raise UnknownNameError("preset", preset, PRESETS)
    if learning_rate is None and optimizer not in (None, PRESETS[preset].optimizer):
        learning_rate = _LEARNING_RATES.get(str(optimizer))
    changes = {
        "optimizer": optimizer,
        "learning_rate": learning_rate,
        "steps": (steps,) if isinstance(steps, int) else steps and tuple(steps),
        "min_size": min_size,
        "content_layers": content_layers,
        "style_layers": style_layers,
        "content_weight": content_weight,
        "style_weight": style_weight,
        "tv_weight": tv_weight,
        "pooling": pooling,
        "init": str(init) if is_file(init) else None,
    }
    changes = {name: value for name, value in changes.items() if value is not None}
    settings = replace(PRESETS[preset], **changes)  # type: ignore[arg-type]
    if not -(2**63) <= seed < 2**64:
        raise InputError(f"the seed must fit into 64 bits, not {seed}")
    device = torch_device(device)
    layers = [*settings.content_layers, *settings.style_layers]
    content = _checked(content, "content")
    styles = [_checked(image, "style") for image in as_list(style)]
    start = settings.init if init is None or is_file(init) else as_image(init, "init")
    smallest = max(stride(layer) for layer in layers)
    shapes = scene_shapes(content, styles, size=size, style_scale=style_scale, smallest=smallest)
    features = VGG19Features(
        layers, weights=vgg_weights, pooling=settings.pooling, dtype=dtype or fast_dtype(device)
    ).to(device)
    planned = plan(shapes, settings, features, device, memory)
    scene = load_scene(
        content,
        styles,
        size=size,
        mix=mix,
        style_scale=style_scale,
        preserve_colors=preserve_colors,
        content_mask=content_mask,
        style_masks=style_masks,
        init=start,
    )
    return Optimization(scene, settings, features, planned, seed=seed)


def _checked(image: ImageSource, name: str) -> Source:
    """Files as they are, since their sizes tell first whether there is memory for them."""
    return image if is_file(image) else as_image(image, name)


class Optimization(Iterator[Iterate]):
    """The steps of an optimization, from the coarsest scale to the finest.

    Between two iterates its state can be saved, and loaded into another one of the same arguments,
    which then goes on with the next iterate.

    Attributes:
        settings: all numbers.
        plan: tiles and predicted memory.
        shape: height and width of the result, pixels.
        steps: how many there are, of all scales together.
        best: what to keep if the work ends here: the iterate of the lowest loss on the scale that
            was reached, or the last one where iterates are averaged. None before the first.
    """

    def __init__(
        self, scene: Scene, settings: Settings, features: VGG19Features, plan: Plan, *, seed: int
    ) -> None:
        self.settings = settings
        self.plan = plan
        self.shape = scene.shape
        self.best: Iterate | None = None
        self._scene = scene
        self._features = features
        self._device = next(features.parameters()).device
        self._schedule = settings.schedule(scene.size, scene.smallest_size(features.minimum_size))
        self.steps = sum(steps for _, steps in self._schedule)
        self._scale = 0
        self._step = 0  # of this scale
        self._pixels = _parameter(self._start(seed))
        # The result if the work ends here: the pixels of the lowest loss, or the running average.
        self._result = self._pixels.detach().clone()
        self._stepper = self._new_stepper()
        self._iterates = self._run()
        self._seen = -1  # the last step that was handed out

    def __next__(self) -> Iterate:
        iterate = next(self._iterates)
        self._seen = iterate.step
        return iterate

    def state_dict(self) -> dict[str, Any]:
        """What the steps to come depend on besides the arguments; plain values and tensors.

        Save it before the next step, which changes the tensors in it.
        """
        return {
            "schedule": self._schedule,
            "scale": self._scale,
            "step": self._step,
            "seen": self._seen,
            "pixels": self._pixels.detach(),
            "result": self._result,
            "stepper": self._stepper.state_dict(),
            "best": None if self.best is None else vars(self.best),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where the state was saved.

        Raises:
            InputError: a state of other sizes or steps.
        """
        if state["schedule"] != self._schedule or state["result"].shape[-2:] != scaled_shape(
            self.shape, self._schedule[state["scale"]][0]
        ):
            raise InputError("what was interrupted had other sizes or steps")
        self._scale, self._step, self._seen = (state[k] for k in ("scale", "step", "seen"))
        self._pixels = _parameter(state["pixels"].to(self._device))
        self._result = state["result"].to(self._device)
        self._stepper = self._new_stepper()
        self._stepper.load_state_dict(state["stepper"])
        self.best = None if state["best"] is None else Iterate(**state["best"])
        self._iterates = self._run()

    def _run(self) -> Iterator[Iterate]:
        while self._seen < self.steps:
            size, steps = self._schedule[self._scale]
            objective = self._objective(size)
            while self._step < steps:
                self._stepper.zero_grad()
                terms = objective.backward(self._pixels)
                if self._seen < self._steps_done:
                    yield self._observed(terms)
                self._update(terms)
            if self._scale == len(self._schedule) - 1:
                iterate = self._observed(objective(self._pixels))
                assert self.best is not None
                yield replace(self.best, step=iterate.step, progress=1.0)
                return
            self._grow(self._schedule[self._scale + 1][0])

    @property
    def _steps_done(self) -> int:
        return sum(steps for _, steps in self._schedule[: self._scale]) + self._step

    @property
    def _progress(self) -> float:
        work = [steps * size**2 for size, steps in self._schedule]
        done = sum(work[: self._scale]) + self._step * self._schedule[self._scale][0] ** 2
        return done / sum(work)

    def _objective(self, size: int) -> Objective:
        scene = self._scene.at(size).to(self._device)
        return Objective(
            self._features,
            self.settings,
            scene.content,
            scene.styles,
            scene.regions,
            tile=self.plan.tile,
        )

    def _start(self, seed: int) -> Tensor:
        size, _ = self._schedule[0]
        if self._scene.init is not None:
            return resize(self._scene.init, size).to(self._device)
        random = torch.Generator().manual_seed(seed)
        return torch.rand(1, 3, *scaled_shape(self.shape, size), generator=random).to(self._device)

    def _new_stepper(self) -> torch.optim.Optimizer:
        settings = self.settings
        if settings.optimizer == "lbfgs":
            return ProjectedLBFGS(self._pixels, lr=settings.learning_rate)
        return torch.optim.Adam(
            [self._pixels], lr=settings.learning_rate, betas=settings.betas, eps=settings.epsilon
        )

    def _observed(self, terms: LossTerms) -> Iterate:
        """The iterate of the pixels as they are now, which may be the best one."""
        step, steps = self._steps_done, self.steps
        content, style, tv, total = (t.item() for t in vars(terms).values())
        if not math.isfinite(total):
            raise NotFiniteError(
                f"the loss became {total} at step {step} of {steps}; lower the learning rate"
            )
        averaged = self.settings.averaging > 0
        image = (self._result if averaged else self._pixels.detach()).clone()
        picture = self._scene.finished(image.cpu().clone())
        iterate = Iterate(step, steps, content, style, tv, total, self._progress, picture)
        first = self._step == 0  # losses of different scales do not compare
        if averaged or first or self.best is None or total < self.best.total:
            self.best = iterate
            if not averaged:
                self._result = image
        return iterate

    def _update(self, terms: LossTerms) -> None:
        self._stepper.step(terms.total.detach)  # type: ignore[arg-type]
        self._step += 1
        with torch.no_grad():
            self._pixels.clamp_(0, 1)
            if self.settings.averaging:
                # Early on a scale the plain mean, in which its start counts no more than others.
                decay = min(self.settings.averaging, self._step / (self._step + 1))
                self._result.lerp_(self._pixels, 1 - decay)

    def _grow(self, size: int) -> None:
        """Carry image and optimizer over to the next scale."""
        old = self._pixels.shape
        self._scale, self._step = self._scale + 1, 0
        moments = self._stepper.state.get(self._pixels, {})
        self._result = resize_to(self._result, scaled_shape(self.shape, size))
        self._pixels = _parameter(self._result)
        self._stepper = self._new_stepper()
        if "exp_avg" in moments:
            # Losses are means, so that gradients shrink as pixels grow in number.
            factor = old[2:].numel() / self._pixels.shape[2:].numel()
            self._stepper.state[self._pixels] = {"step": moments["step"]} | {
                name: F.interpolate(moments[name], self._pixels.shape[2:], mode="bilinear")
                * factor**power
                for name, power in (("exp_avg", 1), ("exp_avg_sq", 2))
            }


def _parameter(image: Tensor) -> Tensor:
    return image.detach().clone(memory_format=torch.contiguous_format).requires_grad_()
