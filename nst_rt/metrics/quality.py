"""Quality: how close a stylized image is to its content and style image, by VGG19 features."""

import torch
from torch import Tensor
from torchvision.transforms.v2.functional import center_crop

from nst_rt.devices import torch_device
from nst_rt.images.convert import resize, resize_to
from nst_rt.losses import PerceptualLoss
from nst_rt.optimization.presets import CONTENT_LAYERS, STYLE_LAYERS

CONTENT_SIZE = 256
STYLE_SIZE = 512


def quality_crop(content: Tensor) -> Tensor:
    """A content image as the quality objective expects it: the central square, at 256 px.

    Args:
        content: shape (1, 3, H, W), RGB in [0, 1].

    Returns:
        Shape (1, 3, 256, 256).
    """
    side = min(content.shape[-2:])
    return resize_to(center_crop(content, [side, side]), (CONTENT_SIZE, CONTENT_SIZE))


class QualityObjective:
    """The perceptual loss of a stylized image, with one setting for every network; lower is better.

    10 x style + content. Style is the mean over relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1 of
    VGG19 of MSE(Gram) / mean(target Gram^2); content is MSE / mean(target^2) at relu4_2; total
    variation does not count. Published figures are for content images from `quality_crop`.

    Args:
        style_image: shape (1, 3, H, W), RGB in [0, 1]; resized to 512 px on its long side.
        device: by default a GPU where there is one, else the CPU. bfloat16 is used where the device
            multiplies it in hardware; the objective then differs from float32's by 0.2 %
            (measured).
    """

    def __init__(self, style_image: Tensor, *, device: torch.device | str | None = None) -> None:
        self._device = torch_device(device)
        self._loss = PerceptualLoss(
            content_layers=CONTENT_LAYERS,
            style_layers=STYLE_LAYERS,
            content_weight=1.0,
            style_weight=10.0,
            tv_weight=0.0,
            device=self._device,
        )
        self._style = self._loss.style_target(resize(style_image, STYLE_SIZE).to(self._device))

    @torch.no_grad()
    def __call__(self, image: Tensor, content: Tensor) -> float:
        """The objective of a stylized image.

        Args:
            image: shape (1, 3, H, W), RGB in [0, 1].
            content: the content image, same shape.
        """
        target = self._loss.content_target(content.to(self._device))
        return float(self._loss(image.to(self._device), target, self._style).total)

    @torch.no_grad()
    def style(self, image: Tensor) -> float:
        """The style term alone, without its weight; for images of any size."""
        image = image.to(self._device)
        return float(self._loss(image, self._loss.content_target(image), self._style).style)
