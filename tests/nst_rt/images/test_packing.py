import errno
import json
import os
import threading
import zipfile
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageCms

from nst_rt.errors import InputError, OutputExistsError
from nst_rt.images.collection import Photo, find_photos, is_held_out
from nst_rt.images.io import IMAGE_SUFFIXES, load_image, packing, resize_to
from nst_rt.images.packing import pack_photos
from nst_rt.train.data import RandomCrops

SIDE = 64
OUTPUTS = ("small", "small.zip")


@pytest.fixture(scope="module")
def album(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of real photos, nested, one of which is held out."""
    folder = tmp_path_factory.mktemp("originals") / "album"
    held_out = next(f"{i}.jpg" for i in range(100) if is_held_out(Photo(Path(f"{i}.jpg"))))
    names = {
        "astronaut.png": "people/a.jpg",
        "coffee.png": "b.PNG",
        "chelsea.png": "people-2/c.webp",
        "rocket.jpg": held_out,
    }
    for source, name in names.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        picture = Image.open(photos / source).convert("RGB")
        picture.thumbnail((200, 200))
        picture.save(folder / name)
    return folder


@pytest.fixture
def flawed(album: Path, tmp_path: Path) -> Path:
    """Folder of a photo and of three files that cannot be used."""
    folder = tmp_path / "flawed"
    folder.mkdir()
    good = (album / "b.PNG").read_bytes()
    (folder / "a.png").write_bytes(good)
    (folder / "b.png").write_bytes(good[:2000])
    (folder / "c.jpg").touch()
    Image.new("RGB", (300, SIDE // 2 - 1)).save(folder / "d.png")
    return folder


def names(collection: Path) -> list[str]:
    """Of all photos, relative to the collection."""
    found = find_photos(collection)
    return [photo.member or photo.path.relative_to(collection).as_posix() for photo in found]


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("output", OUTPUTS)
def test_names_folders_and_who_is_held_out_stay(album: Path, tmp_path: Path, output: str) -> None:
    packed = pack_photos(str(album), str(tmp_path / output), short_side=SIDE)
    small, originals = find_photos(tmp_path / output), find_photos(album)
    assert names(tmp_path / output) == names(album)
    assert [is_held_out(photo) for photo in small] == [is_held_out(photo) for photo in originals]
    assert any(is_held_out(photo) for photo in small)
    assert packed.output == tmp_path / output
    assert packed.count == len(originals)
    assert packed.skipped == {}
    assert packed.bytes == sum(len(photo.read_bytes()) for photo in small)
    assert left(tmp_path) == [output]


def test_a_folder_and_an_archive_give_the_same_crops(album: Path, tmp_path: Path) -> None:
    for output in OUTPUTS:
        pack_photos(album, tmp_path / output, short_side=SIDE)
    one, other = (RandomCrops(find_photos(tmp_path / output), 48, seed=0) for output in OUTPUTS)
    for index in range(8):
        assert torch.equal(one[index].image, other[index].image)


def test_packed_photos_look_like_the_originals(album: Path, tmp_path: Path) -> None:
    pack_photos(album, tmp_path / "small", short_side=SIDE)
    for name in names(album):
        original, small = load_image(album / name), load_image(tmp_path / "small" / name)
        assert min(small.shape[-2:]) == SIDE
        ratio = original.shape[-1] / original.shape[-2]
        assert small.shape[-1] / small.shape[-2] == pytest.approx(ratio, rel=0.01)
        difference = (resize_to(original, (small.shape[-2], small.shape[-1])) - small).abs()
        assert difference.mean() < 0.02


def test_smaller_photos_keep_their_size(album: Path, tmp_path: Path) -> None:
    pack_photos(album, tmp_path / "small", short_side=250)
    for name in names(album):
        assert load_image(tmp_path / "small" / name).shape == load_image(album / name).shape


def test_archives_are_not_compressed_and_equal_each_other(album: Path, tmp_path: Path) -> None:
    for output, workers in (("a.zip", 1), ("b.ZIP", 3)):
        pack_photos(album, tmp_path / output, short_side=SIDE, workers=workers)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.ZIP").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip") as opened:
        assert {member.compress_type for member in opened.infolist()} == {zipfile.ZIP_STORED}


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
def test_every_format_can_be_packed(album: Path, tmp_path: Path, suffix: str) -> None:
    (tmp_path / "album").mkdir()
    Image.open(album / "b.PNG").save(tmp_path / "album" / f"a{suffix}")
    pack_photos(tmp_path / "album", tmp_path / "small", short_side=SIDE)
    with Image.open(tmp_path / "small" / f"a{suffix}") as small:
        assert small.format == Image.registered_extensions()[suffix]


def test_photos_come_out_upright_and_without_metadata(tmp_path: Path) -> None:
    (tmp_path / "album").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation
    exif[0x010E] = "where and when"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture = Image.linear_gradient("L").convert("RGB").resize((100, 200))
    file = tmp_path / "album" / "a.jpg"
    picture.save(file, exif=exif, icc_profile=profile)
    pack_photos(tmp_path / "album", tmp_path / "small", short_side=100)
    with Image.open(tmp_path / "small" / "a.jpg") as small:
        assert small.size == (200, 100)
        assert not small.getexif()
        assert "icc_profile" not in small.info
    assert (load_image(tmp_path / "small" / "a.jpg") - load_image(file)).abs().max() < 0.05


@pytest.mark.parametrize("output", OUTPUTS)
def test_photos_that_cannot_be_used_are_left_out_and_named(
    flawed: Path, tmp_path: Path, output: str
) -> None:
    packed = pack_photos(flawed, tmp_path / output, short_side=SIDE)
    assert packed.count == 1
    assert names(tmp_path / output) == ["a.png"]
    assert packed.skipped.keys() == {str(flawed / name) for name in ("b.png", "c.jpg", "d.png")}
    assert "too small, 300x31" in packed.skipped[str(flawed / "d.png")]


def test_photos_too_large_for_their_format_are_left_out(flawed: Path, tmp_path: Path) -> None:
    Image.new("L", (20_000, SIDE)).save(flawed / "long.png")
    (flawed / "long.png").rename(flawed / "long.webp")
    packed = pack_photos(flawed, tmp_path / "small", short_side=SIDE)
    assert "cannot be written as .webp" in packed.skipped[str(flawed / "long.webp")]


def test_names_of_other_formats_stay_and_hold_jpegs(album: Path, tmp_path: Path) -> None:
    folder = tmp_path / "others"
    folder.mkdir()
    for name, format in {"a.gif": "GIF", "b": "PNG"}.items():
        Image.open(album / "b.PNG").save(folder / name, format)
    pack_photos(folder, tmp_path / "small", short_side=SIDE)
    assert names(tmp_path / "small") == ["a.gif", "b"]
    for name in ("a.gif", "b"):
        with Image.open(tmp_path / "small" / name) as packed:
            assert (packed.format, min(packed.size)) == ("JPEG", SIDE)


def test_a_photo_that_cannot_be_written_is_left_out(
    album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Path.write_bytes

    def refused(path: Path, content: bytes) -> int:
        if path.name == "a.jpg":
            raise error
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", refused)
    error = OSError(errno.ENAMETOOLONG, "File name too long")
    packed = pack_photos(album, tmp_path / "small", short_side=SIDE)
    assert packed.count == 3
    assert list(packed.skipped) == [str(album / "people" / "a.jpg")]
    error = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OSError, match="No space"):
        pack_photos(album, tmp_path / "full", short_side=SIDE)
    assert left(tmp_path) == ["small"]


def test_nothing_to_pack_is_an_error_and_leaves_nothing(flawed: Path, tmp_path: Path) -> None:
    (flawed / "a.png").unlink()
    for output in OUTPUTS:
        with pytest.raises(InputError, match=r"flawed: none of the photos can be used: .*b\.png"):
            pack_photos(flawed, tmp_path / output, short_side=SIDE)
    assert left(tmp_path) == ["flawed"]


def test_progress_is_told_photo_by_photo(flawed: Path, tmp_path: Path) -> None:
    told = []
    pack_photos(
        flawed, tmp_path / "a", short_side=SIDE, on_photo=lambda *numbers: told.append(numbers)
    )
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_list_is_packed_below_its_common_folder(album: Path, tmp_path: Path) -> None:
    listed = [album / "people" / "a.jpg", album / "people" / ".." / "b.PNG", album / "b.PNG"]
    (tmp_path / "list.txt").write_text("\n".join(map(str, listed)))
    packed = pack_photos(tmp_path / "list.txt", tmp_path / "small", short_side=SIDE)
    assert names(tmp_path / "small") == ["b.PNG", "people/a.jpg"]
    assert packed.count == 2


def test_an_archive_is_packed_but_for_names_that_lead_out_of_it(
    album: Path, tmp_path: Path
) -> None:
    content = (album / "b.PNG").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as opened:
        for name in ("/in/a.png", "../out.png", "b/../../out.png", "c.png"):
            opened.writestr(name, content)
    packed = pack_photos(tmp_path / "a.zip", tmp_path / "deep" / ".." / "small", short_side=SIDE)
    assert names(tmp_path / "small") == ["c.png", "in/a.png"]
    assert len(packed.skipped) == 2
    assert all("leads out of the archive" in reason for reason in packed.skipped.values())
    assert left(tmp_path) == ["a.zip", "small"]


def test_names_that_are_not_unicode_are_left_out(flawed: Path, tmp_path: Path) -> None:
    (flawed / "a.png").rename(flawed / os.fsdecode(b"caf\xe9.png"))
    Image.new("L", (SIDE, SIDE)).save(flawed / "é.png")
    packed = pack_photos(flawed, tmp_path / "a.zip", short_side=SIDE)
    assert names(tmp_path / "a.zip") == ["é.png"]
    assert any("is not UTF-8" in reason for reason in packed.skipped.values())


def test_values_out_of_range_are_errors(album: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="short side must be positive, not 0"):
        pack_photos(album, tmp_path / "small", short_side=0)
    with pytest.raises(InputError, match="number of workers must be positive, not 0"):
        pack_photos(album, tmp_path / "small", workers=0)


@pytest.mark.parametrize("output", OUTPUTS)
def test_an_output_is_replaced_only_when_asked(album: Path, tmp_path: Path, output: str) -> None:
    pack_photos(album, tmp_path / output, short_side=SIDE)
    with pytest.raises(OutputExistsError, match="exists already; --overwrite"):
        pack_photos(album, tmp_path / output, short_side=32)
    pack_photos(album, tmp_path / output, short_side=32, overwrite=True)
    assert min(find_photos(tmp_path / output)[0].load().shape[-2:]) == 32
    assert left(tmp_path) == [output]


def test_an_empty_folder_is_replaced(album: Path, tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    with pytest.raises(OutputExistsError, match="--overwrite"):
        pack_photos(album, tmp_path / "small", short_side=SIDE)
    pack_photos(album, tmp_path / "small", short_side=SIDE, overwrite=True)
    assert names(tmp_path / "small") == names(album)


@pytest.mark.parametrize("change", ["foreign", "added", "edited", "removed", "record"])
def test_a_folder_that_holds_anything_else_is_never_replaced(
    album: Path, tmp_path: Path, change: str
) -> None:
    folder = tmp_path / "mine"
    if change == "foreign":
        folder.mkdir()
    else:
        pack_photos(album, folder, short_side=SIDE)
    if change in ("foreign", "added"):
        (folder / "only copy.jpg").write_bytes(b"precious")
    elif change == "edited":
        (folder / "b.PNG").write_bytes(b"retouched")
    elif change == "removed":
        (folder / "b.PNG").unlink()
    else:
        (folder / ".nst-rt-photos.json").write_text("[")
    before = sorted(folder.rglob("*"))
    with pytest.raises(OutputExistsError, match="holds other files than were packed into it"):
        pack_photos(album, folder, short_side=SIDE, overwrite=True)
    assert sorted(folder.rglob("*")) == before
    assert left(tmp_path) == ["mine"]


def test_a_folder_that_appears_meanwhile_is_not_replaced(album: Path, tmp_path: Path) -> None:
    def interfere(*_: int) -> None:
        (tmp_path / "small").mkdir(exist_ok=True)
        (tmp_path / "small" / "only copy.jpg").touch()

    with pytest.raises(OutputExistsError, match="holds other files"):
        pack_photos(album, tmp_path / "small", short_side=SIDE, on_photo=interfere)
    assert left(tmp_path) == ["small"]
    assert left(tmp_path / "small") == ["only copy.jpg"]


def test_photos_are_never_packed_onto_themselves(album: Path, tmp_path: Path) -> None:
    once = tmp_path / "once"
    pack_photos(album, once, short_side=SIDE)
    (tmp_path / "list.txt").write_text("once/b.PNG\n")
    (tmp_path / "link").symlink_to(once)
    pack_photos(album, tmp_path / "a.zip", short_side=SIDE)
    for source, output in [
        ("once", "once"),
        ("once", "link"),
        ("link", "once/small"),
        ("once/people", "once"),
        ("once", "."),
        ("list.txt", "once"),
        ("list.txt", "."),
        ("a.zip", "a.zip"),
        ("once", "once/small.zip"),
    ]:
        with pytest.raises(InputError, match="must lie apart from the photos"):
            pack_photos(tmp_path / source, tmp_path / output, short_side=SIDE, overwrite=True)
    assert names(once) == names(album)


def test_a_file_is_not_replaced_by_a_folder(album: Path, tmp_path: Path) -> None:
    (tmp_path / "small.tar").touch()
    with pytest.raises(InputError, match="is a file; give the name of a folder"):
        pack_photos(album, tmp_path / "small.tar", overwrite=True)


@pytest.mark.parametrize("output", OUTPUTS)
def test_a_missing_parent_is_an_error(album: Path, tmp_path: Path, output: str) -> None:
    with pytest.raises(InputError, match="does not exist"):
        pack_photos(album, tmp_path / "missing" / output)


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_interrupt_leaves_what_was_there(
    album: Path, tmp_path: Path, output: str, existing: bool, error: type[BaseException]
) -> None:
    if existing:
        pack_photos(album, tmp_path / output, short_side=32)
    before = [photo.read_bytes() for photo in find_photos(tmp_path / output)] if existing else []
    threads, running = torch.get_num_threads(), set(threading.enumerate())

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise error

    with pytest.raises(error):
        pack_photos(album, tmp_path / output, short_side=SIDE, overwrite=existing, on_photo=stop)
    assert left(tmp_path) == ([output] if existing else [])
    if existing:
        assert [photo.read_bytes() for photo in find_photos(tmp_path / output)] == before
    assert torch.get_num_threads() == threads
    assert set(threading.enumerate()) <= running


def test_a_failed_exchange_restores_the_old_folder(
    album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack_photos(album, tmp_path / "small", short_side=32)
    rename = Path.rename

    def fail_once(path: Path, target: Path) -> Path:
        if target.name == "small" and not list(tmp_path.glob("small")):
            monkeypatch.setattr(Path, "rename", rename)
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail_once)
    with pytest.raises(KeyboardInterrupt):
        pack_photos(album, tmp_path / "small", short_side=SIDE, overwrite=True)
    assert left(tmp_path) == ["small"]
    assert min(load_image(tmp_path / "small" / "b.PNG").shape[-2:]) == 32


def test_few_photos_are_decoded_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "many").mkdir()
    for index in range(30):
        (tmp_path / "many" / f"{index}.jpg").touch()
    begun, ahead = [], []

    def encoded(photo: Photo, suffix: str, short_side: int, quality: int) -> bytes:
        begun.append(photo)
        return b"file"

    monkeypatch.setattr(packing, "_encoded", encoded)
    pack_photos(
        tmp_path / "many",
        tmp_path / "a.zip",
        workers=2,
        on_photo=lambda done, _: ahead.append(len(begun) - done),
    )
    assert max(ahead) <= 2 * 2
    assert names(tmp_path / "a.zip") == names(tmp_path / "many")


def test_the_record_tells_what_was_packed(album: Path, tmp_path: Path) -> None:
    packed = pack_photos(album, tmp_path / "small", short_side=SIDE)
    record = json.loads((tmp_path / "small" / ".nst-rt-photos.json").read_text())
    assert record == {"photos": packed.count, "bytes": packed.bytes}


def test_held_out_photos_may_stay_behind_and_quality_be_lower(album: Path, tmp_path: Path) -> None:
    good = pack_photos(album, tmp_path / "good.zip", short_side=SIDE)
    small = pack_photos(album, tmp_path / "small.zip", short_side=SIDE, quality=40, held_out=False)
    kept = find_photos(tmp_path / "small.zip")
    assert good.count - small.count == 1
    assert not any(is_held_out(photo) for photo in kept)
    for photo in kept:
        if photo.name == "a.jpg":
            before = Photo(tmp_path / "good.zip", photo.member)
            assert len(photo.read_bytes()) < 0.7 * len(before.read_bytes())


def test_a_collection_of_held_out_photos_alone_is_an_error(album: Path, tmp_path: Path) -> None:
    [held_out] = [photo for photo in find_photos(album) if is_held_out(photo)]
    (tmp_path / "list.txt").write_text(str(held_out.path))
    with pytest.raises(InputError, match="held out"):
        pack_photos(tmp_path / "list.txt", tmp_path / "a.zip", held_out=False)
    with pytest.raises(InputError, match="quality"):
        pack_photos(album, tmp_path / "a.zip", quality=0)
