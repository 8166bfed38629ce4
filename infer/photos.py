"""Photos in a style: one, several, or whole collections into a folder."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path, PurePath, PurePosixPath
from typing import Unpack

from nst_rt.errors import (
    InputError,
    InterruptedWorkError,
    OutputExistsError,
    PartialResultError,
)
from nst_rt.files import check_input, check_not_input, is_disk_full
from nst_rt.images.collection import Photo, find_photos, is_collection
from nst_rt.images.convert import tensor_to_frame
from nst_rt.images.io import (
    IMAGE_SUFFIXES,
    Frame,
    check_image_output,
    check_image_size,
    load_picture,
    save_image,
)
from nst_rt.infer.backends import BackendName, Precision
from nst_rt.infer.frame_stylizer import (
    FrameStylizer,
    StyleOrStylizer,
    label_of,
    load_frame_stylizer,
)
from nst_rt.infer.learning.content import photo_frames
from nst_rt.infer.learning.learn import LearningOptions, learned_for_folder, learning_for
from nst_rt.infer.postprocess import PostProcessing
from nst_rt.infer.strokes import DEFAULT_STROKES, StrokeSize
from nst_rt.infer.timeline import DEFAULT_STYLE
from nst_rt.learning.request import StyleImages
from nst_rt.models.transformer import MINIMUM_SIZE
from nst_rt.progress import Progress
from nst_rt.resume import has_record, record_folder


@dataclass(frozen=True)
class StylizedImage:
    """An image file that was written, and its size in pixels."""

    output: Path
    width: int
    height: int


@dataclass(frozen=True)
class ImagesResult:
    """What `stylize_images` did.

    Attributes:
        images: the image files that were written.
        kept: number of existing outputs that were kept.
        skipped: photo -> why it could not be read, or its output not be written.
        backend: backend, precision and device.
    """

    images: tuple[StylizedImage, ...]
    kept: int
    skipped: Mapping[str, str]
    backend: str


def stylize_images(
    paths: Path | str | Sequence[Path | str],
    out: Path | str | None = None,
    *,
    style: StyleOrStylizer = DEFAULT_STYLE,
    strength: float = 1.0,
    preserve_colors: bool = False,
    compare: bool = False,
    stroke_size: StrokeSize | str | float = DEFAULT_STROKES,
    size: int | None = None,
    max_pixels: int | None = None,
    overwrite: bool = False,
    resume: bool = False,
    backend: BackendName = "auto",
    device: str | None = None,
    precision: Precision = "auto",
    memory: float | None = None,
    progress: Progress | None = None,
    style_image: StyleImages | None = None,
    **learning: Unpack[LearningOptions],
) -> ImagesResult:
    """Stylize photos and write them as image files; transparency is kept.

    Photos that cannot be read, or whose outputs cannot be written, are skipped and named. Photos in
    formats that are not written here, such as HEIC and GIF, become PNGs: `a.heic.png`. An output
    folder inside a folder of photos is not part of the input, and no photo is ever replaced.

    Args:
        paths: one or several photos, folders, zip archives, or text files with a path a line.
        out: image file, for one photo; or a folder, which is created if needed, where photos keep
            their names, and those of a collection their sub-folders. By default the outputs are
            named after input, style and strength, in the current folder: `photo_starry_night.jpg`,
            and `holiday_starry_night/` for a collection, see `style_label`.
        style: see `load_style`.
        strength: from 0 (the photo as it is) to 1 (the full style).
        preserve_colors: keep the colors of the photo, see `PostProcessing`.
        compare: split screen with the photo on the left, see `PostProcessing`.
        size: long side of the output, pixels; None for the size of the photo.
        max_pixels: maximum number of pixels of a photo, larger ones are skipped; None for as many
            as fit into memory.
        overwrite: whether to replace existing outputs.
        resume: whether to keep existing outputs, and make those that are missing. A folder of
            several has its settings in a hidden file, `.nst-rt.json`: its outputs are kept only if
            the settings are the same, and made again if they are older than their photos.
        stroke_size, backend, device, precision, memory: see `Stylizer`.
        progress: called after each photo.
        style_image, learning: style image to learn on these photos instead of a style, and how, see
            `learn_style`; `progress` is then first called with the fraction of the time.

    Raises:
        InputError: an input or a value that cannot be used, two photos with one output, an output
            that would replace a photo, outputs to keep that were made with other settings, or not
            a single photo that can be stylized.
        InterruptedWorkError: Ctrl-C between several photos; the message says how many are done.
        OutputExistsError: an output exists, and neither `overwrite` nor `resume` is True.
        UnknownNameError, StyleModelError, BackendError: see `load_style`.
        PartialResultError: the disk is full, after some photos; the error's result is the
            `ImagesResult`.
        OSError: the disk is full, before any photo is complete.
    """
    sources = [paths] if isinstance(paths, (str, Path)) else list(paths)
    if "" in sources:  # which a path would take for the current folder
        raise InputError("the name of a photo is empty")
    wanted = learning_for(
        style, DEFAULT_STYLE, style_image, learning, overwrite=overwrite, resumes=resume
    )
    given = label_of(style, strength=strength, over_time=False)
    label = wanted.label(strength) if wanted else given
    outputs = _outputs([Path(source) for source in sources], out, label)
    existing = [output for output in outputs if os.path.lexists(output)]
    if existing and not (overwrite or resume):
        more = f", as do {len(existing) - 1} more" if len(existing) > 1 else ""
        raise OutputExistsError(
            f"{existing[0]}: exists already{more}; `overwrite` replaces, `resume` keeps"
        )
    folder = folder_of(sources, out, label)
    keeps, replaces = bool(existing) and resume, bool(existing) and not resume
    if wanted:
        if keeps and folder is not None and has_record(folder):  # before minutes are spent
            colors = PostProcessing(preserve_colors, compare)
            settings = image_settings(label, colors, stroke_size, size, wanted.request.key)
            record_folder(folder, settings, resume=True)
        several = folder if len(outputs) > 1 else None
        frames = _frames(outputs)
        style = learned_for_folder(wanted, frames, several, progress=progress, device=device)
    loaded = load_frame_stylizer(
        style,
        strength=strength,
        preserve_colors=preserve_colors,
        compare=compare,
        stroke_size=stroke_size,
        backend=backend,
        device=device,
        precision=precision,
        memory=memory,
    )
    # Photos have nothing to stabilize.
    frame_stylizer = FrameStylizer(loaded.stylizer, post_processing=loaded.post_processing)
    key = wanted.request.key if wanted else None
    settings = image_settings(label, loaded.post_processing, stroke_size, size, key)
    updates = resume and folder is not None and has_record(folder)
    if folder is not None and len(outputs) > 1:
        try:
            record_folder(folder, settings, resume=keeps, replaces=replaces)
        except OSError as error:
            if is_disk_full(error):
                raise  # others are told for each photo
    # Outputs that are to be replaced still have their earlier settings.
    further = "`overwrite` starts over" if replaces else "`resume` continues"
    made = partial(stylize_photo, frame_stylizer=frame_stylizer, size=size, max_pixels=max_pixels)
    images: list[StylizedImage] = []
    kept, skipped = 0, {}
    try:
        for done, (output, photo) in enumerate(outputs.items(), 1):
            is_old = updates and photo.is_newer_than(output)
            if resume and os.path.lexists(output) and not is_old:
                kept += 1
                continue
            try:
                output.parent.mkdir(parents=True, exist_ok=True)
                images.append(made(photo, output, overwrite=overwrite or is_old))
            except InputError as error:
                skipped[str(photo)] = str(error)
            except MemoryError:
                skipped[str(photo)] = f"{photo}: too large for the memory"
            except OSError as error:
                file, cause = error.filename or "its output", error.strerror or error
                reason = f"{photo}: {file} cannot be written ({cause})"
                if is_disk_full(error) and not (images or kept):
                    raise
                skipped[str(photo)] = reason
                if is_disk_full(error):
                    raise PartialResultError(
                        f"{reason}; {len(images) + kept} of {len(outputs)} photos are complete; "
                        f"make room, then {further}",
                        ImagesResult(tuple(images), kept, skipped, str(frame_stylizer)),
                    ) from error
            if progress:
                progress(done, len(outputs), photo.name)
    except KeyboardInterrupt as error:
        if len(outputs) == 1:
            raise
        raise InterruptedWorkError(
            f"interrupted: {len(images) + kept} of {len(outputs)} photos are in "
            f"{folder or Path.cwd()}; {further}"
        ) from error
    if folder is not None and replaces and len(outputs) > 1 and not skipped:
        record_folder(folder, settings, resume=False)
    if skipped and not (images or kept):
        first = next(iter(skipped.values()))
        count = len(skipped)
        raise InputError(first if count == 1 else f"all {count} photos were skipped: {first}, ...")
    return ImagesResult(tuple(images), kept, skipped, str(frame_stylizer))


def _frames(outputs: Mapping[Path, Photo]) -> Iterator[Frame]:
    """Frames to learn a style on.

    Raises:
        InputError: not a single photo can be read.
    """
    photos = [*outputs.values()]
    frames = photo_frames(photos)
    if (first := next(frames, None)) is None:
        photos[0].load()  # says why
    else:
        yield from chain([first], frames)


def image_settings(
    label: str,
    post_processing: PostProcessing,
    stroke_size: StrokeSize | str | float,
    size: int | None,
    key: str | None = None,
) -> dict[str, object]:
    """What decides how the outputs of a folder look, for its record.

    Args:
        label: of the style.
        post_processing, stroke_size, size: see `stylize_images`.
        key: of what was learned, see `LearningRequest.key`; None for a style.
    """
    return {
        **({"style image": key} if key else {}),
        "style": label,
        "preserve_colors": post_processing.preserve_colors,
        "compare": post_processing.compare,
        "stroke_size": str(StrokeSize.parse(stroke_size)),
        "size": size,
    }


def folder_of(sources: Sequence[Path | str], out: Path | str | None, label: str) -> Path | None:
    """The folder of several outputs; None if they lie in the current one or in several."""
    if out is not None:
        return Path(out)
    source = Path(sources[0])
    is_one = len(sources) == 1 and is_collection(source)
    return _default_folder(source, label) if is_one else None


def check_folder(folder: Path) -> Path:
    """Return the output folder of several photos; an InputError if it is or names an image."""
    if folder.suffix.lower() in IMAGE_SUFFIXES or folder.is_file():
        raise InputError(f"{folder}: not a folder; several photos need one, such as out/")
    return folder


def _default_folder(collection: Path, label: str) -> Path:
    origin = collection.resolve()
    return Path(f"{origin.name if collection.is_dir() else origin.stem}_{label}")


def stylize_photo(
    photo: Photo,
    output: Path,
    frame_stylizer: FrameStylizer,
    size: int | None,
    max_pixels: int | None,
    *,
    overwrite: bool,
) -> StylizedImage:
    """Stylize a photo and write it, see `stylize_images`.

    Raises:
        InputError: a photo that cannot be read, or is too small or too large.
        OSError: the output cannot be written.
    """
    picture = load_picture(str(photo), size=size, content=photo.read_bytes(), max_pixels=max_pixels)
    height, width = picture.image.shape[-2:]
    if min(height, width) < MINIMUM_SIZE:
        raise InputError(f"{photo}: {width}x{height} px is too small; {MINIMUM_SIZE} a side needed")
    check_image_size(output, height, width)  # before the work
    stylized = frame_stylizer.stylize(tensor_to_frame(picture.image), 0)
    save_image(stylized, output, overwrite=overwrite, alpha=picture.alpha)
    return StylizedImage(output, width, height)


def _outputs(sources: Sequence[Path], out: Path | str | None, label: str) -> dict[Path, Photo]:
    """The photos of all sources by their output files.

    Raises:
        InputError: no photos, two with one output, or outputs that cannot be used.
    """
    several = len(sources) != 1 or is_collection(sources[0])
    if out is None or several or str(out).endswith(("/", os.sep)) or Path(out).is_dir():
        folder = None if out is None else check_folder(Path(out))
        found = [pair for source in sources for pair in source_outputs(source, folder, label)]
    else:
        found = [(check_image_output(out, overwrite=True), Photo(check_input(sources[0])))]
    outputs: dict[Path, Photo] = {}
    for output, photo in found:
        if output in outputs:
            raise InputError(f"{photo} and {outputs[output]} would both become {output}")
        outputs[output] = photo
    if not outputs:
        raise InputError("no photos to stylize")
    check_not_input(outputs, (photo.path for photo in outputs.values()))
    return outputs


def source_outputs(
    source: Path,
    folder: Path | None,
    label: str,
    *,
    photos_of: Callable[[Path], Iterable[Photo]] = find_photos,
) -> Iterator[tuple[Path, Photo]]:
    """The output files of one source, and their photos.

    Args:
        source: a photo or a collection.
        folder: of the outputs; None for names in the current folder.
        label: of the style, for such names.
        photos_of: finds the photos of a collection.

    Raises:
        InputError: no photos, or an output folder that cannot be used.
    """
    if not is_collection(source):
        name = Path(_writable(source.name))
        target = Path(f"{name.stem}_{label}{name.suffix}") if folder is None else folder / name
        yield target, Photo(check_input(source))
        return
    origin = source.resolve()
    target = _default_folder(source, label) if folder is None else folder
    results = target.resolve()
    if results == origin:
        raise InputError(f"{target}: contains the photos; choose another folder")
    inside = results.is_relative_to(origin)
    found = False
    for photo in photos_of(source):
        # Outputs of an earlier run inside the collection are no photos of it.
        if not (inside and photo.path.parent.resolve().is_relative_to(results)):
            place = _place(photo, source)
            found = True
            yield target / place.with_name(_writable(place.name)), photo
    if not found:
        raise InputError(f"{source}: contains no photos but those in {target}")


def _writable(name: str) -> str:
    """The name of a photo, as a PNG if its format is not written here."""
    return name if Path(name).suffix.lower() in IMAGE_SUFFIXES else f"{name}.png"


def _place(photo: Photo, source: Path) -> PurePath:
    """Path of a photo within its collection; for a list, which may name any path, its name."""
    if source.is_dir():
        return photo.path.relative_to(source)
    # No ".." may lead out of the output folder.
    parts = [part for part in PurePosixPath(photo.member).parts if part not in ("/", "..")]
    return PurePath(*parts) if parts else PurePath(photo.name)
