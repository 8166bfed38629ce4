"""The stabilizer: calm where the scene is known, and no trace of what is gone."""

from collections.abc import Callable, Iterable
from itertools import pairwise

import cv2
import numpy as np
import pytest
from layered import layered_clip

from nst_rt.errors import InputError
from nst_rt.images.convert import frame_to_tensor, resize
from nst_rt.images.io import Frame
from nst_rt.infer.evaluate.model import pan_photos
from nst_rt.infer.stability.stabilizer import DEFAULT_STABILITY, Stabilizer, stabilizer_for
from nst_rt.infer.stylizer import load_style
from nst_rt.metrics.boldness import SIZE, even_areas, stroke_energy
from nst_rt.metrics.stability import pan, pan_error, pan_photo, warping_error

RANDOM = np.random.default_rng(0)


@pytest.fixture(scope="module")
def photo() -> Frame:
    return pan_photos()[0]


@pytest.fixture(scope="module")
def scene(photo: Frame) -> Frame:
    return pan(photo)[0]


def boiling(frame: Frame) -> Frame:
    """A style with new strokes in each frame."""
    strokes = RANDOM.normal(0, 25, (frame.shape[0] // 4, frame.shape[1] // 4, 1))
    noise = cv2.resize(strokes.astype(np.float32), frame.shape[1::-1])[..., None]
    return np.clip(frame * 0.6 + 50 + noise, 0, 255).astype(np.uint8)


def same(frame: Frame) -> Frame:
    return frame


def outputs(
    frames: Iterable[Frame],
    stylize: Callable[[Frame], Frame] = boiling,
    stabilizer: Stabilizer | None = None,
) -> tuple[list[Frame], list[Frame]]:
    """Stylized frames, plain and stabilized."""
    stabilizer = stabilizer or Stabilizer()
    plain, steady = [], []
    for frame in frames:
        plain.append(stylize(frame))
        steady.append(stabilizer.steady(frame, plain[-1]).copy())
    return plain, steady


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """Mean absolute difference, levels."""
    return float(np.abs(one.astype(float) - other).mean())


def changes(frames: list[Frame], area: tuple[slice, ...] = np.s_[:, :]) -> float:
    """Mean absolute difference between consecutive frames, levels."""
    return float(np.mean([difference(a[area], b[area]) for a, b in pairwise(frames)]))


def test_warping_error_of_known_motion_is_halved(photo: Frame) -> None:
    frames, truth = layered_clip(pan_photo(photo), 8)
    plain, steady = (warping_error(clip, truth) for clip in outputs(frames))
    assert plain is not None
    assert steady is not None
    assert steady.error < 0.5 * plain.error


def test_still_noisy_scene_neither_drifts_nor_blurs_in_300_frames(scene: Frame) -> None:
    scene = scene[:120, :160]
    stylized = boiling(scene)
    stabilizer = Stabilizer()
    for _ in range(300):
        noise = np.rint(RANDOM.normal(0, 2, scene.shape))  # or it would darken
        frame = np.clip(scene + noise, 0, 255).astype(np.uint8)
        output = stabilizer.steady(frame, np.clip(stylized + 2 * noise, 0, 255).astype(np.uint8))
    assert abs((output.astype(float) - stylized).mean()) < 0.5
    assert difference(output, stylized) < np.abs(2 * noise).mean()


def test_strokes_neither_lag_nor_blur_in_a_slow_pan(scene: Frame) -> None:
    stabilizer = Stabilizer()
    for step in range(200):  # 0.3 px a frame
        shift = np.array([[1, 0, -0.3 * step], [0, 1, 0]])
        frame = np.asarray(cv2.warpAffine(scene, shift, (240, 160)), np.uint8)
        stylized = np.asarray(255 - frame, np.uint8)  # moves exactly with the scene
        output = stabilizer.steady(frame, stylized)
    lag, _ = cv2.phaseCorrelate(*(p[..., 1].astype(np.float64) for p in (stylized, output)))
    assert np.hypot(*lag) < 0.3
    assert cv2.Laplacian(output, cv2.CV_64F).std() > 0.9 * cv2.Laplacian(stylized, cv2.CV_64F).std()


def test_restored_state_continues_exactly(photo: Frame) -> None:
    frames = pan(photo)[:6]
    stylized = [boiling(frame) for frame in frames]
    stabilizer, resumed = Stabilizer(), Stabilizer()
    for pair in zip(frames[:3], stylized[:3], strict=True):
        stabilizer.steady(*pair)
    state = stabilizer.state()
    assert all(isinstance(value, np.ndarray) for value in state.values())
    resumed.restore(state)
    for pair in zip(frames[3:], stylized[3:], strict=True):
        expected = stabilizer.steady(*pair)
        np.testing.assert_array_equal(resumed.steady(*pair), expected)
        expected[:] = 0  # the caller may draw on an output


def test_first_frame_is_left_as_it_is(scene: Frame) -> None:
    stabilizer = Stabilizer()
    assert stabilizer.state() == {}
    stabilizer.steady(scene, boiling(scene))
    stabilizer.restore({})
    stylized = boiling(scene)
    np.testing.assert_array_equal(stabilizer.steady(scene, stylized), stylized)


def test_uncovered_background_keeps_nothing(scene: Frame) -> None:
    frames = []
    for left in (200, 212):
        frames.append(scene.copy())
        frames[-1][100:220, left : left + 120] = (40, 220, 240)
    plain, steady = outputs(frames)
    uncovered = np.s_[108:212, 202:209]
    assert difference(steady[-1][uncovered], plain[-1][uncovered]) < 4


def test_still_scene_does_not_pump_when_something_bright_enters(scene: Frame) -> None:
    def normalized(frame: Frame) -> Frame:
        return np.clip(frame / frame.mean() * 90, 0, 255).astype(np.uint8)

    bright = scene.copy()
    bright[:, :120] = 255
    plain, steady = outputs([scene, bright], normalized)
    far = np.s_[:, 320:]
    assert changes(plain, far) > 10
    assert changes(steady, far) < 0.15 * changes(plain, far)


def test_cuts_do_not_ghost() -> None:
    plain, steady = outputs([frame for photo in pan_photos()[:3] for frame in pan(photo)[:3]])
    for first in (0, 3, 6):
        assert difference(steady[first], plain[first]) < 1


@pytest.mark.parametrize(
    ("stability", "rate", "expected"),
    [(None, 24, DEFAULT_STABILITY), (None, 2, None), (0.5, 2, 0.5), (0, 24, None)],
)
def test_slow_videos_are_stabilized_only_if_asked_for(
    stability: float | None, rate: int, expected: float | None
) -> None:
    stabilizer = stabilizer_for(stability, rate)
    assert (None if stabilizer is None else stabilizer.stability) == expected


@pytest.mark.parametrize("stability", [-0.1, 1.5, float("nan")])
def test_stability_out_of_range_is_refused(stability: float) -> None:
    stabilizer = Stabilizer(0.5)
    with pytest.raises(InputError, match=f"{stability:g}"):
        stabilizer.stability = stability
    with pytest.raises(InputError):
        stabilizer_for(stability, 24)
    assert stabilizer.stability == 0.5


def test_stability_0_returns_the_very_frame(photo: Frame) -> None:
    stabilizer = Stabilizer(0)
    for frame in pan(photo)[:3]:
        stylized = boiling(frame)
        assert stabilizer.steady(frame, stylized) is stylized


def test_higher_stability_is_calmer_from_the_next_frame_on(scene: Frame) -> None:
    stylized = [boiling(scene) for _ in range(2)]
    found = []
    for stability in (0, 0.3, 0.6, DEFAULT_STABILITY, 1):
        stabilizer = Stabilizer()
        before = stabilizer.steady(scene, stylized[0])
        stabilizer.stability = stability
        found.append(difference(stabilizer.steady(scene, stylized[1]), before))
    assert found == sorted(found, reverse=True)
    assert found[-1] < 0.1 * found[0]


@pytest.mark.slow
def test_higher_stability_lowers_the_pan_error_and_keeps_the_strokes(photo: Frame) -> None:
    frames = pan(photo)
    network = load_style("starry_night")
    stylized = [network(frame) for frame in frames]
    even = even_areas(resize(frame_to_tensor(frames[-1]), SIZE))

    def measured(stability: float) -> tuple[float, float]:
        rest = iter(stylized)
        _, steady = outputs(frames, lambda _: next(rest), Stabilizer(stability))
        outputs_again = iter(steady)
        relative = pan_error(lambda _: next(outputs_again), [photo]).relative
        return relative, stroke_energy(resize(frame_to_tensor(steady[-1]), SIZE), even)

    errors, strokes = zip(*(measured(stability) for stability in (0, 0.5, 0.95)), strict=True)
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] <= 0.1
    assert strokes[2] >= 0.95 * strokes[0]


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (17, 300), (1000, 16), (63, 65)])
def test_any_size(size: tuple[int, int]) -> None:
    frames = [RANDOM.integers(0, 256, (*size, 3), np.uint8) for _ in range(3)]
    assert {output.shape for output in outputs(frames, same)[1]} == {(*size, 3)}


def test_another_size_starts_over(photo: Frame) -> None:
    _, steady = outputs([photo, photo[:300]], same)
    np.testing.assert_array_equal(steady[1], photo[:300])


@pytest.mark.parametrize("levels", [(12, 5, 9), (-12, -5, -9), (120, -80, 3)])
def test_small_differences_do_not_stay_forever(scene: Frame, levels: tuple[int, int, int]) -> None:
    scene = scene[:120, :160]
    before = np.full_like(scene, 128)
    after = (before + np.array(levels)).astype(np.uint8)
    stabilizer = Stabilizer()
    stabilizer.steady(scene, before)
    for _ in range(100):
        output = stabilizer.steady(scene, after)
    assert np.abs(output - after.astype(int)).max() <= 2


def test_strokes_stay_while_a_camera_adapts_its_exposure(scene: Frame) -> None:
    frames = [(scene * factor).astype(np.uint8) for factor in np.linspace(1, 0.6, 25)]
    plain, steady = outputs(frames)
    assert changes(steady) < 0.5 * changes(plain)
    assert abs(steady[-1].mean() - plain[-1].mean()) < 1


def test_worn_off_strokes_are_replaced(scene: Frame) -> None:
    stabilizer = Stabilizer()
    stabilizer.steady(scene, np.full_like(scene, 128))
    stylized = boiling(scene)
    output = stabilizer.steady(scene, stylized)
    assert difference(output, stylized) < 0.1 * np.abs(stylized - 128.0).mean()


def test_fade_to_black_does_not_lag(scene: Frame) -> None:
    frames = [(scene * factor).astype(np.uint8) for factor in np.linspace(1, 0, 25)]
    _, steady = outputs(frames, same)
    assert difference(steady[-1], frames[-1]) < 2


@pytest.mark.slow
def test_halo_of_a_passing_object_leaves_no_trail(scene: Frame) -> None:
    thing = np.ascontiguousarray(scene[::-1][100:160, 200:260])
    stabilizer = Stabilizer()
    for left in range(0, 480, 4):
        frame = scene.copy()
        frame[150:210, left : left + 60] = thing
        stylized = frame.copy()
        stylized[130:230, max(left - 20, 0) : left + 80] //= 2  # as networks do around objects
        output = stabilizer.steady(frame, stylized)
    wake = np.s_[150:210, left - 120 : left - 80]  # which it left 15 to 25 frames ago
    assert difference(output[wake], stylized[wake]) < 0.1 * stylized[wake].mean() / 2


def test_strokes_on_a_plain_road_stay_while_the_light_changes() -> None:
    """The flow of a surface with hardly any texture is noise then."""
    random = np.random.default_rng(1)
    road = random.normal(110, 1, (360, 640, 1)).repeat(3, 2)
    road[150:250, :160] = random.integers(60, 255, (25, 40, 3)).repeat(4, 0).repeat(4, 1)
    frames = []
    for number in range(20):
        light = road * (1 - 0.015 * number) + random.normal(0, 1, road.shape)
        light[150:250, 5 * number :][:, :160] = road[150:250, :160]  # an object that passes
        frames.append(np.clip(light, 0, 255).astype(np.uint8))
    plain, steady = outputs(frames)
    assert changes(steady, np.s_[260:]) < 0.25 * changes(plain, np.s_[260:])
