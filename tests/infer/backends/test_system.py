import json
from typing import Any

import numpy as np
import pytest

from nst_rt.cli import main
from nst_rt.infer.backends import frames_per_second, system


def test_frames_per_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock that each call advances by a quarter of a second."""
    now = 0.0

    def stylize(frame: Any) -> Any:
        nonlocal now
        now += 0.25
        return frame

    monkeypatch.setattr("nst_rt.infer.backends.choice.time.perf_counter", lambda: now)
    assert frames_per_second(stylize, np.zeros((16, 16, 3), np.uint8)) == 4


@pytest.mark.slow
def test_machine_info(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(system, "SIZES", ((64, 48), (32, 32)))
    calls = []
    found = system.machine_info(progress=lambda *call: calls.append(call))
    assert calls == [(1, 2, "64x48"), (2, 2, "32x32")]
    assert found.versions["openvino"]
    assert found.processor
    assert found.cores > 0
    assert all("cpu" in found.devices[backend] for backend in ("openvino", "torch", "onnx"))
    assert found.backend.startswith(("openvino", "torch", "onnx"))
    assert "frames per second at 640x480: openvino" in found.why
    assert all(rate > 0 for rate in found.fps.values())
    assert main(["info", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["fps"]) == {"64x48", "32x32"}
