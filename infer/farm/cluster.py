"""A Ray cluster: connecting to it, and what all of its nodes must have in common."""

import logging
import os
import signal
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from nst_rt.errors import InputError, StyleTransferError
from nst_rt.infer.video.request import frame_versions

logger = logging.getLogger(__name__)

T = TypeVar("T")

AUTO = "auto"
_CLIENT = "ray://"  # scheme of addresses for machines outside of the cluster
_CONNECTION, _ANSWER = 5.0, 60.0  # seconds to wait for a connection, and for the nodes
# The greeting of an HTTP/2 client (RFC 9113), with empty settings, which any gRPC server answers
# with its own settings; 9 bytes head each frame, the fourth is its type.
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_HEAD, _SETTINGS = struct.Struct(">3xB5x"), 4


@dataclass(frozen=True)
class Node:
    """A machine of the cluster.

    Attributes:
        id: Ray's name of it, in hexadecimal digits.
        host: host name, for messages.
        cpus, gpus: number of CPU cores and GPUs that Ray may use there.
        store: size of its object store, bytes.
    """

    id: str
    host: str
    cpus: int
    gpus: int
    store: int

    def __str__(self) -> str:
        return f"node {self.host} ({self.id[:8]})"


@dataclass(frozen=True)
class Workers:
    """How work is divided among the nodes.

    Attributes:
        count: number of workers that run side by side.
        cpus, gpus: what each takes of its node.
    """

    count: int
    cpus: int
    gpus: int

    @property
    def resources(self) -> dict[str, Any]:
        """Options of `ray.remote`."""
        return {"num_cpus": self.cpus, "num_gpus": self.gpus}


@dataclass(frozen=True)
class Outcome:
    """What a function on a node returned, or the error that it raised, as one line."""

    value: Any = None
    error: str | None = None


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster that this process is connected to; made by `connected`.

    Attributes:
        nodes: those with CPU cores for work.
    """

    nodes: tuple[Node, ...]

    def workers(self, *, on_gpus: bool) -> Workers:
        """One worker per GPU, or else one per node.

        Ray gives all workers the same number of cores, so this is that of the smallest node;
        larger nodes run several workers.

        Args:
            on_gpus: whether the work runs on GPUs where there are any; nodes without are idle then.
        """
        with_gpu = [node for node in self.nodes if node.gpus] if on_gpus else []
        if with_gpu:
            cores = max(min(node.cpus // node.gpus for node in with_gpu), 1)
            counts = [min(node.gpus, node.cpus // cores) for node in with_gpu]
            return Workers(sum(counts), cores, 1)
        cores = min(node.cpus for node in self.nodes)
        return Workers(sum(node.cpus // cores for node in self.nodes), cores, 0)

    def on_each(self, function: Callable[..., T], *arguments: Any) -> dict[Node, Outcome]:
        """Call a function on every node, at once and beside other work.

        Args:
            function: of a module that all nodes have.
            arguments: anything that can be pickled.

        Raises:
            InputError: a node does not answer, or cannot run nst-rt.
        """
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        remote = ray.remote(attempt)
        calls = {}
        for node in self.nodes:
            there = NodeAffinitySchedulingStrategy(node.id, soft=False)
            options = {"num_cpus": 0, "max_retries": 2, "scheduling_strategy": there}
            calls[node] = remote.options(**options).remote(function, *arguments)
        ray.wait(list(calls.values()), num_returns=len(calls), timeout=_ANSWER)
        outcomes = {}
        for node, call in calls.items():
            try:
                outcomes[node] = ray.get(call, timeout=0)
            except ray.exceptions.GetTimeoutError as error:
                raise InputError(f"{node} does not answer within {_ANSWER:.0f} s") from error
            except ray.exceptions.RayError as error:
                raise InputError(f"{node} {_failure(error)}") from error
        return outcomes


@contextmanager
def connected(address: str = AUTO) -> Iterator[Cluster]:
    """Connect to a running Ray cluster; an existing connection of this process is used.

    Args:
        address: `auto` for the cluster that this machine belongs to, `HOST:6379` for the cluster
            with that head node, or `ray://HOST:10001` from a machine outside of the cluster.

    Raises:
        InputError: Ray is not installed, there is no such cluster, or its nodes differ in the
            versions of the packages that decide how frames look.
    """
    try:
        import ray
    except ImportError as error:
        raise InputError("`ray` needs Ray: pip install 'nst-rt[farm]'") from error
    was_connected = ray.is_initialized()
    if not was_connected:
        _check_reachable(address)
        try:
            with _sigterm_kept():
                ray.init(address, log_to_driver=False, logging_level=logging.CRITICAL)
        # Ray raises all kinds, such as RuntimeError for another version of Ray or Python.
        except Exception as error:
            raise InputError(f"`ray` {address}: {one_line(error)}") from error
    try:
        cluster = Cluster(_nodes(address))
        _check_versions(cluster)
        yield cluster
    finally:
        if not was_connected:
            ray.shutdown()


@contextmanager
def _sigterm_kept() -> Iterator[None]:
    """Undo that Ray makes SIGTERM end the process at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def attempt(function: Callable[..., Any], *arguments: Any) -> Outcome:
    """The outcome of a call: many errors cannot be pickled, and Ray would add their tracebacks."""
    try:
        return Outcome(function(*arguments))
    except StyleTransferError as error:
        return Outcome(error=str(error))
    except Exception as error:
        logger.info("failed", exc_info=True)  # in Ray's log of the worker
        return Outcome(error=f"{type(error).__name__}: {one_line(error)}")


def one_line(error: BaseException) -> str:
    """The first line of the message of an error; those of Ray go on with tracebacks."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__


def uses_gpus(backend: str, device: str | None) -> bool:
    """Whether frames are stylized on GPUs where there are any."""
    if device is None:
        return backend in ("auto", "torch")
    return device.partition(":")[0] in ("cuda", "gpu")


def _check_reachable(address: str) -> None:
    """Raise an InputError unless a gRPC server listens: Ray would wait for minutes."""
    place = _found() if address == AUTO else address.removeprefix(_CLIENT)
    if place is None:
        raise InputError("`ray` auto: no Ray cluster runs here; start one with: ray start --head")
    host, _, port = place.rpartition(":")
    if not host or not port.isdecimal():
        raise InputError(f"`ray` {address}: not an address such as auto, HOST:6379 or ray://HOST")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _CONNECTION) as connection:
            if os.environ.get("RAY_USE_TLS", "0") != "0":
                return
            connection.sendall(_GREETING)
            connection.settimeout(_CONNECTION)
            [kind] = _HEAD.unpack(connection.recv(_HEAD.size, socket.MSG_WAITALL))
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"`ray` {address}: no Ray cluster at {place} ({reason})") from error
    except struct.error:
        kind = None
    if kind != _SETTINGS:
        raise InputError(f"`ray` {address}: what listens at {place} is not a Ray cluster")


def _found() -> str | None:
    """Address of the cluster that `auto` means, None without one."""
    from ray._private import services

    with suppress(ConnectionError):
        return str(services.canonicalize_bootstrap_address_or_die(AUTO))
    return None


def _nodes(address: str) -> tuple[Node, ...]:
    import ray

    untyped: Any = ray
    nodes = []
    for facts in untyped.nodes():
        has = facts["Resources"]
        if facts["Alive"] and has.get("CPU", 0) >= 1:
            cpus, gpus = int(has["CPU"]), int(has.get("GPU", 0))
            store = int(has.get("object_store_memory", 0))
            nodes.append(Node(facts["NodeID"], facts["NodeManagerHostname"], cpus, gpus, store))
    if not nodes:
        raise InputError(f"`ray` {address}: the cluster has no node with a CPU core for work")
    return tuple(nodes)


def versions() -> dict[str, str | None]:
    """Versions that all nodes must have in common: NumPy pickles what they send to each other."""
    return {**frame_versions(), "numpy": np.__version__}


def _check_versions(cluster: Cluster) -> None:
    here = versions()
    for node, outcome in cluster.on_each(versions).items():
        if outcome.error is not None:
            raise InputError(f"{node}: {outcome.error}")
        if differences := list(_differences(here, outcome.value)):
            raise InputError(
                f"{node} differs from this machine: {', '.join(differences)}; install the same "
                "versions on all machines, or frames will not fit together"
            )


def _differences(here: Mapping[str, str | None], there: Mapping[str, str | None]) -> Iterator[str]:
    for name in sorted({*here, *there}):
        if here.get(name) != there.get(name):
            yield f"{name} {there.get(name) or 'missing'} instead of {here.get(name) or 'none'}"


def _failure(error: Exception) -> str:
    """Why a node cannot run a function, following the name of the node."""
    text = str(error)
    if "No module named 'nst_rt" in text:
        return "has no nst-rt: pip install 'nst-rt[farm]' there, in the environment that runs Ray"
    return f"fails: {one_line(error)}"
