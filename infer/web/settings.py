"""How a studio is set up, and how what it is asked is read."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nst_rt.errors import InputError
from nst_rt.infer.web.checks import Limits
from nst_rt.recipes import recipe_steps


@dataclass(frozen=True)
class Settings:
    """How a studio is set up.

    Attributes:
        root: folder for what visitors send and for unfinished work; it is removed in the end.
        results: folder for results, which stays; it is made if it is not there.
        limits: see `Limits`.
        fps: that live pictures hold by painting smaller; 0 never paints smaller.
        photos: collection that visitors may train on.
        start_from: that trainings start from: `gallery` or a model file.
        train_arguments: further ones of `nst-rt train`.
        token: that opens the page; None opens it to everyone who can reach it.
        names: that the page may be reached under, besides those of this machine; see `Guard`.
        undo: seconds in which removing and cancelling can be taken back.
    """

    root: Path
    results: Path
    limits: Limits = field(default_factory=Limits)
    fps: float = 24.0
    photos: Path | None = None
    start_from: str = "gallery"
    train_arguments: tuple[str, ...] = ()
    token: str | None = None
    names: tuple[str, ...] = ()
    undo: float = 10.0


def usual_steps() -> int:
    """Steps of a training that nothing else was said of, as its recipe has them."""
    return recipe_steps("new_style")


def parsed(text: str | bytes) -> Any:
    """The value of a JSON text.

    Raises:
        InputError: it is none.
    """
    try:
        return json.loads(text)
    except ValueError as error:
        raise InputError("not JSON") from error


def number(value: Any, kind: Callable[[Any], Any]) -> Any:
    """A value as an int or a float.

    Raises:
        InputError: it is no number.
    """
    try:
        return kind(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"not a number: {str(value)[:50]!r}") from error
