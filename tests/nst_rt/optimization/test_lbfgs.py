from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from nst_rt.optimization.lbfgs import ProjectedLBFGS

Loss = Callable[[Tensor], Tensor]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def parameter(image: Tensor) -> Tensor:
    return image.clone().requires_grad_()


def minimize(optimizer: ProjectedLBFGS, pixels: Tensor, loss: Loss, steps: int) -> list[Tensor]:
    """The pixels before each step, and after the last one."""
    path = [pixels.detach().clone()]
    for _ in range(steps):
        optimizer.zero_grad()
        value = loss(pixels)
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step(value.detach)
        path.append(pixels.detach().clone())
    return path


def bowl(target: Tensor, condition: float = 100.0) -> Loss:
    """A quadratic with its minimum at `target`, along the axes."""
    curvatures = torch.logspace(0, torch.tensor(condition).log10().item(), target.numel())
    return lambda x: (curvatures.view_as(target) * (x - target).square()).sum()


def tilted_bowl(target: Tensor) -> Loss:
    """A quadratic whose axes are not those of the pixels."""
    n = target.numel()
    mix = random(n, n, seed=1) - 0.5
    hessian = mix @ mix.T + 0.1 * torch.eye(n)
    return lambda x: (x - target).flatten() @ hessian @ (x - target).flatten()


def test_quadratic_inside_the_range() -> None:
    target = random(1, 3, 8, 8) * 0.8 + 0.1
    pixels = parameter(torch.full_like(target, 0.5))
    minimize(ProjectedLBFGS(pixels), pixels, bowl(target), 60)
    torch.testing.assert_close(pixels.detach(), target, atol=1e-3, rtol=0)


def test_minimum_outside_the_range_is_projected() -> None:
    target = random(1, 3, 8, 8) * 2 - 0.5
    pixels = parameter(torch.full_like(target, 0.5))
    minimize(ProjectedLBFGS(pixels), pixels, bowl(target), 60)
    torch.testing.assert_close(pixels.detach(), target.clamp(0, 1), atol=1e-3, rtol=0)


def test_optimality_conditions_hold() -> None:
    # For a tilted bowl the bounded minimum is not the clamped one; these conditions define it.
    target = random(1, 3, 4, 4) * 2 - 0.5
    pixels = parameter(torch.full_like(target, 0.5))
    loss = tilted_bowl(target)
    minimize(ProjectedLBFGS(pixels), pixels, loss, 200)
    (grad,) = torch.autograd.grad(loss(pixels), pixels)
    low, high = pixels <= 0, pixels >= 1
    assert low.any()
    assert high.any()
    assert grad[low].min() > -1e-2
    assert grad[high].max() < 1e-2
    assert grad[~(low | high)].abs().max() < 1e-2


def test_pixels_stay_in_range() -> None:
    target = random(1, 3, 8, 8) * 20 - 10
    pixels = parameter(random(1, 3, 8, 8, seed=1))
    path = torch.cat(minimize(ProjectedLBFGS(pixels, lr=5.0), pixels, tilted_bowl(target), 30))
    assert path.min() >= 0
    assert path.max() <= 1


def test_pixels_leave_a_limit() -> None:
    target = random(1, 3, 8, 8) * 0.8 + 0.1
    for start in (torch.zeros_like(target), torch.ones_like(target)):
        pixels = parameter(start)
        minimize(ProjectedLBFGS(pixels), pixels, bowl(target), 60)
        torch.testing.assert_close(pixels.detach(), target, atol=1e-3, rtol=0)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_first_step_does_not_depend_on_the_scale_of_the_loss(scale: float) -> None:
    loss = bowl(random(1, 3, 8, 8) * 0.2 + 0.4)
    pixels = parameter(torch.full((1, 3, 8, 8), 0.5))
    start, end = minimize(ProjectedLBFGS(pixels), pixels, lambda x: scale * loss(x), 1)
    assert (end - start).square().mean().sqrt() == pytest.approx(0.02, rel=1e-3)


def test_step_that_raises_the_loss_is_shortened() -> None:
    target = random(1, 3, 8, 8) * 0.2 + 0.4
    pixels = parameter(target + 0.001)  # nearer than the first step is long
    loss = bowl(target)
    start, raised, back, *_, end = minimize(ProjectedLBFGS(pixels), pixels, loss, 12)
    assert loss(raised) > loss(start)
    torch.testing.assert_close(back - start, 0.3 * (raised - start), atol=1e-6, rtol=1e-3)
    assert loss(end) < loss(start)


@pytest.mark.parametrize(("lr", "history"), [(1.0, 3), (0.03, 10), (0.01, 10)])
def test_curvature_is_learned_from_a_limited_history(lr: float, history: int) -> None:
    target = random(1, 3, 8, 8) * 0.8 + 0.1
    pixels = parameter(torch.full_like(target, 0.5))
    optimizer = ProjectedLBFGS(pixels, lr=lr, history=history)
    minimize(optimizer, pixels, bowl(target), 15)
    state = optimizer.state[pixels]
    assert len(state["moves"]) == len(state["changes"]) == history


@pytest.mark.parametrize("slope", [0, 1])
def test_pixels_that_cannot_move_stay(slope: int) -> None:
    """Without a gradient, or all at a limit that it pushes them beyond."""
    pixels = parameter(torch.zeros(1, 3, 8, 8))
    minimize(ProjectedLBFGS(pixels), pixels, lambda x: (x * slope).sum(), 5)
    assert torch.equal(pixels.detach(), torch.zeros(1, 3, 8, 8))
