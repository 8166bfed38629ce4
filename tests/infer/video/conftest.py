"""A stylizer that returns frames unchanged."""

import pytest
from videos import Untouched

from nst_rt.infer.stylizer import Stylizer


@pytest.fixture(scope="session")
def untouched() -> Stylizer:
    return Untouched()
