"""Running the command line inside a test."""

from collections.abc import Callable

Run = Callable[..., tuple[int, str, str]]
"""Arguments -> exit code, standard output, standard error."""
