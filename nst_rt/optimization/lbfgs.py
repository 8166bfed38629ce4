"""L-BFGS for pixels in [0, 1], with one gradient per step."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

# Root mean square of the first step, in pixel values, while the curvature is unknown.
_FIRST_MOVE = 0.02
# Factor of a step that raised the loss.
_SHRINK = 0.3
# Below this fraction of a step the direction is given up and the history cleared.
_SHORTEST = 0.02
# Smallest curvature, relative to the lengths of move and change, that is remembered.
_CURVATURE = 1e-10


class ProjectedLBFGS(torch.optim.Optimizer):
    """Limited-memory BFGS (Nocedal & Wright 2006, algorithm 7.4) on pixels in [0, 1].

    `torch.optim.LBFGS` is unconstrained. Clamping the pixels after its steps spoils its curvature
    estimate, and clamping them at the very end multiplies the loss by 30 (measured). Here pixels at
    a limit that the gradient pushes beyond it are left out of the step, as in projected Newton
    methods (Bertsekas 1982). Instead of a line search with several gradients, a step that raises
    the loss is shortened afterwards: most steps need none.

    Args:
        pixels: the image, a leaf tensor.
        lr: length of a step relative to the quasi-Newton step.
        history: number of steps that the curvature is estimated from; more than 10 gain nothing
            (measured).
    """

    def __init__(self, pixels: Tensor, *, lr: float = 1.0, history: int = 10) -> None:
        super().__init__([pixels], {"lr": lr, "history": history})

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        """Move the pixels.

        Args:
            closure: returns the loss of the pixels, whose gradient must have been computed.
        """
        (group,) = self.param_groups
        (pixels,) = group["params"]
        state = self.state[pixels]
        loss, grad = closure(), pixels.grad
        if state and loss > state["loss"] and state["fraction"] > _SHORTEST:
            state["fraction"] *= _SHRINK
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
                fraction=1.0,
            )
        length = state["length"] * state["fraction"]
        torch.add(state["origin"], state["direction"], alpha=length, out=pixels)
        pixels.clamp_(0, 1)
        return loss

    def _learn(self, state: dict[str, Any], grad: Tensor, history: int) -> None:
        """Remember the last step and its change of the gradient, if the curvature is positive."""
        if not state:
            return
        move = state["direction"] * (state["length"] * state["fraction"])
        change = (grad - state["grad"]).mul_(state["free"])
        if state["fraction"] <= _SHORTEST:
            state["moves"], state["changes"] = [], []
        moves, changes = state.setdefault("moves", []), state.setdefault("changes", [])
        if _dot(move, change) > _CURVATURE * move.norm() * change.norm():
            moves.append(move)
            changes.append(change)
            del moves[:-history], changes[:-history]

    def _quasi_newton(self, state: dict[str, Any], grad: Tensor) -> Tensor:
        """Minus the estimated inverse Hessian times the gradient, by the two-loop recursion."""
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
