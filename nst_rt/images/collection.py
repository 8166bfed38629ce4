"""Collections of photos: a folder, a list or a zip archive; and which of them are held out."""

import logging
import lzma
import os
import time
import zipfile
import zlib
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePath, PurePosixPath

from torch import Tensor

from nst_rt.errors import InputError
from nst_rt.files import check_input, shown_source
from nst_rt.images.io import IMAGE_SUFFIXES, load_image
from nst_rt.images.pillow import SIGNATURE_SIZE, is_photo

logger = logging.getLogger(__name__)

HELD_OUT = 0.05  # fraction of the photos that training leaves out
_UTF_8 = 0x800  # flag of archive members whose names are UTF-8
# Images to their owners, which nst-rt does not read, or only with a package that is not installed.
_CAMERA_SUFFIXES = {".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".raf", ".rw2"}
_UNREAD_SUFFIXES = _CAMERA_SUFFIXES | {
    *(".avif", ".dds", ".exr", ".hdr", ".heic", ".heif", ".jxl", ".psd", ".svg", ".tga", ".xcf")
}
# Raised by archives that are damaged, encrypted (RuntimeError) or of an unknown compression
# (NotImplementedError).
_UNREADABLE = (
    MemoryError,
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
        path: path of the file or of the archive.
        member: name in the archive; empty for a file.
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
        """Absolute path, in the archive or in the file system."""
        if self.member:
            return PurePosixPath("/" + self.member.lstrip("/"))
        return Path(os.path.normpath(self.path.absolute()))

    def is_newer_than(self, output: Path) -> bool:
        """Whether the file was written after an output, by its time, which is not in the future.

        Of a member of an archive this is not known: False.
        """
        if self.member:
            return False
        try:
            written = self.path.stat().st_mtime_ns
            return output.stat().st_mtime_ns < written <= time.time_ns()
        except OSError:  # one of them is not there
            return False

    def load(self, *, size: int | None = None, at_least: int | None = None) -> Tensor:
        """The photo as `load_image` reads it: shape (1, 3, H, W), RGB in [0, 1].

        Raises:
            InputError: not an image, a damaged image, or a file that no longer exists.
        """
        return load_image(str(self), size=size, content=self.read_bytes(), at_least=at_least)

    def read_bytes(self) -> bytes:
        """Bytes of the encoded image.

        Raises:
            InputError: the file or archive cannot be read.
        """
        try:
            if not self.member:
                return check_input(self.path).read_bytes()
            return _archive(self.path).read(self.member)
        except _UNREADABLE as error:
            raise InputError(f"{self}: cannot be read ({error})") from error


def _archive(path: Path) -> zipfile.ZipFile:
    # Cached by process, since forked workers would share the position in one open file; and by
    # time, since the archive may be rewritten.
    return _opened(path, os.getpid(), path.stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _opened(path: Path, process: int, modified: int) -> zipfile.ZipFile:
    archive = zipfile.ZipFile(path)
    names = [
        member.orig_filename.encode("cp437")
        for member in archive.infolist()
        if not (member.flag_bits & _UTF_8 or member.orig_filename.isascii())
    ]
    if not names:
        return archive
    archive.close()
    return zipfile.ZipFile(path, metadata_encoding=_encoding_of(names))


def _encoding_of(names: Sequence[bytes]) -> str:
    """Encoding of non-ASCII names in an archive that does not declare it: UTF-8, GBK or CP 437.

    Nearly any bytes decode as GBK. Its common characters, those of GB 2312, are pairs of bytes
    from 0xA1 up; accented letters of CP 437 are single bytes, mostly below 0xA1.
    """
    if all(_decodes(name, "utf-8") for name in names):
        return "utf-8"
    has_common = any(_decodes(name, "gb2312") for name in names)
    return "gbk" if has_common and all(_decodes(name, "gbk") for name in names) else "cp437"


def _decodes(name: bytes, encoding: str) -> bool:
    try:
        name.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def find_photos(source: Path | str) -> list[Photo]:
    """All photos of a collection in name order, which is the same for a folder and its archive.

    A file is a photo by its suffix or, with any other suffix, by its content. Links to folders are
    followed; no folder is searched twice.

    Args:
        source: a folder (searched recursively); a zip archive; or a text file with one path per
            line, relative to the folder of the text file (empty lines and lines that start with #
            are skipped).

    Raises:
        InputError: no such file or folder, a damaged archive, a collection without photos, or a
            list that names a missing file.
    """
    if not str(source):
        raise InputError("no name given: give a folder, a list or a zip archive of photos")
    source = Path(source)
    if not source.exists():
        raise InputError(f"{shown_source(source)}: no such folder, list or zip archive")
    if source.is_dir():
        photos = list(photos_below(source))
    elif zipfile.is_zipfile(source):
        photos = _packed(check_input(source))
    elif _holds_photo(source):
        raise InputError(f"{source}: is one image; give a folder, a list or a zip archive")
    else:
        photos = _listed(check_input(source))
    if not photos:
        raise InputError(
            f"{source}: contains no images; give a folder, list or zip archive of photos"
        )
    return sorted(photos, key=lambda photo: (photo.path, PurePosixPath(photo.member)))


def photos_below(folder: Path) -> Iterator[Photo]:
    """The photos of a folder as they are found, in any order: there may be millions."""
    unread: list[str] = []  # the first names
    count = 0
    for path in _files(folder):
        if _holds_photo(path):
            yield Photo(path)
        elif path.suffix.lower() in _UNREAD_SUFFIXES:  # of other files nobody expects to be read
            count += 1
            unread = sorted([*unread, path.name])[:3]
    if count:
        shown = ", ".join(unread) + (", ..." if count > 3 else "")
        logger.warning(
            "%s: passed over %d in formats that are not read here (%s)", folder, count, shown
        )


def is_collection(source: Path | str) -> bool:
    """Whether `source` is a folder, a zip archive or a list rather than one photo."""
    source = Path(source)
    if source.is_dir() or source.suffix.lower() == ".txt":
        return True
    return source.is_file() and zipfile.is_zipfile(source)  # devices may never end


def _files(folder: Path) -> Iterator[Path]:
    """All files below a folder; files behind links to folders come last, by the link's name."""
    searched: set[tuple[int, int]] = set()  # ends loops of links
    waiting = deque([folder])
    while waiting:
        place = waiting.popleft()
        try:
            status = place.stat()
            entries = list(place.iterdir())
            folders = [entry for entry in entries if entry.is_dir()]
        except OSError as error:
            logger.warning("%s: skipped, the folder cannot be read (%s)", place, error.strerror)
            continue
        if (status.st_dev, status.st_ino) in searched:
            continue
        searched.add((status.st_dev, status.st_ino))
        waiting.extendleft(entry for entry in folders if not entry.is_symlink())
        waiting.extend(entry for entry in folders if entry.is_symlink())
        yield from set(entries).difference(folders)


def _holds_photo(path: Path) -> bool:
    """Whether a file is a photo by its name or its content; a broken link counts by its name."""
    if path.exists() and not path.is_file():  # a pipe would block forever
        return False
    if _is_named_photo(path):
        return True
    try:
        with path.open("rb") as file:
            return not _is_foreign(path) and is_photo(file.read(SIGNATURE_SIZE))
    except OSError:
        return False


def _is_named_photo(path: PurePath) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not _is_foreign(path)


def _is_foreign(path: PurePath) -> bool:
    # macOS writes a ._NAME beside each file that it copies to other disks or archives.
    return path.name.startswith("._")


def _packed(source: Path) -> list[Photo]:
    try:
        archive = _archive(source)
        names = set(archive.namelist())
    except _UNREADABLE as error:
        raise InputError(f"{source}: damaged zip archive ({error})") from error
    # Several members may share a name; zipfile reads the last.
    return [Photo(source, name) for name in names if _packs_photo(archive, name)]


def _packs_photo(archive: zipfile.ZipFile, name: str) -> bool:
    path = PurePosixPath(name)
    if name.endswith("/") or _is_foreign(path) or _is_named_photo(path):
        return _is_named_photo(path)
    try:
        with archive.open(name) as member:
            return is_photo(member.read(SIGNATURE_SIZE))
    except _UNREADABLE:
        return False


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
            f"{source}: incomplete zip archive; download or create it again"
            if cut
            else f"{source}: neither a zip archive nor a text file with one path per line"
        ) from error
    return photos


def is_held_out(photo: Photo, fraction: float = HELD_OUT) -> bool:
    """Whether a photo is held out of training: decided by the CRC-32 of its file name alone.

    Args:
        photo: a photo of any collection.
        fraction: fraction of the photos to hold out, rounded to 1 / N with a whole N; 0 for none.
    """
    # surrogateescape gives back the bytes of names that are not UTF-8.
    name = photo.name.encode(errors="surrogateescape")
    return fraction > 0 and zlib.crc32(name) % round(1 / fraction) == 0


def count_by_folder(photos: Sequence[Photo]) -> dict[str, int]:
    """Number of photos in each folder; folders are relative to the one that all have in common."""
    if not photos:
        return {}
    folders = [str(photo.place.parent) for photo in photos]
    common = Path(os.path.commonpath(folders))
    here = photos[0].path.stem if photos[0].member else common.name
    inner = (os.path.relpath(folder, common) for folder in folders)
    return dict(Counter(here if folder == "." else folder for folder in inner))
