"""Blends of styles: the styles of any number of models in one set, and the network passes that a
blend of them takes.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, count
from threading import Lock

import numpy as np
import torch

from nst_rt.errors import UnknownNameError
from nst_rt.infer.backends.graph import NetworkWeights, network_weights
from nst_rt.models.merge import with_styles
from nst_rt.models.style_model import Style, StyleModel, normalized_weights
from nst_rt.models.transformer import TransformerNet

# Cosine similarity between the kernels of two networks, above which one was trained from the other
# or both from a third: 0.91 or more between the gallery's styles, 0.18 or less between others.
_RELATED = 0.5

# Held while a set changes, by any thread. It is not one of each set, since sets are sent to other
# machines.
_CHANGING = Lock()


@dataclass(frozen=True)
class Pass:
    """One run of a network.

    Attributes:
        network: a network of one style; only its architecture matters.
        weights: the weights to run it with, shape (P,), see `network_weights`.
        fraction: weight of its output in the result.
        styles: names and fractions of the styles that the weights are interpolated from; equal ones
            give equal outputs.
    """

    network: TransformerNet
    weights: NetworkWeights
    fraction: float = 1.0
    styles: tuple[tuple[str, float], ...] = ()


class _Entry:
    """One style of a model."""

    def __init__(self, model: StyleModel, index: int) -> None:
        self.model = model
        self.style = model.styles[index]
        self._index = index

    @cached_property
    def network(self) -> TransformerNet:
        return with_styles(self.model.network, [self._index]).eval().requires_grad_(False)

    @cached_property
    def weights(self) -> NetworkWeights:
        return network_weights(self.network)

    @cached_property
    def kernels(self) -> torch.Tensor:
        """All kernels as one vector of length 1."""
        kernels = [p.flatten() for p in self.network.parameters() if p.ndim == 4]
        return torch.nn.functional.normalize(torch.cat(kernels), dim=0)

    def is_related(self, other: "_Entry") -> bool:
        """Whether the two can be blended by their weights (Wang et al. 2019)."""
        is_same_kind = self.network.kind == other.network.kind
        return is_same_kind and float(self.kernels @ other.kernels) >= _RELATED


class StyleSet:
    """The styles of any number of models, by name.

    Related styles, whose networks were trained from one another as all in the gallery were, are
    blended by interpolating their weights, at the cost of one network. Unrelated ones are blended
    by mixing their outputs.

    Args:
        models: models whose styles to add, in order.

    Attributes:
        version: number of times that a style got other weights.
    """

    def __init__(self, *models: StyleModel) -> None:
        self.version = 0
        self._entries: dict[str, _Entry] = {}
        for model in models:
            self.add(model)

    def add(self, model: StyleModel, *, skip_known: bool = False) -> dict[str, str]:
        """Add the styles of a model.

        Args:
            model: any style model.
            skip_known: leave out styles whose names are taken; otherwise they get a number.

        Returns:
            Name in the model -> name in this set, of the styles that were added.
        """
        names = {}
        with _CHANGING:
            entries = dict(self._entries)
            for index, style in enumerate(model.styles):
                if skip_known and style.name in entries:
                    continue
                free = _free_name(style.name, entries)
                entries[free], names[style.name] = _Entry(model, index), free
            self._entries = entries  # replaced at once, since other threads may be reading
        return names

    def free_name(self, name: str) -> str:
        """The name that `add` gives to a style of a name: with a number if it is taken."""
        return _free_name(name, self._entries)

    def remove(self, model: StyleModel) -> None:
        """Remove the styles of a model; passes that were made from them stay valid."""
        with _CHANGING:
            entries = self._entries.items()
            self._entries = {name: entry for name, entry in entries if entry.model is not model}

    def replace(self, name: str, model: StyleModel) -> None:
        """Give a style other weights, those of the first style of a model, from the next frame on.

        Any thread may call it; what the first frame would wait for is computed before.

        Raises:
            UnknownNameError: there is no such style.
        """
        self._entry(name)
        entry = _Entry(model, 0)
        _ = entry.weights, entry.kernels
        with _CHANGING:
            self._entries = {**self._entries, name: entry}
            self.version += 1

    def prepare(self) -> None:
        """Compute now what the first use of each style would otherwise wait for."""
        for entry in self._entries.values():
            _ = entry.weights, entry.kernels

    @property
    def styles(self) -> dict[str, Style]:
        """All styles by name, in order."""
        return {name: entry.style for name, entry in self._entries.items()}

    @property
    def names(self) -> list[str]:
        """Names of all styles, in order."""
        return list(self._entries)

    def models(self, names: Collection[str]) -> tuple[StyleModel, ...]:
        """The models of some styles; in a set of these alone, the styles have the same names."""
        entries = (entry for name, entry in self._entries.items() if name in names)
        return tuple(dict.fromkeys(entry.model for entry in entries))

    @property
    def titles(self) -> dict[str, str]:
        """Name -> a title that no earlier style has, as two networks may have one style image."""
        titles: dict[str, str] = {}
        for name, entry in self._entries.items():
            title = entry.style.title
            is_free = title and title not in titles.values()
            titles[name] = title if is_free else title_of(name)
        return titles

    def passes(self, style: str | Sequence[str] | Mapping[str, float]) -> tuple[Pass, ...]:
        """The passes that a style or a blend takes: one for each group of related styles.

        Args:
            style: a name, a list of names of equal weight, or names with weights.

        Raises:
            UnknownNameError: no such style.
            InputError: weights that are negative, or all zero.
        """
        groups: list[dict[str, float]] = []
        for name, weight in weights_of(style).items():
            entry = self._entry(name)
            if weight == 0:
                continue
            related = (g for g in groups if entry.is_related(self._entry(next(iter(g)))))
            group = next(related, None)
            if group is None:
                groups.append(group := {})
            group[name] = weight
        return tuple(self._pass(group) for group in groups)

    def _pass(self, group: Mapping[str, float]) -> Pass:
        total = sum(group.values())
        styles = tuple((name, weight / total) for name, weight in group.items())
        entries = [(self._entry(name), fraction) for name, fraction in styles]
        first = entries[0][0]
        if len(entries) == 1:
            return Pass(first.network, first.weights, total, styles)
        terms = [np.float32(fraction) * entry.weights for entry, fraction in entries]
        weights = np.sum(terms, axis=0, dtype=np.float32)
        return Pass(first.network, np.asarray(weights), total, styles)

    def _entry(self, name: str) -> _Entry:
        if name not in self._entries:
            raise UnknownNameError("style", name, self._entries)
        return self._entries[name]


def title_of(name: str) -> str:
    """The title of a style that has none of its own."""
    return name.replace("_", " ").capitalize()


def _free_name(name: str, taken: Collection[str]) -> str:
    numbered = (f"{name} {number}" for number in count(2))
    return next(each for each in chain([name], numbered) if each not in taken)


def weights_of(style: str | Sequence[str] | Mapping[str, float]) -> dict[str, float]:
    """A style as `StyleSet.passes` takes it, as weights that sum to 1."""
    if isinstance(style, Mapping):
        return normalized_weights(style)
    names = [style] if isinstance(style, str) else style
    return normalized_weights(dict.fromkeys(names, 1.0))
