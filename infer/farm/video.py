"""Videos stylized by the machines of a Ray cluster.

Each video is cut into pieces (`plan.py`), which are tasks of Ray: it gives them to free nodes, and
again to others when a node or a process dies. This machine only reads packets, keeps the segments
that come back in the work folder, and joins them in the end.
"""

import logging
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from nst_rt.infer.farm.cluster import Cluster, Outcome, attempt, connected, one_line, uses_gpus
from nst_rt.infer.farm.conversion import FarmedVideo, Finished
from nst_rt.infer.farm.plan import Piece
from nst_rt.infer.farm.segment import stylize_piece
from nst_rt.infer.farm.style import send_style
from nst_rt.infer.farm.tally import Tally
from nst_rt.infer.frame_stylizer import Preparation
from nst_rt.infer.video.request import ConversionSettings
from nst_rt.progress import Progress, interrupts_deferred

logger = logging.getLogger(__name__)

_TRIES = 3  # of a piece that fails by itself; Ray repeats those of nodes that die
_LOST = 5  # times that a piece is given to another node or process after one that died
_GLANCE = 0.5  # seconds between two looks at the progress


def stylize_on_farm(
    videos: Iterable[tuple[Path | str, Path | str]],
    preparation: Preparation,
    settings: ConversionSettings,
    *,
    ray: str,
    progress: Progress | None = None,
) -> Iterator[tuple[Path | str, Finished]]:
    """Stylize videos on a Ray cluster, several at a time where they are short.

    Args:
        videos: sources and outputs.
        preparation: the style.
        settings: see `stylize_video`.
        ray: address of the cluster, see `connected`.
        progress: called with the number of frames done and that of all frames, of the videos begun
            so far.

    Yields:
        Each source as soon as it is done, with its result or error: see `stylize_video`. Of a
        PartialResultError, the pieces that are finished are kept, and `resume` makes the others.

    Raises:
        InputError: there is no cluster, or its nodes cannot stylize in this way.
    """
    with connected(ray) as cluster:
        farm = _Farm(cluster, preparation, settings)
        with interrupts_deferred() as interrupted:
            try:
                for source, finished in farm.run(videos, progress):
                    if source is not None:
                        yield source, finished
                    if interrupted():
                        raise KeyboardInterrupt
            finally:
                farm.abort()


class _Farm:
    """Videos in work, and the tasks that make their pieces."""

    def __init__(
        self, cluster: Cluster, preparation: Preparation, settings: ConversionSettings
    ) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self._cluster, self._settings = cluster, settings
        asked = preparation.loading
        on_gpus = uses_gpus(asked.get("backend", "auto"), asked.get("device"))
        self._workers = cluster.workers(on_gpus=on_gpus)
        self._task = ray.remote(attempt).options(**self._workers.resources, max_retries=_LOST)
        self._style = send_style(preparation, self._workers)
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        options = {"num_cpus": 0, "max_restarts": -1, "scheduling_strategy": here}
        self._tally: Any = ray.remote(Tally).options(**options).remote()
        self._running: dict[Any, tuple[FarmedVideo, Piece, int]] = {}  # and which try it is
        self._open: list[FarmedVideo] = []
        self._counts: dict[tuple[str, int], int] = {}

    def run(
        self, videos: Iterable[tuple[Path | str, Path | str]], progress: Progress | None
    ) -> Iterator[tuple[Path | str | None, Any]]:
        """Videos as they are done; a source of None in between, to look at other things."""
        import ray

        waiting = iter(videos)
        done = 0  # frames of videos that are done
        while True:
            while len(self._running) < 2 * self._workers.count:
                source, output = next(waiting, (None, None))
                if source is None or output is None:
                    break
                try:
                    self._begin(source, output)
                except Exception as error:  # of any kind: the other videos go on
                    yield source, error
            if not self._open:
                return
            if self._running:
                ready, _ = ray.wait(list(self._running), timeout=_GLANCE, fetch_local=False)
                for call in ready:
                    if call in self._running:  # and was not canceled meanwhile
                        self._take(call)
            for video in [each for each in self._open if not self._is_running(each)]:
                self._open.remove(video)
                done += video.work.frames
                yield video.source, video.finish()
            if progress:
                total = done + sum(video.cut.frames for video in self._open)
                made = done + sum(video.work.frames for video in self._open) + self._unfinished()
                progress(min(made, total), total, f"{self._workers.count} workers")
            yield None, None

    def abort(self) -> None:
        """Stop what runs; of each video, what is finished is kept."""
        for video in self._open:
            self._cancel(video)
            video.abort()
        self._open.clear()

    def _cancel(self, video: FarmedVideo) -> None:
        """Stop the tasks of a video."""
        import ray

        for call in [call for call, (each, _, _) in self._running.items() if each is video]:
            del self._running[call]
            with suppress(Exception):
                ray.cancel(call, force=True)

    def _begin(self, source: Path | str, output: Path | str) -> None:
        video = FarmedVideo(source, output, self._settings, self._cluster, self._style)
        self._open.append(video)
        for piece in video.cut.pieces(video.missing(), self._workers.count, warm_up=video.warm_up):
            self._submit(video, piece, 1)

    def _submit(self, video: FarmedVideo, piece: Piece, attempts: int) -> None:
        call = self._task.remote(stylize_piece, video.job, piece, self._tally)
        self._running[call] = video, piece, attempts

    def _take(self, call: Any) -> None:
        """Take the outcome of a task."""
        import ray

        video, piece, attempts = self._running.pop(call)
        try:
            outcome: Outcome = ray.get(call)
        except ray.exceptions.RayError as error:  # Ray has given up
            outcome = Outcome(error=one_line(error))
            attempts = _TRIES
        if outcome.error is None:
            if not video.keep(piece, outcome.value):
                self._cancel(video)  # the cluster would work for nothing
        elif attempts == _TRIES:
            video.fail(piece, outcome.error)
        else:
            logger.info("%s: tried again: %s", video.source, outcome.error)
            # One by one, so that a segment that always fails takes no other with it.
            for place in range(len(piece.begins)):
                each = video.cut.piece(piece.number + place, 1, warm_up=video.warm_up)
                self._submit(video, each, attempts + 1)

    def _is_running(self, video: FarmedVideo) -> bool:
        return any(video is each for each, _, _ in self._running.values())

    def _unfinished(self) -> int:
        """Frames done of the pieces that are being made."""
        import ray

        with suppress(ray.exceptions.RayError):  # the count alone may be lost
            self._counts = ray.get(self._tally.frames.remote(), timeout=_GLANCE)
        running = {(video.job.name, piece.number) for video, piece, _ in self._running.values()}
        return sum(frames for key, frames in self._counts.items() if key in running)
