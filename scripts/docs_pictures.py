"""Pictures of the docs: styles that ship and one that is learned, post-processing, a window.

    python scripts/docs_pictures.py [NAME ...]

Writes styles.jpg, film.webp, post_processing.jpg, learned.jpg and window.jpg into docs, or those
that are named (`learned`). The last two need a quiet machine: one is learned for five minutes, the
other one needs Xvfb, and would stylize at a small size.
"""

import os
import subprocess
import sys
import time

import cv2
import numpy as np
from bare_tree import ROOT

from nst_rt.images.convert import tensor_to_frame
from nst_rt.images.io import load_image, save_image
from nst_rt.infer.frame_stylizer import load_frame_stylizer
from nst_rt.infer.learning.content import with_photos
from nst_rt.infer.packaged import packaged_film, packaged_photos
from nst_rt.infer.stylizer import load_style
from nst_rt.infer.video import stylize_video
from nst_rt.learning.request import LearningRequest
from nst_rt.train.learning import Learner

STILLS = {
    "rocket.jpg": ("starry_night_classic", "tahitian_women"),
    "coffee.png": ("great_wave", "night_cafe"),
    "chelsea.png": ("delaunay_portrait", "wheat_field"),
    "astronaut.png": ("starry_night", "composition_vii"),
}
STROKES = "4%"  # which can be seen where the pictures are so small
CELL = (480, 360)  # width, height, pixels
SETTINGS = (  # as docs/styles.md says
    {"style": {"starry_night": 0.5, "great_wave": 0.5}, "compare": True},
    {"style": "wheat_field", "preserve_colors": True},
    {"style": "wheat_field", "strength": 0.5},
)
LEARNED = (400, 400)  # width, height, pixels
# What two cores of an AMD EPYC (Zen 4) learn in 10 s, 60 s and 5 minutes, see docs/learning.md.
LEARNED_CROPS = (66, 480, 2362)
WINDOW = (960, 540)  # width, height, pixels
WINDOW_AFTER = 3.5  # seconds after it is there; the film takes five
FILM = "starry_night@0,composition_vii@1.3,wheat_field@2.6,udnie@3.9"


def main() -> None:
    """Write all, or those that are named."""
    made = {
        "styles": styles,
        "post_processing": post_processing,
        "film": film,
        "learned": learned,
        "window": window,
    }
    for name in sys.argv[1:] or made:
        made[name]()


def written(image: np.ndarray, name: str) -> None:
    """Write a frame into docs."""
    save_image(image, ROOT / "docs" / name, overwrite=True)


def styles() -> None:
    """Photos in styles that ship."""
    photos = {photo.name: photo for photo in packaged_photos()}
    columns = []
    for name, styles in STILLS.items():
        frame = cropped(tensor_to_frame(load_image(photos[name])), CELL)
        stylized = (load_style(style, stroke_size=STROKES)(frame) for style in styles)
        columns.append(np.vstack([frame, *stylized]))
    written(np.hstack(columns), "styles.jpg")


def astronaut(side: int) -> np.ndarray:
    """A face, of as many pixels a side."""
    return cropped(tensor_to_frame(load_image(packaged_photos()[0])), (side, side))


def post_processing() -> None:
    """The examples of docs/styles.md."""
    face = astronaut(400)
    stylized = [
        load_frame_stylizer(**settings, stroke_size=STROKES).stylize(face, 0)
        for settings in SETTINGS
    ]
    written(np.hstack(stylized), "post_processing.jpg")


def film() -> None:
    """A film that goes through four styles."""
    stylize_video(
        packaged_film(),
        ROOT / "docs" / "film.webp",
        style=load_frame_stylizer(FILM, fade=0.4, stroke_size=STROKES),
        size=480,
        fps=12,
        overwrite=True,
    )


def learned() -> None:
    """A style image, and a photo after several times of learning it."""
    file = ROOT / "nst_rt" / "assets" / "styles" / "mosaic.jpg"
    frame = tensor_to_frame(load_image(packaged_photos()[0]))
    learner = Learner(LearningRequest.of(file))
    for each in with_photos([frame], None):
        learner.images.add(each[..., ::-1])
    cells = [cropped(tensor_to_frame(load_image(file)), LEARNED)]
    for crops in LEARNED_CROPS:
        while learner.crops < crops:
            learner.step()
        learner.judge()
        stylized = load_style(learner.model(), stroke_size="3%")(frame)
        cells.append(cropped(stylized, LEARNED))
    written(np.hstack(cells), "learned.jpg")


def window() -> None:
    """What the webcam window shows of the film, on a virtual screen."""
    sys.path.append(str(ROOT / "benchmarks"))
    from live import opening_time, screen

    size = "{}x{}".format(*WINDOW)
    command = [sys.executable, "-m", "nst_rt", "webcam", str(packaged_film()), "--size", size]
    with screen() as (display, pixels):
        env = {**os.environ, "DISPLAY": display}
        process = subprocess.Popen(command, env=env, cwd=ROOT)
        try:
            opening_time(process, env)
            time.sleep(WINDOW_AFTER)
            written(pixels(WINDOW).copy(), "window.jpg")
        finally:
            process.terminate()
            process.wait()


def cropped(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The upper middle of a frame, where faces are, of a width and a height."""
    width, height = size
    scale = max(width / frame.shape[1], height / frame.shape[0])
    frame = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    left = (frame.shape[1] - width) // 2
    return np.ascontiguousarray(frame[:height, left : left + width])


if __name__ == "__main__":
    main()
