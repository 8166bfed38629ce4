"""What a process that learns a style is told, and what it tells: pickled, over pipes."""

import pickle
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import Enum
from typing import IO, Any

from nst_rt.learning.request import Image, LearningRequest
from nst_rt.models.style_model import StyleModel


@dataclass(frozen=True)
class Begin:
    """The first message to the process.

    Attributes:
        request: what to learn.
        known: where to go on, if the style was learned before.
        device: PyTorch device; None for the fastest.
        preview: whether to send the preview of an image that is kept aside.
        settles: whether to stop when the style no longer gets better.
    """

    request: LearningRequest
    known: StyleModel | None = None
    device: str | None = None
    preview: bool = False
    settles: bool = True


@dataclass(frozen=True)
class Content:
    """An image to learn on.

    Attributes:
        image: shape (H, W, 3), uint8 RGB.
        is_other: see `nst_rt.train.learning.Images.add`.
    """

    image: Image
    is_other: bool


class Command(Enum):
    """What a process that learns is told to do."""

    PAUSE = "pause"
    CONTINUE = "continue"
    RESET = "reset"  # begin again from the start
    FINISH = "finish"  # send what was learned, with its figures, and end


@dataclass(frozen=True)
class Figures:
    """How bold and how stable a style is on images that were kept aside; None: not measurable.

    Attributes:
        strokes, contrast, chroma: relative to the style image, see `nst_rt.metrics.boldness`.
        pan_error: relative pan error of the network alone, see `nst_rt.metrics.stability`.
    """

    strokes: float | None
    contrast: float
    chroma: float | None
    pan_error: float | None

    def __str__(self) -> str:
        known = {name: value for name, value in asdict(self).items() if value is not None}
        return ", ".join(f"{name.replace('_', ' ')} {value:.2f}" for name, value in known.items())


@dataclass(frozen=True)
class Update:
    """How far the process is.

    Attributes:
        crops: number of crops learned from so far, in all sessions.
        seconds: time spent on them.
        rate: crops per second, lately.
        model: the style, if it is better than the last one that was sent.
        preview: an image that was kept aside, stylized, shape (H, W, 3), uint8 RGB.
        figures: with the last update, if there was any image to measure them on.
        is_settled: whether the style no longer gets better; the process then waits.
        is_last: whether the process ends.
        useless: number of images that it was shown, if all have a single color; it then waits.
    """

    crops: int
    seconds: float
    rate: float
    model: StyleModel | None = None
    preview: Image | None = None
    figures: Figures | None = None
    is_settled: bool = False
    is_last: bool = False
    useless: int = 0


@dataclass(frozen=True)
class Failure:
    """Why the process could not go on, in one line."""

    reason: str


def send(message: object, pipe: IO[bytes]) -> None:
    """Write a message.

    Raises:
        BrokenPipeError: the other end is closed.
    """
    pickle.dump(message, pipe, pickle.HIGHEST_PROTOCOL)
    pipe.flush()


def received(pipe: IO[bytes]) -> Iterator[Any]:
    """Messages until the other end is closed.

    Only ever read from a process that this one started, or that started it: pickles run code.
    """
    while True:
        try:
            yield pickle.load(pipe)
        except (EOFError, OSError, ValueError, pickle.UnpicklingError):  # closed, or cut off
            return
