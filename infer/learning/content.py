"""The frames that a style is learned on: those that it is for, and photos beside them."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path

import numpy as np

from nst_rt.errors import InputError
from nst_rt.images.collection import Photo, find_photos, is_collection
from nst_rt.images.convert import tensor_to_frame
from nst_rt.images.io import Frame
from nst_rt.infer.learning.process import LONG_SIDE
from nst_rt.infer.packaged import packaged_photos

MOST = 96  # images of a folder, frames of a video
FEW = 8  # images; with fewer, a network would learn them by heart


def photo_frames(photos: Sequence[Photo], count: int = MOST) -> Iterator[Frame]:
    """Some of the photos, all over their order; those that cannot be read are left out."""
    order = np.random.default_rng(0).permutation(len(photos))
    found = 0
    for place in order:
        if found == count:
            return
        try:
            image = photos[place].load(at_least=LONG_SIDE // 2)
        except InputError:
            continue
        found += 1
        yield tensor_to_frame(image)


def frames_of_photos(sources: Iterable[Path | str]) -> Iterator[Frame]:
    """Frames of photos, folders, archives and lists."""
    photos: list[Photo] = []
    for source in map(Path, sources):
        photos += find_photos(source) if is_collection(source) else [Photo(source)]
    return photo_frames(photos)


def with_photos(frames: Iterable[Frame], photos: Path | str | None) -> Iterator[Frame]:
    """Frames, and photos beside them: those that were given, or, for a few frames, packaged ones.

    Args:
        frames: what the style is for.
        photos: a collection, see `find_photos`.

    Raises:
        InputError: no such collection.
    """
    if photos is not None:
        return chain(frames, other_photos(photos))
    return _with_packaged(frames)


def _with_packaged(frames: Iterable[Frame]) -> Iterator[Frame]:
    count = 0
    for frame in frames:
        count += 1
        yield frame
    if count < FEW:
        yield from other_photos(None)


def other_photos(photos: Path | str | None) -> Iterator[Frame]:
    """The photos of a collection, see `find_photos`; without one, packaged ones if there are any.

    Raises:
        InputError: no such collection.
    """
    if photos is not None:
        return photo_frames(find_photos(photos))
    with suppress(InputError):  # not installed: what the style is for has to do
        return photo_frames([Photo(file) for file in packaged_photos()])
    return iter(())
