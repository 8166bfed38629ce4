import errno
import os
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nst_rt.errors import InputError, OutputExistsError, PartialResultError
from nst_rt.images.convert import tensor_to_frame
from nst_rt.images.io import Frame, load_image, save_image
from nst_rt.infer import photos
from nst_rt.infer.frame_stylizer import FrameStylizer
from nst_rt.infer.postprocess import split
from nst_rt.infer.stability.stabilizer import Stabilizer
from nst_rt.infer.stylizer import Stylizer
from nst_rt.models.style_model import StyleModel

NAMES = ["a.png", "b.jpg", "more/a.png"]


@pytest.fixture
def stylize_images(stylizer: Stylizer) -> Any:
    return partial(photos.stylize_images, style=stylizer)


@pytest.fixture
def album(tmp_path: Path, astronaut: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of photos in the current folder."""
    monkeypatch.chdir(tmp_path)
    folder = Path("album")
    (folder / "more").mkdir(parents=True)
    for number, name in enumerate(NAMES):
        Image.open(astronaut).resize((40 + number, 36)).save(folder / name)
    return folder


def files(folder: Path | str) -> list[str]:
    """The files in a folder, without the hidden record of the settings."""
    found = Path(folder).rglob("[!.]*")
    return sorted(str(f.relative_to(folder)) for f in found if f.is_file())


def frame_of(file: Path | str) -> Frame:
    return tensor_to_frame(load_image(file))


def test_folder(stylize_images: Any, stylizer: Stylizer, album: Path) -> None:
    calls: list[tuple[float, float | None, str]] = []
    done = stylize_images(album, "out/put", progress=lambda *call: calls.append(call))
    assert files("out/put") == NAMES
    assert [image.output for image in done.images] == [Path("out/put", name) for name in NAMES]
    assert [(image.width, image.height) for image in done.images] == [(40, 36), (41, 36), (42, 36)]
    assert done.backend == str(stylizer)
    assert calls == [(1, 3, "a.png"), (2, 3, "b.jpg"), (3, 3, "a.png")]
    np.testing.assert_array_equal(frame_of("out/put/a.png"), stylizer(frame_of(album / "a.png")))


def test_archive_and_list(stylize_images: Any, album: Path) -> None:
    with zipfile.ZipFile("album.zip", "w") as archive:
        for name in NAMES:
            archive.write(album / name, name)
        archive.write(album / "a.png", "../../outside.png")
    stylize_images("album.zip", "unpacked")
    assert files("unpacked") == [*NAMES, "outside.png"]
    Path("list.txt").write_text("album/a.png\nalbum/b.jpg\n")
    stylize_images("list.txt", "listed")
    assert files("listed") == NAMES[:2]


def test_several_sources_go_to_one_folder(stylize_images: Any, album: Path) -> None:
    stylize_images([album / "more", album / "b.jpg"], "out")
    assert files("out") == ["a.png", "b.jpg"]


def test_default_outputs_are_named_after_photo_and_style(stylize_images: Any, album: Path) -> None:
    (album / "b.jpg").rename("photo.jfif")
    Image.open(album / "a.png").save("still.gif")
    done = stylize_images(["photo.jfif", "still.gif", album])
    outputs = ["photo_waves.jfif", "still.gif_waves.png", "album_waves/a.png"]
    assert [str(image.output) for image in done.images] == [*outputs, "album_waves/more/a.png"]
    with pytest.raises(OutputExistsError, match=r"photo_waves\.jfif"):
        stylize_images("photo.jfif")


@pytest.mark.parametrize("out", ["new/", "there"])
def test_one_photo_into_a_folder(stylize_images: Any, album: Path, out: str) -> None:
    Path("there").mkdir()
    stylize_images(album / "b.jpg", out)
    assert files(out) == ["b.jpg"]


@pytest.mark.slow
def test_style_and_settings(model: Path, album: Path) -> None:
    settings: dict[str, Any] = {"backend": "torch", "precision": "f32", "stroke_size": "1:1"}
    stylizer = Stylizer(StyleModel.load(model), ["waves", "night"], **settings)
    photos.stylize_images(
        album / "a.png", "out.png", style=[model, f"{model}:night"], compare=True, **settings
    )
    photo = frame_of(album / "a.png")
    np.testing.assert_array_equal(frame_of("out.png"), split(photo, stylizer(photo)))
    steady = FrameStylizer(stylizer, stabilizer=Stabilizer())  # which photos do without
    photos.stylize_images(album, "out", style=steady)
    np.testing.assert_array_equal(frame_of("out/more/a.png"), stylizer(frame_of(album / NAMES[2])))


def test_styles_over_time_are_the_first_error(album: Path) -> None:
    Path("there.png").touch()
    with pytest.raises(InputError, match="videos"):
        photos.stylize_images(album / "a.png", "there.png", style="udnie@0,starry_night@1")


def test_unreadable_photos_are_skipped(stylize_images: Any, album: Path) -> None:
    (album / "b.jpg").write_bytes(b"half")
    done = stylize_images(album, "out")
    assert files("out") == [NAMES[0], NAMES[2]]
    assert list(done.skipped) == [str(album / "b.jpg")]
    for name in (NAMES[0], NAMES[2]):
        (album / name).write_bytes(b"half")
    with pytest.raises(InputError, match=r"3 photos.*a\.png"):
        stylize_images(album, "nothing")


def test_existing_outputs(stylize_images: Any, album: Path) -> None:
    stylize_images(album, "out")
    first = Path("out", NAMES[0])
    first.write_bytes(b"mine")
    Path("out", NAMES[2]).unlink()
    with pytest.raises(OutputExistsError, match=r"a\.png.* 1 more"):
        stylize_images(album, "out")
    done = stylize_images(album, "out", resume=True)
    assert (len(done.images), done.kept) == (1, 2)
    assert first.read_bytes() == b"mine"
    stylize_images(album, "out", overwrite=True)
    assert first.read_bytes() != b"mine"


def test_resume_makes_outputs_of_replaced_photos(stylize_images: Any, album: Path) -> None:
    stylize_images(album, "out")
    os.utime(Path("out", NAMES[0]), (0, 0))
    os.utime(album / NAMES[1], (2**32, 2**32))  # in the future
    done = stylize_images(album, "out", resume=True)
    assert ([image.output for image in done.images], done.kept) == ([Path("out", NAMES[0])], 2)


def test_outputs_of_one_name_are_an_error(stylize_images: Any, album: Path) -> None:
    Path("list.txt").write_text("album/a.png\nalbum/more/a.png\n")
    for sources in ("list.txt", [album / "a.png", album / "more"]):
        with pytest.raises(InputError, match=r"a\.png"):
            stylize_images(sources, "out")
    assert not Path("out").exists()


@pytest.mark.parametrize("name", ["out.png", "file"])
def test_several_photos_need_a_folder(stylize_images: Any, album: Path, name: str) -> None:
    Path("file").write_text("here")
    for sources in (album, [album / "a.png", album / "b.jpg"]):
        with pytest.raises(InputError, match="not a folder"):
            stylize_images(sources, name)


def test_no_photos_are_an_error(stylize_images: Any, album: Path) -> None:
    for sources in ([], "missing.png", "missing/", "missing.txt"):
        with pytest.raises(InputError):
            stylize_images(sources, "out")


def test_transparency_is_kept(stylize_images: Any, astronaut: Path, tmp_path: Path) -> None:
    cut_out = Image.open(astronaut).resize((40, 36)).convert("RGBA")
    cut_out.putalpha(Image.new("L", (40, 36), 77))
    cut_out.save(tmp_path / "cut.png")
    [image] = stylize_images(tmp_path / "cut.png", tmp_path / "out.png").images
    assert Image.open(image.output).getpixel((3, 3))[3] == 77


def test_output_folder_inside_the_input(stylize_images: Any, album: Path) -> None:
    out = album / "more" / "out"
    first = stylize_images(album, out)
    assert files(out) == NAMES
    again = stylize_images(album, out, resume=True)
    assert (len(first.images), len(again.images), again.kept) == (3, 0, 3)
    stylize_images(album, out, overwrite=True)
    assert files(out) == NAMES
    # A folder above the photos is not inside them.
    assert len(stylize_images(album / "more", ".").images) == 4


@pytest.mark.parametrize("settings", [{}, {"overwrite": True}, {"resume": True}])
def test_originals_are_never_replaced(
    stylize_images: Any, album: Path, settings: dict[str, bool]
) -> None:
    before = {name: (album / name).read_bytes() for name in NAMES}
    Path("link").symlink_to(album)
    Path("list.txt").write_text("album/b.jpg\nalbum/a.png\n")
    Path("hard").mkdir()
    Path("hard/b.jpg").hardlink_to(album / "b.jpg")
    for source, out in (
        (album, album),
        ("link", album),
        ("list.txt", "link"),
        (album / "b.jpg", "hard/b.jpg"),
        (album / "b.jpg", "link/"),
    ):
        with pytest.raises(InputError):
            stylize_images(source, out, **settings)
    assert {name: (album / name).read_bytes() for name in files(album)} == before


def test_other_formats_become_png(stylize_images: Any, album: Path) -> None:
    Image.open(album / "a.png").save(album / "a.gif")
    Image.open(album / "a.png").save(album / "raw", "JPEG")
    (album / "b.jpg").rename(album / "b.jfif")
    (album / "c.heic").write_bytes(b"\0\0\0\x1cftypheic" + bytes(20))
    done = stylize_images(album, "out")
    assert files("out") == ["a.gif.png", "a.png", "b.jfif", "more/a.png", "raw.png"]
    assert list(done.skipped) == [str(album / "c.heic")]
    formats = [Image.open(image.output).format for image in done.images]
    assert formats == ["PNG", "PNG", "JPEG", "PNG", "PNG"]


def test_unwritable_outputs_are_skipped(stylize_images: Any, album: Path) -> None:
    Image.new("L", (16400, 16)).save(album / "long.webp", "PNG")
    Image.new("L", (15, 40)).save(album / "tiny.png")
    Image.new("L", (40, 40)).save(album / f"{'x' * 250}.gif")  # its output's name is too long
    Path("out").mkdir()
    Path("out/more").touch()  # where a folder needs to be
    done = stylize_images(album, "out")
    assert [image.output.name for image in done.images] == ["a.png", "b.jpg"]
    skipped = {Path(photo).name[:9] for photo in done.skipped}
    assert skipped == {"a.png", "long.webp", "tiny.png", "xxxxxxxxx"}
    for photo, reason in done.skipped.items():
        assert Path(photo).name in reason
    assert files("out") == ["a.png", "b.jpg", "more"]


def fail_at_b(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Let the output b.jpg fail to be written."""

    def save(image: Frame, path: Path, **options: Any) -> Path:
        if path.name == "b.jpg":
            raise error
        return save_image(image, path, **options)

    monkeypatch.setattr(photos, "save_image", save)


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.EIO, "Input/output error")])
def test_one_bad_photo_stops_no_others(
    stylize_images: Any, album: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    fail_at_b(monkeypatch, error)
    done = stylize_images(album, "out")
    assert files("out") == [NAMES[0], NAMES[2]]
    assert list(done.skipped) == [str(album / "b.jpg")]


def test_a_full_disk_ends_the_work(
    stylize_images: Any, album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_at_b(monkeypatch, OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(PartialResultError, match=r"b\.jpg.*`resume`") as error:
        stylize_images(album, "out")
    assert files("out") == NAMES[:1]
    result = error.value.result
    assert isinstance(result, photos.ImagesResult)
    assert [image.output.name for image in result.images] == NAMES[:1]
    assert list(result.skipped) == [str(album / "b.jpg")]


def test_max_pixels(stylize_images: Any, album: Path) -> None:
    done = stylize_images(album, "out", max_pixels=40 * 36)
    assert [image.output.name for image in done.images] == ["a.png"]
    assert len(done.skipped) == 2
