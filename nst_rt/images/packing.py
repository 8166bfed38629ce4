"""Photos packed small: scaled down and written anew once, so that training reads them faster.

Their names stay, suffixes included, since names decide which photos are held out.
"""

import json
import os
import shutil
import uuid
import zipfile
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePath, PurePosixPath

import torch
from PIL import Image

from nst_rt.errors import InputError, OutputExistsError
from nst_rt.files import atomic_output, check_output, is_disk_full
from nst_rt.images.collection import Photo, find_photos, is_held_out
from nst_rt.images.io import IMAGE_SUFFIXES, resize_to, tensor_to_frame, writable_image

_Write = Callable[[str, bytes], object]

_MOST_WORKERS = 8
# Lies in a packed folder and tells what is in it, so that nothing else is ever deleted with it.
_RECORD = ".nst-rt-photos.json"


@dataclass(frozen=True)
class Packed:
    """What was packed.

    Attributes:
        output: the folder or zip archive.
        count: photos in it.
        skipped: photos that could not be used -> why.
        bytes: size of all photos in it together.
    """

    output: Path
    count: int
    skipped: dict[str, str]
    bytes: int


def pack_photos(
    source: Path | str,
    output: Path | str,
    *,
    short_side: int = 288,
    quality: int = 92,
    held_out: bool = True,
    overwrite: bool = False,
    workers: int | None = None,
    on_photo: Callable[[int, int], None] | None = None,
) -> Packed:
    """Copy a collection of photos, those that are larger scaled down; all upright and in sRGB.

    Names and sub-folders stay. Photos that are damaged, or whose short side is less than half of
    `short_side`, are left out. The copy appears when it is complete.

    Args:
        source: a folder, a list or a zip archive, see `find_photos`.
        output: a folder, or a zip archive where it ends in `.zip`.
        short_side: of larger photos, in pixels.
        quality: of JPEG and WebP, from 1 to 100.
        held_out: pack those photos as well that a training leaves out by their names.
        overwrite: replace an existing archive, or a folder that was packed and is as it was.
        workers: threads that decode; by default one for each processor, at most 8.
        on_photo: called after each photo with how many are done, and of how many.

    Returns:
        What was packed, and what could not be.

    Raises:
        InputError: a source, output or number that cannot be used, or no photo that can.
        OutputExistsError: the output exists and may not be replaced.
    """
    workers = min(os.cpu_count() or 1, _MOST_WORKERS) if workers is None else workers
    for label, value in {"short side": short_side, "number of workers": workers}.items():
        if value < 1:
            raise InputError(f"the {label} must be positive, not {value}")
    if not 1 <= quality <= 100:
        raise InputError(f"the quality must be from 1 to 100, not {quality}")
    source, output = Path(source), Path(output)
    photos = [p for p in find_photos(source) if held_out or not is_held_out(p)]
    if not photos:
        raise InputError(f"{source}: all of its photos are held out of training")
    target = _check_target(output, source, photos, overwrite=overwrite)
    named, skipped = _by_name(source, photos)
    count = size = 0
    opened = _new_archive if _is_archive(output) else _new_folder
    with (
        opened(target) as write,
        closing(_encoding(named, short_side, quality, workers)) as encoding,
    ):
        for done, (name, content) in enumerate(encoding, 1):
            try:
                write(name, content.result())
                count, size = count + 1, size + len(content.result())
            except InputError as error:
                skipped[str(named[name])] = str(error)
            if on_photo:
                on_photo(done, len(named))
        if not count:
            reason = next(iter(skipped.values()))
            raise InputError(f"{source}: none of the photos can be used: {reason}")
    return Packed(output, count, skipped, size)


def _is_archive(path: Path) -> bool:
    return path.suffix.lower() == ".zip"


def _check_target(output: Path, source: Path, photos: Sequence[Photo], *, overwrite: bool) -> Path:
    """The output, links followed, if it may be written.

    Raises:
        InputError, OutputExistsError: as for `pack_photos`.
    """
    target, origin = output.resolve(), source.resolve()
    holds = target.is_dir() and any(p.path.resolve().is_relative_to(target) for p in photos)
    if holds or origin.is_relative_to(target) or target.is_relative_to(origin):
        raise InputError(f"{output}: must lie apart from the photos to pack, and not hold them")
    if _is_archive(output) or not target.exists():
        return check_output(target, overwrite=overwrite)
    if not target.is_dir():
        raise InputError(
            f"{output}: is a file; give the name of a folder, or one that ends in .zip"
        )
    _check_as_packed(target)
    if not overwrite:
        raise OutputExistsError(f"{output}: exists already; --overwrite replaces it")
    return target


def _check_as_packed(folder: Path) -> None:
    """Raise an OutputExistsError if a folder holds anything but what was packed into it."""
    files = {path: path.lstat().st_size for path in folder.rglob("*") if not path.is_dir()}
    try:
        record = json.loads((folder / _RECORD).read_bytes())
    except (OSError, ValueError):
        record = None
    sizes = [size for path, size in files.items() if path != folder / _RECORD]
    if files and record != _record(sizes):
        raise OutputExistsError(
            f"{folder}: exists, and holds other files than were packed into it; choose another name"
        )


def _record(sizes: Sequence[int]) -> dict[str, int]:
    return {"photos": len(sizes), "bytes": sum(sizes)}


def _by_name(source: Path, photos: Sequence[Photo]) -> tuple[dict[str, Photo], dict[str, str]]:
    """Photos by their names relative to the source, and those that cannot have one -> why."""
    named, skipped = {}, {}
    root = _root(source, photos)
    for photo in photos:
        name = photo.place.relative_to(root)
        if ".." in name.parts:  # as archives that mean harm have them
            skipped[str(photo)] = f"{photo}: its name leads out of the archive"
        elif not _is_unicode(str(name)):
            skipped[str(photo)] = f"{str(photo)!a}: its name is not UTF-8"
        else:
            named[name.as_posix()] = photo
    return named, skipped


def _root(source: Path, photos: Sequence[Photo]) -> PurePath:
    """What names are relative to: the archive, the folder, or what listed photos have in common."""
    if photos[0].member:
        return PurePosixPath("/")
    if source.is_dir():
        return Photo(source).place
    return Path(os.path.commonpath([photo.place.parent for photo in photos]))


def _is_unicode(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _encoding(
    photos: Mapping[str, Photo], short_side: int, quality: int, workers: int
) -> Generator[tuple[str, "Future[bytes]"], None, None]:
    """Name and encoded file of each photo, in order; only a few are decoded ahead."""
    waiting: deque[tuple[str, Future[bytes]]] = deque()
    with _one_torch_thread(), ThreadPoolExecutor(workers) as pool:
        try:
            for name, photo in photos.items():
                suffix = PurePosixPath(name).suffix.lower()
                waiting.append((name, pool.submit(_encoded, photo, suffix, short_side, quality)))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft()
            yield from waiting
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    """Threads that start meanwhile calculate alone: there is one for each processor already."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _encoded(photo: Photo, suffix: str, short_side: int, quality: int) -> bytes:
    """The photo as a file of the format that a suffix stands for.

    Raises:
        InputError: it cannot be read, is too small, or does not fit the format.
    """
    image = photo.load(at_least=short_side)
    h, w = image.shape[-2:]
    scale = short_side / min(h, w)
    if scale > 2:
        raise InputError(f"{photo}: too small, {w}x{h}")
    if scale < 1:
        image = resize_to(image, (round(h * scale), round(w * scale)))
    # Readers go by the content, and the name must stay.
    format = Image.registered_extensions()[suffix if suffix in IMAGE_SUFFIXES else ".jpg"]
    buffer = BytesIO()
    with writable_image(str(photo)):
        picture = Image.fromarray(tensor_to_frame(image)[:, :, ::-1])
        picture.save(buffer, format, quality=quality)
    return buffer.getvalue()


@contextmanager
def _new_archive(path: Path) -> Iterator[_Write]:
    """Yield a function that writes a file into an archive, which appears when it is complete."""
    with atomic_output(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        # Stored, since photos are compressed already; with no time, so that archives can be equal.
        yield lambda name, content: archive.writestr(zipfile.ZipInfo(name), content)


@contextmanager
def _new_folder(path: Path) -> Iterator[_Write]:
    """Yield a function that writes a file into a folder, which appears when it is complete."""
    temporary, replaced = (path.with_name(f".{uuid.uuid4().hex}") for _ in range(2))
    sizes = []

    def write(name: str, content: bytes) -> None:
        file = temporary / name
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            sizes.append(file.write_bytes(content))
        except OSError as error:
            if is_disk_full(error):
                raise
            raise InputError(f"{path / name}: cannot be written ({error.strerror})") from error

    temporary.mkdir()
    try:
        yield write
        (temporary / _RECORD).write_text(json.dumps(_record(sizes)), encoding="utf-8")
        if path.exists():
            _check_as_packed(path)  # again: packing takes long
            path.rename(replaced)
        temporary.rename(path)
    finally:
        if replaced.exists() and not path.exists():  # stopped between the two
            replaced.rename(path)
        for folder in (temporary, replaced):
            shutil.rmtree(folder, ignore_errors=True)
