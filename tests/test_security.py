"""What no file of a stranger can do; SECURITY.md names the tests of each guard."""

import ast
import os
import re
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from optimizer_runs import QUICK, interrupt
from PIL import EpsImagePlugin, Image
from videos import Untouched

from nst_rt.errors import StyleTransferError
from nst_rt.images.io import load_image
from nst_rt.infer.backends.cache import Cache
from nst_rt.infer.video import stylize_video
from nst_rt.infer.web.results import Results, temporary_folder
from nst_rt.models.style_model import StyleModel
from nst_rt.models.vgg import load_weights
from nst_rt.optimization.runs import leftovers, optimize_to_file
from nst_rt.train.recipes import parsed_settings, recipe_values
from nst_rt.train.run import train_style

ROOT = Path(__file__).parents[1]
SOURCES = [
    file
    for folder in ("nst_rt", "train", "infer", "scripts", "benchmarks")
    for file in sorted((ROOT / folder).rglob("*.py"))
]
# Calls that run code from data or hand a string to a shell, and those that need an argument so as
# not to.
FORBIDDEN = {
    "builtins": {"eval", "exec"},
    "pickle": {"load", "loads", "Unpickler"},
    "marshal": {"load", "loads"},
    "shelve": {"open"},
    "yaml": {"load", "load_all", "unsafe_load", "full_load"},
    "os": {"system", "popen"},
    "subprocess": {"getoutput", "getstatusoutput"},
    "tempfile": {"mktemp"},
}
SAFE_ONLY_WITH = {("torch", "load"): "weights_only"}
# Between processes of one program, through a pipe that only they have.
BETWEEN_PROCESSES = {
    "infer/web/decoding/worker.py": ("pickle", "loads"),
    "nst_rt/learning/messages.py": ("pickle", "load"),
}


class Evil:
    """Creates a file when it is unpickled."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[object, ...]:
        return open, (str(self.witness), "w")


@pytest.fixture
def witness(tmp_path: Path) -> Path:
    return tmp_path / "witness"


@pytest.fixture
def evil(tmp_path: Path, witness: Path) -> Path:
    """A pickle, as `torch.save` writes it, that runs code."""
    file = tmp_path / "evil.pt"
    torch.save({"record": {}, "losses": [], "identity": Evil(witness), "global_step": 1}, file)
    return file


def calls(file: Path) -> Iterator[tuple[str, str, ast.Call]]:
    """Module, name and node of the calls in a file, for modules that keep their name."""
    for node in ast.walk(ast.parse(file.read_text())):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name):
            yield "builtins", node.func.id, node
        elif isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
            yield node.func.value.id, node.func.attr, node


def is_safe(module: str, name: str, call: ast.Call) -> bool:
    given = {
        keyword.arg: keyword.value.value
        for keyword in call.keywords
        if isinstance(keyword.value, ast.Constant)
    }
    needed = SAFE_ONLY_WITH.get((module, name))
    harmless = not given.get("shell") and not given.get("allow_pickle")
    return name not in FORBIDDEN.get(module, ()) and harmless and (not needed or given.get(needed))


def test_no_source_file_runs_code_from_data_or_a_shell() -> None:
    unsafe = [
        f"{file.relative_to(ROOT)}:{call.lineno} {module}.{name}"
        for file in SOURCES
        for module, name, call in calls(file)
        if not is_safe(module, name, call)
        and BETWEEN_PROCESSES.get(str(file.relative_to(ROOT))) != (module, name)
    ]
    assert unsafe == []
    assert len(SOURCES) > 150


@pytest.mark.parametrize(
    "code",
    [
        "pickle.loads(data)",
        "torch.load(file)",
        "torch.load(file, weights_only=False)",
        "np.load(file, allow_pickle=True)",
        "subprocess.run(text, shell=True)",
        "yaml.load(text)",
        "eval(text)",
    ],
)
def test_unsafe_calls_are_found(tmp_path: Path, code: str) -> None:
    (tmp_path / "code.py").write_text(code)
    assert not all(is_safe(*call) for call in calls(tmp_path / "code.py"))


@pytest.mark.parametrize("suffix", ["safetensors", "png", "pth"])
def test_pickle_runs_no_code_under_any_name(evil: Path, witness: Path, suffix: str) -> None:
    file = evil.rename(evil.with_suffix(f".{suffix}"))
    readers: tuple[Callable[[], object], ...] = (
        lambda: StyleModel.load(file),
        lambda: load_image(file),
        lambda: load_weights(str(file)),
    )
    for read in readers:
        with pytest.raises(StyleTransferError):
            read()
    assert not witness.exists()


def test_state_of_an_optimization_runs_no_code(
    tmp_path: Path, evil: Path, witness: Path, astronaut: Path, painting: Path
) -> None:
    target = tmp_path / "out.png"

    def run(**settings: object) -> object:
        return optimize_to_file(astronaut, painting, target, **QUICK, **settings)

    interrupt(run, at=2)
    _, state = leftovers(target)
    shutil.copy(evil, state)
    with pytest.raises(StyleTransferError):
        run(resume=True)
    assert not witness.exists()


def test_checkpoint_of_a_training_runs_no_code(
    tmp_path: Path, evil: Path, witness: Path, photos: Path, painting: Path
) -> None:
    (tmp_path / "runs/ink/checkpoints").mkdir(parents=True)
    shutil.copy(evil, tmp_path / "runs/ink/checkpoints/step=000001.ckpt")
    with pytest.raises(StyleTransferError):
        train_style(
            painting,
            photos,
            "ink",
            output=tmp_path / "ink.safetensors",
            runs=tmp_path / "runs",
            size=64,
            steps=2,
            batch_size=1,
            workers=0,
            resume=True,
        )
    assert not witness.exists()


def test_state_of_a_conversion_runs_no_code(tmp_path: Path, witness: Path, film: Path) -> None:
    output = tmp_path / "out.mp4"

    class Stopped(Untouched):
        def stylize(self, frame: np.ndarray, left: list[int] = [9]) -> np.ndarray:  # noqa: B006
            left[0] -= 1
            if not left[0]:
                raise KeyboardInterrupt
            return frame

    with pytest.raises(KeyboardInterrupt):
        stylize_video(film, output, style=Stopped(), segment=5)
    [state] = (tmp_path / "out.mp4.partial").glob("*.npz")
    np.savez(state, seconds=np.array([Evil(witness)], object))
    with pytest.raises(StyleTransferError):
        stylize_video(film, output, style=Untouched(), segment=5, resume=True)
    assert not witness.exists()


def test_recipe_with_code_in_yaml_runs_nothing(tmp_path: Path, witness: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"model: !!python/object/apply:builtins.open ['{witness}', 'w']\n")
    readers: tuple[Callable[[], object], ...] = (
        lambda: recipe_values(recipe),
        lambda: parsed_settings([f"--config={recipe}"]),
    )
    for read in readers:
        with pytest.raises(StyleTransferError):
            read()
    assert not witness.exists()


def test_postscript_in_an_image_starts_no_program(
    tmp_path: Path, witness: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ghostscript = tmp_path / "gs"
    ghostscript.write_text(f"#!/bin/sh\ntouch {witness}\n")
    ghostscript.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)  # has it searched again
    Image.new("RGB", (32, 32)).save(tmp_path / "drawing.eps")
    shutil.copy(tmp_path / "drawing.eps", tmp_path / "photo.png")
    for name in ("drawing.eps", "photo.png"):
        with pytest.raises(StyleTransferError):
            load_image(tmp_path / name)
    assert not witness.exists()


@pytest.mark.parametrize(
    "playlist",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://{server}/a.ts\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile http://{server}/a.mp4\n",
    ],
    ids=["hls", "concat"],
)
@pytest.mark.parametrize("suffix", ["mp4", "m3u8", "txt"])
def test_video_file_opens_no_connection(tmp_path: Path, playlist: str, suffix: str) -> None:
    callers: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=lambda: callers.append(server.accept()), daemon=True)
        thread.start()
        host, port = server.getsockname()
        file = tmp_path / f"film.{suffix}"
        file.write_text(playlist.format(server=f"{host}:{port}"))
        with pytest.raises(StyleTransferError):
            stylize_video(file, tmp_path / "out.mkv", style=Untouched())
        assert callers == []
        socket.create_connection((host, port)).close()  # the server would have noticed
        thread.join(5)
    assert len(callers) == 1


def test_cache_that_everyone_can_write_to_is_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "cache"
    Cache(folder).put("key", b"network")
    assert folder.stat().st_mode & 0o077 == 0
    folder.chmod(0o777)
    assert Cache(folder).get("key") is None
    Cache(folder).put("other", b"network")
    assert len(list(folder.iterdir())) == 1
    assert len(caplog.records) == 1
    folder.chmod(0o775)  # a group that shares it
    assert Cache(folder).get("key") == b"network"


def test_files_of_visitors_are_private(tmp_path: Path) -> None:
    previous = os.umask(0)
    try:
        with temporary_folder() as folder:
            assert folder.parent.stat().st_mode & 0o077 == 0
        results = Results(tmp_path / "results")
        assert results.folder.stat().st_mode & 0o077 == 0
        keys = [file for file in results.folder.iterdir() if file.name.endswith("key")]
        assert [key.stat().st_mode & 0o077 for key in keys] == [0]
    finally:
        os.umask(previous)


def test_every_test_that_the_threat_model_names_exists() -> None:
    named = re.findall(r"`([\w/]+\.py)(?:::(\w+))?`", (ROOT / "SECURITY.md").read_text())
    missing = [
        f"{file}::{test}"
        for file, test in named
        if not (ROOT / "tests" / file).is_file()
        or (test and f"def {test}(" not in (ROOT / "tests" / file).read_text())
    ]
    assert missing == []
    assert len(named) > 40
