"""Collections of photos: a folder, a list or a zip archive of them, and which are held out."""

import lzma
import os
import zipfile
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePath, PurePosixPath

from torch import Tensor

from nst_rt.errors import InputError
from nst_rt.files import check_input, shown_source
from nst_rt.images import IMAGE_SUFFIXES, load_image

HELD_OUT = 0.05
# What damaged, encrypted (RuntimeError) and unknown (NotImplementedError) archives raise.
_UNREADABLE = (
    OSError,
    EOFError,
    KeyError,
    ValueError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)


@dataclass(frozen=True)
class Photo:
    """A photo of a collection: a file, or a member of a zip archive.

    Attributes:
        path: of the file or of the archive.
        member: the photo's name in the archive; empty for a file.
    """

    path: Path
    member: str = ""

    def __str__(self) -> str:
        return f"{self.path}:{self.member}" if self.member else str(self.path)

    @property
    def name(self) -> str:
        """The file name, without folders."""
        return PurePosixPath(self.member).name if self.member else self.path.name

    @property
    def place(self) -> PurePath:
        """Where it lies, absolute: in the archive, or in the file system."""
        if self.member:
            return PurePosixPath("/" + self.member.lstrip("/"))
        return Path(os.path.normpath(self.path.absolute()))

    def load(self, *, size: int | None = None, at_least: int | None = None) -> Tensor:
        """Read it, as `load_image` does: shape (1, 3, H, W), RGB in [0, 1].

        Raises:
            InputError: not an image, a damaged one, or one that is no longer there.
        """
        return load_image(str(self), size=size, content=self.read_bytes(), at_least=at_least)

    def read_bytes(self) -> bytes:
        """The encoded file.

        Raises:
            InputError: it cannot be read.
        """
        try:
            if not self.member:
                return check_input(self.path).read_bytes()
            return _archive(self.path).read(self.member)
        except _UNREADABLE as error:
            raise InputError(f"{self}: cannot be read ({error})") from error


def _archive(path: Path) -> zipfile.ZipFile:
    # By process: workers that are forked would move one another's place in a shared file. By time:
    # an archive that is written anew is another one.
    return _opened(path, os.getpid(), path.stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _opened(path: Path, process: int, modified: int) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)


def find_photos(source: Path | str) -> list[Photo]:
    """All photos of a collection, in name order: the same for a folder and for an archive of it.

    Args:
        source: a folder, nested or flat; a zip archive; or a text file with a path a line, relative
            to the file's folder (empty lines and those that start with # are skipped).

    Raises:
        InputError: no such file or folder, a damaged archive, no photos in it, or a list that names
            a missing file.
    """
    if not str(source):
        raise InputError("photos: give a folder, a list or a zip archive of photos")
    source = Path(source)
    if not source.exists():
        raise InputError(f"{shown_source(source)}: no such folder, list or zip archive")
    if source.is_dir():
        photos = [Photo(path) for path in source.rglob("*") if _is_image(path) and path.is_file()]
    elif zipfile.is_zipfile(source):
        photos = _packed(check_input(source))
    elif _is_image(source):
        raise InputError(f"{source}: one image; give a folder, a list or a zip archive of photos")
    else:
        photos = _listed(check_input(source))
    if not photos:
        raise InputError(f"{source}: no photos in it ({', '.join(IMAGE_SUFFIXES)})")
    return sorted(photos, key=lambda photo: (photo.path, PurePosixPath(photo.member)))


def is_collection(source: Path | str) -> bool:
    """Whether `source` is a folder, a zip archive or a list rather than one photo."""
    source = Path(source)
    return source.is_dir() or source.suffix.lower() == ".txt" or zipfile.is_zipfile(source)


def _is_image(path: Path | PurePosixPath) -> bool:
    # macOS puts a ._NAME beside each file that it copies to other disks or archives.
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith("._")


def _packed(source: Path) -> list[Photo]:
    try:
        names = _archive(source).namelist()
    except _UNREADABLE as error:
        raise InputError(f"{source}: damaged zip archive ({error})") from error
    # An archive may hold several members of one name; the last is read.
    return [Photo(source, name) for name in set(names) if _is_image(PurePosixPath(name))]


def _listed(source: Path) -> list[Photo]:
    photos = []
    try:
        with source.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                if (name := line.strip()) and not name.startswith("#"):
                    photos.append(Photo(source.parent / name))
                    if not photos[-1].path.is_file():
                        raise InputError(f"{source}, line {number}: {photos[-1]}: no such file")
    except UnicodeDecodeError as error:
        with source.open("rb") as file:
            cut = file.read(2) == b"PK"
        raise InputError(
            f"{source}: an incomplete zip archive; download or make it again"
            if cut
            else f"{source}: neither a zip archive nor a list of photos"
        ) from error
    return photos


def is_held_out(photo: Photo, fraction: float = HELD_OUT) -> bool:
    """Whether a photo is kept out of training: by its file name alone, so that it always is.

    Args:
        photo: its name's CRC-32 decides.
        fraction: of all photos; taken as one in N, N a whole number. 0 holds out none.
    """
    # Names that are not UTF-8 have bytes that only this gives back.
    name = photo.name.encode(errors="surrogateescape")
    return fraction > 0 and zlib.crc32(name) % round(1 / fraction) == 0


def count_by_folder(photos: Sequence[Photo]) -> dict[str, int]:
    """Number of photos by the folder that they lie in, relative to what they have in common."""
    if not photos:
        return {}
    folders = [str(photo.place.parent) for photo in photos]
    common = Path(os.path.commonpath(folders))
    here = photos[0].path.stem if photos[0].member else common.name
    inner = (os.path.relpath(folder, common) for folder in folders)
    return dict(Counter(here if folder == "." else folder for folder in inner))
