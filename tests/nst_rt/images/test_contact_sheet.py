import warnings
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from nst_rt.errors import InputError, OutputExistsError
from nst_rt.images.contact_sheet import (
    PLOT_SUFFIXES,
    LossRecord,
    check_plot,
    contact_sheet,
    plot_losses,
)
from nst_rt.images.io import load_image

WHITE = 1.0


def noise(count: int, height: int = 40, width: int = 60) -> list[Tensor]:
    """Images whose values files hold exactly."""
    generator = torch.Generator().manual_seed(0)
    levels = torch.randint(0, 256, (count, 1, 3, height, width), generator=generator)
    return list(levels / 255)


def records(count: int = 12, size: int = 64) -> list[LossRecord]:
    return [
        LossRecord(
            step, size * (1 + step // 5), 0.3 / (step + 1), 2 / (step + 1), 0.01, 3 / (step + 1)
        )
        for step in range(count)
    ]


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (3, 3), (3, 2), (6, 3), (4, 1), (2, 4)])
def test_images_lie_in_rows_as_they_are(count: int, columns: int) -> None:
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


def test_captions_differ_and_grow_with_the_images() -> None:
    def caption(text: str, width: int) -> Tensor:
        images = [torch.zeros(1, 3, 8, width)]
        return contact_sheet(images, [text], columns=1)[:, :, 8:]

    assert not torch.equal(caption("style_weight 1", 240), caption("style_weight 3", 240))
    small, large = caption("a", 240), caption("a", 960)
    assert large.shape[-2] > 2 * small.shape[-2]
    assert (large < 0.5).sum() > 4 * (small < 0.5).sum()


def test_captions_of_any_script_are_drawn() -> None:
    sheet = contact_sheet(noise(1), ["größe ±1"], columns=1)
    assert sheet[:, :, 40:].min() < 0.5


@pytest.mark.parametrize("width", [60, 512])
def test_a_caption_stays_under_its_image(width: int) -> None:
    images = [torch.zeros(1, 3, 8, width)] * 2
    long = "content_layers relu1_1+relu2_1+relu3_1+relu4_2+relu5_2  style_weight 1000"
    sheet = contact_sheet(images, [long, ""], columns=2)
    assert sheet[:, :, 8:, :width].min() < 0.6
    assert (sheet[:, :, 8:, width:] == WHITE).all()


def test_there_is_one_caption_for_each_image() -> None:
    with pytest.raises(ValueError, match="zip"):
        contact_sheet(noise(2), ["a"], columns=2)


@pytest.mark.parametrize("suffix", PLOT_SUFFIXES)
def test_losses_are_plotted(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"p{suffix}"
    plot_losses(records(), path)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    data = path.read_bytes()
    if suffix in (".png", ".jpg"):
        image = load_image(path)
        assert min(image.shape[-2:]) >= 400
        colors = image.flatten(2)[0].T.mul(7).round().unique(dim=0)
        assert len(colors) > 8  # white, black and lines
    elif suffix == ".pdf":
        assert data.startswith(b"%PDF")
    else:
        assert b"<svg" in data[:1000]


def test_scales_are_parted_in_the_plot(tmp_path: Path) -> None:
    """Losses of one size do not compare with those of another."""
    plot_losses(records(), tmp_path / "a.svg")
    plot_losses([record._replace(size=64) for record in records()], tmp_path / "b.svg")
    scaled, flat = ((tmp_path / name).read_text() for name in ("a.svg", "b.svg"))
    for size in ("128 px", "192 px"):
        assert size in scaled
        assert size not in flat


@pytest.mark.parametrize(
    "found",
    [
        records(1),
        [record._replace(content=0.0, tv=0.0) for record in records()],  # as at the start
        [record._replace(total=1e30 * record.total) for record in records()],
    ],
    ids=["one", "zeros", "huge"],
)
def test_any_losses_can_be_plotted(tmp_path: Path, found: list[LossRecord]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # they would be noise on the terminal
        plot_losses(found, tmp_path / "p.png")
    with Image.open(tmp_path / "p.png") as plot:
        plot.verify()


@pytest.mark.parametrize("name", ["p.xyz", "p", "p.gif"])
def test_an_unknown_suffix_is_an_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(
        InputError, match=r"unknown plot format .*one of \.png, \.jpg, \.pdf, \.svg"
    ):
        check_plot(tmp_path / name)


def test_an_existing_file_is_not_replaced_unasked(tmp_path: Path) -> None:
    (tmp_path / "p.PNG").touch()
    with pytest.raises(OutputExistsError, match=r"p\.PNG: exists already"):
        check_plot(tmp_path / "p.PNG")
    assert check_plot(str(tmp_path / "p.PNG"), overwrite=True) == tmp_path / "p.PNG"
    with pytest.raises(InputError, match="does not exist"):
        check_plot(tmp_path / "nowhere" / "p.png")
