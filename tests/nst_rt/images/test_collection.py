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
    """Folder of files with the suffixes of photos, and of some others."""
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


def zip_of(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as opened:
        for name, content in members.items():
            opened.writestr(name, content)
    return path


def test_folder_and_archive_list_the_same_photos_in_name_order(album: Path) -> None:
    names = sorted(NAMES, key=Path)
    assert find_photos(str(album)) == [Photo(album / name) for name in names]
    archive = zipped(album)
    members = find_photos(archive)
    assert members == [Photo(archive, name) for name in names]
    assert [photo.read_bytes().decode() for photo in members] == names


def test_photos_are_recognized_by_content_whatever_their_suffix(tmp_path: Path) -> None:
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
        if photo.name != "a.heic":
            assert photo.load().shape == (1, 3, 4, 4)


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


def test_unreadable_folder_is_skipped_with_a_warning(
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
def test_names_in_archives_without_a_declared_encoding(
    tmp_path: Path, names: list[str], encoding: str
) -> None:
    stand_ins = {
        name: f"{k}".ljust(len(name.encode(encoding)), "#") for k, name in enumerate(names)
    }
    members = {stand_in: name.encode() for name, stand_in in stand_ins.items()}
    archive = zip_of(tmp_path / "a.zip", members | {"marked: 写真.jpg": b""})
    content = archive.read_bytes()
    for name, stand_in in stand_ins.items():
        content = content.replace(stand_in.encode(), name.encode(encoding))
    archive.write_bytes(content)
    found = {photo.member: photo for photo in find_photos(archive)}
    assert set(found) == {*names, "marked: 写真.jpg"}
    for name in names:
        assert found[name].read_bytes().decode() == name


def test_last_of_several_members_of_one_name_is_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as opened:
        opened.writestr("a.jpg", b"old")
        with pytest.warns(UserWarning, match="Duplicate name"):
            opened.writestr("a.jpg", b"new")
    (photo,) = find_photos(tmp_path / "a.zip")
    assert photo.read_bytes() == b"new"


def test_list_names_photos_relative_to_its_folder(album: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.jpg"
    elsewhere.touch()
    lines = ["\ufeff# the best", "", "b/c.JPG", f"  {elsewhere}", "a.png"]
    (album / "best.txt").write_text("\n".join(lines), encoding="utf-8")
    expected = [album / "a.png", album / "b" / "c.JPG", elsewhere]
    assert find_photos(album / "best.txt") == [Photo(path) for path in expected]


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"a.png\n\nmissing.png\n", r"list\.txt, line 3: .*missing\.png"),
        (b"b\n", "line 1"),
        (b"# nothing\n", r"list\.txt"),
        (b"\xff\xfe\x00", r"list\.txt"),
    ],
)
def test_unusable_list_is_an_error(album: Path, content: bytes, match: str) -> None:
    (album / "list.txt").write_bytes(content)
    with pytest.raises(InputError, match=match):
        find_photos(album / "list.txt")


@pytest.mark.parametrize("name", ["missing", "empty", "one.png", "one"])
def test_source_without_photos_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    for file in ("one.png", "one"):
        Image.new("L", (4, 4)).save(tmp_path / file, "PNG")
    with pytest.raises(InputError, match=name):
        find_photos(tmp_path / name)
    with pytest.raises(InputError, match="photos"):
        find_photos("")


def test_damaged_archive_is_an_error(album: Path) -> None:
    archive = zipped(album)
    content = archive.read_bytes()
    for damaged in (content[:60] + b"\xff" * 9, content.replace(b"PK\x01\x02", b"PK\xff\xff")):
        archive.write_bytes(damaged)
        with pytest.raises(InputError, match=r"album\.zip"):
            find_photos(archive)


@pytest.mark.parametrize("inside", [False, True])
def test_photo_loads_as_an_image(tmp_path: Path, astronaut: Path, inside: bool) -> None:
    folder = tmp_path / "album"
    folder.mkdir()
    (folder / "a.png").write_bytes(astronaut.read_bytes())
    (folder / "b.png").write_text("no image")
    photo, other = find_photos(zipped(folder) if inside else folder)
    assert torch.equal(photo.load(), load_image(astronaut))
    assert torch.equal(photo.load(size=50), load_image(astronaut, size=50))
    with pytest.raises(InputError) as caught:
        other.load()
    assert str(caught.value).startswith(f"{other}: ")


def test_photo_that_no_longer_exists_is_an_error(album: Path) -> None:
    archive = zipped(album)
    file, member = find_photos(album)[0], find_photos(archive)[0]
    file.path.unlink()
    archive.unlink()
    for photo in (file, member, Photo(album, "a.png")):
        with pytest.raises(InputError, match=r"a\.png"):
            photo.read_bytes()


@pytest.mark.parametrize("damage", ["content", "encrypted"])
def test_damaged_member_is_an_error_and_others_are_read(tmp_path: Path, damage: str) -> None:
    archive = zip_of(tmp_path / "a.zip", {"a.jpg": b"content", "b.jpg": b"other"})
    content = bytearray(archive.read_bytes())
    if damage == "content":
        content = content.replace(b"content", b"CONTENT")
    else:  # the flag is in the member's header and in the archive's directory
        for header, flag in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
            content[content.index(header) + flag] |= 1
    archive.write_bytes(content)
    damaged, good = find_photos(archive)
    with pytest.raises(InputError, match=r"a\.zip:a\.jpg"):
        damaged.read_bytes()
    assert good.read_bytes() == b"other"


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_member_that_cannot_be_decompressed_is_an_error(tmp_path: Path, method: int) -> None:
    archive = zip_of(tmp_path / "a.zip", {"a.jpg": os.urandom(300)}, method)
    content = bytearray(archive.read_bytes())
    content[50:150] = b"\xff" * 100  # after the header and the name
    archive.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.jpg"):
        find_photos(archive)[0].read_bytes()


def test_rewritten_archive_is_read_again(tmp_path: Path) -> None:
    for time, content in enumerate((b"old", b"newer")):
        archive = zip_of(tmp_path / "a.zip", {"a.jpg": content})
        os.utime(archive, (time, time))
        assert find_photos(archive)[0].read_bytes() == content


@pytest.fixture
def noise(tmp_path: Path) -> list[Photo]:
    """Members of an archive, larger than the buffer of a file."""
    members = {f"{index}.jpg": bytes([index]) * 300_000 for index in range(20)}
    return find_photos(zip_of(tmp_path / "noise.zip", members))


def checksum(photo: Photo) -> int:
    return zlib.crc32(photo.read_bytes())


def test_forked_processes_and_threads_read_one_archive_at_once(noise: list[Photo]) -> None:
    expected = [checksum(photo) for photo in noise]  # the archive is open before the fork
    with multiprocessing.get_context("fork").Pool(4) as processes:
        assert processes.map(checksum, noise * 15, chunksize=10) == expected * 15
        processes.close()  # leaving the context would kill processes that hold locks
        processes.join()
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(checksum, noise * 3)) == expected * 3


def test_photos_can_be_pickled_for_spawned_processes(noise: list[Photo]) -> None:
    sent: list[Photo] = pickle.loads(pickle.dumps(noise))
    assert sent == noise
    assert sent[3].read_bytes() == noise[3].read_bytes()


def test_photo_is_held_out_by_the_checksum_of_its_name(tmp_path: Path) -> None:
    names = [f"{index:06d}.jpg" for index in range(2000)]
    held_out = {name for name in names if is_held_out(Photo(Path("any/folder") / name))}
    assert held_out == {name for name in names if zlib.crc32(name.encode()) % 20 == 0}
    assert held_out == {name for name in names if is_held_out(Photo(Path("a.zip"), f"b/{name}"))}
    assert 70 < len(held_out) < 130
    for fraction, count in ((0, 0), (0.01, 20), (0.5, 1000)):
        found = sum(is_held_out(Photo(Path(name)), fraction) for name in names)
        assert found == pytest.approx(count, rel=0.3)
    (tmp_path / os.fsdecode(b"caf\xe9.jpg")).touch()  # not UTF-8
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
    # Photos of an archive that share a folder are counted under the archive's name.
    photos = [Photo(Path("coco.zip"), f"train/{name}.jpg") for name in "ab"]
    assert count_by_folder(photos) == {"coco": 2}
    photos.append(Photo(Path("coco.zip"), "/val/c.jpg"))  # some programs write absolute names
    assert count_by_folder(photos) == {"train": 2, "val": 1}
