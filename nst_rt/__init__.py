"""Neural style transfer: one picture at its best, videos and webcams in real time.

Names are imported when they are first used, so that `nst-rt --help` answers at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from nst_rt.version import __version__

if TYPE_CHECKING:
    from nst_rt.errors import StyleTransferError
    from nst_rt.images.io import load_image, save_image
    from nst_rt.infer.frame_stylizer import load_frame_stylizer
    from nst_rt.infer.live.webcam import stylize_webcam
    from nst_rt.infer.stylizer import Stylizer, load_style
    from nst_rt.infer.video import stylize_video
    from nst_rt.models.style_model import StyleModel, gallery
    from nst_rt.optimization.optimizer import Iterate, Optimization, optimize
    from nst_rt.optimization.runs import optimize_to_file
    from nst_rt.train.run import train_style

__all__ = [
    "Iterate",
    "Optimization",
    "StyleModel",
    "StyleTransferError",
    "Stylizer",
    "__version__",
    "gallery",
    "load_frame_stylizer",
    "load_image",
    "load_style",
    "optimize",
    "optimize_to_file",
    "save_image",
    "stylize_video",
    "stylize_webcam",
    "train_style",
]

_MODULES = {
    "Iterate": "nst_rt.optimization.optimizer",
    "Optimization": "nst_rt.optimization.optimizer",
    "StyleModel": "nst_rt.models.style_model",
    "StyleTransferError": "nst_rt.errors",
    "Stylizer": "nst_rt.infer.stylizer",
    "stylize_video": "nst_rt.infer.video",
    "gallery": "nst_rt.models.style_model",
    "load_image": "nst_rt.images.io",
    "load_frame_stylizer": "nst_rt.infer.frame_stylizer",
    "load_style": "nst_rt.infer.stylizer",
    "optimize": "nst_rt.optimization.optimizer",
    "optimize_to_file": "nst_rt.optimization.runs",
    "save_image": "nst_rt.images.io",
    "stylize_webcam": "nst_rt.infer.live.webcam",
    "train_style": "nst_rt.train.run",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'nst_rt' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return __all__
