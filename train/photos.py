"""The photos to train on: any folder of them, as an endless stream of random crops.

Every crop is a function of (seed, index), so that a resumed run sees just what an undisturbed one
would have seen, whatever the number of workers.
"""

import itertools
import logging
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from nst_rt.errors import InputError
from nst_rt.images import IMAGE_SUFFIXES, load_image, resize

logger = logging.getLogger(__name__)

FEW_PHOTOS = 500
_HELD_OUT_ONE_IN = 20


def find_photos(folder: Path | str) -> list[Path]:
    """All image files of a folder, nested or flat, in name order.

    Raises:
        InputError: no such folder, or no images in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: {'not a folder' if folder.exists() else 'no such folder'}")
    photos = sorted(
        p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file()
    )
    if not photos:
        raise InputError(f"{folder}: no photos in it ({', '.join(IMAGE_SUFFIXES)})")
    return photos


def is_held_out(photo: Path) -> bool:
    """Whether a photo is kept out of training, by its name alone, so that it always is."""
    return zlib.crc32(photo.name.encode()) % _HELD_OUT_ONE_IN == 0


class RandomCrops(Dataset[Tensor]):
    """Square crops of photos at random scale and place, mirrored at random.

    Args:
        photos: files; each is seen once before any is seen again.
        size: side of a crop in pixels.
        seed: of order, scale, place and mirroring.
    """

    def __init__(self, photos: list[Path], size: int, seed: int) -> None:
        self.photos = photos
        self.size = size
        self.seed = seed
        self._epoch = -1
        self._permutation: list[int] = []

    def _order(self, epoch: int) -> list[int]:
        # Kept by hand: an lru_cache cannot be sent to worker processes that are spawned.
        if epoch != self._epoch:
            random = np.random.default_rng((self.seed, epoch))
            self._epoch, self._permutation = epoch, random.permutation(len(self.photos)).tolist()
        return self._permutation

    def __getitem__(self, index: int) -> Tensor:
        """Crop number `index`, any number from 0 up: shape (3, size, size), RGB in [0, 1]."""
        # The rest of this epoch and all of the next: every photo, in whatever order.
        for attempt in range(2 * len(self.photos)):
            epoch, position = divmod(index + attempt, len(self.photos))
            photo = self.photos[self._order(epoch)[position]]
            try:
                image = load_image(photo)[0]
            except InputError as error:
                logger.warning("skipped a photo: %s", error)
                continue
            return self._crop(image, np.random.default_rng((self.seed, 1, index)))
        raise InputError("none of the photos can be read")

    def _crop(self, image: Tensor, random: np.random.Generator) -> Tensor:
        short, long = sorted(image.shape[1:])
        side = random.uniform(1.0, 1.3) * self.size
        # A hair more, so that rounding never leaves the short side below the crop's.
        image = resize(image[None], round(side * long / short + 0.5))[0]
        y, x = (int(random.integers(0, length - self.size + 1)) for length in image.shape[1:])
        image = image[:, y : y + self.size, x : x + self.size]
        return image.flip(2) if random.random() < 0.5 else image


class EndlessSampler(Sampler[int]):
    """Indices from `start` on without end, each process of a distributed run taking its share."""

    def __init__(self, start: int, rank: int = 0, world_size: int = 1) -> None:
        self.start = start
        self.rank = rank
        self.world_size = world_size

    def __iter__(self) -> Iterator[int]:
        return itertools.count(self.start + self.rank, self.world_size)


class Photos(L.LightningDataModule):
    """Batches of crops from a folder of photos.

    Args:
        folder: any folder, nested or flat.
        size: side of the crops, pixels.
        batch_size: crops in a batch.
        workers: processes that decode.
        seed: of everything random.

    Raises:
        InputError: no such folder, or no photos in it.
    """

    def __init__(
        self, folder: str, *, size: int, batch_size: int = 4, workers: int = 1, seed: int = 0
    ) -> None:
        super().__init__()
        self.save_hyperparameters("batch_size")  # which a resumed run must share
        photos = find_photos(folder)
        self.folder = Path(folder)
        self.held_out = [photo for photo in photos if is_held_out(photo)]
        # A handful of photos may all be held out by their names.
        self.training = [photo for photo in photos if not is_held_out(photo)] or photos
        self.size = size
        self.batch_size = batch_size
        self.workers = workers
        self.seed = seed
        if len(self.training) < FEW_PHOTOS:
            logger.warning(
                "%s: only %d photos; styles generalize better from at least %d",
                folder,
                len(self.training),
                FEW_PHOTOS,
            )

    def check(self) -> None:
        """Raise an InputError unless some photo can be read, before workers would."""
        RandomCrops(self.training, self.size, self.seed)[0]

    @property
    def sources(self) -> dict[str, int]:
        """Number of training photos by the sub-folder that they lie in."""
        parents = (photo.relative_to(self.folder).parent for photo in self.training)
        folder = self.folder.resolve().name
        return dict(Counter(p.as_posix() if p.parts else folder for p in parents))

    def train_dataloader(self) -> DataLoader[Tensor]:
        """An endless stream that starts where the training stands."""
        trainer = self.trainer
        step, rank, world = (
            (trainer.global_step, trainer.global_rank, trainer.world_size) if trainer else (0, 0, 1)
        )
        start = step * self.batch_size * world
        return DataLoader(
            RandomCrops(self.training, self.size, self.seed),
            batch_size=self.batch_size,
            sampler=EndlessSampler(start, rank, world),
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            # Decoding must not compete with the training's own threads.
            worker_init_fn=_one_thread,
        )


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)
