import os
import socket
import sys
import threading

import pytest

from nst_rt.errors import InputError
from nst_rt.infer.farm import cluster as module
from nst_rt.infer.farm.cluster import Cluster, Node, Workers, connected, uses_gpus
from nst_rt.infer.video import request


def node(name: str, cpus: int, gpus: int = 0) -> Node:
    return Node(name, name, cpus, gpus, 0)


@pytest.mark.slow
def test_functions_run_on_every_node(cluster: str) -> None:
    with connected(cluster) as farm:
        pids = farm.on_each(os.getpid)
        failed = farm.on_each(int, "x")
    assert len(pids) == len({outcome.value for outcome in pids.values()}) == 2
    assert all(outcome.error and "ValueError" in outcome.error for outcome in failed.values())


@pytest.mark.slow
def test_nodes_with_other_versions_are_refused(
    cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request, "__version__", "0.0.1")
    with pytest.raises(InputError, match=r"nst-rt .* instead of 0\.0\.1"), connected(cluster):
        pass


def test_ray_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match="farm"), connected():
        pass


def test_nothing_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}"):
        with pytest.raises(InputError, match="no Ray cluster"), connected(address):
            pass


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b""])
def test_something_else_listens(answer: bytes) -> None:
    def serve() -> None:
        with server.accept()[0] as connection:
            connection.recv(100)
            connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(InputError, match="not a Ray cluster"), connected(address):
            pass
        thread.join()


@pytest.mark.parametrize("address", ["localhost", "localhost:ray", ":6379", "", "local"])
def test_not_an_address(address: str) -> None:
    with pytest.raises(InputError, match="address"), connected(address):
        pass


def test_no_cluster_runs_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_found", lambda: None)
    with pytest.raises(InputError, match="ray start"), connected("auto"):
        pass


def test_workers() -> None:
    processors = Cluster((node("a", 8), node("b", 20)))
    assert processors.workers(on_gpus=True) == Workers(3, 8, 0)
    mixed = Cluster((node("a", 8, 2), node("b", 20, 1), node("c", 64)))
    assert mixed.workers(on_gpus=True) == Workers(3, 4, 1)
    assert mixed.workers(on_gpus=False) == Workers(1 + 2 + 8, 8, 0)
    assert Cluster((node("a", 1, 4),)).workers(on_gpus=True) == Workers(1, 1, 1)


def test_devices() -> None:
    assert uses_gpus("auto", None)
    assert uses_gpus("torch", "cuda")
    assert not uses_gpus("openvino", None)
    assert not uses_gpus("torch", "cpu")
