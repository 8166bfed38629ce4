"""The photos to train on: a collection of them, as an endless stream of random crops.

Every crop is a function of (seed, index), so that a resumed run sees just what an undisturbed one
would have seen, whatever the number of workers.
"""

import hashlib
import itertools
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler

from nst_rt.errors import InputError
from nst_rt.images.collection import HELD_OUT, Photo, count_by_folder, find_photos, is_held_out
from nst_rt.images.io import resize_to

logger = logging.getLogger(__name__)

FEW_PHOTOS = 500
_MOST_VALIDATED = 32
_FLAT = 0.01
LARGEST_CROP = 1.3  # how much larger than a crop the photo is at most, once scaled


class Crop(NamedTuple):
    """A crop and what is known of it.

    Attributes:
        image: shape (3, S, S), RGB in [0, 1].
        position: in the stream.
        photo: what it was cut from.
        skipped: photos that could not be used in its place -> why.
    """

    image: Tensor
    position: int
    photo: str
    skipped: dict[str, str]


class Batch(NamedTuple):
    """Crops and what is known of them.

    Attributes:
        images: shape (N, 3, S, S), RGB in [0, 1].
        indices: position of each crop in the stream, shape (N,), int64.
        photos: what each was cut from.
        skipped: photos that could not be used, met while this batch was made -> why.
    """

    images: Tensor
    indices: Tensor
    photos: list[str]
    skipped: dict[str, str]


def collate(crops: Sequence[Crop]) -> Batch:
    """One batch of several crops."""
    return Batch(
        torch.stack([crop.image for crop in crops]),
        torch.tensor([crop.position for crop in crops]),
        [crop.photo for crop in crops],
        {photo: reason for crop in crops for photo, reason in crop.skipped.items()},
    )


class RandomCrops(Dataset[Crop]):
    """Square crops of photos at random scale and place, mirrored at random.

    Photos that cannot be read, or only blown up more than twofold, are left out: the next one
    takes the place.

    Args:
        photos: each is seen once before any is seen again.
        size: side of a crop in pixels.
        seed: of order, scale, place and mirroring.
    """

    def __init__(self, photos: Sequence[Photo], size: int, seed: int) -> None:
        self.photos = photos
        self.size = size
        self.seed = seed
        self._epoch = -1
        self._permutation: list[int] = []
        self._unusable: dict[Photo, str] = {}  # so that none is decoded a second time

    def __getitem__(self, index: int) -> Crop:
        """Crop number `index`, any number from 0 up.

        Raises:
            InputError: none of the photos can be used.
        """
        skipped: dict[str, str] = {}
        # The rest of this epoch and all of the next: every photo, in whatever order.
        for attempt in range(2 * len(self.photos)):
            epoch, position = divmod(index + attempt, len(self.photos))
            photo = self.photos[self._order(epoch)[position]]
            if photo not in self._unusable:
                try:
                    crop = self._crop(usable_photo(photo, self.size), index, attempt)
                    if not is_flat(crop[None]):
                        return Crop(crop, index, str(photo), skipped)
                    continue  # a piece of sky; other crops of this photo may do
                except InputError as error:
                    self._unusable[photo] = str(error)
            skipped[str(photo)] = self._unusable[photo]
        reason = next(iter(skipped.values()), "all crops are of one color")
        raise InputError(f"none of the {len(self.photos)} photos can be used: {reason}")

    def _order(self, epoch: int) -> list[int]:
        # Kept by hand: an lru_cache cannot be sent to worker processes that are spawned.
        if epoch != self._epoch:
            random = np.random.default_rng((self.seed, epoch))
            self._epoch, self._permutation = epoch, random.permutation(len(self.photos)).tolist()
        return self._permutation

    def _crop(self, image: Tensor, index: int, attempt: int) -> Tensor:
        random = np.random.default_rng((self.seed, 1, index, attempt))
        side = round(min(image.shape[-2:]) / random.uniform(1.0, LARGEST_CROP))
        y, x = (int(random.integers(0, length - side + 1)) for length in image.shape[-2:])
        crop = _square(image, y, x, side, self.size)
        return crop.flip(2) if random.random() < 0.5 else crop


class CenterCrops(IterableDataset[Crop]):
    """The central square of each photo, in order; those that cannot be used are left out.

    Args:
        photos: to crop.
        size: side of a crop in pixels.
    """

    def __init__(self, photos: Sequence[Photo], size: int) -> None:
        self.photos = photos
        self.size = size

    def __iter__(self) -> Iterator[Crop]:
        skipped: dict[str, str] = {}
        ready: Crop | None = None  # one behind, so that the last can tell what was skipped after it
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
            ready, skipped = Crop(crop, index, str(photo), skipped), {}
        if ready:
            yield ready._replace(skipped=ready.skipped | skipped)


def usable_photo(photo: Photo, size: int) -> Tensor:
    """The photo, shape (1, 3, H, W), if crops of `size` pixels can be taken from it.

    Raises:
        InputError: it cannot be read, shows nothing, or crops would be blown up more than twofold.
    """
    image = photo.load(at_least=round(LARGEST_CROP * size))
    h, w = image.shape[-2:]
    if 2 * min(h, w) < size:
        raise InputError(f"{photo}: too small for crops of {size} px ({w}x{h})")
    if is_flat(image):
        raise InputError(f"{photo}: of one color all over")
    return image


def is_flat(images: Tensor) -> Tensor:
    """Which of the images (N, 3, H, W) are of one color, shape (N,).

    Normalization divides by almost nothing there.
    """
    return images.std((2, 3)).amax(1) < _FLAT


def _square(image: Tensor, y: int, x: int, side: int, size: int) -> Tensor:
    """Part of an image (1, 3, H, W), resized to (3, size, size)."""
    # Cropped before it is resized: only what is shown takes time and memory.
    return resize_to(image[..., y : y + side, x : x + side], (size, size))[0]


class EndlessSampler(Sampler[int]):
    """Indices from `start` on without end, each process of a distributed run taking its share."""

    def __init__(self, start: int, rank: int = 0, world_size: int = 1) -> None:
        self.start = start
        self.rank = rank
        self.world_size = world_size

    def __iter__(self) -> Iterator[int]:
        return itertools.count(self.start + self.rank, self.world_size)


class Photos(L.LightningDataModule):
    """Batches of crops from a collection of photos, and a few photos held out to validate on.

    Args:
        photos: a folder, nested or flat, a list or a zip archive, see `find_photos`.
        size: side of the crops, pixels.
        validation: another such collection, or the fraction of `photos` to hold out, chosen by
            name; 0 holds out none.
        batch_size: crops in a batch.
        workers: processes that decode.
        seed: of everything random.

    Attributes:
        training: photos to train on.
        held_out: photos to validate on.
        sources: number of photos to train on by folder.

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
            raise InputError(f"the batch size must be positive, not {batch_size}")
        for label, value in {"number of workers": workers, "seed": seed}.items():
            if not 0 <= value < 2**32:
                raise InputError(f"the {label} must be 0 or more, and below 2^32, not {value}")
        found = find_photos(photos)
        fraction = _fraction(validation)
        if fraction is None:
            self.training, self.held_out = found, find_photos(str(validation))
        else:
            self.held_out = [photo for photo in found if is_held_out(photo, fraction)]
            # A handful of photos may all be held out by their names.
            self.training = [p for p in found if not is_held_out(p, fraction)] or found
        self.sources = count_by_folder(self.training)
        self.size = size
        self.batch_size = batch_size
        self.workers = workers
        self.seed = seed
        if len(self.training) < FEW_PHOTOS:
            logger.warning(
                "%s: only %d photos to train on; styles generalize better from at least %d",
                photos,
                len(self.training),
                FEW_PHOTOS,
            )

    def check(self) -> None:
        """Raise an InputError unless some photo can be used, before workers would."""
        RandomCrops(self.training, self.size, self.seed)[0]

    def train_dataloader(self) -> DataLoader[Crop]:
        """An endless stream of `Batch` that starts where the training stands."""
        trainer = self.trainer
        batches, rank, world = (
            (
                trainer.global_step * trainer.accumulate_grad_batches,
                trainer.global_rank,
                trainer.world_size,
            )
            if trainer
            else (0, 0, 1)
        )
        # PyTorch gives each worker one thread, so that decoding does not compete with training.
        return DataLoader(
            RandomCrops(self.training, self.size, self.seed),
            batch_size=self.batch_size,
            sampler=EndlessSampler(batches * self.batch_size * world, rank, world),
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            collate_fn=collate,
        )

    def val_dataloader(self) -> DataLoader[Crop] | list[DataLoader[Crop]]:
        """The first held-out photos as `Batch`, all of them in every process; or nothing."""
        if not self.held_out:
            return []
        workers = min(self.workers, 1)  # several would each take all photos
        return DataLoader(
            CenterCrops(self.held_out[:_MOST_VALIDATED], self.size),
            batch_size=self.batch_size,
            num_workers=workers,
            persistent_workers=workers > 0,
            collate_fn=collate,
        )

    def state_dict(self) -> dict[str, Any]:
        """What decides which crops come when, for checkpoints."""
        names = "\0".join(photo.name for photo in self.training)
        return {
            "photos": len(self.training),
            "digest": hashlib.sha256(names.encode(errors="surrogateescape")).hexdigest(),
            "batch_size": self.batch_size,
            "seed": self.seed,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """`check_resumed`; there is nothing to restore."""
        self.check_resumed(state_dict)

    def check_resumed(self, state: Mapping[str, Any]) -> None:
        """Check that a run can go on with these photos.

        Args:
            state: `state_dict` of the photos that it began with.

        Raises:
            InputError: they were others, or came in another order.
        """
        now = self.state_dict()
        for key in ("batch_size", "seed"):
            if state[key] != now[key]:
                raise InputError(
                    f"the run was begun with {key} = {state[key]}, not {now[key]}; give the same "
                    "to resume it"
                )
        if state["digest"] != now["digest"]:
            raise InputError(
                f"the run was begun with {state['photos']} photos, which are not these "
                f"{now['photos']}: some were added, removed or renamed; give the same to resume it"
            )


def _fraction(validation: str | float) -> float | None:
    """The fraction to hold out; None for the name of a collection.

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
