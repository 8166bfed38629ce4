import logging
import pickle
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from PIL import Image
from torch import Tensor

from nst_rt.errors import InputError
from nst_rt.train.photos import EndlessSampler, Photos, RandomCrops, find_photos, is_held_out

PLAIN = 10


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of photos of one grey each, so that every crop tells which photo it is from."""
    folder = tmp_path_factory.mktemp("plain")
    for grey in range(PLAIN):
        Image.new("L", (30 + grey, 40), grey).save(folder / f"{grey}.png")
    return folder


@pytest.fixture
def real(photos: Path) -> list[Path]:
    return [photos / name for name in ("astronaut.png", "coffee.png", "chelsea.png", "rocket.jpg")]


def greys(crops: list[Tensor]) -> list[int]:
    return [round(float(crop.mean() * 255)) for crop in crops]


def stack(crops: RandomCrops, indices: range) -> Tensor:
    return torch.stack([crops[index] for index in indices])


def test_photos_are_found_nested_or_flat_in_name_order(tmp_path: Path) -> None:
    names = ["b.png", "a.JPG", "deep/er/c.jpeg", "deep/d.webp"]
    for name in [*names, "notes.txt", "deep/model.pth"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert find_photos(str(tmp_path)) == sorted(tmp_path / name for name in names)


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="missing: no such folder"):
        find_photos(tmp_path / "missing")


def test_a_file_is_no_folder(astronaut: Path) -> None:
    with pytest.raises(InputError, match=r"astronaut\.png: not a folder"):
        find_photos(astronaut)


def test_a_folder_without_photos_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match=r"no photos in it \(\.png"):
        find_photos(tmp_path)


def test_a_photo_is_held_out_by_the_checksum_of_its_name() -> None:
    names = [f"{index:06d}.jpg" for index in range(2000)]
    held_out = {name for name in names if is_held_out(Path("any/folder") / name)}
    assert held_out == {name for name in names if zlib.crc32(name.encode()) % 20 == 0}
    assert 70 < len(held_out) < 130


def test_crops_are_square_images(real: list[Path]) -> None:
    for crop in stack(RandomCrops(real, 48, seed=0), range(12)):
        assert crop.shape == (3, 48, 48)
        assert crop.min() >= 0
        assert crop.max() <= 1
        assert crop.std() > 0.02


@pytest.mark.parametrize("shape", [(1, 1), (7, 200), (200, 7), (64, 64), (65, 64), (301, 299)])
def test_photos_of_any_shape_can_be_cropped(tmp_path: Path, shape: tuple[int, int]) -> None:
    Image.new("RGB", shape).save(tmp_path / "a.png")
    crops = RandomCrops([tmp_path / "a.png"], 64, seed=0)
    assert stack(crops, range(20)).shape == (20, 3, 64, 64)


def test_crops_depend_on_seed_and_index_alone(real: list[Path]) -> None:
    first, second = RandomCrops(real, 32, seed=5), RandomCrops(real, 32, seed=5)
    forwards = stack(first, range(10))
    torch.manual_seed(1)
    backwards = torch.stack([second[index] for index in reversed(range(10))]).flip(0)
    assert torch.equal(forwards, backwards)


def test_another_seed_gives_other_crops(real: list[Path]) -> None:
    first, second = (stack(RandomCrops(real, 32, seed=seed), range(4)) for seed in (0, 1))
    assert not torch.equal(first, second)


def test_a_photo_is_cropped_differently_each_time(astronaut: Path) -> None:
    crops = stack(RandomCrops([astronaut], 32, seed=0), range(8))
    assert len({tuple(crop.flatten().tolist()) for crop in crops}) == 8


def test_every_photo_is_seen_once_before_any_is_seen_again(plain: Path) -> None:
    crops = RandomCrops(find_photos(plain), 16, seed=0)
    epochs = [
        greys([crops[index] for index in range(start, start + PLAIN)])
        for start in range(0, 5 * PLAIN, PLAIN)
    ]
    assert all(sorted(epoch) == list(range(PLAIN)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 5  # shuffled anew


def test_crops_can_be_sent_to_spawned_workers(real: list[Path]) -> None:
    crops = RandomCrops(real, 32, seed=0)
    expected = crops[3]
    assert torch.equal(pickle.loads(pickle.dumps(crops))[3], expected)


def test_a_corrupt_photo_is_skipped_and_named(
    tmp_path: Path, real: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    corrupt = tmp_path / "corrupt.jpg"
    corrupt.write_bytes(real[-1].read_bytes()[:5000])
    crops = RandomCrops([real[0], corrupt], 32, seed=0)
    with caplog.at_level(logging.WARNING):
        # Long enough for it to end an epoch and to begin the next one.
        assert stack(crops, range(20)).std((1, 2, 3)).min() > 0.02
    assert caplog.messages
    assert all(str(corrupt) in message for message in caplog.messages)


def test_nothing_but_corrupt_photos_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"half")
    with pytest.raises(InputError, match="none of the photos can be read"):
        RandomCrops([tmp_path / "a.jpg"], 32, seed=0)[0]


def test_sampler_goes_on_from_where_it_is_told() -> None:
    assert [index for index, _ in zip(EndlessSampler(7), range(4), strict=False)] == [7, 8, 9, 10]


def test_ranks_share_the_indices_between_them() -> None:
    shares = [
        [index for index, _ in zip(EndlessSampler(10, rank, 3), range(4), strict=False)]
        for rank in range(3)
    ]
    assert shares[1] == [11, 14, 17, 20]
    assert sorted(index for share in shares for index in share) == list(range(10, 22))


def test_photos_are_trained_on_or_held_out(tmp_path: Path) -> None:
    for index in range(60):
        (tmp_path / f"{index}.jpg").touch()
    data = Photos(str(tmp_path), size=16)
    assert data.held_out
    assert all(is_held_out(photo) for photo in data.held_out)
    assert not any(is_held_out(photo) for photo in data.training)
    assert sorted(data.training + data.held_out) == find_photos(tmp_path)


def test_if_all_photos_would_be_held_out_they_are_trained_on(tmp_path: Path) -> None:
    name = next(name for i in range(100) if is_held_out(Path(name := f"{i}.jpg")))
    (tmp_path / name).touch()
    assert Photos(str(tmp_path), size=16).training == [tmp_path / name]


def test_sources_count_photos_by_folder(tmp_path: Path) -> None:
    folder = tmp_path / "holidays"
    for name in ["a.jpg", "sea/b.jpg", "sea/c.jpg", "sea/north/d.jpg"]:
        assert not is_held_out(Path(name))
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    sources = Photos(str(folder), size=16).sources
    assert sources == {"holidays": 1, "sea": 2, "sea/north": 1}


def test_few_photos_are_warned_of_with_their_number(
    plain: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        data = Photos(str(plain), size=16)
    assert f"only {len(data.training)} photos" in caplog.text


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_batches_are_the_crops_in_order(plain: Path, workers: int) -> None:
    data = Photos(str(plain), size=16, batch_size=3, workers=workers, seed=4)
    crops = RandomCrops(data.training, 16, seed=4)
    batches = iter(data.train_dataloader())
    for start in (0, 3, 6, 9, 12):
        assert torch.equal(next(batches), stack(crops, range(start, start + 3)))


def test_a_resumed_run_goes_on_with_the_photos_it_had_not_seen(plain: Path) -> None:
    data = Photos(str(plain), size=16, batch_size=2, workers=0)
    data.trainer = cast(Any, SimpleNamespace(global_step=5, global_rank=1, world_size=3))
    crops = RandomCrops(data.training, 16, seed=0)
    expected = torch.stack([crops[5 * 2 * 3 + 1], crops[5 * 2 * 3 + 4]])
    assert torch.equal(next(iter(data.train_dataloader())), expected)
