"""What tests of live sessions pretend: a still, a style, a stylizer."""

from collections.abc import Callable
from concurrent.futures import Future
from unittest.mock import MagicMock

import numpy as np

from nst_rt.images.io import Frame
from nst_rt.infer.adaptive import AdaptiveStylizer, LiveStyle

WAVES = LiveStyle({"waves": 1.0})
STILL = np.full((48, 64, 3), (200, 100, 50), np.uint8)


def fake_stylizer(stylize: Callable[..., Frame]) -> tuple[MagicMock, Future[AdaptiveStylizer]]:
    """A stylizer that does what a function does, as it is and loaded."""
    stylizer = MagicMock(spec=AdaptiveStylizer)
    stylizer.stylize.side_effect = stylize
    stylizer.__str__.return_value = "torch"
    stylizer.preparing = False
    loading: Future[AdaptiveStylizer] = Future()
    loading.set_result(stylizer)
    return stylizer, loading
