import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from nst_rt.cli import main
from nst_rt.errors import BackendError, InputError, OutputExistsError, UnknownNameError
from nst_rt.images.convert import tensor_to_frame
from nst_rt.images.io import load_image
from nst_rt.infer import export
from nst_rt.infer.backends.graph import StyledFrameNet
from nst_rt.infer.export import export_model
from nst_rt.models.style_model import StyleModel

FILES = ["two.onnx", "two.xml", "two.pt2"]


pytestmark = pytest.mark.slow  # exporting takes seconds


@pytest.fixture(scope="module")
def exports(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with an export in each format."""
    folder = tmp_path_factory.mktemp("exports")
    for file in FILES:
        done = export_model(model, folder / file)
        assert done.difference <= 1
        assert done.styles == ["waves", "night"]
    assert {file.name for file in folder.iterdir()} == {*FILES, "two.bin"}
    return folder


LOADED = {
    ".onnx": """
        import onnxruntime
        session = onnxruntime.InferenceSession(sys.argv[1])
        styles = json.loads(session.get_modelmeta().custom_metadata_map["styles"])
        stylized = session.run(None, {"frames": frames, "style": style})[0]
    """,
    ".xml": """
        import openvino
        model = openvino.Core().read_model(sys.argv[1])
        styles = json.loads(model.get_rt_info("styles").astype(str))
        settings = {"INFERENCE_PRECISION_HINT": "f32"}
        stylized = openvino.compile_model(model, "CPU", settings)([frames, style])[0]
    """,
    ".pt2": """
        import torch
        extra = {"styles.json": ""}
        program = torch.export.load(sys.argv[1], extra_files=extra)
        styles = json.loads(extra["styles.json"])
        with torch.no_grad():
            stylized = program.module()(torch.from_numpy(frames), torch.from_numpy(style)).numpy()
    """,
}


@pytest.mark.parametrize("file", FILES)
def test_exports_give_the_same_output_without_nst_rt(
    exports: Path, model: Path, file: str, tmp_path: Path, astronaut: Path
) -> None:
    """At a size and a number of frames that they were not exported with."""
    frames = np.stack([tensor_to_frame(load_image(astronaut, size=99))[:70]] * 2)
    style = np.array([[0.25, 0.75]], np.float32)
    np.savez(tmp_path / "inputs.npz", frames=frames, style=style)
    begin = "import json, sys\nimport numpy as np\ninputs = np.load('inputs.npz')\n"
    begin += "frames, style = inputs['frames'], inputs['style']"
    end = "np.save('out.npy', stylized)\nassert styles == ['waves', 'night']\n"
    end += "assert not any(name.startswith('nst_rt') for name in sys.modules)"
    middle = "\n".join(line.strip() for line in LOADED[Path(file).suffix].splitlines())
    if file.endswith(".pt2"):
        middle = middle.replace("\nstylized =", "\n    stylized =")
    subprocess.run(
        [sys.executable, "-c", f"{begin}\n{middle}\n{end}", str(exports / file)],
        cwd=tmp_path,
        check=True,
    )
    with torch.no_grad():
        wanted = StyledFrameNet(StyleModel.load(model).network)(
            torch.from_numpy(frames), torch.from_numpy(style)
        ).numpy()
    got = np.load(tmp_path / "out.npy")
    assert np.abs(got.astype(int) - wanted).max() <= 1


def test_onnx_dimensions_have_names(exports: Path) -> None:
    graph = onnx.load(exports / "two.onnx").graph
    for value in (graph.input[0], graph.output[0]):
        dims = [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        assert dims == ["count", "height", "width", 3]


def test_an_export_with_other_output_is_not_written(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = export._WRITERS["torch"]

    def wrong(*arguments: object) -> export.Run:
        run = write(*arguments)  # type: ignore[arg-type]
        return lambda frames, style: run(frames, style) // 2

    monkeypatch.setitem(export._WRITERS, "torch", wrong)
    with pytest.raises(BackendError, match="PyTorch"):
        export_model(model, tmp_path / "a.pt2")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("output", "changes", "error", "named"),
    [
        ("a.tflite", {}, InputError, ".onnx, .xml, .pt2"),
        ("a.onnx", {"format": "torch"}, InputError, ".pt2"),
        ("no/a.onnx", {}, InputError, "no"),
        ("there.onnx", {}, OutputExistsError, "there.onnx"),
        ("there.xml", {}, OutputExistsError, "there.bin"),
        ("a.onnx", {"model": "nobody"}, UnknownNameError, "nobody"),
    ],
)
def test_bad_exports_are_errors(
    model: Path, tmp_path: Path, output: str, changes: dict[str, str], error: type, named: str
) -> None:
    for name in ("there.onnx", "there.bin"):
        (tmp_path / name).write_text("here")
    with pytest.raises(error, match=named):
        export_model(**{"model": model, "output": tmp_path / output} | changes)  # type: ignore[arg-type]
    assert (tmp_path / "there.onnx").read_text() == "here"
    assert len(list(tmp_path.iterdir())) == 2


def test_overwrite_replaces_both_files(two_styles: StyleModel, tmp_path: Path) -> None:
    for name in ("a.xml", "a.bin"):
        (tmp_path / name).write_text("here")
    export_model(two_styles, tmp_path / "a.xml", overwrite=True)
    assert all((tmp_path / name).stat().st_size > 1000 for name in ("a.xml", "a.bin"))


def test_export_verb(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["export", str(model), "--format", "torch", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["output"], facts["format"]) == ("two.pt2", "torch")
    assert main(["export", str(model), "-o", "two.pt2"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
