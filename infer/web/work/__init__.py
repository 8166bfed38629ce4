"""What jobs do: stylize images or a video, optimize an image, train a style."""

from collections.abc import Callable, Mapping

from nst_rt.infer.web.work.images import plan_images
from nst_rt.infer.web.work.optimize import plan_optimize
from nst_rt.infer.web.work.plan import Plan
from nst_rt.infer.web.work.train import plan_train
from nst_rt.infer.web.work.video import plan_video

PLANS: Mapping[str, Callable[..., Plan]] = {
    "images": plan_images,
    "video": plan_video,
    "optimize": plan_optimize,
    "train": plan_train,
}
