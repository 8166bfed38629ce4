"""What a training run shows and leaves behind besides its checkpoints."""

import logging
import signal
import statistics
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor
from torchvision.utils import make_grid

from nst_rt.cli.report import progress
from nst_rt.images.collection import Photo
from nst_rt.images.io import save_image
from nst_rt.train.averaging import WeightEMA
from nst_rt.train.data import Batch, RandomCrops
from nst_rt.train.task import StyleTraining

logger = logging.getLogger(__name__)


class SampleGrid(Callback):
    """The same few photos in every new style, as PNG files and in TensorBoard.

    Args:
        photos: the photos to stylize.
        folder: where the grids go, named by step.
        every: steps between two grids.
    """

    def __init__(self, photos: Sequence[Photo], folder: Path, *, every: int) -> None:
        self.photos = photos
        self.folder = folder
        self.every = every

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Remember where the training starts or goes on."""
        self._step = trainer.global_step

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *_: object
    ) -> None:
        """Paint a grid when it is time, and at the last step."""
        step = trainer.global_step
        if step == self._step:  # a batch whose gradients are added to those of others
            return
        self._step = step
        due = step % self.every == 0 or step == trainer.max_steps
        if not due or not trainer.is_global_zero or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        assert isinstance(pl_module, StyleTraining)
        with ExitStack() as stack:
            for callback in trainer.callbacks:  # type: ignore[attr-defined]
                if isinstance(callback, WeightEMA):
                    stack.enter_context(callback.applied(pl_module))
            grid = sample_grid(pl_module, self.photos)
        self.folder.mkdir(parents=True, exist_ok=True)
        save_image(grid, self.folder / f"{step:06d}.png", overwrite=True)
        for log in trainer.loggers:
            if isinstance(log, TensorBoardLogger):
                log.experiment.add_image("samples", grid[0], step)


@torch.no_grad()
def sample_grid(task: StyleTraining, photos: Sequence[Photo]) -> Tensor:
    """A row per photo: the photo, then its pastiche in each new style; shape (1, 3, H, W)."""
    crops = RandomCrops(photos, task.size, seed=0)
    styles = torch.eye(len(task.styles), device=task.device)[: len(task.paintings)]
    cells = []
    for index in range(len(photos)):
        photo = crops[index].image[None].to(task.device)
        cells += [photo, *(task.network(photo, style[None]).float() for style in styles)]
    grid: Tensor = make_grid(torch.cat(cells).cpu(), nrow=1 + len(styles), padding=4)
    return grid[None]


class ProgressBar(Callback):
    """The bar that all verbs have, on a terminal only, with the losses."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show it."""
        if trainer.is_global_zero:
            self._advance = self._stack.enter_context(progress("training"))
            self._advance(trainer.global_step, trainer.max_steps, "")

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *_: object
    ) -> None:
        """Move it."""
        if trainer.is_global_zero:
            content, style = (
                float(trainer.callback_metrics[f"loss/{name}"]) for name in ("content", "style")
            )
            losses = f"content {content:.2f}, style {style:.3f}"
            self._advance(trainer.global_step, trainer.max_steps, losses)

    def on_train_end(self, *_: object) -> None:
        """Leave the terminal as it was."""
        self._stack.close()

    def on_exception(self, *_: object) -> None:
        """Likewise after an error or Ctrl-C."""
        self._stack.close()


class Termination(Callback):
    """SIGTERM, as system managers and `timeout` send it, ends a training as Ctrl-C does.

    Lightning's own handler waits for the other processes, which may be waiting for this one. Not
    for tasks of SLURM, whose job that handler puts back into the queue.
    """

    def on_train_start(self, *_: object) -> None:
        """Replace Lightning's handler."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.default_int_handler)


class SkippedPhotos(Callback):
    """Names each photo that cannot be used, once, and counts them."""

    def __init__(self) -> None:
        self.skipped: dict[str, str] = {}

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Tell of those that are new."""
        self._tell(batch)

    def on_validation_batch_start(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Likewise."""
        self._tell(batch)

    def _tell(self, batch: Batch) -> None:
        for photo, reason in batch.skipped.items():
            if photo not in self.skipped:
                logger.warning("skipped a photo: %s", reason)
        self.skipped |= batch.skipped

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"skipped": dict(self.skipped)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where a checkpoint was written."""
        self.skipped = dict(state_dict["skipped"])


class RecentLosses(Callback):
    """Mean of each logged loss over the last steps, for the record in the style model."""

    def __init__(self, steps: int = 100) -> None:
        self._recent: deque[dict[str, float]] = deque(maxlen=steps)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *_: object
    ) -> None:
        """Remember this step's losses."""
        self._recent.append(
            {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("loss/")}
        )

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"recent": list(self._recent)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where a checkpoint was written."""
        self._recent.extend(state_dict["recent"])

    def means(self) -> dict[str, float]:
        """Loss name -> mean, of four digits."""
        names = self._recent[-1] if self._recent else {}
        means = {
            name.removeprefix("loss/"): statistics.fmean(losses[name] for losses in self._recent)
            for name in names
        }
        return {name: float(f"{mean:.4g}") for name, mean in means.items()}
