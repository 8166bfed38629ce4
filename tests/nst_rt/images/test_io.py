import errno
import struct
from io import BytesIO
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from pictures import assert_holds, noise
from PIL import Image, ImageCms
from torch import Tensor

from nst_rt.errors import InputError, OutputExistsError
from nst_rt.images.convert import resize, tensor_to_frame
from nst_rt.images.io import (
    IMAGE_SUFFIXES,
    Depth,
    check_image_output,
    check_image_size,
    load_image,
    load_picture,
    save_image,
)


@pytest.mark.parametrize("channels", [3, 4])
def test_16_bit_png_round_trip_is_exact(tmp_path: Path, channels: int) -> None:
    levels = noise(channels)
    image = torch.from_numpy(levels / np.float32(65535)).permute(2, 0, 1)[None]
    alpha = image[:, 3:] if channels == 4 else None
    assert_holds(save_image(image[:, :3], tmp_path / "a.png", alpha=alpha, depth=16), levels)


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_formats_without_16_bits_get_8(tmp_path: Path, suffix: str, photo: Tensor) -> None:
    deep = save_image(photo, tmp_path / f"deep{suffix}", depth=16)
    shallow = save_image(photo, tmp_path / f"shallow{suffix}", depth=8)
    assert deep.read_bytes() == shallow.read_bytes()


@pytest.mark.parametrize("suffix", [*IMAGE_SUFFIXES, ".PNG"])
def test_round_trip_in_every_format(tmp_path: Path, suffix: str, photo: Tensor) -> None:
    image = load_image(str(save_image(photo, tmp_path / f"a{suffix}")))
    if suffix in (".jpg", ".jpeg", ".jfif", ".webp"):
        assert (image - photo).abs().mean() < 0.02
    else:
        assert torch.equal(image, (photo * 255).round() / 255)


def test_frame_and_its_image_give_the_same_file(tmp_path: Path, photo: Tensor) -> None:
    of_image = save_image(photo, tmp_path / "image.png")
    of_frame = save_image(tensor_to_frame(photo), tmp_path / "frame.png")
    assert of_image.read_bytes() == of_frame.read_bytes()


def test_loading_at_a_size_equals_resizing(astronaut: Path, photo: Tensor) -> None:
    assert torch.equal(photo, resize(load_image(astronaut), 96))
    assert torch.equal(photo, resize(photo, 96))


@pytest.mark.parametrize(("suffix", "most"), [(".jpg", 65500), (".JFIF", 65500), (".webp", 16383)])
def test_image_too_large_for_its_format_is_an_error(tmp_path: Path, suffix: str, most: int) -> None:
    path = tmp_path / f"a{suffix}"
    check_image_size(path, most, 1)
    for height, width in ((1, most + 1), (most + 1, 1)):
        with pytest.raises(InputError, match=f"{width}x{height}"):
            check_image_size(path, height, width)
    with pytest.raises(InputError, match=str(most)):
        save_image(torch.zeros(1, 3, 1, most + 1), path)
    assert not list(tmp_path.iterdir())
    assert load_image(save_image(torch.zeros(1, 3, 1, most), path)).shape == (1, 3, 1, most)


@pytest.mark.parametrize(
    "error", [OSError("encoder error -2"), ValueError("large"), struct.error("4 GB")]
)
def test_encoder_failure_is_an_error_that_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photo: Tensor, error: Exception
) -> None:
    monkeypatch.setattr(Image.Image, "save", Mock(side_effect=error))
    with pytest.raises(InputError, match=r"a\.jpg"):
        save_image(photo, tmp_path / "a.jpg")
    assert not list(tmp_path.iterdir())


def test_full_disk_is_an_oserror(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photo: Tensor
) -> None:
    error = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(Image.Image, "save", Mock(side_effect=error))
    with pytest.raises(OSError, match="No space") as caught:
        save_image(photo, tmp_path / "a.jpg")
    assert caught.value is error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a.xyz", "a", "a.png.txt", "a.safetensors"])
def test_unknown_suffix_is_an_error(tmp_path: Path, name: str, photo: Tensor) -> None:
    with pytest.raises(InputError, match=name):
        save_image(photo, tmp_path / name)


def test_existing_image_is_kept_unless_overwritten(tmp_path: Path, photo: Tensor) -> None:
    path = save_image(photo, tmp_path / "a.png")
    before = path.read_bytes()
    for refuse in (check_image_output, lambda p: save_image(1 - photo, p)):
        with pytest.raises(OutputExistsError, match="`overwrite`"):
            refuse(path)
    assert path.read_bytes() == before
    assert save_image(1 - photo, path, overwrite=True).read_bytes() != before


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_written_files_are_tagged_as_srgb(tmp_path: Path, suffix: str, photo: Tensor) -> None:
    profile = Image.open(save_image(photo, tmp_path / f"a{suffix}")).info["icc_profile"]
    description = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(BytesIO(profile)))
    assert description.startswith("sRGB")


def soft_disc(size: int) -> Tensor:
    """Alpha (1, 1, size, size): 1 inside a disc, 0 outside, with a soft edge."""
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, size)] * 2, indexing="ij")
    return ((0.75 - torch.hypot(x, y)) * 8).clamp(0, 1)[None, None]


def flat(*rgb: float, size: int = 64) -> Tensor:
    return torch.tensor(rgb, dtype=torch.float32).view(1, 3, 1, 1).expand(1, 3, size, size).clone()


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
def test_alpha_round_trip(tmp_path: Path, suffix: str) -> None:
    alpha = soft_disc(64)
    picture = load_picture(save_image(flat(1, 0.4, 0), tmp_path / f"a{suffix}", alpha=alpha))
    assert picture.alpha is not None
    assert torch.equal(picture.alpha, (alpha * 255).round() / 255)
    assert (picture.image.where(picture.alpha > 0, 1) == picture.image).all()
    inside = picture.alpha[0, 0] > 0.5
    difference = picture.image[0, :, inside] - flat(1, 0.4, 0)[0, :, inside]
    assert difference.abs().max() < (0.06 if suffix == ".webp" else 0.003)
    opaque = save_image(flat(1, 0.4, 0), tmp_path / f"b{suffix}", alpha=torch.ones_like(alpha))
    assert load_picture(opaque).alpha is None


@pytest.mark.parametrize("suffix", [".jpg", ".bmp"])
def test_formats_without_alpha_get_the_image_over_white(tmp_path: Path, suffix: str) -> None:
    alpha = soft_disc(64)
    path = save_image(flat(0.2, 0.2, 0.2), tmp_path / f"a{suffix}", alpha=alpha)
    expected = 1 - 0.8 * alpha.expand(1, 3, 64, 64)
    torch.testing.assert_close(load_image(path), expected, atol=0.03, rtol=0)


@pytest.mark.parametrize("size", [7, 40, 64, 100])
@pytest.mark.parametrize("depth", [8, 16])
def test_transparent_colors_do_not_bleed_in_when_resized(
    tmp_path: Path, size: int, depth: Depth
) -> None:
    alpha = soft_disc(64)
    red_on_green = flat(1, 0, 0).where(alpha > 0, flat(0, 1, 0))
    path = save_image(red_on_green, tmp_path / "a.png", alpha=alpha, depth=depth)
    picture = load_picture(path, size=size)
    assert picture.alpha is not None
    torch.testing.assert_close(picture.alpha, resize(alpha, size), atol=0.01, rtol=0)
    assert ((picture.alpha >= 0) & (picture.alpha <= 1)).all()
    expected = flat(1, 0, 0, size=size).where(picture.alpha > 0, 1)
    torch.testing.assert_close(picture.image, expected, atol=0.01, rtol=0)


def test_no_ringing_at_the_edges_of_alpha(tmp_path: Path) -> None:
    alpha = (torch.arange(64) < 32).float().expand(1, 1, 64, 64)
    path = save_image(flat(0.4, 0.4, 0.4), tmp_path / "a.png", alpha=alpha)
    picture = load_picture(path, size=100)
    assert picture.alpha is not None
    shown = picture.image[picture.alpha.expand_as(picture.image) > 0.01]
    torch.testing.assert_close(shown, torch.full_like(shown, 0.4), atol=1 / 255, rtol=0)


@pytest.mark.parametrize("shape", [(1, 1, 63, 64), (1, 64, 64), (1, 3, 64, 64)])
def test_alpha_of_another_shape_is_an_error(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="`alpha`"):
        save_image(flat(1, 0, 0), tmp_path / "a.png", alpha=torch.ones(shape))
    assert not list(tmp_path.iterdir())
