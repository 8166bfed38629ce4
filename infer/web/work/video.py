"""Jobs that stylize a video."""

import time
from collections.abc import Mapping
from typing import Any

from nst_rt.errors import PartialResultError
from nst_rt.infer.video import VideoResult, stylize_video
from nst_rt.infer.video.probe import probe
from nst_rt.infer.web.jobs import Job
from nst_rt.infer.web.settings import Settings
from nst_rt.infer.web.stylizers import SharedStylizer, parse_choice
from nst_rt.infer.web.uploads import TooLargeError, Upload
from nst_rt.infer.web.work.plan import Find, Plan

_TYPICAL_RATE = 30  # frames per second, since an upload's rate is not known before it is read


def plan_video(
    asked: Mapping[str, Any], find: Find, shared: SharedStylizer, settings: Settings
) -> Plan:
    """Plan to stylize a video."""
    source = find(asked.get("video"), "video")
    choice = parse_choice(asked.get("choice"))
    stylizer = shared.in_style(choice)
    max_seconds = settings.limits.seconds

    def work(job: Job) -> None:
        begin = time.monotonic()
        max_frames = max_seconds * probe(source.path).rate + 1

        def progress(frames: float, total: float | None, note: str) -> None:
            if frames > max_frames:  # a file may not say how long it is
                raise TooLargeError(f"longer than the {max_seconds:g} seconds allowed here")
            total = max(total or 0, frames)
            rate = frames / (time.monotonic() - begin)
            job.report(frames / total, f"frame {frames:.0f} of {total:.0f}, {rate:.1f} per second")

        result: object = None
        try:
            result = stylize_video(
                source.path,
                job.folder / "video.mp4",  # of H.264, which browsers play
                style=stylizer,
                stability=choice.stability,
                preserve_colors=choice.post_processing.preserve_colors,
                progress=progress,
            )
        except PartialResultError as error:
            result = error.result
            raise
        finally:
            if isinstance(result, VideoResult):
                job.offer(result.output)
                job.note = f"{result.frames} frames, {result.fps:.1f} per second"

    names = " and ".join(name.replace("_", " ") for name in choice.blend)
    return Plan(f"{source.name}, {names}", work, (source,), _pixels(source))


def _pixels(source: Upload) -> float:
    """Number of pixels of all frames, about; 0 if the file does not say how long it is."""
    facts = source.facts
    return float(facts["width"] * facts["height"] * (facts["seconds"] or 0) * _TYPICAL_RATE)
