"""L-BFGS for pixels: within [0, 1], with one gradient per step."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

# Root mean square of the first step, in pixel values, when nothing is known of the curvature.
_FIRST_MOVE = 0.02
_SHRINK = 0.3
# Below this part of a step the direction is given up, and what led to it forgotten.
_SHORTEST = 0.02
_CURVATURE = 1e-10


class ProjectedLBFGS(torch.optim.Optimizer):
    """Limited-memory BFGS (Nocedal & Wright 2006, algorithm 7.4) on pixels in [0, 1].

    `torch.optim.LBFGS` knows no bounds. Clamping the pixels after its steps spoils its curvature,
    and clamping them at the very end multiplies the loss (thirty times, measured). Here pixels at a
    bound that the gradient pushes out of it are left out of the step, as in projected Newton
    methods (Bertsekas 1982). A step that raises the loss is taken back in part, instead of a line
    search with several gradients: most steps need none.

    Args:
        pixels: the image, a leaf tensor.
        lr: length of a step relative to the quasi-Newton step.
        history: steps that the curvature is estimated from; more than 10 gain nothing (measured).
    """

    def __init__(self, pixels: Tensor, *, lr: float = 1.0, history: int = 10) -> None:
        super().__init__([pixels], {"lr": lr, "history": history})

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        """Move the pixels.

        Args:
            closure: returns their loss; their gradient must be there already.
        """
        (group,) = self.param_groups
        (pixels,) = group["params"]
        state = self.state[pixels]
        loss, grad = closure(), pixels.grad
        if state and loss > state["loss"] and state["part"] > _SHORTEST:
            state["part"] *= _SHRINK
        else:
            self._learn(state, grad, group["history"])
            free = ~((pixels <= 0) & (grad > 0) | (pixels >= 1) & (grad < 0))
            length = group["lr"]
            if state.get("moves"):
                direction = self._quasi_newton(state, grad * free).mul_(free)
            else:
                direction = -grad * free
                length *= _FIRST_MOVE / float(direction.square().mean().sqrt().clamp_min(1e-30))
            state.update(
                loss=loss.clone(),
                grad=grad.clone(),
                origin=pixels.clone(),
                free=free,
                direction=direction,
                length=length,
                part=1.0,
            )
        length = state["length"] * state["part"]
        torch.add(state["origin"], state["direction"], alpha=length, out=pixels)
        pixels.clamp_(0, 1)
        return loss

    def _learn(self, state: dict[str, Any], grad: Tensor, history: int) -> None:
        """Remember the last step and what it changed in the gradient, if it curves upwards."""
        if not state:
            return
        move = state["direction"] * (state["length"] * state["part"])
        change = (grad - state["grad"]).mul_(state["free"])
        if state["part"] <= _SHORTEST:
            state["moves"], state["changes"] = [], []
        moves, changes = state.setdefault("moves", []), state.setdefault("changes", [])
        if _dot(move, change) > _CURVATURE * move.norm() * change.norm():
            moves.append(move)
            changes.append(change)
            del moves[:-history], changes[:-history]

    def _quasi_newton(self, state: dict[str, Any], grad: Tensor) -> Tensor:
        """The two-loop recursion: minus the inverse Hessian's estimate times the gradient."""
        pairs = list(zip(state["moves"], state["changes"], strict=True))
        direction = -grad
        weights = []
        for move, change in reversed(pairs):
            weights.append(_dot(move, direction) / _dot(move, change))
            direction.addcmul_(change, -weights[-1])
        move, change = pairs[-1]
        direction *= _dot(move, change) / _dot(change, change)
        for (move, change), weight in zip(pairs, reversed(weights), strict=True):
            direction.addcmul_(move, weight - _dot(change, direction) / _dot(move, change))
        return direction


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return torch.dot(a.flatten(), b.flatten())
