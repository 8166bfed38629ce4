"""The training task: minimize the perceptual loss over the weights of a transformer network."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

from nst_rt.errors import InputError, NotFiniteError
from nst_rt.images.style_image import Crop, check_style_image, load_style_image
from nst_rt.losses import (
    TRAINING_CONTENT_FOCUS,
    TRAINING_CONTENT_LAYERS,
    TRAINING_GRID_WEIGHT,
    TRAINING_STYLE_LAYERS,
    TRAINING_TV_WEIGHT,
    BatchTerms,
    PerceptualLoss,
    grid_pattern,
)
from nst_rt.metrics.motion import MotionRange, aligned_error, moving_pair
from nst_rt.models.style_model import Style
from nst_rt.models.transformer import MULTIPLE, Architecture, TransformerNet, is_affine
from nst_rt.train.data import Batch
from nst_rt.train.recipes import check_model_settings
from nst_rt.train.start import Start, from_scratch, from_trained

logger = logging.getLogger(__name__)

# The styles of a model file say what their style images are, but not where the files were.
_NOT_RECORDED = frozenset(
    ("style_images", "artworks", "start_from", "architecture", "hyper_parameters", "vgg_weights")
)
_INITIAL_STYLE_WEIGHT = 0.1  # fraction of the style weight at the first step of its ramp


class StyleTraining(L.LightningModule):
    """Train a network to stylize like N style images (Johnson et al. 2016).

    With a motion weight, the network also learns to be steady under motion: two views of the same
    photo, shifted against each other, with something moving in front and noise in one of them, are
    stylized, and the difference of the two results where they show the same places is penalized.
    This weakens strokes, so by default it is off, and stability is left to the stabilizer.

    Args:
        style_images: style name -> image file.
        artworks: style name -> facts about its style image: title, artist, year, license.
        start_from: trained style to start from: a style of the gallery, `gallery` for the one whose
            style image is most similar, or a model file. The new model has the styles of
            `style_images` only; those that the trained network already has continue from there.
        affine_only: train only the affine pairs of the new styles; the styles of `start_from` stay
            in the model, after the new ones, bit for bit.
        architecture: `fast` or `classic`; default: that of `start_from`, else `fast`.
        hyper_parameters: of the network, see `TransformerNet`.
        size: side of the crops that are stylized, pixels; even.
        style_size: long side of the style images, pixels; it sets the size of the strokes.
        style_crops: style name -> region of its style image to learn from, in pixels of the file,
            as WIDTHxHEIGHT+LEFT+TOP.
        prepare: stretch the levels of a dull style image and denoise a noisy one, see
            `nst_rt.images.style_image`.
        content_layers, style_layers: VGG19 layer -> weight.
        content_weight, style_weight, tv_weight: factors of the loss terms.
        content_focus: above 0, the content counts for less in skies and on walls, so that strokes
            can fill them, see `detail_weights`; with 0 it counts the same everywhere.
        style_factors: style name -> factor of `style_weight` for this style; below 1 for a style
            that covers details that must stay visible, such as faces.
        style_ramp: fraction of the training over which the style weight rises linearly from a tenth
            to its full value: a network that starts from scratch first learns to show the content.
        grid_weight: factor of the penalty on patterns that repeat with the network's cells, see
            `grid_pattern`.
        motion_weight: factor of the motion term.
        motion_ramp: fractions of the training between which the motion term rises linearly from 0.
        max_shift: maximum shift between the two views along each axis, pixels.
        max_zoom, max_angle: maximum zoom, as a fraction of the size, and rotation, degrees.
        layer_probability: probability of a second layer that moves in front of the photo.
        noise: standard deviation of the noise in the second view; unused without a motion weight.
        learning_rate: peak of a one-cycle schedule (Smith & Topin 2019).
        affine_factor: learning rate of the affine pairs relative to `learning_rate`; with several
            styles, each photo updates the pairs of one style only, so that they lag behind the
            convolutions.
        warm_up: fraction of the training until the peak of the learning rate.
        ema_decay: decay of the moving average of the weights, which is what is validated and saved;
            0 for no average.
        vgg_weights: see `VGG19Features`.
        seed: of motion and noise, and of the initial weights.

    Raises:
        InputError: a value out of range, or settings that exclude each other.
        UnknownNameError: an architecture, a layer or a style that does not exist.
    """

    def __init__(
        self,
        style_images: dict[str, str],
        *,
        artworks: dict[str, dict[str, str]] | None = None,
        start_from: str | None = None,
        affine_only: bool = False,
        architecture: Architecture | None = None,
        hyper_parameters: dict[str, int] | None = None,
        size: int = 224,
        style_size: int = 512,
        style_crops: dict[str, str] | None = None,
        prepare: bool = True,
        content_layers: dict[str, float] = TRAINING_CONTENT_LAYERS,
        style_layers: dict[str, float] = TRAINING_STYLE_LAYERS,
        content_weight: float = 1.0,
        style_weight: float = 4.0,
        tv_weight: float = TRAINING_TV_WEIGHT,
        content_focus: float = TRAINING_CONTENT_FOCUS,
        style_factors: dict[str, float] | None = None,
        style_ramp: float = 0.5,
        grid_weight: float = TRAINING_GRID_WEIGHT,
        motion_weight: float = 0.0,
        motion_ramp: tuple[float, float] = (0.2, 0.47),
        max_shift: int = 8,
        max_zoom: float = 0.05,
        max_angle: float = 4.0,
        layer_probability: float = 0.5,
        noise: float = 0.01,
        learning_rate: float = 4.0e-3,
        affine_factor: float = 3.0,
        warm_up: float = 0.1,
        ema_decay: float = 0.99,
        vgg_weights: str = "caffe",
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        check_model_settings(self.hparams)
        self.style_images = dict(style_images)
        self.style_crops = {name: Crop.parse(crop) for name, crop in (style_crops or {}).items()}
        self.preparations: dict[str, dict[str, Any]] = {}  # what was done, by the style's name
        self.style_factors = [(style_factors or {}).get(name, 1.0) for name in style_images]
        self.size = size
        self.style_ramp = style_ramp
        self.grid_weight = grid_weight
        self.motion_weight = motion_weight
        self.motion = MotionRange(0, 0, 0, 0)  # needs no margin around the crop
        if motion_weight:
            self.motion = MotionRange(max_shift, max_zoom, max_angle, layer_probability)
        self.seed = seed
        self.start = self._start()
        self.network, self.styles = self.start.network, self.start.styles
        # The actual values, for the record and to compare with a resumed run.
        self.hparams["architecture"] = self.network.architecture
        self.hparams["hyper_parameters"] = self.network.hyper_parameters
        if affine_only:
            self.start.freeze_all_but_new()
        self.network.use_channels_last()

    def _start(self) -> Start:
        given = self.hparams
        new = tuple(
            Style(name, **(given["artworks"] or {}).get(name, {})) for name in self.style_images
        )
        architecture, hyper_parameters = given["architecture"], given["hyper_parameters"]
        if given["start_from"] is None:
            return from_scratch(
                new, architecture or "fast", hyper_parameters or {}, seed=given["seed"]
            )
        if architecture or hyper_parameters:
            raise InputError("a trained network has its own architecture: leave `architecture` out")
        return from_trained(
            given["start_from"],
            new,
            self.style_images,
            self.style_crops,
            affine_only=given["affine_only"],
        )

    @property
    def crop_size(self) -> int:
        """Side of the crops that the training takes, with a margin for the second view."""
        return self.size + 2 * int(self.motion.shift)

    def check_style_images(self) -> None:
        """Raise an InputError unless all style images, or their crops, are readable and large."""
        for name, file in self.style_images.items():
            check_style_image(file, self.style_crops.get(name))

    def on_fit_start(self) -> None:
        """Load VGG19 onto the device and measure the Gram matrices of the style images."""
        given = self.hparams
        # Not in `__init__`: VGG19 belongs in no checkpoint, and the device is known only now.
        self.loss = PerceptualLoss(
            content_layers=given["content_layers"],
            style_layers=given["style_layers"],
            content_weight=given["content_weight"],
            style_weight=given["style_weight"],
            tv_weight=given["tv_weight"],
            content_focus=given["content_focus"],
            weights=given["vgg_weights"],
            device=self.device,
        )
        targets = []
        for name, file in self.style_images.items():
            style = load_style_image(
                file,
                given["style_size"],
                crop=self.style_crops.get(name),
                prepare=given["prepare"],
            )
            if self.global_rank == 0:
                logger.info("style image %s: %s", Path(file).name, style)
            self.preparations[name] = style.facts()
            targets.append(self.loss.style_target(style.image.to(self.device)))
        self.targets = {k: torch.cat([target[k] for target in targets]) for k in targets[0]}

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Loss of a batch of crops of `crop_size`; random draws depend on each crop's index."""
        # Lightning does not store the random state, and a batch may be spread over processes.
        generators = [
            torch.Generator().manual_seed(self.seed * 1_000_003 + index)
            for index in batch.indices.tolist()
        ]
        pair = moving_pair(batch.images, self.size, generators, self.motion)
        which, weights = self._styles_of(batch.indices)
        motion_weight = self.motion_weight * self._motion_ramp(self.global_step)
        if motion_weight:
            noise = torch.stack(
                [torch.randn(3, self.size, self.size, generator=g) for g in generators]
            )
            noisy = pair.second + self.hparams["noise"] * noise.to(self.device)
            views = torch.cat([pair.first, noisy])
            stylized, moved = self.network(views, weights.repeat(2, 1)).chunk(2)
            motion = aligned_error(stylized, moved, pair)
        else:
            stylized = self.network(pair.first, weights)
            motion = torch.zeros((), device=self.device)
        ramp = style_ramp_factor(self.global_step, self._steps, self.style_ramp)
        terms = self._terms(stylized, pair.first, which, ramp)
        grid = grid_pattern(stylized.float(), MULTIPLE)
        total = terms.total + self.grid_weight * grid + motion_weight * motion
        if not torch.isfinite(total):
            raise self._not_finite("loss", total, batch)
        self._batch = batch  # for the error message of `on_before_optimizer_step`
        losses = {"content": terms.content, "style": terms.style, "tv": terms.tv}
        losses |= {"grid": grid, "motion": motion}
        weighted = {key: getattr(self.loss, f"{key}_weight") for key in ("content", "style", "tv")}
        weighted |= {"grid": self.grid_weight, "motion": motion_weight}
        self._log("loss", losses | {"total": total}, batch)
        # The share of each term in the total shows the balance of the weights at a glance.
        self._log("share", {k: weighted[k] * losses[k] / total for k in losses}, batch)
        names = list(self.style_images)
        by_style = {names[i]: terms.styles[which == i].mean() for i in set(which.tolist())}
        self._log("style", by_style, batch, sync=False)
        return total

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """The losses of held-out photos, shape (N, 3, S, S), without motion."""
        which, weights = self._styles_of(batch.indices)
        terms = self._terms(self.network(batch.images, weights), batch.images, which)
        losses = {"content": terms.content, "style": terms.style, "total": terms.total}
        self._log("validation", losses, batch)

    def _log(
        self, group: str, values: Mapping[str, Tensor], batch: Batch, *, sync: bool = True
    ) -> None:
        """Log values; `sync` averages over the processes, which must all have the same names."""
        named = {f"{group}/{name}": value.detach() for name, value in values.items()}
        self.log_dict(named, batch_size=len(batch.images), sync_dist=sync)

    def _styles_of(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Index of the style of each crop, in turn, and the network's style weights for it."""
        which = indices % len(self.style_images)
        return which, nn.functional.one_hot(which, len(self.styles)).float()

    def _terms(
        self, stylized: Tensor, content: Tensor, which: Tensor, ramp: float = 1.0
    ) -> BatchTerms:
        with torch.autocast(self.device.type, enabled=False):
            return self.loss(
                stylized,
                self.loss.content_target(content),
                {layer: target[which] for layer, target in self.targets.items()},
                ramp * torch.tensor(self.style_factors, device=self.device)[which],
            )

    def _motion_ramp(self, step: int) -> float:
        begin, end = (fraction * self._steps for fraction in self.hparams["motion_ramp"])
        return float(min(max((step - begin) / max(end - begin, 1), 0.0), 1.0))

    @property
    def _steps(self) -> int:
        return int(self.trainer.estimated_stepping_batches)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Stop at gradients that are not finite, before they reach the weights."""
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        if not torch.isfinite(norm):
            raise self._not_finite("norm of the gradient", norm, self._batch)

    def _not_finite(self, what: str, value: Tensor, batch: Batch) -> NotFiniteError:
        rate = self.hparams["learning_rate"]
        return NotFiniteError(
            f"the {what} became {value.item()} at step {self.global_step}, with the photos "
            f"{', '.join(batch.photos)}; lower model.learning_rate, now {rate}, or remove these "
            "photos if the same ones always fail"
        )

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam under a one-cycle schedule."""
        optimizer, schedule = self.adam_one_cycle(self.network, self._steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def adam_one_cycle(
        self, network: TransformerNet, steps: int, *, fused: bool | None = None
    ) -> tuple[torch.optim.Adam, OneCycleLR]:
        """Adam on the trainable weights of a network, with its schedule for a number of steps.

        `fused` runs one kernel for all weights, on a GPU; None leaves the choice to PyTorch.
        """
        groups: dict[float, list[nn.Parameter]] = {}
        for name, parameter in network.named_parameters():
            if parameter.requires_grad:
                factor = self.hparams["affine_factor"] if is_affine(name) else 1
                groups.setdefault(self.hparams["learning_rate"] * factor, []).append(parameter)
        optimizer = torch.optim.Adam(
            [{"params": p, "lr": rate} for rate, p in groups.items()], fused=fused
        )
        # OneCycleLR divides by zero where the first phase has exactly one step.
        warm_up = min(max(self.hparams["warm_up"], 1.5 / steps), 0.99)
        return optimizer, OneCycleLR(optimizer, list(groups), total_steps=steps, pct_start=warm_up)

    def record(
        self,
        *,
        steps: int,
        batch_size: int,
        photos: Mapping[str, int],
        skipped: int,
        losses: Mapping[str, float],
    ) -> dict[str, Any]:
        """How the model was trained, as JSON values for its file.

        Args:
            steps: number of optimization steps.
            batch_size: number of crops per step.
            photos: source -> number of photos.
            skipped: number of photos that could not be used.
            losses: name -> loss at the end.
        """
        start = self.hparams["start_from"]
        return {
            "steps": steps,
            "batch_size": batch_size,
            "recipe": {k: v for k, v in self.hparams.items() if k not in _NOT_RECORDED},
            "style_images": self.preparations,
            **({"start_from": Path(start).name} if start else {}),
            "photos": dict(photos),
            "skipped": skipped,
            "vgg_weights": Path(self.hparams["vgg_weights"]).name,
            "losses": dict(losses),
        }


def style_ramp_factor(step: int, steps: int, ramp: float) -> float:
    """Factor of the style weight at a step: rises linearly from a tenth to 1.

    Args:
        step: current step.
        steps: number of steps of the training.
        ramp: fraction of the training that the rise takes; 0 for none.
    """
    if not ramp:
        return 1.0
    return min(1.0, _INITIAL_STYLE_WEIGHT + (1 - _INITIAL_STYLE_WEIGHT) * step / (ramp * steps))
