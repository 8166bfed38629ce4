import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2.functional import gaussian_blur

from nst_rt.images import Frame, load_image, tensor_to_frame
from nst_rt.losses import gram_matrix
from nst_rt.metrics import (
    PanError,
    QualityObjective,
    equivalent_iterations,
    fingerprint,
    fingerprint_distance,
    noise_figure,
    pan,
    pan_error,
    quality,
    quality_photo,
    roughness,
)
from nst_rt.vgg import VGG19Features


def noise(shape: tuple[int, ...], deviation: float) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)) * deviation


def passed_on() -> float:
    """Part of the deviation of white noise that is left when a Gaussian of 1 px is taken away."""
    kernel = torch.exp(-(torch.arange(-3, 4) ** 2) / 2)
    residue = -torch.outer(kernel, kernel) / kernel.sum() ** 2
    residue[3, 3] += 1
    return float(residue.square().sum().sqrt())


def test_plain_image_has_no_roughness() -> None:
    assert roughness(torch.full((1, 3, 16, 20), 0.4)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("deviation", [0.01, 0.05])
def test_roughness_of_noise_is_its_high_frequencies(deviation: float) -> None:
    grey = 0.5 + noise((1, 1, 128, 128), deviation).expand(-1, 3, -1, -1)
    assert roughness(grey) == pytest.approx(deviation * passed_on(), rel=0.02)


def test_noise_of_each_channel_counts_by_its_part_of_the_luma() -> None:
    image = torch.full((1, 3, 128, 128), 0.5)
    image[:, 1] += noise((1, 128, 128), 0.05)
    assert roughness(image) == pytest.approx(0.587 * 0.05 * passed_on(), rel=0.02)


def test_noise_adds_to_a_photo_by_its_square(photo: Tensor) -> None:
    shaken = photo + noise((1, 1, 96, 96), 0.05)
    expected = math.hypot(roughness(photo), 0.05 * passed_on())
    assert roughness(shaken) == pytest.approx(expected, rel=0.02)


def test_roughness_is_proportional_to_contrast(photo: Tensor) -> None:
    assert roughness(photo * 0.5) == pytest.approx(roughness(photo) / 2, rel=1e-4)


def test_blur_lowers_the_roughness(photo: Tensor) -> None:
    assert roughness(gaussian_blur(photo, [7, 7], [1.0, 1.0])) < roughness(photo) / 2


def test_an_image_is_as_noisy_as_itself(painting: Path) -> None:
    style = load_image(painting, size=96)
    assert noise_figure(style, style) == 1


def test_noise_figure_tells_noise_from_blur(painting: Path) -> None:
    style = load_image(painting, size=96)
    blurred, noisy = gaussian_blur(style, [7, 7]), style + noise(style.shape, 0.3)
    assert noise_figure(blurred, style) < 0.8
    assert noise_figure(noisy, style) > 1.2


def test_a_painting_without_detail_makes_all_detail_noise(photo: Tensor) -> None:
    assert noise_figure(photo, torch.zeros(1, 3, 96, 96)) == math.inf


@pytest.fixture(scope="module")
def objective(painting: Path) -> QualityObjective:
    return QualityObjective(load_image(painting), device="cpu")


@pytest.fixture(scope="module")
def curve(objective: QualityObjective, photo: Tensor) -> list[float]:
    return list(objective.descent(photo, 12))


@pytest.fixture(scope="module")
def frame(photos: Path) -> Frame:
    return tensor_to_frame(load_image(photos / "coffee.png"))


@pytest.mark.parametrize("shape", [(80, 200), (200, 80), (64, 64)])
def test_quality_is_of_the_middle_of_a_photo(shape: tuple[int, int]) -> None:
    photo = torch.zeros(1, 3, *shape)
    side = min(shape)
    top, left = ((length - side) // 2 for length in shape)
    photo[..., top : top + side, left : left + side] = 1
    torch.testing.assert_close(quality_photo(photo), torch.ones(1, 3, 256, 256))


def test_the_objective_is_the_published_one(
    objective: QualityObjective, photo: Tensor, painting: Path
) -> None:
    image = photo.flip(-1)
    style_layers = [f"relu{block}_1" for block in range(1, 6)]
    vgg = VGG19Features([*style_layers, "relu4_2"])
    of_image, of_photo, of_painting = (
        vgg(picture) for picture in (image, photo, load_image(painting, size=512))
    )
    content = (of_image["relu4_2"] - of_photo["relu4_2"]).square().mean()
    content /= of_photo["relu4_2"].square().mean()
    grams = [(gram_matrix(of_image[k]), gram_matrix(of_painting[k])) for k in style_layers]
    style = sum(float((a - b).square().mean() / b.square().mean()) for a, b in grams) / 5
    # Features may be in bfloat16.
    assert objective(image, photo) == pytest.approx(float(10 * style + content), rel=0.01)
    assert objective.style(image) == pytest.approx(style, rel=0.01)


def test_the_objective_is_of_a_painting_of_512_px(
    objective: QualityObjective, photo: Tensor, painting: Path
) -> None:
    resized = QualityObjective(load_image(painting, size=512), device="cpu")
    assert resized(photo, photo) == pytest.approx(objective(photo, photo), rel=1e-6)


def test_the_optimizer_starts_from_the_photo_and_leaves_it_alone(
    objective: QualityObjective, photo: Tensor
) -> None:
    kept = photo.clone()
    start, end = objective.descent(photo, 1)
    assert start == pytest.approx(objective(photo, photo), rel=1e-5)
    assert end != start
    assert torch.equal(photo, kept)
    assert not photo.requires_grad


def test_the_optimizer_descends(curve: list[float]) -> None:
    assert len(curve) == 13
    assert curve[12] < curve[6] < curve[0]


def test_what_suspends_the_optimizer_may_compute_gradients(
    objective: QualityObjective, photo: Tensor
) -> None:
    for _ in objective.descent(photo, 1):
        assert torch.is_grad_enabled()


@pytest.mark.parametrize("k", [3, 7, 10])
def test_an_iterate_is_worth_about_its_number_of_iterations(curve: list[float], k: int) -> None:
    iterations = equivalent_iterations(curve[k], curve)
    assert iterations is not None
    assert abs(iterations - k) <= 1


def test_equivalent_iterations_end_where_the_curve_does() -> None:
    curve = [8.0, 4.0, 5.0, 2.0]
    assert equivalent_iterations(9.0, curve) == 0
    assert equivalent_iterations(4.5, curve) == 1
    assert equivalent_iterations(4.0, curve) == 3
    assert equivalent_iterations(2.0, curve) is None


def test_quality_sums_up_over_photos() -> None:
    curve = [8.0, 4.0, 2.0, 1.0]
    found = quality([9.0, 3.0, 1.5, 100.0, 0.5], [curve, curve, curve])
    assert found.objective == 3.0
    assert found.iterations == (0, 2, 3)
    assert (found.median_iterations, found.ratio) == (2, 3.0)


def test_more_iterations_than_there_are_count_as_more() -> None:
    curve = [8.0, 4.0, 2.0]
    assert quality([1.0, 5.0, 3.0], [curve] * 3).median_iterations == 2
    assert quality([1.0, 1.5, 3.0], [curve] * 3).median_iterations is None
    assert quality([1.0, 3.0], [curve] * 2).median_iterations is None


def test_quality_without_the_optimizer_is_the_objective() -> None:
    found = quality([3.0, 4.0], [])
    assert (found.objective, found.iterations) == (3.5, ())
    assert (found.median_iterations, found.ratio) == (None, None)


def painter_of_noise(amplitude: int, *, seed: int = 0) -> Callable[[Frame], Frame]:
    """Grey with noise of that amplitude and deviation, new in each frame."""
    random = np.random.default_rng(seed)
    return lambda frame: (128 + amplitude * random.choice([-1, 1], frame.shape)).astype(np.uint8)


def test_a_pan_shows_the_same_places_shifted(frame: Frame) -> None:
    frames = pan(frame)
    assert [f.shape for f in frames] == [(360, 640, 3)] * 12
    for first, second in pairwise(frames):
        np.testing.assert_array_equal(first[2:, 3:], second[:-2, :-3])


def test_a_pan_starts_where_it_is_defined_to() -> None:
    y, x = np.mgrid[:720, :720]
    ramps = np.stack([y // 4, x // 4, x // 4], axis=-1).astype(np.uint8)
    assert pan(ramps)[0][0, 0].tolist() == [10 // 4, 20 // 4, 20 // 4]
    assert pan(ramps)[11][0, 0].tolist() == [32 // 4, 53 // 4, 53 // 4]


def test_what_changes_nothing_is_still(frame: Frame) -> None:
    assert pan_error(lambda f: f, [frame]) == PanError(0, 0)
    assert pan_error(lambda f: 255 - f, [frame]) == PanError(0, 0)


def test_plain_output_is_still(frame: Frame) -> None:
    assert pan_error(lambda f: np.full_like(f, 77), [frame]) == PanError(0, 0)


@pytest.mark.parametrize("amplitude", [5, 50])
def test_pan_error_of_noise_is_known(frame: Frame, amplitude: int) -> None:
    found = pan_error(painter_of_noise(amplitude), [frame])
    assert found.error == pytest.approx(math.sqrt(2) * amplitude / 255, rel=0.01)
    assert found.relative == pytest.approx(math.sqrt(2), rel=0.01)


def test_borders_do_not_count(frame: Frame) -> None:
    noise = painter_of_noise(90)

    def framed(frame: Frame) -> Frame:
        painted = noise(frame)
        painted[32:-32, 32:-32] = frame[32:-32, 32:-32]
        return painted

    assert pan_error(framed, [frame]).error == 0


def test_what_sticks_to_the_screen_is_not_still(frame: Frame) -> None:
    texture = painter_of_noise(20)(pan(frame)[0])
    assert pan_error(lambda _: texture, [frame]).relative == pytest.approx(math.sqrt(2), rel=0.02)


def test_pan_errors_are_averaged_over_photos(frame: Frame) -> None:
    def noise_on_dark(frame: Frame) -> Frame:
        return noise(frame) if frame.mean() < 100 else frame

    noise = painter_of_noise(50)
    dark, bright = frame // 4, 128 + frame // 4
    found = pan_error(noise_on_dark, [dark, bright])
    assert found.error == pytest.approx(math.sqrt(2) * 50 / 255 / 2, rel=0.01)
    assert found.relative == pytest.approx(math.sqrt(2) / 2, rel=0.01)


def test_fingerprint_knows_a_painting_again(painting: Path) -> None:
    paintings = [load_image(file) for file in sorted(painting.parent.glob("*.jpg"))]
    prints = [fingerprint(image) for image in paintings]
    assert len(paintings) > 2
    for image, known in zip(paintings, prints, strict=True):
        assert len(known) == 32
        height, width = image.shape[-2:]
        part = image[..., height // 8 :, : -width // 8]
        distances = [fingerprint_distance(fingerprint(part), other) for other in prints]
        assert min(distances) == fingerprint_distance(fingerprint(part), known)


def test_fingerprint_distance_is_zero_for_the_same_and_symmetric() -> None:
    one, other = (0.0, 1.0, 2.0), (0.3, 1.0, 2.4)
    assert fingerprint_distance(one, one) == 0
    assert fingerprint_distance(one, other) == pytest.approx(math.sqrt(0.25 / 3))
    assert fingerprint_distance(other, one) == fingerprint_distance(one, other)
