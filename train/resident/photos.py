"""Photos that are decoded once and stay on the device, where random crops are cut from them."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import torch
from torch import Tensor

from nst_rt.errors import InputError
from nst_rt.images.collection import Photo
from nst_rt.images.io import resize_to
from nst_rt.train.data import LARGEST_CROP, is_flat, usable_photo

ROOM = 8 / 7  # short side of a photo over that of a crop: crops are enlarged as much as reduced


class ResidentPhotos:
    """Photos decoded once into the device's memory, and random crops of them, mirrored at random.

    Args:
        photos: to decode; those that cannot be used are left out.
        size: side of the crops, pixels.
        device: where they are kept and cut.
        seed: of the crops.

    Attributes:
        skipped: photos that cannot be used -> why.

    Raises:
        InputError: none of the photos can be used.
    """

    def __init__(
        self, photos: Sequence[Photo], size: int, *, device: torch.device, seed: int
    ) -> None:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            decoded = list(pool.map(partial(_decoded, size=size), photos))
        pictures = [each for each in decoded if isinstance(each, Tensor)]
        self.skipped = {
            str(photo): str(error)
            for photo, error in zip(photos, decoded, strict=True)
            if isinstance(error, InputError)
        }
        if not pictures:
            reason = next(iter(self.skipped.values()), "there are none")
            raise InputError(f"none of the {len(photos)} photos can be used: {reason}")
        # One after another, since they differ in shape: (pixels of all, 3).
        self._pixels = torch.cat([each.flatten(0, 1) for each in pictures]).to(device)
        shapes = torch.tensor([each.shape[:2] for each in pictures], device=device)
        areas = shapes.prod(1)
        self._starts = areas.cumsum(0) - areas
        self._shapes = shapes
        self._size = size
        self._generator = torch.Generator(device).manual_seed(seed)

    def crops(self, count: int) -> Tensor:
        """Crops of photos at random scale and place, shape (count, 3, S, S), RGB in [0, 1]."""
        device = self._pixels.device
        which = torch.randint(len(self._starts), (count,), generator=self._generator, device=device)
        zoom, *place, mirrored = torch.rand(4, count, 1, generator=self._generator, device=device)
        lengths = self._shapes[which]
        side = lengths.amin(1, keepdim=True) / (1 + (LARGEST_CROP - 1) * zoom)
        steps = (torch.arange(self._size, device=device) + 0.5) / self._size
        # Where the crops' rows and columns lie in the photos, shape (count, S).
        rows, columns = (
            (at * (length - side) + steps * side - 0.5).clamp(min=0).minimum(length - 1)
            for at, length in zip(place, lengths.t()[..., None], strict=True)
        )
        columns = columns.where(mirrored < 0.5, columns.flip(1))
        crops = self._between(self._starts[which], lengths, rows, columns).permute(0, 3, 1, 2)
        # What is of one color gives way to the crop beside it.
        return crops.where(~is_flat(crops)[:, None, None, None], crops.roll(1, 0))

    def _between(self, starts: Tensor, lengths: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Bilinear values between the pixels, shape (count, S, S, 3), in [0, 1]."""
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


def _decoded(photo: Photo, *, size: int) -> Tensor | InputError:
    """A photo as (H, W, 3), uint8, no larger than crops of `size` pixels need; or what is wrong."""
    try:
        image = usable_photo(photo, size)
    except InputError as error:
        return error
    height, width = image.shape[-2:]
    scale = ROOM * size / min(height, width)
    if scale < 1:
        image = resize_to(image, (round(height * scale), round(width * scale)))
    return (image[0] * 255).round().byte().permute(1, 2, 0).contiguous()
