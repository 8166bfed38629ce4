"""What goes wrong while photos are decoded, or in a step."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from signal import SIGKILL

import pytest
from tiny_training import Train
from torch.utils.data import DataLoader, Dataset

from nst_rt.errors import InputError, StyleTransferError
from nst_rt.train.task import StyleTraining

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")


class Dying(Dataset[int]):
    """Calls a function instead of returning an item."""

    def __init__(self, end: Callable[[], None]) -> None:
        self.end = end

    def __getitem__(self, index: int) -> int:
        self.end()
        return index

    def __len__(self) -> int:
        return 1


def dying(end: Callable[[], None]) -> Callable[[object], Iterator[int]]:
    """A `DataLoader.__iter__` whose worker process calls `end`."""
    iterate = DataLoader.__iter__
    loader = DataLoader(Dying(end), num_workers=1, multiprocessing_context="fork")
    return lambda _: iterate(loader)


def test_corrupt_photo_is_skipped(train: Train, tmp_path: Path, album: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "good.png").write_bytes((album / "a.png").read_bytes())
    (folder / "corrupt.png").write_bytes((album / "b.png").read_bytes()[:2000])
    assert train(tmp_path, photos=folder, steps=2).training["skipped"] == 1


@pytest.mark.slow
def test_killed_worker_raises_with_advice(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DataLoader, "__iter__", dying(lambda: os.kill(os.getpid(), SIGKILL)))
    with pytest.raises(StyleTransferError, match="resume"):
        train(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("raised", "error", "says"),
    [
        (RuntimeError("a\nb"), StyleTransferError, "RuntimeError: a b"),
        (OSError(5, "Input/output error"), StyleTransferError, "Input/output error"),
        (InputError("none: all damaged"), InputError, "^none: all damaged$"),
    ],
)
def test_error_in_worker_is_raised_in_one_line(
    train: Train,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    raised: Exception,
    error: type[StyleTransferError],
    says: str,
) -> None:
    def fail() -> None:
        raise raised

    monkeypatch.setattr(DataLoader, "__iter__", dying(fail))
    with pytest.raises(error, match=says) as caught:
        train(tmp_path)
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)


def test_bug_in_training_step_is_raised_unchanged(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a mistake in training_step")

    monkeypatch.setattr(StyleTraining, "training_step", broken)
    with pytest.raises(RuntimeError, match="a mistake"):
        train(tmp_path)
