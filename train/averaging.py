"""The exponential moving average of the weights, which is what a training keeps."""

from collections.abc import Iterator
from contextlib import contextmanager

import lightning as L
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor


class WeightEMA(WeightAveraging):
    """Average the weights over the last steps, the later the more; validate and keep the average.

    Args:
        decay: what stays of the average at each step.
    """

    def __init__(self, decay: float) -> None:
        def average(mean: Tensor, current: Tensor, count: Tensor | int) -> Tensor:
            # Weights that do not change stay as they are to the bit, unlike in d * m + (1 - d) * c.
            return mean.lerp(current, 1 - decay)

        super().__init__(avg_fn=average)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Nothing yet: a run that is resumed at its end has none."""

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The module keeps the average."""
        self._copy_average_to_current(pl_module)

    @contextmanager
    def applied(self, module: L.LightningModule) -> Iterator[None]:
        """The module has the averaged weights inside, and its own again afterwards."""
        self._swap_models(module)
        try:
            yield
        finally:
            self._swap_models(module)
