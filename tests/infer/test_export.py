import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from nst_rt.errors import BackendError, InputError, OutputExistsError, UnknownNameError
from nst_rt.images.io import load_image, tensor_to_frame
from nst_rt.infer import export
from nst_rt.infer.backends.graph import StyledFrameNet
from nst_rt.infer.export import export_model
from nst_rt.models.style_model import StyleModel

FILES = ["two.onnx", "two.xml", "two.pt2"]


@pytest.fixture(scope="module")
def model(two_styles: StyleModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return two_styles.save(tmp_path_factory.mktemp("model") / "two.safetensors")


@pytest.fixture(scope="module")
def exports(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an export in each format."""
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
def test_other_programs_paint_the_same(
    exports: Path, model: Path, file: str, tmp_path: Path, astronaut: Path
) -> None:
    """Loaded without nst-rt, at sizes and a number of frames that it was not exported with."""
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


def test_onnx_names_its_dimensions(exports: Path) -> None:
    graph = onnx.load(exports / "two.onnx").graph
    for value in (graph.input[0], graph.output[0]):
        dims = [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        assert dims == ["count", "height", "width", 3]


def test_what_paints_differently_is_not_written(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = export._WRITERS["torch"]

    def wrong(*arguments: object) -> export.Run:
        run = write(*arguments)  # type: ignore[arg-type]
        return lambda frames, style: run(frames, style) // 2

    monkeypatch.setitem(export._WRITERS, "torch", wrong)
    with pytest.raises(BackendError, match="differs from PyTorch by"):
        export_model(model, tmp_path / "a.pt2")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("output", "changes", "error", "says"),
    [
        ("a.tflite", {}, InputError, "use one of .onnx, .xml, .pt2"),
        ("a.onnx", {"format": "torch"}, InputError, "use one of .pt2"),
        ("no/a.onnx", {}, InputError, "no does not exist"),
        ("there.onnx", {}, OutputExistsError, "`overwrite`"),
        ("there.xml", {}, OutputExistsError, "there.bin"),
        ("a.onnx", {"model": "nobody"}, UnknownNameError, "known are"),
    ],
)
def test_what_cannot_be_exported(
    model: Path, tmp_path: Path, output: str, changes: dict[str, str], error: type, says: str
) -> None:
    for name in ("there.onnx", "there.bin"):
        (tmp_path / name).write_text("here")
    with pytest.raises(error, match=says):
        export_model(**{"model": model, "output": tmp_path / output} | changes)  # type: ignore[arg-type]
    assert (tmp_path / "there.onnx").read_text() == "here"
    assert len(list(tmp_path.iterdir())) == 2


def test_an_export_is_replaced_when_asked(model: Path, tmp_path: Path) -> None:
    for name in ("a.xml", "a.bin"):
        (tmp_path / name).write_text("here")
    export_model(model, tmp_path / "a.xml", overwrite=True)
    assert (tmp_path / "a.xml").stat().st_size > 1000
    assert (tmp_path / "a.bin").stat().st_size > 1000


def test_the_verb_export(model: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "nst_rt", "export", str(model), "--json", "-o"]
    done = subprocess.run([*command, "a.pt2"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["output"] == "a.pt2"
    assert facts["format"] == "torch"
    again = subprocess.run([*command, "a.pt2"], cwd=tmp_path, capture_output=True, text=True)
    assert again.returncode == 2
    assert again.stderr.count("\n") == 1
