"""All accepted forms of an image, and what is refused."""

from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from optimizer_runs import QUICK
from PIL import Image

import nst_rt
from nst_rt.errors import InputError
from nst_rt.images.inputs import as_image, as_list
from nst_rt.images.io import load_image
from nst_rt.optimization.runs import optimize_to_file

LEVELS = np.arange(48 * 64 * 3, dtype=np.uint32).reshape(48, 64, 3) % 251
ARRAY = LEVELS.astype(np.uint8)
TENSOR = torch.from_numpy(LEVELS.astype(np.float32) / 255).permute(2, 0, 1)[None]
PICTURE = Image.fromarray(ARRAY)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    PICTURE.save(tmp_path / "a.png")
    return tmp_path / "a.png"


def test_all_forms_give_the_same_image(file: Path) -> None:
    for value in (file, str(file), ARRAY, PICTURE, TENSOR, TENSOR.double(), TENSOR.clone()):
        image = as_image(value, "content")
        assert image.dtype == torch.float32
        torch.testing.assert_close(image, TENSOR, atol=1e-6, rtol=0)


@pytest.mark.filterwarnings("error")
def test_array_may_be_a_view_or_read_only() -> None:
    mirrored = as_image(ARRAY[:, ::-1], "content")
    assert torch.equal(mirrored, as_image(ARRAY, "content").flip(3))
    frozen = ARRAY.copy()
    frozen.flags.writeable = False
    assert torch.equal(as_image(frozen, "content"), as_image(ARRAY, "content"))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGBA", "CMYK", "YCbCr"])
def test_other_modes_of_pillow_become_rgb(mode: str) -> None:
    image = as_image(PICTURE.convert("RGB").convert(mode), "content")
    expected = PICTURE.convert(mode).convert("RGB")
    torch.testing.assert_close(image, as_image(np.asarray(expected), "a"), atol=0.02, rtol=0)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_pillow_image_is_composited_over_white(mode: str) -> None:
    clear = Image.new("RGBA", (20, 20), (255, 0, 0, 0)).convert(mode)
    if mode == "P":
        clear = Image.new("P", (20, 20), 0)
        clear.info["transparency"] = 0
    assert torch.equal(as_image(clear, "content"), torch.ones(1, 3, 20, 20))


def test_exif_orientation_of_a_pillow_image_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    PICTURE.save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as opened:
        image = as_image(opened, "content")
    assert image.shape == (1, 3, 64, 48)
    assert torch.equal(image, load_image(tmp_path / "a.png"))


def test_rounding_errors_are_in_range() -> None:
    image = as_image(TENSOR.where(TENSOR < 0.9, 1 + 1e-6).where(TENSOR > 0.1, -1e-6), "content")
    assert (image.min(), image.max()) == (0, 1)


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (TENSOR * 255, "0, 1"),
        (TENSOR - 0.5, "0, 1"),
        (TENSOR * torch.nan, "0, 1"),
        (TENSOR[0], "shape"),
        (TENSOR.expand(2, 3, 48, 64), "shape"),
        (TENSOR[:, :2], "shape"),
        (TENSOR[:, :, :0], "shape"),
        (TENSOR.permute(0, 2, 3, 1), "shape"),
        ((TENSOR * 255).byte(), "uint8"),
        (TENSOR.numpy(), "shape"),
        (TENSOR[0].permute(1, 2, 0).numpy(), "float32"),
        (ARRAY.astype(np.uint16), "uint16"),
        (ARRAY[:, :, 0], "shape"),
        (ARRAY[:, :, :2], "shape"),
        (np.dstack([ARRAY, ARRAY[:, :, :1]]), "shape"),
        (ARRAY[None], "shape"),
        (ARRAY[:0], "shape"),
        (Image.new("F", (48, 64)), "mode F"),
        (Image.new("I;16", (48, 64)), "mode I;16"),
        (Image.new("HSV", (48, 64)), "HSV"),
        (3, "int"),
        (None, "NoneType"),
        (b"a.png", "bytes"),
    ],
)
def test_other_values_are_errors_that_name_the_argument(value: Any, word: str) -> None:
    with pytest.raises(InputError, match=f"content.*{word}") as caught:
        as_image(value, "content")
    assert "\n" not in str(caught.value)


def test_a_string_is_one_image_and_lists_are_several() -> None:
    for one in ("style.jpg", Path("style.jpg"), ARRAY, TENSOR, PICTURE):
        assert as_list(one) == [one] or as_list(one)[0] is one
    for several in (["a.jpg", TENSOR], ("a.jpg", TENSOR), deque(["a.jpg", TENSOR])):
        assert as_list(several) == list(several)


@pytest.mark.parametrize("option", ["content", "style", "init"])
@pytest.mark.parametrize("value", [TENSOR * 255, TENSOR[0], (TENSOR * 255).byte(), LEVELS])
def test_the_optimizer_says_which_image_is_wrong(file: Path, option: str, value: Any) -> None:
    images = {"content": file, "style": file, "init": file} | {option: value}
    with pytest.raises(InputError, match=option):
        nst_rt.optimize(**images, **QUICK)


def test_resume_compares_images_by_content(tmp_path: Path) -> None:
    def interrupt(iterate: nst_rt.Iterate) -> None:
        if iterate.step == 3:
            raise KeyboardInterrupt

    output = tmp_path / "out.png"
    settings: dict[str, Any] = QUICK | {"save_every": 2, "init": PICTURE}
    with pytest.raises(nst_rt.StyleTransferError, match="interrupted"):
        optimize_to_file(ARRAY, TENSOR, output, on_iterate=interrupt, **settings)
    for changes in ({"content": 255 - ARRAY}, {"style": 1 - TENSOR}, {"init": "noise"}):
        images = {"content": ARRAY, "style": TENSOR} | changes
        with pytest.raises(InputError, match="other settings"):
            optimize_to_file(output=output, resume=True, **settings | images)
    assert optimize_to_file(ARRAY, TENSOR, output, resume=True, **settings).iterate.step == 4
