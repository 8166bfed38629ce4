import numpy as np
import pytest
import torch
from torch import Tensor

from nst_rt.errors import InputError
from nst_rt.images.convert import frame_to_tensor, resize, tensor_to_frame


def test_frame_is_bgr_and_channels_last() -> None:
    image = torch.zeros(1, 3, 2, 3)
    image[0, 0, 0, 2] = 1  # red, top right
    frame = tensor_to_frame(image)
    assert frame.tolist() == [[[0, 0, 0], [0, 0, 0], [0, 0, 255]], [[0, 0, 0]] * 3]
    assert frame.dtype == np.uint8
    assert frame.flags.c_contiguous


@pytest.mark.parametrize("step", [1, -1])  # mirrored
def test_frame_round_trip_is_exact(step: int) -> None:
    frame = np.arange(768, dtype=np.uint16).astype(np.uint8).reshape(16, 16, 3)[:, ::step]
    image = frame_to_tensor(frame)
    assert image.shape == (1, 3, 16, 16)
    assert image.dtype == torch.float32
    np.testing.assert_array_equal(tensor_to_frame(image), frame)


@pytest.mark.parametrize(
    ("value", "level"),
    [(-5.0, 0), (-0.001, 0), (1.02, 255), (300.0, 255), (0.4999, 127), (127.6 / 255, 128)],
)
def test_values_are_clamped_and_rounded_not_wrapped(value: float, level: int) -> None:
    frame = tensor_to_frame(torch.full((1, 3, 2, 2), value))
    assert frame.tolist() == [[[level] * 3] * 2] * 2


def test_bfloat16_image_with_a_gradient_becomes_a_frame(photo: Tensor) -> None:
    frame = tensor_to_frame(photo.bfloat16().requires_grad_())
    np.testing.assert_allclose(frame.astype(int), tensor_to_frame(photo).astype(int), atol=1)


@pytest.mark.parametrize("size", [1, 16, 100, 333, 640])
@pytest.mark.parametrize("shape", [(427, 640), (640, 427), (100, 100), (3, 1000)])
def test_resized_long_side_is_exact_and_the_aspect_ratio_stays(
    size: int, shape: tuple[int, int]
) -> None:
    resized = resize(torch.rand(1, 3, *shape), size)
    assert max(resized.shape[2:]) == size
    for length, before in zip(resized.shape[2:], shape, strict=True):
        assert abs(length - before * size / max(shape)) <= 0.5 or length == 1
    assert resized.min() >= 0
    assert resized.max() <= 1


def test_resizing_does_not_alias() -> None:
    stripes = (torch.arange(256) % 2).float().expand(1, 3, 256, 256)
    shrunk = resize(stripes, 64)
    torch.testing.assert_close(shrunk, torch.full_like(shrunk, 0.5), atol=0.06, rtol=0)


@pytest.mark.parametrize("size", [0, -1])
def test_size_that_is_not_positive_is_an_error(photo: Tensor, size: int) -> None:
    with pytest.raises(InputError, match=str(size)):
        resize(photo, size)
