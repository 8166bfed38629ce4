"""The style of a farm: sent by the machine of the command, loaded by the workers."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from nst_rt.errors import InputError
from nst_rt.infer.farm.cluster import Outcome, Workers, attempt, one_line
from nst_rt.infer.frame_stylizer import FrameStylizer, Preparation
from nst_rt.infer.timeline import Timeline
from nst_rt.progress import stages


@dataclass(frozen=True)
class SentStyle:
    """A style that Ray holds for the workers.

    Attributes:
        stylizer: a key that identifies the `Preparation`, and a reference to it, for `loaded`.
        backend: name of the backend that all workers use.
        identity: of the frame stylizer that a worker makes of it.
        timeline: styles over time, None for a stylizer.
    """

    stylizer: tuple[str, Any]
    backend: str
    identity: Mapping[str, str]
    timeline: Timeline | None


def send_style(preparation: Preparation, workers: Workers) -> SentStyle:
    """Give a style to Ray; the backend that the first worker chooses is that of all.

    Raises:
        InputError: the style cannot be sent or loaded, or the cluster fails.
    """
    import ray

    key = uuid.uuid4().hex
    try:
        reference = ray.put(preparation)
    except TypeError as error:
        raise InputError(
            "a loaded stylizer cannot be sent to other machines; with `ray`, give the `style` as a "
            "name, a file or a StyleModel"
        ) from error
    stages.debug("waiting for a free node, which loads the style")
    task = ray.remote(attempt).options(**workers.resources)
    try:
        outcome: Outcome = ray.get(task.remote(_described, (key, reference)))
    except ray.exceptions.RayError as error:
        raise InputError(f"the cluster fails: {one_line(error)}") from error
    if outcome.error is not None:
        raise InputError(outcome.error)
    backend, identity = outcome.value
    if preparation.loading:
        # Another machine might choose another backend, since it is chosen by measured speed.
        loading = {**preparation.loading, "backend": backend}
        reference = ray.put(replace(preparation, loading=loading))
    return SentStyle((key, reference), backend, identity, preparation.timeline)


_loaded: dict[str, FrameStylizer] = {}  # the last one that this process has used


def loaded(stylizer: tuple[str, Any]) -> FrameStylizer:
    """The frame stylizer of a `SentStyle`; a worker process keeps it for its next piece."""
    import ray

    key, reference = stylizer
    if key not in _loaded:
        _loaded.clear()
        preparation: Preparation = ray.get(reference)
        _loaded[key] = preparation.load()
    return _loaded[key]


def _described(stylizer: tuple[str, Any]) -> tuple[str, dict[str, str]]:
    """Name of the backend that a worker stylizes with, and the frame stylizer's identity."""
    frame_stylizer = loaded(stylizer)
    return getattr(frame_stylizer.stylizer, "backend", ""), frame_stylizer.identity
