"""A Ray cluster that the tests share."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from clips import write_clip
from farm_cluster import moving_frame, start_cluster


@pytest.fixture(scope="session")
def cluster(cache: Path) -> Iterator[str]:
    """Address of a cluster of two nodes; stop none of them.

    What its workers are to import from the tests, pickle by value: of the tests' folders, Python
    would take `nst_rt` for the package.
    """
    pytest.importorskip("ray")
    nodes = start_cluster()
    yield nodes.address
    nodes.shutdown()


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 frames at a variable rate, each brighter than the one before, with sound."""
    times = np.cumsum(np.random.default_rng(0).integers(200, 900, 60)) - 200
    return write_clip(
        tmp_path_factory.mktemp("source") / "in.mp4",
        pts=times.tolist(),
        size=(96, 64),
        audio="aac",
        audio_seconds=2.5,
        options={"g": "13"},
        picture=moving_frame,
    )
