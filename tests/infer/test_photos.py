import errno
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nst_rt.errors import InputError, OutputExistsError
from nst_rt.images.collection import Photo
from nst_rt.images.io import Frame, load_image, save_image, tensor_to_frame
from nst_rt.infer.photos import stylize_image, stylize_images
from nst_rt.infer.stylizer import Stylizer

NAMES = ["a.png", "b.jpg", "more/a.png"]


@pytest.fixture
def album(tmp_path: Path, astronaut: Path) -> Path:
    folder = tmp_path / "album"
    (folder / "more").mkdir(parents=True)
    for number, name in enumerate(NAMES):
        Image.open(astronaut).resize((40 + number, 36)).save(folder / name)
    return folder


def stylized(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def test_a_folder_keeps_its_names(stylizer: Stylizer, album: Path, tmp_path: Path) -> None:
    told = []
    batch = stylize_images(
        stylizer, album, tmp_path / "out/put", on_photo=lambda *news: told.append(news)
    )
    assert stylized(tmp_path / "out/put") == NAMES
    assert batch.outputs == [tmp_path / "out/put" / name for name in NAMES]
    assert told == [(1, 3, "a.png"), (2, 3, "b.jpg"), (3, 3, "a.png")]
    frame = tensor_to_frame(load_image(album / "a.png"))
    got = tensor_to_frame(load_image(tmp_path / "out/put/a.png"))
    np.testing.assert_array_equal(got, stylizer.stylize(frame))


def test_an_archive_and_a_list(stylizer: Stylizer, album: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "album.zip", "w") as archive:
        for name in NAMES:
            archive.write(album / name, name)
        archive.write(album / "a.png", "../../outside.png")
    stylize_images(stylizer, tmp_path / "album.zip", tmp_path / "unpacked")
    assert stylized(tmp_path / "unpacked") == [*NAMES, "outside.png"]
    (tmp_path / "list.txt").write_text("album/a.png\nalbum/b.jpg\n")
    stylize_images(stylizer, tmp_path / "list.txt", tmp_path / "listed")
    assert stylized(tmp_path / "listed") == NAMES[:2]


def test_what_cannot_be_read_is_skipped(stylizer: Stylizer, album: Path, tmp_path: Path) -> None:
    (album / "b.jpg").write_bytes(b"half")
    batch = stylize_images(stylizer, album, tmp_path / "out")
    assert stylized(tmp_path / "out") == [NAMES[0], NAMES[2]]
    [(photo, reason)] = batch.skipped.items()
    assert photo.endswith("b.jpg")
    assert "not an image" in reason


def test_results_are_not_replaced_unless_asked(
    stylizer: Stylizer, album: Path, tmp_path: Path
) -> None:
    stylize_images(stylizer, album, tmp_path / "out")
    first = tmp_path / "out" / NAMES[0]
    first.write_bytes(b"mine")
    (tmp_path / "out" / NAMES[2]).unlink()
    with pytest.raises(OutputExistsError, match=r"a.png: exists already, as do 1 more"):
        stylize_images(stylizer, album, tmp_path / "out")
    batch = stylize_images(stylizer, album, tmp_path / "out", resume=True)
    assert (len(batch.outputs), batch.kept) == (1, 2)
    assert first.read_bytes() == b"mine"
    stylize_images(stylizer, album, tmp_path / "out", overwrite=True)
    assert first.read_bytes() != b"mine"


def test_two_photos_of_one_name(stylizer: Stylizer, album: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("album/a.png\nalbum/more/a.png\n")
    with pytest.raises(InputError, match="would both become"):
        stylize_images(stylizer, tmp_path / "list.txt", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["out.png", "file"])
def test_several_photos_need_a_folder(
    stylizer: Stylizer, album: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "file").write_text("here")
    with pytest.raises(InputError, match="not a folder"):
        stylize_images(stylizer, album, tmp_path / name)


def test_one_photo_keeps_its_transparency(
    stylizer: Stylizer, astronaut: Path, tmp_path: Path
) -> None:
    cut_out = Image.open(astronaut).resize((40, 36)).convert("RGBA")
    cut_out.putalpha(Image.new("L", (40, 36), 77))
    cut_out.save(tmp_path / "cut.png")
    assert stylize_image(stylizer, Photo(tmp_path / "cut.png"), tmp_path / "out.png") == (36, 40)
    assert Image.open(tmp_path / "out.png").getpixel((3, 3))[3] == 77


def test_a_folder_of_results_among_the_photos_is_none_of_them(
    stylizer: Stylizer, album: Path
) -> None:
    out = album / "more" / "out"
    first = stylize_images(stylizer, album, out)
    assert stylized(out) == NAMES
    again = stylize_images(stylizer, album, out, resume=True)
    assert (len(first.outputs), len(again.outputs), again.kept) == (3, 0, 3)
    stylize_images(stylizer, album, out, overwrite=True)
    assert stylized(out) == NAMES
    # A folder above the photos is not one within them.
    assert len(stylize_images(stylizer, album / "more", album.parent).outputs) == 4
    assert stylized(album.parent)[:2] == ["a.png", "album/a.png"]


@pytest.mark.parametrize("settings", [{}, {"overwrite": True}, {"resume": True}])
def test_originals_are_never_replaced(
    stylizer: Stylizer, album: Path, tmp_path: Path, settings: dict[str, bool]
) -> None:
    before = {name: (album / name).read_bytes() for name in NAMES}
    (tmp_path / "link").symlink_to(album)
    (tmp_path / "list.txt").write_text("album/b.jpg\nalbum/a.png\n")
    (tmp_path / "hard").mkdir()
    (tmp_path / "hard" / "b.jpg").hardlink_to(album / "b.jpg")
    for source, folder in {
        album: album,
        tmp_path / "link": album,
        tmp_path / "list.txt": tmp_path / "link",
    }.items():
        with pytest.raises(InputError):
            stylize_images(stylizer, source, folder, **settings)
    with pytest.raises(InputError):
        stylize_image(stylizer, Photo(album / "b.jpg"), tmp_path / "hard" / "b.jpg", overwrite=True)
    assert {name: (album / name).read_bytes() for name in stylized(album)} == before


def test_formats_that_are_not_written_become_pngs(
    stylizer: Stylizer, album: Path, tmp_path: Path
) -> None:
    Image.open(album / "a.png").save(album / "a.gif")
    Image.open(album / "a.png").save(album / "raw", "JPEG")
    (album / "b.jpg").rename(album / "b.jfif")
    (album / "c.heic").write_bytes(b"\0\0\0\x1cftypheic" + bytes(20))
    batch = stylize_images(stylizer, album, tmp_path / "out")
    assert stylized(tmp_path / "out") == ["a.gif.png", "a.png", "b.jfif", "more/a.png", "raw.png"]
    assert list(batch.skipped) == [str(album / "c.heic")]
    formats = [Image.open(output).format for output in batch.outputs]
    assert formats == ["PNG", "PNG", "JPEG", "PNG", "PNG"]


def test_what_cannot_be_written_is_skipped_and_named(
    stylizer: Stylizer, album: Path, tmp_path: Path
) -> None:
    Image.new("L", (16400, 16)).save(album / "long.webp", "PNG")
    Image.new("L", (15, 40)).save(album / "tiny.png")
    Image.new("L", (40, 40)).save(album / f"{'x' * 250}.gif")  # its result's name is too long
    out = tmp_path / "out"
    out.mkdir()
    (out / "more").touch()  # where a folder needs to be
    batch = stylize_images(stylizer, album, out)
    assert [output.name for output in batch.outputs] == ["a.png", "b.jpg"]
    assert {Path(photo).name[:9] for photo in batch.skipped} == {
        "a.png",
        "long.webp",
        "tiny.png",
        "xxxxxxxxx",
    }
    for photo, reason in batch.skipped.items():
        assert Path(photo).name in reason
    assert stylized(out) == ["a.png", "b.jpg", "more"]


def fail_at_b(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Let the result b.jpg not be written."""

    def save(image: Frame, path: Path, **options: Any) -> Path:
        if path.name == "b.jpg":
            raise error
        return save_image(image, path, **options)

    monkeypatch.setattr("nst_rt.infer.photos.save_image", save)


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.EIO, "Input/output error")])
def test_one_bad_photo_stops_none_of_the_others(
    stylizer: Stylizer,
    album: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    fail_at_b(monkeypatch, error)
    batch = stylize_images(stylizer, album, tmp_path / "out")
    assert stylized(tmp_path / "out") == [NAMES[0], NAMES[2]]
    assert list(batch.skipped) == [str(album / "b.jpg")]


def test_a_full_disk_ends_the_work_and_keeps_what_is_done(
    stylizer: Stylizer, album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_at_b(monkeypatch, OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(OSError, match="No space"):
        stylize_images(stylizer, album, tmp_path / "out")
    assert stylized(tmp_path / "out") == NAMES[:1]


def test_too_large_photos_are_refused_before_they_are_decoded(
    stylizer: Stylizer, album: Path, tmp_path: Path
) -> None:
    batch = stylize_images(stylizer, album, tmp_path / "out", max_pixels=40 * 36)
    assert [output.name for output in batch.outputs] == ["a.png"]
    assert len(batch.skipped) == 2
