import pytest
import torch
from torch import Tensor

from nst_rt.metrics.motion import MotionRange, MovingPair, aligned_error, moving_pair

SIZE = 64


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def scene(side: int = SIZE + 16) -> Tensor:
    """A smooth colorful image, which interpolation hardly changes."""
    axis = torch.linspace(0, 6, side)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([x.sin(), (y + x).cos(), (2 * y).sin()])[None] * 0.4 + 0.5


def pair_of(photo: Tensor, *seeds: int, **motion: float) -> MovingPair:
    photos = photo.expand(len(seeds), -1, -1, -1)
    return moving_pair(photos, SIZE, generators(*seeds), MotionRange(**motion))


@pytest.mark.parametrize("layer", [0.0, 1.0])
def test_views_agree_where_both_see_the_same_place(layer: float) -> None:
    pair = pair_of(scene(), *range(20), layer=layer)
    assert aligned_error(pair.first, pair.second, pair) < 2e-4
    unaligned = (pair.first - pair.second).square().mean()
    assert unaligned > 20 * aligned_error(pair.first, pair.second, pair)


def test_places_hidden_by_the_layer_are_not_visible() -> None:
    still = {"shift": 8.0, "zoom": 0.0, "angle": 0.0}
    with_layer, without = (pair_of(scene(), *range(20), layer=x, **still) for x in (1.0, 0.0))
    hidden = without.visible & ~with_layer.visible
    # Only the area that the layer uncovers: less than a quarter of the image.
    assert 0 < hidden.float().mean() < 0.25
    everywhere = MovingPair(
        with_layer.first,
        with_layer.second,
        with_layer.positions,
        torch.ones_like(with_layer.visible),
    )
    masked = aligned_error(with_layer.first, with_layer.second, with_layer)
    assert aligned_error(with_layer.first, with_layer.second, everywhere) > 3 * masked


def test_views_without_motion_are_equal_and_visible() -> None:
    pair = pair_of(scene(), 1, 2, 3, shift=0.0, zoom=0.0, angle=0.0, layer=0.0)
    torch.testing.assert_close(pair.first, pair.second)
    assert pair.visible.all()


def test_first_view_is_the_center_of_the_photo() -> None:
    photo = scene()
    pair = pair_of(photo, 4, layer=0.0)
    torch.testing.assert_close(pair.first, photo[..., 8:-8, 8:-8], atol=1e-4, rtol=0)


def test_half_of_the_photos_move_by_whole_pixels() -> None:
    noise = torch.rand(1, 3, SIZE + 16, SIZE + 16, generator=torch.Generator().manual_seed(0))
    pair = pair_of(noise, *range(60), layer=0.0)
    errors = [
        aligned_error(
            pair.first[i, None],
            pair.second[i, None],
            MovingPair(*(t[i, None] for t in (pair.first, pair.second, pair.positions)), seen),
        )
        for i, seen in enumerate(pair.visible.split(1))
    ]
    # Only shifts of whole pixels leave noise unchanged.
    assert 18 < sum(error < 1e-6 for error in errors) < 42


def test_motion_does_not_depend_on_the_batch() -> None:
    together, alone = pair_of(scene(), 5, 6, 7), pair_of(scene(), 7)
    torch.testing.assert_close(together.second[2], alone.second[0])
    torch.testing.assert_close(together.positions[2], alone.positions[0])


def test_error_penalizes_patterns_fixed_to_the_screen() -> None:
    pair = pair_of(scene(), *range(8), zoom=0.0, angle=0.0, layer=0.0)
    pattern = torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    steady = aligned_error(1 - pair.first, 1 - pair.second, pair)
    stuck = aligned_error(pair.first * pattern, pair.second * pattern, pair)
    assert steady < 1e-3 < stuck


def test_gradients_reach_both_images() -> None:
    pair = pair_of(scene(), 0, 1)
    first, second = (t.clone().requires_grad_() for t in (pair.first, pair.second + 0.1))
    aligned_error(first, second, pair).backward()  # type: ignore[no-untyped-call]
    for image in (first, second):
        assert image.grad is not None
        assert image.grad.abs().sum() > 0


def test_error_is_the_square_of_an_offset() -> None:
    pair = pair_of(scene(), 0, 1, 2, layer=1.0)
    flat = torch.full_like(pair.first, 0.5)
    assert aligned_error(flat, flat + 0.1, pair) == pytest.approx(0.01, rel=0.05)
