"""Tools that tests need and that may not be installed."""

import os
import shutil

import pytest


def missing_tool(reason: str) -> None:
    """Skip a test, or fail it where the tools are known to be there."""
    if os.environ.get("NST_RT_REQUIRE_TOOLS"):
        pytest.fail(reason)
    pytest.skip(reason)


def require_tools(*tools: str) -> None:
    for tool in tools:
        if shutil.which(tool) is None:
            missing_tool(f"{tool} is not installed")
