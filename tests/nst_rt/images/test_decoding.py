import struct
import sys
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from pictures import (
    assert_holds,
    deep_png,
    gray_tiff,
    loaded,
    noise,
    pixels,
    rgb_picture,
    unknown_dds,
)
from PIL import ExifTags, Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import putchunk
from PIL.WebPImagePlugin import WebPImageFile
from torch import Tensor

from nst_rt.errors import InputError, OutputExistsError
from nst_rt.images import decoding, pillow
from nst_rt.images.convert import resize, resize_to, tensor_to_frame
from nst_rt.images.io import image_shape, load_image, load_picture, save_image
from nst_rt.images.pillow import readable_image


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif"])
def test_every_mode_becomes_rgb(tmp_path: Path, name: str, mode: str) -> None:
    picture = rgb_picture().convert(mode)
    expected = np.asarray(picture.convert("RGB"), np.float32) / 255
    np.testing.assert_array_equal(loaded(picture, tmp_path / name), expected)


@pytest.mark.parametrize(("full", "dtype"), [(1, np.float32), (65535, np.uint16)])
def test_deep_gray_tiff_keeps_its_range(tmp_path: Path, full: int, dtype: type) -> None:
    gray = np.linspace((0, full // 2), (full / 2, full), 9, axis=1, dtype=dtype)
    image = loaded(Image.fromarray(gray), tmp_path / "a.tif")
    np.testing.assert_array_equal(image, np.dstack([gray / np.float32(full)] * 3))


def test_16_bit_color_tiff_is_read_at_8_bits(tmp_path: Path) -> None:
    levels = noise(3)
    cv2.imwrite(str(tmp_path / "a.tif"), levels[:, :, ::-1])
    picture = load_picture(tmp_path / "a.tif")
    assert picture.depth == 8
    np.testing.assert_allclose(pixels(picture.image), levels / 65535, atol=1 / 255)


def test_cmyk_jpeg(tmp_path: Path) -> None:
    orange = Image.new("RGB", (16, 16), (255, 128, 0))
    image = loaded(orange.convert("CMYK"), tmp_path / "a.jpg", quality=95)
    np.testing.assert_allclose(image, np.full((16, 16, 3), (1, 0.5, 0)), atol=0.03)


@pytest.mark.parametrize(("alpha", "expected"), [(0, 1.0), (255, 100 / 255), (51, 224 / 255)])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_composited_over_white(
    tmp_path: Path, mode: str, alpha: int, expected: float
) -> None:
    color = (100, alpha) if mode == "LA" else (100, 100, 100, alpha)
    image = loaded(Image.new(mode, (4, 4), color), tmp_path / "a.png")
    np.testing.assert_allclose(image, np.full((4, 4, 3), expected), atol=1 / 255)


@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
def test_transparent_color_becomes_white(tmp_path: Path, mode: str) -> None:
    picture = Image.new("RGB", (4, 4), (10, 10, 10))
    picture.paste((90, 90, 90), (0, 0, 2, 4))
    picture = picture.quantize(4) if mode == "P" else picture.convert(mode)
    color = picture.getpixel((0, 0))
    image = loaded(picture, tmp_path / "a.png", transparency=color)
    np.testing.assert_array_equal(image[:, :2], np.ones((4, 2, 3), dtype=np.float32))
    np.testing.assert_allclose(image[:, 2:], np.full((4, 2, 3), 10 / 255), atol=1e-6)


# EXIF orientation -> step of the columns (-1 mirrors), then number of quarter turns.
TURNS = {1: (1, 0), 2: (-1, 0), 3: (1, 2), 4: (-1, 2), 5: (-1, 1), 6: (1, 1), 7: (-1, 3), 8: (1, 3)}


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("name", ["a.png", "a.tif", "deep.png"])
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int, name: str) -> None:
    upright = noise(4, np.uint16 if name == "deep.png" else np.uint8)
    step, quarters = TURNS[orientation]
    stored = np.rot90(upright[:, ::step], quarters)
    exif = Image.Exif()
    exif[0x0112] = orientation
    if name == "deep.png":
        (tmp_path / name).write_bytes(deep_png(stored, exif=exif))
    else:
        Image.fromarray(stored).save(tmp_path / name, exif=exif)
    assert_holds(tmp_path / name, upright)
    assert image_shape(tmp_path / name) == upright.shape[:2]


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("frames", [0, 3])  # of an animation, the still image is read
def test_16_bit_png_is_exact(tmp_path: Path, channels: int, frames: int) -> None:
    levels = noise(channels)
    (tmp_path / "a").write_bytes(deep_png(levels, frames=frames))
    assert_holds(tmp_path / "a", levels)


@pytest.mark.parametrize("chunk", [b"acTL", b"fcTL", b"fdAT", b"IDAT"])
def test_damaged_16_bit_animation_is_an_error(tmp_path: Path, chunk: bytes) -> None:
    content = bytearray(deep_png(noise(4), frames=3))
    content[content.rindex(chunk) + 3] = 0xFF
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.png"):
        load_image(tmp_path / "a.png")


@pytest.mark.parametrize("channels", [1, 3])
def test_16_bit_transparent_color_is_compared_exactly(tmp_path: Path, channels: int) -> None:
    levels = noise(channels)
    levels[2, 3:5] = levels[1, 1]
    levels[4, 4] = levels[1, 1] ^ 1  # another color, but the same at 8 bits
    key = tuple(levels[1, 1].tolist())
    (tmp_path / "a.png").write_bytes(deep_png(levels, key=key))
    picture = load_picture(tmp_path / "a.png")
    assert picture.alpha is not None
    expected = (levels != levels[1, 1]).any(axis=2)
    assert expected.sum() == 32
    np.testing.assert_array_equal(picture.alpha[0, 0], expected)
    colors = np.broadcast_to(levels / np.float32(65535), (5, 7, 3))
    np.testing.assert_array_equal(pixels(picture.image)[expected], colors[expected])


def test_12_bit_tiff_covers_the_whole_range(tmp_path: Path) -> None:
    levels = np.linspace(0, 4095, 32).round().astype(np.uint16)
    packed = int("".join(f"{level:012b}" for level in levels), 2).to_bytes(48)
    (tmp_path / "a.tif").write_bytes(gray_tiff(packed, bits=12))
    picture = load_picture(tmp_path / "a.tif")
    assert picture.depth == 16
    expected = np.broadcast_to((levels / 4095).reshape(4, 8, 1), (4, 8, 3))
    np.testing.assert_allclose(pixels(picture.image), expected, atol=1 / 65535)


@pytest.mark.parametrize("white", [0, 1])
def test_16_bit_tiff_may_define_0_as_white(tmp_path: Path, white: int) -> None:
    levels = noise(1)[:4].repeat(2, axis=1)[:, :8]
    (tmp_path / "a.tif").write_bytes(gray_tiff(levels.tobytes(), bits=16, white=white))
    expected = levels if white else 65535 - levels
    assert_holds(tmp_path / "a.tif", expected)


@pytest.mark.parametrize("content", [b"", b"hello world\n", b"\x89PNG\r\n\x1a\n"])
def test_file_that_is_no_image_is_an_error_that_names_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(InputError, match=str(path)):
        load_image(path)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.bmp", "a.tif", "deep.png"])
@pytest.mark.parametrize("fraction", [0.02, 0.5, 0.9])
@pytest.mark.filterwarnings("ignore:Tag data larger than file")
def test_truncated_image_is_an_error_that_names_it(
    tmp_path: Path, name: str, fraction: float, photo: Tensor
) -> None:
    path = save_image(photo, tmp_path / name, depth=16 if name == "deep.png" else 8)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * fraction)])
    with pytest.raises(InputError, match=name):
        load_image(path)


def test_format_that_pillow_cannot_read_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.dds"
    path.write_bytes(unknown_dds())
    with pytest.raises(NotImplementedError), Image.open(path):
        pass
    for read in (load_image, image_shape):
        with pytest.raises(InputError, match=r"a\.dds"):
            read(path)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("in C"),
        AttributeError(),
        KeyError(1),
        struct.error("x"),
        EOFError(),
        MemoryError(),
        ZeroDivisionError(),
        cv2.error("a\nb"),
    ],
)
def test_any_decoder_error_becomes_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    rgb_picture().save(tmp_path / "a.webp")

    def fail(self: object) -> None:
        raise error

    monkeypatch.setattr(WebPImageFile, "load", fail)
    with pytest.raises(InputError, match=r"a\.webp") as caught:
        load_image(tmp_path / "a.webp")
    assert "\n" not in str(caught.value)


def test_own_errors_pass_through_readable_image(tmp_path: Path) -> None:
    rgb_picture().save(tmp_path / "a.png")
    with pytest.raises(OutputExistsError, match="mine"), readable_image(tmp_path / "a.png"):
        raise OutputExistsError("mine")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.bmp", "a.tif", "a.gif"])
@pytest.mark.parametrize("limit", [34, 17, None])  # Pillow would warn, fail, or accept 35 pixels
def test_pillows_pixel_limit_is_lifted_for_us_and_restored_for_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, limit: int | None
) -> None:
    rgb_picture().save(tmp_path / name)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with readable_image(tmp_path / name):  # as by another thread
        assert load_image(tmp_path / name).shape == (1, 3, 5, 7)
    assert limit == Image.MAX_IMAGE_PIXELS
    with pytest.raises(InputError):
        load_image(tmp_path / name, max_pixels=1)
    assert limit == Image.MAX_IMAGE_PIXELS


def test_maximum_number_of_pixels(tmp_path: Path) -> None:
    rgb_picture().save(tmp_path / "a.png")
    for read in (load_image, load_picture):
        read(tmp_path / "a.png", max_pixels=35)
        with pytest.raises(InputError, match="34"):
            read(tmp_path / "a.png", max_pixels=34)


@pytest.mark.parametrize("read", [load_image, image_shape])
def test_image_larger_than_the_memory_is_an_error_before_decoding(
    tmp_path: Path, read: Callable[[Path], object]
) -> None:
    content = BytesIO(b"")
    content.write(b"\x89PNG\r\n\x1a\n")
    putchunk(content, b"IHDR", struct.pack(">2L5B", 2**20, 2**20, 8, 2, 0, 0, 0))
    putchunk(content, b"IDAT", zlib.compress(b""))
    (tmp_path / "bomb.png").write_bytes(content.getvalue())
    with pytest.raises(InputError, match=r"bomb\.png.*memory"):
        read(tmp_path / "bomb.png")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "keyed L", "keyed RGB"])
def test_large_image_is_reduced_before_it_is_resized(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    picture = Image.open(photos / "astronaut.png").convert("RGBA").crop((0, 0, 512, 333))
    picture.putalpha(Image.radial_gradient("L").resize(picture.size))
    picture = (picture.convert("RGB") if mode == "P" else picture).convert(mode.split()[-1])
    key = {"keyed L": 255, "keyed RGB": (255, 255, 255)}.get(mode)
    suffix = "tif" if mode == "PA" else "png"
    picture.save(tmp_path / f"a.{suffix}", **({} if key is None else {"transparency": key}))
    expected = load_picture(tmp_path / f"a.{suffix}", size=50)
    monkeypatch.setattr(decoding, "_LARGE", 0)
    shrunk = load_picture(tmp_path / f"a.{suffix}", size=50)
    assert (shrunk.alpha is None) == (expected.alpha is None) == (mode in ("1", "L", "P", "RGB"))
    assert shrunk.image.shape == expected.image.shape == (1, 3, 33, 50)
    seen = [p.image if p.alpha is None else p.image * p.alpha for p in (shrunk, expected)]
    assert not torch.equal(*seen)
    torch.testing.assert_close(*seen, atol=0.1, rtol=0)


def test_large_jpeg_is_decoded_at_a_reduced_size(
    tmp_path: Path, astronaut: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.open(astronaut).crop((0, 0, 509, 331)).save(tmp_path / "a.jpg", exif=exif, quality=95)
    whole = load_image(tmp_path / "a.jpg")
    assert torch.equal(load_image(tmp_path / "a.jpg", size=50), resize(whole, 50))
    monkeypatch.setattr(decoding, "_LARGE", 20_000)
    read = []
    load = JpegImageFile.load
    monkeypatch.setattr(JpegImageFile, "load", lambda self: read.append(self.size) or load(self))
    for size, decoded in {400: (509, 331), 120: (255, 166), 50: (128, 83), 9: (64, 42)}.items():
        image = load_image(tmp_path / "a.jpg", size=size)
        assert read[-1] == decoded
        assert image.shape == resize(whole, size).shape
        assert (image - resize(whole, size)).abs().mean() < 0.03


@pytest.mark.parametrize("brand", [b"heic", b"mif1"])
def test_heic_without_pillow_heif_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, brand: bytes
) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x1cftyp" + brand + bytes(40))
    for read in (load_image, image_shape):
        with pytest.raises(InputError, match=r"a\.heic.*pillow-heif"):
            read(tmp_path / "a.heic")


@pytest.mark.parametrize("name", ["astronaut.png", "camera.png", "hubble_deep_field.jpg"])
def test_photos_look_as_opencv_decodes_them(photos: Path, name: str) -> None:
    expected = cv2.imread(str(photos / name))
    assert expected is not None
    difference = tensor_to_frame(load_image(photos / name)).astype(int) - expected
    assert np.abs(difference).mean() < 0.5  # JPEG decoders differ a little


def test_orientation_in_malformed_exif_is_applied(tmp_path: Path) -> None:
    # The width is a text, stored after both entries; the orientation is 6; big-endian.
    width = struct.pack(">HHII", ExifTags.Base.ImageWidth, 2, 6, 38)
    orientation = struct.pack(">HHIHH", ExifTags.Base.Orientation, 3, 1, 6, 0)
    entries = struct.pack(">H", 2) + width + orientation + bytes(4)
    exif = b"Exif\0\0MM\0*\0\0\0\x08" + entries + b"hello\0"
    Image.new("RGB", (30, 20), "red").save(tmp_path / "a.jpg", exif=exif)
    with pytest.raises(struct.error), Image.open(tmp_path / "a.jpg") as opened:
        ImageOps.exif_transpose(opened)
    assert load_image(tmp_path / "a.jpg").shape == (1, 3, 30, 20)


def test_jpeg_is_decoded_no_smaller_than_needed(tmp_path: Path) -> None:
    gradient = Image.linear_gradient("L").resize((800, 640)).convert("RGB")
    gradient.save(tmp_path / "a.jpg", quality=95)
    whole = load_image(tmp_path / "a.jpg")
    for at_least, shape in {
        640: (640, 800),
        200: (320, 400),
        160: (160, 200),
        9: (80, 100),
    }.items():
        small = load_image(tmp_path / "a.jpg", at_least=at_least)
        assert small.shape[-2:] == shape
        torch.testing.assert_close(small, resize_to(whole, shape), atol=0.02, rtol=0)


def test_image_inside_an_icon_counts_against_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = BytesIO()
    Image.new("1", (12000, 12000)).save(inside, "PNG")
    entry = struct.pack("<4B2H2L", 32, 32, 0, 0, 1, 32, len(inside.getvalue()), 22)
    (tmp_path / "a.ico").write_bytes(struct.pack("<3H", 0, 1, 1) + entry + inside.getvalue())
    limit = Image.MAX_IMAGE_PIXELS
    with pytest.raises(InputError, match="maximum"):
        load_image(tmp_path / "a.ico", max_pixels=10_000)
    for module in (pillow, decoding):
        monkeypatch.setattr(module, "available_memory", lambda _: 1.1e9)
    with pytest.raises(InputError, match="memory"):
        load_image(tmp_path / "a.ico")
    assert limit == Image.MAX_IMAGE_PIXELS


def test_postscript_is_not_run(tmp_path: Path) -> None:
    script = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 48\n%%EndComments\n{} loop\n"
    (tmp_path / "a.jpg").write_text(script)
    for read in (load_image, image_shape):
        with pytest.raises(InputError, match=r"a\.jpg.*PostScript"):
            read(tmp_path / "a.jpg")


def test_values_that_are_no_numbers_are_black(tmp_path: Path) -> None:
    values = np.array([[np.nan, 0.5], [np.inf, -np.inf]], np.float32)
    image = loaded(Image.fromarray(values), tmp_path / "a.tif")
    np.testing.assert_array_equal(image[:, :, 0], [[0, 0.5], [1, 0]])
