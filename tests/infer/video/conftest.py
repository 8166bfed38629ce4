"""A stylizer that returns frames unchanged, and a film with all kinds of tracks."""

from pathlib import Path

import pytest
from clips import write_clip
from videos import Untouched

from nst_rt.infer.stylizer import Stylizer


@pytest.fixture(scope="session")
def untouched() -> Stylizer:
    return Untouched()


@pytest.fixture(scope="session")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tracks of sound, subtitles, chapters and a title."""
    return write_clip(
        tmp_path_factory.mktemp("rich") / "in.mkv",
        pts=range(0, 512 * 50, 512),
        audio="aac",
        audio_seconds=2,
        languages=("eng", "deu"),
        subtitles=[(0.1, 0.5, "Hello"), (1.2, 1.8, "World")],
        chapters=[(0, 0.8, "one"), (0.8, 2, "two")],
        metadata={"title": "A film"},
    )
