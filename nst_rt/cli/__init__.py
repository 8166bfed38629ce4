"""The command line: one verb per task, each a thin layer over a function of the library.

A verb is a module with `EXAMPLES`, `add_arguments(parser)` and `run(**options)`; the first line of
its docstring is its help. What is slow to import is imported inside `run`. Options that are not
given are not passed on, so that the library's defaults hold; help takes them from the signature of
the function that the verb names in `DEFAULTS_OF`.
"""

import argparse
import difflib
import io
import json
import logging
import os
import sys
import warnings
from collections.abc import Collection, Sequence
from types import ModuleType
from typing import Any, NoReturn

from nst_rt.cli import (
    demo,
    evaluate,
    export,
    image,
    info,
    optimize,
    styles,
    train,
    video,
    web,
    webcam,
)
from nst_rt.cli.options import number, signature_defaults, whole_number
from nst_rt.cli.report import Report, tell
from nst_rt.errors import InterruptedWorkError, StyleTransferError, UnknownNameError
from nst_rt.files import shown_source
from nst_rt.version import __version__

_VERBS: tuple[ModuleType, ...] = (
    optimize,
    image,
    video,
    webcam,
    web,
    train,
    styles,
    evaluate,
    export,
    info,
    demo,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        The exit code: 0 done, 2 bad input or usage, 3 partial result kept, 130 interrupted.
    """
    _set_up_process()
    parser = _parser()
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments:
        parser.print_help()
        return 0
    first, verbs = arguments[0], [_name(verb) for verb in _VERBS]
    if first.startswith("-") and first not in parser._option_string_actions:
        parser.error(_unknown([first], parser._option_string_actions))
    if not first.startswith("-") and first not in verbs:
        parser.error(str(UnknownNameError("verb", first, verbs)))
    parsed, rest = parser.parse_known_args(arguments)
    options = vars(parsed)
    verb: ModuleType = options.pop("verb")
    as_json = options.pop("json")
    verb_parser: argparse.ArgumentParser = options.pop("parser")
    inputs = next(
        (a for a in verb_parser._actions if a.nargs == "+" and not a.option_strings), None
    )
    if rest and verb is train and rest[0].startswith(train.TRAINING_SETTINGS):
        options["arguments"] = rest  # settings of the recipes
    elif rest and inputs is not None and not any(text.startswith("-") for text in rest):
        # argparse collects inputs up to the first option only: `a.jpg --style udnie b.jpg`.
        options[inputs.dest] += rest
    elif rest:
        verb_parser.error(_unknown(rest, verb_parser._option_string_actions))
    try:
        report: Report = verb.run(**options)
        if text := json.dumps(report.facts) if as_json and report.facts else report.text:
            print(text, file=sys.stderr if report.beside else sys.stdout, flush=True)
        return report.exit_code
    except StyleTransferError as error:
        tell(str(error))
        return error.exit_code
    except BrokenPipeError:  # nobody reads on, as in `nst-rt styles | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:  # a full disk, a name too long, a folder that is a file
        cause = error.strerror or error
        tell(f"{error.filename or 'the system'}: {cause}")
        return StyleTransferError.exit_code
    except KeyboardInterrupt:
        tell("interrupted; only complete outputs were kept")
        return InterruptedWorkError.exit_code
    return 0


def _set_up_process() -> None:
    """Logging and environment of the process, which a library leaves alone."""
    # Before OpenCV is imported: FFmpeg and Qt inside it write to stderr on their own (Qt for fonts
    # that the wheel does not have); what matters is raised as an error instead.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("QT_LOGGING_RULES", "default.warning=false")
    for stream in (sys.stdout, sys.stderr):  # which may lack a character of a file's name
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    logging.basicConfig(level=logging.WARNING, format="nst-rt: %(message)s")
    logging.getLogger("nst_rt").setLevel(logging.INFO)
    # What Pillow cannot read is reported by us, in one line.
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module=r"PIL\.")


class _Parser(argparse.ArgumentParser):
    """Errors in one line that say what an option takes; options not given are not in the result."""

    def __init__(self, *, defaults_of: str | None = None, **settings: Any) -> None:
        self._defaults_of = defaults_of
        super().__init__(
            argument_default=argparse.SUPPRESS,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            **settings,
        )
        self.register("type", int, whole_number)
        self.register("type", float, number)

    def format_help(self) -> str:
        """Help with the defaults of the library's function."""
        if self._defaults_of is not None:
            defaults = signature_defaults(self._defaults_of)
            self._defaults_of = None
            for action in self._actions:
                default = defaults.get(action.dest)
                if action.help and default not in (None, ()) and not isinstance(default, bool):
                    action.help += f" (default: {default})".replace("%", "%%")
        return super().format_help()

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message.removeprefix('argument ')}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    examples = "\n".join(f"  nst-rt {_name(verb)} {verb.EXAMPLES[0]}".rstrip() for verb in _VERBS)
    parser = _Parser(
        prog="nst-rt",
        description="Neural style transfer on the machine you have.",
        epilog=f"examples:\n{examples}",
    )
    parser.add_argument("--version", action="version", version=__version__)
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")
    for verb in _VERBS:
        name = _name(verb)
        summary = (verb.__doc__ or "").partition("\n")[0]
        lines = "\n".join(f"  nst-rt {name} {example}".rstrip() for example in verb.EXAMPLES)
        added = verbs.add_parser(
            name,
            help=summary.rstrip("."),
            description=summary,
            epilog=f"examples:\n{lines}",
            defaults_of=getattr(verb, "DEFAULTS_OF", None),
        )
        added.set_defaults(parser=added, verb=verb, json=False)
        verb.add_arguments(added)
        added.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


def _unknown(arguments: Sequence[str], options: Collection[str]) -> str:
    """The error message for arguments that a verb does not have."""
    for argument in arguments:
        option = argument.partition("=")[0]
        if option.startswith("-"):
            near = difflib.get_close_matches(option, options, n=1)
            hint = f"did you mean {near[0]}?" if near else "--help lists them"
            return f"unknown option {option} ({hint})"
    return f"unknown arguments: {' '.join(map(shown_source, arguments))}"


def _name(verb: ModuleType) -> str:
    return verb.__name__.rpartition(".")[2]
