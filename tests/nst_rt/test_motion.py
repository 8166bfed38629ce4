import pytest
import torch
from torch import Tensor

from nst_rt.motion import aligned_error, shifted_pair


@pytest.mark.parametrize("seed", range(12))
def test_windows_of_one_photo_agree_exactly_where_they_overlap(photo: Tensor, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    first, second, shift = shifted_pair(photo, 80, generator)
    assert first.shape == second.shape == (1, 3, 80, 80)
    assert aligned_error(first, second, shift) == 0


def test_shifts_go_in_all_directions_within_the_room(photo: Tensor) -> None:
    generator = torch.Generator().manual_seed(0)
    shifts = [shifted_pair(photo, 92, generator)[2] for _ in range(100)]
    for axis in zip(*shifts, strict=True):
        assert set(axis) == set(range(-4, 5))


def test_a_photo_of_the_windows_size_is_not_shifted(photo: Tensor) -> None:
    first, second, shift = shifted_pair(photo, 96, torch.Generator())
    assert shift == (0, 0)
    assert torch.equal(first, photo)
    assert torch.equal(second, photo)


@pytest.mark.parametrize("wrong", [(1, 0), (0, 1), (-1, 0), (0, -1), (3, -2)])
def test_misaligned_windows_have_an_error(photo: Tensor, wrong: tuple[int, int]) -> None:
    first = photo[..., 10:60, 10:60]
    second = photo[..., 15:65, 12:62]
    assert aligned_error(first, second, (2, 5)) == 0
    assert aligned_error(first, second, (2 + wrong[0], 5 + wrong[1])) > 1e-4


def test_aligned_error_by_hand() -> None:
    first = torch.tensor([[1.0, 2.0, 3.0]]).view(1, 1, 1, 3)
    second = torch.tensor([[2.0, 5.0, 9.0]]).view(1, 1, 1, 3)
    # The second window lies one pixel to the right: 2 meets 2 and 3 meets 5.
    assert aligned_error(first, second, (1, 0)) == 2
    # One pixel to the left: 1 meets 5 and 2 meets 9.
    assert aligned_error(first, second, (-1, 0)) == (16 + 49) / 2


def test_aligned_error_is_float32_for_half_precision_images(photo: Tensor) -> None:
    half = photo.bfloat16()
    assert aligned_error(half, half, (3, 3)).dtype == torch.float32
