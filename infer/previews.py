"""All styles side by side: a photo in each, and small previews for lists of styles."""

import base64
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from rich.color import Color
from rich.style import Style as CellStyle
from rich.text import Text
from torch import Tensor

from nst_rt.images.contact_sheet import contact_sheet
from nst_rt.images.io import Frame, frame_to_tensor, load_image, tensor_to_frame
from nst_rt.infer.blend import StyleSet, load_style_set
from nst_rt.infer.stylizer import Stylizer
from nst_rt.models.style_model import Style, list_styles

SHEET_CELL = 480  # pixels, long side
COLUMNS = 4
_PREVIEW_SIZE = 96
_PREVIEW_QUALITY = 80


def in_all_styles(frame: Frame, style_set: StyleSet) -> Iterator[tuple[str, Frame]]:
    """Stylize a frame, shape (H, W, 3), uint8 BGR, in every style; yields the names and results."""
    # A sheet's pictures are small: strokes in proportion to them would hardly be seen.
    stylizer = Stylizer(style_set, style_set.names[0], stroke_size="1:1")
    for name in style_set.names:
        stylizer.set_style(name)
        yield name, stylizer.stylize(frame)


def style_sheet(
    photo: Path | str,
    *,
    size: int = SHEET_CELL,
    on_progress: Callable[[int, int, str], None] | None = None,
) -> Tensor:
    """A sheet of a photo and what each style of the gallery makes of it.

    Args:
        photo: file of the photo.
        size: of each picture, long side, pixels.
        on_progress: called with the number of pictures done, that of all, and a style's name.

    Returns:
        Shape (1, 3, H, W), RGB in [0, 1].

    Raises:
        InputError: a photo or a size that cannot be used.
    """
    image = load_image(photo, size=size)
    style_set, _ = load_style_set([*list_styles()])
    pictures = {"photo": image}
    for name, stylized in in_all_styles(tensor_to_frame(image), style_set):
        pictures[name] = frame_to_tensor(stylized)
        if on_progress is not None:
            on_progress(len(pictures) - 1, len(style_set.names), name)
    return contact_sheet(list(pictures.values()), list(pictures), columns=COLUMNS)


def preview(stylized: Frame) -> str:
    """The small picture that a `Style` carries: WebP of 96 px, in base64."""
    picture = Image.fromarray(stylized[:, :, ::-1])
    picture.thumbnail((_PREVIEW_SIZE, _PREVIEW_SIZE), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    picture.save(file, "WEBP", quality=_PREVIEW_QUALITY)
    return base64.b64encode(file.getvalue()).decode()


def preview_text(style: Style, width: int) -> Text:
    """A style's preview in characters of a terminal, two pixels in each.

    Args:
        style: one with a preview, else the text is empty.
        width: characters a line.
    """
    text = Text()
    if not style.preview:
        return text
    picture = Image.open(io.BytesIO(base64.b64decode(style.preview))).convert("RGB")
    rows = max(1, round(picture.height / picture.width * width / 2))
    pixels = np.asarray(picture.resize((width, 2 * rows), Image.Resampling.BOX))
    for upper, lower in zip(pixels[::2], pixels[1::2], strict=True):
        for above, below in zip(upper.tolist(), lower.tolist(), strict=True):
            text.append(
                "▀", CellStyle(color=Color.from_rgb(*above), bgcolor=Color.from_rgb(*below))
            )
        text.append("\n")
    return text
