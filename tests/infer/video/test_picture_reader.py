"""Folders of images and animated WebP as videos."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nst_rt.errors import InputError, PartialResultError, StyleTransferError
from nst_rt.infer.stylizer import Stylizer
from nst_rt.infer.video import ConversionSettings, check_conversion, stylize_video
from nst_rt.infer.video.picture_reader import PictureReader, numbered_images


def save(path: Path, level: int = 100, size: tuple[int, int] = (64, 48)) -> Path:
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", size, (level,) * 3).save(path)
    return path


def test_images_are_in_numerical_order(tmp_path: Path) -> None:
    names = ["a2.png", "a10.png", "①01.png", "٣.png", "x.gif", "y.jfif"]
    for name in names:
        save(tmp_path / name)
    (tmp_path / "._a2.png").write_bytes(b"of macOS")
    found = [path.name for path in numbered_images(tmp_path)]
    assert sorted(found) == sorted(names)
    assert found.index("a2.png") < found.index("a10.png")


@pytest.mark.parametrize("kind", ["damaged", "link", "no picture"])
def test_unreadable_first_image_is_left_out(tmp_path: Path, untouched: Stylizer, kind: str) -> None:
    frames = tmp_path / "frames"
    first = save(frames / "1.png", size=(200, 100))
    for number in (2, 3, 4):
        save(frames / f"{number}.png")
    if kind == "link":
        first.unlink()
        first.symlink_to(tmp_path / "gone.png")
    else:
        first.write_bytes(first.read_bytes()[:20] if kind == "damaged" else b"no picture")
    output = tmp_path / "out.mp4"
    with pytest.raises(PartialResultError) as raised:
        stylize_video(frames, output, style=untouched, segment=1)
    done = raised.value.result
    assert (done.frames, done.damage[0].start, len(done.damage)) == (3, 0, 1)
    assert done.warnings == ()


def test_folder_without_readable_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match="1 images"):
        PictureReader(tmp_path)


def test_part_of_folder_has_the_size_of_its_first_image(tmp_path: Path) -> None:
    for number, size in enumerate([(64, 48), (96, 32), (32, 96)]):
        save(tmp_path / f"{number}.png", size=size)
    reader = PictureReader(tmp_path)
    whole = list(reader)
    assert [timed.image.shape for timed in whole] == [(48, 64, 3)] * 3
    assert len(reader.warnings) == 1
    last = list(PictureReader(tmp_path, start=2 / 25))
    np.testing.assert_array_equal(last[0].image, whole[2].image)


def test_transparent_images_are_composited_over_white(tmp_path: Path) -> None:
    picture = Image.new("RGBA", (64, 48), (0, 0, 0, 128))
    picture.paste((0, 0, 255, 255), (0, 0, 32, 48))
    opaque = Image.new("RGBA", (64, 48), (0, 0, 0, 255))
    picture.save(tmp_path / "1.png")
    picture.save(tmp_path / "2.png")
    animation = tmp_path / "a.webp"
    opaque.save(animation, save_all=True, append_images=[picture], lossless=True)
    for reader in (PictureReader(tmp_path), PictureReader(animation)):
        frame = list(reader)[1].image
        assert frame[24, [16, 48]].tolist() == [[255, 0, 0], [127, 127, 127]]
        assert len(reader.warnings) == 1
    opaque.save(animation, save_all=True, append_images=[opaque.rotate(90)], lossless=True)
    reader = PictureReader(animation)
    assert (len(list(reader)), reader.warnings) == (2, [])


@pytest.mark.parametrize("keep", [12, 26, 60, 400])
def test_damaged_webp_is_refused(tmp_path: Path, keep: int) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (2, 48, 64, 3), np.uint8)
    first, second = (Image.fromarray(picture) for picture in noise)
    source = tmp_path / "in.webp"
    first.save(source, save_all=True, append_images=[second])
    source.write_bytes(source.read_bytes()[:keep])
    with pytest.raises(StyleTransferError, match=r"in\.webp") as raised:
        check_conversion(source, tmp_path / "out.mp4")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["%06d.png", "2.webp", "film.gif"])
def test_output_among_source_images_is_refused(tmp_path: Path, name: str) -> None:
    frames = tmp_path / "frames"
    save(frames / "1.png")
    save(frames / "2.webp")
    (tmp_path / "link").symlink_to(frames)
    for folder in (frames, tmp_path / "link"):
        with pytest.raises(InputError, match="another folder"):
            check_conversion(frames, folder / name, ConversionSettings(overwrite=True))
    check_conversion(frames, frames / "film.mp4")
    check_conversion(frames, tmp_path / "stylized" / "%06d.png")
