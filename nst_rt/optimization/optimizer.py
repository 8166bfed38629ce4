"""The per-image optimizer: the perceptual loss, minimized over pixels (Gatys et al. 2016).

`optimize` returns the result; `Optimization` is the iterator behind it.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from nst_rt.devices import fast_dtype, torch_device
from nst_rt.errors import InputError, NotFiniteError
from nst_rt.images.convert import resize, resize_to, scaled_shape
from nst_rt.images.inputs import ImageSource, as_list, is_file
from nst_rt.losses import BatchTerms, PerceptualLoss
from nst_rt.models.vgg import Pooling, minimum_size
from nst_rt.optimization.inputs import (
    PreserveColors,
    fitting_style_size,
    load_scene,
    scene_shapes,
    tensor_or_file,
)
from nst_rt.optimization.lbfgs import ProjectedLBFGS
from nst_rt.optimization.memory import plan_memory
from nst_rt.optimization.presets import (
    WORKING_SIZE,
    OptimizerName,
    PresetName,
    choose_settings,
)
from nst_rt.optimization.tiled_loss import TiledLoss
from nst_rt.progress import Progress


def optimize(
    content: ImageSource,
    style: ImageSource | Sequence[ImageSource],
    *,
    progress: Progress | None = None,
    **settings: Any,
) -> Tensor:
    """Optimize an image until it has the content of one image and the style of another.

    Args:
        content: content image: a file, a NumPy array (H, W, 3), uint8, RGB, a Pillow image, or a
            tensor (1, 3, H, W), RGB in [0, 1].
        style: style image, likewise, or a list of several.
        progress: called with the fraction of the work that is done, 1, and step and losses.
        settings: keyword arguments of `Optimization`, such as `size`, `preset`, `style_weight`.

    Returns:
        The optimized image, shape (1, 3, H, W), float32, RGB in [0, 1], on the CPU.

    Raises:
        StyleTransferError: see `Optimization`.
    """
    for iterate in Optimization(content, style, **settings):
        if progress is not None:
            progress(iterate.progress, 1, iterate.summary)
    return iterate.image


@dataclass(frozen=True)
class Iterate:
    """An intermediate image and its losses.

    Attributes:
        step: number of updates made so far, from 0, the start, to `steps`.
        steps: number of updates in total, over all scales.
        content, style, tv: the three terms before weighting.
        total: their weighted sum; comparable between iterates of one size.
        progress: fraction of the work that is done, from 0 to 1; large scales take longer.
        image: shape (1, 3, H, W), float32, RGB in [0, 1], on the CPU; smaller than the result on
            coarse scales. With averaging it is the running average, while the losses are those of
            the current pixels.
    """

    step: int
    steps: int
    content: float
    style: float
    tv: float
    total: float
    progress: float
    image: Tensor

    @property
    def summary(self) -> str:
        """Step, size and losses in a line, to show beside a progress bar."""
        return (
            f"step {self.step}/{self.steps}  {max(self.image.shape[-2:])} px  "
            f"content {self.content:.4g}  style {self.style:.4g}  tv {self.tv:.4g}"
        )


class Optimization(Iterator[Iterate]):
    """The steps of an optimization, from the coarsest scale to the finest; the last is the result.

    Between two iterates the state can be saved and loaded into another `Optimization` of the same
    arguments, which then continues with the next iterate.

    Args:
        content, style: see `optimize`.
        preset: settings to start from, see `nst_rt.optimization.presets`.
        size: long side of the result, pixels.
        blend: weight of each style image relative to the others; equal by default.
        style_scale: size of the style images, and so of their strokes, relative to the result; not
            with preset `training`.
        style_size: with preset `training` only: long side of the style images in the training,
            pixels, which sets the size of the strokes; by default from 384 to 768, the
            larger the finer their details are, see `nst_rt.images.style_image.fitting_size`.
        preserve_colors: `luminance` keeps the content image's chroma; `match` gives the style
            images the content image's colors first; see `nst_rt.images.color`.
        content_mask: image file in which each region of the content image has one flat color.
        style_masks: for each style image an image file of its own regions, in the same colors, or
            the one color whose region takes the whole style image. Regions without a style keep
            the content image.
        optimizer, learning_rate, steps, min_size, content_layers, style_layers, content_weight,
            style_weight, tv_weight, pooling, init: replace the preset's, see `OptimizerSettings`;
            layers may have Keras' names, and `init` may be any image that `content` may be.
        seed: of the noise to start from.
        vgg_weights: `caffe`, `torchvision` or a path.
        device: a GPU where there is one, else the CPU, by default.
        dtype: of VGG19; by default bfloat16 where the device multiplies it in hardware.
        memory: limit in GB; by default a moderate share of what is free.

    Attributes:
        settings: all numbers that are used.
        plan: side of the tiles and predicted memory.
        shape: height and width of the result, pixels.
        schedule: long side in pixels and number of steps of each scale, coarsest first.
        steps: number of updates in total, over all scales.
        best: the image to keep if the work ends here: the iterate of the lowest loss on the current
            scale, or with averaging the latest one. None before the first iterate.

    Raises:
        InputError: an image, a size, a mask, a weight or a number that cannot be used, or a size
            that does not fit into the memory.
        BackendError: a device that is not there.
        UnknownNameError: an unknown preset, or a layer that VGG19 does not have.
        WeightsError: VGG19 weights that cannot be used.
        NotFiniteError: while iterating: the loss became NaN or infinite.
    """

    def __init__(
        self,
        content: ImageSource,
        style: ImageSource | Sequence[ImageSource],
        *,
        preset: PresetName = "balanced",
        size: int = 512,
        blend: Sequence[float] | None = None,
        style_scale: float = 1.0,
        style_size: int | None = None,
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
    ) -> None:
        self.settings = settings = choose_settings(
            preset,
            optimizer=optimizer,
            learning_rate=learning_rate,
            steps=(steps,) if isinstance(steps, int) else steps and tuple(steps),
            min_size=min_size,
            content_layers=content_layers,
            style_layers=style_layers,
            content_weight=content_weight,
            style_weight=style_weight,
            tv_weight=tv_weight,
            style_size=style_size,
            pooling=pooling,
            init=str(init) if is_file(init) else None,
        )
        if not -(2**63) <= seed < 2**64:
            raise InputError(f"`seed` must fit into 64 bits, not {seed}")
        self._device = torch_device(device)
        content = tensor_or_file(content, "content")
        styles = [tensor_or_file(image, "style") for image in as_list(style)]
        if not styles:
            raise InputError("there must be at least one style image")
        if settings.prepares_styles:
            if style_scale != 1:
                raise InputError(
                    "`style_scale` is not for `preset` training, where `style_size` sets the size "
                    "of the strokes"
                )
            prepared_at = settings.style_size or fitting_style_size(styles, blend)
            self.settings = settings = replace(settings, style_size=prepared_at)
            style_scale = prepared_at / WORKING_SIZE
        start = settings.init if init is None else tensor_or_file(init, "init")
        layers = [*settings.content_layers, *settings.style_layers]
        smallest = minimum_size(layers)
        dtype = dtype or fast_dtype(self._device)
        # What does not fit into the memory is refused before VGG19 or the scene is loaded.
        shapes = scene_shapes(
            content, styles, size=size, style_scale=style_scale, smallest=smallest
        )
        self.plan = plan_memory(
            shapes,
            optimizer=settings.optimizer,
            layers=layers,
            dtype=dtype,
            device=self._device,
            memory=memory,
        )
        self._loss = PerceptualLoss(
            content_layers=settings.content_layers,
            style_layers=settings.style_layers,
            content_weight=settings.content_weight,
            style_weight=settings.style_weight,
            tv_weight=settings.tv_weight,
            content_focus=settings.content_focus,
            normalization=settings.normalization,
            weights=vgg_weights,
            pooling=settings.pooling,
            device=self._device,
            dtype=dtype,
        )
        self._scene = scene = load_scene(
            content,
            styles,
            size=size,
            blend=blend,
            style_scale=style_scale,
            style_size=settings.style_size,
            preserve_colors=preserve_colors,
            content_mask=content_mask,
            style_masks=style_masks,
            init=start,
        )
        self.shape = scene.shape
        self.schedule = settings.schedule(scene.size, scene.smallest_size(smallest))
        self.steps = sum(steps for _, steps in self.schedule)
        self.best: Iterate | None = None
        self._scale = 0
        self._step = 0  # on this scale
        self._seen = -1  # the last step that was handed out
        self._pixels = _parameter(self._start(seed))
        # The result if the work ends here: the pixels of the lowest loss, or the running average.
        self._result = self._pixels.detach().clone()
        self._stepper = self._new_stepper()
        self._iterates = self._run()

    def __next__(self) -> Iterate:
        iterate = next(self._iterates)
        self._seen = iterate.step
        return iterate

    def _run(self) -> Iterator[Iterate]:
        while self._seen < self.steps:
            size, steps = self.schedule[self._scale]
            scene = self._scene.at(size, self._device)
            loss = TiledLoss(
                self._loss, scene.content, scene.styles, scene.regions, tile=self.plan.tile
            )
            while self._step < steps:
                self._stepper.zero_grad()
                terms = loss.backward(self._pixels)
                if self._seen < self._steps_done:
                    yield self._observed(terms)
                self._update(terms)
            if self._scale == len(self.schedule) - 1:
                iterate = self._observed(loss(self._pixels))
                assert self.best is not None
                yield replace(self.best, step=iterate.step, progress=1.0)
                return
            self._grow(self.schedule[self._scale + 1][0])

    def _start(self, seed: int) -> Tensor:
        size, _ = self.schedule[0]
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

    def _observed(self, terms: BatchTerms) -> Iterate:
        """The iterate of the current pixels, which may be the best one."""
        step, steps = self._steps_done, self.steps
        content, style, tv, total = (
            term.item() for term in (terms.content, terms.style, terms.tv, terms.total)
        )
        if not math.isfinite(total):
            raise NotFiniteError(
                f"the loss became {total} at step {step} of {steps}; lower `learning_rate`"
            )
        averaged = self.settings.averaging > 0
        pixels = (self._result if averaged else self._pixels.detach()).clone()
        image = self._scene.finished(pixels.cpu().clone())
        iterate = Iterate(step, steps, content, style, tv, total, self._progress, image)
        first = self._step == 0  # losses of different scales do not compare
        if averaged or first or self.best is None or total < self.best.total:
            self.best = iterate
            if not averaged:
                self._result = pixels
        return iterate

    def _update(self, terms: BatchTerms) -> None:
        self._stepper.step(terms.total.detach)  # type: ignore[arg-type]
        self._step += 1
        with torch.no_grad():
            self._pixels.clamp_(0, 1)
            if self.settings.averaging:
                # Early on a scale the plain mean, so that its start has no more weight than others.
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

    @property
    def _steps_done(self) -> int:
        return sum(steps for _, steps in self.schedule[: self._scale]) + self._step

    @property
    def _progress(self) -> float:
        work = [steps * size**2 for size, steps in self.schedule]
        done = sum(work[: self._scale]) + self._step * self.schedule[self._scale][0] ** 2
        return done / sum(work)

    def state_dict(self) -> dict[str, Any]:
        """State that the remaining steps depend on besides the arguments; plain values and tensors.

        Save it before the next step, which changes the tensors in it.
        """
        return {
            "schedule": self.schedule,
            "scale": self._scale,
            "step": self._step,
            "seen": self._seen,
            "pixels": self._pixels.detach(),
            "result": self._result,
            "stepper": self._stepper.state_dict(),
            "best": None if self.best is None else vars(self.best),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where the state was saved.

        Raises:
            InputError: a state of other sizes or steps.
        """
        if state["schedule"] != self.schedule or state["result"].shape[-2:] != scaled_shape(
            self.shape, self.schedule[state["scale"]][0]
        ):
            raise InputError("the interrupted optimization had other sizes or steps")
        self._scale, self._step, self._seen = (state[k] for k in ("scale", "step", "seen"))
        self._pixels = _parameter(state["pixels"].to(self._device))
        self._result = state["result"].to(self._device)
        self._stepper = self._new_stepper()
        self._stepper.load_state_dict(state["stepper"])
        self.best = None if state["best"] is None else Iterate(**state["best"])
        self._iterates = self._run()


def _parameter(image: Tensor) -> Tensor:
    return image.detach().clone(memory_format=torch.contiguous_format).requires_grad_()
