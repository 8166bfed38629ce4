"""Learning a style, step by step, with real VGG19 features; the process around it is tested by
`tests/infer/learning`.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from nst_rt.errors import NotFiniteError
from nst_rt.images.convert import resize, tensor_to_frame
from nst_rt.images.io import load_image
from nst_rt.learning.messages import Figures
from nst_rt.learning.request import Image, LearningRequest
from nst_rt.models.merge import amplified
from nst_rt.models.style_model import StyleModel, find_style
from nst_rt.train import learning
from nst_rt.train.learning import Images, Learner

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def rgb(astronaut: Path) -> Image:
    """Shape (120, 120, 3)."""
    return np.ascontiguousarray(tensor_to_frame(load_image(astronaut, size=120))[..., ::-1])


@pytest.fixture(autouse=True)
def small_crops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning, "CROP", 64)


@pytest.fixture(scope="module")
def ink() -> Path:
    return Path(__file__).parents[2] / "nst_rt/assets/styles/ink.jpg"


@pytest.fixture(scope="module")
def learner(ink: Path) -> Learner:
    return Learner(LearningRequest.of(ink, start_from="udnie"), device="cpu")


def same(one: StyleModel, other: StyleModel) -> bool:
    states = (each.network.state_dict().values() for each in (one, other))
    return all(torch.equal(*weights) for weights in zip(*states, strict=True))


def test_some_images_are_kept_aside(rgb: Image) -> None:
    images = Images()
    changed = [images.add(rgb) for _ in range(60)]
    assert [place for place, each in enumerate(changed) if each] == [0, 1, 9, 17, 25]
    assert len(images.aside) == 4
    assert len(images.training) == 56
    for _ in range(200):
        images.add(rgb)
    assert len(images.training) == 128  # and no more memory


def test_crops_are_random_but_judged_ones_stay(rgb: Image) -> None:
    images = Images()
    images.add(rgb)
    assert images.judged == images.training  # there is no other
    first, second = images.batch(3), images.batch(3)
    assert first is not None
    assert second is not None
    assert first.shape == (3, 3, 64, 64)
    assert 0 <= float(first.min()) <= float(first.max()) <= 1
    assert not torch.equal(first, second)
    judged = [images.judged_crops() for _ in range(2)]
    assert isinstance(judged[0], Tensor)
    assert isinstance(judged[1], Tensor)
    assert torch.equal(judged[0], judged[1])


def test_every_second_crop_is_of_others(rgb: Image) -> None:
    red, blue = rgb * np.uint8([1, 0, 0]), rgb * np.uint8([0, 0, 1])
    images = Images()
    assert images.batch(2) is None
    assert images.add(blue, is_other=True)
    assert images.judged == [blue]  # as long as there is no other
    assert not images.add(blue, is_other=True)
    only = images.batch(2)
    assert only is not None
    assert float(only[:, 0].max()) == 0 < float(only[:, 2].min(0).values.max())
    changed = [images.add(red) for _ in range(2)]
    assert changed == [True, True]
    assert (len(images.training), len(images.others), images.seen) == (1, 2, 4)
    crops = images.batch(4)
    assert crops is not None
    assert [bool(crop[0].max() > crop[2].max()) for crop in crops] == [True, False, True, False]
    for image in images.judged:
        assert image[..., 2].max() == 0
    for _ in range(200):
        images.add(blue, is_other=True)
    assert len(images.others) == 128


@pytest.mark.parametrize("shape", [(40, 40, 3), (16, 300, 3)])
def test_small_images_are_enlarged(shape: tuple[int, ...], rgb: Image) -> None:
    images = Images()
    images.add(np.resize(rgb, shape).astype(np.uint8))
    crops = images.batch(2)
    assert crops is not None
    assert crops.shape == (2, 3, 64, 64)


def test_images_of_one_color_are_nothing_to_learn_from(learner: Learner) -> None:
    learner.images = Images()
    assert not learner.step()
    assert not learner.judge()
    assert learner.figures() is None
    assert learner.preview() is None
    learner.images.add(np.full((80, 80, 3), 90, np.uint8))
    assert learner.images.batch(2) is None
    assert not learner.step()
    assert not learner.judge()


def test_learning(learner: Learner, rgb: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    learner.restart()
    learner.images = Images()
    for _ in range(2):
        learner.images.add(rgb)
    start = learner.model()
    model, _ = find_style("udnie")
    assert start.network.kind == model.network.kind
    assert start.training["start_from"] == "udnie"
    assert not learner.judge()  # it is the start itself
    for _ in range(12):
        assert learner.step()
    assert learner.crops == 24
    assert learner.rate > 0
    assert same(learner.model(), start)  # until it is judged better
    assert learner.judge()
    learned = learner.model(Figures(0.5, 0.8, None, 0.123456))
    assert not same(learned, start)
    assert learned.style_names == ["ink"]
    assert learned.styles[0].fingerprint
    record = learned.training
    assert record["crops"] == 24
    assert record["key"] == learner.request.key
    assert record["figures"] == {
        "strokes": 0.5,
        "contrast": 0.8,
        "chroma": None,
        "pan_error": 0.123,
    }
    preview = learner.preview()
    assert preview is not None
    assert preview.shape == rgb.shape
    figures = learner.figures()
    assert figures is not None
    assert figures.contrast > 0
    assert figures.pan_error is not None
    assert 0 < figures.pan_error < 2
    monkeypatch.setattr(learning, "CROP", 224)
    small = learner.figures()  # the image is too small for a pan
    assert small is not None
    assert small.pan_error is None


def test_file_has_exactly_what_was_shown(learner: Learner, tmp_path: Path) -> None:
    model = learner.model()
    assert same(StyleModel.load(model.save(tmp_path / "ink.safetensors")), model)


def test_known_style_goes_on(learner: Learner, rgb: Image) -> None:
    learner.images = Images()
    learner.images.add(rgb)
    learner.restart()
    for _ in range(12):
        learner.step()
    assert learner.judge()
    known = learner.model()
    learner.restart()
    assert learner.crops == 0
    assert not same(learner.model(), known)
    learner.restart(known)
    assert same(learner.model(), known)
    assert learner.crops == known.training["crops"] == 24
    assert learner.model().training["start_from"] == "udnie"
    learner.step()
    assert learner.crops == 26


def test_worse_weights_do_not_replace_better_ones(
    learner: Learner, rgb: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner.images = Images()
    learner.images.add(rgb)
    learner.restart()
    start = learner.model()
    losses = iter([1.0, 1.5, 2.0, 2.5, 2.6, 1.4])
    for forget in (False, False, True):  # other images to judge by: the best is judged anew
        learner.step()
        with monkeypatch.context() as patch:
            patch.setattr(learner, "_judged", lambda *_: next(losses))
            if forget:
                learner.forget_judgement()
            assert not learner.judge()
        assert same(learner.model(), start)
    with monkeypatch.context() as patch:
        patch.setattr(learner, "_judged", lambda *_: next(losses))
        assert learner.judge()
    assert not same(learner.model(), start)


def test_contrast_that_is_short_is_amplified(learner: Learner, rgb: Image) -> None:
    learner.restart()
    learner.images = Images()
    learner.images.add(rgb)
    network, image = learner._averaged, resize(learning._tensor(rgb), 96)
    for factor, is_short in ((0.3, True), (3.0, False)):
        before = amplified(network, factor)
        after = learner._with_contrast(before)
        deviations = [learner._stylized(image, each).std() for each in (before, after)]
        assert (deviations[1] > 1.1 * deviations[0]) == is_short
        assert is_short or torch.equal(deviations[0], deviations[1])


def test_settled_when_it_no_longer_gets_better(
    learner: Learner, rgb: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner.restart()
    learner.images = Images()
    learner.images.add(rgb)
    losses = iter([1.1, 1.0, 0.9, 0.895, 0.894])
    monkeypatch.setattr(learner, "_judged", lambda *_: next(losses))
    found = []
    for crops in (100, 700, 1400, 1899, 1900):
        learner.crops = crops
        if crops < 1899:
            assert learner.judge()
        found.append(learner.is_settled)
    assert found == [False, False, False, False, True]


def test_closest_style_of_the_gallery_is_the_start() -> None:
    udnie, _ = find_style("udnie")
    wanted = next(style.fingerprint for style in udnie.styles if style.name == "udnie")
    assert udnie.style_names[learning.closest_style(udnie, wanted)] == "udnie"


def test_loss_that_stays_not_finite_is_an_error(
    learner: Learner, rgb: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner.restart()
    learner.images = Images()
    learner.images.add(rgb)
    before = learner.model()
    total = learner._total
    monkeypatch.setattr(learner, "_total", lambda *given: total(*given) * float("nan"))
    for _ in range(9):
        assert learner.step()
    with pytest.raises(NotFiniteError):
        learner.step()
    assert same(learner.model(), before)


def test_several_style_images(painting: Path, ink: Path, rgb: Image) -> None:
    def gram(style: object) -> Tensor:
        request = LearningRequest.of(style, style_size=300, start_from="udnie")  # type: ignore[arg-type]
        return Learner(request, device="cpu")._target["relu4_1"]

    both = gram({str(painting): 1, str(ink): 3})
    torch.testing.assert_close(both, 0.25 * gram(painting) + 0.75 * gram(ink))
    assert resize(load_image(ink), 32).shape[0] == 1
