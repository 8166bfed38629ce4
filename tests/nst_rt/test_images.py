from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from nst_rt.errors import InputError, OutputExistsError
from nst_rt.images import (
    IMAGE_SUFFIXES,
    check_image_output,
    frame_to_tensor,
    load_image,
    resize,
    save_image,
    tensor_to_frame,
)

WIDTH, HEIGHT = 7, 5


def rgb_picture() -> Image.Image:
    """Noise, so that no two pixels are taken for each other."""
    levels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    return Image.fromarray(levels)


def pixels(image: Tensor) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Image (1, 3, H, W) as an array (H, W, 3)."""
    assert image.shape[:2] == (1, 3)
    assert image.dtype == torch.float32
    array: np.ndarray[Any, np.dtype[np.float32]] = image[0].permute(1, 2, 0).numpy()
    return array


def loaded(picture: Image.Image, path: Path, **options: Any) -> np.ndarray[Any, Any]:
    """What `load_image` makes of a picture that Pillow saved."""
    picture.save(path, **options)
    return pixels(load_image(path))


def test_rgb(tmp_path: Path) -> None:
    picture = rgb_picture()
    expected = np.asarray(picture, dtype=np.float32) / 255
    np.testing.assert_array_equal(loaded(picture, tmp_path / "a.png"), expected)


def test_path_may_be_a_string(astronaut: Path) -> None:
    assert torch.equal(load_image(str(astronaut)), load_image(astronaut))


def test_grey(tmp_path: Path) -> None:
    picture = rgb_picture().convert("L")
    expected = np.asarray(picture, dtype=np.float32)[:, :, None].repeat(3, axis=2) / 255
    np.testing.assert_array_equal(loaded(picture, tmp_path / "a.png"), expected)


def test_one_bit(tmp_path: Path) -> None:
    picture = rgb_picture().convert("1")
    expected = np.asarray(picture)[:, :, None].repeat(3, axis=2)
    np.testing.assert_array_equal(loaded(picture, tmp_path / "a.png"), expected)


@pytest.mark.parametrize("name", ["a.png", "a.gif", "a.bmp", "a.tif"])
def test_palette(tmp_path: Path, name: str) -> None:
    picture = rgb_picture().quantize(16)
    expected = np.asarray(picture.convert("RGB"), dtype=np.float32) / 255
    np.testing.assert_array_equal(loaded(picture, tmp_path / name), expected)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize("order", ["<u2", ">u2"])
def test_16_bit_grey_keeps_its_range(tmp_path: Path, name: str, order: str) -> None:
    levels = np.linspace(0, 65535, WIDTH * HEIGHT).astype(order).reshape(HEIGHT, WIDTH)
    if order == ">u2" and name == "a.tif":
        (tmp_path / name).write_bytes(_big_endian_tiff(levels))
    else:
        Image.fromarray(levels.astype("<u2")).save(tmp_path / name)
    expected = levels.astype(np.float32)[:, :, None].repeat(3, axis=2) / 65535
    np.testing.assert_allclose(pixels(load_image(tmp_path / name)), expected, atol=1e-6)


def test_16_bit_colour_keeps_its_range(tmp_path: Path) -> None:
    levels = np.random.default_rng(0).integers(0, 65536, (HEIGHT, WIDTH, 3), dtype=np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), levels[:, :, ::-1])
    np.testing.assert_allclose(pixels(load_image(tmp_path / "a.png")), levels / 65535, atol=1 / 255)


def test_float_grey(tmp_path: Path) -> None:
    values = np.linspace(0, 1, WIDTH * HEIGHT, dtype=np.float32).reshape(HEIGHT, WIDTH)
    expected = values[:, :, None].repeat(3, axis=2)
    np.testing.assert_array_equal(loaded(Image.fromarray(values), tmp_path / "a.tif"), expected)


def test_cmyk_jpeg(tmp_path: Path) -> None:
    orange = Image.new("RGB", (16, 16), (255, 128, 0))
    image = loaded(orange.convert("CMYK"), tmp_path / "a.jpg", quality=95)
    np.testing.assert_allclose(image, np.full((16, 16, 3), (1, 0.5, 0)), atol=0.03)


@pytest.mark.parametrize("name", ["a.jpg", "a.webp"])
def test_lossy_formats(tmp_path: Path, name: str, astronaut: Path) -> None:
    picture = Image.open(astronaut).resize((64, 48))
    image = loaded(picture, tmp_path / name, quality=95)
    assert np.abs(image - np.asarray(picture) / 255).mean() < 0.02


@pytest.mark.parametrize(("alpha", "expected"), [(0, 1.0), (255, 100 / 255), (51, 224 / 255)])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_over_white(
    tmp_path: Path, mode: str, alpha: int, expected: float
) -> None:
    colour = (100, alpha) if mode == "LA" else (100, 100, 100, alpha)
    image = loaded(Image.new(mode, (4, 4), colour), tmp_path / "a.png")
    np.testing.assert_allclose(image, np.full((4, 4, 3), expected), atol=1 / 255)


@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
def test_a_transparent_colour_is_white(tmp_path: Path, mode: str) -> None:
    picture = Image.new("RGB", (4, 4), (10, 10, 10))
    picture.paste((90, 90, 90), (0, 0, 2, 4))
    picture = picture.quantize(4) if mode == "P" else picture.convert(mode)
    colour = picture.getpixel((0, 0))
    image = loaded(picture, tmp_path / "a.png", transparency=colour)
    np.testing.assert_array_equal(image[:, :2], np.ones((4, 2, 3), dtype=np.float32))
    np.testing.assert_allclose(image[:, 2:], np.full((4, 2, 3), 10 / 255), atol=1e-6)


TURNS: dict[int, Callable[[Any], Any]] = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.transpose(1, 0, 2),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: upright[::-1, ::-1].transpose(1, 0, 2),
    8: lambda upright: np.rot90(upright, -1),
}


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_exif_orientation_is_undone(tmp_path: Path, orientation: int, name: str) -> None:
    upright = np.asarray(rgb_picture())
    stored = Image.fromarray(np.ascontiguousarray(TURNS[orientation](upright)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(
        loaded(stored, tmp_path / name, exif=exif), upright.astype(np.float32) / 255
    )


@pytest.mark.parametrize("name", ["astronaut.png", "coffee.png", "camera.png", "rocket.jpg"])
def test_photos_look_as_opencv_reads_them(photos: Path, name: str) -> None:
    expected = cv2.imread(str(photos / name))
    assert expected is not None
    difference = tensor_to_frame(load_image(photos / name)).astype(int) - expected
    assert np.abs(difference).mean() < 0.5  # JPEG decoders differ a little


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".tiff", ".PNG"])
def test_saving_and_loading_is_exact(tmp_path: Path, suffix: str, photo: Tensor) -> None:
    path = save_image(photo, tmp_path / f"a{suffix}")
    assert torch.equal(load_image(path), (photo * 255).round() / 255)


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
def test_every_known_suffix_can_be_saved(tmp_path: Path, suffix: str, photo: Tensor) -> None:
    path = save_image(photo, tmp_path / f"a{suffix}")
    assert (load_image(path) - photo).abs().mean() < 0.02


def test_saving_a_frame_and_its_image_gives_the_same(tmp_path: Path, photo: Tensor) -> None:
    frame = tensor_to_frame(photo)
    of_tensor, of_frame = (
        save_image(x, tmp_path / f"{i}.png") for i, x in enumerate((photo, frame))
    )
    assert of_tensor.read_bytes() == of_frame.read_bytes()


def test_frames_are_bgr_and_channels_last() -> None:
    image = torch.zeros(1, 3, 2, 3)
    image[0, 0, 0, 2] = 1  # red, top right
    frame = tensor_to_frame(image)
    assert frame.shape == (2, 3, 3)
    assert frame.dtype == np.uint8
    assert frame.flags.c_contiguous
    assert frame[0, 2].tolist() == [0, 0, 255]
    assert frame.sum() == 255


def test_frame_to_image_and_back_is_exact() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    image = frame_to_tensor(frame)
    assert image.shape == (1, 3, HEIGHT, WIDTH)
    assert image.dtype == torch.float32
    np.testing.assert_array_equal(tensor_to_frame(image), frame)


def test_all_256_levels_survive() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    np.testing.assert_array_equal(tensor_to_frame(frame_to_tensor(levels)), levels)


def test_mirrored_frames_are_taken() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    mirrored = frame[:, ::-1]
    np.testing.assert_array_equal(tensor_to_frame(frame_to_tensor(mirrored)), mirrored)


@pytest.mark.parametrize(
    ("value", "level"),
    [(-5.0, 0), (-0.001, 0), (1.02, 255), (300.0, 255), (0.4999, 127), (127.6 / 255, 128)],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_are_clamped_and_rounded_not_wrapped(
    value: float, level: int, dtype: torch.dtype
) -> None:
    frame = tensor_to_frame(torch.full((1, 3, 2, 2), value, dtype=dtype))
    assert frame.tolist() == [[[level] * 3] * 2] * 2


def test_half_precision_images_with_gradients_become_frames(photo: Tensor) -> None:
    frame = tensor_to_frame(photo.bfloat16().requires_grad_())
    np.testing.assert_allclose(frame.astype(int), tensor_to_frame(photo).astype(int), atol=1)


@pytest.mark.parametrize("size", [1, 16, 100, 333, 640])
@pytest.mark.parametrize("shape", [(427, 640), (640, 427), (100, 100), (3, 1000)])
def test_resizing_makes_the_long_side_exact_and_keeps_the_aspect(
    size: int, shape: tuple[int, int]
) -> None:
    resized = resize(torch.rand(1, 3, *shape), size)
    assert max(resized.shape[2:]) == size
    for length, before in zip(resized.shape[2:], shape, strict=True):
        assert abs(length - before * size / max(shape)) <= 0.5 or length == 1
    assert resized.min() >= 0
    assert resized.max() <= 1


def test_resizing_to_the_same_size_changes_nothing(photo: Tensor) -> None:
    assert torch.equal(resize(photo, 96), photo)


def test_resizing_does_not_alias() -> None:
    stripes = (torch.arange(256) % 2).float().expand(1, 3, 256, 256)
    shrunk = resize(stripes, 64)
    torch.testing.assert_close(shrunk, torch.full_like(shrunk, 0.5), atol=0.06, rtol=0)


def test_loading_at_a_size_is_loading_and_resizing(photos: Path) -> None:
    path = photos / "rocket.jpg"
    assert torch.equal(load_image(path, size=100), resize(load_image(path), 100))


@pytest.mark.parametrize("size", [0, -1])
def test_size_must_be_positive(astronaut: Path, photo: Tensor, size: int) -> None:
    with pytest.raises(InputError, match=f"positive number of pixels, not {size}"):
        load_image(astronaut, size=size)
    with pytest.raises(InputError, match=f"positive number of pixels, not {size}"):
        resize(photo, size)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("missing.png", None, "no such file"),
        (".", None, "is a directory"),
        ("empty.png", b"", "not an image"),
        ("notes.png", b"hello world\n", "not an image"),
        ("header.png", b"\x89PNG\r\n\x1a\n", "damaged|not an image"),
    ],
)
def test_what_is_no_image_is_an_error_that_names_it(
    tmp_path: Path, name: str, content: bytes | None, says: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=says) as caught:
        load_image(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.bmp", "a.tif"])
@pytest.mark.parametrize("part", [0.02, 0.5, 0.9])
@pytest.mark.filterwarnings("ignore:Tag data larger than file")
def test_truncated_image_is_an_error(
    tmp_path: Path, name: str, part: float, astronaut: Path
) -> None:
    path = tmp_path / name
    Image.open(astronaut).resize((64, 48)).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(InputError, match=name):
        load_image(path)


@pytest.mark.parametrize("name", ["a.xyz", "a", "a.png.txt", "a.safetensors"])
def test_unknown_suffix_is_an_error_and_nothing_is_written(
    tmp_path: Path, name: str, photo: Tensor
) -> None:
    with pytest.raises(InputError, match=r"unknown image format.*\.png"):
        save_image(photo, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_missing_folder_is_an_error(tmp_path: Path, photo: Tensor) -> None:
    with pytest.raises(InputError, match="does not exist"):
        save_image(photo, tmp_path / "missing" / "a.png")


def test_a_folder_is_no_output(tmp_path: Path, photo: Tensor) -> None:
    (tmp_path / "a.png").mkdir()
    with pytest.raises(InputError, match="directory"):
        save_image(photo, tmp_path / "a.png", overwrite=True)


def test_existing_image_is_kept_unless_overwritten(tmp_path: Path, photo: Tensor) -> None:
    path = save_image(photo, tmp_path / "a.png")
    before = path.read_bytes()
    for refuse in (check_image_output, lambda p: save_image(1 - photo, p)):
        with pytest.raises(OutputExistsError, match="--overwrite"):
            refuse(path)
    assert path.read_bytes() == before
    save_image(1 - photo, path, overwrite=True)
    assert path.read_bytes() != before


def test_an_error_while_writing_leaves_the_old_image_and_nothing_else(
    tmp_path: Path, photo: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def disk_full(_: Image.Image, path: Path, **__: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    path = save_image(photo, tmp_path / "a.png")
    before = path.read_bytes()
    monkeypatch.setattr(Image.Image, "save", disk_full)
    with pytest.raises(OSError, match="No space left"):
        save_image(1 - photo, path, overwrite=True)
    with pytest.raises(OSError, match="No space left"):
        save_image(1 - photo, tmp_path / "new.png")
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def _big_endian_tiff(levels: np.ndarray[Any, Any]) -> bytes:
    """The smallest TIFF with 16-bit grey levels, most significant byte first."""
    height, width = levels.shape
    entries = [
        (256, 3, width << 16),
        (257, 3, height << 16),
        (258, 3, 16 << 16),
        (259, 3, 1 << 16),
        (262, 3, 1 << 16),
        (273, 4, 8 + 2 + 9 * 12 + 4),
        (277, 3, 1 << 16),
        (278, 3, height << 16),
        (279, 4, levels.nbytes),
    ]
    directory = b"".join(
        tag.to_bytes(2) + kind.to_bytes(2) + (1).to_bytes(4) + value.to_bytes(4)
        for tag, kind, value in entries
    )
    header = b"MM\0*" + (8).to_bytes(4) + len(entries).to_bytes(2)
    return header + directory + bytes(4) + levels.tobytes()
