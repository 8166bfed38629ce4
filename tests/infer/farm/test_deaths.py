"""Deaths in the middle of a conversion on a cluster: of the driver and of a node."""

import os
import signal
from pathlib import Path

import pytest
from conversions import run
from farm_cluster import farm, one_machine, pickle_by_value, start_cluster
from videos import packets

from nst_rt.errors import InputError
from nst_rt.infer.video import work_path

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def by_value() -> None:
    pytest.importorskip("ray")
    pickle_by_value()


def _killed(source: Path, output: Path, address: str) -> None:
    def deadly(done: float, total: object, note: str) -> None:
        if len(list(work_path(output).glob("0*.json"))) >= 2:
            os.kill(os.getpid(), signal.SIGKILL)

    pickle_by_value()
    farm(source, output, address, stability=0, progress=deadly)


def test_killed_driver_resumes(source: Path, tmp_path: Path, cluster: str) -> None:
    whole, output = one_machine(source, tmp_path, stability=0), tmp_path / "farm.mp4"
    assert run(_killed, source, output, cluster) == -signal.SIGKILL
    with pytest.raises(InputError, match="stability"):
        farm(source, output, cluster, resume=True, stability=0.5)
    made = farm(source, output, cluster, resume=True, stability=0)
    assert 20 <= made.resumed < 60
    assert packets(output) == packets(whole)


def test_killed_node(source: Path, tmp_path: Path, cache: Path) -> None:
    nodes = start_cluster()
    try:
        whole = one_machine(source, tmp_path, stability=0)
        left = list(nodes.worker_nodes)

        def deadly(done: float, total: object, note: str) -> None:
            if done and left:
                nodes.remove_node(left.pop(), allow_graceful=False)

        made = farm(source, tmp_path / "farm.mp4", nodes.address, stability=0, progress=deadly)
        assert not left
        assert packets(made.output) == packets(whole)
    finally:
        nodes.shutdown()
