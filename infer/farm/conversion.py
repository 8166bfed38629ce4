"""A video that a farm converts: what its pieces have in common, what came back, and the end."""

import itertools
import logging
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np

from nst_rt.errors import InputError, PartialResultError, StyleTransferError, VideoError
from nst_rt.files import shown_source
from nst_rt.infer.farm.cluster import Cluster
from nst_rt.infer.farm.plan import WARM_UP, Piece, cut
from nst_rt.infer.farm.segment import Job, Made, sees
from nst_rt.infer.farm.style import SentStyle
from nst_rt.infer.stability.stabilizer import stabilizer_for
from nst_rt.infer.video.convert import VideoResult, unseen_styles, unwritten
from nst_rt.infer.video.picture_reader import PictureReader
from nst_rt.infer.video.probe import STDIO, Damage, with_damage
from nst_rt.infer.video.request import ConversionSettings, Request, check_conversion, fingerprint
from nst_rt.infer.video.segments import work_folder
from nst_rt.infer.video.tracks import plan_tracks
from nst_rt.infer.video.writers import SegmentSink, warn

logger = logging.getLogger(__name__)

_SENT = 0.3  # fraction of a node's object store that a source may take
_NAMED = 3  # failures that a message names
_UNDIVIDED = (
    "a bare stream, whose packets have no times, so that one worker makes all of it; copied to an "
    ".mp4 file it can be divided"
)

Finished = VideoResult | Exception


class FarmedVideo:
    """A video in work.

    Args:
        source, output, settings: see `stylize_video`.
        cluster: whose nodes need the source.
        style: of the workers.

    Attributes:
        cut: its segments.
        warm_up: frames before each piece where no scene begins; 0 without a stabilizer.
        job: what its pieces have in common.
        work: its finished segments.
    """

    def __init__(
        self,
        source: Path | str,
        output: Path | str,
        settings: ConversionSettings,
        cluster: Cluster,
        style: SentStyle,
    ) -> None:
        self.source = source
        self._begun = time.perf_counter()
        self._request = request = _checked(source, output, settings)
        reader = request.reader
        first = next(request.reader.frames(), None)
        if first is None:
            raise VideoError(f"{reader.path}: no frame of this video can be decoded")
        stabilizer = stabilizer_for(settings.stability, settings.rate or reader.info.rate)
        self.warm_up = WARM_UP if stabilizer else 0
        self.cut = cut(request)
        mark = fingerprint(reader.path, with_time=False)
        assert request.encoding is not None
        self.job = Job(
            name=uuid.uuid4().hex,
            source=reader.path.absolute(),
            fingerprint=mark,
            content=_content(cluster, reader.path.absolute(), mark),
            output=request.output,
            encoding=request.encoding,
            settings=replace(settings, learned=None),  # which the stylizer has
            shape=request.shape(first.image),
            reader={**reader.state(), "damage": []},
            stylizer=style.stylizer,
        )
        self._warnings: list[str] = []
        with reader.container() as container:
            suffix = request.output.suffix.lower()
            planned = {} if container is None else plan_tracks(container, suffix)
        self._tracks = tuple(planned.values())
        changed = (str(track) for track in self._tracks if track.action != "copied")
        told = [*changed, *unseen_styles(style.timeline, reader)]
        is_cut = self.cut.frames > 1 or reader.info.duration or isinstance(reader, PictureReader)
        warn(request.output, told if is_cut else [*told, _UNDIVIDED], self._warnings)
        identity = {
            **style.identity,
            "stability": f"{stabilizer.stability if stabilizer else 0:g}",
            "ray": f"with a warm-up of {self.warm_up} frames",
        }
        self._stack = ExitStack()
        self.work = self._stack.enter_context(
            work_folder(
                request.output,
                request.plan(identity),
                resume=settings.resume,
                overwrite=settings.overwrite,
                any_order=True,
                learned=settings.learned,
            )
        )
        self._resumed = self.work.frames
        self._failed: dict[int, str] = {}  # number of a segment -> error
        self._stages: dict[str, float] = {}
        self._backend = style.identity["backend"]
        self._backends: dict[str, None] = {}
        self._error: OSError | None = None  # of this machine, as it kept a segment

    def missing(self) -> set[int]:
        """Numbers of the segments that are to be made."""
        if self.work.is_complete:
            return set()
        return set(range(self.cut.segments)) - self.work.numbers

    def keep(self, piece: Piece, made: Made) -> bool:
        """Keep the segments of a piece; returns whether this machine can write them."""
        for place, (segment, video) in enumerate(made.segments):
            # What is known of the source is told once.
            known = {"damage": [], "warnings": []} if place else made.source
            try:
                self.work.put(piece.number + place, segment, video, self.job.shape, known)
            except OSError as error:
                self._error = error
                return False
        for name, seconds in made.stages.items():
            self._stages[name] = self._stages.get(name, 0.0) + seconds
        warn(self._request.output, made.warnings, self._warnings)
        self._backends[made.backend] = None
        if len(self._backends) > 1:
            backends = " and ".join(self._backends)
            told = f"frames are stylized on {backends}, whose results may differ a little"
            warn(self._request.output, [told], self._warnings)
        return True

    def fail(self, piece: Piece, error: str) -> None:
        """Note that the segments of a piece cannot be made."""
        for place in range(len(piece.begins)):
            self._failed[piece.number + place] = error

    def finish(self) -> Finished:
        """Join the segments, or keep them if some are missing."""
        with self._stack:
            try:
                return self._finished()
            except (av.FFmpegError, OSError) as error:
                return unwritten(self._request.output, self.work, error, self._abort())
            except Exception as error:  # of any kind: the other videos go on
                return error

    def abort(self) -> None:
        """Keep what is finished."""
        with self._stack:
            self._abort()

    def _finished(self) -> VideoResult:
        if self._error is not None:
            raise self._error
        output, reader = self._request.output, self._request.reader
        if self._failed:
            raise self._incomplete()
        damage: list[Damage] = []
        for facts in self.work.facts():
            for part in facts["damage"]:
                damage = with_damage(damage, part["start"], part["end"])
            warn(output, facts["warnings"], self._warnings)
        if not self.work.frames:
            self.work.remove()
            raise VideoError(f"{reader.path}: no frame of this video can be decoded")
        frames, begin = self.work.frames, time.perf_counter()
        sink = self._sink()
        sink.close()
        self._stages["assemble"] = time.perf_counter() - begin
        copied = (track for track in self._tracks if not track.is_left_out)
        backends = list(self._backends) or [self._backend]
        result = VideoResult(
            output=output,
            frames=frames,
            seconds=time.perf_counter() - self._begun,
            audio=next((track.codec for track in copied if track.kind == "audio"), None),
            backend=" and ".join(backends),
            resumed=self._resumed,
            stages=self._stages,
            tracks=self._tracks,
            warnings=tuple(dict.fromkeys([*self._warnings, *sink.warnings])),
            damage=tuple(damage),
        )
        return result.checked(self.source)

    def _incomplete(self) -> StyleTransferError:
        """The error of a video with segments that always fail."""
        told = []
        for numbers in _runs(sorted(self._failed)):
            first, last = self.cut.span(numbers[0])[0], self.cut.span(numbers[-1])[1]
            told.append(f"frames {first + 1} to {last + 1} failed: {self._failed[numbers[0]]}")
        more = [f"{len(told) - _NAMED} more ranges failed"] if len(told) > _NAMED else []
        text = f"{self._request.output}: {'; '.join([*told[:_NAMED], *more])}"
        if not self.work.frames:
            self._abort()
            return VideoError(text)
        partial = self._abort()
        plays = f", and play as {partial}" if partial else ""
        return PartialResultError(
            f"{text}; the other {self.work.frames} frames are kept in {self.work.path}{plays}; "
            "`resume` tries again"
        )

    def _abort(self) -> Path | None:
        return self._sink().abort()

    def _sink(self) -> SegmentSink:
        request, (start, end) = self._request, self._request.span
        assert request.encoding is not None
        tracks = request.reader.container
        return SegmentSink(
            request.output,
            self.work,
            request.encoding,
            request.shape,
            tracks=tracks,
            start=start,
            end=end,
        )


def _checked(source: Path | str, output: Path | str, settings: ConversionSettings) -> Request:
    """A conversion that a farm can do."""
    in_one_go = next((str(each) for each in (source, output) if str(each) == STDIO), None)
    if in_one_go is None:
        request = check_conversion(source, output, settings)
        reader = request.reader
        if request.encoding is None:
            in_one_go = str(output)
        elif isinstance(reader, PictureReader) and not reader.path.is_dir():
            in_one_go = str(source)
        else:
            return request
    raise InputError(f"{in_one_go}: is read or written in one go, which `ray` cannot divide")


def _content(cluster: Cluster, source: Path, mark: Mapping[str, Any]) -> Any:
    """A reference to the bytes of a source that not all nodes see, None if all see it.

    Raises:
        InputError: it is too large to be sent to them.
    """
    import ray

    outcomes = cluster.on_each(sees, source, mark)
    blind = [node for node, outcome in outcomes.items() if outcome.value is not True]
    if not blind:
        return None
    room = _SENT * min(node.store for node in cluster.nodes)
    told = f"{shown_source(source)}: {blind[0]} does not see this file"
    if source.is_dir():
        raise InputError(f"{told}; put the folder where all nodes have it under this path")
    if (size := source.stat().st_size) > room:
        raise InputError(
            f"{told}, and it is too large to be sent ({size / 1e6:.0f} MB, at most "
            f"{room / 1e6:.0f}); put it where all nodes have it under this path, or start Ray with "
            "a larger --object-store-memory"
        )
    logger.info("%s is sent to the nodes, since %s does not see it", source, blind[0])
    return ray.put(np.fromfile(source, np.uint8))


def _runs(numbers: list[int]) -> Iterator[list[int]]:
    """Runs of numbers without gaps."""
    for _, group in itertools.groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
        yield [number for _, number in group]
