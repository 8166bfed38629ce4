"""Pictures of the docs: photos and a film in styles that ship, post-processing, a window.

    python scripts/docs_pictures.py

Writes styles.jpg, film.webp, post_processing.jpg and window.jpg into docs. The last one needs Xvfb,
and a quiet machine, or the window stylizes at a small size.
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
from nst_rt.infer.packaged import packaged_film, packaged_photos
from nst_rt.infer.stylizer import load_style
from nst_rt.infer.video import stylize_video

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
WINDOW = (960, 540)  # width, height, pixels
WINDOW_AFTER = 3.5  # seconds after it is there; the film takes five
FILM = "starry_night@0,composition_vii@1.3,wheat_field@2.6,udnie@3.9"


def main() -> None:
    """Write all."""
    photos = {photo.name: photo for photo in packaged_photos()}
    columns = []
    for name, styles in STILLS.items():
        frame = cropped(tensor_to_frame(load_image(photos[name])), CELL)
        stylized = (load_style(style, stroke_size=STROKES)(frame) for style in styles)
        columns.append(np.vstack([frame, *stylized]))
    save_image(np.hstack(columns), ROOT / "docs" / "styles.jpg", overwrite=True)
    face = cropped(tensor_to_frame(load_image(photos["astronaut.png"])), (400, 400))
    stylized = [
        load_frame_stylizer(**settings, stroke_size=STROKES).stylize(face, 0)
        for settings in SETTINGS
    ]
    save_image(np.hstack(stylized), ROOT / "docs" / "post_processing.jpg", overwrite=True)
    stylize_video(
        packaged_film(),
        ROOT / "docs" / "film.webp",
        style=load_frame_stylizer(FILM, fade=0.4, stroke_size=STROKES),
        size=480,
        fps=12,
        overwrite=True,
    )
    save_image(window(), ROOT / "docs" / "window.jpg", overwrite=True)


def window() -> np.ndarray:
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
            return pixels(WINDOW).copy()
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
