"""How much the videos of a style model flicker, measured on a clip."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from rich.console import Console
from rich.table import Table

from nst_rt.errors import InputError, VideoError
from nst_rt.images.io import Frame
from nst_rt.infer.backends import BackendName, Precision
from nst_rt.infer.stability.stabilizer import Stabilizer
from nst_rt.infer.stylizer import load_style
from nst_rt.infer.video import VideoReader
from nst_rt.metrics.flicker import DEFINITION, WarpingError, WarpingMeter
from nst_rt.metrics.flow import flow_correspondence, unchanged

Paint = Callable[[Frame], Frame]

INPUT = "the clip itself"


@dataclass(frozen=True)
class ClipError:
    """How much one output of a clip flickers.

    Attributes:
        moving: warping error by the optical flow of the clip, see `flow_correspondence`; None
            where nothing can be followed.
        static: where the clip does not change, see `unchanged`; None where there is no such place.
    """

    moving: WarpingError | None
    static: WarpingError | None


@dataclass(frozen=True)
class ClipEvaluation:
    """What was measured on a clip; `dataclasses.asdict` makes JSON values of it.

    Attributes:
        clip: as it was named.
        frames: how many were measured.
        engine: engine, precision and device that painted.
        errors: of the clip itself, of what the model paints, and of that stabilized.
    """

    clip: str
    frames: int
    engine: str
    errors: Mapping[str, ClipError]


def evaluate_clip(
    model: str,
    clip: Path | str,
    *,
    frames: int = 50,
    backend: BackendName = "auto",
    device: str | None = None,
    precision: Precision = "auto",
    on_frame: Callable[[int, int], None] | None = None,
) -> ClipEvaluation:
    """Measure how much a style flickers on a clip, with the stabilizer and without.

    Args:
        model: a style of the gallery, a model file, or FILE:NAME.
        clip: any file that FFmpeg decodes.
        frames: how many, the first ones.
        backend, device, precision: of the stylizer, see there.
        on_frame: called after each frame with their number and how many there will be.

    Raises:
        InputError: no such file, or fewer than two frames asked for.
        VideoError: not a video, or of fewer than two frames.
        UnknownNameError, StyleModelError, BackendError: see `load_style`.
    """
    if frames < 2:
        raise InputError(f"flicker shows between frames: at least 2 are needed, not {frames}")
    reader = VideoReader(clip)
    stylizer = load_style(
        model, stroke_size="1:1", backend=backend, device=device, precision=precision
    )
    count = 0

    def counted() -> Iterable[Frame]:
        nonlocal count
        for timed in islice(reader, frames):
            yield timed.frame
            count += 1
            if on_frame:
                on_frame(count, min(frames, reader.info.frames or frames))

    painters: dict[str, Paint] = {"plain": stylizer, "stabilized": stabilized(stylizer)}
    errors = clip_errors(counted(), painters)
    if count < 2:
        raise VideoError(f"{clip}: flicker shows between frames, and it has only {count}")
    return ClipEvaluation(str(clip), count, str(stylizer), errors)


def stabilized(stylize: Paint) -> Paint:
    """What paints the frames of one video, steadied by a `Stabilizer`."""
    stabilizer = Stabilizer()
    return lambda frame: stabilizer.steady(frame, stylize(frame))


def clip_errors(frames: Iterable[Frame], painters: Mapping[str, Paint]) -> dict[str, ClipError]:
    """Errors by painter, and of the frames themselves, which no painter can be expected to beat.

    Args:
        frames: of one video, in order.
        painters: name -> what paints these frames, which may remember those before.
    """
    painters = {INPUT: lambda frame: frame, **painters}
    meters = {name: (WarpingMeter(), WarpingMeter()) for name in painters}
    before: Frame | None = None
    for frame in frames:
        found = None if before is None else flow_correspondence(before, frame)
        still = None if before is None else unchanged(before, frame)
        for name, stylize in painters.items():
            stylized = stylize(frame)
            for meter, correspondence in zip(meters[name], (found, still), strict=True):
                meter.add(stylized, correspondence)
        before = frame
    return {
        name: ClipError(moving.result(), static.result())
        for name, (moving, static) in meters.items()
    }


def summary(evaluation: ClipEvaluation) -> str:
    """A clip's evaluation as text: its definition and a table."""
    table = Table("output", box=None, pad_edge=False, header_style="")
    for title in ("by flow", "relative", "seen", "static", "relative", "seen"):
        table.add_column(title, justify="right")
    for name, found in evaluation.errors.items():
        table.add_row(name, *_cells(found.moving), *_cells(found.static))
    console = Console(width=120, color_system=None, markup=False, emoji=False)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(
        [
            f"{evaluation.clip}: {evaluation.frames} frames, {evaluation.engine}",
            *(line.rstrip() for line in capture.get().splitlines()),
            DEFINITION,
            "by flow: by the clip's optical flow (DIS); static: where it does not change",
        ]
    )


def _cells(error: WarpingError | None) -> list[str]:
    if error is None:
        return ["-"] * 3
    return [f"{error.error:.4f}", f"{error.relative:.3f}", f"{error.seen:.0%}"]
