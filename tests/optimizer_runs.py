"""Quick runs of the optimizer, and how they are interrupted."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nst_rt.errors import InterruptedWorkError
from nst_rt.infer.video import VideoReader
from nst_rt.optimization.optimizer import Iterate
from nst_rt.optimization.runs import OptimizeResult

SHALLOW = {"relu1_1": 1.0}
QUICK: dict[str, Any] = {
    "size": 48,
    "steps": [4],
    "content_layers": SHALLOW,
    "style_layers": SHALLOW,
}
TWO_SCALES = QUICK | {"size": 96, "min_size": 48, "steps": [3, 3]}
KINDS: dict[str, dict[str, Any]] = {
    "lbfgs": TWO_SCALES,
    "adam": TWO_SCALES | {"optimizer": "adam"},
    "noise": TWO_SCALES | {"init": "noise", "seed": 7},
    "average": TWO_SCALES | {"preset": "multiscale", "min_size": 60},
    "luminance": TWO_SCALES | {"preserve_colors": "luminance"},
    "training": {
        "preset": "training",
        "size": 96,
        "style_size": 1000,
        "min_size": 48,
        "steps": [3, 3],
    },
}
HOLD = 30  # number of frames that a timelapse shows its last image for
OnIterate = Callable[[Iterate], None]
Optimize = Callable[..., OptimizeResult]


def interrupting(at: int, times: int = 1) -> OnIterate:
    """Presses Ctrl-C at that step."""

    def on_iterate(iterate: Iterate) -> None:
        if iterate.step == at:
            for _ in range(times):
                os.kill(os.getpid(), signal.SIGINT)

    return on_iterate


def interrupt(run: Optimize, *, at: int, **settings: Any) -> None:
    """Optimize until a step."""
    with pytest.raises(InterruptedWorkError) as raised:
        run(on_iterate=interrupting(at), **settings)
    assert raised.value.exit_code == 130


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def frame_count(video: Path) -> int:
    return len(list(VideoReader(video)))
