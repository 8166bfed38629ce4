"""The photos of a training, as an endless stream of random crops.

Every crop is a function of (seed, index), so that a resumed run sees exactly what an uninterrupted
one would have seen, whatever the number of workers.
"""

import hashlib
import logging
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from nst_rt.errors import InputError
from nst_rt.images.collection import HELD_OUT, Photo, count_by_folder, find_photos, is_held_out
from nst_rt.images.color import is_flat
from nst_rt.images.convert import resize_to

logger = logging.getLogger(__name__)

FEW_PHOTOS = 500
LARGEST_ZOOM = 1.3  # maximum ratio of a photo's short side to the side of a crop of it
_MAX_VALIDATED = 32
_MAX_WORKERS = 64  # processes; each takes half a gigabyte


class Batch(NamedTuple):
    """One or several crops, and where they come from.

    Attributes:
        images: shape (N, 3, S, S), RGB in [0, 1].
        indices: position of each crop in the stream, shape (N,), int64.
        photos: the photo that each crop was cut from.
        skipped: photo that could not be used in their place -> reason.
    """

    images: Tensor
    indices: Tensor
    photos: list[str]
    skipped: dict[str, str]


def collate(batches: Sequence[Batch]) -> Batch:
    """One batch of several."""
    return Batch(
        torch.cat([each.images for each in batches]),
        torch.cat([each.indices for each in batches]),
        [photo for each in batches for photo in each.photos],
        {photo: reason for each in batches for photo, reason in each.skipped.items()},
    )


class RandomCrops(Dataset[Batch]):
    """Square crops of photos at random scale and position, mirrored at random.

    A photo that cannot be read, or would be enlarged more than twofold, gives way to the next one.

    Args:
        photos: each is used once before any is used again.
        size: side of a crop, pixels.
        seed: of order, scale, position and mirroring.
    """

    def __init__(self, photos: Sequence[Photo], size: int, seed: int) -> None:
        self.photos = photos
        self.size = size
        self.seed = seed
        self._epoch = -1
        self._permutation: list[int] = []
        self._unusable: dict[Photo, str] = {}  # none is decoded twice

    def __getitem__(self, index: int) -> Batch:
        """Crop number `index`, which may be any number from 0 up, as a batch of one.

        Raises:
            InputError: none of the photos can be used.
        """
        skipped: dict[str, str] = {}
        # The rest of this epoch and all of the next one contain every photo.
        for attempt in range(2 * len(self.photos)):
            epoch, position = divmod(index + attempt, len(self.photos))
            photo = self.photos[self._order(epoch)[position]]
            if photo not in self._unusable:
                try:
                    crop = self._crop(usable_photo(photo, self.size), index, attempt)
                    if not is_flat(crop):
                        return Batch(crop, torch.tensor([index]), [str(photo)], skipped)
                    continue  # a piece of sky; other crops of this photo may be usable
                except InputError as error:
                    self._unusable[photo] = str(error)
            skipped[str(photo)] = self._unusable[photo]
        reason = next(iter(skipped.values()), "all crops have a single color")
        raise InputError(f"none of the {len(self.photos)} photos can be used: {reason}")

    def _order(self, epoch: int) -> list[int]:
        # Not an lru_cache, which cannot be sent to spawned worker processes.
        if epoch != self._epoch:
            random = np.random.default_rng((self.seed, epoch))
            self._epoch, self._permutation = epoch, random.permutation(len(self.photos)).tolist()
        return self._permutation

    def _crop(self, image: Tensor, index: int, attempt: int) -> Tensor:
        random = np.random.default_rng((self.seed, 1, index, attempt))
        side = round(min(image.shape[-2:]) / random.uniform(1.0, LARGEST_ZOOM))
        y, x = (int(random.integers(0, length - side + 1)) for length in image.shape[-2:])
        crop = _square(image, y, x, side, self.size)
        return crop.flip(3) if random.random() < 0.5 else crop


class CenterCrops(IterableDataset[Batch]):
    """The central square of each photo, in order, without the photos that cannot be used."""

    def __init__(self, photos: Sequence[Photo], size: int) -> None:
        self.photos = photos
        self.size = size

    def __iter__(self) -> Iterator[Batch]:
        skipped: dict[str, str] = {}
        # Crops are yielded one behind, so that the last one can name the photos skipped after it.
        ready: Batch | None = None
        for index, photo in enumerate(self.photos):
            try:
                image = usable_photo(photo, self.size)
            except InputError as error:
                skipped[str(photo)] = str(error)
                continue
            if ready:
                yield ready
            h, w = image.shape[-2:]
            side = min(h, w)
            crop = _square(image, (h - side) // 2, (w - side) // 2, side, self.size)
            ready, skipped = Batch(crop, torch.tensor([index]), [str(photo)], skipped), {}
        if ready:
            yield ready._replace(skipped=ready.skipped | skipped)


def usable_photo(photo: Photo, size: int) -> Tensor:
    """Load a photo that crops of `size` pixels can be taken from; shape (1, 3, H, W).

    Raises:
        InputError: it cannot be read, has one color, or would be enlarged more than twofold.
    """
    image = photo.load(at_least=round(LARGEST_ZOOM * size))
    h, w = image.shape[-2:]
    if 2 * min(h, w) < size:
        raise InputError(f"{photo}: too small for crops of {size} px ({w}x{h})")
    if is_flat(image):
        raise InputError(f"{photo}: has a single color")
    return image


def _square(image: Tensor, y: int, x: int, side: int, size: int) -> Tensor:
    """A square region of an image (1, 3, H, W), resized to (1, 3, size, size)."""
    # Cropped first: only the visible region takes time and memory.
    return resize_to(image[..., y : y + side, x : x + side], (size, size))


class Photos(L.LightningDataModule):
    """Batches of crops from a collection of photos, and a few photos held out for validation.

    Args:
        photos: a folder, nested or flat, a list or a zip archive, see `find_photos`.
        size: side of the crops, pixels.
        validation: another such collection, or the fraction of `photos` to hold out, chosen by
            name; 0 holds out none.
        batch_size: number of crops per batch.
        workers: number of processes that decode photos.
        seed: of the crops and their order.

    Attributes:
        training: photos to train on.
        held_out: photos to validate on.
        sources: folder -> number of photos to train on.

    Raises:
        InputError: no such collection, no photos in it, or values out of range.
    """

    def __init__(
        self,
        photos: str,
        *,
        size: int = 288,
        validation: str | float = HELD_OUT,
        batch_size: int = 4,
        workers: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise InputError(f"`batch_size` must be positive, not {batch_size}")
        if not 0 <= workers <= _MAX_WORKERS:
            raise InputError(f"`workers` must be from 0 to {_MAX_WORKERS}, not {workers}")
        found = find_photos(photos)
        fraction = _fraction(validation)
        if fraction is None:
            self.training, self.held_out = found, find_photos(str(validation))
        else:
            self.held_out = [photo for photo in found if is_held_out(photo, fraction)]
            # Of a handful of photos, the names may hold out all.
            self.training = [p for p in found if not is_held_out(p, fraction)] or found
        self.sources = count_by_folder(self.training)
        self.size = size
        self.batch_size = batch_size
        self.workers = workers
        self.seed = seed

    def check(self) -> None:
        """Raise an InputError unless some photo can be used, before any worker starts."""
        RandomCrops(self.training, self.size, self.seed)[0]

    def setup(self, stage: str) -> None:
        """Warn of few photos: only now, when nothing else was found to be wrong."""
        if len(self.training) < FEW_PHOTOS:
            logger.warning(
                "few photos to train on (%d): with fewer than %d, a style suits others less well",
                len(self.training),
                FEW_PHOTOS,
            )

    def train_dataloader(self) -> DataLoader[Batch]:
        """An endless stream of `Batch` that starts at the current step of the training."""
        first, world = 0, 1
        if trainer := self.trainer:
            world = trainer.world_size
            batches = trainer.global_step * trainer.accumulate_grad_batches
            first = batches * self.batch_size * world + trainer.global_rank
        # PyTorch gives each worker one thread, so that decoding does not compete with training.
        return DataLoader(
            RandomCrops(self.training, self.size, self.seed),
            batch_size=self.batch_size,
            sampler=range(first, sys.maxsize, world),  # each process takes its share
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            collate_fn=collate,
        )

    def val_dataloader(self) -> DataLoader[Batch] | list[DataLoader[Batch]]:
        """The first held-out photos as `Batch`, all of them in every process; or nothing."""
        if not self.held_out:
            return []
        workers = min(self.workers, 1)  # each worker would take all photos
        return DataLoader(
            CenterCrops(self.held_out[:_MAX_VALIDATED], self.size),
            batch_size=self.batch_size,
            num_workers=workers,
            persistent_workers=workers > 0,
            collate_fn=collate,
        )

    def digest(self) -> str:
        """Short digest of the names of the training photos, wherever they are stored."""
        names = "\0".join(photo.name for photo in self.training)
        return hashlib.sha256(names.encode(errors="surrogateescape")).hexdigest()[:16]


def _fraction(validation: str | float) -> float | None:
    """The fraction of photos to hold out; None if `validation` names a collection.

    Raises:
        InputError: a number out of range.
    """
    try:
        fraction = float(validation)
    except ValueError:
        return None
    if not 0 <= fraction <= 0.5:
        raise InputError(
            f"the fraction of photos to hold out must be from 0 to 0.5, not {validation}"
        )
    return fraction
