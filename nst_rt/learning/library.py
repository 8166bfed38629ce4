"""The styles that were learned on this machine, kept in the user's data folder."""

import errno
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from platformdirs import user_data_path

from nst_rt.errors import StyleTransferError
from nst_rt.learning.messages import Figures
from nst_rt.models.style_model import SUFFIX, StyleModel

logger = logging.getLogger(__name__)

LIMIT = 64 * 2**20  # bytes: more than 200 styles of the fast network
KEY = "key"  # of the training record: the `LearningRequest.key` that a style was learned for


@dataclass(frozen=True)
class LearnedStyle:
    """A style of the library.

    Attributes:
        file: its model file.
        model: the style model.
    """

    file: Path
    model: StyleModel

    @property
    def name(self) -> str:
        return self.model.style_names[0]

    @property
    def record(self) -> Mapping[str, Any]:
        """How it was learned, see `nst_rt.train.learning`."""
        return self.model.training

    @property
    def summary(self) -> str:
        """How it was learned, in a line."""
        return summary(self.model)


def summary(model: StyleModel) -> str:
    """How a learned style was learned, in a line; empty for a model that was not."""
    record = model.training
    try:
        recipe = record["recipe"]
        text = (
            f"{record['crops']} crops in {record['seconds']:.0f} s, from {record['start_from']}, "
            f"style size {recipe['style_size']}, weight {recipe['style_weight']:g}"
        )
        figures = record.get("figures")
        return text + (f"; {Figures(**figures)}" if figures else "")
    except (KeyError, TypeError, ValueError):
        return ""


class Library:
    """Learned styles by key, see `LearningRequest.key`; the least recently used are dropped.

    It never stops the work: where the folder cannot be written to, nothing is kept, with a warning,
    and a file that cannot be read counts as missing.

    Args:
        folder: by default `learned` in the folder that the environment variable NST_RT_DATA names,
            else in the user's data folder.
        limit: maximum size of all styles together, bytes.

    Attributes:
        folder, limit: as given.
        works: whether nothing failed to be kept so far.
    """

    def __init__(self, folder: Path | None = None, limit: int = LIMIT) -> None:
        chosen = os.environ.get("NST_RT_DATA")
        data = Path(chosen) if chosen else user_data_path("nst-rt")
        self.folder = folder or data / "learned"
        self.limit = limit
        self.works = True

    def find(self, key: str) -> StyleModel | None:
        """The style that was learned for a key, None if there is none."""
        file = self.file(key)
        if not file.is_file():
            return None
        model = self._read(file)
        if model is not None:
            with suppress(OSError):  # a folder that cannot be written to
                file.touch()  # the most recently used one now
        return model

    def check(self) -> None:
        """Warn if nothing can be kept, before the work."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not os.access(self.folder, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        except OSError as error:
            self._warn(error)

    def keep(self, key: str, model: StyleModel) -> Path | None:
        """Keep a style, instead of an earlier one of the key; its file, None if that failed."""
        file = self.file(key)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            model.save(file, overwrite=True)
        except (OSError, StyleTransferError) as error:
            self._warn(error)
            return None
        self._drop_oldest(file)
        self.works = True
        return file

    def _warn(self, error: Exception) -> None:
        if self.works:  # once, and not every ten seconds
            cause = getattr(error, "strerror", None) or error
            logger.warning("%s: a learned style cannot be kept there (%s)", self.folder, cause)
        self.works = False

    def __iter__(self) -> Iterator[LearnedStyle]:
        """All styles, the most recently used ones first."""
        for file in reversed([*self._files()]):
            if (model := self._read(file)) is not None:
                yield LearnedStyle(file, model)

    def file(self, key: str) -> Path:
        """The file of a key, which may not exist."""
        return self.folder / f"{key}{SUFFIX}"

    def _read(self, file: Path) -> StyleModel | None:
        try:
            return StyleModel.load(file)
        except (StyleTransferError, OSError) as error:  # damaged, or of another version
            logger.warning("a learned style cannot be read: %s", error)
            return None

    def _files(self) -> dict[Path, int]:
        """Files of all styles, the least recently used ones first, with their sizes."""
        found = {}
        # Hidden ones are being written.
        for file in self.folder.glob(f"[!.]*{SUFFIX}"):
            with suppress(OSError):  # removed just now
                found[file] = file.stat()
        files = sorted(found, key=lambda file: found[file].st_mtime_ns)
        return {file: found[file].st_size for file in files}

    def _drop_oldest(self, new: Path) -> None:
        files = self._files()
        excess = sum(files.values()) - self.limit
        for file, size in files.items():
            if excess <= 0:
                return
            if file != new:
                excess -= size
                with suppress(OSError):
                    file.unlink(missing_ok=True)
