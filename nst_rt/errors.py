"""Errors caused by inputs or by the machine, each with a message of one line.

Library users catch `StyleTransferError`; the command line prints the message and exits with
`exit_code`. Any other exception is a bug. Messages name options as Python keywords in backticks.
"""

import difflib
import re
from collections.abc import Iterable


class StyleTransferError(Exception):
    """Base class of all errors that are caused by an input or by the machine."""

    exit_code = 2


class InputError(StyleTransferError):
    """A given file, folder or value cannot be used."""


class OutputExistsError(StyleTransferError):
    """The output exists already, and overwriting was not requested."""


class WeightsError(StyleTransferError):
    """VGG19 weights are missing, damaged or of an unknown format."""


class StyleModelError(StyleTransferError):
    """A file is not a style model, or has a format that this version does not read."""


class UnknownNameError(StyleTransferError):
    """A name (of a style, a layer, ...) is unknown; the message lists the known names."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        super().__init__(unknown_name(kind, name, known))


class BackendError(StyleTransferError):
    """A requested inference backend or device is not available."""


class VideoError(StyleTransferError):
    """A video cannot be read or written."""


class CameraError(StyleTransferError):
    """A camera or stream cannot be opened."""


class NotFiniteError(StyleTransferError):
    """A loss became NaN or infinite."""


class PartialResultError(StyleTransferError):
    """The result is incomplete; the part that is finished is kept.

    Args:
        text: message that says what is missing, and where the finished part is.
        result: return value for the finished part, if there is one.
    """

    exit_code = 3

    def __init__(self, text: str, result: object = None) -> None:
        super().__init__(text)
        self.result = result


class InterruptedWorkError(StyleTransferError):
    """The work was interrupted by Ctrl-C; the message says what was kept."""

    exit_code = 130


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """The message for an unknown name, with the one that was probably meant."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown {kind} {name!r}: {hint}known are {', '.join(known) or 'none'}"


def with_flags(message: str) -> str:
    """A message of the library for the command line.

    `stroke_size` becomes --stroke-size, and `window=False` becomes --no-window.
    """
    return re.sub(
        r"`([a-z][a-z_]*)(=False)?`",
        lambda found: ("--no-" if found[2] else "--") + found[1].replace("_", "-"),
        message,
    )
