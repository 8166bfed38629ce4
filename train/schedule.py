"""How weights are moved: Adam under a one-cycle schedule."""

import torch
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR

from nst_rt.models.transformer import TransformerNet, is_affine

_LEAST = 0.1  # of the style weight, at first


def risen(step: int, steps: int, ramp: float) -> float:
    """What the style weight has risen to at a step: from a tenth, linearly, to 1.

    Args:
        step, steps: of the training.
        ramp: fraction of it that the rise takes.
    """
    return min(1.0, _LEAST + (1 - _LEAST) * step / (ramp * steps)) if ramp else 1.0


def adam_one_cycle(
    network: TransformerNet,
    steps: int,
    *,
    learning_rate: float,
    affine_factor: float,
    warm_up: float,
    fused: bool | None = None,
) -> tuple[torch.optim.Adam, OneCycleLR]:
    """Adam on those weights that are trained, and its schedule (Smith & Topin 2019).

    Args:
        network: to train.
        steps: of the whole schedule.
        learning_rate: its peak.
        affine_factor: times the learning rate is that of the affine pairs.
        warm_up: fraction of the steps until the peak.
        fused: one kernel for all weights, on a GPU; None leaves it to PyTorch.
    """
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            rate = learning_rate * (affine_factor if is_affine(name) else 1)
            groups.setdefault(rate, []).append(parameter)
    optimizer = torch.optim.Adam(
        [{"params": p, "lr": rate} for rate, p in groups.items()], fused=fused
    )
    # OneCycleLR divides by zero where the first phase has exactly one step.
    rising = min(max(warm_up, 1.5 / steps), 0.99)
    return optimizer, OneCycleLR(optimizer, list(groups), total_steps=steps, pct_start=rising)
