"""Photos through a stylizer: one, or a whole collection into a folder."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePath, PurePosixPath

from nst_rt.errors import InputError, OutputExistsError
from nst_rt.files import check_not_input, is_disk_full
from nst_rt.images.collection import Photo, find_photos
from nst_rt.images.io import (
    IMAGE_SUFFIXES,
    check_image_size,
    load_picture,
    save_image,
    tensor_to_frame,
)
from nst_rt.infer.frame_stylizer import FrameStylizer
from nst_rt.infer.postprocess import PLAIN, PostProcessing
from nst_rt.infer.stylizer import Stylizer
from nst_rt.models.transformer import MINIMUM_SIZE


@dataclass
class Batch:
    """What became of a collection.

    Attributes:
        folder: that the results are in.
        outputs: files that were written.
        kept: how many were there already.
        skipped: photos that cannot be read, or their results not be written, and why.
    """

    folder: Path
    outputs: list[Path] = field(default_factory=list)
    kept: int = 0
    skipped: dict[str, str] = field(default_factory=dict)


def stylize_image(
    stylizer: Stylizer,
    photo: Photo,
    output: Path | str,
    *,
    post_processing: PostProcessing = PLAIN,
    size: int | None = None,
    max_pixels: int | None = None,
    overwrite: bool = False,
) -> tuple[int, int]:
    """Paint a photo, transparency kept, and write it.

    Args:
        stylizer: that paints.
        photo: what to paint.
        output: image file to write.
        look: what becomes of the pastiche in the end.
        size: long side to paint at, pixels; None for the photo's own.
        max_pixels: of a photo, larger ones are refused; None for as many as the memory holds.
        overwrite: replace an existing output, though never the photo itself.

    Returns:
        Height and width.

    Raises:
        InputError: a photo, a size or an output that cannot be used.
        OutputExistsError: it exists and `overwrite` is False.
    """
    check_not_input([output], [photo.path])
    picture = load_picture(str(photo), size=size, content=photo.read_bytes(), max_pixels=max_pixels)
    height, width = picture.image.shape[-2:]
    if min(height, width) < MINIMUM_SIZE:
        raise InputError(f"{photo}: {width}x{height} px, and {MINIMUM_SIZE} a side are needed")
    check_image_size(output, height, width)
    stylized = FrameStylizer(stylizer, post_processing=post_processing).stylize(
        tensor_to_frame(picture.image), 0
    )
    save_image(stylized, output, overwrite=overwrite, alpha=picture.alpha)
    return stylized.shape[0], stylized.shape[1]


def stylize_images(
    stylizer: Stylizer,
    source: Path | str,
    folder: Path | str,
    *,
    post_processing: PostProcessing = PLAIN,
    size: int | None = None,
    max_pixels: int | None = None,
    overwrite: bool = False,
    resume: bool = False,
    on_photo: Callable[[int, int, str], None] | None = None,
) -> Batch:
    """Paint a collection of photos into a folder, under their own names and sub-folders.

    Photos that cannot be read, or whose results cannot be written, are skipped and named; a full
    disk ends the work. Results of formats that are not written here, such as HEIC and GIF, are
    PNGs: `a.heic.png`. A folder within the source that the results go to is no part of the source.

    Args:
        stylizer: that paints.
        source: a folder, a zip archive or a list of photos.
        folder: where the results go; it is made if need be.
        look, size, max_pixels, overwrite: see `stylize_image`.
        resume: leave results alone that are there already.
        on_photo: called with the number of photos done, that of all, and the last one's name.

    Raises:
        InputError: no such collection, a folder that cannot be used, two photos of one name, or a
            result that would replace a photo.
        OutputExistsError: a result exists, and neither `overwrite` nor `resume` is True.
        OSError: the disk is full.
    """
    source, folder = Path(source), Path(folder)
    if folder.suffix.lower() in IMAGE_SUFFIXES or folder.is_file():
        raise InputError(f"{folder}: not a folder, which several photos need to go to")
    outputs = _outputs(source, folder)
    check_not_input(outputs, (photo.path for photo in outputs.values()))
    batch = Batch(folder)
    there = [output for output in outputs if os.path.lexists(output)]  # False for too long a name
    if there and not (overwrite or resume):
        raise OutputExistsError(
            f"{there[0]}: exists already, as do {len(there) - 1} more; --overwrite replaces them, "
            "--resume leaves them alone"
        )
    for done, (output, photo) in enumerate(outputs.items(), 1):
        if resume and os.path.lexists(output):
            batch.kept += 1
            continue
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
            stylize_image(
                stylizer,
                photo,
                output,
                post_processing=post_processing,
                size=size,
                max_pixels=max_pixels,
                overwrite=overwrite,
            )
            batch.outputs.append(output)
        except InputError as error:
            batch.skipped[str(photo)] = str(error)
        except (OSError, MemoryError) as error:
            if is_disk_full(error):
                raise
            batch.skipped[str(photo)] = f"{photo}: {_cause(error)}"
        if on_photo is not None:
            on_photo(done, len(outputs), photo.name)
    return batch


def _cause(error: OSError | MemoryError) -> str:
    if isinstance(error, MemoryError):
        return "there is too little memory for it"
    return f"{error.filename or 'its result'}: cannot be written ({error.strerror or error})"


def _outputs(source: Path, folder: Path) -> dict[Path, Photo]:
    """The photos of a collection by their results.

    Raises:
        InputError: no photos, two of one name, or results that would lie among the photos.
    """
    results, origin = folder.resolve(), source.resolve()
    if results == origin:
        raise InputError(f"{folder}: the photos are in there; choose another folder")
    earlier = results if results.is_relative_to(origin) else None
    outputs: dict[Path, Photo] = {}
    for photo in find_photos(source):
        if earlier and photo.path.parent.resolve().is_relative_to(earlier):
            continue
        output = folder / _relative(photo, source)
        if output.suffix.lower() not in IMAGE_SUFFIXES:
            output = output.with_name(f"{output.name}.png")
        if output in outputs:
            raise InputError(f"{photo} and {outputs[output]} would both become {output}")
        outputs[output] = photo
    if not outputs:
        raise InputError(f"{source}: no photos in it but those in {folder}")
    return outputs


def _relative(photo: Photo, source: Path) -> PurePath:
    """Where a photo lies within its collection; of a list, which may name any, the name."""
    if source.is_dir():
        return photo.path.relative_to(source)
    # No ".." leads out of the folder.
    parts = [part for part in PurePosixPath(photo.member).parts if part not in ("/", "..")]
    return PurePath(*parts) if parts else PurePath(photo.name)
