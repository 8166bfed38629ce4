"""A Ray cluster of two nodes with a CPU core each, all on the loopback interface."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# Before Ray is imported: without it Ray replaces 127.0.0.1 by the machine's address.
_ENVIRONMENT = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "OMP_NUM_THREADS": "1",
}
os.environ.update(_ENVIRONMENT)

_STORE = 100 * 2**20  # bytes
_NODE = {"num_cpus": 1, "object_store_memory": _STORE, "include_dashboard": False}


def start_cluster() -> Any:
    """A new cluster of two nodes; its `address` is what `connected` takes."""
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    for _ in range(2):
        cluster.add_node(node_ip_address="127.0.0.1", **_NODE)
    cluster.wait_for_nodes()
    return cluster


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
