"""What can go wrong through a user's input: one line, and what to do about it.

Everything else that is raised is a bug. The command line turns these into one line on stderr and
the exit code; library users catch `StyleTransferError`.
"""

import difflib
import re
from collections.abc import Iterable


class StyleTransferError(Exception):
    """Base of all errors that the input or the machine causes, not the code."""

    exit_code = 2


class InputError(StyleTransferError):
    """A file, a folder or a value that was given cannot be used."""


class OutputExistsError(StyleTransferError):
    """The output is there already and was not asked to be overwritten."""


class WeightsError(StyleTransferError):
    """VGG19 weights that are missing, damaged or of an unknown format."""


class StyleModelError(StyleTransferError):
    """A style model file that is not one, or not one that this version reads."""


class UnknownNameError(StyleTransferError):
    """A name (of a style, a layer) that is not among the known ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        known = list(known)
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        super().__init__(f"unknown {kind} {name!r}: {hint}known are {', '.join(known) or 'none'}")


class BackendError(StyleTransferError):
    """An inference backend or device that was asked for and is not there."""


class VideoError(StyleTransferError):
    """A video that cannot be read or written."""


class CameraError(StyleTransferError):
    """A camera or stream that cannot be opened."""


class NotFiniteError(StyleTransferError):
    """An optimization whose loss became NaN or infinite."""


class PartialResultError(StyleTransferError):
    """A part of what was asked for is missing, and the rest is kept.

    Args:
        text: what is missing, and where the rest is.
        result: what would have been returned, of the rest, where there is such a thing.
    """

    exit_code = 3

    def __init__(self, text: str, result: object = None) -> None:
        super().__init__(text)
        self.result = result


class InterruptedWorkError(StyleTransferError):
    """Ctrl-C; the message says what was kept."""

    exit_code = 130


def with_flags(message: str) -> str:
    """A message for the command line: options, which messages name in backticks, as flags.

    `overwrite` becomes --overwrite; texts of the library name keyword arguments.
    """
    return re.sub(r"`([a-z][a-z_]*)`", lambda found: "--" + found[1].replace("_", "-"), message)
