"""The command line: one verb per use, each a thin layer over a function of the library.

What is slow to import is imported inside the verbs. Options that are not given are not passed on,
so that the library's defaults are the only ones.
"""

import argparse
import json
import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NoReturn

from nst_rt.cli.image import add_image_arguments, add_photos_arguments, image, photos
from nst_rt.cli.optimize import add_optimize_arguments, optimize
from nst_rt.cli.options import STYLE_HELP, add_post_processing_arguments
from nst_rt.cli.report import Report, print_anything, progress
from nst_rt.cli.styles import add_styles_arguments, styles
from nst_rt.cli.train import TRAINING_SETTINGS, add_train_arguments, paintings_by_name, train
from nst_rt.cli.video import add_video_arguments, conversion_report, on_frame, video
from nst_rt.cli.web import add_web_arguments, web
from nst_rt.cli.webcam import add_webcam_arguments, webcam
from nst_rt.errors import InputError, InterruptedWorkError, StyleTransferError
from nst_rt.files import shown_source
from nst_rt.version import __version__


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; 0 done, 2 bad input, 3 a part is kept, 130 interrupted."""
    print_anything()
    logging.basicConfig(level=logging.WARNING, format="nst-rt: %(message)s")
    logging.getLogger("nst_rt").setLevel(logging.INFO)
    # What Pillow cannot read is said by us, in one line.
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module=r"PIL\.")
    parsed, rest = _parser().parse_known_args(arguments)
    options = vars(parsed)
    parser: argparse.ArgumentParser = options.pop("parser")
    if rest and options["run"] is optimize and not any(r.startswith("-") for r in rest):
        # argparse gives `*` nothing more once an option came before it: photo -o out painting
        options["style"] = [*options.get("style", []), *rest]
    elif rest and options["run"] is video and not any(r.startswith("-") for r in rest):
        options["source"] += [options["output"], *rest[:-1]]
        options["output"] = rest[-1]
    elif rest and options["run"] is train and rest[0].startswith(TRAINING_SETTINGS):
        options["arguments"] = rest  # what LightningCLI knows
    elif rest:
        parser.error(f"unrecognized arguments: {' '.join(map(shown_source, rest))}")
    verb: Callable[..., Report] = options.pop("run")
    as_json = options.pop("json")
    try:
        report = verb(**options)
        if text := json.dumps(report.facts) if as_json and report.facts else report.text:
            print(text, file=sys.stderr if report.beside else sys.stdout, flush=True)
        return report.exit_code
    except StyleTransferError as error:
        print(f"nst-rt: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:  # nobody reads on, as in `nst-rt styles | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:  # a full disk, a name too long, a folder that is a file
        cause = error.strerror or error
        print(f"nst-rt: {error.filename or 'the system'}: {cause}", file=sys.stderr)
        return StyleTransferError.exit_code
    except KeyboardInterrupt:
        print("nst-rt: interrupted", file=sys.stderr)
        return InterruptedWorkError.exit_code
    return 0


def evaluate(model: str, video: str | None = None, **options: Any) -> Report:
    """Measure how good a style model is: boldness, stability, speed."""
    from dataclasses import asdict

    from nst_rt.infer.evaluate.model import evaluate_model, summary

    if video is not None:
        return _evaluate_video(model, video, **options)
    if missing := [f"--{name}" for name in ("style", "photos") if name not in options]:
        raise InputError(f"required: {', '.join(missing)}; or --video, to measure flicker alone")
    if "frames" in options:
        raise InputError("--frames goes with --video")
    with progress("evaluating", counted=False) as advance:
        done = evaluate_model(
            model,
            options.pop("photos"),
            paintings_by_name(options.pop("style")),
            on_progress=lambda part, note: advance(part, 1, note),
            **options,
        )
    return Report(summary(done), asdict(done))


def _evaluate_video(model: str, video: str, **options: Any) -> Report:
    from dataclasses import asdict

    from nst_rt.infer.evaluate.clip import evaluate_clip, summary

    if others := options.keys() - {"frames", "backend", "device", "precision"}:
        raise InputError(
            f"--video measures flicker alone: --{min(others).replace('_', '-')} does not go with it"
        )
    with progress("measuring") as advance:
        done = evaluate_clip(
            model, video, on_frame=lambda count, total: advance(count, total, ""), **options
        )
    return Report(summary(done), asdict(done))


def export(model: str, output: str, **options: Any) -> Report:
    """Write a style model for other programs: ONNX, OpenVINO or PyTorch."""
    from dataclasses import asdict

    from nst_rt.infer.export import export_model

    done = export_model(model, output, **options)
    return Report(
        f"{done.output}: {done.format}, styles: {', '.join(done.styles)}; paints as PyTorch does, "
        f"to {done.difference} of 255 levels",
        {**asdict(done), "output": str(done.output)},
    )


def info() -> Report:
    """Say what this machine has, what would run here, and how fast."""
    from dataclasses import asdict

    from nst_rt.infer.system import machine_info

    with progress("timing") as advance:
        found = machine_info(on_size=advance)
    versions = ", ".join(f"{name} {number or 'missing'}" for name, number in found.versions.items())
    devices = "; ".join(f"{name}: {', '.join(those)}" for name, those in found.devices.items())
    rates = ", ".join(f"{fps:.1f} at {size}" for size, fps in found.fps.items())
    lines = [
        f"versions: {versions}",
        f"processor: {found.processor}, {found.cores} threads, {' '.join(found.instructions)}",
        f"devices: {devices}",
        f"engine: {found.engine} ({found.why})",
        f"frames per second: {rates}",
    ]
    return Report("\n".join(lines), asdict(found))


def demo(**options: Any) -> Report:
    """Stylize a film that comes in a package."""
    from nst_rt.infer.demo import run_demo

    with progress("converting") as advance:
        done = run_demo(on_frame=on_frame(advance), **options)
    report = conversion_report(done)
    folder = done.output.parent
    text = (
        f"{report.text}\nbefore and after: {folder / 'before_after.png'}\n"
        f"to try next: {folder / 'photos'}, {folder / 'paintings'}"
    )
    return replace(report, text=text)


class _Parser(argparse.ArgumentParser):
    """Errors in one line; options that are not given do not appear in the result."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(
            argument_default=argparse.SUPPRESS,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            **settings,
        )

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="nst-rt", description="Neural style transfer on the machine you have.")
    parser.add_argument("--version", action="version", version=__version__)
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")

    def verb(run: Callable[..., Report], example: str) -> argparse.ArgumentParser:
        assert run.__doc__
        added = verbs.add_parser(
            run.__name__,
            help=run.__doc__.rstrip("."),
            description=run.__doc__,
            epilog=f"example:\n  nst-rt {run.__name__} {example}",
        )
        added.set_defaults(parser=added, run=run, json=False)
        added.add_argument("--json", action="store_true", help="print the facts as JSON")
        return added

    p = verb(optimize, "photo.jpg painting.jpg -o out.png --style-weight 20")
    add_optimize_arguments(p)
    _overwrite(p)
    _vgg_weights(p)

    p = verb(
        train,
        "--style painting.jpg --photos ~/photos --name mine\n"
        "  nst-rt train --style painting.jpg --photos ~/photos --name mine --from gallery\n"
        "any setting of the recipes, and any of Lightning's Trainer, may follow:\n"
        "  --trainer.devices 2 --model.motion_weight 80 --data.workers 4\n"
        "--print-config prints all of them as a recipe",
    )
    add_train_arguments(p)
    _vgg_weights(p)
    _overwrite(p)

    p = verb(photos, "~/Pictures --resize 288 -o pictures.zip")
    add_photos_arguments(p)
    _overwrite(p)

    p = verb(
        image,
        "photo.jpg --style starry_night -o out.png\n"
        "  nst-rt image holiday/ --blend starry_night=0.7,great_wave=0.3 -o painted/",
    )
    add_image_arguments(p)
    _overwrite(p)
    add_post_processing_arguments(p)
    _engine_arguments(p)

    p = verb(
        video,
        "film.mp4 out.mp4 --style starry_night\n"
        "  nst-rt video film.mp4 out.mp4 --style starry_night@0,great_wave@12.5 --fade 2\n"
        "  nst-rt video film.mkv out.mkv --start 1:30 --end 2:00 --resume\n"
        "  nst-rt video *.mp4 painted/ --codec hevc",
    )
    add_video_arguments(p)
    add_post_processing_arguments(p, over_time=True)
    _engine_arguments(p)
    _overwrite(p)

    p = verb(webcam, "0 --style starry_night\n  nst-rt webcam --no-window --mjpeg 8080")
    p.add_argument("--style", metavar="S", help=STYLE_HELP)
    add_webcam_arguments(p)
    _overwrite(p)
    _engine_arguments(p)

    p = verb(web, "\n  nst-rt web --host 0.0.0.0 --token --self-signed")
    add_web_arguments(p)
    _engine_arguments(p)

    p = verb(styles, "\n  nst-rt styles photo.jpg --sheet sheet.png")
    add_styles_arguments(p)
    _overwrite(p)

    p = verb(
        evaluate,
        "mine.safetensors --style painting.jpg --photos ~/photos --held-out\n"
        "  nst-rt evaluate two.safetensors --style ink=ink.jpg sea=wave.jpg --photos ~/photos\n"
        "  nst-rt evaluate starry_night --video clip.mp4",
    )
    p.add_argument("model", metavar="MODEL", help=STYLE_HELP.partition(";")[0])
    p.add_argument(
        "--style",
        nargs="+",
        action="extend",
        metavar="PAINTING",
        help="that the style was trained on; NAME=PAINTING for each one of several styles",
    )
    p.add_argument("--photos", metavar="P", help="a folder, a zip archive or a list of photos")
    p.add_argument("--held-out", action="store_true", help="only those that training holds out")
    p.add_argument("--count", type=int, metavar="N", help="photos, the first ones; default: 50")
    p.add_argument(
        "--video", metavar="CLIP", help="measure how much it flickers on a clip, and nothing else"
    )
    p.add_argument("--frames", type=int, metavar="N", help="of the clip; default: 50")
    _engine_arguments(p)

    p = verb(export, "starry_night -o starry_night.onnx")
    p.add_argument("model", metavar="MODEL", help=STYLE_HELP.partition(";")[0])
    p.add_argument(
        "-o", "--output", required=True, metavar="OUT", help=".onnx, .xml (OpenVINO) or .pt2"
    )
    p.add_argument("--format", choices=("onnx", "openvino", "torch"), help="default: the suffix's")
    _overwrite(p)

    verb(info, "")

    p = verb(demo, "")
    p.add_argument("--folder", metavar="DIR", help="where everything goes; default: demo")
    p.add_argument("--style", metavar="S", help=STYLE_HELP)
    return parser


def _overwrite(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--overwrite", action="store_true", help="replace an existing output")


def _vgg_weights(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--vgg-weights", metavar="W", help="caffe, torchvision or a file; default: caffe"
    )


def _engine_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--backend", metavar="B", help="auto, openvino, torch or onnx; default: auto"
    )
    parser.add_argument("--device", metavar="D", help="cpu, cuda, ...; default: the fastest")
    parser.add_argument("--precision", metavar="P", help="auto, f32, bf16 or f16; default: auto")
