import inspect
import math
from dataclasses import replace
from itertools import pairwise
from typing import Any, get_args

import pytest

from nst_rt.cli.options import signature_defaults
from nst_rt.errors import InputError, UnknownNameError
from nst_rt.infer.strokes import DEFAULT_FRACTION, STROKE
from nst_rt.losses import layer_weights
from nst_rt.models.vgg import VGG19Features
from nst_rt.optimization.presets import (
    PRESETS,
    WORKING_SIZE,
    OptimizerSettings,
    PresetName,
    choose_settings,
)
from nst_rt.train.task import StyleTraining


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_valid(name: str) -> None:
    settings = PRESETS[name]
    VGG19Features([*settings.content_layers, *settings.style_layers], pooling=settings.pooling)
    assert settings.schedule(512, 16)[-1][0] == 512


def test_balanced_is_the_default() -> None:
    assert PRESETS["balanced"] == OptimizerSettings()
    assert tuple(PRESETS) == get_args(PresetName)


def test_choose_settings_replaces_the_given_values() -> None:
    keras = PRESETS["keras"]
    assert choose_settings("keras", style_weight=7, tv_weight=None) == replace(
        keras, style_weight=7
    )
    # Adam's learning rate would be useless for L-BFGS.
    assert choose_settings("keras", optimizer="lbfgs").learning_rate == 1
    assert choose_settings("keras", optimizer="lbfgs", learning_rate=0.5).learning_rate == 0.5
    assert choose_settings("keras", optimizer="adam").learning_rate == keras.learning_rate
    with pytest.raises(UnknownNameError, match="balanced"):
        choose_settings("balancd")


def test_gatys_matches_its_authors_code() -> None:
    gatys = PRESETS["gatys"]
    assert dict(gatys.content_layers) == {"relu4_2": 1.0}
    channels = {"relu1_1": 64, "relu2_1": 128, "relu3_1": 256, "relu4_1": 512, "relu5_1": 512}
    weights = layer_weights(gatys.style_layers, gatys.normalization)
    for layer, c in channels.items():
        assert gatys.style_weight * weights[layer] == pytest.approx(1000 / c**2)
    assert (gatys.content_weight, gatys.tv_weight) == (1, 0)
    assert (gatys.pooling, gatys.init, gatys.optimizer) == ("average", "content", "lbfgs")
    assert gatys.schedule(512, 16) == [(512, 500)]


def test_keras_matches_its_tutorial() -> None:
    keras = PRESETS["keras"]
    assert layer_weights(keras.content_layers, keras.normalization) == {"relu5_2": 1.0}
    assert layer_weights(keras.style_layers, keras.normalization) == {
        f"relu{block}_1": 0.2 for block in range(1, 6)
    }
    assert (keras.content_weight, keras.style_weight, keras.tv_weight) == (1e4, 1e-2, 30)
    assert keras.optimizer == "adam"
    assert (keras.learning_rate, keras.betas[0], keras.epsilon) == (0.02, 0.99, 0.1)
    assert (keras.init, keras.pooling) == ("content", "max")
    assert keras.schedule(512, 16) == [(512, 1000)]


def test_training_has_the_loss_of_trainings() -> None:
    training = PRESETS["training"]
    recipe = inspect.signature(StyleTraining).parameters
    for name in (
        "content_layers",
        "style_layers",
        "content_weight",
        "tv_weight",
        "content_focus",
    ):
        assert getattr(training, name) == recipe[name].default
    learning = signature_defaults("nst_rt.learning.request:LearningRequest")
    assert training.style_weight == learning["style_weight"]
    assert (training.prepares_styles, training.style_size) == (True, None)
    assert (training.normalization, training.pooling) == ("relative", "max")
    assert training.schedule(512, 16) == [(512, 50)]
    assert STROKE / DEFAULT_FRACTION == WORKING_SIZE


def test_style_size_is_for_training_alone() -> None:
    assert choose_settings("training", style_size=256).style_size == 256
    assert [name for name, preset in PRESETS.items() if preset.prepares_styles] == ["training"]
    with pytest.raises(InputError, match="style_scale"):
        choose_settings("balanced", style_size=256)


def test_rounding_does_not_drop_a_scale() -> None:
    sizes = [size for size, _ in PRESETS["multiscale"].schedule(512, 16)]
    assert sizes == [128, 181, 256, 362, 512]


@pytest.mark.parametrize("size", [256, 512, 700, 1000, 3001])
@pytest.mark.parametrize("factor", [math.sqrt(2), 2.0, 3.0])
def test_scales_grow_by_the_scale_factor(size: int, factor: float) -> None:
    sizes = [s for s, _ in replace(OptimizerSettings(), scale_factor=factor).schedule(size, 16)]
    assert sizes[-1] == size
    assert 128 <= sizes[0] < 128 * factor
    for small, large in pairwise(sizes):
        assert large / small == pytest.approx(factor, abs=(1 + factor) / 2 / small)  # rounding


def test_last_number_of_steps_serves_all_further_scales() -> None:
    settings = replace(OptimizerSettings(), steps=(9, 5), min_size=100)
    assert settings.schedule(800, 16) == [(100, 9), (200, 5), (400, 5), (800, 5)]
    assert settings.schedule(100, 16) == [(100, 9)]
    assert replace(settings, min_size=None).schedule(800, 16) == [(800, 9)]


def test_size_below_min_size_is_the_only_scale() -> None:
    assert OptimizerSettings().schedule(100, 16) == [(100, 150)]


@pytest.mark.parametrize("factor", [math.sqrt(2), 2.0])
@pytest.mark.parametrize("short", [16, 20, 33, 64, 97])
def test_no_scale_is_too_small_for_the_layers(short: int, factor: float) -> None:
    settings = replace(OptimizerSettings(), min_size=1, scale_factor=factor)
    for long in range(100, 500, 7):
        smallest = 16 * long / short
        coarsest, _ = settings.schedule(long, smallest)[0]
        assert coarsest >= smallest - 0.5  # rounding
        assert round(short * coarsest / long) >= 16


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"learning_rate": -1.0}, "-1.0"),
        ({"learning_rate": math.nan}, "nan"),
        ({"learning_rate": math.inf}, "inf"),
        ({"steps": ()}, "steps"),
        ({"steps": (5, 0)}, "5, 0"),
        ({"steps": (-3,)}, "-3"),
        ({"min_size": 0}, "0"),
        ({"style_size": 127}, "127"),
        ({"style_size": 1025}, "1025"),
        ({"optimizer": "sgd"}, "sgd"),
    ],
)
def test_bad_value(changes: dict[str, Any], word: str) -> None:
    with pytest.raises(InputError, match=word):
        replace(OptimizerSettings(), **changes)
