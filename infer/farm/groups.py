"""The photos of a farm in groups that Ray holds, so that millions of names fit into memory."""

import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nst_rt.errors import InputError, OutputExistsError
from nst_rt.images.collection import Photo, find_photos, photos_below
from nst_rt.infer.photos import source_outputs

_LARGEST = 64  # photos in a group: what a node that dies has to do again


class GroupedPhotos:
    """The photos to stylize, in groups that Ray holds.

    Args:
        workers: number of workers that share them.
        skip_existing, refuse_existing: what to do with photos whose outputs exist.
        updates: whether an output that is older than its photo counts as missing.

    Attributes:
        groups: references to tables with the columns `index`, `photo`, `member` and `output`.
        begins: index of the first photo of each group.
        count: number of photos in them.
        kept: number of outputs that exist and are kept.
        existing: number of outputs that exist.
    """

    def __init__(
        self, workers: int, *, skip_existing: bool, refuse_existing: bool, updates: bool = False
    ) -> None:
        self._workers, self._updates = workers, updates
        self._skip, self._refuse = skip_existing, refuse_existing
        self.groups: list[Any] = []
        self.begins = array("q")
        self.count = self.kept = self.existing = 0
        self._rows: list[tuple[int, bytes, bytes, bytes]] = []

    def collect(self, sources: Sequence[Path], folder: Path, label: str) -> Photo:
        """Find all photos; of each name this process keeps a hash of eight bytes.

        Returns:
            One of the photos.

        Raises:
            InputError: no photos, or two with one output.
            OutputExistsError: an output exists.
        """
        hashes = array("q")
        first = None
        for output, photo in _pairs(sources, folder, label):
            first = first or photo
            hashes.append(hash(str(output)))
            if os.path.lexists(output):
                self.existing += 1
                if self._skip and not (self._updates and photo.is_newer_than(output)):
                    self.kept += 1
                    continue
                if self._refuse:
                    raise OutputExistsError(
                        f"{output}: exists already; `overwrite` replaces, `resume` keeps"
                    )
            names = (os.fsencode(name) for name in (photo.path, photo.member, output))
            self._rows.append((self.count, *names))  # type: ignore[arg-type]
            self.count += 1
            # Few photos are divided evenly; of many, large groups cost less.
            if len(self._rows) >= min(max(self.count // (8 * self._workers), 1), _LARGEST):
                self._close()
        self._close()
        if first is None:
            raise InputError("no photos to stylize")
        ordered = np.sort(np.frombuffer(hashes, np.int64))
        if twice := ordered[1:][ordered[1:] == ordered[:-1]].tolist():
            _refuse_twice(_pairs(sources, folder, label), twice[0])
        return first

    def _close(self) -> None:
        import ray

        if self._rows:
            self.begins.append(self._rows[0][0])
            self.groups.append(ray.put(_table(self._rows)))
            self._rows = []

    def alone(self, indices: Iterable[int]) -> list[Any]:
        """Photos as groups of one, and their names."""
        import ray

        groups = []
        for index in indices:
            group = int(np.searchsorted(np.frombuffer(self.begins, np.int64), index, "right")) - 1
            table = ray.get(self.groups[group])
            groups.append(ray.put(table.slice(index - self.begins[group], 1).combine_chunks()))
        return groups


def _pairs(sources: Sequence[Path], folder: Path, label: str) -> Iterator[tuple[Path, Photo]]:
    for source in sources:
        find = photos_below if source.is_dir() else find_photos
        yield from source_outputs(source, folder, label, photos_of=find)


def _refuse_twice(pairs: Iterable[tuple[Path, Photo]], hashed: int) -> None:
    """Raise an InputError if two photos with that hash of the output have the same output."""
    seen: dict[Path, Photo] = {}
    for output, photo in pairs:
        if hash(str(output)) == hashed:
            if output in seen:
                raise InputError(f"{photo} and {seen[output]} would both become {output}")
            seen[output] = photo


def _table(rows: Sequence[tuple[int, bytes, bytes, bytes]]) -> Any:
    import pyarrow as pa

    index, photo, member, output = map(list, zip(*rows, strict=True))
    return pa.table({"index": index, "photo": photo, "member": member, "output": output})
