"""Photos that are decoded once and kept on the device, where random crops are cut from them."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import torch
from torch import Tensor

from nst_rt.errors import InputError
from nst_rt.images.collection import Photo
from nst_rt.images.color import is_flat
from nst_rt.images.convert import resize_to
from nst_rt.train.data import LARGEST_ZOOM, usable_photo

MARGIN = 8 / 7  # ratio of a photo's short side to a crop's: as many crops are enlarged as reduced


class ResidentPhotos:
    """Photos decoded once into the device's memory, and random crops of them, mirrored at random.

    Args:
        photos: photos to decode; those that cannot be used are left out.
        size: side of the crops, pixels.
        device: device that keeps the photos.
        seed: of the crops.

    Attributes:
        skipped: photo that cannot be used -> reason.

    Raises:
        InputError: none of the photos can be used.
    """

    def __init__(
        self, photos: Sequence[Photo], size: int, *, device: torch.device, seed: int
    ) -> None:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            decoded = list(pool.map(partial(_decoded, size=size), photos))
        images = [each for each in decoded if isinstance(each, Tensor)]
        self.skipped = {
            str(photo): str(error)
            for photo, error in zip(photos, decoded, strict=True)
            if isinstance(error, InputError)
        }
        if not images:
            reason = next(iter(self.skipped.values()), "there are none")
            raise InputError(f"none of the {len(photos)} photos can be used: {reason}")
        # Concatenated, since shapes differ: (pixels of all photos, 3).
        self._pixels = torch.cat([each.flatten(0, 1) for each in images]).to(device)
        shapes = torch.tensor([each.shape[:2] for each in images], device=device)
        areas = shapes.prod(1)
        self._starts = areas.cumsum(0) - areas
        self._shapes = shapes
        self._size = size
        self._generator = torch.Generator(device).manual_seed(seed)

    def crops(self, count: int) -> Tensor:
        """Crops at random scale and position, shape (count, 3, S, S), RGB in [0, 1]."""
        device = self._pixels.device
        which = torch.randint(len(self._starts), (count,), generator=self._generator, device=device)
        zoom, *place, mirrored = torch.rand(4, count, 1, generator=self._generator, device=device)
        lengths = self._shapes[which]
        side = lengths.amin(1, keepdim=True) / (1 + (LARGEST_ZOOM - 1) * zoom)
        steps = (torch.arange(self._size, device=device) + 0.5) / self._size
        # Positions of the crops' rows and columns in the photos, shape (count, S).
        rows, columns = (
            (at * (length - side) + steps * side - 0.5).clamp(min=0).minimum(length - 1)
            for at, length in zip(place, lengths.t()[..., None], strict=True)
        )
        columns = columns.where(mirrored < 0.5, columns.flip(1))
        crops = self._between(self._starts[which], lengths, rows, columns).permute(0, 3, 1, 2)
        # A crop of a single color is replaced by its neighbor in the batch.
        return crops.where(~is_flat(crops)[:, None, None, None], crops.roll(1, 0))

    def _between(self, starts: Tensor, lengths: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Pixels by bilinear interpolation, shape (count, S, S, 3), in [0, 1]."""
        (top, left), (bottom, right) = (
            (rows.long(), columns.long()),
            (
                (x.long() + 1).minimum(length - 1)
                for x, length in zip((rows, columns), lengths.t()[..., None], strict=True)
            ),
        )
        width = lengths[:, 1, None, None]

        def at(y: Tensor, x: Tensor) -> Tensor:
            where = starts[:, None, None] + y[:, :, None] * width + x[:, None, :]
            return self._pixels[where].float()

        across, down = (columns - left)[:, None, :, None], (rows - top)[:, :, None, None]
        above = at(top, left).lerp(at(top, right), across)
        below = at(bottom, left).lerp(at(bottom, right), across)
        return above.lerp(below, down) / 255


def reduced_photo(photo: Photo, size: int) -> Tensor:
    """A photo no larger than crops of `size` pixels need, shape (1, 3, H, W).

    Raises:
        InputError: it cannot be used, see `usable_photo`.
    """
    image = usable_photo(photo, size)
    height, width = image.shape[-2:]
    scale = MARGIN * size / min(height, width)
    if scale >= 1:
        return image
    return resize_to(image, (round(height * scale), round(width * scale)))


def _decoded(photo: Photo, *, size: int) -> Tensor | InputError:
    """A photo as (H, W, 3), uint8; or its error."""
    try:
        image = reduced_photo(photo, size)
    except InputError as error:
        return error
    return (image[0] * 255).round().byte().permute(1, 2, 0).contiguous()
