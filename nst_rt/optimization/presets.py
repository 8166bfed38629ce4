"""Settings of the per-image optimizer, and the presets: named sets of them, with their sources."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from nst_rt.errors import InputError
from nst_rt.losses import NORMALIZATIONS, Normalization, check_loss_weights, layer_weights
from nst_rt.models.vgg import POOLINGS, Pooling

OptimizerName = Literal["lbfgs", "adam"]
OPTIMIZERS: tuple[OptimizerName, ...] = get_args(OptimizerName)
INITS = ("content", "style", "noise")  # or the path of an image

# The layers of Gatys et al. 2016, section 3.
CONTENT_LAYERS: Mapping[str, float] = {"relu4_2": 1.0}
STYLE_LAYERS: Mapping[str, float] = {f"relu{block}_1": 1.0 for block in range(1, 6)}


@dataclass(frozen=True)
class Settings:
    """Every number of the per-image optimizer; a preset is one of these.

    Attributes:
        content_layers, style_layers: VGG19 layer -> weight.
        content_weight, style_weight, tv_weight: factors of the three terms.
        normalization: of the terms, see `nst_rt.losses`.
        pooling: of VGG19: `max`, `average` or `l2`.
        init: the image to start from: `content`, `style`, `noise`, or an image file.
        optimizer: `lbfgs` converges in fewest steps, `adam` takes least memory.
        learning_rate: of the optimizer, for pixels in [0, 1].
        betas, epsilon: of Adam.
        averaging: decay of the running average of the iterates, which is then the result; 0 for
            the iterates themselves.
        steps: per scale, coarsest first; the last number serves for all further scales.
        min_size: long side of the coarsest scale, pixels; None for one scale only.
        scale_factor: between a scale and the next.

    Raises:
        InputError: a value that cannot be used.
        UnknownNameError: a layer that VGG19 does not have.
    """

    content_layers: Mapping[str, float] = field(default_factory=lambda: dict(CONTENT_LAYERS))
    style_layers: Mapping[str, float] = field(default_factory=lambda: dict(STYLE_LAYERS))
    content_weight: float = 1.0
    style_weight: float = 10.0
    tv_weight: float = 1.0
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
        layer_weights(self.content_layers)
        layer_weights(self.style_layers)
        check_loss_weights(self.content_weight, self.style_weight, self.tv_weight)
        _check_choice("normalization", self.normalization, NORMALIZATIONS)
        _check_choice("pooling", self.pooling, POOLINGS)
        _check_choice("optimizer", self.optimizer, OPTIMIZERS)
        if not 0 < self.learning_rate < math.inf:
            raise InputError(f"the learning rate must be positive, not {self.learning_rate}")
        if not self.steps or min(self.steps) < 1:
            raise InputError(
                f"the number of steps must be positive, not {', '.join(map(str, self.steps))}"
            )
        if self.min_size is not None and self.min_size < 1:
            raise InputError(f"the coarsest scale must have 1 px or more, not {self.min_size}")
        if not 1 < self.scale_factor < math.inf:
            raise InputError(f"the factor between scales must be over 1, not {self.scale_factor}")
        if not 0 <= self.averaging < 1:
            raise InputError(f"the averaging's decay must be in [0, 1), not {self.averaging}")

    def schedule(self, size: int, smallest: float) -> list[tuple[int, int]]:
        """The scales, coarsest first: long side in pixels, and steps.

        Args:
            size: long side of the result.
            smallest: long side below which the layers have nothing left.
        """
        coarsest = max(self.min_size or size, smallest)
        count = max(int(math.log(size / coarsest, self.scale_factor) + 1e-9), 0) + 1
        sizes = [round(size / self.scale_factor**k) for k in reversed(range(count))]
        steps = [*self.steps[: len(sizes)]]
        steps += [self.steps[-1]] * (len(sizes) - len(steps))
        return list(zip(sizes, steps, strict=True))


def _check_choice(kind: str, choice: str, choices: tuple[str, ...]) -> None:
    if choice not in choices:
        raise InputError(f"the {kind} must be one of {', '.join(choices)}, not {choice}")


PRESETS: Mapping[str, Settings] = {
    # Ours: the layers of Gatys et al. 2016 with scale-free losses, coarse to fine as in Gatys et
    # al. 2017, section 6: half the time, larger strokes and richer colors than at one scale.
    "balanced": Settings(),
    # Gatys et al. 2016: layers, average pooling, L-BFGS. Weights, normalization and the start from
    # the photo are of the code that its first author released later, since the paper's belong to a
    # network whose filters were rescaled: content 1, Gram matrices 1000 / channels^2. From white
    # noise, as in the paper, the same weights still hide the photo after 100 steps (seen).
    "gatys": Settings(
        style_layers={f"relu{b}_1": c**-2 for b, c in enumerate((64, 128, 256, 512, 512), 1)},
        style_weight=1000.0,
        tv_weight=0.0,
        normalization="absolute",
        pooling="average",
        steps=(500,),
        min_size=None,
    ),
    # The tutorial "Neural style transfer" of tensorflow.org, number by number.
    "keras": Settings(
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
    # layer weights are ours (its 256:64:16:4:1 belong to other losses; with ours the photo stays),
    # and so are fewer steps (there 1000, then 500 a scale), averaged over fewer (there 0.99).
    "multiscale": Settings(
        optimizer="adam",
        learning_rate=0.02,
        betas=(0.9, 0.99),
        epsilon=1e-12,
        averaging=0.95,
        steps=(150, 60),
        min_size=128,
        scale_factor=math.sqrt(2),
    ),
}
