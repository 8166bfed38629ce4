"""The style model: a trained network, the names of its styles, and the file that holds them.

The format is safetensors: float16 weights plus string metadata. Loading never runs code from the
file.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from nst_rt.errors import InputError, StyleModelError, UnknownNameError
from nst_rt.files import atomic_output, check_input, check_output
from nst_rt.models.transformer import ARCHITECTURES, TransformerNet
from nst_rt.version import __version__

FORMAT_VERSION = 4  # the one that is read and written
SUFFIX = ".safetensors"
BY_STYLE = "by_style"  # in the record of a training


@dataclass(frozen=True)
class Style:
    """A style's name and the artwork that it was learned from.

    Attributes:
        name: by which it is chosen.
        title, artist, year, license: of the artwork.
        fingerprint: of the artwork, see `nst_rt.metrics.fingerprint`.
        preview: a small WebP of what the style looks like, in base64.
    """

    name: str
    title: str = ""
    artist: str = ""
    year: str = ""
    license: str = ""
    fingerprint: tuple[float, ...] = ()
    preview: str = ""

    def __post_init__(self) -> None:
        # JSON knows no tuples.
        object.__setattr__(self, "fingerprint", tuple(self.fingerprint))


@dataclass(frozen=True)
class StyleModel:
    """A network and what it was trained to paint.

    Attributes:
        network: float32, in evaluation mode.
        styles: in the order of the network's affine pairs.
        training: how it was trained: steps, weights of the losses, number of photos by source,
            losses reached, `earlier` trainings; JSON values only. Where the styles were trained
            apart, under `by_style`.
    """

    network: TransformerNet
    styles: tuple[Style, ...]
    training: Mapping[str, Any] = field(default_factory=dict)

    @property
    def style_names(self) -> list[str]:
        """Names of the styles, in order."""
        return [style.name for style in self.styles]

    @property
    def parameters(self) -> int:
        """How many weights the network has."""
        return sum(weight.numel() for weight in self.network.parameters())

    def record(self, style: str) -> Mapping[str, Any]:
        """How a style was trained; that of all styles where they were trained together."""
        record: Mapping[str, Any] = self.training.get(BY_STYLE, {}).get(style, self.training)
        return record

    def history(self, style: str) -> list[dict[str, Any]]:
        """The trainings that led to a style, the first one first."""
        record = dict(self.record(style))
        earlier = record.pop("earlier", [])
        own = {k: v for k, v in record.items() if k not in ("figures", "sources")}
        return [*earlier, own] if own else earlier

    def style_weights(self, styles: str | Mapping[str, float]) -> Tensor:
        """Convex weights over the styles.

        Args:
            styles: one name, or names with weights, which are normalized to a sum of 1.

        Returns:
            Shape (1, S), float32.

        Raises:
            UnknownNameError: a name that the model does not have.
            InputError: weights that are negative, or all zero.
        """
        parts = normalized_weights({styles: 1.0} if isinstance(styles, str) else styles)
        weights = torch.zeros(1, len(self.styles))
        for name, weight in parts.items():
            if name not in self.style_names:
                raise UnknownNameError("style", name, self.style_names)
            weights[0, self.style_names.index(name)] = weight
        return weights

    def save(self, path: Path | str, *, overwrite: bool = False) -> Path:
        """Write the model file; it appears only when it is complete.

        Raises:
            OutputExistsError: it exists and `overwrite` is False.
            InputError: the folder does not exist.
        """
        path = check_output(path, overwrite=overwrite)
        metadata = {
            "format_version": str(FORMAT_VERSION),
            "nst_rt_version": __version__,
            "architecture": self.network.architecture,
            "hyper_parameters": json.dumps(self.network.hyper_parameters),
            "shared": json.dumps(self.network.shared),
            "styles": json.dumps([asdict(style) for style in self.styles]),
            "training": json.dumps(dict(self.training)),
        }
        # safetensors refuses channels_last.
        tensors = {k: v.half().contiguous() for k, v in self.network.state_dict().items()}
        with atomic_output(path) as temporary:
            temporary.write_bytes(save(tensors, metadata))
        return path

    @classmethod
    def load(cls, path: Path | str) -> "StyleModel":
        """Read a model file.

        Raises:
            InputError: no such file.
            StyleModelError: not a style model, a newer format, or weights that do not fit.
        """
        path = check_input(path)
        metadata, tensors = _read(path)
        styles = _styles(path, metadata)
        architecture = metadata["architecture"]
        if architecture not in ARCHITECTURES:
            raise StyleModelError(
                f"{path}: unknown architecture {architecture!r}; known are "
                f"{', '.join(ARCHITECTURES)}"
            )
        try:
            hyper_parameters = json.loads(metadata["hyper_parameters"])
            shared = bool(json.loads(metadata["shared"]))
            network = TransformerNet(architecture, len(styles), shared=shared, **hyper_parameters)
            training = json.loads(metadata["training"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise StyleModelError(f"{path}: damaged metadata ({error!r})") from error
        _check_weights(path, network.state_dict(), tensors)
        network.load_state_dict({key: tensor.float() for key, tensor in tensors.items()})
        return cls(network.eval().requires_grad_(False), styles, training)


def _read(path: Path, *, weights: bool = True) -> tuple[dict[str, str], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys() if weights}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise StyleModelError(
            f"{path}: not a style model ({error}); nst-rt train makes one"
        ) from error
    version = metadata.get("format_version", "")
    if not version.isdecimal() or "architecture" not in metadata:
        raise StyleModelError(f"{path}: a safetensors file, but not a style model of nst-rt")
    if int(version) != FORMAT_VERSION:
        raise StyleModelError(
            f"{path}: model format {version}, written by nst-rt {metadata.get('nst_rt_version')}; "
            f"this version reads format {FORMAT_VERSION}"
        )
    return metadata, tensors


def _styles(path: Path, metadata: Mapping[str, str]) -> tuple[Style, ...]:
    try:
        styles = tuple(Style(**style) for style in json.loads(metadata["styles"]))
    except (KeyError, TypeError, ValueError) as error:
        raise StyleModelError(f"{path}: damaged list of styles ({error!r})") from error
    if not styles:
        raise StyleModelError(f"{path}: a style model without styles")
    return styles


def _check_weights(path: Path, wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    for key in sorted(wanted.keys() | found.keys()):
        if key not in found:
            raise StyleModelError(f"{path}: the weights {key!r} are missing")
        if key not in wanted:
            raise StyleModelError(f"{path}: unknown weights {key!r}")
        if found[key].shape != wanted[key].shape:
            raise StyleModelError(
                f"{path}: the weights {key!r} have shape {tuple(found[key].shape)}, not "
                f"{tuple(wanted[key].shape)}"
            )


def gallery() -> dict[str, Path]:
    """Styles that ship with the toolkit: name -> the model file that holds it."""
    styles = {}
    folder = Path(str(resources.files("nst_rt.checkpoints")))
    # First the network for live pictures: who chooses nothing gets what comes first.
    for file in sorted(folder.glob(f"*{SUFFIX}"), key=lambda file: (file.stem != "gallery", file)):
        metadata, _ = _read(file, weights=False)
        styles.update({style.name: file for style in _styles(file, metadata)})
    return styles


def find_style(name: str) -> tuple[StyleModel, str]:
    """Load the model that holds a style.

    Args:
        name: a style of the gallery; a model file, for its first style; or FILE:NAME.

    Returns:
        The model and the style's name in it.

    Raises:
        UnknownNameError: no such style.
        InputError: no such file.
        StyleModelError: a file that is not a style model.
    """
    [(model, style)] = find_styles([name]).values()
    return model, style


def find_styles(names: Iterable[str]) -> dict[str, tuple[StyleModel, str]]:
    """Load the models that hold some styles, each file once.

    Args:
        names: each as `find_style` takes it.

    Returns:
        For each name the model, and the style's name in it.

    Raises:
        UnknownNameError, InputError, StyleModelError: see `find_style`.
    """
    places = {name: _place(name) for name in names}
    models = {file.resolve(): file for file, _ in places.values()}
    loaded = {real: StyleModel.load(file) for real, file in models.items()}
    found = {}
    for name, (file, style) in places.items():
        model = loaded[file.resolve()]
        style = model.styles[0].name if style is None else style
        model.style_weights(style)  # which knows the names
        found[name] = model, style
    return found


def normalized_weights(weights: Mapping[str, float]) -> dict[str, float]:
    """Weights of a blend, with a sum of 1.

    Raises:
        InputError: weights that are negative, or all zero.
    """
    for name, weight in weights.items():
        if not 0 <= weight < float("inf"):
            raise InputError(f"the weight of style {name!r} must be 0 or more, not {weight}")
    total = sum(weights.values())
    if not total > 0:
        raise InputError("the weights of a blend of styles must not all be 0")
    return {name: weight / total for name, weight in weights.items()}


def _place(name: str) -> tuple[Path, str | None]:
    """The file that holds a style, and its name in there; None for the first one."""
    file, separator, style = name.rpartition(f"{SUFFIX}:")
    if separator:
        return check_input(f"{file}{SUFFIX}"), style
    if name.endswith(SUFFIX) or Path(name).is_file():
        return check_input(name), None
    known = gallery()
    if name not in known:
        raise UnknownNameError("style", name, known)
    return known[name], name
