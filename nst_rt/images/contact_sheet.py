"""Contact sheets: several images in one, with captions."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from nst_rt.images.convert import frame_to_tensor, tensor_to_frame


def contact_sheet(images: Sequence[Tensor], captions: Sequence[str], *, columns: int) -> Tensor:
    """Images in rows, in cells of the largest image's size, with a caption below each.

    Args:
        images: shape (1, 3, H, W) each, RGB in [0, 1].
        captions: one for each image.
        columns: number of images per row.

    Returns:
        Shape (1, 3, H', W').
    """
    height, width = (max(image.shape[side] for image in images) for side in (-2, -1))
    font_size = max(width / 24, 10)
    line = round(font_size * 1.6)
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * width, rows * (height + line)), "white")
    draw = ImageDraw.Draw(sheet)
    for index, (image, caption) in enumerate(zip(images, captions, strict=True)):
        x, y = index % columns * width, index // columns * (height + line)
        sheet.paste(Image.fromarray(tensor_to_frame(image)[:, :, ::-1]), (x, y))
        size = font_size
        font = ImageFont.load_default(size)
        while (length := font.getlength(caption)) > width and size > 1:
            size = max(size * min(width / length, 0.95), 1)
            font = ImageFont.load_default(size)
        draw.text((x + width / 2, y + height + line / 2), caption, "black", font, "mm")
    return frame_to_tensor(np.array(sheet)[:, :, ::-1])
