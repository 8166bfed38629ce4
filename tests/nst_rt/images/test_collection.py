import multiprocessing
import os
import pickle
import zipfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from PIL import Image

from nst_rt.errors import InputError
from nst_rt.images.collection import Photo, count_by_folder, find_photos, is_held_out
from nst_rt.images.io import load_image

NAMES = ["a.png", "b/c.JPG", "b-c/d.webp", "b/deep/e.jpeg"]


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Folder of files that are named like photos, and of some that are not."""
    folder = tmp_path / "album"
    for name in [*NAMES, "notes.txt", "b/model.pth", "._a.png", "__MACOSX/b/._c.JPG"]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def zipped(folder: Path) -> Path:
    """An archive of a folder, beside it."""
    archive = folder.with_suffix(".zip")
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        for file in sorted(folder.rglob("*"), key=str):
            opened.write(file, file.relative_to(folder))
    return archive


def test_a_folder_is_searched_nested_or_flat_in_name_order(album: Path) -> None:
    assert find_photos(str(album)) == [Photo(album / name) for name in sorted(NAMES, key=Path)]


def test_photos_are_known_by_their_content_whatever_their_name(tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    picture = Image.new("RGB", (4, 4))
    for format in ("JPEG", "PNG", "GIF", "WEBP", "AVIF", "JPEG2000"):
        picture.save(folder / f"{format}.x", format)
    picture.save(folder / "no_suffix", "PNG")
    picture.save(folder / "a.jfif", "JPEG")
    picture.save(folder / "._copy", "PNG")
    (folder / "a.heic").write_bytes(b"\0\0\0\x1cftypheic" + bytes(20))
    others = {"a.mp4": b"\0\0\0\x1cftypisom", "a.nef": b"II*\0", "a.txt": b"JPEG", "a": b""}
    for name, content in others.items():
        (folder / name).write_bytes(content)
    found = find_photos(folder)
    assert [photo.name for photo in found] == sorted(
        path.name for path in folder.iterdir() if path.name not in (*others, "._copy")
    )
    assert len(found) == 9
    assert [photo.name for photo in find_photos(zipped(folder))] == [photo.name for photo in found]
    for photo in found:
        if photo.name == "a.heic":
            with pytest.raises(InputError, match=r"a\.heic"):
                photo.load()
        else:
            assert photo.load().shape == (1, 3, 4, 4)
    with pytest.raises(InputError, match="one image"):
        find_photos(folder / "no_suffix")


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    for name in ("album/a/1.png", "album/z/2.png", "elsewhere/3.png", "elsewhere/in/4.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    album = tmp_path / "album"
    (album / "a" / "b").symlink_to("../z")  # is found by its own name
    (album / "far").symlink_to(tmp_path / "elsewhere")
    (album / "z" / "up").symlink_to(album)
    (tmp_path / "elsewhere" / "back").symlink_to(album / "far")
    (album / "5.png").symlink_to("a/1.png")
    (album / "6.png").symlink_to("nowhere.png")
    (album / "folder.png").mkdir()
    os.mkfifo(album / "pipe.png")
    expected = ["5.png", "6.png", "a/1.png", "far/3.png", "far/in/4.png", "z/2.png"]
    assert find_photos(album) == [Photo(album / name) for name in expected]
    with pytest.raises(InputError, match=r"6\.png"):
        Photo(album / "6.png").load()


def test_a_folder_that_may_not_be_searched_is_named(
    album: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    iterdir = Path.iterdir

    def refused(path: Path) -> Iterator[Path]:
        if path.name == "deep":
            raise PermissionError(13, "Permission denied")
        return iterdir(path)

    (album / "b" / "deep" / "more").mkdir()
    monkeypatch.setattr(Path, "iterdir", refused)
    assert [photo.name for photo in find_photos(album)] == ["a.png", "c.JPG", "d.webp"]
    assert str(album / "b" / "deep") in caplog.text


@pytest.mark.parametrize(
    ("names", "encoding"),
    [
        (["照片/海边.jpg", "照片/镕.jpg", "plain.jpg"], "gbk"),
        (["照片/海边.jpg", "Ünï.jpg", "plain.jpg"], "utf-8"),
        (["Größe.jpg", "für Señor.jpg", "pâté à la crème.jpg"], "cp437"),
    ],
)
def test_names_in_archives_that_tell_no_encoding(
    tmp_path: Path, names: list[str], encoding: str
) -> None:
    stand_ins = {
        name: f"{k}".ljust(len(name.encode(encoding)), "#") for k, name in enumerate(names)
    }
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as opened:
        for name, stand_in in stand_ins.items():
            opened.writestr(stand_in, name.encode())
        opened.writestr("marked: 写真.jpg", b"")
    content = (tmp_path / "a.zip").read_bytes()
    for name, stand_in in stand_ins.items():
        content = content.replace(stand_in.encode(), name.encode(encoding))
    (tmp_path / "a.zip").write_bytes(content)
    found = {photo.member: photo for photo in find_photos(tmp_path / "a.zip")}
    assert set(found) == {*names, "marked: 写真.jpg"}
    for name in names:
        assert found[name].read_bytes().decode() == name


def test_an_archive_is_searched_in_the_same_order(album: Path) -> None:
    archive = zipped(album)
    photos = find_photos(archive)
    assert photos == [Photo(archive, name) for name in sorted(NAMES, key=Path)]
    assert [photo.read_bytes().decode() for photo in photos] == sorted(NAMES, key=Path)
    assert [photo.name for photo in photos] == [photo.name for photo in find_photos(album)]


def test_a_member_that_an_archive_holds_twice_is_one_photo(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as opened:
        opened.writestr("a.jpg", b"old")
        with pytest.warns(UserWarning, match="Duplicate name"):
            opened.writestr("a.jpg", b"new")
    (photo,) = find_photos(tmp_path / "a.zip")
    assert photo.read_bytes() == b"new"


def test_a_list_names_photos_relative_to_its_own_folder(album: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.jpg"
    elsewhere.touch()
    lines = ["\ufeff# the best", "", "b/c.JPG", f"  {elsewhere}", "a.png"]
    (album / "best.txt").write_text("\n".join(lines), encoding="utf-8")
    expected = [album / "a.png", album / "b" / "c.JPG", elsewhere]
    assert find_photos(album / "best.txt") == [Photo(path) for path in expected]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"a.png\n\nmissing.png\n", r"list\.txt, line 3: .*missing\.png: no such file"),
        (b"b\n", r"line 1: .*b: no such file"),
        (b"# nothing\n", "no photos in it"),
        (b"\xff\xfe\x00", "neither a zip archive nor a list"),
    ],
)
def test_a_list_that_cannot_be_used_is_an_error(album: Path, content: bytes, says: str) -> None:
    (album / "list.txt").write_bytes(content)
    with pytest.raises(InputError, match=says):
        find_photos(album / "list.txt")


def test_one_image_is_not_a_collection(astronaut: Path) -> None:
    with pytest.raises(InputError, match=r"astronaut\.png: one image; give a folder"):
        find_photos(astronaut)


@pytest.mark.parametrize(("name", "says"), [("missing", "no such folder"), (".", "no photos in")])
def test_nothing_found_is_an_error(tmp_path: Path, name: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        find_photos(tmp_path / name)


def test_an_archive_cut_short_is_an_error(album: Path) -> None:
    archive = zipped(album)
    archive.write_bytes(archive.read_bytes()[:60] + b"\xff" * 9)
    with pytest.raises(InputError, match="incomplete zip archive"):
        find_photos(archive)


def test_an_archive_with_a_damaged_directory_is_an_error(album: Path) -> None:
    archive = zipped(album)
    archive.write_bytes(archive.read_bytes().replace(b"PK\x01\x02", b"PK\xff\xff"))
    with pytest.raises(InputError, match=r"album\.zip: damaged zip archive"):
        find_photos(archive)


@pytest.mark.parametrize("inside", [False, True])
def test_a_photo_is_read_as_an_image(tmp_path: Path, astronaut: Path, inside: bool) -> None:
    folder = tmp_path / "album"
    folder.mkdir()
    (folder / "a.png").write_bytes(astronaut.read_bytes())
    (photo,) = find_photos(zipped(folder) if inside else folder)
    assert torch.equal(photo.load(), load_image(astronaut))
    assert torch.equal(photo.load(size=50), load_image(astronaut, size=50))


@pytest.mark.parametrize("inside", [False, True])
def test_a_photo_that_is_none_is_an_error_that_names_it(album: Path, inside: bool) -> None:
    photo = find_photos(zipped(album) if inside else album)[0]
    with pytest.raises(InputError, match=r"a\.png: not an image that can be read") as caught:
        photo.load()
    assert str(caught.value).startswith(f"{photo}: ")


def test_a_photo_that_is_gone_is_an_error(album: Path) -> None:
    archive = zipped(album)
    file, member = find_photos(album)[0], find_photos(archive)[0]
    file.path.unlink()
    archive.unlink()
    for photo in (file, member, Photo(album, "a.png")):
        with pytest.raises(InputError, match=r"a\.png"):
            photo.read_bytes()


def test_a_damaged_member_is_an_error(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as opened:
        opened.writestr("a.jpg", b"content")
        opened.writestr("b.jpg", b"other")
    archive = tmp_path / "a.zip"
    archive.write_bytes(archive.read_bytes().replace(b"content", b"CONTENT"))
    damaged, good = find_photos(archive)
    with pytest.raises(InputError, match=r"a\.zip:a\.jpg: cannot be read .*CRC"):
        damaged.read_bytes()
    assert good.read_bytes() == b"other"


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_member_that_cannot_be_decompressed_is_an_error(tmp_path: Path, method: int) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w", method) as opened:
        opened.writestr("a.jpg", os.urandom(300))
    content = bytearray(archive.read_bytes())
    content[50:150] = b"\xff" * 100  # behind the header and the name
    archive.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.jpg: cannot be read"):
        find_photos(archive)[0].read_bytes()


def test_an_encrypted_member_is_an_error(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("a.jpg", b"content")
    content = bytearray(archive.read_bytes())
    # The flag, in the member's own header and in the archive's directory.
    for header, flag in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(header) + flag] |= 1
    archive.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.jpg: cannot be read .*encrypted"):
        find_photos(archive)[0].read_bytes()


def test_an_archive_written_anew_is_read_anew(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    for time, content in enumerate((b"old", b"newer")):
        with zipfile.ZipFile(archive, "w") as opened:
            opened.writestr("a.jpg", content)
        os.utime(archive, (time, time))
        assert find_photos(archive)[0].read_bytes() == content


@pytest.fixture
def noise(tmp_path: Path) -> list[Photo]:
    """Members of an archive that are larger than what is read of a file at a time."""
    with zipfile.ZipFile(tmp_path / "noise.zip", "w") as opened:
        for index in range(20):
            opened.writestr(f"{index}.jpg", bytes([index]) * 300_000)
    return find_photos(tmp_path / "noise.zip")


def checksum(photo: Photo) -> int | str:
    try:
        return zlib.crc32(photo.read_bytes())
    except InputError as error:
        return str(error)


def test_processes_that_are_forked_read_an_archive_at_once(noise: list[Photo]) -> None:
    expected = [checksum(photo) for photo in noise]  # the archive is open when they begin
    with multiprocessing.get_context("fork").Pool(4) as pool:
        assert pool.map(checksum, noise * 15, chunksize=10) == expected * 15


def test_threads_read_an_archive_at_once(noise: list[Photo]) -> None:
    expected = [photo.read_bytes() for photo in noise]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(Photo.read_bytes, noise * 3)) == expected * 3


def test_photos_can_be_sent_to_spawned_processes(noise: list[Photo]) -> None:
    sent: list[Photo] = pickle.loads(pickle.dumps(noise))
    assert sent == noise
    assert sent[3].read_bytes() == noise[3].read_bytes()


def test_a_photo_is_held_out_by_the_checksum_of_its_name() -> None:
    names = [f"{index:06d}.jpg" for index in range(2000)]
    held_out = {name for name in names if is_held_out(Photo(Path("any/folder") / name))}
    assert held_out == {name for name in names if zlib.crc32(name.encode()) % 20 == 0}
    assert held_out == {name for name in names if is_held_out(Photo(Path("a.zip"), f"b/{name}"))}
    assert 70 < len(held_out) < 130


@pytest.mark.parametrize(("fraction", "share"), [(0, 0), (0.01, 20), (0.1, 200), (0.5, 1000)])
def test_the_fraction_held_out_can_be_chosen(fraction: float, share: int) -> None:
    photos = [Photo(Path(f"{index:06d}.jpg")) for index in range(2000)]
    assert sum(is_held_out(photo, fraction) for photo in photos) == pytest.approx(share, rel=0.3)


def test_names_need_not_be_unicode(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.jpg")).touch()
    (photo,) = find_photos(tmp_path)
    assert is_held_out(photo) == (zlib.crc32(b"caf\xe9.jpg") % 20 == 0)


def test_photos_are_counted_by_folder(tmp_path: Path) -> None:
    folder = tmp_path / "holidays"
    for name in ["a.jpg", "sea/b.jpg", "sea/c.jpg", "sea/north/d.jpg"]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (1, 1)).save(folder / name)
    counts = {"holidays": 1, "sea": 2, "sea/north": 1}
    assert count_by_folder(find_photos(folder)) == counts
    assert count_by_folder(find_photos(zipped(folder))) == counts
    assert count_by_folder(find_photos(folder / "sea")) == {"sea": 2, "north": 1}
    assert count_by_folder([]) == {}


def test_an_archive_gives_its_name_to_photos_that_share_a_folder() -> None:
    photos = [Photo(Path("coco.zip"), f"train/{name}.jpg") for name in "ab"]
    assert count_by_folder(photos) == {"coco": 2}
    # Some programs write absolute names.
    photos.append(Photo(Path("coco.zip"), "/val/c.jpg"))
    assert count_by_folder(photos) == {"train": 2, "val": 1}
