"""The training task: minimize the perceptual loss over the weights of a transformer network."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from nst_rt.errors import InputError, NotFiniteError, UnknownNameError
from nst_rt.images.style_image import SMALLEST, Crop, check_style_image, load_style_image
from nst_rt.losses import (
    BatchTerms,
    PerceptualLoss,
    check_loss_weights,
    grid_pattern,
    layer_weights,
)
from nst_rt.metrics.motion import MotionRange, aligned_error, moving_pair
from nst_rt.models.merge import with_styles
from nst_rt.models.style_model import BY_STYLE, Style, StyleModel
from nst_rt.models.transformer import (
    MINIMUM_SIZE,
    MULTIPLE,
    Architecture,
    TransformerNet,
    is_affine,
)
from nst_rt.train.averaging import WeightEMA
from nst_rt.train.data import Batch
from nst_rt.train.schedule import adam_one_cycle, risen
from nst_rt.train.start import extended

logger = logging.getLogger(__name__)

# Most of the style from one middle layer, as in published recipes: strokes rather than hatching.
STYLE_LAYERS = {"relu2_1": 0.07, "relu3_1": 0.18, "relu4_1": 0.75}
CONTENT_LAYERS = {"relu3_1": 0.5, "relu4_2": 0.5}  # the shallow one keeps faces and outlines


class StyleTraining(L.LightningModule):
    """Train a network to paint like N paintings (Johnson et al. 2016).

    With a motion weight, it also learns to paint steadily in motion: two views of the same photo
    are stylized, moved against each other with something moving in front, one of them noisy, and
    the difference of the two pastiches where they show the same places is penalized. That is paid
    in strokes, so that the default is to leave it to the stabilizer.

    Args:
        paintings: file of each style's painting, by the style's name.
        artworks: what is known of each painting, by the style's name: title, artist, year, license.
        start_from: a trained style to start from: a style of the gallery, `gallery` for the one
            whose painting is most like the new one, or a model file. The model has the paintings'
            styles only, which go on from those of the same names.
        affine_only: train nothing but the affine pairs of the new styles; the styles that
            `start_from` has stay in the model, after the new ones, as they are, bit by bit.
        architecture: `fast` or `classic`; None for that of `start_from`, else `fast`.
        hyper_parameters: of the network, see `TransformerNet`.
        size: side of the crops that are stylized, pixels; even.
        style_size: long side of the paintings, pixels; strokes become as large as theirs.
        style_crops: by the style's name, the part of the painting to learn from, in pixels of the
            file: WIDTHxHEIGHT+LEFT+TOP.
        prepare: stretch the levels of a dull painting and denoise a noisy one, see
            `nst_rt.images.style_image`.
        content_layers: VGG19 layer -> weight.
        style_layers: VGG19 layer -> weight.
        content_weight, style_weight, tv_weight: factors of the losses' terms.
        content_focus: above 0, the content counts for less in skies and on walls, so that strokes
            may fill them, see `detail_weights`; with 0 it counts alike everywhere.
        style_factors: by the style's name, times `style_weight` is that of this painting; below 1
            for one that paints over what must stay to be seen, say faces.
        style_ramp: the style weight rises linearly from a tenth to the whole over this fraction of
            the training: a network that starts from scratch first learns to show the photo.
        grid_weight: factor of what repeats with the network's cells, see `grid_pattern`.
        motion_weight: factor of the motion term.
        motion_ramp: the motion term rises linearly from 0 between these fractions of the training.
        max_shift: pixels that the two views are shifted against each other at most, along an axis.
        max_zoom, max_angle: likewise fraction of the size, degrees.
        layer_probability: of a second layer that moves in front of the photo.
        noise: standard deviation of the noise in the second of the two views; no effect without
            a motion weight.
        learning_rate: peak of a one-cycle schedule (Smith & Topin 2019).
        affine_factor: times the learning rate is that of the affine pairs; with many styles each
            photo moves the pairs of one style only, which then fall behind the convolutions.
        warm_up: fraction of the training until the peak.
        ema_decay: of the moving average of the weights, which is what is kept; 0 for none.
        vgg_weights: see `VGG19Features`.
        seed: of motion and noise, and of the network's first weights.

    Raises:
        InputError: values that cannot be used.
        UnknownNameError: an architecture, a layer or a style that does not exist.
    """

    def __init__(
        self,
        paintings: dict[str, str],
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
        content_layers: dict[str, float] = CONTENT_LAYERS,
        style_layers: dict[str, float] = STYLE_LAYERS,
        content_weight: float = 1.0,
        style_weight: float = 4.0,
        tv_weight: float = 0.02,
        content_focus: float = 1.0,
        style_factors: dict[str, float] | None = None,
        style_ramp: float = 0.5,
        grid_weight: float = 3000.0,
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
        if size < MINIMUM_SIZE or size % 2:
            raise InputError(f"the size must be even and at least {MINIMUM_SIZE} px, not {size}")
        if not paintings:
            raise InputError("a training needs at least one painting")
        for layers in (content_layers, style_layers):
            layer_weights(layers)
        factors = style_factors or {}
        check_loss_weights(
            content_weight,
            style_weight,
            tv_weight,
            content_focus,
            grid_weight,
            motion_weight,
            *factors.values(),
        )
        crops = style_crops or {}
        for name in (*factors, *crops):
            if name not in paintings:
                raise UnknownNameError("style", name, paintings)
        for name, value, low, high in (
            ("learning_rate", learning_rate, 1e-9, 1.0),
            ("affine_factor", affine_factor, 1e-3, 1e3),
            ("warm_up", warm_up, 0, 1),
            ("ema_decay", ema_decay, 0, 0.99999),
            ("style_ramp", style_ramp, 0, 1),
            ("max_shift", max_shift, 0, size),
            ("max_zoom", max_zoom, 0, 0.5),
            ("max_angle", max_angle, 0, 180),
            ("layer_probability", layer_probability, 0, 1),
            ("noise", noise, 0, 1),
            ("style_size", style_size, SMALLEST, 10_000),
            ("seed", seed, 0, 2**32 - 1),
        ):
            if not low <= value <= high:
                raise InputError(f"model.{name} must be from {low} to {high}, not {value}")
        if not 0 <= motion_ramp[0] <= motion_ramp[1] <= 1:
            raise InputError(
                f"model.motion_ramp must be two rising fractions of the training, not {motion_ramp}"
            )
        if affine_only and start_from is None:
            raise InputError("affine_only: a network that starts from scratch is trained whole")
        if "" in paintings:
            raise InputError("a style needs a name that is not empty")
        self.paintings = dict(paintings)
        self.size = size
        self.style_size = style_size
        self.style_crops = {name: Crop.parse(crop) for name, crop in crops.items()}
        self.prepare = prepare
        self.preparations: dict[str, dict[str, Any]] = {}  # what was done, by the style's name
        self.style_factors = [factors.get(name, 1.0) for name in paintings]
        self.style_ramp = style_ramp
        self.grid_weight = grid_weight
        self.motion_weight = motion_weight
        self.motion_ramp = motion_ramp
        self.motion = (
            MotionRange(max_shift, max_zoom, max_angle, layer_probability)
            if motion_weight
            else MotionRange(0, 0, 0, 0)  # which needs no room to move in
        )
        self.noise = noise
        self.learning_rate = learning_rate
        self.affine_factor = affine_factor
        self.warm_up = warm_up
        self.ema_decay = ema_decay
        self.seed = seed
        self._loss_settings: dict[str, Any] = {
            "content_layers": content_layers,
            "style_layers": style_layers,
            "content_weight": content_weight,
            "style_weight": style_weight,
            "tv_weight": tv_weight,
            "content_focus": content_focus,
            "weights": vgg_weights,
        }
        facts: Mapping[str, Any] = artworks or {}
        new = tuple(Style(name, **facts.get(name, {})) for name in paintings)
        if start_from is None:
            # One seed, one network, whatever was drawn before.
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                try:
                    self.network = TransformerNet(
                        architecture or "fast", len(new), shared=True, **(hyper_parameters or {})
                    )
                except TypeError as error:
                    raise InputError(f"hyper_parameters: {error}") from error
            self.styles = new
            self.earlier: Mapping[str, list[dict[str, Any]]] = {name: [] for name in paintings}
            self._kept: Mapping[str, Mapping[str, Any]] = {}
        else:
            if architecture or hyper_parameters:
                raise InputError("a network that is started from has its own architecture")
            start = extended(start_from, new, paintings, self.style_crops, affine_only=affine_only)
            self.network, self.styles = start.network, start.styles
            self.earlier, self._kept = start.earlier, start.kept
        # As they turned out, for the record and for a run that is resumed.
        self.hparams["architecture"] = self.network.architecture
        self.hparams["hyper_parameters"] = self.network.hyper_parameters
        if affine_only:
            self._freeze_all_but_new_styles()
        self.network.use_channels_last()

    def _freeze_all_but_new_styles(self) -> None:
        new = len(self.paintings)

        def keep_old(gradient: Tensor) -> Tensor:
            return torch.cat([gradient[:new], torch.zeros_like(gradient[new:])])

        for name, parameter in self.network.named_parameters():
            if is_affine(name):
                # Without weight decay, Adam leaves alone what never had a gradient but 0.
                parameter.register_hook(keep_old)  # type: ignore[no-untyped-call]
            else:
                parameter.requires_grad_(False)

    @property
    def crop_size(self) -> int:
        """Side of the crops that the training takes: room for the second view to move in."""
        return self.size + 2 * int(self.motion.shift)

    def configure_callbacks(self) -> list[L.Callback]:
        """The moving average of the weights, which belongs to the recipe."""
        return [WeightEMA(self.ema_decay)] if self.ema_decay else []

    def check_paintings(self) -> None:
        """Raise an InputError unless all paintings, or their crops, can be read and are large."""
        for name, file in self.paintings.items():
            check_style_image(file, self.style_crops.get(name))

    def on_fit_start(self) -> None:
        """Load VGG19 onto the device, prepare the paintings and measure their Gram matrices."""
        self.loss = PerceptualLoss(**self._loss_settings, device=self.device)
        targets = []
        for name, file in self.paintings.items():
            style = load_style_image(
                file, self.style_size, crop=self.style_crops.get(name), prepare=self.prepare
            )
            if self.global_rank == 0:
                logger.info("style image %s: %s", Path(file).name, style)
            self.preparations[name] = style.facts()
            targets.append(self.loss.style_target(style.image.to(self.device)))
        self.targets = {k: torch.cat([target[k] for target in targets]) for k in targets[0]}

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Loss of a batch of crops of `crop_size`; what is random depends on each crop's index."""
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
            views = torch.cat([pair.first, pair.second + self.noise * noise.to(self.device)])
            pastiche, moved = self.network(views, weights.repeat(2, 1)).chunk(2)
            motion = aligned_error(pastiche, moved, pair)
        else:
            pastiche = self.network(pair.first, weights)
            motion = torch.zeros((), device=self.device)
        rise = risen(self.global_step, self._steps, self.style_ramp)
        terms = self._terms(pastiche, pair.first, which, rise)
        grid = grid_pattern(pastiche.float(), MULTIPLE)
        total = terms.total + self.grid_weight * grid + motion_weight * motion
        if not torch.isfinite(total):
            raise self._not_finite("loss", total, batch)
        self._batch = batch  # which the check of the gradients names
        weighted = {
            "content": self.loss.content_weight * terms.content,
            "style": self.loss.style_weight * terms.style,
            "tv": self.loss.tv_weight * terms.tv,
            "grid": self.grid_weight * grid,
            "motion": motion_weight * motion,
        }
        losses = {"content": terms.content, "style": terms.style, "tv": terms.tv}
        losses |= {"grid": grid, "motion": motion}
        self._log("loss", losses | {"total": total}, batch)
        # What the total is made of: the balance of the weights at a glance.
        self._log("share", {k: v / total for k, v in weighted.items()}, batch)
        self._log("style", self._by_style(which, terms.styles), batch, sync=False)
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
        """Log values; mean over the processes if `sync`, which takes the same names in each."""
        named = {f"{group}/{name}": value.detach() for name, value in values.items()}
        self.log_dict(named, batch_size=len(batch.images), sync_dist=sync)

    def _styles_of(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Which of the paintings, in turn, and the network's style weights for it."""
        which = indices % len(self.paintings)
        style = nn.functional.one_hot(which, len(self.styles))
        return which, style.float()

    def _by_style(self, which: Tensor, losses: Tensor) -> dict[str, Tensor]:
        names = list(self.paintings)
        return {names[i]: losses[which == i].mean() for i in set(which.tolist())}

    def _terms(
        self, pastiche: Tensor, photos: Tensor, which: Tensor, rise: float = 1.0
    ) -> BatchTerms:
        with torch.autocast(self.device.type, enabled=False):
            return self.loss(
                pastiche,
                self.loss.content_target(photos),
                {layer: target[which] for layer, target in self.targets.items()},
                rise * torch.tensor(self.style_factors, device=self.device)[which],
            )

    def _motion_ramp(self, step: int) -> float:
        begin, end = (fraction * self._steps for fraction in self.motion_ramp)
        return min(max((step - begin) / max(end - begin, 1), 0.0), 1.0)

    @property
    def _steps(self) -> int:
        return int(self.trainer.estimated_stepping_batches)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Stop at gradients that are not finite."""
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        if not torch.isfinite(norm):
            raise self._not_finite("gradient's norm", norm, self._batch)

    def _not_finite(self, what: str, value: Tensor, batch: Batch) -> NotFiniteError:
        return NotFiniteError(
            f"the {what} became {value.item()} at step {self.global_step}, with the photos "
            f"{', '.join(batch.photos)}; lower the learning rate (--model.learning_rate, now "
            f"{self.learning_rate}), or take these photos out if it is always the same ones"
        )

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam under a one-cycle schedule."""
        optimizer, schedule = adam_one_cycle(
            self.network,
            self._steps,
            learning_rate=self.learning_rate,
            affine_factor=self.affine_factor,
            warm_up=self.warm_up,
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def style_model(self, training: Mapping[str, Any]) -> StyleModel:
        """The network as it is now, with `training` as the record of how it came about."""
        network = with_styles(self.network, range(len(self.styles)))
        records = {
            name: {**training, "earlier": earlier} if earlier else training
            for name, earlier in self.earlier.items()
        }
        if len(self.styles) == 1:
            [training] = records.values()
        elif any(self.earlier.values()):  # each style has a history of its own
            training = {BY_STYLE: records | dict(self._kept)}
        return StyleModel(network.eval().requires_grad_(False), self.styles, training)
