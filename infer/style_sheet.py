"""A photo in all styles, on a sheet; and the small images that stand for styles."""

import base64
import io
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from torch import Tensor

from nst_rt.images.contact_sheet import contact_sheet
from nst_rt.images.convert import frame_to_tensor, tensor_to_frame
from nst_rt.images.io import Frame, load_image
from nst_rt.infer.blend import StyleSet
from nst_rt.infer.stylizer import Stylizer
from nst_rt.infer.timeline import load_blend
from nst_rt.models.style_model import gallery_files
from nst_rt.progress import Progress

SHEET_CELL = 480  # long side of an image on the sheet, pixels
COLUMNS = 4
_PREVIEW_SIZE = 96
_PREVIEW_QUALITY = 80


def style_sheet(
    photo: Path | str, *, size: int = SHEET_CELL, progress: Progress | None = None
) -> Tensor:
    """A contact sheet of a photo and its stylized versions in all styles of the gallery.

    Args:
        photo: image file.
        size: long side of each image, pixels.
        progress: called after each style.

    Returns:
        Shape (1, 3, H, W), RGB in [0, 1].

    Raises:
        InputError: a photo or a size that cannot be used.
    """
    image = load_image(photo, size=size)
    style_set, _ = load_blend([*gallery_files()])
    images = {"photo": image}
    for name, stylized in in_all_styles(tensor_to_frame(image), style_set):
        images[name] = frame_to_tensor(stylized)
        if progress:
            progress(len(images) - 1, len(style_set.names), name)
    return contact_sheet(list(images.values()), list(images), columns=COLUMNS)


def in_all_styles(frame: Frame, style_set: StyleSet) -> Iterator[tuple[str, Frame]]:
    """Stylize a frame, shape (H, W, 3), uint8 BGR, in every style; yields names and results."""
    # The images of a sheet are small: strokes in proportion to them would hardly be seen.
    stylizer = Stylizer(style_set, style_set.names[0], stroke_size="1:1")
    for name in style_set.names:
        stylizer.set_style(name)
        yield name, stylizer(frame)


def preview(stylized: Frame) -> str:
    """A stylized frame as the small image that a `Style` carries: WebP of 96 px, in base64."""
    image = Image.fromarray(stylized[:, :, ::-1])
    image.thumbnail((_PREVIEW_SIZE, _PREVIEW_SIZE), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "WEBP", quality=_PREVIEW_QUALITY)
    return base64.b64encode(file.getvalue()).decode()
