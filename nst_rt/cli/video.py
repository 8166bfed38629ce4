"""Stylize video files; audio, subtitles and timestamps are kept."""

import argparse
from collections.abc import Iterator
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nst_rt.cli.learning import (
    add_learning_arguments,
    check_style_image,
    learned_style,
    possible_conversions,
    preview_of,
    take_learning,
)
from nst_rt.cli.mistakes import (
    check_inputs,
    check_suffix,
    expanded,
    images_in,
    videos_in,
)
from nst_rt.cli.options import (
    add_backend_arguments,
    add_overwrite,
    add_style_arguments,
    constant,
    frame_rate,
    side_or_size,
    signature_defaults,
    time,
)
from nst_rt.cli.report import Report, loading, progress, quantity, tell
from nst_rt.errors import (
    InputError,
    InterruptedWorkError,
    OutputExistsError,
    PartialResultError,
    StyleTransferError,
    with_flags,
)
from nst_rt.resume import record_folder

if TYPE_CHECKING:
    from nst_rt.infer.frame_stylizer import FrameStylizer
    from nst_rt.infer.video import VideoResult

_STDIO = "-"
# Settings that may differ when the videos of a folder are resumed, as on another machine.
_NOT_RECORDED = ("resume", "overwrite", "segment", "ray", "backend", "device", "precision")
_NAMED = 3  # images beside videos that a message names
_STABILIZER = "nst_rt.infer.stability.stabilizer"

SHORT = "stylize videos, with sound"
EXAMPLES = (
    "film.mp4 --style starry_night",
    "film.mp4 -o out.mp4 --style starry_night=0.7,great_wave=0.3",
    "film.mp4 -o out.mp4 --style starry_night@0,great_wave@12.5 --fade 2",
    "film.mkv --start 1:30 --end 2:00 --resume",
    "*.mp4 -o stylized/ --codec hevc",
    "films/ -o stylized/ --ray auto --resume",
    "film.mp4 --style-image painting.jpg --minutes 5",
)
DEFAULTS_OF = "nst_rt.infer.video.convert:stylize_video"


def add_arguments(p: argparse.ArgumentParser) -> None:
    """Add the arguments of `video`."""
    add = p.add_argument
    rate = constant("nst_rt.infer.video.picture_reader:_FOLDER_RATE")
    add(
        "source",
        metavar="IN",
        nargs="+",
        help="video files, folders of videos, folders of the frames of a video, or - for standard "
        "input",
    )
    add(
        "-o",
        "--output",
        metavar="OUT",
        help=".mp4, .mkv, .mov, .webm, .gif or .webp file; frames/%%06d.png for numbered images; "
        "- for Matroska on standard output; folder for several files (default: IN_STYLE.mp4 in the "
        "current folder)",
    )
    add(
        "--codec",
        metavar="C",
        help="video codec: h264, hevc, av1, vp9, h264_nvenc or hevc_nvenc (default: vp9 for .webm, "
        "else h264)",
    )
    add(
        "--crf",
        type=int,
        metavar="Q",
        help="quality, from 0 (best, largest) to 51, or 63 for av1 and vp9 "
        f"(default: {_by_codec('DEFAULT_CRF')})",
    )
    add(
        "--preset",
        metavar="P",
        help="speed of encoding against size, such as ultrafast to veryslow for h264 and hevc "
        f"(default: {_by_codec('DEFAULT_PRESET')})",
    )
    part = "of the part to convert, seconds or H:MM:SS"
    add("--start", type=time, metavar="T", help=f"start {part} (default: 0)")
    add("--end", type=time, metavar="T", help=f"end {part} (default: the end of the video)")
    add(
        "--size",
        type=side_or_size,
        metavar="PX",
        help="long side in pixels, or WxH (default: the input's)",
    )
    add("--scale", type=float, metavar="X", help="factor for both sides, such as 0.5 (default: 1)")
    add(
        "--fps",
        type=frame_rate,
        metavar="N",
        help="constant rate, frames per second, such as 30 or 30000/1001 (default: the input's; "
        f"{rate} for a folder)",
    )
    add(
        "--stability",
        type=float,
        metavar="0..1",
        help="how firmly brush strokes stay in place, 0 (off) to 1 (default: "
        f"{constant(f'{_STABILIZER}:DEFAULT_STABILITY')}; 0 for less than "
        f"{constant(f'{_STABILIZER}:_MIN_RATE')} frames per second)",
    )
    add("--resume", action="store_true", help="continue an interrupted conversion, if there is one")
    add(
        "--segment",
        type=int,
        metavar="N",
        help="frames per segment: what an interruption loses at most (on a farm, a piece)",
    )
    add(
        "--ray",
        metavar="ADDRESS",
        help="share the work among the machines of a Ray cluster: auto for the cluster that this "
        "machine belongs to, HOST:6379, or ray://HOST:10001 from outside; see docs/farm.md",
    )
    add_style_arguments(p, over_time=True)
    add_backend_arguments(p)
    add_overwrite(p)
    add_learning_arguments(p, "frames from all over the video")


def _by_codec(name: str) -> str:
    """Defaults of all codecs: `20 for h264, 24 for hevc, ...`."""
    defaults = constant(f"nst_rt.infer.video.encoder:{name}")
    codecs: dict[Any, list[str]] = {}
    for codec, value in defaults.items():
        codecs.setdefault(value, []).append(codec)
    return ", ".join(f"{value} for {' and '.join(names)}" for value, names in codecs.items())


def run(source: list[str], output: str | None = None, **options: Any) -> Report:
    """Stylize one or several video files."""
    sources = _sources(source)
    check_style_image(options)
    if len(sources) == 1:
        check_suffix(output, ".mp4")
    if len(sources) > 1 or (output is not None and _is_folder(output)):
        return _several(sources, output, options)
    with loading():
        from nst_rt.infer.video import default_output
    if output is None:
        output = str(default_output(sources[0], **_naming(options)))
    options |= preview_of(options, output)
    report = _converted(sources[0], output, options)
    return replace(report, beside=output == _STDIO)


def conversion_report(done: "VideoResult") -> Report:
    """The result of a conversion, for people and programs."""
    # What was changed or left out has been said by a warning.
    tracks = [str(track) for track in done.tracks if str(track) not in done.warnings]
    tracks += [] if done.tracks else ["no audio"]
    frames = quantity(done.frames, "frame")
    if done.resumed:
        frames += f" ({done.resumed} of them before)"
    speed = f"{done.fps:.1f} frames per second"
    facts = {
        "output": str(done.output),
        "frames": done.frames,
        "resumed": done.resumed,
        "seconds": round(done.seconds, 3),
        "fps": round(done.fps, 2),
        "stages": {name: round(seconds, 3) for name, seconds in done.stages.items()},
        "audio": done.audio,
        "tracks": [asdict(track) for track in done.tracks],
        "warnings": list(done.warnings),
        "damage": [[round(part.start, 3), round(part.end, 3)] for part in done.damage],
        "backend": done.backend,
    }
    return Report(
        ", ".join([f"{done.output}: {frames}", speed, *tracks, done.backend]),
        facts,
        PartialResultError.exit_code if done.damage else 0,
    )


def _several(sources: list[str], output: str | None, options: dict[str, Any]) -> Report:
    """Convert each file into a folder; a bad one does not stop the others."""
    with loading():
        from nst_rt.infer.video import ConversionSettings, has_conversion

    targets = _targets(sources, output, _naming(options))
    resume, overwrite = (bool(options.get(name)) for name in ("resume", "overwrite"))
    learning = take_learning(options, output, overwrite=overwrite, resumes=resume)
    of_styles = options.keys() - {"ray", *(field.name for field in fields(ConversionSettings))}
    style_settings = {name: options.pop(name) for name in of_styles}
    settings = _recorded({**style_settings, **options})
    settings |= {"style_image": learning.request.key} if learning else {}
    any_made = any(target.exists() for target in targets.values())
    replaces = output is not None and any_made and overwrite and not resume
    wanted = {
        name: target
        for name, target in targets.items()
        if not (resume and target.exists() and not has_conversion(target))
    }
    if learning:
        if output is not None and resume and any_made:  # before minutes are spent
            record_folder(Path(output), settings, resume=True)
        if videos := possible_conversions(wanted, options):
            style_settings["style"] = learned_style(
                learning, videos, None if output is None else Path(output)
            )
    # Without either option, existing videos stay, and so does the record of their settings.
    if output is not None and (resume or overwrite or not any_made):
        record_folder(Path(output), settings, resume=resume and any_made, replaces=replaces)
    reports: list[Report] = []
    failed: dict[str, str] = {}
    partial = False
    kept = len(targets) - len(wanted)
    make = _on_farm if "ray" in options else _one_by_one
    try:
        for name, made in make(wanted, style_settings, options) if wanted else ():
            if isinstance(made, Report):
                reports.append(made)
                continue
            partial |= isinstance(made, PartialResultError)
            failed[name] = _reason(name, made)
            tell(failed[name])
    except InterruptedWorkError as error:
        if not replaces:
            raise
        text = f"interrupted: {output} still has earlier videos; `overwrite` starts over"
        raise InterruptedWorkError(text) from error
    if output is not None and replaces and not failed:
        record_folder(Path(output), settings, resume=False)
    if failed and not (reports or kept or partial):
        raise InputError(f"none of {len(targets)} videos was converted")
    counts = [quantity(len(reports), "video")]
    counts += [f"{kept} existed already"] if kept else []
    counts += [f"failed: {len(failed)}"] if failed else []
    lines = [*(report.text for report in reports), f"{output or Path.cwd()}: {', '.join(counts)}"]
    facts = {"videos": [report.facts for report in reports], "kept": kept, "failed": failed}
    lacking = failed or any(report.exit_code for report in reports)
    return Report("\n".join(lines), facts, PartialResultError.exit_code if lacking else 0)


def _one_by_one(
    targets: dict[str, Path], style_settings: dict[str, Any], options: dict[str, Any]
) -> Iterator[tuple[str, Report | Exception]]:
    """Convert each file; of any kind of error, the other files go on."""
    from nst_rt.infer.frame_stylizer import load_frame_stylizer
    from nst_rt.infer.video import ConversionSettings, check_conversion

    frame_stylizer: FrameStylizer | None = None
    for name, target in targets.items():
        try:
            check_conversion(name, target, ConversionSettings(**options))
            frame_stylizer = frame_stylizer or load_frame_stylizer(**style_settings)
            report = _converted(name, str(target), {**options, "style": frame_stylizer})
        except InterruptedWorkError:
            raise
        except Exception as error:
            yield name, error
        else:
            yield name, report


def _on_farm(
    targets: dict[str, Path], style_settings: dict[str, Any], options: dict[str, Any]
) -> Iterator[tuple[str, Report | Exception]]:
    """Convert the files on a Ray cluster, several at a time where they are short."""
    from nst_rt.infer.farm.video import stylize_on_farm
    from nst_rt.infer.frame_stylizer import Preparation
    from nst_rt.infer.video import ConversionSettings

    address, options = options["ray"], {k: v for k, v in options.items() if k != "ray"}
    settings = ConversionSettings(**options)
    preparation = Preparation.of(**style_settings)
    try:
        with progress(quantity(len(targets), "video")) as advance:
            videos = targets.items()
            farm = stylize_on_farm(videos, preparation, settings, ray=address, progress=advance)
            for name, done in farm:
                yield str(name), _reported(done)
    except KeyboardInterrupt as error:
        text = "interrupted; the same command with `resume` continues"
        raise InterruptedWorkError(text) from error


def _reported(done: "VideoResult | Exception") -> Report | Exception:
    """The report of a result, also where parts of the source are missing; else the error."""
    from nst_rt.infer.video import VideoResult

    if isinstance(done, PartialResultError) and isinstance(done.result, VideoResult):
        tell(str(done))
        done = done.result
    return conversion_report(done) if isinstance(done, VideoResult) else done


def _recorded(options: dict[str, Any]) -> dict[str, str]:
    """The settings that decide how videos look, as texts; those that are not given are left out."""
    given = {name: str(value) for name, value in options.items() if name not in _NOT_RECORDED}
    return {"style": signature_defaults(DEFAULTS_OF)["style"], **given}


def _reason(name: str, error: Exception) -> str:
    if isinstance(error, StyleTransferError):
        return with_flags(str(error))
    return f"{name}: {type(error).__name__} {error}".rstrip()


def _converted(source: str, output: str, options: dict[str, Any]) -> Report:
    from nst_rt.files import partial_path
    from nst_rt.infer.video import stylize_video, work_path

    try:
        with progress(Path(source).name or "converting") as advance:
            done = stylize_video(source, output, progress=advance, **options)
        return conversion_report(done)
    except PartialResultError as error:
        if isinstance(report := _reported(error), Exception):
            raise
        return report
    except KeyboardInterrupt as error:
        kept = partial_path(Path(output))
        told = ["interrupted"]
        if kept.exists():
            told.append(f"finished frames are in {kept}")
        if source != _STDIO and work_path(Path(output)).exists():
            told.append("the same command with `resume` continues")
        raise InterruptedWorkError("; ".join(told)) from error


def _sources(given: list[str]) -> list[str]:
    """The files; a folder with videos stands for all of them, any other is one of frames."""
    names = expanded(given)
    check_inputs(names, "video")
    sources: list[str] = []
    for name in names:
        videos = videos_in(name)
        sources += videos or [name]
        if videos and (images := [Path(image).name for image in images_in(name)]):
            shown = ", ".join(images[:_NAMED]) + (", ..." if len(images) > _NAMED else "")
            tell(f"{name}: a folder of videos; skipped {quantity(len(images), 'image')}: {shown}")
    return sources


def _is_folder(output: str) -> bool:
    return output != _STDIO and (output.endswith("/") or Path(output).is_dir())


def _naming(options: dict[str, Any]) -> dict[str, Any]:
    """The options that default names of outputs depend on."""
    naming: dict[str, Any] = {
        name: options[name] for name in ("style", "strength") if name in options
    }
    if "style_image" in options:
        from nst_rt.learning.request import style_name

        naming["style"] = {style_name(options["style_image"]): 1.0}
    return naming


def _targets(sources: list[str], output: str | None, naming: dict[str, Any]) -> dict[str, Path]:
    """The output of each video: under its own name in a folder, else under its default name."""
    from nst_rt.infer.video import VIDEO_SUFFIXES, default_output

    folder = None if output is None else Path(output)
    if folder is not None and folder.exists() and not folder.is_dir():
        raise OutputExistsError(f"{folder}: a file; several videos need a folder, such as out/")
    if folder is not None and folder.suffix.lower() in VIDEO_SUFFIXES and not folder.exists():
        raise InputError(f"{folder}: not a folder; several videos need one, such as out/")
    targets: dict[str, Path] = {}
    for name in sources:
        target = default_output(name, **naming)
        if folder is not None:
            target = folder / f"{Path(name).stem}{target.suffix}"
        if target in targets.values():
            raise InputError(f"{target}: two videos would get this name")
        targets[name] = target
    return targets
