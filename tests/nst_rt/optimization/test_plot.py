import sys
import warnings
from pathlib import Path

import pytest
from PIL import Image

from nst_rt.errors import InputError
from nst_rt.images.io import load_image
from nst_rt.optimization.plot import PLOT_SUFFIXES, LossRecord, check_plot, plot_losses


def records(count: int = 12) -> list[LossRecord]:
    return [
        LossRecord(
            step, 64 * (1 + step // 5), 0.3 / (step + 1), 2 / (step + 1), 0.01, 3 / (step + 1)
        )
        for step in range(count)
    ]


@pytest.mark.parametrize("suffix", PLOT_SUFFIXES)
def test_chart_is_written_in_every_format(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"p{suffix}"
    plot_losses(records(), path)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    content = path.read_bytes()
    if suffix in (".png", ".jpg"):
        image = load_image(path)
        assert min(image.shape[-2:]) >= 400
        colors = image.flatten(2)[0].T.mul(7).round().unique(dim=0)
        assert len(colors) > 8  # white, black and lines
    elif suffix == ".pdf":
        assert content.startswith(b"%PDF")
    else:
        assert b"<svg" in content[:1000]


def test_image_sizes_are_separated(tmp_path: Path) -> None:
    """Losses at different sizes are not comparable."""
    plot_losses(records(), tmp_path / "a.svg")
    plot_losses([record._replace(size=64) for record in records()], tmp_path / "b.svg")
    scaled, flat = ((tmp_path / name).read_text() for name in ("a.svg", "b.svg"))
    for size in ("128 px", "192 px"):
        assert size in scaled
        assert size not in flat


@pytest.mark.parametrize(
    "found",
    [
        records(1),
        [record._replace(content=0.0, tv=0.0) for record in records()],  # as at the start
        [record._replace(total=1e30 * record.total) for record in records()],
    ],
    ids=["one", "zeros", "huge"],
)
def test_extreme_losses_are_plotted_without_warnings(
    tmp_path: Path, found: list[LossRecord]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot_losses(found, tmp_path / "p.png")
    with Image.open(tmp_path / "p.png") as plot:
        plot.verify()


def test_missing_matplotlib_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r"nst-rt\[plot\]"):
        check_plot(tmp_path / "p.png")
