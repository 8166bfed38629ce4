import json
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from nst_rt.infer import system as info
from nst_rt.infer.backends.timing import frames_per_second


def test_speed_is_a_rate_of_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that each call moves on by a quarter of a second."""
    now = 0.0

    def stylize(frame: Any) -> Any:
        nonlocal now
        now += 0.25
        return frame

    monkeypatch.setattr("nst_rt.infer.backends.timing.time.perf_counter", lambda: now)
    assert frames_per_second(stylize, np.zeros((16, 16, 3), np.uint8)) == 4


def test_info_tells_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(info, "SIZES", ((64, 48), (32, 32)))
    told = []
    found = info.machine_info(on_size=lambda *news: told.append(news))
    assert told == [(1, 2, "64x48"), (2, 2, "32x32")]
    assert found.versions["openvino"]
    assert found.processor
    assert found.cores > 0
    assert "cpu" in found.devices["openvino"]
    assert "cpu" in found.devices["torch"]
    assert "cpu" in found.devices["onnx"]
    assert found.engine.startswith(("openvino", "torch", "onnx"))
    assert "frames per second at 640x480: openvino" in found.why
    assert all(rate > 0 for rate in found.fps.values())


def test_the_verb_info_prints_it() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "nst_rt", "info", "--json"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ,
    )
    assert set(json.loads(done.stdout)["fps"]) == {"640x480", "1280x720", "1920x1080"}
