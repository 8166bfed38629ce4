import logging
import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import ExifTags, Image, ImageCms, ImageOps
from PIL.PngImagePlugin import putchunk
from torch import Tensor

from nst_rt.errors import InputError, OutputExistsError
from nst_rt.images import (
    IMAGE_SUFFIXES,
    Depth,
    check_image_output,
    frame_to_tensor,
    load_image,
    load_picture,
    resize,
    resize_to,
    save_image,
    tensor_to_frame,
)

Array = np.ndarray[Any, Any]


def rgb_picture() -> Image.Image:
    """Noise, so that no two pixels are taken for each other."""
    return Image.fromarray(noise(3, np.uint8))


def noise(channels: int, dtype: type[np.unsignedinteger[Any]] = np.uint16) -> Array:
    """Levels, shape (5, 7, channels)."""
    full = np.iinfo(dtype).max
    return np.random.default_rng(0).integers(1, full, (5, 7, channels), dtype, endpoint=True)


def pixels(image: Tensor) -> Array:
    """Image (1, 3, H, W) as an array (H, W, 3)."""
    assert image.shape[:2] == (1, 3)
    assert image.dtype == torch.float32
    array: Array = image[0].permute(1, 2, 0).numpy()
    return array


def loaded(picture: Image.Image, path: Path, **options: Any) -> Array:
    """What `load_image` makes of a picture that Pillow saved."""
    picture.save(path, **options)
    return pixels(load_image(path))


def deep_png(levels: Array, *, exif: Image.Exif | None = None, profile: bytes = b"") -> bytes:
    """A PNG with 16-bit levels (H, W, 1 to 4)."""
    height, width, channels = levels.shape
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
    file = BytesIO()
    file.write(b"\x89PNG\r\n\x1a\n")
    putchunk(file, b"IHDR", struct.pack(">2L5B", width, height, 16, colour_type, 0, 0, 0))
    if profile:
        putchunk(file, b"iCCP", b"a\0\0" + zlib.compress(profile))
    putchunk(file, b"IDAT", zlib.compress(rows))
    if exif is not None:
        putchunk(file, b"eXIf", exif.tobytes()[6:])
    putchunk(file, b"IEND")
    return file.getvalue()


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif"])
def test_every_mode_becomes_rgb(tmp_path: Path, name: str, mode: str) -> None:
    picture = rgb_picture().convert(mode)
    expected = np.asarray(picture.convert("RGB"), np.float32) / 255
    np.testing.assert_array_equal(loaded(picture, tmp_path / name), expected)


@pytest.mark.parametrize(("full", "dtype"), [(1, np.float32), (65535, np.uint16)])
def test_tiffs_of_deep_grey_keep_their_range(tmp_path: Path, full: int, dtype: type) -> None:
    grey = np.linspace((0, full // 2), (full / 2, full), 9, axis=1, dtype=dtype)
    image = loaded(Image.fromarray(grey), tmp_path / "a.tif")
    np.testing.assert_array_equal(image, np.dstack([grey / np.float32(full)] * 3))


def test_16_bit_colours_of_a_tiff_are_read_at_8(tmp_path: Path) -> None:
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


# How a picture lies in a file, by its EXIF orientation: mirrored, then turned by quarters.
TURNS = {1: (1, 0), 2: (-1, 0), 3: (1, 2), 4: (-1, 2), 5: (-1, 1), 6: (1, 1), 7: (-1, 3), 8: (1, 3)}


def assert_holds(path: Path, levels: Array) -> None:
    """That the file is read as these levels (H, W, 1 to 4): grey or RGB, with or without alpha."""
    picture = load_picture(path)
    assert picture.depth == 8 * levels.itemsize
    values = levels / np.float32(np.iinfo(levels.dtype).max)
    assert (picture.alpha is None) == (levels.shape[2] in (1, 3))
    if picture.alpha is not None:
        np.testing.assert_array_equal(picture.alpha[0, 0], values[:, :, -1])
        values = values[:, :, :-1]
    expected = np.broadcast_to(values, (*levels.shape[:2], 3))
    np.testing.assert_array_equal(pixels(picture.image), expected)


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("name", ["a.png", "a.tif", "deep.png"])
def test_exif_orientation_is_undone(tmp_path: Path, orientation: int, name: str) -> None:
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


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bit_pngs_are_exact(tmp_path: Path, channels: int) -> None:
    levels = noise(channels)
    (tmp_path / "a").write_bytes(deep_png(levels))
    assert_holds(tmp_path / "a", levels)


@pytest.mark.parametrize("channels", [3, 4])
def test_saving_and_loading_16_bits_is_exact(tmp_path: Path, channels: int) -> None:
    levels = noise(channels)
    image = torch.from_numpy(levels / np.float32(65535)).permute(2, 0, 1)[None]
    alpha = image[:, 3:] if channels == 4 else None
    assert_holds(save_image(image[:, :3], tmp_path / "a.png", alpha=alpha, depth=16), levels)


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_formats_without_16_bits_get_8(tmp_path: Path, suffix: str, photo: Tensor) -> None:
    deep = save_image(photo, tmp_path / f"deep{suffix}", depth=16)
    shallow = save_image(photo, tmp_path / f"shallow{suffix}", depth=8)
    assert deep.read_bytes() == shallow.read_bytes()


@pytest.mark.parametrize("name", ["astronaut.png", "camera.png", "hubble_deep_field.jpg"])
def test_photos_look_as_opencv_reads_them(photos: Path, name: str) -> None:
    expected = cv2.imread(str(photos / name))
    assert expected is not None
    difference = tensor_to_frame(load_image(photos / name)).astype(int) - expected
    assert np.abs(difference).mean() < 0.5  # JPEG decoders differ a little


@pytest.mark.parametrize("suffix", [*IMAGE_SUFFIXES, ".PNG"])
def test_saving_and_loading_changes_nothing(tmp_path: Path, suffix: str, photo: Tensor) -> None:
    image = load_image(str(save_image(photo, tmp_path / f"a{suffix}")))
    if suffix in (".jpg", ".jpeg", ".webp"):
        assert (image - photo).abs().mean() < 0.02
    else:
        assert torch.equal(image, (photo * 255).round() / 255)


def test_saving_a_frame_and_its_image_gives_the_same(tmp_path: Path, photo: Tensor) -> None:
    of_image = save_image(photo, tmp_path / "image.png")
    of_frame = save_image(tensor_to_frame(photo), tmp_path / "frame.png")
    assert of_image.read_bytes() == of_frame.read_bytes()


def test_frames_are_bgr_and_channels_last() -> None:
    image = torch.zeros(1, 3, 2, 3)
    image[0, 0, 0, 2] = 1  # red, top right
    frame = tensor_to_frame(image)
    assert frame.tolist() == [[[0, 0, 0], [0, 0, 0], [0, 0, 255]], [[0, 0, 0]] * 3]
    assert frame.dtype == np.uint8
    assert frame.flags.c_contiguous


@pytest.mark.parametrize("step", [1, -1])  # mirrored
def test_frame_to_image_and_back_is_exact(step: int) -> None:
    frame = np.arange(768, dtype=np.uint16).astype(np.uint8).reshape(16, 16, 3)[:, ::step]
    image = frame_to_tensor(frame)
    assert image.shape == (1, 3, 16, 16)
    assert image.dtype == torch.float32
    np.testing.assert_array_equal(tensor_to_frame(image), frame)


@pytest.mark.parametrize(
    ("value", "level"),
    [(-5.0, 0), (-0.001, 0), (1.02, 255), (300.0, 255), (0.4999, 127), (127.6 / 255, 128)],
)
def test_values_are_clamped_and_rounded_not_wrapped(value: float, level: int) -> None:
    frame = tensor_to_frame(torch.full((1, 3, 2, 2), value))
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


def test_resizing_does_not_alias() -> None:
    stripes = (torch.arange(256) % 2).float().expand(1, 3, 256, 256)
    shrunk = resize(stripes, 64)
    torch.testing.assert_close(shrunk, torch.full_like(shrunk, 0.5), atol=0.06, rtol=0)


def test_loading_at_a_size_is_loading_and_resizing(astronaut: Path, photo: Tensor) -> None:
    assert torch.equal(photo, resize(load_image(astronaut), 96))
    assert torch.equal(photo, resize(photo, 96))


@pytest.mark.parametrize("size", [0, -1])
def test_size_must_be_positive(photo: Tensor, size: int) -> None:
    with pytest.raises(InputError, match=f"positive number of pixels, not {size}"):
        resize(photo, size)


@pytest.mark.parametrize("content", [b"", b"hello world\n", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_image_is_an_error_that_names_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"{path}: (not an image|damaged).*$"):
        load_image(path)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.bmp", "a.tif", "deep.png"])
@pytest.mark.parametrize("part", [0.02, 0.5, 0.9])
@pytest.mark.filterwarnings("ignore:Tag data larger than file")
def test_truncated_image_is_an_error(tmp_path: Path, name: str, part: float, photo: Tensor) -> None:
    path = save_image(photo, tmp_path / name, depth=16 if name == "deep.png" else 8)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(InputError, match=name):
        load_image(path)


@pytest.mark.parametrize("name", ["a.xyz", "a", "a.png.txt", "a.safetensors"])
def test_unknown_suffix_is_an_error(tmp_path: Path, name: str, photo: Tensor) -> None:
    with pytest.raises(InputError, match=r"unknown image format.*\.png"):
        save_image(photo, tmp_path / name)


def test_existing_image_is_kept_unless_overwritten(tmp_path: Path, photo: Tensor) -> None:
    path = save_image(photo, tmp_path / "a.png")
    before = path.read_bytes()
    for refuse in (check_image_output, lambda p: save_image(1 - photo, p)):
        with pytest.raises(OutputExistsError, match="--overwrite"):
            refuse(path)
    assert path.read_bytes() == before
    assert save_image(1 - photo, path, overwrite=True).read_bytes() != before


def cmyk_profile() -> bytes:
    """Each ink darkens by its share, and cyan, magenta and yellow colour: made up, but valid."""
    inks = np.indices((2, 2, 2, 2)).reshape(4, 16).T
    darker = np.array([[-51, -76, -13, -102], [-30, 60, -5, 0], [-40, 0, 80, 0]])
    lab = ((255, 128, 128) + inks @ darker.T).astype(np.uint8).tobytes()
    ramp = bytes(range(256))
    matrix = struct.pack(">9i", *np.eye(3, dtype=int).ravel() * 65536)
    table = b"mft1\0\0\0\0\4\3\2\0" + matrix + ramp * 4 + lab + ramp * 3
    white = struct.pack(">3i", 63190, 65536, 54061)
    header = struct.pack(">I4sI", 144 + len(table), b"test", 0x02400000) + b"prtrCMYKLab "
    header = ((header + bytes(12) + b"acsp").ljust(68, b"\0") + white).ljust(128, b"\0")
    return header + struct.pack(">I4s2I", 1, b"A2B0", 144, len(table)) + table


@pytest.fixture(scope="module")
def profiles(photos: Path) -> dict[str, bytes]:
    """By mode: Adobe RGB, grey with 20 percent dot gain, and one for print."""
    rgb, grey = (Image.open(photos / x).info["icc_profile"] for x in ("rocket.jpg", "page.png"))
    return {"RGB": rgb, "L": grey, "CMYK": cmyk_profile()}


def as_imagecms_gives(picture: Image.Image, profile: bytes) -> Array:
    """The picture in sRGB, levels (H, W, 3)."""
    source, target = ImageCms.ImageCmsProfile(BytesIO(profile)), ImageCms.createProfile("sRGB")
    how = ImageCms.Intent.RELATIVE_COLORIMETRIC, "RGB", False
    flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
    converted = ImageCms.profileToProfile(picture, source, target, *how, flags)
    return np.asarray(converted, np.float32)


@pytest.mark.parametrize(
    ("name", "mode", "profile"),
    [(x, "RGB", "RGB") for x in ("a.png", "a.jpg", "a.tif", "a.webp")]
    + [("a.png", x, "RGB") for x in ("L", "P", "RGBA")]
    + [("a.png", "L", "L"), ("a.jpg", "CMYK", "CMYK"), ("a.tif", "CMYK", "CMYK")],
)
def test_the_colours_of_a_profile_become_srgb(
    tmp_path: Path, photos: Path, profiles: dict[str, bytes], name: str, mode: str, profile: str
) -> None:
    photo = Image.open(photos / "coffee.png").resize((64, 48)).convert(mode)
    image = loaded(photo, tmp_path / name, icc_profile=profiles[profile])
    stored = Image.open(tmp_path / name).convert(profile)
    expected = as_imagecms_gives(stored, profiles[profile])
    np.testing.assert_allclose(image * 255, expected, atol=1)
    assert mode == "L" or np.abs(image * 255 - np.asarray(stored.convert("RGB"))).mean() > 3


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_a_profile_of_a_16_bit_image_becomes_srgb(
    tmp_path: Path, profiles: dict[str, bytes], mode: str
) -> None:
    shallow = rgb_picture().convert(mode)
    profile = profiles[mode.removesuffix("A")]
    levels = np.atleast_3d(np.asarray(shallow)).astype(np.uint16) * 257
    (tmp_path / "a.png").write_bytes(deep_png(levels, profile=profile))
    expected = as_imagecms_gives(shallow.convert(mode.removesuffix("A")), profile)
    image = pixels(load_image(tmp_path / "a.png"))
    np.testing.assert_allclose(image * 255, expected, atol=1.5)


def test_a_linear_16_bit_image_is_smooth_and_right_down_to_black(
    tmp_path: Path, profiles: dict[str, bytes]
) -> None:
    one_gamma = b"curv\0\0\0\0\0\0\0\1"
    linear = profiles["RGB"].replace(one_gamma + b"\x02\x33", one_gamma + b"\x01\x00")
    assert linear != profiles["RGB"]
    levels = np.arange(0, 65536, 16, dtype=np.uint16)
    grey = levels.reshape(64, 64, 1).repeat(3, axis=2)
    (tmp_path / "a.png").write_bytes(deep_png(grey, profile=linear))
    image = pixels(load_image(tmp_path / "a.png")).reshape(-1, 3)
    light = levels[:, None] / 65535
    expected = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(image, expected.repeat(3, axis=1), atol=1.5 / 255)
    assert (np.diff(image, axis=0) >= 0).all()
    assert len(np.unique(image[:, 0])) > 2000


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_srgb_profiles_change_nothing(tmp_path: Path, photos: Path, mode: str) -> None:
    tagged = Image.open(photos / "astronaut.png").resize((64, 64))
    expected = np.asarray(tagged.convert(mode).convert("RGB"), np.float32) / 255
    made = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (tagged.info["icc_profile"], made):
        image = loaded(tagged.convert(mode), tmp_path / "a.png", icc_profile=profile)
        np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize("kind", ["noise", "cut", "L", "CMYK"])
def test_a_profile_that_cannot_be_used_is_ignored_with_a_warning(
    tmp_path: Path, profiles: dict[str, bytes], kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    unusable = profiles | {"noise": bytes(range(200)), "cut": profiles["RGB"][:300]}
    expected = np.asarray(rgb_picture(), dtype=np.float32) / 255
    with caplog.at_level(logging.WARNING):
        image = loaded(rgb_picture(), tmp_path / "a.png", icc_profile=unusable[kind])
    np.testing.assert_array_equal(image, expected)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert f"{tmp_path / 'a.png'}: its colour profile is ignored" in caplog.text


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_written_files_say_that_they_are_srgb(tmp_path: Path, suffix: str, photo: Tensor) -> None:
    profile = Image.open(save_image(photo, tmp_path / f"a{suffix}")).info["icc_profile"]
    description = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(BytesIO(profile)))
    assert description.startswith("sRGB")


def soft_disc(size: int) -> Tensor:
    """Alpha (1, 1, size, size): 1 inside a disc, 0 around it, a soft edge of an eighth."""
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, size)] * 2, indexing="ij")
    return ((0.75 - torch.hypot(x, y)) * 8).clamp(0, 1)[None, None]


def flat(*rgb: float, size: int = 64) -> Tensor:
    return torch.tensor(rgb, dtype=torch.float32).view(1, 3, 1, 1).expand(1, 3, size, size).clone()


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
def test_alpha_is_kept_where_anything_is_transparent(tmp_path: Path, suffix: str) -> None:
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
def test_resizing_lets_no_transparent_colour_bleed_in(
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


def test_resizing_rings_neither_in_the_colours_of_an_edge_nor_in_alpha(tmp_path: Path) -> None:
    alpha = (torch.arange(64) < 32).float().expand(1, 1, 64, 64)
    path = save_image(flat(0.4, 0.4, 0.4), tmp_path / "a.png", alpha=alpha)
    picture = load_picture(path, size=100)
    assert picture.alpha is not None
    shown = picture.image[picture.alpha.expand_as(picture.image) > 0.01]
    torch.testing.assert_close(shown, torch.full_like(shown, 0.4), atol=1 / 255, rtol=0)


@pytest.mark.parametrize("shape", [(1, 1, 63, 64), (1, 64, 64), (1, 3, 64, 64)])
def test_alpha_of_another_size_is_an_error(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"alpha must have the shape \(1, 1, 64, 64\), not"):
        save_image(flat(1, 0, 0), tmp_path / "a.png", alpha=torch.ones(shape))
    assert not list(tmp_path.iterdir())


def test_a_photo_whose_exif_is_malformed_is_still_turned(tmp_path: Path) -> None:
    # The width is a text, the orientation the number 6; big-endian, text after both entries.
    width = struct.pack(">HHII", ExifTags.Base.ImageWidth, 2, 6, 38)
    orientation = struct.pack(">HHIHH", ExifTags.Base.Orientation, 3, 1, 6, 0)
    entries = struct.pack(">H", 2) + width + orientation + bytes(4)
    exif = b"Exif\0\0MM\0*\0\0\0\x08" + entries + b"hello\0"
    Image.new("RGB", (30, 20), "red").save(tmp_path / "a.jpg", exif=exif)
    with pytest.raises(struct.error), Image.open(tmp_path / "a.jpg") as opened:
        ImageOps.exif_transpose(opened)
    assert load_image(tmp_path / "a.jpg").shape == (1, 3, 30, 20)


def test_a_large_jpeg_is_decoded_no_smaller_than_needed(tmp_path: Path) -> None:
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
