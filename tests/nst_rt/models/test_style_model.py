import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from nst_rt.errors import InputError, OutputExistsError, StyleModelError, UnknownNameError
from nst_rt.models import style_model
from nst_rt.models.merge import single_style_model
from nst_rt.models.style_model import (
    FORMAT_VERSION,
    Style,
    StyleModel,
    find_style,
    find_styles,
    gallery_files,
    list_styles,
)
from nst_rt.models.transformer import TransformerNet
from nst_rt.version import __version__


@pytest.fixture(scope="module")
def file(two_styles: StyleModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return two_styles.save(tmp_path_factory.mktemp("models") / "two.safetensors")


def contents(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Weights and metadata of a file."""
    with safe_open(path, framework="pt") as opened:
        tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
        return tensors, opened.metadata()


@pytest.fixture(scope="module")
def metadata(file: Path) -> dict[str, str]:
    return contents(file)[1]


@pytest.fixture(scope="module")
def tensors(file: Path) -> dict[str, Tensor]:
    return contents(file)[0]


def assert_refused(path: Path, match: str = "") -> None:
    """Assert that loading `path` raises an error of one line that names the file."""
    with pytest.raises(StyleModelError, match=match or None) as caught:
        StyleModel.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_model_round_trip(two_styles: StyleModel, file: Path, tmp_path: Path) -> None:
    """The loaded model is the saved one in half precision; a second round trip is lossless."""
    loaded = StyleModel.load(str(file))
    again = StyleModel.load(loaded.save(tmp_path / "again.safetensors"))
    for model in (loaded, again):
        assert model.styles == two_styles.styles
        assert model.style_names == ["waves", "night"]
        assert model.training == two_styles.training
        assert model.network.architecture == two_styles.network.architecture
        assert model.network.hyper_parameters == two_styles.network.hyper_parameters
        assert not model.network.training
        state = model.network.state_dict()
        for key, value in two_styles.network.state_dict().items():
            assert torch.equal(state[key], value.half().float()), key
        assert not any(parameter.requires_grad for parameter in model.network.parameters())


@pytest.mark.parametrize("architecture", ["fast", "classic"])
def test_default_networks_round_trip(tmp_path: Path, architecture: Any) -> None:
    network = TransformerNet(architecture).to(memory_format=torch.channels_last)
    path = StyleModel(network, (Style("plain"),)).save(tmp_path / "a.safetensors")
    loaded = StyleModel.load(path)
    assert loaded.network.architecture == architecture
    assert loaded.training == {}
    for key, value in loaded.network.state_dict().items():
        assert torch.equal(value, network.state_dict()[key].half().float()), key


def test_bfloat16_weights_are_loaded(
    tmp_path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]
) -> None:
    path = tmp_path / "bf16.safetensors"
    save_file({key: value.bfloat16() for key, value in tensors.items()}, path, metadata)
    network = StyleModel.load(path).network
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


def test_file_has_half_precision_weights_and_plain_metadata(
    two_styles: StyleModel, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> None:
    assert {value.dtype for value in tensors.values()} == {torch.float16}
    assert metadata["format_version"] == str(FORMAT_VERSION)
    assert metadata["nst_rt_version"] == __version__
    assert [Style(**style) for style in json.loads(metadata["styles"])] == list(two_styles.styles)
    assert json.loads(metadata["training"]) == two_styles.training


def test_existing_model_is_kept_unless_overwritten(two_styles: StyleModel, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_text("old")
    with pytest.raises(OutputExistsError):
        two_styles.save(path)
    assert path.read_text() == "old"
    two_styles.save(path, overwrite=True)
    assert StyleModel.load(path).style_names == ["waves", "night"]


def test_path_without_a_file_is_an_error(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing.safetensors"):
        with pytest.raises(InputError, match=path.name):
            StyleModel.load(path)


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"PK\x03\x04" + bytes(100), bytes(8), b"\xff" * 100]
)
def test_file_of_another_format_is_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    assert_refused(path)


@pytest.mark.parametrize("fraction", [0.001, 0.1, 0.5, 0.99])
def test_truncated_file_is_an_error(file: Path, tmp_path: Path, fraction: float) -> None:
    content = file.read_bytes()
    path = tmp_path / "a.safetensors"
    path.write_bytes(content[: int(len(content) * fraction)])
    assert_refused(path)


@pytest.mark.parametrize("metadata", [None, {}, {"format": "pt"}, {"format_version": "1"}])
def test_other_safetensors_files_are_an_error(
    tmp_path: Path, metadata: dict[str, str] | None
) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"weight": torch.ones(3)}, path, metadata)
    assert_refused(path)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"format_version": "3"}, "format 3.* format 4"),
        ({"format_version": "99", "styles": "of the future"}, "format 99.* format 4"),
        ({"format_version": "one"}, ""),
        ({"format_version": "\N{SUPERSCRIPT TWO}"}, ""),
        ({"format_version": "4" * 5000}, ""),
        ({"architecture": "slow"}, "'slow'.*fast, classic"),
        ({"architecture": "classic"}, "metadata"),
        ({"hyper_parameters": "{"}, "metadata"),
        ({"hyper_parameters": "[8]"}, "metadata"),
        ({"hyper_parameters": '{"depth": 3}'}, "metadata"),
        ({"hyper_parameters": '{"trunk": "eight"}'}, "metadata"),
        ({"hyper_parameters": '{"trunk": -8}'}, "metadata"),
        ({"hyper_parameters": '{"trunk": 1000000, "decoder": 1000000}'}, "trunk"),
        ({"hyper_parameters": '{"blocks": 1000000000}'}, "blocks"),
        ({"hyper_parameters": '{"dilation": 1000000000}'}, "dilation"),
        ({"hyper_parameters": '{"dilation": 0}'}, "dilation"),
        ({"hyper_parameters": "[" * 100000}, "metadata"),
        ({"hyper_parameters": "{}"}, "shape"),
        ({"hyper_parameters": None}, "metadata"),
        ({"training": "["}, "metadata"),
        ({"training": None}, "metadata"),
        ({"styles": "["}, "styles"),
        ({"styles": "[1, 2]"}, "styles"),
        ({"styles": '[{"title": "nameless"}]'}, "styles"),
        ({"styles": '[{"name": "a", "price": 3}]'}, "styles"),
        ({"styles": "[]"}, "styles"),
        ({"styles": None}, "styles"),
        ({"styles": "[" * 100000}, "styles"),
        ({"styles": '[{"name": 3}, {"name": "b"}]'}, "styles"),
        ({"styles": '[{"name": ""}, {"name": "b"}]'}, "styles"),
        ({"styles": '[{"name": "two\\nlines"}, {"name": "b"}]'}, "styles"),
        ({"styles": '[{"name": "../a"}, {"name": "b"}]'}, "styles"),
        ({"styles": '[{"name": "a\\\\c"}, {"name": "b"}]'}, "styles"),
        ({"styles": '[{"name": "a", "title": "\\u001b[2J"}, {"name": "b"}]'}, "styles"),
        ({"styles": '[{"name": "a", "artist": "x\\r"}, {"name": "b"}]'}, "styles"),
        ({"styles": '[{"name": "a"}, {"name": "a"}]'}, "styles"),
        ({"styles": '[{"name": "a", "title": 3}, {"name": "b"}]'}, "styles"),
        ({"styles": '[{"name": "a", "fingerprint": ["b"]}, {"name": "b"}]'}, "styles"),
        ({"styles": json.dumps([{"name": str(number)} for number in range(20000)])}, "styles"),
        ({"training": "[1]"}, "metadata"),
        ({"training": '{"by_style": ["waves"]}'}, "metadata"),
        ({"training": '{"earlier": [3]}'}, "metadata"),
        ({"styles": '[{"name": "alone"}]'}, "shape"),
    ],
)
def test_damaged_metadata_is_an_error(
    tmp_path: Path,
    tensors: dict[str, Tensor],
    metadata: dict[str, str],
    changes: dict[str, str | None],
    match: str,
) -> None:
    path = tmp_path / "a.safetensors"
    changed = {key: value for key, value in (metadata | changes).items() if value is not None}
    save_file(tensors, path, changed)
    assert_refused(path, match)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"net.to_image.bias": None}, "net.to_image.bias"),
        ({"net.running_mean": torch.ones(1)}, "net.running_mean"),
        ({"net.to_image.bias": torch.ones(5)}, r"net.to_image.bias.*\(5,\).*\(12,\)"),
        ({"net.to_image.bias": torch.full((12,), math.nan)}, "net.to_image.bias.*finite"),
        ({"net.to_image.bias": torch.full((12,), math.inf)}, "net.to_image.bias.*finite"),
        ({"net.to_image.bias": torch.ones(12, dtype=torch.float64) * 1e300}, "finite"),
        ({"net.to_image.bias": torch.ones(12, dtype=torch.int64)}, "net.to_image.bias.*int64"),
    ],
    ids=["missing", "unknown", "other shape", "NaN", "infinite", "too large", "integers"],
)
def test_weights_that_do_not_fit_are_an_error(
    tmp_path: Path,
    tensors: dict[str, Tensor],
    metadata: dict[str, str],
    changes: dict[str, Tensor | None],
    match: str,
) -> None:
    path = tmp_path / "a.safetensors"
    changed = {key: value for key, value in (tensors | changes).items() if value is not None}
    save_file(changed, path, metadata)
    assert_refused(path, match)


@pytest.mark.parametrize(
    ("styles", "expected"),
    [
        ("waves", [1, 0]),
        ("night", [0, 1]),
        ({"night": 1}, [0, 1]),
        ({"night": 7, "waves": 0}, [0, 1]),
        ({"waves": 0.7, "night": 0.3}, [0.7, 0.3]),
        ({"night": 3, "waves": 1}, [0.25, 0.75]),
    ],
)
def test_style_weights_are_normalized_and_in_the_models_order(
    two_styles: StyleModel, styles: Any, expected: list[float]
) -> None:
    weights = two_styles.style_vector(styles)
    torch.testing.assert_close(weights, torch.tensor([expected], dtype=torch.float32))


@pytest.mark.parametrize("styles", ["wave", {"waves": 1, "wave": 1}])
def test_unknown_style_lists_the_known_names(two_styles: StyleModel, styles: Any) -> None:
    with pytest.raises(UnknownNameError, match=r"'wave'.*'waves'.*waves, night"):
        two_styles.style_vector(styles)


@pytest.mark.parametrize(
    "styles",
    [
        {"waves": -1, "night": 2},
        {"waves": float("nan")},
        {"waves": float("inf")},
        {"waves": 0, "night": 0},
        {},
    ],
)
def test_invalid_weights_of_a_blend_are_an_error(two_styles: StyleModel, styles: Any) -> None:
    with pytest.raises(InputError):
        two_styles.style_vector(styles)


def test_style_is_found_in_a_file(file: Path, tmp_path: Path) -> None:
    for source in (file, str(file)):
        model, name = find_style(source)
        assert (model.style_names, name) == (["waves", "night"], "waves")
    for source in (Path(f"{file}:night"), f"{file}:night"):
        assert find_style(source)[1] == "night"
    with pytest.raises(UnknownNameError, match="waves, night"):
        find_style(f"{file}:day")
    copy = tmp_path / "without_suffix"
    copy.write_bytes(file.read_bytes())
    assert find_style(str(copy))[1] == "waves"


def test_loaded_model_is_a_style(two_styles: StyleModel, file: Path) -> None:
    assert find_style(two_styles) == (two_styles, "waves")
    found = find_styles([two_styles, f"{file}:night", file])
    assert list(found) == [two_styles, f"{file}:night", file]
    assert found[file][0] is found[f"{file}:night"][0]  # loaded once
    assert [name for _, name in found.values()] == ["waves", "night", "waves"]


@pytest.mark.parametrize("name", ["missing.safetensors", "missing.safetensors:night"])
def test_style_of_a_missing_file_is_an_error(tmp_path: Path, name: str) -> None:
    for source in (str(tmp_path / name), tmp_path / name, tmp_path / "missing"):
        with pytest.raises(InputError, match="missing"):
            find_style(source)


@pytest.fixture
def shipped(
    two_styles: StyleModel, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A gallery of two files and three styles."""
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    (folder / "two.safetensors").write_bytes(file.read_bytes())
    network = TransformerNet("fast", 1, trunk=8, decoder=4, blocks=1)
    StyleModel(network, (Style("ash"),)).save(folder / "ash.safetensors")
    (folder / "README.md").write_text("cards")
    monkeypatch.setattr(style_model.resources, "files", lambda _: folder)
    return folder


def test_gallery_has_the_styles_of_all_files(two_styles: StyleModel, shipped: Path) -> None:
    assert gallery_files() == {
        "ash": shipped / "ash.safetensors",
        "waves": shipped / "two.safetensors",
        "night": shipped / "two.safetensors",
    }
    waves, night = two_styles.styles
    assert list_styles() == {"ash": Style("ash"), "waves": waves, "night": night}


def test_style_of_the_gallery_is_found_by_its_name(
    shipped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (shipped / "night").mkdir()  # a folder of the same name, such as of photos
    monkeypatch.chdir(shipped)
    model, name = find_style("night")
    assert name == "night"
    assert model.style_names == ["waves", "night"]
    with pytest.raises(UnknownNameError, match=r"'night'.*ash, waves, night"):
        find_style("nigth")


def test_every_style_of_the_gallery_is_complete() -> None:
    assert "starry_night" in list_styles()
    for name, style in list_styles().items():
        model, found = find_style(name)
        assert found == name
        assert style in model.styles
        assert style.title
        assert style.license
        assert single_style_model(model, name).training["steps"] > 0
        for value in model.network.state_dict().values():
            assert value.isfinite().all()


def test_metadata_contains_no_absolute_path() -> None:
    for path in gallery_files().values():
        with safe_open(path, framework="pt") as opened:
            text = json.dumps(opened.metadata())
        assert not re.search(r'"(/|[A-Z]:)', text)


@pytest.mark.parametrize(
    "facts",
    [
        {"name": ""},
        {"name": "a/b"},
        {"name": "..\\b"},
        {"name": "a\x1b[2J"},
        {"name": "a", "title": "two\nlines"},
        {"name": "a", "license": "\x9b2J"},
        {"name": "a", "artist": "\u202egnp.exe"},
        {"name": "a", "year": "\ud800"},
    ],
)
def test_name_or_fact_that_files_or_terminals_would_obey_is_an_error(facts: dict[str, str]) -> None:
    with pytest.raises(InputError, match="style"):
        Style(**facts)
    Style("la_nuit_étoilée", "Die Brücke\u00a0II", "北斎")  # any other text
