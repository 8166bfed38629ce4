import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from nst_rt.errors import InputError, OutputExistsError, StyleModelError, UnknownNameError
from nst_rt.models import style_model
from nst_rt.models.merge import one_style
from nst_rt.models.style_model import FORMAT_VERSION, Style, StyleModel, find_style, gallery
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


def fails(path: Path, says: str) -> None:
    """Assert that loading `path` is an error of one line that names the file."""
    with pytest.raises(StyleModelError, match=says) as caught:
        StyleModel.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_loaded_model_paints_as_the_half_precision_weights_do(
    two_styles: StyleModel, file: Path, photo: Tensor
) -> None:
    network = TransformerNet("fast", 2, trunk=8, decoder=4, blocks=1)
    network.load_state_dict(
        {key: value.half().float() for key, value in two_styles.network.state_dict().items()}
    )
    style = torch.tensor([[0.4, 0.6]])
    loaded = StyleModel.load(file)
    assert torch.equal(loaded.network(photo, style), network(photo, style))
    difference = loaded.network(photo, style) - two_styles.network(photo, style)
    assert difference.abs().max() < 0.01


def test_loaded_model_knows_what_the_saved_one_did(two_styles: StyleModel, file: Path) -> None:
    loaded = StyleModel.load(str(file))
    assert loaded.styles == two_styles.styles
    assert loaded.style_names == ["waves", "night"]
    assert loaded.training == two_styles.training
    assert loaded.network.architecture == two_styles.network.architecture
    assert loaded.network.hyper_parameters == two_styles.network.hyper_parameters


def test_loaded_network_is_ready_for_inference(file: Path) -> None:
    network = StyleModel.load(file).network
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


def test_saving_what_was_loaded_loses_nothing_more(file: Path, tmp_path: Path) -> None:
    loaded = StyleModel.load(file)
    again = StyleModel.load(loaded.save(tmp_path / "again.safetensors"))
    assert (again.styles, again.training) == (loaded.styles, loaded.training)
    for key, value in again.network.state_dict().items():
        assert torch.equal(value, loaded.network.state_dict()[key]), key


@pytest.mark.parametrize("architecture", ["fast", "classic"])
def test_models_of_default_size_round_trip(tmp_path: Path, architecture: Any) -> None:
    network = TransformerNet(architecture).to(memory_format=torch.channels_last)
    path = StyleModel(network, (Style("plain"),)).save(tmp_path / "a.safetensors")
    loaded = StyleModel.load(path)
    assert loaded.network.architecture == architecture
    assert loaded.training == {}
    for key, value in loaded.network.state_dict().items():
        assert torch.equal(value, network.state_dict()[key].half().float()), key


def test_bfloat16_weights_load_too(
    tmp_path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]
) -> None:
    path = tmp_path / "bf16.safetensors"
    save_file({key: value.bfloat16() for key, value in tensors.items()}, path, metadata)
    network = StyleModel.load(path).network
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


def test_file_holds_half_precision_weights_and_plain_metadata(
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


def test_model_that_cannot_be_written_leaves_nothing(
    two_styles: StyleModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def disk_full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", disk_full)
    with pytest.raises(OSError, match="No space"):
        two_styles.save(tmp_path / "a.safetensors")
    assert not list(tmp_path.iterdir())


def test_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        StyleModel.load(tmp_path / "missing.safetensors")
    with pytest.raises(InputError, match="is a directory"):
        StyleModel.load(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"PK\x03\x04" + bytes(100), bytes(8), b"\xff" * 100]
)
def test_a_file_of_another_kind_is_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    fails(path, "not a style model")


def test_a_photo_is_not_a_style_model(astronaut: Path) -> None:
    fails(astronaut, "not a style model")


def test_a_pytorch_checkpoint_is_not_a_style_model(tmp_path: Path) -> None:
    torch.save({"weights": torch.ones(3)}, tmp_path / "a.pth")
    fails(tmp_path / "a.pth", "not a style model")


@pytest.mark.parametrize("part", [0.001, 0.1, 0.5, 0.99])
def test_truncated_file_is_an_error(file: Path, tmp_path: Path, part: float) -> None:
    content = file.read_bytes()
    path = tmp_path / "a.safetensors"
    path.write_bytes(content[: int(len(content) * part)])
    fails(path, "not a style model")


@pytest.mark.parametrize("metadata", [None, {}, {"format": "pt"}, {"format_version": "1"}])
def test_other_safetensors_files_are_an_error(
    tmp_path: Path, metadata: dict[str, str] | None
) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"weight": torch.ones(3)}, path, metadata)
    fails(path, "a safetensors file, but not a style model of nst-rt")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"format_version": "3"}, "model format 3.* reads format 4"),
        ({"format_version": "99", "styles": "of the future"}, "model format 99.* reads format 4"),
        ({"format_version": "one"}, "not a style model of nst-rt"),
        ({"format_version": "\N{SUPERSCRIPT TWO}"}, "not a style model of nst-rt"),
        ({"architecture": "slow"}, "unknown architecture 'slow'; known are fast, classic"),
        ({"architecture": "classic"}, "damaged metadata"),
        ({"hyper_parameters": "{"}, "damaged metadata"),
        ({"hyper_parameters": "[8]"}, "damaged metadata"),
        ({"hyper_parameters": '{"depth": 3}'}, "damaged metadata"),
        ({"hyper_parameters": '{"trunk": "eight"}'}, "damaged metadata"),
        ({"hyper_parameters": '{"trunk": -8}'}, "damaged metadata"),
        ({"hyper_parameters": "{}"}, "have shape"),
        ({"hyper_parameters": None}, "damaged metadata"),
        ({"training": "["}, "damaged metadata"),
        ({"training": None}, "damaged metadata"),
        ({"styles": "["}, "damaged list of styles"),
        ({"styles": "[1, 2]"}, "damaged list of styles"),
        ({"styles": '[{"title": "nameless"}]'}, "damaged list of styles"),
        ({"styles": '[{"name": "a", "price": 3}]'}, "damaged list of styles"),
        ({"styles": "[]"}, "without styles"),
        ({"styles": None}, "damaged list of styles"),
        ({"styles": '[{"name": "alone"}]'}, "have shape"),
    ],
)
def test_damaged_metadata_is_an_error(
    tmp_path: Path,
    tensors: dict[str, Tensor],
    metadata: dict[str, str],
    changes: dict[str, str | None],
    says: str,
) -> None:
    path = tmp_path / "a.safetensors"
    changed = {key: value for key, value in (metadata | changes).items() if value is not None}
    save_file(tensors, path, changed)
    fails(path, says)


def test_missing_weights_are_an_error(
    tmp_path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]
) -> None:
    path = tmp_path / "a.safetensors"
    save_file({k: v for k, v in tensors.items() if k != "net.to_image.bias"}, path, metadata)
    fails(path, "'net.to_image.bias' are missing")


def test_unknown_weights_are_an_error(
    tmp_path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]
) -> None:
    path = tmp_path / "a.safetensors"
    save_file(tensors | {"net.running_mean": torch.ones(1)}, path, metadata)
    fails(path, "unknown weights 'net.running_mean'")


def test_weights_of_another_shape_are_an_error(
    tmp_path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]
) -> None:
    path = tmp_path / "a.safetensors"
    save_file(tensors | {"net.to_image.bias": torch.ones(5)}, path, metadata)
    fails(path, r"'net.to_image.bias' have shape \(5,\), not \(12,\)")


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
def test_style_weights_sum_to_one_in_the_models_order(
    two_styles: StyleModel, styles: Any, expected: list[float]
) -> None:
    weights = two_styles.style_weights(styles)
    torch.testing.assert_close(weights, torch.tensor([expected], dtype=torch.float32))


@pytest.mark.parametrize("styles", ["wave", {"waves": 1, "wave": 1}])
def test_unknown_style_names_the_known_ones(two_styles: StyleModel, styles: Any) -> None:
    with pytest.raises(UnknownNameError, match=r"'wave': did you mean 'waves'.*waves, night"):
        two_styles.style_weights(styles)


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
def test_weights_that_are_no_blend_are_an_error(two_styles: StyleModel, styles: Any) -> None:
    with pytest.raises(InputError):
        two_styles.style_weights(styles)


def test_a_file_stands_for_its_first_style(file: Path) -> None:
    model, name = find_style(str(file))
    assert (model.style_names, name) == (["waves", "night"], "waves")


def test_a_style_of_a_file_goes_by_its_name(file: Path) -> None:
    _, name = find_style(f"{file}:night")
    assert name == "night"
    with pytest.raises(UnknownNameError, match="known are waves, night"):
        find_style(f"{file}:day")


def test_a_file_without_the_suffix_is_found(file: Path, tmp_path: Path) -> None:
    copy = tmp_path / "model"
    copy.write_bytes(file.read_bytes())
    _, name = find_style(str(copy))
    assert name == "waves"


@pytest.mark.parametrize("name", ["missing.safetensors", "missing.safetensors:night"])
def test_missing_file_of_a_style_is_an_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="no such file"):
        find_style(str(tmp_path / name))


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


def test_gallery_lists_the_styles_of_all_files(shipped: Path) -> None:
    assert gallery() == {
        "ash": shipped / "ash.safetensors",
        "waves": shipped / "two.safetensors",
        "night": shipped / "two.safetensors",
    }


def test_a_style_of_the_gallery_goes_by_its_name(
    shipped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A folder of the style's name, such as of its photos, is not in the way.
    (shipped / "night").mkdir()
    monkeypatch.chdir(shipped)
    model, name = find_style("night")
    assert name == "night"
    assert model.style_names == ["waves", "night"]


def test_an_unknown_style_lists_the_gallery(shipped: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"did you mean 'night'.*ash, waves, night"):
        find_style("nigth")


def test_every_style_that_ships_can_be_loaded_and_has_its_card() -> None:
    for name, path in gallery().items():
        model, found = find_style(name)
        assert found == name
        style = next(style for style in model.styles if style.name == name)
        assert style.title, path
        assert style.license, path
        assert one_style(model, name).training["steps"] > 0
        for value in model.network.state_dict().values():
            assert value.isfinite().all()


def test_starry_night_ships() -> None:
    assert "starry_night" in gallery()


def test_metadata_names_no_folder_of_the_machine_that_trained() -> None:
    for path in gallery().values():
        with safe_open(path, framework="pt") as opened:
            text = json.dumps(opened.metadata())
        assert not re.search(r'"(/|[A-Z]:)', text)  # a string that begins as absolute paths do


def test_models_are_values(two_styles: StyleModel) -> None:
    assert replace(two_styles, training={}).styles == two_styles.styles
    with pytest.raises(AttributeError):
        two_styles.styles = ()  # type: ignore[misc]
