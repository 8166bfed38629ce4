"""The training task: minimise the perceptual loss over the weights of a transformer network."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from nst_rt.errors import NotFiniteError
from nst_rt.images import load_image
from nst_rt.losses import PerceptualLoss
from nst_rt.motion import aligned_error, shifted_pair
from nst_rt.style_model import Style, StyleModel
from nst_rt.transformer import Architecture, TransformerNet

# Deep layers and a small painting make large strokes; equal weights hatch (measured).
STYLE_LAYERS = {"relu1_1": 0.10, "relu2_1": 0.10, "relu3_1": 0.35, "relu4_1": 0.45}
CONTENT_LAYERS = {"relu4_1": 1.0}


class StyleTraining(L.LightningModule):
    """Train a network to paint like N paintings (Johnson et al. 2016), steadily in motion.

    Stability comes from stylizing two windows of the same photo, shifted against each other and
    one of them noisy, and penalising the aligned difference of the two pastiches.

    Args:
        paintings: file of each style's painting, by the style's name.
        artworks: what is known of each painting, by the style's name: title, artist, year, licence.
        architecture: `fast` or `classic`.
        hyper_parameters: of the network, see `TransformerNet`.
        size: side of the crops that are stylized, pixels.
        style_size: long side of the paintings, pixels; small ones make large strokes.
        content_layers: VGG19 layer -> weight.
        style_layers: VGG19 layer -> weight.
        content_weight, style_weight, tv_weight: factors of the losses' terms.
        motion_weight: factor of the motion term.
        motion_ramp: the motion term rises linearly from 0 between these fractions of the training.
        max_shift: largest shift of the two windows against each other, pixels.
        noise: standard deviation of the noise in one of them.
        learning_rate: peak of a one-cycle schedule (Smith & Topin 2019).
        vgg_weights: see `VGG19Features`.
        seed: of styles, shifts and noise.
    """

    def __init__(
        self,
        paintings: dict[str, str],
        *,
        artworks: dict[str, dict[str, str]] | None = None,
        architecture: Architecture = "fast",
        hyper_parameters: dict[str, int] | None = None,
        size: int = 256,
        style_size: int = 320,
        content_layers: Mapping[str, float] = CONTENT_LAYERS,
        style_layers: Mapping[str, float] = STYLE_LAYERS,
        content_weight: float = 1.0,
        style_weight: float = 10.0,
        tv_weight: float = 1.0,
        motion_weight: float = 50.0,
        motion_ramp: tuple[float, float] = (0.2, 0.47),
        max_shift: int = 8,
        noise: float = 0.01,
        learning_rate: float = 1.5e-3,
        vgg_weights: str = "caffe",
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.paintings = paintings
        self.styles = tuple(Style(name, **(artworks or {}).get(name, {})) for name in paintings)
        self.size = size
        self.style_size = style_size
        self.motion_weight = motion_weight
        self.motion_ramp = motion_ramp
        self.max_shift = max_shift
        self.noise = noise
        self.learning_rate = learning_rate
        self.seed = seed
        # One seed, one network, whatever was drawn before.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network = TransformerNet(
                architecture, len(self.styles), **(hyper_parameters or {})
            )
        self.network.to(memory_format=torch.channels_last)
        self._loss = partial(
            PerceptualLoss,
            content_layers=content_layers,
            style_layers=style_layers,
            content_weight=content_weight,
            style_weight=style_weight,
            tv_weight=tv_weight,
            weights=vgg_weights,
        )

    @property
    def crop_size(self) -> int:
        """Side of the crops that the training takes: room to shift two windows in."""
        return self.size + self.max_shift

    def on_fit_start(self) -> None:
        """Load VGG19 onto the device and measure the paintings' Gram matrices."""
        self.loss = self._loss(device=self.device)
        targets = [
            self.loss.style_target(load_image(file, size=self.style_size).to(self.device))
            for file in self.paintings.values()
        ]
        self.targets = {k: torch.cat([target[k] for target in targets]) for k in targets[0]}

    def training_step(self, photos: Tensor, batch_index: int) -> Tensor:
        """Loss of a batch of crops, shape (N, 3, crop_size, crop_size), RGB in [0, 1]."""
        n, step = len(photos), self.global_step
        # From (seed, step), since Lightning does not store the random state in checkpoints.
        random = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        first, second, shift = shifted_pair(photos, self.size, random)
        # Every style equally often, in every batch as far as it reaches.
        style = (torch.arange(n, device=self.device) + step * n) % len(self.styles)
        weights = torch.nn.functional.one_hot(style, len(self.styles)).float()

        motion_weight = self.motion_weight * self._motion_ramp(step)
        if motion_weight:
            noise = torch.randn(second.shape, generator=random).to(second) * self.noise
            pair = torch.cat([first, second + noise])
            pastiche, moved = self.network(pair, weights.repeat(2, 1)).chunk(2)
            motion = aligned_error(pastiche, moved, shift)
        else:
            pastiche = self.network(first, weights)
            motion = torch.zeros((), device=self.device)
        with torch.autocast(self.device.type, enabled=False):
            terms = self.loss(
                pastiche,
                self.loss.content_target(first),
                {layer: target[style] for layer, target in self.targets.items()},
            )
        total = terms.total + motion_weight * motion
        if not torch.isfinite(total):
            raise NotFiniteError(
                f"the loss became {total.item()} at step {step}; lower the learning rate"
            )
        self.log_dict(
            {
                "loss/content": terms.content,
                "loss/style": terms.style,
                "loss/tv": terms.tv,
                "loss/motion": motion,
                "loss/total": total,
            },
            prog_bar=True,
        )
        return total

    def _motion_ramp(self, step: int) -> float:
        begin, end = (
            fraction * self.trainer.estimated_stepping_batches for fraction in self.motion_ramp
        )
        return min(max((step - begin) / max(end - begin, 1), 0.0), 1.0)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam under a one-cycle schedule."""
        optimizer = torch.optim.Adam(self.network.parameters(), lr=self.learning_rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=self.learning_rate,
            total_steps=int(self.trainer.estimated_stepping_batches),
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def style_model(self, training: Mapping[str, Any]) -> StyleModel:
        """The network as it is now, with `training` as the record of how it came about."""
        network = TransformerNet(
            self.network.architecture, len(self.styles), **self.network.hyper_parameters
        )
        network.load_state_dict(self.network.state_dict())
        return StyleModel(network.eval().requires_grad_(False), self.styles, training)
