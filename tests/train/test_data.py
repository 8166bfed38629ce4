import itertools
import logging
import pickle
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from nst_rt.errors import InputError
from nst_rt.images.collection import Photo, find_photos, is_held_out
from nst_rt.images.convert import resize_to
from nst_rt.images.io import load_image
from nst_rt.train.data import Batch, CenterCrops, Photos, RandomCrops, collate

PLAIN = 10


def grainy(width: int, height: int, number: int) -> Image.Image:
    """An image whose number follows from the mean of any crop (12 levels each); not flat."""
    random = np.random.default_rng(number)
    blocks = random.choice([-8, 8], (height // 4 + 1, width // 4 + 1))
    grain = np.kron(blocks, np.ones((4, 4)))[:height, :width]
    return Image.fromarray((12 * number + 40 + grain).astype(np.uint8))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of nearly gray photos whose crops tell which photo they are from."""
    folder = tmp_path_factory.mktemp("plain")
    for gray in range(PLAIN):
        grainy(30 + gray, 40, gray).save(folder / f"{gray}.png")
    return folder


@pytest.fixture
def real(photos: Path) -> list[Photo]:
    names = ("astronaut.png", "coffee.png", "chelsea.png", "rocket.jpg")
    return [Photo(photos / name) for name in names]


@pytest.fixture
def corrupt(tmp_path: Path, real: list[Photo]) -> Photo:
    (tmp_path / "corrupt.jpg").write_bytes(real[-1].read_bytes()[:5000])
    return Photo(tmp_path / "corrupt.jpg")


@pytest.fixture
def tiny(tmp_path: Path) -> Photo:
    Image.new("RGB", (300, 15)).save(tmp_path / "tiny.png")
    return Photo(tmp_path / "tiny.png")


def grays(crops: Tensor) -> list[int]:
    return [round((float(crop.mean() * 255) - 40) / 12) for crop in crops]


def stack(crops: RandomCrops, indices: range) -> Tensor:
    return torch.cat([crops[index].images for index in indices])


def same(one: Batch, other: Batch) -> bool:
    tensors = zip(one[:2], other[:2], strict=True)
    return all(torch.equal(a, b) for a, b in tensors) and one[2:] == other[2:]


def trainer(**settings: int) -> Any:
    defaults = {"global_step": 0, "accumulate_grad_batches": 1, "global_rank": 0, "world_size": 1}
    return SimpleNamespace(**defaults | settings)


@pytest.mark.parametrize("shape", [(32, 32), (32, 400), (400, 33), (64, 64), (65, 64), (301, 299)])
def test_photos_of_any_shape_can_be_cropped(tmp_path: Path, shape: tuple[int, int]) -> None:
    grainy(*shape, 1).save(tmp_path / "a.png")
    crops = stack(RandomCrops([Photo(tmp_path / "a.png")], 64, seed=0), range(20))
    assert crops.shape == (20, 3, 64, 64)
    assert crops.min() >= 0
    assert crops.max() <= 1


def test_crops_vary_in_scale_and_reach_all_of_a_photo(tmp_path: Path) -> None:
    # Red encodes the row, green the column.
    gradient = torch.linspace(0, 1, 256)
    rows, columns = gradient[:128, None] * 2, gradient[None]
    image = torch.stack([rows.expand(128, 256), columns.expand(128, 256), rows.new_zeros(128, 256)])
    levels = (image * 255).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(levels).save(tmp_path / "a.png")
    crops = stack(RandomCrops([Photo(tmp_path / "a.png")], 32, seed=0), range(80))[:, :2]
    height, width = (crops.amax((2, 3)) - crops.amin((2, 3))).T
    assert 1 / 1.3 - 0.05 < height.min() < 0.85 < 0.95 < height.max()
    assert torch.allclose(width * 2, height, atol=0.1)  # square
    assert (crops.amin((0, 2, 3)) < 0.05).all()
    assert (crops.amax((0, 2, 3)) > 0.95).all()
    mirrored = crops[:, 1, :, 0] > crops[:, 1, :, -1]
    assert 20 < mirrored[:, 0].sum() < 60


def test_crop_equals_region_of_resized_photo(tmp_path: Path) -> None:
    Image.effect_noise((192, 96), 80).save(tmp_path / "a.png")
    photo = Photo(tmp_path / "a.png")
    (crop,) = CenterCrops([photo], 48)
    whole = resize_to(photo.load(), (48, 96))[0, :, :, 24:72]
    assert torch.allclose(crop.images[0, ..., 3:-3], whole[..., 3:-3], atol=1e-5)
    assert (crop.images[0] - whole).abs().mean() < 1e-2


def test_crops_depend_only_on_seed_and_index(real: list[Photo], corrupt: Photo) -> None:
    photos = [*real, corrupt]
    first, second = RandomCrops(photos, 32, seed=5), RandomCrops(photos, 32, seed=5)
    forwards = stack(first, range(15))
    torch.manual_seed(1)
    backwards = torch.cat([second[index].images for index in reversed(range(15))]).flip(0)
    assert torch.equal(forwards, backwards)
    assert not torch.equal(forwards, stack(RandomCrops(photos, 32, seed=6), range(15)))
    of_one_photo = stack(RandomCrops(real[:1], 32, seed=0), range(8))
    assert len({tuple(crop.flatten().tolist()) for crop in of_one_photo}) == 8


def test_every_photo_is_used_once_per_epoch(plain: Path) -> None:
    crops = RandomCrops(find_photos(plain), 16, seed=0)
    epochs = [
        grays(stack(crops, range(start, start + PLAIN))) for start in range(0, 5 * PLAIN, PLAIN)
    ]
    assert all(sorted(epoch) == list(range(PLAIN)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 5  # shuffled anew


def test_crop_of_one_color_is_replaced_without_skipping_its_photo(tmp_path: Path) -> None:
    picture = Image.new("RGB", (400, 80), "blue")
    picture.paste(grainy(80, 80, 1), (0, 0))
    picture.save(tmp_path / "sky.png")
    crops = RandomCrops([Photo(tmp_path / "sky.png"), *[Photo(tmp_path / "sky.png")] * 9], 32, 0)
    found = [crops[index] for index in range(12)]
    assert all(crop.images.std((2, 3)).max() > 0.01 and not crop.skipped for crop in found)


def test_crops_can_be_sent_to_spawned_workers(real: list[Photo]) -> None:
    crops = RandomCrops(real, 32, seed=0)
    expected = crops[3]
    assert same(pickle.loads(pickle.dumps(crops))[3], expected)


def test_unusable_photos_are_skipped_with_reason(
    real: list[Photo], corrupt: Photo, tiny: Photo, caplog: pytest.LogCaptureFixture
) -> None:
    white = Photo(tiny.path.with_name("white.png"))
    Image.new("RGB", (80, 80), "white").save(white.path)
    crops = RandomCrops([real[0], corrupt, tiny, white], 32, seed=0)
    # Long enough for them to end an epoch and to begin the next one.
    seen = [crops[index] for index in range(20)]
    assert {photo for crop in seen for photo in crop.photos} == {str(real[0])}
    skipped = collate(seen).skipped
    assert skipped.keys() == {str(corrupt), str(tiny), str(white)}
    assert "damaged" in skipped[str(corrupt)]
    assert "300x15" in skipped[str(tiny)]
    assert not caplog.messages  # workers log nothing


def test_unusable_photos_are_read_once(
    real: list[Photo], corrupt: Photo, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[Photo] = []
    read = Photo.read_bytes

    def counted(photo: Photo) -> bytes:
        reads.append(photo)
        return read(photo)

    monkeypatch.setattr(Photo, "read_bytes", counted)
    stack(RandomCrops([real[0], corrupt], 32, seed=0), range(12))
    assert reads.count(corrupt) == 1
    assert reads.count(real[0]) == 12


def test_batch_collects_crops(plain: Path, corrupt: Photo) -> None:
    crops = RandomCrops([*find_photos(plain), corrupt], 16, seed=0)
    batch = collate([crops[index] for index in range(11)])
    assert batch.images.shape == (11, 3, 16, 16)
    assert batch.images.dtype == torch.float32
    assert batch.indices.dtype == torch.int64
    assert batch.indices.tolist() == list(range(11))
    assert [int(Path(photo).stem) for photo in batch.photos] == grays(batch.images)
    assert list(batch.skipped) == [str(corrupt)]


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Folder of files that are named like photos."""
    folder = tmp_path / "many"
    for index in range(60):
        (folder / ("even" if index % 2 == 0 else "")).mkdir(parents=True, exist_ok=True)
        (folder / ("even" if index % 2 == 0 else "") / f"{index}.jpg").touch()
    return folder


@pytest.mark.parametrize("fraction", [0.05, 0.2, "0.2", 0, "0"])
def test_fraction_of_photos_is_held_out(many: Path, fraction: float | str) -> None:
    data = Photos(str(many), validation=fraction)
    found = find_photos(many)
    assert data.held_out == [photo for photo in found if is_held_out(photo, float(fraction))]
    assert data.training == [photo for photo in found if photo not in data.held_out]
    assert bool(data.held_out) == bool(float(fraction))
    assert (data.val_dataloader() == []) == (not data.held_out)
    assert sum(data.sources.values()) == len(data.training)
    assert data.sources.keys() == {"many", "even"}


def test_validation_may_be_another_collection(many: Path, plain: Path) -> None:
    data = Photos(str(many), validation=str(plain))
    assert data.training == find_photos(many)
    assert data.held_out == find_photos(plain)
    with pytest.raises(InputError, match="missing"):
        Photos(str(many), validation=str(many / "missing"))


@pytest.mark.parametrize("fraction", [-0.1, 0.6, 1, "2", float("nan")])
def test_fraction_out_of_range_is_an_error(many: Path, fraction: float | str) -> None:
    with pytest.raises(InputError, match=str(fraction)):
        Photos(str(many), validation=fraction)


def test_photos_that_would_all_be_held_out_are_trained_on(tmp_path: Path) -> None:
    name = next(name for i in range(100) if is_held_out(Photo(Path(name := f"{i}.jpg"))))
    (tmp_path / name).touch()
    assert Photos(str(tmp_path)).training == [Photo(tmp_path / name)]


def test_few_photos_cause_a_warning(plain: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        data = Photos(str(plain), size=16)
        data.check()
        assert not caplog.messages  # other inputs may be wrong, and are checked first
        data.setup("fit")
    assert f"photos to train on ({len(data.training)})" in caplog.text


def test_check_needs_a_usable_photo(plain: Path, many: Path) -> None:
    Photos(str(plain), size=16).check()
    for folder, size in ((plain, 100), (many, 16)):
        with pytest.raises(InputError, match="none of the"):
            Photos(str(folder), size=size).check()


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("workers", [0, 1, 2])
def test_batches_contain_the_crops_in_order(
    plain: Path, tmp_path: Path, workers: int, inside: bool
) -> None:
    (tmp_path / "album").mkdir()
    for photo in plain.iterdir():
        (tmp_path / "album" / photo.name).write_bytes(photo.read_bytes())
    (tmp_path / "album" / "corrupt.png").touch()
    source = tmp_path / "album"
    if inside:
        source = tmp_path / "album.zip"
        with zipfile.ZipFile(source, "w") as opened:
            for photo in (tmp_path / "album").iterdir():
                opened.write(photo, photo.name)
    data = Photos(str(source), size=16, batch_size=3, workers=workers, seed=4)
    crops = RandomCrops(data.training, 16, seed=4)
    batches = list(itertools.islice(data.train_dataloader(), 5))
    for start, batch in zip(range(0, 15, 3), batches, strict=True):
        assert same(batch, collate([crops[index] for index in range(start, start + 3)]))
    assert any(batch.skipped for batch in batches)


def test_worker_has_one_thread(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nst_rt.train.data.collate", lambda _: torch.get_num_threads())
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert next(iter(Photos(str(plain), size=16, workers=1).train_dataloader())) == 1
    finally:
        torch.set_num_threads(threads)


def test_resumed_run_continues_the_stream(plain: Path) -> None:
    data = Photos(str(plain), size=16, batch_size=2, workers=0)
    data.trainer = trainer(global_step=5, accumulate_grad_batches=4, global_rank=1, world_size=3)
    start = 5 * 4 * 2 * 3
    batch = next(iter(data.train_dataloader()))
    assert batch.indices.tolist() == [start + 1, start + 4]
    crops = RandomCrops(data.training, 16, seed=0)
    assert same(batch, collate([crops[start + 1], crops[start + 4]]))


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_validation_uses_center_crop_of_each_held_out_photo(
    plain: Path, real: list[Photo], tmp_path: Path, workers: int
) -> None:
    for index, photo in enumerate(real[:3]):
        (tmp_path / f"{2 * index}.png").write_bytes(photo.read_bytes())
    (tmp_path / "1.png").touch()
    (tmp_path / "5.png").touch()  # and nothing that can be used behind it
    data = Photos(str(plain), size=32, validation=str(tmp_path), batch_size=2, workers=workers)
    data.trainer = trainer(global_rank=1, world_size=3)
    loader = cast(Any, data.val_dataloader())
    batches, again = list(loader), list(loader)
    assert all(same(*pair) for pair in zip(batches, again, strict=True))
    assert [Path(photo).name for batch in batches for photo in batch.photos] == [
        "0.png",
        "2.png",
        "4.png",
    ]
    assert [batch.indices.tolist() for batch in batches] == [[0, 2], [3]]
    assert [[Path(photo).name for photo in batch.skipped] for batch in batches] == [
        ["1.png"],
        ["5.png"],
    ]
    astronaut = resize_to(load_image(tmp_path / "0.png"), (32, 32))[0]  # a square photo
    assert torch.equal(batches[0].images[0], astronaut)


def test_validation_is_limited_to_32_photos(tmp_path: Path, plain: Path) -> None:
    for index in range(40):
        grainy(16, 16, index % 12).save(tmp_path / f"{index:02d}.png")
    data = Photos(str(plain), size=16, validation=str(tmp_path), batch_size=20, workers=0)
    seen = [photo for batch in cast(Any, data.val_dataloader()) for photo in batch.photos]
    assert [Path(photo).stem for photo in seen] == [f"{index:02d}" for index in range(32)]


def test_digest_depends_on_names_but_not_on_folders(many: Path, tmp_path: Path) -> None:
    data = Photos(str(many))
    moved = many.rename(tmp_path / "moved")
    assert Photos(str(moved)).digest() == data.digest()
    renamed = Photos(str(moved)).training[3].path
    renamed.rename(renamed.with_name("other.jpg"))
    assert Photos(str(moved)).digest() != data.digest()
