"""Style models: a trained network and its styles, the file format, and the gallery that ships.

The format is safetensors: float16 weights and string metadata. Loading never runs code from a file.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from textwrap import shorten
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from nst_rt.errors import InputError, StyleModelError, UnknownNameError
from nst_rt.files import atomic_output, check_input, check_output
from nst_rt.images.pillow import SIGNATURE_SIZE, is_photo
from nst_rt.models.transformer import ARCHITECTURES, Architecture, TransformerNet
from nst_rt.version import __version__

FORMAT_VERSION = 4
SUFFIX = ".safetensors"
BY_STYLE = "by_style"  # key of the training records of styles that were trained separately

# Hyper-parameters beyond these are no network of ours: the largest have a tenth of them.
_MOST = {"trunk": 2048, "decoder": 2048, "width": 1024, "blocks": 100, "dilation": 64}
_MOST_STYLES = 10_000
_SEPARATORS = re.compile(r"[/\\]")  # of any platform: files are passed on
# C0, DEL and C1; line and paragraph separators; directions of writing, which reorder a line; and
# surrogates, which cannot be printed.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True)
class Style:
    """A trained style and the artwork that it was trained on.

    Attributes:
        name: unique name in its model.
        title, artist, year, license: facts about the artwork.
        fingerprint: fingerprint of the artwork, see `nst_rt.metrics.fingerprint`.
        preview: small WebP of a stylized image, in base64.

    Raises:
        InputError: a name that is empty or a path, or a control character in a name or a fact.
    """

    name: str
    title: str = ""
    artist: str = ""
    year: str = ""
    license: str = ""
    fingerprint: tuple[float, ...] = ()
    preview: str = ""

    def __post_init__(self) -> None:
        # JSON has lists, not tuples.
        object.__setattr__(self, "fingerprint", tuple(self.fingerprint))
        if not self.name or _SEPARATORS.search(self.name):  # names become parts of file names
            raise InputError(f"a style cannot have the name {self.name!r}")
        for text in (self.name, self.title, self.artist, self.year, self.license):
            if _CONTROLS.search(text):  # terminals would obey them
                raise InputError(f"the text {text!r} about a style has control characters")


@dataclass(frozen=True, eq=False)
class StyleModel:
    """A trained network with its styles.

    Attributes:
        network: the network, float32, in evaluation mode.
        styles: one for each style of the network, in its order.
        training: training record, JSON values only: steps, loss weights, number of photos by
            source, final losses, `earlier` trainings. Styles that were trained separately have
            their records under `by_style`.
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
        """Number of weights of the network."""
        return sum(weight.numel() for weight in self.network.parameters())

    def record(self, style: str) -> Mapping[str, Any]:
        """Training record of a style; all styles have the same if they were trained together."""
        record: Mapping[str, Any] = self.training.get(BY_STYLE, {}).get(style, self.training)
        return record

    def history(self, style: str) -> list[dict[str, Any]]:
        """All trainings of a style, in chronological order."""
        record = dict(self.record(style))
        earlier = record.pop("earlier", [])
        own = {k: v for k, v in record.items() if k not in ("figures", "sources")}
        return [*earlier, own] if own else earlier

    def style_vector(self, styles: str | Mapping[str, float]) -> Tensor:
        """Convex weights over the model's styles.

        Args:
            styles: a name, or names with weights, which are normalized to a sum of 1.

        Returns:
            Shape (1, S), float32.

        Raises:
            UnknownNameError: the model does not have the style.
            InputError: weights that are negative, or all 0.
        """
        blend = normalized_weights({styles: 1.0} if isinstance(styles, str) else styles)
        weights = torch.zeros(1, len(self.styles))
        for name, weight in blend.items():
            if name not in self.style_names:
                raise UnknownNameError("style", name, self.style_names)
            weights[0, self.style_names.index(name)] = weight
        return weights

    def save(self, path: Path | str, *, overwrite: bool = False) -> Path:
        """Write the model file; it appears only when it is complete.

        Raises:
            OutputExistsError: the file exists and `overwrite` is False.
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
            StyleModelError: not a style model, another format version, or weights that do not fit
                or are not finite.
        """
        path = check_input(path)
        metadata, tensors = _read(path)
        styles = _styles(path, metadata)
        architecture = metadata["architecture"]
        if architecture not in ARCHITECTURES:
            raise StyleModelError(
                f"{path}: unknown architecture {shorten(repr(architecture), 60)}; known are "
                f"{', '.join(ARCHITECTURES)}"
            )
        try:
            hyper_parameters = json.loads(metadata["hyper_parameters"])
            _check_hyper_parameters(hyper_parameters)
            shared = bool(json.loads(metadata["shared"]))
            training = _checked_training(json.loads(metadata["training"]))
            shapes = _shapes(architecture, len(styles), shared, hyper_parameters)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise StyleModelError(f"{path}: damaged metadata ({_shortened(error)})") from error
        _check_weights(path, shapes, tensors)
        network = TransformerNet(architecture, len(styles), shared=shared, **hyper_parameters)
        network.load_state_dict({key: tensor.float() for key, tensor in tensors.items()})
        return cls(network.eval().requires_grad_(False), styles, training)


OneStyle = str | Path | StyleModel
"""A style of the gallery, a model file (for its first style), FILE:NAME, or a loaded model."""
_Source = TypeVar("_Source", bound=OneStyle)


def list_styles() -> dict[str, Style]:
    """Styles of the gallery, the models that ship with the toolkit, by name."""
    return {style.name: style for _, styles in _gallery() for style in styles}


def gallery_files() -> dict[str, Path]:
    """Model files of the gallery by the names of the styles in them."""
    return {style.name: file for file, styles in _gallery() for style in styles}


def find_style(style: OneStyle) -> tuple[StyleModel, str]:
    """Load the model that has a style.

    Returns:
        The model and the name of the style in it.

    Raises:
        UnknownNameError: no such style.
        InputError: no such file.
        StyleModelError: the file is not a style model.
    """
    [found] = find_styles([style]).values()
    return found


def find_styles(styles: Iterable[_Source]) -> dict[_Source, tuple[StyleModel, str]]:
    """Load the models that have some styles; each file is loaded once.

    Returns:
        For each of `styles`, the model and the name of the style in it.

    Raises:
        UnknownNameError, InputError, StyleModelError: see `find_style`.
    """
    gallery = cache(gallery_files)  # read once, and only if a name needs it
    loaded: dict[Path, StyleModel] = {}
    found: dict[_Source, tuple[StyleModel, str]] = {}
    for source in styles:
        if isinstance(source, StyleModel):
            found[source] = source, source.styles[0].name
            continue
        file, name = _place(source, gallery)
        if file.resolve() not in loaded:
            loaded[file.resolve()] = StyleModel.load(file)
        model = loaded[file.resolve()]
        name = model.styles[0].name if name is None else name
        model.style_vector(name)  # raises if the name is unknown
        found[source] = model, name
    return found


def normalized_weights(weights: Mapping[str, float]) -> dict[str, float]:
    """Weights of a blend of styles, normalized to a sum of 1.

    Raises:
        InputError: weights that are negative, or all 0.
    """
    for name, weight in weights.items():
        if not 0 <= weight < float("inf"):
            raise InputError(f"the weight of style {name!r} must be 0 or more, not {weight}")
    total = sum(weights.values())
    if not total > 0:
        raise InputError("the weights of a blend must not all be 0")
    return {name: weight / total for name, weight in weights.items()}


def _read(path: Path, *, weights: bool = True) -> tuple[dict[str, str], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys() if weights}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        if _is_image(path):
            raise StyleModelError(
                f"{path}: an image, but `style` is a trained model; `style_image` learns the style "
                "of an image"
            ) from error
        # What is no model by its name either is a mistake, and not a damaged file.
        reason = f" ({error})" if path.suffix == SUFFIX else ""
        raise StyleModelError(
            f"{path}: not a style model{reason}; nst-rt styles lists the styles that ship"
        ) from error
    version = metadata.get("format_version", "")
    if not re.fullmatch(r"\d{1,9}", version) or "architecture" not in metadata:
        raise StyleModelError(f"{path}: a safetensors file, but not a style model of nst-rt")
    if int(version) != FORMAT_VERSION:
        writer = shorten(str(metadata.get("nst_rt_version")), 40)
        raise StyleModelError(
            f"{path}: model format {version}, written by nst-rt {writer}; this version reads "
            f"format {FORMAT_VERSION}"
        )
    return metadata, tensors


def _is_image(path: Path) -> bool:
    with path.open("rb") as file:
        return is_photo(file.read(SIGNATURE_SIZE))


def _styles(path: Path, metadata: Mapping[str, str]) -> tuple[Style, ...]:
    try:
        listed = json.loads(metadata["styles"])
        styles = tuple(_style(each) for each in listed[: _MOST_STYLES + 1])
    except (KeyError, TypeError, ValueError, RecursionError, InputError) as error:
        raise StyleModelError(f"{path}: damaged list of styles ({_shortened(error)})") from error
    if not 0 < len(styles) <= _MOST_STYLES:
        raise StyleModelError(f"{path}: a style model has 1 to {_MOST_STYLES} styles")
    if len({style.name for style in styles}) < len(styles):
        raise StyleModelError(f"{path}: damaged list of styles (two have one name)")
    return styles


def _style(facts: Any) -> Style:
    """A style as the file states it.

    Raises:
        TypeError, ValueError: a fact of another type than it must have.
        InputError: see `Style`.
    """
    for name, value in dict(facts).items():
        if name != "fingerprint" and not isinstance(value, str):
            raise TypeError(f"{name} is {type(value).__name__}, not text")
    style = Style(**facts)
    if not all(isinstance(value, int | float) for value in style.fingerprint):
        raise TypeError("fingerprint must be a list of numbers")
    return style


def _check_hyper_parameters(values: Any) -> None:
    """Refuse numbers that only a damaged or malicious file has, before a network is built of them.

    Raises:
        TypeError, ValueError: not such numbers.
    """
    if not isinstance(values, dict):
        raise TypeError("the hyper-parameters must be a dictionary")
    for name, value in values.items():
        most = _MOST.get(name, 0)
        if type(value) is not int or not 1 <= value <= most:
            raise ValueError(f"{name} must be a whole number from 1 to {most}, not {value!r}")


def _shapes(
    architecture: Architecture, styles: int, shared: bool, hyper_parameters: Mapping[str, Any]
) -> dict[str, tuple[int, ...]]:
    """Shapes of the weights of a network, found without memory for them: the file may lie."""
    with torch.device("meta"):
        # With weights for each style it would take seconds to build there.
        network = TransformerNet(architecture, styles if shared else 1, **hyper_parameters)
    leading = () if shared else (styles,)
    return {key: (*leading, *each.shape) for key, each in network.state_dict().items()}


def _checked_training(record: Any) -> dict[str, Any]:
    """The training record, if it has the form that `StyleModel.history` reads.

    Raises:
        TypeError: it has another form.
    """
    by_style = record.get(BY_STYLE, {}) if isinstance(record, dict) else None
    records = [record, *by_style.values()] if isinstance(by_style, dict) else [None]
    for each in records:
        earlier = each.get("earlier", []) if isinstance(each, dict) else None
        if not isinstance(earlier, list) or not all(isinstance(one, dict) for one in earlier):
            raise TypeError("the training record has an unknown form")
    return dict(record)


def _check_weights(
    path: Path, wanted: Mapping[str, tuple[int, ...]], found: Mapping[str, Tensor]
) -> None:
    for key in sorted(wanted.keys() | found.keys()):
        if key not in found:
            raise StyleModelError(f"{path}: missing weights {key!r}")
        if key not in wanted:
            raise StyleModelError(f"{path}: unknown weights {shorten(repr(key), 100)}")
        weights = found[key]
        if weights.shape != wanted[key]:
            raise StyleModelError(
                f"{path}: the weights {key!r} have shape {tuple(weights.shape)}, not {wanted[key]}"
            )
        if weights.dtype not in _DTYPES:
            raise StyleModelError(
                f"{path}: the weights {key!r} have dtype {weights.dtype}, not a floating point one"
            )
        if not weights.float().isfinite().all():
            raise StyleModelError(f"{path}: the weights {key!r} are not finite (NaN or infinite)")


def _shortened(error: Exception) -> str:
    return shorten(repr(error), 200, placeholder=" ...")


def _gallery() -> Iterator[tuple[Path, tuple[Style, ...]]]:
    """Model files that ship and their styles; the default style comes first."""
    folder = Path(str(resources.files("nst_rt.checkpoints")))
    for file in sorted(folder.glob(f"*{SUFFIX}"), key=lambda file: (file.stem != "gallery", file)):
        yield file, _styles(file, _read(file, weights=False)[0])


def _place(style: str | Path, gallery: Callable[[], Mapping[str, Path]]) -> tuple[Path, str | None]:
    """The file that has a style, and its name there; None for the first style of the file."""
    text = str(style)
    file, separator, name = text.rpartition(f"{SUFFIX}:")
    if separator:
        return check_input(f"{file}{SUFFIX}"), name
    if isinstance(style, Path) or text.endswith(SUFFIX) or Path(text).is_file():
        return check_input(text), None
    if text not in gallery():
        raise UnknownNameError("style", text, gallery())
    return gallery()[text], text
