"""Layers of the transformer networks: conditional normalization, enlargement at low resolution."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_EPSILON = 1e-5  # added to variances, as PyTorch's norms do


class ConditionalInstanceNorm(nn.Module):
    """Instance normalization with one affine pair per style (Dumoulin et al. 2017, eq. 5).

    Args:
        channels: number of channels, after a pixel-shuffle of the phases.
        styles: number of styles.
        phases: number of consecutive input channels that `F.pixel_shuffle` makes one channel of.
        shift: whether the affine pairs have a shift, or only a scale.
    """

    def __init__(self, channels: int, styles: int, *, phases: int = 1, shift: bool = True) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(styles, channels))
        self.shift = nn.Parameter(torch.zeros(styles, channels)) if shift else None
        self.phases = phases
        # Mean and variance to use instead of those of `x`, if `x` is a tile of a larger image.
        self.moments: tuple[Tensor, Tensor] | None = None

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Normalize `x` (N, C * phases, H, W); apply the pairs blended by `style` (N or 1, S)."""
        if self.moments is not None:
            mean, variance = (m.repeat_interleave(self.phases) for m in self.moments)
            x = F.batch_norm(x, mean, variance)
        elif self.phases > 1:
            x = self._normalized_together(x)
        else:  # an instance norm in the form for which OpenVINO has a single kernel
            x = F.layer_norm(x, x.shape[2:])
        x = x * self._blended(self.scale, style, x)
        return x if self.shift is None else x + self._blended(self.shift, style, x)

    def _blended(self, values: Tensor, style: Tensor, x: Tensor) -> Tensor:
        """Scales or shifts blended by `style`, in a shape that broadcasts with `x`."""
        return (style @ values).repeat_interleave(self.phases, 1)[:, :, None, None].to(x.dtype)

    def _normalized_together(self, x: Tensor) -> Tensor:
        """Normalize by the deviation over all phases of a channel, without pixel-shuffling them.

        The means of the phases differ only by borders and rounding, but subtracting a common mean
        would leave a visible pattern in even areas. So each phase is centered by its own mean.
        """
        variances, means = torch.var_mean(x, (2, 3), correction=0)
        variance = variances.view(x.shape[0], -1, self.phases).mean(2)
        deviation = (variance + _EPSILON).sqrt().repeat_interleave(self.phases, 1)
        return (x - means[:, :, None, None]) / deviation[:, :, None, None]


class ConvNorm(nn.Module):
    """Convolution, conditional instance norm and, unless `relu` is False, a rectifier.

    Without a rectifier the norm has no shift: only sums and convolutions follow before the next
    norms, which would subtract it again.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        styles: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        relu: bool = True,
    ) -> None:
        super().__init__()
        # No bias: the normalization would subtract it again.
        self.conv = nn.Conv2d(
            inputs,
            outputs,
            kernel,
            stride,
            dilation * (kernel // 2),
            dilation,
            bias=False,
            padding_mode="reflect",
        )
        self.norm = ConditionalInstanceNorm(outputs, styles, shift=relu)
        self.relu = relu

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Shape (N, `inputs`, H, W) to (N, `outputs`, H / stride, W / stride)."""
        x = self.norm(self.conv(x), style)
        return F.relu(x) if self.relu else x


class ResidualBlock(nn.Module):
    """Two convolutions plus the identity, without a final rectifier (Gross & Wilber 2016)."""

    def __init__(self, channels: int, styles: int, *, dilation: int = 1) -> None:
        super().__init__()
        self.first = ConvNorm(channels, channels, 3, styles, dilation=dilation)
        self.second = ConvNorm(channels, channels, 3, styles, relu=False)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Keeps the shape (N, `channels`, H, W)."""
        residual: Tensor = self.second(self.first(x, style), style)
        return x + residual


class SubPixelConv2d(nn.Conv2d):
    """Enlargements and a convolution, computed as one low-resolution convolution (Shi et al. 2016).

    `enlarged` defines the operation, which must be affine, shift-invariant up to the borders, and
    look no farther than one pixel. Its responses to unit impulses are the weights of the equivalent
    convolution.

    Args:
        inputs, outputs: channels of the high-resolution convolution.
        phases: number of channels of the input that a pixel-shuffle makes one channel of.
    """

    def __init__(self, inputs: int, outputs: int, *, phases: int = 1, bias: bool = True) -> None:
        super().__init__(inputs, outputs, 3, padding=1, bias=bias)
        self.phases = phases

    def enlarged(self, x: Tensor) -> Tensor:
        """The operation from (N, C, H, W) to (N, D, H, W): enlarged, then pixel-unshuffled."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """`enlarged(x)` without the border; `x` is padded by one pixel on each side."""
        return F.conv2d(x, *self._one_convolution())

    def folded(self) -> nn.Conv2d:
        """The equivalent convolution, for a network that is not trained further."""
        weight, bias = self._one_convolution()
        with torch.device("meta"):  # without initializing weights that are replaced
            conv = nn.Conv2d(weight.shape[1], weight.shape[0], 3)
        conv.load_state_dict({"weight": weight, "bias": bias}, assign=True)
        return conv.requires_grad_(False)

    def _one_convolution(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of the equivalent convolution."""
        impulses = torch.eye(self.in_channels * self.phases).to(self.weight)[:, :, None, None]
        impulses = F.pad(impulses, (2, 2, 2, 2))
        responses = self.enlarged(torch.cat([torch.zeros_like(impulses[:1]), impulses]))
        weight = (responses[1:] - responses[:1])[..., 1:4, 1:4].flip(2, 3).transpose(0, 1)
        return weight, responses[0, :, 2, 2]


class BilinearConv2d(SubPixelConv2d):
    """A bilinear enlargement by two, then a convolution."""

    def enlarged(self, x: Tensor) -> Tensor:
        """From shape (N, C, H, W) to (N, D * 4, H, W)."""
        x = F.interpolate(x, scale_factor=2, mode="bilinear")
        return F.pixel_unshuffle(F.conv2d(x, self.weight, self.bias, padding=1), 2)


class BlurredConv2d(SubPixelConv2d):
    """A pixel-shuffle by two, a convolution, another pixel-shuffle and a binomial blur.

    The blur prevents checkerboard and hatching artifacts.
    """

    def enlarged(self, x: Tensor) -> Tensor:
        """From shape (N, C * 4, H, W) to (N, D * 4, H, W)."""
        x = F.conv2d(F.pixel_shuffle(x, 2), self.weight, self.bias, padding=1)
        x = F.pixel_shuffle(x, 2)
        row = torch.tensor([1.0, 2.0, 1.0]).to(x) / 4
        blur = torch.outer(row, row).expand(x.shape[1], 1, 3, 3)
        return F.pixel_unshuffle(F.conv2d(x, blur, padding=1, groups=x.shape[1]), 4)


class Enlarge(nn.Module):
    """Bilinear enlargement by two, a convolution, conditional instance norm and a rectifier."""

    def __init__(self, inputs: int, outputs: int, styles: int) -> None:
        super().__init__()
        self.conv = BilinearConv2d(inputs, outputs, bias=False)
        self.norm = ConditionalInstanceNorm(outputs, styles, phases=4)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Shape (N, `inputs`, H, W) to (N, `outputs` * 4, H, W), for a pixel-shuffle by two."""
        x = self.conv(F.pad(x, (1, 1, 1, 1), mode="reflect"))
        return F.relu(self.norm(x, style))


def surrounded(x: Tensor) -> Tensor:
    """Replicate padding by one pixel; OpenVINO runs F.pad's as a slow gather."""
    x = torch.cat([x[:, :, :1], x, x[:, :, -1:]], 2)
    return torch.cat([x[..., :1], x, x[..., -1:]], 3)
