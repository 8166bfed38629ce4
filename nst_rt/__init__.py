"""Neural style transfer: one image at its best, videos and webcams in real time.

Names are imported when they are first used, so that `nst-rt --help` answers at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from nst_rt.version import __version__

if TYPE_CHECKING:
    from nst_rt.errors import StyleTransferError
    from nst_rt.images.io import load_image, save_image
    from nst_rt.infer.learning.learn import learn_style
    from nst_rt.infer.live.webcam import stylize_webcam
    from nst_rt.infer.photos import stylize_images
    from nst_rt.infer.stylizer import Stylizer, load_style
    from nst_rt.infer.video import stylize_video
    from nst_rt.models.style_model import StyleModel, list_styles
    from nst_rt.optimization.optimizer import Iterate, Optimization, optimize
    from nst_rt.train.run import train_style

_MODULES = {
    "Iterate": "nst_rt.optimization.optimizer",
    "Optimization": "nst_rt.optimization.optimizer",
    "StyleModel": "nst_rt.models.style_model",
    "StyleTransferError": "nst_rt.errors",
    "Stylizer": "nst_rt.infer.stylizer",
    "learn_style": "nst_rt.infer.learning.learn",
    "list_styles": "nst_rt.models.style_model",
    "load_image": "nst_rt.images.io",
    "load_style": "nst_rt.infer.stylizer",
    "optimize": "nst_rt.optimization.optimizer",
    "save_image": "nst_rt.images.io",
    "stylize_images": "nst_rt.infer.photos",
    "stylize_video": "nst_rt.infer.video",
    "stylize_webcam": "nst_rt.infer.live.webcam",
    "train_style": "nst_rt.train.run",
}

__all__ = [
    "Iterate",
    "Optimization",
    "StyleModel",
    "StyleTransferError",
    "Stylizer",
    "__version__",
    "learn_style",
    "list_styles",
    "load_image",
    "load_style",
    "optimize",
    "save_image",
    "stylize_images",
    "stylize_video",
    "stylize_webcam",
    "train_style",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'nst_rt' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return __all__
