"""Files that others collected, such as the test images of image libraries, all of them tried.

`NST_RT_CORPUS` names a folder; nothing is downloaded. Every file must be stylized, or refused in
one line. `pytest -s` shows the table.
"""

import os
from pathlib import Path

import pytest
from torture.trials import Kind, Trial, faults, run_trials, table

from nst_rt.cli.mistakes import kind_of

FOLDER = os.environ.get("NST_RT_CORPUS")


@pytest.mark.skipif(FOLDER is None, reason="NST_RT_CORPUS names no folder")
def test_every_file_of_a_corpus_is_stylized_or_refused() -> None:
    files = corpus_files(Path(str(FOLDER)))
    assert files
    trials = run_trials(files)
    report = "\n".join(str(each) for each in sorted(trials, key=str))
    if log := os.environ.get("NST_RT_CORPUS_LOG"):
        Path(log).write_text(report + "\n", encoding="utf-8")
    print("\n" + table(trials, title="corpus") + "\n" + "\n".join(map(str, remarkable(trials))))
    assert not faults(trials)


def corpus_files(folder: Path) -> list[tuple[Kind, Path]]:
    """The files of a folder: videos and style models by their names, all others as images."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [(_kind(path), path) for path in files]


def remarkable(trials: list[Trial]) -> list[Trial]:
    """Images whose size or colors are not those that Pillow reads."""
    return [each for each in trials if each.kind == "compared" and "," in each.detail]


def _kind(path: Path) -> Kind:
    kind = kind_of(path.name)
    return "video" if kind == "video" else "model" if kind == "style model" else "compared"
