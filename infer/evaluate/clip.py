"""Evaluation of a style on a clip: how much its videos flicker, with and without the stabilizer."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from nst_rt.errors import InputError, VideoError
from nst_rt.images.io import Frame
from nst_rt.infer.backends import BackendName, Precision
from nst_rt.infer.stability.stabilizer import Stabilizer
from nst_rt.infer.stylizer import load_style
from nst_rt.infer.video import VideoReader
from nst_rt.metrics.flow import flow_correspondence, unchanged
from nst_rt.metrics.stability import WarpingError, WarpingMeter
from nst_rt.progress import Progress

Stylize = Callable[[Frame], Frame]

INPUT = "the clip itself"


@dataclass(frozen=True)
class ClipError:
    """How much one output of a clip flickers.

    Attributes:
        moving: warping error by the optical flow of the clip, see `flow_correspondence`; None
            where nothing can be followed.
        static: warping error where the clip does not change, see `unchanged`; None where it changes
            everywhere.
    """

    moving: WarpingError | None
    static: WarpingError | None


@dataclass(frozen=True)
class ClipEvaluation:
    """The evaluation of a style on a clip; `dataclasses.asdict` makes JSON values of it.

    Attributes:
        clip: path of the clip as it was given.
        frames: number of frames measured.
        backend: backend, precision and device that stylized.
        errors: errors of the clip itself, of the stylized frames, and of these stabilized.
    """

    clip: str
    frames: int
    backend: str
    errors: Mapping[str, ClipError]


def evaluate_clip(
    model: str,
    clip: Path | str,
    *,
    frames: int = 50,
    backend: BackendName = "auto",
    device: str | None = None,
    precision: Precision = "auto",
    progress: Progress | None = None,
) -> ClipEvaluation:
    """Measure how much a style flickers on a clip, with and without the stabilizer.

    Args:
        model: a style of the gallery, a model file, or FILE:NAME.
        clip: any file that FFmpeg decodes.
        frames: number of frames to measure, from the beginning.
        backend, device, precision: see `Stylizer`.
        progress: called after each frame.

    Raises:
        InputError: no such file, or fewer than two frames asked for.
        VideoError: not a video, or it has fewer than two frames.
        UnknownNameError, StyleModelError, BackendError: see `load_style`.
    """
    if frames < 2:
        raise InputError(f"flicker shows between frames: at least 2 are needed, not {frames}")
    reader = VideoReader(clip)  # first, as it takes no time to find that there is no such file
    stylizer = load_style(
        model, stroke_size="1:1", backend=backend, device=device, precision=precision
    )
    count = 0

    def counted() -> Iterable[Frame]:
        nonlocal count
        for timed in islice(reader, frames):
            yield timed.image
            count += 1
            if progress is not None:
                progress(count, min(frames, reader.info.frames or frames), "")

    outputs: dict[str, Stylize] = {"plain": stylizer, "stabilized": stabilized(stylizer)}
    errors = clip_errors(counted(), outputs)
    if count < 2:
        raise VideoError(f"{clip}: flicker shows between frames, and it has only {count}")
    return ClipEvaluation(str(clip), count, str(stylizer), errors)


def stabilized(stylize: Stylize) -> Stylize:
    """A function that stylizes the frames of one video with a stabilizer of its own."""
    stabilizer = Stabilizer()
    return lambda frame: stabilizer.steady(frame, stylize(frame))


def clip_errors(frames: Iterable[Frame], outputs: Mapping[str, Stylize]) -> dict[str, ClipError]:
    """Errors of several outputs, and of the input itself, which no output can be expected to beat.

    Args:
        frames: the frames of one video, in order.
        outputs: name -> function that stylizes these frames, and may remember earlier ones.
    """
    outputs = {INPUT: lambda frame: frame, **outputs}
    meters = {name: (WarpingMeter(), WarpingMeter()) for name in outputs}
    before: Frame | None = None
    for frame in frames:
        found = None if before is None else flow_correspondence(before, frame)
        still = None if before is None else unchanged(before, frame)
        for name, stylize in outputs.items():
            stylized = stylize(frame)
            for meter, correspondence in zip(meters[name], (found, still), strict=True):
                meter.add(stylized, correspondence)
        before = frame
    return {
        name: ClipError(moving.result(), static.result())
        for name, (moving, static) in meters.items()
    }
