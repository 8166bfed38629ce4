import logging
import struct
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pictures import Array, deep_png, loaded, pixels, rgb_picture
from PIL import Image, ImageCms

from nst_rt.images.io import load_image


def cmyk_profile() -> bytes:
    """A made-up but valid profile: each ink darkens by a fraction; cyan, magenta, yellow tint."""
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
    """By mode: Adobe RGB, gray with 20 percent dot gain, and one for print."""
    rgb, gray = (Image.open(photos / x).info["icc_profile"] for x in ("rocket.jpg", "page.png"))
    return {"RGB": rgb, "L": gray, "CMYK": cmyk_profile()}


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
def test_colors_are_converted_from_the_profile_to_srgb(
    tmp_path: Path, photos: Path, profiles: dict[str, bytes], name: str, mode: str, profile: str
) -> None:
    photo = Image.open(photos / "coffee.png").resize((64, 48)).convert(mode)
    image = loaded(photo, tmp_path / name, icc_profile=profiles[profile])
    stored = Image.open(tmp_path / name).convert(profile)
    expected = as_imagecms_gives(stored, profiles[profile])
    np.testing.assert_allclose(image * 255, expected, atol=1)
    assert mode == "L" or np.abs(image * 255 - np.asarray(stored.convert("RGB"))).mean() > 3


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_16_bit_colors_are_converted_to_srgb(
    tmp_path: Path, profiles: dict[str, bytes], mode: str
) -> None:
    shallow = rgb_picture().convert(mode)
    profile = profiles[mode.removesuffix("A")]
    levels = np.atleast_3d(np.asarray(shallow)).astype(np.uint16) * 257
    (tmp_path / "a.png").write_bytes(deep_png(levels, profile=profile))
    expected = as_imagecms_gives(shallow.convert(mode.removesuffix("A")), profile)
    image = pixels(load_image(tmp_path / "a.png"))
    np.testing.assert_allclose(image * 255, expected, atol=1.5)


def test_linear_16_bit_image_is_smooth_and_accurate_down_to_black(
    tmp_path: Path, profiles: dict[str, bytes]
) -> None:
    one_gamma = b"curv\0\0\0\0\0\0\0\1"
    linear = profiles["RGB"].replace(one_gamma + b"\x02\x33", one_gamma + b"\x01\x00")
    assert linear != profiles["RGB"]
    levels = np.arange(0, 65536, 16, dtype=np.uint16)
    gray = levels.reshape(64, 64, 1).repeat(3, axis=2)
    (tmp_path / "a.png").write_bytes(deep_png(gray, profile=linear))
    image = pixels(load_image(tmp_path / "a.png")).reshape(-1, 3)
    light = levels[:, None] / 65535
    expected = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(image, expected.repeat(3, axis=1), atol=1.5 / 255)
    assert (np.diff(image, axis=0) >= 0).all()
    assert len(np.unique(image[:, 0])) > 2000


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_srgb_profiles_change_no_level(tmp_path: Path, photos: Path, mode: str) -> None:
    tagged = Image.open(photos / "astronaut.png").resize((64, 64))
    expected = np.asarray(tagged.convert(mode).convert("RGB"), np.float32) / 255
    made = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (tagged.info["icc_profile"], made):
        image = loaded(tagged.convert(mode), tmp_path / "a.png", icc_profile=profile)
        np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize("kind", ["noise", "cut", "L", "CMYK"])
def test_unusable_profile_is_ignored_with_a_warning(
    tmp_path: Path, profiles: dict[str, bytes], kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    unusable = profiles | {"noise": bytes(range(200)), "cut": profiles["RGB"][:300]}
    expected = np.asarray(rgb_picture(), dtype=np.float32) / 255
    with caplog.at_level(logging.WARNING):
        image = loaded(rgb_picture(), tmp_path / "a.png", icc_profile=unusable[kind])
    np.testing.assert_array_equal(image, expected)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert str(tmp_path / "a.png") in caplog.text
