"""How small the trainings of the tests are."""

from collections.abc import Callable

from nst_rt.models.style_model import StyleModel

STEPS, SIZE = 6, 64
Train = Callable[..., StyleModel]
