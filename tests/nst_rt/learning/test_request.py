import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nst_rt.errors import InputError
from nst_rt.images.io import load_image
from nst_rt.images.style_image import fitting_size
from nst_rt.learning.request import LearningRequest, style_name


@pytest.fixture
def image(tmp_path: Path, painting: Path) -> Path:
    """A small style image."""
    file = tmp_path / "small.png"
    Image.open(painting).resize((100, 80)).save(file)
    return file


def test_all_forms_of_an_image_are_one_style(image: Path) -> None:
    of_file = LearningRequest.of(image)
    assert of_file.name == "small"
    assert of_file.weights == (1.0,)
    [levels] = of_file.images
    assert levels.shape == (80, 100, 3)
    assert levels.dtype == np.uint8
    forms: list[Any] = [str(image), np.asarray(Image.open(image)), Image.open(image)]
    for form in [*forms, load_image(image)]:
        assert LearningRequest.of(form).key == of_file.key


def test_key_is_that_of_pixels_settings_and_start(image: Path, painting: Path) -> None:
    key = LearningRequest.of(image).key
    changes: list[dict[str, Any]] = [
        {"style_size": 300},
        {"style_weight": 5.0},
        {"start_from": "udnie"},
    ]
    keys = {LearningRequest.of(image, **change).key for change in changes}
    assert len(keys | {key}) == len(changes) + 1
    Image.open(painting).rotate(90).resize((100, 80)).save(image)  # another under the same name
    assert LearningRequest.of(image).key != key
    copy = image.with_name("copy.png")
    copy.write_bytes(image.read_bytes())
    assert LearningRequest.of(copy).key == LearningRequest.of(image).key


def test_style_size_suits_the_details_of_the_images(painting: Path) -> None:
    mosaic = painting.with_name("mosaic.jpg")
    coarse, fine = LearningRequest.of(painting), LearningRequest.of(mosaic)
    for request in (coarse, fine):
        assert request.style_size == fitting_size(request.tensors(), request.weights)
    assert coarse.style_size < LearningRequest.of([painting, mosaic]).style_size < fine.style_size
    same = LearningRequest.of(painting, style_size=coarse.style_size)
    assert same.key == coarse.key


def test_style_sizes_are_in_range_and_ascend(painting: Path) -> None:
    for image in (painting, painting.with_name("mosaic.jpg")):
        request = LearningRequest.of(image, style_size=200)
        sizes = request.style_sizes()
        assert sizes[0] < sizes[1] < sizes[2]
        assert sizes[1] == LearningRequest.of(image).style_size
        for size in sizes:
            assert replace(request, style_size=size).style_size == size


def test_several_images_have_weights(image: Path, painting: Path) -> None:
    text = LearningRequest.of(f"{image}=3,{painting}=1")
    assert text.weights == (0.75, 0.25)
    assert text.name == "small_75_swirls_25" == style_name(f"{image}=3,{painting}=1")
    assert LearningRequest.of({str(image): 6, str(painting): 2}).key == text.key
    even = LearningRequest.of([image, painting])
    assert even.weights == (0.5, 0.5)
    assert even.name == "small_swirls"
    assert style_name(image) == "small"


def test_large_images_are_reduced(tmp_path: Path) -> None:
    file = tmp_path / "large.jpg"
    row = np.linspace(0, 255, 20_000).astype(np.uint8)
    Image.fromarray(np.broadcast_to(row, (200, 20_000)).copy()).save(file)
    [levels] = LearningRequest.of(file).images
    assert levels.shape == (10, 1024, 3)


@pytest.mark.parametrize(
    ("side", "color"), [(30, None), (63, None), (100, (120, 10, 200))], ids=["30", "63", "plain"]
)
def test_images_without_a_style_are_errors(
    tmp_path: Path, painting: Path, side: int, color: tuple[int, int, int] | None
) -> None:
    file = tmp_path / "image.png"
    image = Image.open(painting).resize((side, 100))
    (image if color is None else Image.new("RGB", (side, 100), color)).save(file)
    for form in (file, np.asarray(Image.open(file))):
        with pytest.raises(InputError):
            LearningRequest.of(form)


@pytest.mark.parametrize(
    "settings",
    [
        {"style_size": 20},
        {"style_size": 5000},
        {"style_weight": 0.0},
        {"style_weight": -1.0},
        {"style_weight": float("nan")},
    ],
)
def test_settings_out_of_range_are_errors(image: Path, settings: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        LearningRequest.of(image, **settings)


@pytest.mark.parametrize("form", ["missing.jpg", "a.jpg=x", [], {}, {"missing.jpg": 1.0}, 7, None])
def test_other_things_are_errors(form: Any) -> None:
    with pytest.raises(InputError):
        LearningRequest.of(form)


def test_weights_of_zero_are_an_error(image: Path) -> None:
    for weight in (0, -1):
        with pytest.raises(InputError):
            LearningRequest.of({str(image): weight})


def test_tensors(image: Path) -> None:
    [tensor] = LearningRequest.of(image).tensors()
    torch.testing.assert_close(tensor, load_image(image))


def test_it_is_sent_without_what_is_computed_from_it(image: Path) -> None:
    request = LearningRequest.of(image, style_size=300, start_from="udnie")
    before = pickle.dumps(request)
    assert request.key
    assert pickle.dumps(request) == before
    assert pickle.loads(before).key == request.key
