"""How long work reports its progress."""

from collections.abc import Callable

Progress = Callable[[float, float | None, str], None]
"""Called with what is done, of how much (None if unknown), and a note such as the current loss."""
