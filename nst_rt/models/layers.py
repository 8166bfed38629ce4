"""Layers of the feed-forward networks: normalization by style, enlargements at low resolution."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_EPSILON = 1e-5  # what the norms of PyTorch add to a variance


class ConditionalInstanceNorm(nn.Module):
    """Instance normalization with one affine pair per style (Dumoulin et al. 2017, eq. 5).

    Args:
        channels, styles: how many.
        phases: channels in a row that hold pixels of one, as `F.pixel_shuffle` takes them.
        shift: whether the pairs have a shift, or are scales alone.
    """

    def __init__(self, channels: int, styles: int, *, phases: int = 1, shift: bool = True) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(styles, channels))
        self.shift = nn.Parameter(torch.zeros(styles, channels)) if shift else None
        self.phases = phases
        # Mean and variance to normalize by instead of those of `x`, which may be a part of a whole.
        self.moments: tuple[Tensor, Tensor] | None = None

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Normalize `x` (N, C * phases, H, W), then apply the mix `style` (N or 1, S) of pairs."""
        if self.moments is not None:
            mean, variance = (m.repeat_interleave(self.phases) for m in self.moments)
            x = F.batch_norm(x, mean, variance)
        elif self.phases > 1:
            x = self._normalized_together(x)
        else:  # an instance norm, in the form that OpenVINO has one kernel for
            x = F.layer_norm(x, x.shape[2:])
        x = x * self._mixed(self.scale, style, x)
        return x if self.shift is None else x + self._mixed(self.shift, style, x)

    def _mixed(self, values: Tensor, style: Tensor, x: Tensor) -> Tensor:
        """The mix of one half of the pairs, in the form that multiplies or is added to `x`."""
        return (style @ values).repeat_interleave(self.phases, 1)[:, :, None, None].to(x.dtype)

    def _normalized_together(self, x: Tensor) -> Tensor:
        """By the deviation of all phases of a channel, without moving them together.

        Their means are the same but at the sides of the image, and but for rounding, which must not
        become a pattern where all is of one color: so each phase loses its own.
        """
        variances, means = torch.var_mean(x, (2, 3), correction=0)
        variance = variances.view(x.shape[0], -1, self.phases).mean(2)
        deviation = (variance + _EPSILON).sqrt().repeat_interleave(self.phases, 1)
        return (x - means[:, :, None, None]) / deviation[:, :, None, None]


class ConvNorm(nn.Module):
    """Convolution, conditional instance norm and, unless `relu` is False, a rectifier.

    Without a rectifier the norm has no shift: nothing but sums and convolutions lies between it and
    later norms, which would subtract it again.
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
    """Two convolutions and the identity; no rectifier after the sum (Gross & Wilber 2016)."""

    def __init__(self, channels: int, styles: int, *, dilation: int = 1) -> None:
        super().__init__()
        self.first = ConvNorm(channels, channels, 3, styles, dilation=dilation)
        self.second = ConvNorm(channels, channels, 3, styles, relu=False)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Keeps the shape (N, `channels`, H, W)."""
        residual: Tensor = self.second(self.first(x, style), style)
        return x + residual


class SubPixelConv2d(nn.Conv2d):
    """A convolution between enlargements, computed as one before all of them (Shi et al. 2016).

    `enlarged` says what it is, and must be affine, the same everywhere but at the sides, and look
    no farther than one pixel. What it answers to impulses, which are few and small, is the weight
    of the one convolution that does the same.

    Args:
        inputs, outputs: channels of the convolution itself.
        phases: channels of the input that a pixel-shuffle makes one of.
    """

    def __init__(self, inputs: int, outputs: int, *, phases: int = 1, bias: bool = True) -> None:
        super().__init__(inputs, outputs, 3, padding=1, bias=bias)
        self.phases = phases

    def enlarged(self, x: Tensor) -> Tensor:
        """From shape (N, C, H, W) to (N, D, H, W), enlarged and pixel-unshuffled again."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """What `enlarged` makes of `x`, which has one pixel more on all sides."""
        return F.conv2d(x, *self._one_convolution())

    def folded(self) -> nn.Conv2d:
        """The one convolution, for a network that is trained no more."""
        weight, bias = self._one_convolution()
        with torch.device("meta"):  # without weights that would be replaced
            conv = nn.Conv2d(weight.shape[1], weight.shape[0], 3)
        conv.load_state_dict({"weight": weight, "bias": bias}, assign=True)
        return conv.requires_grad_(False)

    def _one_convolution(self) -> tuple[Tensor, Tensor]:
        """Its weight and its bias."""
        impulses = torch.eye(self.in_channels * self.phases).to(self.weight)[:, :, None, None]
        impulses = F.pad(impulses, (2, 2, 2, 2))
        answers = self.enlarged(torch.cat([torch.zeros_like(impulses[:1]), impulses]))
        weight = (answers[1:] - answers[:1])[..., 1:4, 1:4].flip(2, 3).transpose(0, 1)
        return weight, answers[0, :, 2, 2]


class BilinearConv2d(SubPixelConv2d):
    """A bilinear enlargement by two and a convolution."""

    def enlarged(self, x: Tensor) -> Tensor:
        """From shape (N, C, H, W) to (N, D * 4, H, W)."""
        x = F.interpolate(x, scale_factor=2, mode="bilinear")
        return F.pixel_unshuffle(F.conv2d(x, self.weight, self.bias, padding=1), 2)


class BlurredConv2d(SubPixelConv2d):
    """A pixel-shuffle by two, a convolution, another pixel-shuffle and a binomial blur.

    The blur keeps checkerboards and hatching away.
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
        """Shape (N, `inputs`, H, W) to (N, `outputs` * 4, H, W), which a pixel-shuffle enlarges."""
        x = self.conv(F.pad(x, (1, 1, 1, 1), mode="reflect"))
        return F.relu(self.norm(x, style))


def surrounded(x: Tensor) -> Tensor:
    """The outermost pixels once more; F.pad does so by indices, at which OpenVINO is slow."""
    x = torch.cat([x[:, :, :1], x, x[:, :, -1:]], 2)
    return torch.cat([x[..., :1], x, x[..., -1:]], 3)
