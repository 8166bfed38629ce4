"""Photos packed for a kit."""

from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from nst_rt.errors import InputError
from nst_rt.images.collection import Photo, find_photos, is_held_out
from nst_rt.images.convert import resize_to
from resident.kit import _pack_photos


def test_photos_are_packed_small_and_unusable_ones_left_out(
    tmp_path: Path, astronaut: Path
) -> None:
    folder, archive = tmp_path / "content", tmp_path / "content.zip"
    (folder / "more").mkdir(parents=True)
    held_out = next(f"{i}.png" for i in range(100) if is_held_out(Photo(Path(f"{i}.png"))))
    photo = Image.open(astronaut).resize((300, 200))
    for name in ("a.png", "more/b.PNG", held_out):
        photo.save(folder / name)
    photo.resize((100, 50)).save(folder / "small.png")
    Image.new("RGB", (300, 27)).save(folder / "too_small.png")
    (folder / "damaged.png").write_bytes((folder / "a.png").read_bytes()[:2000])
    _pack_photos(folder, archive, size=56, quality=90)
    packed = {photo.member: photo for photo in find_photos(archive)}
    assert set(packed) == {"a.png", "more/b.PNG", "small.png"}
    assert packed["a.png"].load().shape == (1, 3, 64, 96)
    assert packed["small.png"].load().shape == (1, 3, 50, 100)
    assert Image.open(BytesIO(packed["more/b.PNG"].read_bytes())).format == "WEBP"
    original = resize_to(Photo(folder / "a.png").load(), (64, 96))
    assert (packed["a.png"].load() - original).abs().mean() < 0.02
    first = archive.read_bytes()
    _pack_photos(folder, archive, size=56, quality=90)
    assert archive.read_bytes() == first
    for name in packed:
        (folder / name).unlink()
    with pytest.raises(InputError, match="content"):
        _pack_photos(folder, tmp_path / "none.zip", size=56, quality=90)
    assert not (tmp_path / "none.zip").exists()
