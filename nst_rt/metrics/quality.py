"""How near a stylized image is to content and style image, by the features of VGG19; and noise."""

import torch
from torch import Tensor
from torchvision.transforms.v2.functional import center_crop, gaussian_blur

from nst_rt.devices import torch_device
from nst_rt.images.color import luminance
from nst_rt.images.io import resize, resize_to
from nst_rt.losses import PerceptualLoss
from nst_rt.optimization.presets import CONTENT_LAYERS, STYLE_LAYERS

PHOTO_SIZE = 256
PAINTING_SIZE = 512


def quality_photo(photo: Tensor) -> Tensor:
    """A photo as the quality objective has it: its central square, at 256 px.

    Args:
        photo: shape (1, 3, H, W), RGB in [0, 1].

    Returns:
        Shape (1, 3, 256, 256).
    """
    side = min(photo.shape[-2:])
    return resize_to(center_crop(photo, [side, side]), (PHOTO_SIZE, PHOTO_SIZE))


class QualityObjective:
    """How far an image is from a photo's content in a painting's style; less is better.

    One objective for every network, whatever it was trained with: 10 x style + content, where style
    is the mean over relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1 of VGG19 of MSE(Gram) over
    mean(target Gram^2), content the MSE at relu4_2 over mean(target^2), and total variation does
    not count. Published figures are of photos as `quality_photo` makes them.

    Args:
        painting: shape (1, 3, H, W), RGB in [0, 1]; it is resized to 512 px on its long side.
        device: by default a GPU where there is one, else the CPU. Where it multiplies bfloat16 in
            hardware, that is used; the objective differs from float32's by 0.2 % (measured).
    """

    def __init__(self, painting: Tensor, *, device: torch.device | str | None = None) -> None:
        self._device = torch_device(device)
        self._loss = PerceptualLoss(
            content_layers=CONTENT_LAYERS,
            style_layers=STYLE_LAYERS,
            content_weight=1.0,
            style_weight=10.0,
            tv_weight=0.0,
            device=self._device,
        )
        self._style = self._loss.style_target(resize(painting, PAINTING_SIZE).to(self._device))

    @torch.no_grad()
    def __call__(self, image: Tensor, photo: Tensor) -> float:
        """The objective of an image.

        Args:
            image: shape (1, 3, H, W), RGB in [0, 1].
            photo: same shape.
        """
        content = self._loss.content_target(photo.to(self._device))
        return float(self._loss(image.to(self._device), content, self._style).total)

    @torch.no_grad()
    def style(self, image: Tensor) -> float:
        """The style part of an image's objective alone, not weighted; for images of any size."""
        image = image.to(self._device)
        losses = self._loss(image, self._loss.content_target(image), self._style)
        return float(losses.style)


def roughness(image: Tensor) -> float:
    """Root mean square of the luma's high frequencies: what a Gaussian of 1 px takes away.

    Args:
        image: shape (1, 3, H, W), RGB in [0, 1].
    """
    luma = luminance(image)
    return float((luma - gaussian_blur(luma, [7, 7], [1.0, 1.0])).square().mean().sqrt())


def noise_figure(image: Tensor, style: Tensor) -> float:
    """Roughness of a pastiche against its painting's, both at the size that they are looked at.

    1: as rough as the painting; far above, noise; far below, blur.

    Args:
        image: shape (1, 3, H, W), RGB in [0, 1].
        style: likewise, scaled to the same long side.

    Returns:
        The ratio; infinite for a style without any detail.
    """
    painting = roughness(style)
    return roughness(image) / painting if painting else torch.inf
