"""Photos stylized by the machines of a Ray cluster, for collections of millions.

Ray Data gives groups of photos to workers that have the style loaded, and again to others when a
node dies. Photos and outputs lie in folders that all nodes share; this machine holds no list of
them.
"""

import json
import logging
import uuid
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nst_rt.errors import (
    InputError,
    InterruptedWorkError,
    PartialResultError,
    StyleTransferError,
)
from nst_rt.infer.farm.cluster import (
    AUTO,
    Cluster,
    Workers,
    connected,
    one_line,
    uses_gpus,
)
from nst_rt.infer.farm.groups import GroupedPhotos
from nst_rt.infer.farm.photo import DONE, FULL, PhotoWorker, check_folders, photo_of, printable
from nst_rt.infer.farm.style import send_style
from nst_rt.infer.frame_stylizer import Preparation, StyleOrStylizer, label_of
from nst_rt.infer.learning.content import frames_of_photos
from nst_rt.infer.learning.learn import LearningOptions, learned_for_folder, learning_for
from nst_rt.infer.photos import check_folder, folder_of, image_settings
from nst_rt.infer.strokes import DEFAULT_STROKES, StrokeSize
from nst_rt.infer.timeline import DEFAULT_STYLE
from nst_rt.learning.request import StyleImages
from nst_rt.progress import Progress
from nst_rt.resume import has_record, record_folder

FAILURES = "failed.jsonl"
_LOST = 3  # times that a group is given to another process after one that died


@dataclass(frozen=True)
class FarmedImages:
    """What `stylize_images_on_farm` did.

    Attributes:
        folder: of the outputs.
        done: number of photos that were stylized.
        kept: number of outputs that were there already.
        failed: number of photos that could not be stylized.
        failures: file with a line of JSON for each of them, `photo` and `error`; None without any.
        backend: of the workers.
    """

    folder: Path
    done: int
    kept: int
    failed: int
    failures: Path | None
    backend: str


def stylize_images_on_farm(
    paths: Path | str | Sequence[Path | str],
    out: Path | str | None = None,
    *,
    ray: str = AUTO,
    style: StyleOrStylizer = DEFAULT_STYLE,
    strength: float = 1.0,
    preserve_colors: bool = False,
    compare: bool = False,
    stroke_size: StrokeSize | str | float = DEFAULT_STROKES,
    size: int | None = None,
    max_pixels: int | None = None,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
    style_image: StyleImages | None = None,
    learning: LearningOptions | None = None,
    **loading: Any,
) -> FarmedImages:
    """Stylize photos on a Ray cluster; the outputs are those of `stylize_images`.

    Photos that fail are written, as they fail, to the file `failed.jsonl` in the output folder;
    with `resume` they are tried again.

    Args:
        paths: one or several photos, folders, zip archives, or text files with a path a line, in
            folders that all nodes see at the same path.
        out: output folder, which all nodes share; default: that of `stylize_images` for a
            collection.
        ray: address of the cluster, see `connected`.
        progress: called with the number of photos done and that of all photos.
        loading: backend, device, precision and memory, see `Stylizer`; memory is per worker.
        style_image, learning: style image to learn on these photos, on this machine, instead of a
            style, and how, see `learn_style`.
        style, strength, preserve_colors, compare, stroke_size, size, max_pixels, overwrite, resume:
            see `stylize_images`.

    Raises:
        InputError: what `stylize_images` refuses; no cluster; a node that does not share the
            folders; or not a single photo that can be stylized.
        OutputExistsError: an output exists, and neither `overwrite` nor `resume` is True.
        PartialResultError: the disk is full; the error's result is the `FarmedImages`.
        InterruptedWorkError: Ctrl-C; the message says how many are done.
        StyleTransferError: the cluster fails as a whole.
    """
    sources = [Path(p).absolute() for p in ([paths] if isinstance(paths, (str, Path)) else paths)]
    wanted = learning_for(
        style, DEFAULT_STYLE, style_image, learning or {}, overwrite=overwrite, resumes=resume
    )
    given = label_of(style, strength=strength, over_time=False)
    label = wanted.label(strength) if wanted else given
    folder = folder_of(sources, out, label)
    if folder is None:
        raise InputError("several photos on a farm need an output folder, such as out/")
    check_folder(folder)
    folder = folder.absolute()
    styling: dict[str, Any] = {
        "strength": strength,
        "preserve_colors": preserve_colors,
        "compare": compare,
        "stroke_size": stroke_size,
    }
    preparation = Preparation.of(style, **styling, **loading)
    key = wanted.request.key if wanted else None
    settings = image_settings(label, preparation.post_processing, stroke_size, size, key)
    with connected(ray) as cluster:
        on_gpus = uses_gpus(loading.get("backend", "auto"), loading.get("device"))
        workers = cluster.workers(on_gpus=on_gpus)
        photos = GroupedPhotos(
            workers.count,
            skip_existing=resume,
            refuse_existing=not (overwrite or resume),
            updates=has_record(folder),
        )
        first = photos.collect(sources, folder, label)
        if wanted:
            if resume and photos.existing and has_record(folder):  # before minutes are spent
                record_folder(folder, settings, resume=True)
            frames, device = frames_of_photos(sources), loading.get("device")
            model = learned_for_folder(wanted, frames, folder, progress=progress, device=device)
            preparation = Preparation.of(model, **styling, **loading)
        sent = send_style(preparation, workers)
        folder.mkdir(parents=True, exist_ok=True)
        _check_shared(cluster, folder, first.path)
        replaces = overwrite and not resume and photos.existing > 0
        record_folder(folder, settings, resume=resume and photos.existing > 0, replaces=replaces)
        made = (sent.stylizer, size, max_pixels, overwrite)
        work = _Work(photos, folder, sent.backend)
        further = "`overwrite` starts over" if replaces else "`resume` continues"
        try:
            work.run(workers, made, progress, further)
        except KeyboardInterrupt as error:
            done = work.done + photos.kept
            raise InterruptedWorkError(
                f"interrupted: {done} of {photos.kept + photos.count} photos are in {folder}; "
                f"{further}"
            ) from error
    if replaces and not work.failed:
        record_folder(folder, settings, resume=False)
    if work.failed and not (work.done or photos.kept):
        raise InputError(
            work.first_error
            if work.failed == 1
            else f"all {work.failed} photos failed: {work.first_error}, ..."
        )
    return work.result()


class _Work:
    """The work on the cluster, and what came of it."""

    def __init__(self, photos: GroupedPhotos, folder: Path, backend: str) -> None:
        self._photos, self._folder, self._backend = photos, folder, backend
        self._path = folder / FAILURES
        self._reported = bytearray(photos.count)  # a retried group reports its photos again
        self.done = self.failed = 0
        self.first_error = ""

    def result(self) -> FarmedImages:
        kept, failures = self._photos.kept, self._path if self.failed else None
        return FarmedImages(self._folder, self.done, kept, self.failed, failures, self._backend)

    def run(
        self, workers: Workers, made: tuple[Any, ...], progress: Progress | None, further: str
    ) -> None:
        """Stylize all photos; those that end their process each time fail.

        Raises:
            PartialResultError: the disk is full.
            StyleTransferError: the cluster fails.
        """
        import ray

        try:
            with self._path.open("w", encoding="utf-8") as file:
                self._pass(self._photos.groups, workers, made, file, progress, further)
                # One by one, so that one that ends its process takes no other with it.
                if missing := self._missing():
                    groups = self._photos.alone(missing)
                    self._pass(groups, workers, made, file, progress, further)
                for index in self._missing():
                    [row] = ray.get(self._photos.alone([index])[0]).to_pylist()
                    name = printable(str(photo_of(row)))
                    error = f"{name}: the process that stylized it was killed, {_LOST + 1} times"
                    self._report(file, index, name, error)
        finally:
            if not self.failed:
                self._path.unlink(missing_ok=True)

    def _missing(self) -> list[int]:
        return np.flatnonzero(np.frombuffer(self._reported, np.uint8) == 0).tolist()

    def _pass(
        self,
        groups: list[Any],
        workers: Workers,
        made: tuple[Any, ...],
        file: Any,
        progress: Progress | None,
        further: str,
    ) -> None:
        import ray

        if not groups:
            return
        total = self._photos.count + self._photos.kept
        count = workers.count
        # All start at once; one is enough to go on when nodes die.
        pool = ray.data.ActorPoolStrategy(min_size=1, max_size=count, initial_size=count)
        with _quiet_ray_data():
            try:
                results: Any = ray.data.from_arrow_refs(groups).map_batches(
                    PhotoWorker,
                    fn_constructor_args=made,
                    batch_size=None,
                    batch_format="pyarrow",
                    compute=pool,
                    max_task_retries=_LOST,
                    **workers.resources,
                )
                for table in results.iter_batches(batch_size=None, batch_format="pyarrow"):
                    full = None
                    for row in table.to_pylist():
                        self._take(file, row)
                        full = full or (row["error"] if row["status"] == FULL else None)
                    if progress:
                        finished = self._photos.kept + self.done + self.failed
                        progress(finished, total, f"{count} workers")
                    if full:
                        ready = self.done + self._photos.kept
                        raise PartialResultError(
                            f"{full}; {ready} of {total} photos are complete; make room, then "
                            f"{further}",
                            self.result(),
                        )
            except ray.exceptions.RayError as error:
                raise StyleTransferError(f"the cluster fails: {one_line(error)}") from error

    def _take(self, file: Any, row: dict[str, Any]) -> None:
        index = row["index"]
        if self._reported[index]:
            return
        if row["status"] == DONE:
            self._reported[index] = 1
            self.done += 1
        else:
            self._report(file, index, row["name"], row["error"])

    def _report(self, file: Any, index: int, name: str, error: str) -> None:
        self._reported[index] = 1
        self.failed += 1
        self.first_error = self.first_error or error
        file.write(json.dumps({"photo": name, "error": error}, ensure_ascii=False) + "\n")
        file.flush()


def _check_shared(cluster: Cluster, folder: Path, photo: Path) -> None:
    """Raise an InputError unless all nodes share the output folder and see the photos."""
    probe, text = folder / f".{uuid.uuid4().hex}", uuid.uuid4().hex
    try:
        probe.write_text(text, encoding="utf-8")
        for node, outcome in cluster.on_each(check_folders, probe, text, photo).items():
            if outcome.error is not None:
                raise InputError(f"{node}: {outcome.error}")
    finally:
        probe.unlink(missing_ok=True)


@contextmanager
def _quiet_ray_data() -> Iterator[None]:
    """Silence Ray Data, and let it go on where a group of photos is lost."""
    import ray

    context = ray.data.DataContext.get_current()
    ours = {
        "enable_progress_bars": False,
        "enable_operator_progress_bars": False,
        "print_on_execution_start": False,
        "max_errored_blocks": -1,
    }
    before = {name: getattr(context, name) for name in ours}
    logger = logging.getLogger("ray.data")
    level = logger.level
    try:
        for name, value in ours.items():
            setattr(context, name, value)
        logger.setLevel(logging.CRITICAL)
        with warnings.catch_warnings():
            # Of the number of retries, which Ray Data takes in no other way.
            warnings.filterwarnings("ignore", message=".*ray_remote_args")
            yield
    finally:
        logger.setLevel(level)
        for name, value in before.items():
            setattr(context, name, value)
