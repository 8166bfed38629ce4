"""Two processes on gloo train like one process with twice the batch, and end together."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from tiny_training import SIZE, Train
from torch import Tensor

from nst_rt.models.style_model import StyleModel
from nst_rt.train.resume import checkpoints

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning"),
]

STEPS = 4
# In float32, so that the only difference is the order of sums; VGG19 stays in its own.
SETTINGS: dict[str, dict[str, Any]] = {
    "trainer": {"accelerator": "cpu", "precision": "32-true"},
    "model": {"ema_decay": 0.5},
}
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(album: Path, painting: Path, tmp_path: Path) -> Start:
    """Start a training on two processes, by torchrun or by Lightning itself."""

    def run(*more: object, torchrun: bool = False, photos: Path = album) -> subprocess.Popen[str]:
        settings = [
            f"--{g}.{key}={value}" for g, of in SETTINGS.items() for key, value in of.items()
        ]
        arguments = [
            *("--style-image", painting, "--photos", photos, "--name", "swirls", "--seed", 3),
            *("--steps", STEPS, "--size", SIZE, "--batch-size", 2, "--workers", 0),
            *("--trainer.devices=2", "--trainer.strategy=ddp", *settings, *more),
        ]
        launcher = [sys.executable]
        if torchrun:
            with socket.create_server(("127.0.0.1", 0)) as free:
                port = free.getsockname()[1]
            launcher += ["-m", "torch.distributed.run", "--nproc-per-node=2"]
            launcher += ["--master-addr=127.0.0.1", f"--master-port={port}"]
        return subprocess.Popen(
            [*launcher, "-m", "nst_rt", "train", *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return run


def finished(training: subprocess.Popen[str]) -> tuple[int, str, list[str]]:
    """Exit code, standard output, and the lines of nst-rt on standard error."""
    out, err = training.communicate(timeout=300)
    return training.returncode, out, [line for line in err.splitlines() if "nst-rt: " in line]


def first_checkpoint(run: Path) -> Path:
    deadline = time.monotonic() + 120
    while not (found := checkpoints(run)):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found[0]


def weights(model: StyleModel) -> Tensor:
    return torch.cat([value.flatten() for value in model.network.state_dict().values()])


@pytest.mark.parametrize("torchrun", [False, True])
def test_two_processes_match_one_with_twice_the_batch(
    train: Train, start: Start, tmp_path: Path, torchrun: bool
) -> None:
    code, out, said = finished(start(torchrun=torchrun))
    assert code == 0, said
    assert out.count("saved swirls.safetensors") == 1  # not once per process
    assert len(said) == len(set(said))
    assert sum("style image swirls.jpg: " in line for line in said) == 1
    assert len([*(tmp_path / "runs" / "swirls" / "tensorboard").glob("events*")]) == 1
    model = StyleModel.load(tmp_path / "swirls.safetensors")
    one = train(tmp_path / "one", batch_size=4, steps=STEPS, **SETTINGS)
    half = train(tmp_path / "half", batch_size=2, steps=STEPS, **SETTINGS)
    # Adam amplifies small differences: compare with the effect of half the batch.
    difference = (weights(model) - weights(one)).norm()
    assert difference < 0.05 * (weights(half) - weights(one)).norm()
    assert model.training["losses"] == pytest.approx(one.training["losses"], rel=1e-2)
    assert model.training["batch_size"] == one.training["batch_size"] == 4


@pytest.mark.parametrize("ended", ["parent", "child"])
def test_end_of_one_process_ends_the_other_and_resume_continues(
    start: Start, tmp_path: Path, ended: str
) -> None:
    run = tmp_path / "runs" / "swirls"
    longer = ("--steps", 60)  # with a checkpoint every 3
    training = start(*longer)
    first_checkpoint(run)
    parent = psutil.Process(training.pid)
    [child] = parent.children()
    (child if ended == "child" else parent).send_signal(signal.SIGKILL)
    code, out, said = finished(training)
    psutil.wait_procs([child], timeout=60)
    assert not child.is_running()
    assert not out
    errors = [line for line in said if "process" in line]
    if ended == "child":
        assert code == 2
        assert [line.count("--resume") for line in errors] == [1]
    else:
        assert code == -signal.SIGKILL
        assert not errors  # the shell says it
    done = int(checkpoints(run)[-1].stem.partition("=")[2])
    assert done < 60
    code, out, said = finished(start(*longer, "--resume"))
    assert code == 0, said
    resumed = StyleModel.load(tmp_path / "swirls.safetensors")
    shutil.rmtree(run)
    assert finished(start(*longer, "--overwrite"))[0] == 0
    whole = StyleModel.load(tmp_path / "swirls.safetensors")
    assert torch.equal(weights(resumed), weights(whole))


def test_error_of_the_inputs_is_said_once(start: Start, tmp_path: Path) -> None:
    _, out, said = finished(start("--steps", 0, torchrun=True))
    assert [line for line in said if "steps" in line] == said
    assert len(said) == 1
    assert not out
    assert not [*tmp_path.iterdir()]


def test_photos_that_any_process_skips_are_counted_and_said_once(
    start: Start, album: Path, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(album, photos)
    for name in ("damaged1.png", "damaged2.png"):
        (photos / name).write_bytes((album / "a.png").read_bytes()[:2000])
    code, _, said = finished(start(photos=photos))
    assert code == 0, said
    skipped = [line for line in said if "skipped a photo" in line]
    assert len(skipped) == len(set(skipped)) == 2
    assert StyleModel.load(tmp_path / "swirls.safetensors").training["skipped"] == 2
