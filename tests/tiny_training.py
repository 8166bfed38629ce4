"""How small the trainings of the tests are."""

from collections.abc import Callable
from pathlib import Path

STEPS, SIZE = 6, 64
Train = Callable[..., Path]
