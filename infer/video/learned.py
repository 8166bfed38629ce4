"""The style that is learned for a video, on its own frames."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from nst_rt.errors import StyleTransferError
from nst_rt.images.io import Frame
from nst_rt.infer.learning.content import MOST
from nst_rt.infer.learning.learn import Learning, learned
from nst_rt.infer.learning.process import LONG_SIDE
from nst_rt.infer.video.request import Request
from nst_rt.infer.video.sampling import spread_frames
from nst_rt.infer.video.segments import kept_style
from nst_rt.learning.library import KEY
from nst_rt.models.style_model import StyleModel
from nst_rt.progress import Progress
from nst_rt.resume import check_record


def learned_for(
    request: Request, learning: Learning, *, progress: Progress | None, device: str | None
) -> StyleModel:
    """The style that was learned for this conversion before, or else is learned now.

    Args:
        request: the conversion, which has been checked.
        learning, progress, device: see `nst_rt.infer.learning.learn.learned`.

    Raises:
        InputError: it was begun with another style image.
    """
    settings, source = request.settings, request.reader.path
    kept = kept_style(request.output) if settings.resume else None
    if kept is not None:
        before, now = ({"style image": key} for key in (kept.training[KEY], learning.request.key))
        check_record(request.output, before, now)
        learning.save(kept)
        return kept
    frames = spread_frames(
        source, count=MOST, size=LONG_SIDE, start=settings.start, end=settings.end
    )
    return learned(learning, frames, progress=progress, device=device, are_alike=True)


def frames_of_videos(sources: Sequence[Path | str]) -> Iterator[Frame]:
    """Frames from all over several videos; those that cannot be read are left out."""
    for source in sources[:MOST]:
        with suppress(StyleTransferError):
            yield from spread_frames(source, count=max(MOST // len(sources), 1), size=LONG_SIDE)
