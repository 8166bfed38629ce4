"""Photos through a stylizer: one, or a whole collection into a folder."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePath, PurePosixPath

from nst_rt.errors import InputError, OutputExistsError
from nst_rt.images import IMAGE_SUFFIXES, load_picture, save_image, tensor_to_frame
from nst_rt.infer.looks import PLAIN, Look
from nst_rt.infer.painter import Painter
from nst_rt.infer.stylizer import Stylizer
from nst_rt.photos import Photo, find_photos


@dataclass
class Batch:
    """What became of a collection.

    Attributes:
        folder: that the results are in.
        outputs: files that were written.
        kept: how many were there already.
        skipped: photos that cannot be read, and why.
    """

    folder: Path
    outputs: list[Path] = field(default_factory=list)
    kept: int = 0
    skipped: dict[str, str] = field(default_factory=dict)


def stylize_photo(
    stylizer: Stylizer,
    photo: Photo,
    output: Path | str,
    *,
    look: Look = PLAIN,
    size: int | None = None,
    overwrite: bool = False,
) -> tuple[int, int]:
    """Paint a photo, transparency kept, and write it.

    Args:
        stylizer: that paints.
        photo: what to paint.
        output: image file to write.
        look: what becomes of the pastiche in the end.
        size: long side to paint at, pixels; None for the photo's own.
        overwrite: replace an existing output.

    Returns:
        Height and width.

    Raises:
        InputError: a photo, a size or an output that cannot be used.
        OutputExistsError: it exists and `overwrite` is False.
    """
    picture = load_picture(str(photo), size=size, content=photo.read_bytes())
    painted = Painter(stylizer, look=look).paint(tensor_to_frame(picture.image), 0)
    save_image(painted, output, overwrite=overwrite, alpha=picture.alpha)
    return painted.shape[0], painted.shape[1]


def stylize_photos(
    stylizer: Stylizer,
    source: Path | str,
    folder: Path | str,
    *,
    look: Look = PLAIN,
    size: int | None = None,
    overwrite: bool = False,
    resume: bool = False,
    on_photo: Callable[[int, int, str], None] | None = None,
) -> Batch:
    """Paint a collection of photos into a folder, under their own names and sub-folders.

    Photos that cannot be read are skipped and named.

    Args:
        stylizer: that paints.
        source: a folder, a zip archive or a list of photos.
        folder: where the results go; it is made if need be.
        look, size, overwrite: see `stylize_photo`.
        resume: leave results alone that are there already.
        on_photo: called with the number of photos done, that of all, and the last one's name.

    Raises:
        InputError: no such collection, a folder that cannot be used, two photos of one name.
        OutputExistsError: a result exists, and neither `overwrite` nor `resume` is True.
    """
    source, folder = Path(source), Path(folder)
    if folder.suffix.lower() in IMAGE_SUFFIXES or folder.is_file():
        raise InputError(f"{folder}: not a folder, which several photos need to go to")
    outputs: dict[Path, Photo] = {}
    for photo in find_photos(source):
        output = folder / _relative(photo, source)
        if output in outputs:
            raise InputError(f"{photo} and {outputs[output]} would both become {output}")
        outputs[output] = photo
    batch = Batch(folder)
    there = [output for output in outputs if output.exists()]
    if there and not (overwrite or resume):
        raise OutputExistsError(
            f"{there[0]}: exists already, as do {len(there) - 1} more; --overwrite replaces them, "
            "--resume leaves them alone"
        )
    for done, (output, photo) in enumerate(outputs.items(), 1):
        if resume and output.exists():
            batch.kept += 1
            continue
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
            stylize_photo(stylizer, photo, output, look=look, size=size, overwrite=overwrite)
            batch.outputs.append(output)
        except InputError as error:
            batch.skipped[str(photo)] = str(error)
        if on_photo is not None:
            on_photo(done, len(outputs), photo.name)
    return batch


def _relative(photo: Photo, source: Path) -> PurePath:
    """Where a photo lies within its collection; of a list, which may name any, the name."""
    if source.is_dir():
        return photo.path.relative_to(source)
    # No ".." leads out of the folder.
    parts = [part for part in PurePosixPath(photo.member).parts if part not in ("/", "..")]
    return PurePath(*parts) if parts else PurePath(photo.name)
