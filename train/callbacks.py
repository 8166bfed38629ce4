"""What a training run shows and leaves behind besides its checkpoints."""

from collections import deque
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, RichProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor
from torchvision.utils import make_grid

from nst_rt.images import save_image
from nst_rt.train.photos import RandomCrops
from nst_rt.train.task import StyleTraining


class SampleGrid(Callback):
    """The same few photos in every style, as PNG files and in TensorBoard.

    Args:
        photos: files of the photos to stylize.
        folder: where the grids go, named by step.
        every: steps between two grids.
    """

    def __init__(self, photos: list[Path], folder: Path, *, every: int) -> None:
        self.photos = photos
        self.folder = folder
        self.every = every

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *_: object
    ) -> None:
        """Paint a grid when it is time, and at the last step."""
        step = trainer.global_step
        if trainer.is_global_zero and (step % self.every == 0 or step == trainer.max_steps):
            assert isinstance(pl_module, StyleTraining)
            grid = sample_grid(pl_module, self.photos)
            self.folder.mkdir(parents=True, exist_ok=True)
            save_image(grid, self.folder / f"{step:06d}.png", overwrite=True)
            for logger in trainer.loggers:
                if isinstance(logger, TensorBoardLogger):
                    logger.experiment.add_image("samples", grid[0], step)


@torch.no_grad()
def sample_grid(task: StyleTraining, photos: list[Path]) -> Tensor:
    """A row per photo: the photo, then its pastiche in each style; shape (1, 3, H, W)."""
    crops = RandomCrops(photos, task.size, seed=0)
    styles = torch.eye(len(task.styles), device=task.device)
    cells = []
    for index in range(len(photos)):
        photo = crops[index][None].to(task.device)
        cells += [photo, *(task.network(photo, style[None]) for style in styles)]
    grid: Tensor = make_grid(torch.cat(cells).cpu(), nrow=1 + len(styles), padding=4)
    return grid[None]


class ProgressBar(RichProgressBar):
    """Lightning's bar on stderr, with the losses under their short names."""

    def __init__(self) -> None:
        super().__init__(console_kwargs={"stderr": True})

    def get_metrics(
        self, trainer: L.Trainer, pl_module: L.LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """The losses, without the logger's version."""
        metrics = super().get_metrics(trainer, pl_module)
        return {k.removeprefix("loss/"): v for k, v in metrics.items() if k != "v_num"}

    def _get_train_description(self, current_epoch: int) -> str:
        return "Training"  # epochs mean nothing in an endless stream


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
        """Loss name -> mean."""
        names = self._recent[-1] if self._recent else {}
        return {
            name.removeprefix("loss/"): round(
                sum(losses[name] for losses in self._recent) / len(self._recent), 5
            )
            for name in names
        }
