"""Stylize video files; sound, subtitles and timestamps are kept."""

import argparse
import glob
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nst_rt.cli.options import (
    add_backend_arguments,
    add_overwrite,
    add_style_arguments,
    take_style_settings,
)
from nst_rt.cli.report import Report, frame_size, progress
from nst_rt.errors import (
    InputError,
    InterruptedWorkError,
    OutputExistsError,
    PartialResultError,
    StyleTransferError,
)
from nst_rt.files import shown_source
from nst_rt.progress import Progress
from nst_rt.times import parse_time

if TYPE_CHECKING:
    from nst_rt.infer.frame_stylizer import FrameStylizer
    from nst_rt.infer.video import VideoInfo, VideoResult

_STDIO = "-"
_SETTINGS = (
    "codec",
    "crf",
    "preset",
    "start",
    "end",
    "size",
    "scale",
    "fps",
    "stability",
    "overwrite",
    "resume",
    "segment",
)


EXAMPLES = (
    "film.mp4 out.mp4 --style starry_night",
    "film.mp4 out.mp4 --style starry_night@0,great_wave@12.5 --fade 2",
    "film.mkv out.mkv --start 1:30 --end 2:00 --resume",
    "*.mp4 stylized/ --codec hevc",
)


def add_arguments(p: argparse.ArgumentParser) -> None:
    """The arguments of `video`, but for those of the style."""
    p.add_argument(
        "source",
        metavar="IN",
        nargs="+",
        help="any file that FFmpeg decodes, a folder of pictures, or - for standard input; several",
    )
    p.add_argument(
        "output",
        metavar="OUT",
        help=".mp4, .mkv, .mov or .webm; .gif or .webp; frames/%%06d.png; - for Matroska on "
        "standard output; for several a folder",
    )
    p.add_argument(
        "--codec",
        metavar="C",
        help="h264, hevc, av1, vp9, h264_nvenc or hevc_nvenc; vp9 for .webm, else h264",
    )
    p.add_argument("--crf", type=int, metavar="Q", help="0 (best) to 51; of h264 20 by default")
    p.add_argument("--preset", metavar="P", help="of the codec; of h264 veryfast by default")
    p.add_argument(
        "--start", type=_time, metavar="T", help="start of the part to convert: seconds or H:MM:SS"
    )
    p.add_argument(
        "--end", type=_time, metavar="T", help="end of the part to convert: seconds or H:MM:SS"
    )
    p.add_argument("--size", type=_size, metavar="PX", help="long side, or WxH; default: as it is")
    p.add_argument("--scale", type=float, metavar="X", help="of both sides, such as 0.5")
    p.add_argument("--fps", type=_rate, metavar="N", help="a constant rate, such as 30000/1001")
    p.add_argument(
        "--stability",
        type=float,
        metavar="0..1",
        help="keep strokes in place: 0 (off) to 1; default: 0.95, or 0 below 5 frames a second",
    )
    p.add_argument(
        "--resume", action="store_true", help="go on with what was interrupted, if anything was"
    )
    p.add_argument(
        "--segment", type=int, metavar="N", help="frames an interruption loses; default: 250"
    )
    add_style_arguments(p, over_time=True)
    add_backend_arguments(p)
    add_overwrite(p)


def run(source: list[str], output: str, **options: Any) -> Report:
    """Stylize video files, with all that goes along with the picture."""
    from nst_rt.infer.video import Settings, check_conversion

    settings = {name: options.pop(name) for name in _SETTINGS if name in options}
    sources = _sources(source)
    if len(sources) > 1 or _is_folder(output):
        return _several(sources, Path(output), options, settings)
    # What costs nothing to find is found before the network is loaded; a pipe is read only once.
    if sources[0] != _STDIO:
        check_conversion(sources[0], output, Settings(**settings))
    report = _converted(sources[0], output, _loaded(options), settings)
    return replace(report, beside=output == _STDIO)


def _loaded(options: dict[str, Any]) -> "FrameStylizer":
    from nst_rt.infer.frame_stylizer import load_frame_stylizer

    return load_frame_stylizer(**take_style_settings(options))


def conversion_report(done: "VideoResult") -> Report:
    """What a conversion did, for people and programs."""
    tracks = ", ".join(str(track) for track in done.tracks) or "no audio in the source"
    frames = f"{done.frames} frames"
    if done.resumed:
        frames += f" ({done.resumed} of them before)"
    facts = {
        "output": str(done.output),
        "frames": done.frames,
        "resumed": done.resumed,
        "seconds": round(done.seconds, 3),
        "fps": round(done.fps, 2),
        "stages": {name: round(seconds, 3) for name, seconds in done.stages.items()},
        "audio": done.audio,
        "tracks": [
            {name: getattr(track, name) for name in ("kind", "codec", "language", "action")}
            for track in done.tracks
        ],
        "warnings": list(done.warnings),
        "damage": [[round(part.start, 3), round(part.end, 3)] for part in done.damage],
        "engine": done.engine,
    }
    return Report(
        f"{done.output}: {frames}, {done.fps:.1f} frames per second, {tracks}, {done.engine}",
        facts,
        PartialResultError.exit_code if done.damage else 0,
    )


def on_frame(advance: Progress) -> "Callable[[int, VideoInfo], None]":
    """For `stylize_video`, which a progress bar is to follow."""
    return lambda frames, info: advance(frames, info.frames or None, "")


def _several(
    sources: list[str],
    folder: Path,
    looks: dict[str, Any],
    settings: dict[str, Any],
) -> Report:
    """Convert into a folder, each under its own name; a bad one does not stop the others."""
    from nst_rt.infer.video import Settings, check_conversion, work_path

    targets = _targets(sources, folder)
    folder.mkdir(parents=True, exist_ok=True)
    frame_stylizer: FrameStylizer | None = None
    reports: list[Report] = []
    failed: dict[str, str] = {}
    kept, partial = 0, False
    for name, target in targets.items():
        if settings.get("resume") and target.exists() and not work_path(target).exists():
            kept += 1
            continue
        try:
            check_conversion(name, target, Settings(**settings))
            frame_stylizer = frame_stylizer or _loaded(looks)
            reports.append(_converted(name, str(target), frame_stylizer, settings))
        except InterruptedWorkError:
            raise
        except Exception as error:  # of whatever kind: the others are not to suffer
            partial |= isinstance(error, PartialResultError)
            failed[name] = _reason(name, error)
            print(f"nst-rt: {failed[name]}", file=sys.stderr)
    if failed and not (reports or kept or partial):
        raise InputError(f"none of {len(targets)} videos was converted")
    counts = [f"{len(reports)} videos"]
    counts += [f"{kept} were there"] if kept else []
    counts += [f"failed: {len(failed)}"] if failed else []
    lines = [*(report.text for report in reports), f"{folder}: {', '.join(counts)}"]
    facts = {"videos": [report.facts for report in reports], "kept": kept, "failed": failed}
    lacking = failed or any(report.exit_code for report in reports)
    return Report("\n".join(lines), facts, PartialResultError.exit_code if lacking else 0)


def _reason(name: str, error: Exception) -> str:
    if isinstance(error, StyleTransferError):
        return str(error)
    return f"{name}: {type(error).__name__} {error}".rstrip()


def _converted(
    source: str, output: str, frame_stylizer: "FrameStylizer", settings: dict[str, Any]
) -> Report:
    from nst_rt.files import partial_path
    from nst_rt.infer.video import VideoResult, stylize_video, work_path

    try:
        with progress(Path(source).name or "converting") as advance:
            done = stylize_video(
                source, output, style=frame_stylizer, on_frame=on_frame(advance), **settings
            )
        return conversion_report(done)
    except PartialResultError as error:
        if not isinstance(error.result, VideoResult):
            raise
        print(f"nst-rt: {error}", file=sys.stderr)
        return conversion_report(error.result)
    except KeyboardInterrupt as error:
        kept = partial_path(Path(output))
        said = ["interrupted"]
        if kept.exists():
            said.append(f"what was finished is in {kept}")
        if source != _STDIO and work_path(Path(output)).exists():
            said.append("the same command with --resume continues")
        raise InterruptedWorkError(said[0] + "".join(f"; {text}" for text in said[1:])) from error


def _sources(given: list[str]) -> list[str]:
    """Files by their names, patterns (which not every shell expands) by what they match."""
    sources: list[str] = []
    for name in given:
        is_pattern = glob.has_magic(name) and not Path(name).exists()
        found = sorted(glob.glob(name)) if is_pattern else [name]  # noqa: PTH207
        if not found:
            raise InputError(f"{shown_source(name)}: no files match")
        sources += found
    return sources


def _is_folder(output: str) -> bool:
    return output != _STDIO and (output.endswith("/") or Path(output).is_dir())


def _targets(sources: list[str], folder: Path) -> dict[str, Path]:
    """Where each video goes, under its own name."""
    from nst_rt.infer.video import VIDEO_SUFFIXES

    if folder.exists() and not folder.is_dir():
        raise OutputExistsError(f"{folder}: for several videos give a folder; this is a file")
    if folder.suffix.lower() in VIDEO_SUFFIXES and not folder.exists():
        raise InputError(f"{folder}: for several videos give a folder")
    targets: dict[str, Path] = {}
    for name in sources:
        source = Path(name)
        suffix = source.suffix.lower() if source.suffix.lower() in VIDEO_SUFFIXES else ".mp4"
        target = folder / f"{source.stem}{suffix}"
        if target in targets.values():
            raise InputError(f"{target}: two videos would get this name")
        targets[name] = target
    return targets


def _time(text: str) -> float:
    try:
        return parse_time(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 90 or 0:01:30") from error


def _size(text: str) -> "int | tuple[int, int]":
    return int(text) if text.isdecimal() else frame_size(text)


def _rate(text: str) -> Any:
    from fractions import Fraction

    try:
        return Fraction(text) if "/" in text else float(text)
    except (ValueError, ZeroDivisionError) as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a rate such as 25 or 30000/1001"
        ) from error
