"""Bad days: `NST_RT_TORTURE=1`, as `make torture` sets it, runs all of them, else a sample runs."""

import os
from pathlib import Path

import pytest

FULL = bool(os.environ.get("NST_RT_TORTURE"))
SEEDS = range(5 if FULL else 1)
_HERE = Path(__file__).parent


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Runs a test with an argument `seed` once for each seed."""
    if "seed" in metafunc.fixturenames and _HERE in metafunc.definition.path.parents:
        metafunc.parametrize("seed", SEEDS)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All are slow; those marked `torture` are for `make torture` only."""
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.slow)
            if item.get_closest_marker("torture") and not FULL:
                item.add_marker(pytest.mark.skip(reason="make torture runs it"))
