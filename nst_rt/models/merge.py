"""Networks and style models: combined, taken apart, and folded for inference."""

import copy
from collections.abc import Sequence

import torch

from nst_rt.errors import InputError
from nst_rt.models.layers import SubPixelConv2d
from nst_rt.models.style_model import BY_STYLE, StyleModel
from nst_rt.models.transformer import TransformerNet, is_affine


def merged_model(models: Sequence[StyleModel]) -> StyleModel:
    """One model of several single-style models, with the training record of each.

    Raises:
        InputError: see `merged_network`.
    """
    network = merged_network([model.network for model in models]).eval().requires_grad_(False)
    styles = tuple(model.styles[0] for model in models)
    records = {model.styles[0].name: dict(model.training) for model in models}
    return StyleModel(network, styles, {BY_STYLE: records})


def single_style_model(model: StyleModel, name: str) -> StyleModel:
    """A model of one style of `model`, with its training record.

    Raises:
        UnknownNameError: the model does not have the style.
    """
    index = int(model.style_vector(name).argmax())
    network = with_styles(model.network, [index]).eval().requires_grad_(False)
    return StyleModel(network, (model.styles[index],), model.record(name))


def merged_network(networks: Sequence[TransformerNet]) -> TransformerNet:
    """One network of several single-style networks; its styles share no weights.

    Raises:
        InputError: networks of several styles, or of different architectures.
    """
    first = networks[0]
    kinds = {(network.kind, network.styles) for network in networks}
    if len(kinds) > 1 or first.styles != 1 or not all(each.shared for each in networks):
        raise InputError("only networks of one style each and of one architecture can be merged")
    merged = copy.deepcopy(first)  # not a new network: its enlargements may be folded
    merged.shared, merged.styles = False, len(networks)
    states = [network.net.state_dict() for network in networks]
    merged.replace_weights({k: torch.stack([s[k] for s in states]) for k in states[0]})
    return merged


def with_styles(network: TransformerNet, sources: Sequence[int]) -> TransformerNet:
    """A copy of a network with other styles (Dumoulin et al. 2017, section 3.1).

    Args:
        network: a network of any number of styles.
        sources: for each style of the copy, the index of the style whose weights it gets.
    """
    shared = network.shared or len(sources) == 1
    copied = TransformerNet(
        network.architecture, len(sources), shared=shared, **network.hyper_parameters
    )
    state = network.state_dict()
    if network.shared:
        state = {k: v[list(sources)] if is_affine(k) else v for k, v in state.items()}
    else:
        state = {k: v[sources[0] if shared else list(sources)] for k, v in state.items()}
    copied.load_state_dict(state)
    return copied


@torch.no_grad()
def amplified(network: TransformerNet, gain: float) -> TransformerNet:
    """A copy of a network with more contrast: its logits multiplied, at no cost at run time."""
    copied = copy.deepcopy(network)
    for weights in copied.net.to_image.parameters():
        weights.mul_(gain)
    return copied


def folded(network: TransformerNet) -> TransformerNet:
    """A copy for inference: kernels that are computed from constant weights are computed once."""
    if not network.shared:
        return merged_network([folded(with_styles(network, [s])) for s in range(network.styles)])
    copied = copy.deepcopy(network)
    for module in list(copied.modules()):
        for name, child in module.named_children():
            if isinstance(child, SubPixelConv2d):
                setattr(module, name, child.folded())
    return copied
