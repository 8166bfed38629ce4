"""What kills and power cuts leave of checkpoints, and of an earlier run that was put aside."""

import shutil
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_training import STEPS, Train

from nst_rt.errors import InputError
from nst_rt.train.resume import (
    await_settled,
    checkpoints,
    earlier_run_aside,
    settle_earlier_run,
)


@pytest.fixture(scope="module")
def finished(train: Train, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a complete run."""
    folder = tmp_path_factory.mktemp("finished")
    train(folder)
    return folder / "runs" / "swirls"


def weights(run: Path) -> dict[str, Any]:
    """Those of the last checkpoint."""
    loaded = torch.load(checkpoints(run)[-1], weights_only=True)
    return dict(loaded["state_dict"])


class Killed(BaseException):
    """Ends a training at once, so that only its files are left."""


def test_damaged_checkpoint_leaves_the_one_before(
    train: Train, finished: Path, tmp_path: Path
) -> None:
    def progress(step: float, *_: object) -> None:
        if step == 3:
            raise Killed

    with pytest.raises(Killed):
        train(tmp_path, progress=progress)
    run = tmp_path / "runs" / "swirls"
    [checkpoint] = checkpoints(run)
    cut_off = checkpoint.with_name(f"step={STEPS:06d}.ckpt")
    cut_off.write_bytes(checkpoint.read_bytes()[:-1000])
    train(tmp_path, resume=True)
    assert [path.name for path in checkpoints(run)] == [cut_off.name]
    for key, value in weights(finished).items():
        assert torch.equal(weights(run)[key], value), key


def test_damaged_only_checkpoint_is_an_error(train: Train, finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "swirls"
    shutil.copytree(finished, run)
    [checkpoint] = checkpoints(run)
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1000])
    with pytest.raises(InputError, match="damaged"):
        train(tmp_path, resume=True)
    assert checkpoints(run) == [checkpoint]


@pytest.mark.parametrize("begun", [False, True])
def test_earlier_run_that_a_kill_left_aside(finished: Path, tmp_path: Path, begun: bool) -> None:
    run, killed = tmp_path / "run", tmp_path / "killed"
    shutil.copytree(finished, run)
    before = {path.relative_to(run) for path in run.rglob("*")}
    with earlier_run_aside(run):
        shutil.copytree(run, killed)
        assert before.isdisjoint(path.relative_to(killed) for path in killed.rglob("*"))
    assert before == {path.relative_to(run) for path in run.rglob("*")}
    if begun:
        shutil.copytree(run / "checkpoints", killed / "checkpoints")
    with ThreadPoolExecutor() as pool:
        other_process = pool.submit(await_settled, killed)
        assert not wait([other_process], timeout=0.2).done
        settle_earlier_run(killed)
        other_process.result()
    after = {path.relative_to(killed) for path in killed.rglob("*")}
    assert after == {path for path in before if not begun or path.parts[0] == "checkpoints"}
