"""Videos converted: frames read, painted and written, each in a thread of its own."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from nst_rt.errors import PartialResultError
from nst_rt.infer.frame_stylizer import FrameStylizer, load_frame_stylizer
from nst_rt.infer.stability.stabilizer import stabilizer_for
from nst_rt.infer.stylizer import Stylizer
from nst_rt.infer.video.damage import Damage
from nst_rt.infer.video.job import opened_job
from nst_rt.infer.video.probe import VideoInfo
from nst_rt.infer.video.request import SEGMENT, Settings, check_conversion
from nst_rt.infer.video.tracks import Track
from nst_rt.infer.video.transforms import Size


@dataclass(frozen=True)
class VideoResult:
    """What a conversion did.

    Attributes:
        output: the file written.
        frames: how many it has.
        seconds: wall-clock time.
        audio: codec that the first audio track of those in the output has in the source.
        engine: backend, precision and device.
        resumed: frames of an interrupted conversion that were there already.
        stages: seconds that decoding, painting, encoding and putting together took; they overlap.
        tracks: what became of sound, subtitles and the like.
        warnings: what a user may not expect.
        damage: parts of the source that could not be decoded.
    """

    output: Path
    frames: int
    seconds: float
    audio: str | None
    engine: str
    resumed: int = 0
    stages: Mapping[str, float] = field(default_factory=dict)
    tracks: tuple[Track, ...] = ()
    warnings: tuple[str, ...] = ()
    damage: tuple[Damage, ...] = ()

    @property
    def fps(self) -> float:
        """Frames per second, decoding and encoding included."""
        return (self.frames - self.resumed) / self.seconds


def stylize_video(
    source: Path | str,
    output: Path | str,
    *,
    style: str | Stylizer | FrameStylizer = "starry_night",
    codec: str | None = None,
    crf: int | None = None,
    preset: str | None = None,
    start: float | None = None,
    end: float | None = None,
    size: Size | None = None,
    scale: float | None = None,
    fps: Fraction | float | None = None,
    stability: float | None = None,
    overwrite: bool = False,
    resume: bool = False,
    segment: int = SEGMENT,
    on_frame: Callable[[int, VideoInfo], None] | None = None,
) -> VideoResult:
    """Stylize a video: every frame once, with its time, and all that goes along with it.

    Reading, painting and writing run in threads of their own, with few frames between them, so
    that memory does not grow with the length. The video is written in segments, which are kept in
    `OUT.EXT.partial` until the end, and put together then: with `resume`, a conversion that was
    interrupted in whatever way goes on behind the last finished one, and the result is the same.
    After an error or Ctrl-C what was finished plays as `OUT.partial.EXT`.

    Args:
        source: any file that FFmpeg decodes, a folder of pictures, an animated WebP, or `-` for
            standard input.
        output: .mp4, .mkv, .mov or .webm; .gif or .webp; a name such as `frames/%06d.png` for
            numbered pictures; or `-` for Matroska on standard output. A file appears when it is
            complete.
        style: see `load_frame_stylizer`, or a Stylizer or FrameStylizer.
        codec: h264 (default), hevc, av1, vp9 (default of .webm), h264_nvenc or hevc_nvenc.
        crf: quality, from 0 (best) to 51, of av1 and vp9 63; by default 20 for h264.
        preset: how much time encoding may take: veryfast (default) and the like for h264 and
            hevc, 0 (slow) to 13 for av1, 0 to 8 for vp9, p1 to p7 (slow) for NVENC.
        start, end: seconds of the source, to convert a part.
        size: pixels of the long side, or (width, height).
        scale: of both sides, instead of a size.
        fps: a constant rate, by repeating and leaving out frames; of a folder, its rate. What is
            repeated is stylized once.
        stability: how much of what was painted before is kept where it is in the scene, from 0
            (every frame for itself) to 1, see `stabilizer_for`; of a FrameStylizer, too.
        overwrite: replace an existing output, or an interrupted conversion to it.
        resume: go on with an interrupted conversion, if there is one.
        segment: frames of a segment.
        on_frame: called after each frame with their number, and with what is known of the
            source; `frames` therein are those that the output will have, roughly.

    Raises:
        InputError, OutputExistsError: files or values that cannot be used; a conversion that
            another process is at; one to resume that was another.
        VideoError: a source that is not a video or without frames; a codec or a size that cannot
            be encoded.
        PartialResultError: a source of which not all can be decoded; the output has the rest, and
            the error the `VideoResult` as its result. Or a full disk.
    """
    settings = Settings(
        codec, crf, preset, start, end, size, scale, fps, stability, overwrite, resume, segment
    )
    request = check_conversion(source, output, settings)
    frame_stylizer = _frame_stylizer(style)
    frame_stylizer.stabilizer = stabilizer_for(stability, settings.rate or request.reader.info.rate)
    begin = time.perf_counter()
    with opened_job(request, frame_stylizer, settings) as job:
        job.run(on_frame)
    reader = request.reader
    tracks = job.tracks
    kept = (track for track in tracks if track.action != "left out")
    audio = next((track.codec for track in kept if track.kind == "audio"), None)
    done = VideoResult(
        request.output,
        job.done,
        time.perf_counter() - begin,
        audio,
        str(frame_stylizer),
        job.resumed,
        job.clock.seconds,
        tracks,
        tuple(reader.warnings) + job.warnings,
        tuple(reader.damage),
    )
    if done.damage:
        parts = ", ".join(map(str, done.damage))
        raise PartialResultError(
            f"{source}: damaged or cut off ({parts}); {request.output} has what can be decoded, "
            f"{done.frames} frames",
            done,
        )
    return done


def _frame_stylizer(style: str | Stylizer | FrameStylizer) -> FrameStylizer:
    if isinstance(style, FrameStylizer):
        return style
    return load_frame_stylizer(style) if isinstance(style, str) else FrameStylizer(style)
