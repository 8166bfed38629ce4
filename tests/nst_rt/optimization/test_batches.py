"""The optimizer on lists, on several content images, and on grids of settings."""

import os
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from optimizer_runs import QUICK, SHALLOW, interrupting, names

from nst_rt.cli.optimize import parse_setting
from nst_rt.errors import (
    InputError,
    InterruptedWorkError,
    OutputExistsError,
    PartialResultError,
    StyleTransferError,
)
from nst_rt.images.io import load_picture
from nst_rt.optimization.batches import OptimizeJob, optimize_grid, optimize_jobs, optimize_list
from nst_rt.optimization.optimizer import Iterate, optimize
from nst_rt.optimization.runs import OptimizeResult, optimize_to_file

HEADER = "content,style_image,output"
GOOD = "in/content.png,in/style.png,a.png"
GOOD_TOO = "in/content.png,in/style.png,b.png"


class TestList:
    @pytest.fixture
    def folder(self, tmp_path: Path, content: Path, style: Path, painting: Path) -> Path:
        """A folder with images in it, to write lists into."""
        (tmp_path / "in").mkdir()
        for file in (content, style):
            shutil.copy(file, tmp_path / "in")
        shutil.copy(painting.with_name("mosaic.jpg"), tmp_path / "in")
        return tmp_path

    def run(self, folder: Path, *lines: str, **options: Any) -> list[OptimizeResult]:
        """`optimize_list` of a list with these lines."""
        (folder / "pairs.csv").write_text("\n".join([*lines, ""]), encoding="utf-8")
        return optimize_list(folder / "pairs.csv", parse=parse_setting, **QUICK | options)

    def outputs(self, folder: Path) -> list[str]:
        return [name for name in names(folder) if name not in ("in", "pairs.csv")]

    def test_every_line_is_optimized_with_its_settings(self, folder: Path) -> None:
        calls: list[tuple[float, float | None, str]] = []
        results = self.run(
            folder,
            f"{HEADER},style_weight,steps",
            f"{GOOD},,",
            "in/content.png,in/style.png;in/mosaic.jpg,b.png,30,3",
            'in/content.png,in/style.png,"c, too.png",30,"2,1"',
            progress=lambda *call: calls.append(call),
        )
        assert self.outputs(folder) == ["a.png", "b.png", "c, too.png"]
        assert [result.output.name for result in results] == self.outputs(folder)
        assert [result.iterate.steps for result in results] == [4, 3, 2]
        done = [done for done, _, _ in calls]
        assert done == sorted(done)
        assert (done[0], done[-1]) == (0, 3)
        assert {total for _, total, _ in calls} == {3}
        assert "2/3 b.png" in calls[6][2]
        files = {"content": folder / "in/content.png", "output": folder / "two.png"}
        styles = [folder / "in/style.png", folder / "in/mosaic.jpg"]
        optimize_to_file(**files, style=styles, **QUICK | {"style_weight": 30.0, "steps": [3]})
        assert (folder / "two.png").read_bytes() == (folder / "b.png").read_bytes()
        assert (folder / "a.png").read_bytes() != (folder / "b.png").read_bytes()

    def test_spreadsheet_with_byte_order_mark_and_crlf(self, folder: Path) -> None:
        text = f"\ufeff{HEADER}\r\nin/content.png,in/style.png,Sonne über Köln.png\r\n"
        (folder / "pairs.csv").write_bytes(text.encode())
        optimize_list(folder / "pairs.csv", parse=parse_setting, **QUICK)
        assert self.outputs(folder) == ["Sonne über Köln.png"]

    @pytest.mark.parametrize(
        ("lines", "word"),
        [
            ([], HEADER.replace(",", ", ")),
            ([HEADER], "output"),
            (["content,style_image", "in/content.png,in/style.png"], "output"),
            ([f"{HEADER},color", f"{GOOD},red"], "color"),
            ([f"{HEADER}", f"{GOOD},more"], "line 2"),
            ([HEADER, GOOD, "in/no.png,in/style.png,b.png"], r"line 3: .*no\.png"),
            ([HEADER, GOOD, "in/content.png,in/no.png,b.png"], r"line 3: .*no\.png"),
            ([HEADER, GOOD, "in/content.png,in/style.png;no.png,b.png"], r"line 3: .*no\.png"),
            ([HEADER, GOOD, "in/content.png,in/style.png,b.xyz"], r"line 3: .*b\.xyz"),
            ([HEADER, GOOD, "in/content.png,in/style.png,no/b.png"], r"line 3: .*no"),
            ([HEADER, GOOD, "in/content.png,in/style.png"], "line 3"),
            ([HEADER, GOOD, f"{GOOD_TOO},more"], "line 3"),
            ([HEADER, GOOD, ",in/style.png,b.png"], "line 3"),
            ([HEADER, GOOD, GOOD], r"a\.png"),
            ([f"{HEADER},steps", f"{GOOD},2", f"{GOOD_TOO},two"], "line 3: .*two"),
            ([f"{HEADER},blend", f"{GOOD},", f"{GOOD_TOO},x"], "line 3: .*blend"),
            ([HEADER, GOOD, "", "in/no.png,in/style.png,b.png"], r"line 4: .*no\.png"),
            ([HEADER, '"in/content.png,in/style.png,a.png'], "CSV"),
            ([HEADER, "in/content.png,in/style.png,in/style.png"], r"style\.png"),
        ],
    )
    def test_bad_list_is_refused_before_any_work(
        self, folder: Path, lines: Sequence[str], word: str
    ) -> None:
        with pytest.raises(StyleTransferError, match=word) as raised:
            self.run(folder, *lines, overwrite="in/style.png,in/style.png" in lines[-1:])
        assert "\n" not in str(raised.value)
        assert self.outputs(folder) == []

    @pytest.mark.parametrize("name", ["in/content.png", "missing.csv"])
    def test_list_must_be_a_text_file(self, folder: Path, name: str) -> None:
        with pytest.raises(InputError, match=name):
            optimize_list(folder / name, parse=parse_setting)

    def test_existing_outputs(self, folder: Path) -> None:
        lines = [HEADER, GOOD, GOOD_TOO]
        (folder / "b.png").write_text("precious")
        with pytest.raises(OutputExistsError, match=r"line 3: .*b\.png"):
            self.run(folder, *lines)
        assert self.outputs(folder) == ["b.png"]
        resumed = self.run(folder, *lines, resume=True)
        assert [result.output.name for result in resumed] == ["a.png"]
        assert (folder / "b.png").read_text() == "precious"
        assert len(self.run(folder, *lines, overwrite=True)) == 2
        assert load_picture(folder / "b.png").image.shape == (1, 3, 32, 48)

    def test_resume(self, folder: Path) -> None:
        lines = [HEADER, GOOD, GOOD_TOO, "in/content.png,in/mosaic.jpg,c.png"]
        starts = 0

        def on_iterate(iterate: Iterate) -> None:
            nonlocal starts
            starts += iterate.step == 0
            interrupting(2 if starts == 2 else -1)(iterate)

        with pytest.raises(InterruptedWorkError, match=r"b\.partial\.png"):
            self.run(folder, *lines, on_iterate=on_iterate)
        assert self.outputs(folder) == ["a.png", "b.partial.png", "b.partial.pt"]
        steps: list[int] = []
        results = self.run(
            folder, *lines, resume=True, on_iterate=lambda iterate: steps.append(iterate.step)
        )
        assert [result.output.name for result in results] == ["b.png", "c.png"]
        assert steps == [3, 4, 0, 1, 2, 3, 4]
        assert self.outputs(folder) == ["a.png", "b.png", "c.png"]
        assert (folder / "a.png").read_bytes() == (folder / "b.png").read_bytes()

    def test_resume_of_an_interrupted_overwrite(self, folder: Path) -> None:
        self.run(folder, HEADER, GOOD)
        with pytest.raises(InterruptedWorkError):
            self.run(folder, HEADER, GOOD, overwrite=True, on_iterate=interrupting(2))
        assert self.outputs(folder) == ["a.partial.png", "a.partial.pt", "a.png"]
        assert len(self.run(folder, HEADER, GOOD, resume=True)) == 1
        assert self.outputs(folder) == ["a.png"]

    def test_failed_line_does_not_stop_the_others(
        self, folder: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (folder / "in/text.png").write_text("not an image")
        bad = "in/text.png,in/style.png,b.png"
        with pytest.raises(PartialResultError, match="line 3") as raised:
            self.run(folder, HEADER, GOOD, bad, "in/content.png,in/mosaic.jpg,c.png")
        assert raised.value.exit_code == 3
        assert isinstance(raised.value.result, list)
        assert len(raised.value.result) == 2
        assert self.outputs(folder) == ["a.png", "c.png"]
        (warning,) = caplog.messages
        assert "line 3" in warning
        assert "text.png" in warning


def test_jobs_that_share_a_style(content: Path, style: Path, tmp_path: Path) -> None:
    jobs = [
        OptimizeJob(file, [style], tmp_path / file.name, file.name) for file in (content, style)
    ]
    assert [result.output for result in optimize_jobs(jobs, **QUICK)] == [
        tmp_path / content.name,
        tmp_path / style.name,
    ]


class TestGrid:
    @pytest.fixture
    def sheet(self, tmp_path: Path) -> Path:
        return tmp_path / "sheet.png"

    @pytest.mark.slow
    def test_holds_every_combination(self, content: Path, style: Path, sheet: Path) -> None:
        notes: list[str] = []
        weights, layers = (1.0, 100.0), (SHALLOW, {"relu1_1": 1.0, "relu1_2": 1.0})
        output = optimize_grid(
            content,
            [style],
            sheet,
            {
                "style_weight": [("1", weights[0]), ("100", weights[1])],
                "content_layers": [("one", layers[0]), ("two", layers[1])],
            },
            progress=lambda done, total, note: notes.append(note),
            **QUICK,
        )
        assert "3/4 style_weight 100  content_layers one" in notes[2 * 5]
        assert output == sheet
        assert names(sheet.parent) == ["sheet.png"]
        image = load_picture(output).image
        caption = image.shape[-2] // 2 - 32
        assert image.shape == (1, 3, 2 * (32 + caption), 2 * 48)
        assert 10 <= caption <= 30
        for row, weight in enumerate(weights):
            for column, chosen in enumerate(layers):
                settings = QUICK | {"style_weight": weight, "content_layers": chosen}
                top, left = row * (32 + caption), column * 48
                cell = image[:, :, top : top + 32, left : left + 48]
                expected = optimize(content, style, **settings)
                torch.testing.assert_close(cell, expected, atol=0.51 / 255, rtol=0)

    @pytest.mark.parametrize(
        ("cells", "word"),
        [
            ({"style_weight": [("1", 1.0), ("-1", -1.0)]}, "-1"),
            ({"content_layers": [("a", SHALLOW), ("b", {"relu9_9": 1.0})]}, "relu9_9"),
            ({"size": [("48", 48), ("0", 0)]}, "0"),
        ],
    )
    def test_bad_cell_is_refused_before_any_work(
        self, content: Path, style: Path, sheet: Path, cells: dict[str, Any], word: str
    ) -> None:
        seen: list[str] = []
        with pytest.raises(StyleTransferError, match=word):
            optimize_grid(
                content, [style], sheet, cells, progress=lambda *call: seen.append(call[2]), **QUICK
            )
        assert not seen
        assert names(sheet.parent) == []

    def test_existing_or_input_file_is_kept(self, content: Path, style: Path, sheet: Path) -> None:
        cells = {"style_weight": [("1", 1.0)]}
        sheet.write_text("precious")
        with pytest.raises(OutputExistsError):
            optimize_grid(content, [style], sheet, cells, **QUICK)
        assert sheet.read_text() == "precious"
        optimize_grid(content, [style], sheet, cells, overwrite=True, **QUICK)
        assert load_picture(sheet).image.shape[-1] == 48
        with pytest.raises(InputError, match=content.name):
            optimize_grid(content, [style], content, cells, overwrite=True, **QUICK)

    @pytest.mark.slow
    def test_cells_of_several_sizes(self, content: Path, style: Path, sheet: Path) -> None:
        optimize_grid(content, [style], sheet, {"size": [("48", 48), ("96", 96)]}, **QUICK)
        height, width = load_picture(sheet).image.shape[-2:]
        assert width >= 48 + 96
        assert height >= 64

    @pytest.mark.slow
    def test_interrupted_sheet_holds_the_finished_cells(
        self, content: Path, style: Path, sheet: Path
    ) -> None:
        cells = {"style_weight": [("1", 1.0), ("9", 9.0)], "steps": [("2", [2]), ("3", [3])]}

        def run(stop: int, **options: bool) -> None:
            def on_progress(done: float, total: float | None, note: str) -> None:
                if note.startswith(f"{stop}/"):
                    os.kill(os.getpid(), signal.SIGINT)

            optimize_grid(content, [style], sheet, cells, progress=on_progress, **options, **QUICK)

        with pytest.raises(KeyboardInterrupt):  # nothing to keep
            run(1)
        assert names(sheet.parent) == []
        with pytest.raises(InterruptedWorkError, match=r"sheet\.partial\.png"):
            run(4)
        assert names(sheet.parent) == ["sheet.partial.png"]
        partial = load_picture(sheet.with_name("sheet.partial.png")).image
        with pytest.raises(OutputExistsError, match=r"sheet\.partial\.png"):
            run(0)
        run(0, overwrite=True)
        assert names(sheet.parent) == ["sheet.png"]
        whole = load_picture(sheet).image
        assert partial.shape == whole.shape
        half = whole.shape[-2] // 2
        assert torch.equal(partial[:, :, :half], whole[:, :, :half])
        third = slice(half, half + 32)
        assert torch.equal(partial[:, :, third, :48], whole[:, :, third, :48])
        assert (partial[:, :, third, 48:] == 1).all()  # white
