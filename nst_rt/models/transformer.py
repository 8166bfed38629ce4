"""Transformer networks: stylize an image in one forward pass, with N styles in one network.

`classic` is the network of Johnson et al. 2016; `fast` does nearly all of its work at a quarter of
the resolution. Both take the style as convex weights over their N styles.
"""

from collections.abc import Mapping
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from nst_rt.errors import InputError, UnknownNameError
from nst_rt.models.layers import BlurredConv2d, ConvNorm, Enlarge, ResidualBlock, surrounded

Architecture = Literal["fast", "classic"]
ARCHITECTURES: tuple[Architecture, ...] = get_args(Architecture)

MINIMUM_SIZE = 16  # minimum side of an image, pixels
MULTIPLE = 4  # the networks halve sides twice, so images are padded to multiples of this


class FastNet(nn.Module):
    """Residual blocks at a quarter of the resolution, between pixel-unshuffle and pixel-shuffle.

    The layers after the blocks enlarge, but are computed at a quarter of the resolution, too.

    Attributes:
        reach: receptive field: maximum distance, in pixels, from an output pixel to an input pixel
            that it depends on, apart from the normalizations, which depend on the whole image.
        activations: number of values per image pixel that are in memory at the same time.

    Args:
        styles: number of styles.
        trunk: number of channels of the residual blocks.
        decoder: number of channels at half resolution.
        blocks: number of residual blocks.
        dilation: dilation of the first convolution in each block.
    """

    def __init__(
        self, styles: int, *, trunk: int = 32, decoder: int = 16, blocks: int = 5, dilation: int = 2
    ) -> None:
        super().__init__()
        self.hyper_parameters = {
            "trunk": trunk,
            "decoder": decoder,
            "blocks": blocks,
            "dilation": dilation,
        }
        self.reach = 4 * (blocks * (dilation + 1) + 4)
        self.activations = trunk
        self.encode = ConvNorm(48, trunk, 3, styles)
        self.blocks = nn.ModuleList(
            ResidualBlock(trunk, styles, dilation=dilation) for _ in range(blocks)
        )
        self.decode = Enlarge(trunk, decoder, styles)
        self.to_image = BlurredConv2d(decoder, 12, phases=4)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Logits (N, 3, H, W) of the stylized `x`; H and W are multiples of `MULTIPLE`."""
        x = self.encode(F.pixel_unshuffle(x, MULTIPLE), style)
        for block in self.blocks:
            x = block(x, style)
        return F.pixel_shuffle(self.to_image(surrounded(self.decode(x, style))), MULTIPLE)

    def reverse_channels(self) -> None:
        """Make the network one for BGR images, in place, by reordering its outer weights."""
        _reverse_channels(self.encode.conv, self.to_image)


class ClassicNet(nn.Module):
    """The network of Johnson et al. 2016, with upsampling + convolution instead of deconvolution.

    Attributes:
        reach, activations: see `FastNet`.
    """

    def __init__(self, styles: int, *, width: int = 32, blocks: int = 5) -> None:
        super().__init__()
        self.hyper_parameters = {"width": width, "blocks": blocks}
        self.reach = 8 * blocks + 20
        self.activations = 8 * width
        w = width
        self.first = ConvNorm(3, w, 9, styles)
        self.encode = nn.ModuleList(
            [ConvNorm(w, 2 * w, 3, styles, stride=2), ConvNorm(2 * w, 4 * w, 3, styles, stride=2)]
        )
        self.blocks = nn.ModuleList(ResidualBlock(4 * w, styles) for _ in range(blocks))
        self.decode = nn.ModuleList(
            [ConvNorm(4 * w, 2 * w, 3, styles), ConvNorm(2 * w, w, 3, styles)]
        )
        self.to_image = nn.Conv2d(w, 3, 9, padding=4, padding_mode="reflect")

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Logits (N, 3, H, W) of the stylized `x`; H and W are multiples of `MULTIPLE`."""
        for layer in [self.first, *self.encode, *self.blocks]:
            x = layer(x, style)
        for layer in self.decode:
            x = layer(F.interpolate(x, scale_factor=2, mode="nearest"), style)
        logits: Tensor = self.to_image(x)
        return logits

    def reverse_channels(self) -> None:
        """Make the network one for BGR images, in place, by reordering its outer weights."""
        _reverse_channels(self.first.conv, self.to_image)


class TransformerNet(nn.Module):
    """An image transformer network for N styles.

    Either the styles share all weights but the affine pairs of the norms (Dumoulin et al. 2017), or
    each style has all weights of its own, in a leading dimension. A blend is then one pass with
    interpolated weights, as fast as a single style; it looks like a blend if the styles were
    trained from the same network (Wang et al. 2019, "Deep network interpolation").

    Args:
        architecture: `fast` or `classic`.
        styles: number of styles.
        shared: whether the styles share weights.
        **hyper_parameters: of `FastNet` (`trunk`, `decoder`, `blocks`, `dilation`) or of
            `ClassicNet` (`width`, `blocks`).

    Raises:
        UnknownNameError: unknown architecture.
    """

    def __init__(
        self,
        architecture: Architecture = "fast",
        styles: int = 1,
        *,
        shared: bool = True,
        **hyper_parameters: int,
    ) -> None:
        super().__init__()
        if architecture not in ARCHITECTURES:
            raise UnknownNameError("architecture", architecture, ARCHITECTURES)
        self.architecture = architecture
        self.styles = styles
        self.shared = shared
        self._is_channels_last = False
        kind = FastNet if architecture == "fast" else ClassicNet
        self.net: FastNet | ClassicNet = kind(styles if shared else 1, **hyper_parameters)
        if not shared:
            self.replace_weights(
                {name: torch.stack([w] * styles) for name, w in self.net.state_dict().items()}
            )

    @property
    def hyper_parameters(self) -> dict[str, int]:
        """All hyper-parameters, defaults included: files must not depend on later defaults."""
        return self.net.hyper_parameters

    @property
    def kind(self) -> tuple[object, ...]:
        """What two networks must have in common to run on the same compiled one."""
        return type(self), self.architecture, *sorted(self.hyper_parameters.items())

    def forward(self, image: Tensor, style: Tensor) -> Tensor:
        """Stylize images.

        Args:
            image: shape (N, 3, H, W), RGB in [0, 1]; any H and W of at least 16.
            style: convex weights over the network's S styles, shape (N, S), or (1, S) for all.

        Returns:
            Stylized images, shape (N, 3, H, W), RGB in [0, 1].

        Raises:
            InputError: an image with a side of less than 16 px.
        """
        h, w = image.shape[-2:]
        if min(h, w) < MINIMUM_SIZE:
            raise InputError(
                f"an image of {w}x{h} px is too small: minimum {MINIMUM_SIZE} px a side"
            )
        padding = (0, -w % MULTIPLE, 0, -h % MULTIPLE)
        x = F.pad(image, padding, mode="reflect")
        x = self.net(x, style) if self.shared else self._blended(x, style)
        return torch.sigmoid(x[..., :h, :w])

    def _blended(self, x: Tensor, style: Tensor) -> Tensor:
        """Logits of the network with the styles' weights blended, for each image by itself."""
        if style.shape[0] > 1:
            each = (slice(i, i + 1) for i in range(style.shape[0]))
            return torch.cat([self._blended(x[one], style[one]) for one in each])
        weights = {
            name: (style @ each.flatten(1)).view(each.shape[1:])
            for name, each in self.net.named_parameters()
        }
        if self._is_channels_last:
            weights = {name: _channels_last(each) for name, each in weights.items()}
        logits: Tensor = functional_call(self.net, weights, (x, torch.ones_like(style[:, :1])))
        return logits

    def use_channels_last(self) -> None:
        """Convert the convolutions, in place, to PyTorch's fastest memory layout."""
        self._is_channels_last = True
        for weights in self.parameters():
            weights.data = _channels_last(weights.data)

    def replace_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Replace all parameters of `net`; the new ones may have other shapes."""
        for name, value in weights.items():
            module, _, own = name.rpartition(".")
            old = self.net.get_parameter(name)
            new = nn.Parameter(value.detach(), requires_grad=old.requires_grad)
            setattr(self.net.get_submodule(module), own, new)


def is_affine(name: str) -> bool:
    """Whether the weight of that name belongs to an affine pair, which styles do not share."""
    return name.endswith((".norm.scale", ".norm.shift"))


def _channels_last(weights: Tensor) -> Tensor:
    is_kernel = weights.ndim == 4
    return weights.contiguous(memory_format=torch.channels_last) if is_kernel else weights


@torch.no_grad()
def _reverse_channels(first: nn.Conv2d, last: nn.Conv2d) -> None:
    """Reverse the order of the three groups of weights, one for each color channel."""
    assert last.bias is not None
    for weights, dim in ((first.weight, -3), (last.weight, -4), (last.bias, -1)):
        axis = dim % weights.ndim  # styles may be a leading dimension
        groups = weights.unflatten(axis, (3, -1))  # type: ignore[no-untyped-call]
        weights.copy_(groups.flip(axis).flatten(axis, axis + 1))
