import pytest
import torch
from torch import Tensor

from nst_rt.images.contact_sheet import contact_sheet

WHITE = 1.0


def noise(count: int, height: int = 40, width: int = 60) -> list[Tensor]:
    """Images of 8-bit levels."""
    generator = torch.Generator().manual_seed(0)
    levels = torch.randint(0, 256, (count, 1, 3, height, width), generator=generator)
    return list(levels / 255)


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (3, 3), (3, 2), (6, 3), (4, 1), (2, 4)])
def test_images_lie_in_rows_unchanged(count: int, columns: int) -> None:
    images = noise(count)
    sheet = contact_sheet(images, ["a"] * count, columns=columns)
    rows = -(-count // columns)
    line = sheet.shape[-2] // rows - 40
    assert 10 <= line <= 24
    assert sheet.shape == (1, 3, rows * (40 + line), columns * 60)
    assert sheet.dtype == torch.float32
    for place in range(rows * columns):
        top, left = place // columns * (40 + line), place % columns * 60
        cell = sheet[:, :, top : top + 40, left : left + 60]
        caption = sheet[:, :, top + 40 : top + 40 + line, left : left + 60]
        if place < count:
            torch.testing.assert_close(cell, images[place], atol=1e-6, rtol=0)
            assert caption.min() < 0.5  # black on white
            assert caption.median() == WHITE
        else:
            assert (cell == WHITE).all()
            assert (caption == WHITE).all()


def test_captions_differ_and_scale_with_the_images() -> None:
    def caption(text: str, width: int) -> Tensor:
        images = [torch.zeros(1, 3, 8, width)]
        return contact_sheet(images, [text], columns=1)[:, :, 8:]

    assert not torch.equal(caption("style_weight 1", 240), caption("größe ±1", 240))
    small, large = caption("a", 240), caption("a", 960)
    assert large.shape[-2] > 2 * small.shape[-2]
    assert (large < 0.5).sum() > 4 * (small < 0.5).sum()


@pytest.mark.parametrize("width", [60, 512])
def test_long_caption_stays_below_its_image(width: int) -> None:
    images = [torch.zeros(1, 3, 8, width)] * 2
    long = "content_layers relu1_1+relu2_1+relu3_1+relu4_2+relu5_2  style_weight 1000"
    sheet = contact_sheet(images, [long, ""], columns=2)
    assert sheet[:, :, 8:, :width].min() < 0.6
    assert (sheet[:, :, 8:, width:] == WHITE).all()
