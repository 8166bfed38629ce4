"""The first pictures of the README: photos in styles that ship, and a film that goes through them.

python scripts/readme_pictures.py    writes docs/styles.jpg and docs/film.webp
"""

import cv2
import numpy as np
from bare_tree import ROOT

from nst_rt.images import load_image, save_image, tensor_to_frame
from nst_rt.infer.demo import packaged_film, packaged_photos
from nst_rt.infer.painter import load_painter
from nst_rt.infer.stylizer import load_style
from nst_rt.infer.video import convert_video

STILLS = {
    "rocket.jpg": ("starry_night", "water_lilies"),
    "coffee.png": ("great_wave", "night_cafe"),
    "chelsea.png": ("wheat_field", "udnie"),
    "astronaut.png": ("composition_vii", "the_scream"),
}
CELL = (480, 360)  # width, height, pixels
FILM = "starry_night@0,composition_vii@1.3,wheat_field@2.6,udnie@3.9"


def main() -> None:
    """Write both."""
    photos = {photo.name: photo for photo in packaged_photos()}
    columns = []
    for name, styles in STILLS.items():
        frame = cropped(tensor_to_frame(load_image(photos[name])))
        painted = (load_style(style).stylize(frame) for style in styles)
        columns.append(np.vstack([frame, *painted]))
    save_image(np.hstack(columns), ROOT / "docs" / "styles.jpg", overwrite=True)
    convert_video(
        packaged_film(),
        ROOT / "docs" / "film.webp",
        style=load_painter(FILM, fade=0.4),
        size=480,
        fps=12,
        overwrite=True,
    )


def cropped(frame: np.ndarray) -> np.ndarray:
    """The upper middle of a frame, where faces are, as large as a cell."""
    width, height = CELL
    scale = max(width / frame.shape[1], height / frame.shape[0])
    frame = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    left = (frame.shape[1] - width) // 2
    return np.ascontiguousarray(frame[:height, left : left + width])


if __name__ == "__main__":
    main()
