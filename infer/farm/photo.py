"""What a worker of the farm does with photos: it stylizes a group of them, each for itself."""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nst_rt.errors import InputError, StyleTransferError
from nst_rt.files import check_not_input, is_disk_full
from nst_rt.images.collection import Photo
from nst_rt.infer.farm.cluster import one_line
from nst_rt.infer.farm.style import loaded
from nst_rt.infer.photos import stylize_photo

if TYPE_CHECKING:
    import pyarrow as pa

DONE, FAILED, FULL = "done", "failed", "full"  # status of a photo; FULL: the disk is full


class PhotoWorker:
    """Loads the style once, then stylizes groups of photos.

    Args:
        stylizer: see `SentStyle`.
        size, max_pixels, overwrite: see `stylize_images`.
    """

    def __init__(
        self, stylizer: tuple[str, Any], size: int | None, max_pixels: int | None, overwrite: bool
    ) -> None:
        self._frame_stylizer = loaded(stylizer)
        self._size, self._max_pixels, self._overwrite = size, max_pixels, overwrite

    def __call__(self, group: "pa.Table") -> "pa.Table":
        """Stylize a group.

        Args:
            group: columns `index`, `photo`, `member` and `output`, names as bytes.

        Returns:
            Columns `index`, `name`, `status` and `error`.
        """
        import pyarrow as pa

        rows = []
        for row in group.to_pylist():
            photo = photo_of(row)
            status, error = self._stylize(photo, Path(os.fsdecode(row["output"])))
            rows.append((row["index"], printable(str(photo)), status, printable(error)))
            if status == FULL:  # the others would fail, too
                break
        columns = ("index", "name", "status", "error")
        return pa.table(dict(zip(columns, map(list, zip(*rows, strict=True)), strict=True)))

    def _stylize(self, photo: Photo, output: Path) -> tuple[str, str]:
        """Status and error of a photo."""
        # Without `overwrite`, photos are given out only if their output is missing or older: this
        # one was made by a node that died before it could report it.
        is_made = os.path.lexists(output) and not photo.is_newer_than(output)
        if is_made and not self._overwrite:
            return DONE, ""
        try:
            check_not_input([output], [photo.path])
            output.parent.mkdir(parents=True, exist_ok=True)
            stylizer, size, most = self._frame_stylizer, self._size, self._max_pixels
            stylize_photo(photo, output, stylizer, size, most, overwrite=True)
        except StyleTransferError as error:
            return FAILED, str(error)
        except MemoryError:
            return FAILED, f"{photo}: too large for the memory"
        except OSError as error:
            file, cause = error.filename or "its output", error.strerror or error
            status = FULL if is_disk_full(error) else FAILED
            return status, f"{photo}: {file} cannot be written ({cause})"
        except Exception as error:  # one of millions must not end the work
            return FAILED, f"{photo}: {type(error).__name__}: {one_line(error)}"
        return DONE, ""


def photo_of(row: Mapping[str, Any]) -> Photo:
    """The photo of a row of a group."""
    return Photo(Path(os.fsdecode(row["photo"])), os.fsdecode(row["member"]))


def printable(text: str) -> str:
    """The text with escapes for bytes that are not UTF-8, as names of files may have."""
    return text.encode(errors="backslashreplace").decode()


def check_folders(probe: Path, text: str, photo: Path) -> None:
    """Check on a node that it shares the output folder and sees the photos.

    Args:
        probe: file in the output folder that another machine has written.
        text: its content.
        photo: file of one of the photos, or their archive.

    Raises:
        InputError: a folder is not shared, or cannot be written.
    """
    try:
        same = probe.read_text(encoding="utf-8") == text
    except OSError:
        same = False
    if not same:
        raise InputError(
            f"{probe.parent}: not the same folder there; the outputs need a folder that all nodes "
            "share, at the same path"
        )
    own = probe.with_name(f"{probe.name}.{os.getpid()}")
    try:
        own.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{probe.parent}: cannot be written there ({error.strerror})") from error
    finally:
        with suppress(OSError):
            own.unlink()
    if not os.path.lexists(photo):
        raise InputError(f"{photo}: not there; all nodes need the photos, at the same path")
