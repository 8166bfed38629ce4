"""The command line: one verb per task, each a thin layer over a function of the library.

A verb is a module with `SHORT`, `EXAMPLES`, `add_arguments(parser)` and `run(**options)`; the first
line of its docstring is its help; `nst-rt` alone shows `SHORT` and the first example. What is slow
to import is imported inside `run`. Options that are not given are not passed on, so that the
library's defaults hold; help takes them from the signature of the function that the verb names in
`DEFAULTS_OF`, and from `further_defaults()`, which a verb may have.
"""

import argparse
import ctypes
import io
import json
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from types import ModuleType
from typing import Any, NoReturn, TextIO

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
from nst_rt.cli.mistakes import option_meant, verb_meant, with_negative_values
from nst_rt.cli.options import number, shown, signature_defaults, whole_number
from nst_rt.cli.report import Report, tell
from nst_rt.errors import InterruptedWorkError, StyleTransferError, unknown_name
from nst_rt.progress import signals_as_interrupt
from nst_rt.version import __version__

# The verbs by what they are for, in the order in which help shows them.
_GROUPS: dict[str, tuple[ModuleType, ...]] = {
    "Photos": (image, optimize),
    "Videos and cameras": (video, webcam, web),
    "Styles": (styles, train, evaluate, export),
    "About": (demo, info),
}
_VERBS = tuple(verb for verbs in _GROUPS.values() for verb in verbs)
_EXAMPLE_WIDTH = 50
_ARENA_MAX = -8  # M_ARENA_MAX of malloc.h


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        The exit code: 0 done, 2 bad input or usage, 3 partial result kept, 130 interrupted.
    """
    set_up_process()
    arguments = with_negative_values(sys.argv[1:] if arguments is None else arguments)
    first = arguments[0] if arguments else "--help"
    parser = _parser(first)
    if first.startswith("-") and first.partition("=")[0] not in parser._option_string_actions:
        parser.error(option_meant("", [first], {"": parser._option_string_actions.keys()}))
    if not first:
        parser.error("the verb is empty")
    if not first.startswith("-") and first not in map(_name, _VERBS):
        parser.error(verb_meant(arguments, list(map(_name, _VERBS))))
    arguments = arguments or [first]
    parsed, rest = parser.parse_known_args(arguments)
    options = vars(parsed)
    verb: ModuleType = options.pop("verb")
    as_json = options.pop("json")
    verb_parser: argparse.ArgumentParser = options.pop("parser")
    if "" in arguments:  # of an unset variable of a shell; as a path it is the current folder
        verb_parser.error("an argument is empty: no file name or value was given")
    inputs = next(
        (a for a in verb_parser._actions if a.nargs == "+" and not a.option_strings), None
    )
    if rest and verb is train and rest[0].startswith(train.TRAINING_SETTINGS):
        options["arguments"] = rest  # settings of the recipes
    elif rest and inputs is not None and not any(text.startswith("-") for text in rest):
        # argparse collects inputs up to the first option only: `a.jpg --style udnie b.jpg`.
        options[inputs.dest] += rest
    elif rest:
        others = verb_parsers(_parser()).items()
        flags = {name: other._option_string_actions.keys() for name, other in others}
        verb_parser.error(option_meant(first, rest, flags))
    try:
        # Service managers and closed terminals end work so: what was begun is completed, or kept to
        # be resumed.
        with signals_as_interrupt():
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


def set_up_process() -> None:
    """Logging, memory and environment of the process, which a library leaves alone."""
    _limit_heaps()
    # Before OpenCV is imported: FFmpeg and Qt inside it write to stderr on their own (Qt for fonts
    # that the wheel does not have); what matters is raised as an error instead.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("QT_LOGGING_RULES", "default.warning=false")
    for stream in (sys.stdout, sys.stderr):  # which may lack a character of a file's name
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    logging.basicConfig(
        level=logging.WARNING, format="nst-rt: %(message)s", handlers=[_StderrHandler()]
    )
    logging.getLogger("nst_rt").setLevel(logging.INFO)
    # What Pillow cannot read is reported by us, in one line.
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module=r"PIL\.")


def _limit_heaps() -> None:
    """Let all threads share two heaps of the C library, if that is glibc.

    Otherwise it gives threads heaps of their own, up to eight per core, each of which keeps the
    room that its frames took: a live session grew by some MB with each recording.
    """
    if sys.platform == "linux":
        with suppress(AttributeError, OSError):  # another C library
            ctypes.CDLL(None).mallopt(_ARENA_MAX, 2)


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to `sys.stderr` as it is at the time, which a progress bar replaces for its own."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr


class _Parser(argparse.ArgumentParser):
    """Errors in one line that say what an option takes; options not given are not in the result."""

    def __init__(self, *, verb: ModuleType | None = None, **settings: Any) -> None:
        self._verb = verb
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
        if self._verb is not None:
            defaults = _defaults(self._verb)
            self._verb = None
            for action in self._actions:
                default = defaults.get(action.dest)
                if not action.help or "(default" in action.help or isinstance(default, bool):
                    continue
                if default not in (None, ()):
                    action.help += f" (default: {shown(default)})".replace("%", "%%")
        return super().format_help()

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            raise argparse.ArgumentError(action, unknown_name("value", value, action.choices))

    def error(self, message: str) -> NoReturn:
        hint = "" if "nst-rt " in message else f"; see {self.prog} --help"
        self.exit(2, f"{self.prog}: {message.removeprefix('argument ')}{hint}\n")


def _defaults(verb: ModuleType) -> dict[str, Any]:
    """Defaults of a verb's options that its help does not mention: option -> value."""
    defaults = signature_defaults(verb.DEFAULTS_OF) if hasattr(verb, "DEFAULTS_OF") else {}
    return defaults | (verb.further_defaults() if hasattr(verb, "further_defaults") else {})


class _MainParser(_Parser):
    """`nst-rt` itself, whose help is the overview."""

    def format_help(self) -> str:
        return _overview()


class _PrintCompletion(argparse.Action):
    """Print the completion script of a shell, and exit."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: object, values: object, *_: object
    ) -> None:
        from nst_rt.cli.completion import script

        whole = _parser()
        print(script(whole, verb_parsers(whole).values(), str(values)))
        parser.exit()


def _parser(only: str | None = None) -> argparse.ArgumentParser:
    """The parser of all verbs; to start quickly, with the arguments of `only` one of them."""
    parser = _MainParser(prog="nst-rt")
    parser.add_argument(
        "--version", action="version", version=__version__, help="show the version, and exit"
    )
    parser.add_argument(
        "--print-completion",
        action=_PrintCompletion,
        choices=("bash", "zsh", "tcsh"),
        help="print the script that completes commands in a shell, and exit",
    )
    verbs = parser.add_subparsers(
        title="verbs", required=True, metavar="VERB", parser_class=_Parser
    )
    for verb in _VERBS:
        name = _name(verb)
        summary = (verb.__doc__ or "").partition("\n")[0]
        lines = "\n".join(f"  nst-rt {name} {example}".rstrip() for example in verb.EXAMPLES)
        added = verbs.add_parser(
            name,
            help=summary.rstrip("."),
            description=summary,
            epilog=f"examples:\n{lines}",
            verb=verb,
        )
        added.set_defaults(parser=added, verb=verb, json=False)
        if only in (None, name):
            verb.add_arguments(added)
        added.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


def verb_parsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers of the verbs, by name."""
    of_verbs = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return dict(of_verbs.choices)


def _overview() -> str:
    """What one can do, by use, with an example each: no larger than a small terminal."""
    lines = ["Neural style transfer on the machine you have.  usage: nst-rt VERB ..."]
    for use, verbs in _GROUPS.items():
        lines += ["", use]
        for verb in verbs:
            example = f"nst-rt {_name(verb)} {verb.EXAMPLES[0]}".rstrip()
            lines.append(f"  {example:{_EXAMPLE_WIDTH}}  {verb.SHORT}")
    lines += [
        "",
        "nst-rt VERB --help shows all options and more examples of a verb.",
        "nst-rt --print-completion SHELL makes the tab key complete commands; --version.",
    ]
    return "\n".join(lines) + "\n"


def _name(verb: ModuleType) -> str:
    return verb.__name__.rpartition(".")[2]
