"""kill -9 at any event of a job, and again; then resuming: nothing lost, doubled or left over."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from clips import write_clip
from PIL import Image
from torture.jobs import JOBS, run_job

from nst_rt.models.style_model import StyleModel

_LOGS = "tensorboard"  # each start of a training adds a file


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory, astronaut: Path, painting: Path) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    (folder / "photos").mkdir()
    with Image.open(astronaut) as photo:
        for number in range(5):
            part = photo.convert("RGB").crop((40 * number, 0, 40 * number + 200, 160))
            part.resize((100, 80)).save(folder / "photos" / f"{number}.png")
        photo.convert("RGB").resize((96, 64)).save(folder / "content.png")
    with Image.open(painting) as image:
        image.convert("RGB").resize((96, 80)).save(folder / "style.png")
    write_clip(folder / "in.mp4", audio="aac", options={"g": "13"})
    return folder


@pytest.fixture(scope="module")
def whole(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> "Whole":
    return Whole(inputs, tmp_path_factory.mktemp("whole"))


class Whole:
    """Uninterrupted jobs, each run when it is first asked for."""

    def __init__(self, inputs: Path, folder: Path) -> None:
        self._inputs, self._folder = inputs, folder
        self._events: dict[str, int] = {}

    def __getitem__(self, kind: str) -> tuple[Path, int]:
        """The folder of a job's outputs, and the number of its events."""
        folder = self._folder / kind
        if kind not in self._events:
            folder.mkdir()
            self._events[kind] = run_job(kind, self._inputs, folder)
        return folder, self._events[kind]


def outputs(folder: Path) -> dict[str, bytes]:
    """All files but logs; checkpoints by name alone, since they hold the time they took."""

    def files() -> Iterator[tuple[str, bytes]]:
        for path in folder.rglob("*"):
            if path.is_file() and _LOGS not in path.parts:
                content = b"" if path.suffix == ".ckpt" else path.read_bytes()
                yield path.relative_to(folder).as_posix(), content

    return dict(files())


@pytest.mark.parametrize("kind", JOBS)
def test_killed_job_resumes_to_the_same_outputs(
    inputs: Path, whole: Whole, tmp_path: Path, kind: str, seed: int
) -> None:
    expected, events = whole[kind]
    assert events >= 10
    chance = random.Random(f"{kind} {seed}")
    assert run_job(kind, inputs, tmp_path, chance.randrange(2, events)) == -1
    if run_job(kind, inputs, tmp_path, chance.randrange(1, events), resume=True) == -1:
        run_job(kind, inputs, tmp_path, resume=True)
    assert outputs(tmp_path) == outputs(expected)
    if kind == "train":
        model = StyleModel.load(tmp_path / "swirls.safetensors")
        assert model.training["steps"] == 4
