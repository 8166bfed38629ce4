"""Jobs that stylize a video."""

import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from nst_rt.errors import PartialResultError
from nst_rt.infer.video import VideoResult, probe
from nst_rt.infer.web.decoding.conversion import Conversion, convert
from nst_rt.infer.web.decoding.pool import Decoders
from nst_rt.infer.web.jobs import Job
from nst_rt.infer.web.settings import Settings, TooLargeError
from nst_rt.infer.web.stylizers import SharedStylizer, parse_choice
from nst_rt.infer.web.uploads import Upload
from nst_rt.infer.web.work.plan import (
    PREVIEW,
    Find,
    Plan,
    lower_priority,
    output_name,
    style_title,
)
from nst_rt.models.style_model import SUFFIX

_TYPICAL_RATE = 30  # frames per second, since an upload's rate is not known before it is read


def plan_video(
    asked: Mapping[str, Any],
    find: Find,
    shared: SharedStylizer,
    settings: Settings,
    decoders: Decoders,
) -> Plan:
    """Plan to stylize a video."""
    source = find(asked.get("video"), "video")
    choice = parse_choice(asked.get("choice"))
    stylizer = shared.in_style(choice)
    models = shared.style_set.models(choice.blend)
    max_seconds = settings.limits.seconds

    def work(job: Job) -> None:
        name = output_name(source, stylizer, ".mp4")
        job.facts |= {"name": name, "original": source.id}
        begin = time.monotonic()
        max_frames = max_seconds * decoders.run(source.path, partial(probe, source.path)).rate + 1

        def progress(frames: float, total: float | None) -> None:
            if frames > max_frames:  # a file may not say how long it is
                raise TooLargeError(f"longer than the {max_seconds:g} seconds allowed here")
            total = max(total or 0, frames)
            rate = frames / (time.monotonic() - begin)
            job.report(frames / total, f"frame {frames:.0f} of {total:.0f}, {rate:.1f} per second")

        files = [job.folder / f"model_{number}{SUFFIX}" for number in range(len(models))]
        for model, file in zip(models, files, strict=True):
            model.save(file)
        conversion = Conversion(
            source.path,
            job.folder / "video.mp4",  # of H.264, which browsers play
            job.folder / PREVIEW,
            tuple(files),
            choice,
            {"backend": stylizer.backend, **shared.loading},
        )
        result: object = None
        try:
            result = convert(
                conversion,
                started=lower_priority,
                check=job.check,
                progress=progress,
                show=lambda: job.offer(conversion.newest),
            )
        except PartialResultError as error:
            result = error.result
            raise
        finally:
            if isinstance(result, VideoResult):
                job.offer(result.output)
                job.note = f"{result.frames} frames, {result.fps:.1f} per second"

    names = style_title(choice)
    return Plan(f"{source.name}, {names}", work, (source,), _pixels(source))


def _pixels(source: Upload) -> float:
    """Number of pixels of all frames, about; 0 if the file does not say how long it is."""
    facts = source.facts
    return float(facts["width"] * facts["height"] * (facts["seconds"] or 0) * _TYPICAL_RATE)
