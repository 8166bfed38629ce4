"""Callbacks of a training: averaged weights, sample grids, progress, skipped photos, losses."""

import logging
import statistics
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.distributed as dist
from lightning.pytorch.callbacks import Callback, WeightAveraging
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn
from torchvision.utils import make_grid

from nst_rt.images.collection import Photo
from nst_rt.images.io import save_image
from nst_rt.progress import Progress, signals_as_interrupt
from nst_rt.train.data import Batch, RandomCrops
from nst_rt.train.task import StyleTraining

logger = logging.getLogger(__name__)


class AverageWeights(WeightAveraging):
    """Exponential moving average of the weights, which is validated, shown and saved.

    Lightning's own `EMAWeightAveraging` computes d * m + (1 - d) * w, which changes frozen weights
    in the last bit, and copies no average when a run is resumed after its last step.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(multi_avg_fn=get_ema_multi_avg_fn(decay))  # type: ignore[no-untyped-call]

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave the average in the module, also if there was no step to train."""
        self._copy_average_to_current(pl_module)


class SampleGrid(Callback):
    """The same few photos in every new style, as PNG files and in TensorBoard.

    Args:
        photos: photos to stylize.
        folder: where the grids go, named after the step.
        every: number of steps between two grids.
    """

    def __init__(self, photos: Sequence[Photo], folder: Path, *, every: int) -> None:
        self.photos = photos
        self.folder = folder
        self.every = every
        self._step = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._step = trainer.global_step

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *_: object
    ) -> None:
        """Write a grid when it is time, and after the last step."""
        step = trainer.global_step
        if step == self._step:  # gradients of several batches are accumulated
            return
        self._step = step
        due = step % self.every == 0 or step == trainer.max_steps
        if not due or not trainer.is_global_zero or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        assert isinstance(pl_module, StyleTraining)
        averages = [c for c in trainer.callbacks if isinstance(c, AverageWeights)]  # type: ignore[attr-defined]
        for average in averages:  # swaps the weights, and swaps them back
            average.on_validation_epoch_start(trainer, pl_module)
        grid = sample_grid(pl_module, self.photos)
        for average in averages:
            average.on_validation_epoch_end(trainer, pl_module)
        self.folder.mkdir(parents=True, exist_ok=True)
        save_image(grid, self.folder / f"{step:06d}.png", overwrite=True)
        for log in trainer.loggers:
            if isinstance(log, TensorBoardLogger):
                log.experiment.add_image("samples", grid[0], step)


@torch.no_grad()
def sample_grid(task: StyleTraining, photos: Sequence[Photo]) -> Tensor:
    """A row per photo: the photo, then the photo in each new style; shape (1, 3, H, W)."""
    crops = RandomCrops(photos, task.size, seed=0)
    styles = torch.eye(len(task.styles), device=task.device)[: len(task.style_images)]
    cells = []
    for index in range(len(photos)):
        content = crops[index].images.to(task.device)
        cells += [content, *(task.network(content, style[None]).float() for style in styles)]
    grid: Tensor = make_grid(torch.cat(cells).cpu(), nrow=1 + len(styles), padding=4)
    return grid[None]


class ReportProgress(Callback):
    """Report the step and the losses to a function, from one process only."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *_: object
    ) -> None:
        if trainer.is_global_zero:
            content, style = (trainer.callback_metrics[f"loss/{k}"] for k in ("content", "style"))
            note = f"content {float(content):.2f}, style {float(style):.3f}"
            self.progress(trainer.global_step, trainer.max_steps, note)


class Termination(Callback):
    """Let SIGTERM and SIGHUP end a training as Ctrl-C does, see `signals_as_interrupt`.

    Lightning's own handler waits for the other processes, which may be waiting for this one.
    """

    def __init__(self) -> None:
        self._handlers = ExitStack()

    def on_train_start(self, *_: object) -> None:
        self._handlers.enter_context(signals_as_interrupt())

    def on_fit_end(self, *_: object) -> None:
        """Give the signals back to the program."""
        self._handlers.close()

    def on_exception(self, *_: object) -> None:
        self._handlers.close()


class SkippedPhotos(Callback):
    """Log each photo that cannot be used once, and count them."""

    def __init__(self) -> None:
        self.skipped: dict[str, str] = {}

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Batch, *_: object
    ) -> None:
        self._add(batch.skipped)

    on_validation_batch_start = on_train_batch_start  # type: ignore[assignment]

    def on_train_end(self, *_: object) -> None:
        """Add those of the other processes, which log nothing."""
        if dist.is_initialized():
            of_all: list[dict[str, str]] = [{}] * dist.get_world_size()
            dist.all_gather_object(of_all, self.skipped)
            for skipped in of_all:
                self._add(skipped)

    def _add(self, skipped: dict[str, str]) -> None:
        for photo, reason in skipped.items():
            if photo not in self.skipped:
                logger.warning("skipped a photo: %s", reason)
        self.skipped |= skipped

    def state_dict(self) -> dict[str, Any]:
        return {"skipped": dict(self.skipped)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.skipped = dict(state_dict["skipped"])


class RecentLosses(Callback):
    """Mean of each logged loss over the last steps, for the record in the style model."""

    def __init__(self, steps: int = 100) -> None:
        self._recent: deque[dict[str, float]] = deque(maxlen=steps)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *_: object
    ) -> None:
        self._recent.append(
            {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("loss/")}
        )

    def state_dict(self) -> dict[str, Any]:
        return {"recent": list(self._recent)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._recent.extend(state_dict["recent"])

    def means(self) -> dict[str, float]:
        """Loss name -> mean, rounded to four digits."""
        means = {
            name: statistics.fmean(losses[name] for losses in self._recent)
            for name in (self._recent[-1] if self._recent else ())
        }
        return {name.removeprefix("loss/"): float(f"{m:.4g}") for name, m in means.items()}
