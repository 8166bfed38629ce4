"""Settings of the per-image optimizer, and the presets: named sets of them, with their sources."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from nst_rt.errors import InputError, UnknownNameError
from nst_rt.learning.request import STYLE_WEIGHT, check_style_size
from nst_rt.losses import (
    TRAINING_CONTENT_FOCUS,
    TRAINING_CONTENT_LAYERS,
    TRAINING_STYLE_LAYERS,
    TRAINING_TV_WEIGHT,
    Normalization,
)
from nst_rt.models.vgg import Pooling

PresetName = Literal["balanced", "gatys", "keras", "multiscale", "training"]
OptimizerName = Literal["lbfgs", "adam"]

# The layers of Gatys et al. 2016, section 3.
CONTENT_LAYERS: Mapping[str, float] = {"relu4_2": 1.0}
STYLE_LAYERS: Mapping[str, float] = {
    "relu1_1": 1.0,
    "relu2_1": 1.0,
    "relu3_1": 1.0,
    "relu4_1": 1.0,
    "relu5_1": 1.0,
}

# Long side at which networks stylize with the default stroke size (`nst_rt.infer.strokes`), pixels.
WORKING_SIZE = 1000

# By optimizer, if it is not the preset's.
_LEARNING_RATES: Mapping[str, float] = {"lbfgs": 1.0, "adam": 0.02}


def choose_settings(preset: str, **changes: Any) -> "OptimizerSettings":
    """A preset's settings with some values replaced; those that are None stay the preset's.

    Another optimizer than the preset's gets its own default learning rate.

    Raises:
        UnknownNameError: an unknown preset.
        InputError: see `OptimizerSettings`; or a `style_size` for a preset that has none.
    """
    if preset not in PRESETS:
        raise UnknownNameError("preset", preset, PRESETS)
    settings = PRESETS[preset]
    changes = {name: value for name, value in changes.items() if value is not None}
    if "style_size" in changes and not settings.prepares_styles:
        raise InputError(
            f"`style_size` is for `preset` training; with {preset}, `style_scale` sets the size of "
            "the strokes"
        )
    optimizer = changes.get("optimizer", settings.optimizer)
    if optimizer != settings.optimizer and optimizer in _LEARNING_RATES:
        changes.setdefault("learning_rate", _LEARNING_RATES[optimizer])
    return replace(settings, **changes)


@dataclass(frozen=True)
class OptimizerSettings:
    """All numbers of the per-image optimizer; a preset is an instance.

    Attributes:
        content_layers, style_layers: VGG19 layer -> weight.
        content_weight, style_weight, tv_weight: factors of the three terms.
        content_focus: above 0, the content counts for less in even areas, see
            `nst_rt.losses.detail_weights`.
        prepares_styles: whether style images are prepared as in a training, see
            `nst_rt.images.style_image`; otherwise they are taken as they are, at the result's size.
        style_size: long side of prepared style images if the result had 1000 px, the working size
            of networks; None for the one at which a network would learn them, see
            `nst_rt.images.style_image.fitting_size`.
        normalization: of the terms, see `nst_rt.losses`.
        pooling: of VGG19: `max`, `average` or `l2`.
        init: the image to start from: `content`, `recolored` (the content image in the colors of
            the style images), `style`, `noise`, or an image file.
        optimizer: `lbfgs` converges in the fewest steps, `adam` takes the least memory.
        learning_rate: of the optimizer, for pixels in [0, 1].
        betas, epsilon: of Adam.
        averaging: decay of the running average of the iterates, which is then the result; 0 for
            no averaging.
        steps: number of steps per scale, coarsest first; the last number serves for all further
            scales.
        min_size: long side of the coarsest scale, pixels; None for one scale only.
        scale_factor: ratio of the sizes of two successive scales.

    Raises:
        InputError: an optimizer, a learning rate, steps or sizes that cannot be used; losses and
            VGG19 check the others.
    """

    content_layers: Mapping[str, float] = field(default_factory=lambda: dict(CONTENT_LAYERS))
    style_layers: Mapping[str, float] = field(default_factory=lambda: dict(STYLE_LAYERS))
    content_weight: float = 1.0
    style_weight: float = 10.0
    tv_weight: float = 1.0
    content_focus: float = 0.0
    prepares_styles: bool = False
    style_size: int | None = None
    normalization: Normalization = "relative"
    pooling: Pooling = "max"
    init: str = "content"
    optimizer: OptimizerName = "lbfgs"
    learning_rate: float = 1.0
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    averaging: float = 0.0
    steps: tuple[int, ...] = (150, 100, 75)
    min_size: int | None = 128
    scale_factor: float = 2.0

    def __post_init__(self) -> None:
        if self.optimizer not in _LEARNING_RATES:
            choices = " or ".join(_LEARNING_RATES)
            raise InputError(f"`optimizer` must be {choices}, not {self.optimizer}")
        if not 0 < self.learning_rate < math.inf:
            raise InputError(f"`learning_rate` must be positive, not {self.learning_rate}")
        if not self.steps or min(self.steps) < 1:
            raise InputError(f"`steps` must be positive, not {', '.join(map(str, self.steps))}")
        if self.min_size is not None and self.min_size < 1:
            raise InputError(f"`min_size` must be 1 pixel or more, not {self.min_size}")
        if self.style_size is not None:
            check_style_size(self.style_size)

    def schedule(self, size: int, smallest: float) -> list[tuple[int, int]]:
        """Long side in pixels and number of steps of each scale, coarsest first.

        Args:
            size: long side of the result, pixels.
            smallest: long side that the deepest layer needs, pixels.
        """
        coarsest = max(self.min_size or size, smallest)
        count = max(int(math.log(size / coarsest, self.scale_factor) + 1e-9), 0) + 1
        sizes = [round(size / self.scale_factor**k) for k in reversed(range(count))]
        steps = [*self.steps[: len(sizes)]]
        steps += [self.steps[-1]] * (len(sizes) - len(steps))
        return list(zip(sizes, steps, strict=True))


PRESETS: Mapping[str, OptimizerSettings] = {  # PresetName -> settings
    # Ours: the layers of Gatys et al. 2016 with relative losses, coarse to fine as in Gatys et al.
    # 2017, section 6: half the time, larger strokes and richer colors than at one scale.
    "balanced": OptimizerSettings(),
    # Gatys et al. 2016: layers, average pooling, L-BFGS. Weights, normalization and the start from
    # the content image come from the code that its first author released later, since the paper's
    # belong to a network whose filters were rescaled: content 1, Gram matrices 1000 / channels^2.
    # From white noise, as in the paper, the content is still hidden after 100 steps (observed).
    "gatys": OptimizerSettings(
        style_layers={f"relu{b}_1": c**-2 for b, c in enumerate((64, 128, 256, 512, 512), 1)},
        style_weight=1000.0,
        tv_weight=0.0,
        normalization="absolute",
        pooling="average",
        steps=(500,),
        min_size=None,
    ),
    # The tutorial "Neural style transfer" of tensorflow.org, with all its numbers.
    "keras": OptimizerSettings(
        content_layers={"block5_conv2": 1.0},
        style_layers={f"block{block}_conv1": 1 / 5 for block in range(1, 6)},
        content_weight=1e4,
        style_weight=1e-2,
        tv_weight=30.0,
        normalization="absolute",
        optimizer="adam",
        learning_rate=0.02,
        betas=(0.99, 0.999),
        epsilon=0.1,
        steps=(1000,),
        min_size=None,
    ),
    # crowsonkb/style-transfer-pytorch: scales, warm-started Adam, averaged iterates. Losses and
    # layer weights are ours (its 256:64:16:4:1 belong to other losses; with ours the image hardly
    # changes), and so are fewer steps (1000, then 500 per scale) and a shorter average (0.99).
    "multiscale": OptimizerSettings(
        optimizer="adam",
        learning_rate=0.02,
        betas=(0.9, 0.99),
        epsilon=1e-12,
        averaging=0.95,
        steps=(150, 60),
        min_size=128,
        scale_factor=math.sqrt(2),
    ),
    # The loss of trainings, in few steps: a preview of a network. Its style layers hardly see
    # colors: from the content image, pixels would keep its palette, while networks have the style
    # image's. One scale, since coarse ones bring shapes larger than those that networks make.
    "training": OptimizerSettings(
        content_layers=TRAINING_CONTENT_LAYERS,
        style_layers=TRAINING_STYLE_LAYERS,
        style_weight=STYLE_WEIGHT,
        tv_weight=TRAINING_TV_WEIGHT,
        content_focus=TRAINING_CONTENT_FOCUS,
        prepares_styles=True,
        init="recolored",
        steps=(50,),
        min_size=None,
    ),
}
