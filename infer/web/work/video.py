"""Jobs that stylize a video."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from nst_rt.errors import PartialResultError
from nst_rt.images.io import Frame
from nst_rt.infer.frame_stylizer import FrameStylizer
from nst_rt.infer.postprocess import PostProcessing
from nst_rt.infer.stylizer import Stylizer
from nst_rt.infer.video import VideoResult, stylize_video
from nst_rt.infer.video.probe import probe
from nst_rt.infer.web.decoding.checks import TooLargeError
from nst_rt.infer.web.jobs import Job
from nst_rt.infer.web.settings import Settings
from nst_rt.infer.web.stylizers import SharedStylizer, parse_choice
from nst_rt.infer.web.uploads import Upload
from nst_rt.infer.web.work.plan import Find, Plan, offer_preview, output_name, style_title

_NEWEST_SECONDS = 1.0  # between two newest frames on the card
_NEWEST_SIZE = 480  # pixels of the long side
_TYPICAL_RATE = 30  # frames per second, since an upload's rate is not known before it is read


class _Watched(FrameStylizer):
    """A frame stylizer that also shows its newest frame from time to time."""

    def __init__(
        self, stylizer: Stylizer, post_processing: PostProcessing, show: Callable[[Frame], None]
    ) -> None:
        super().__init__(stylizer, post_processing=post_processing)
        self._show = show
        self._shown = 0.0  # time of the last frame that was shown

    def start(self, frame: Frame, seconds: float, *, repeated: bool = False) -> Callable[[], Frame]:
        finish = super().start(frame, seconds, repeated=repeated)

        def finished() -> Frame:
            stylized = finish()
            if time.monotonic() - self._shown > _NEWEST_SECONDS:
                self._show(stylized)
                self._shown = time.monotonic()
            return stylized

        return finished


def plan_video(
    asked: Mapping[str, Any], find: Find, shared: SharedStylizer, settings: Settings
) -> Plan:
    """Plan to stylize a video."""
    source = find(asked.get("video"), "video")
    choice = parse_choice(asked.get("choice"))
    stylizer = shared.in_style(choice)
    max_seconds = settings.limits.seconds

    def work(job: Job) -> None:
        name = output_name(source, stylizer, ".mp4")
        job.facts |= {"name": name, "original": source.id}
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
                style=_Watched(
                    stylizer,
                    choice.post_processing,
                    lambda frame: offer_preview(job, frame, size=_NEWEST_SIZE),
                ),
                stability=choice.stability,
                progress=progress,
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
