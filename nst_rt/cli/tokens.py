"""The token that viewers need: from an option, a file or the environment."""

import argparse
import os
import stat
from collections.abc import MutableMapping
from typing import Any

from nst_rt.cli.report import tell
from nst_rt.errors import InputError
from nst_rt.files import check_input

VARIABLE = "NST_RT_TOKEN"
_MAX_LINE = 1000  # characters of a token in a file


def add_token_arguments(group: "argparse._ActionsContainer", purpose: str, **settings: Any) -> None:
    """Add --token, with further settings of `add_argument`, and --token-file."""
    group.add_argument(
        "--token",
        metavar="T",
        help=f"{purpose}; other users of this machine can read T in the list of processes, which "
        f"--token-file and the environment variable {VARIABLE} avoid",
        **settings,
    )
    group.add_argument(
        "--token-file",
        metavar="FILE",
        help=f"file whose first line is the token; used instead of {VARIABLE}",
    )


def take_token(options: MutableMapping[str, Any], *, needed: bool = True) -> None:
    """Put the token among the options: that of `token` or `token_file`, else of the environment.

    It leaves the environment, since no child process needs it.

    Args:
        options: as given on the command line; `token_file` is taken out.
        needed: whether a token in the environment is meant for what was asked for.

    Raises:
        InputError: both options are given, or the file has no token.
    """
    set_before = os.environ.pop(VARIABLE, "")
    file = options.pop("token_file", None)
    if file is None:
        if needed and set_before:
            options.setdefault("token", set_before)
        return
    if "token" in options:
        raise InputError("`token` and `token_file` cannot be combined")
    with check_input(file).open(encoding="utf-8", errors="replace") as opened:
        token = opened.readline(_MAX_LINE).strip()
        mode = os.fstat(opened.fileno()).st_mode
    if not token:
        raise InputError(f"{file}: the first line must be the token, and is empty")
    if os.name == "posix" and stat.S_ISREG(mode) and mode & (stat.S_IRGRP | stat.S_IROTH):
        tell(
            f"{file}: other users of this machine can read the token in it; chmod 600 prevents that"
        )
    options["token"] = token
