import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nst_rt.errors import InputError, OutputExistsError
from nst_rt.images import load_image, tensor_to_frame
from nst_rt.infer.batch import stylize_photo, stylize_photos
from nst_rt.infer.stylizer import Stylizer
from nst_rt.photos import Photo

NAMES = ["a.png", "b.jpg", "more/a.png"]


@pytest.fixture
def album(tmp_path: Path, astronaut: Path) -> Path:
    folder = tmp_path / "album"
    (folder / "more").mkdir(parents=True)
    for number, name in enumerate(NAMES):
        Image.open(astronaut).resize((40 + number, 36)).save(folder / name)
    return folder


def painted(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def test_a_folder_keeps_its_names(stylizer: Stylizer, album: Path, tmp_path: Path) -> None:
    told = []
    batch = stylize_photos(
        stylizer, album, tmp_path / "out/put", on_photo=lambda *news: told.append(news)
    )
    assert painted(tmp_path / "out/put") == NAMES
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
    stylize_photos(stylizer, tmp_path / "album.zip", tmp_path / "unpacked")
    assert painted(tmp_path / "unpacked") == [*NAMES, "outside.png"]
    (tmp_path / "list.txt").write_text("album/a.png\nalbum/b.jpg\n")
    stylize_photos(stylizer, tmp_path / "list.txt", tmp_path / "listed")
    assert painted(tmp_path / "listed") == NAMES[:2]


def test_what_cannot_be_read_is_skipped(stylizer: Stylizer, album: Path, tmp_path: Path) -> None:
    (album / "b.jpg").write_bytes(b"half")
    batch = stylize_photos(stylizer, album, tmp_path / "out")
    assert painted(tmp_path / "out") == [NAMES[0], NAMES[2]]
    [(photo, reason)] = batch.skipped.items()
    assert photo.endswith("b.jpg")
    assert "not an image" in reason


def test_results_are_not_replaced_unless_asked(
    stylizer: Stylizer, album: Path, tmp_path: Path
) -> None:
    stylize_photos(stylizer, album, tmp_path / "out")
    first = tmp_path / "out" / NAMES[0]
    first.write_bytes(b"mine")
    (tmp_path / "out" / NAMES[2]).unlink()
    with pytest.raises(OutputExistsError, match=r"a.png: exists already, as do 1 more"):
        stylize_photos(stylizer, album, tmp_path / "out")
    batch = stylize_photos(stylizer, album, tmp_path / "out", resume=True)
    assert (len(batch.outputs), batch.kept) == (1, 2)
    assert first.read_bytes() == b"mine"
    stylize_photos(stylizer, album, tmp_path / "out", overwrite=True)
    assert first.read_bytes() != b"mine"


def test_two_photos_of_one_name(stylizer: Stylizer, album: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("album/a.png\nalbum/more/a.png\n")
    with pytest.raises(InputError, match="would both become"):
        stylize_photos(stylizer, tmp_path / "list.txt", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["out.png", "file"])
def test_several_photos_need_a_folder(
    stylizer: Stylizer, album: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "file").write_text("here")
    with pytest.raises(InputError, match="not a folder"):
        stylize_photos(stylizer, album, tmp_path / name)


def test_one_photo_keeps_its_transparency(
    stylizer: Stylizer, astronaut: Path, tmp_path: Path
) -> None:
    cut_out = Image.open(astronaut).resize((40, 36)).convert("RGBA")
    cut_out.putalpha(Image.new("L", (40, 36), 77))
    cut_out.save(tmp_path / "cut.png")
    assert stylize_photo(stylizer, Photo(tmp_path / "cut.png"), tmp_path / "out.png") == (36, 40)
    assert Image.open(tmp_path / "out.png").getpixel((3, 3))[3] == 77
