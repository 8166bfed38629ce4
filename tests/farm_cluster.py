"""A Ray cluster of two nodes with a CPU core each on the loopback interface, and work for it."""

import os
import sys
from pathlib import Path
from typing import Any

import conversions
import numpy as np
import videos
from conversions import Grainy

from nst_rt.errors import VideoError
from nst_rt.infer.video import VideoResult, stylize_video

# Before Ray is imported: without it Ray replaces 127.0.0.1 by the machine's address.
_ENVIRONMENT = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
os.environ.update(_ENVIRONMENT)

_STORE = 100 * 2**20  # bytes
SEGMENT = 10  # frames
_NODE = {"num_cpus": 1, "object_store_memory": _STORE, "include_dashboard": False}


def start_cluster() -> Any:
    """A new cluster of two nodes; its `address` is what `connected` takes."""
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    for _ in range(2):
        cluster.add_node(node_ip_address="127.0.0.1", **_NODE)
    cluster.wait_for_nodes()
    return cluster


class Fragile(Grainy):
    """Fails while a file exists, at the frames that are brighter than a level."""

    def __init__(self, file: Path, level: float) -> None:
        self._file, self._level = file, level

    def stylize(self, frame: np.ndarray) -> np.ndarray:
        if frame.mean() > self._level and self._file.exists():
            raise VideoError("too bright")
        return super().stylize(frame)


def pickle_by_value() -> None:
    """The workers of the cluster cannot import what tests define."""
    import ray

    for module in (videos, conversions, sys.modules[__name__]):
        ray.cloudpickle.register_pickle_by_value(module)


def moving_frame(number: int) -> np.ndarray:
    """A texture that moves by a pixel per frame, ever brighter; another one from frame 33 on."""
    texture = np.random.default_rng(number // 33).integers(0, 60, (16, 48, 3))
    large = np.kron(texture, np.ones((4, 4, 1)))[:, number : number + 96]
    return (large + 40 + 2 * number).astype(np.uint8)


def one_machine(source: Path, folder: Path, suffix: str = ".mp4", **settings: Any) -> Path:
    output = folder / f"one{suffix}"
    given = {"style": Grainy(), "segment": SEGMENT, **settings}
    stylize_video(source, output, **given)
    return output


def farm(source: Path, output: Path, address: str, **settings: Any) -> VideoResult:
    given = {"style": Grainy(), "segment": SEGMENT, "ray": address, **settings}
    return stylize_video(source, output, **given)
