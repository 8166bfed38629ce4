"""Styles of any number of models as one palette, and the passes that a blend of them takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, count

import numpy as np
import torch

from nst_rt.errors import UnknownNameError
from nst_rt.infer.backends.graph import StyleWeights, style_weights
from nst_rt.models.merge import with_styles
from nst_rt.models.style_model import (
    Style,
    StyleModel,
    find_styles,
    list_styles,
    normalized_weights,
)
from nst_rt.models.transformer import TransformerNet

# Cosine between the kernels of two networks, from which on one descends from the other, or both
# from a third: 0.91 or more between the gallery's styles, 0.18 or less between strangers.
_KINDRED = 0.5


@dataclass(frozen=True)
class Pass:
    """One run of a network.

    Attributes:
        network: of one style; its architecture counts.
        weights: that it is run with, shape (P,), see `style_weights`.
        share: of its output in the result.
        styles: names and shares of what its weights are made of; the same ones paint the same.
    """

    network: TransformerNet
    weights: StyleWeights
    share: float = 1.0
    styles: tuple[tuple[str, float], ...] = ()


class _Entry:
    """A style of a model."""

    def __init__(self, model: StyleModel, index: int) -> None:
        self.model = model
        self.style = model.styles[index]
        self._index = index

    @cached_property
    def network(self) -> TransformerNet:
        return with_styles(self.model.network, [self._index]).eval().requires_grad_(False)

    @cached_property
    def weights(self) -> StyleWeights:
        return style_weights(self.network)

    @cached_property
    def kernels(self) -> torch.Tensor:
        """All kernels as one vector of length 1."""
        kernels = [p.flatten() for p in self.network.parameters() if p.ndim == 4]
        return torch.nn.functional.normalize(torch.cat(kernels), dim=0)

    def is_kindred(self, other: "_Entry") -> bool:
        """Whether blends of the two are those of their weights (Wang et al. 2019)."""
        mine, theirs = self.network, other.network
        if kind_of(mine) != kind_of(theirs):
            return False
        return float(self.kernels @ other.kernels) >= _KINDRED


class StyleSet:
    """The styles of any number of models, by name.

    Styles whose networks descend from one another, as all that were trained from the gallery do,
    are blended by their weights, at the cost of one. The outputs of others are mixed.

    Args:
        models: whose styles it has, in order.
    """

    def __init__(self, *models: StyleModel) -> None:
        self._entries: dict[str, _Entry] = {}
        for model in models:
            self.add(model)

    def add(self, model: StyleModel, *, skip_known: bool = False) -> dict[str, str]:
        """Take the styles of a model in.

        Args:
            model: any.
            skip_known: leave out those whose names are taken; else they get a number.

        Returns:
            For each style that was taken in its name here.
        """
        entries, given = dict(self._entries), {}
        for index, style in enumerate(model.styles):
            if skip_known and style.name in entries:
                continue
            numbered = (f"{style.name} {number}" for number in count(2))
            free = next(name for name in chain([style.name], numbered) if name not in entries)
            entries[free], given[style.name] = _Entry(model, index), free
        self._entries = entries  # at once, for those who read meanwhile
        return given

    def remove(self, model: StyleModel) -> None:
        """Forget the styles of a model; passes that were made of them stay what they are."""
        entries = self._entries.items()
        self._entries = {name: entry for name, entry in entries if entry.model is not model}

    def prepare(self) -> None:
        """Compute now what the first use of each style would take a moment to compute."""
        for entry in self._entries.values():
            _ = entry.weights, entry.kernels

    @property
    def styles(self) -> dict[str, Style]:
        """All styles by name."""
        return {name: entry.style for name, entry in self._entries.items()}

    @property
    def names(self) -> list[str]:
        """Of all styles, in order."""
        return list(self._entries)

    def passes(self, style: str | Mapping[str, float]) -> tuple[Pass, ...]:
        """What a style or a blend takes: one pass for all styles that are kindred.

        Args:
            style: a name, or names with weights, which are normalized to a sum of 1.

        Raises:
            UnknownNameError: no such style.
            InputError: weights that are negative, or all zero.
        """
        blend = normalized_weights({style: 1.0} if isinstance(style, str) else style)
        families: list[dict[str, float]] = []
        for name, weight in blend.items():
            entry = self._entry(name)
            if weight == 0:
                continue
            kindred = (f for f in families if entry.is_kindred(self._entry(next(iter(f)))))
            family = next(kindred, None)
            if family is None:
                families.append(family := {})
            family[name] = weight
        return tuple(self._pass(family) for family in families)

    def _pass(self, family: Mapping[str, float]) -> Pass:
        share = sum(family.values())
        styles = tuple((name, weight / share) for name, weight in family.items())
        entries = [(self._entry(name), part) for name, part in styles]
        first = entries[0][0]
        if len(entries) == 1:
            return Pass(first.network, first.weights, share, styles)
        parts = [np.float32(part) * entry.weights for entry, part in entries]
        weights = np.sum(parts, axis=0, dtype=np.float32)
        return Pass(first.network, np.asarray(weights), share, styles)

    def _entry(self, name: str) -> _Entry:
        if name not in self._entries:
            raise UnknownNameError("style", name, self._entries)
        return self._entries[name]


def load_style_set(names: Sequence[str]) -> tuple[StyleSet, dict[str, str]]:
    """Load styles by their names, with all others of their models.

    Args:
        names: at least one, each as `find_style` takes it.

    Returns:
        The palette, and for each name the style's name in it.

    Raises:
        UnknownNameError, InputError, StyleModelError: see `find_style`.
    """
    found = find_styles(names)
    style_set = StyleSet()
    given: dict[int, dict[str, str]] = {}
    for model, _ in found.values():
        if id(model) not in given:
            given[id(model)] = style_set.add(model)
    return style_set, {name: given[id(model)][style] for name, (model, style) in found.items()}


def full_style_set(name: str) -> tuple[StyleSet, str]:
    """All styles to choose from while one is shown: those of its model, then the gallery's.

    Args:
        name: as `find_style` takes it.

    Returns:
        The palette, and the style's name in it.

    Raises:
        UnknownNameError, InputError, StyleModelError: see `find_style`.
    """
    found = find_styles([name, *list_styles()])
    style_set = StyleSet()
    for model in {id(model): model for model, _ in found.values()}.values():
        style_set.add(model, skip_known=True)
    return style_set, found[name][1]


def kind_of(network: TransformerNet) -> tuple[object, ...]:
    """What tells networks apart that cannot run on the same compiled one."""
    hyper_parameters = sorted(network.hyper_parameters.items())
    return type(network), network.architecture, *hyper_parameters
